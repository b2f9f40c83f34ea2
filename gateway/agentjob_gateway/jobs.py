"""What can be done with jobs, whichever door it comes through. Reads are from the cache, writes go to the cluster."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from agentjob_api import names
from agentjob_api.names import Key
from agentjob_gateway import answers, audit, errors
from agentjob_gateway.audit import Deed
from agentjob_gateway.cache import JobCache
from agentjob_gateway.caller import Caller, Verb
from agentjob_gateway.census import Census
from agentjob_gateway.errors import BadRequest, Missing, NotAllowed, TooMany, Unavailable
from agentjob_gateway.submission import Submission, check_name, check_same, manifest, mark_of
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client
from agentjob_kube.errors import AlreadyExists, ApiError, Conflict, NotFound, ServerError, Unreachable
from agentjob_kube.resources import AGENT_JOBS

Object = dict[str, Any]

CREATE: Final = Backoff(first=0.1, most=1.0)
CREATE_TRIES: Final = 3
"""A create that got no answer may have been done: repeated, it finds its own job."""
CREATE_SECONDS: Final = 30.0
"""For all of them together, so that a client hears before the proxies on its way give up, after a minute."""


class Submitted(NamedTuple):
    """A job that is there."""

    job: Object
    is_new: bool
    """Whether this request has made it; otherwise an earlier one of the same Idempotency-Key has."""


class Rights(Protocol):
    """Who may do what."""

    async def allows(self, caller: Caller, verb: Verb, namespace: str, *, is_own: bool = False) -> bool:
        """Whether a caller may; raises Unavailable when nobody can tell."""
        ...


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """The jobs of the served namespaces. Every method raises `errors.Problem` and nothing else.

    What is changed is told to the audit here; what is refused, by the door that answers.
    """

    client: Client
    cache: JobCache
    census: Census
    """Of the jobs in the cache."""
    rights: Rights
    queue_depth: int
    create_seconds: float = CREATE_SECONDS
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def namespace(self, caller: Caller, asked: str | None, verb: Verb) -> str:
        """Where a caller works: where it was asked for, or where the caller is at home, or the only place there is."""
        served = self.cache.namespaces
        at_home = caller.namespace if caller.role is not None or caller.namespace in served else None
        chosen = asked or at_home or (served[0] if len(served) == 1 else None)
        if chosen is None:
            raise BadRequest(f"namespace: name one of {', '.join(served)} in the query, as in ?namespace={served[0]}")
        if chosen not in served or not await self.rights.allows(caller, verb, chosen, is_own=True):
            raise NotAllowed(f"{caller.name} may not {verb} agentjobs in the namespace {chosen!r}")
        if missing := self.cache.missing(chosen):
            text = f"the gateway cannot read agentjobs in {chosen!r}; not answered: {', '.join(missing)}"
            raise Unavailable(text, retry_after=errors.RETRY_SECONDS)
        return chosen

    def knows(self, caller: Caller, namespace: str, submission: Submission) -> bool:
        """Whether it is known here that the same Idempotency-Key has made its job."""
        if (key := submission.idempotency_key) is None:
            return False
        name = self.census.submitted(mark_of(caller, namespace, key))
        return name is not None and self.cache.get(Key(namespace, name)) is not None

    async def submit(self, caller: Caller, namespace: str, submission: Submission) -> Submitted:
        """Makes a job, or finds the one that the same Idempotency-Key has made."""
        body = manifest(submission, caller, namespace, secrets.token_hex(16))
        key = Key(namespace, body["metadata"]["name"])
        with audit.change(_deed(caller, Verb.SUBMIT, key, submission.request)) as change:
            made = await self._submitted(caller, key, body, is_named=submission.idempotency_key is not None)
            change.uid, change.was_needed = made.job["metadata"]["uid"], made.is_new
        return made

    async def _submitted(self, caller: Caller, key: Key, body: Object, *, is_named: bool) -> Submitted:
        if is_named:
            if (known := self.cache.get(key)) is not None:
                check_same(known, body)
                return Submitted(known, is_new=False)
            check_name(body, self.census.submitted(body["metadata"]["annotations"][names.ANNOTATION_SUBMISSION]))
        if not self.census.expects(key, caller.name):
            self._check_room(caller, key.namespace)
        with self.census.expected(body):
            made = await self._made(key, body)
            self.cache.put(made.job)
        return made

    async def _made(self, key: Key, body: Object) -> Submitted:
        try:
            async with asyncio.timeout(self.create_seconds):
                return await self._create(key, body)
        except TimeoutError as error:
            raise Unavailable("the cluster gives no answer", retry_after=errors.RETRY_SECONDS) from error
        except ApiError as error:
            raise errors.of(error) from error

    async def _create(self, key: Key, body: Object) -> Submitted:
        for tried in range(1, CREATE_TRIES + 1):
            try:
                return Submitted(await self.client.create(AGENT_JOBS, key.namespace, body), is_new=True)
            except AlreadyExists:
                found = await self.client.get(AGENT_JOBS, key)
                check_same(found, body)
                # The first try has had an answer. A client that repeats itself may well repeat its request's id.
                return Submitted(found, is_new=tried > 1 and _is_of(found, body))
            except (Conflict, Unreachable, ServerError) as error:  # a conflict over a quota's count, made at once
                if tried == CREATE_TRIES:
                    raise
                await self.sleep(CREATE.delay(tried, error.retry_after))
        raise AssertionError("the last try has returned or raised")

    def _check_room(self, caller: Caller, namespace: str) -> None:
        """Holds a caller to its limits, as far as they can be known here: another replica may be about to add one."""
        own, waiting = self.census.owned(namespace, caller.name), self.census.waiting(namespace)
        if own >= caller.limits.concurrent_jobs:
            raise TooMany(f"{caller.name} has {own} jobs that have not ended, and may have no more", retry_after=10)
        if waiting >= self.queue_depth:
            raise TooMany(f"{waiting} jobs wait in {namespace!r} for their agents to start", retry_after=10)

    async def find(self, key: Key) -> Object:
        """A job. The caller's right to see it is checked with the namespace."""
        if (known := self.cache.get(key)) is not None:
            return known
        if not names.is_job_name(key.name):
            raise _missing(key)
        try:
            found = await self.client.get(AGENT_JOBS, key)  # made a moment ago through another replica, perhaps
        except NotFound as error:
            raise _missing(key) from error
        except ApiError as error:
            raise errors.of(error) from error
        self.cache.put(found)
        return found

    async def ended(self, key: Key, seconds: float) -> Object:
        """A job once it has ended, or as it stands after so many seconds, or when this gateway is about to stop."""
        job = await self.find(key)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not answers.phase(job).is_final and not self.cache.is_closing:
                    await self.cache.change(key)
                    job = await self.find(key)
        return job

    async def listed(self, namespace: str) -> list[Object]:
        """All jobs of a namespace, the latest first."""
        if not self.cache.is_listed(namespace):
            text = f"the jobs in {namespace!r} have not been listed yet"
            raise Unavailable(text, retry_after=errors.RETRY_SECONDS)
        found = list(self.cache.of(namespace))
        found.sort(key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]), reverse=True)
        return found

    async def cancel(self, caller: Caller, key: Key, request: str) -> Object:
        """A job that is to be stopped; one that has ended stays as it is. `request` is the request's id."""
        with audit.change(_deed(caller, Verb.CANCEL, key, request)) as change:
            job = await self._own(caller, key, Verb.CANCEL)
            change.uid = job["metadata"]["uid"]
            change.was_needed = not (answers.phase(job).is_final or job["spec"].get("cancel"))
            return await self._cancelled(key, job) if change.was_needed else job

    async def _cancelled(self, key: Key, job: Object) -> Object:
        patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"cancel": True}}
        try:
            changed = await self.client.patch(AGENT_JOBS, key, patch)
        except ApiError as error:
            raise errors.of(error) from error
        self.cache.put(changed)
        return changed

    async def delete(self, caller: Caller, key: Key, request: str) -> None:
        """Takes a job away, with its Pod. `request` is the request's id."""
        with audit.change(_deed(caller, Verb.DELETE, key, request)) as change:
            job = await self._own(caller, key, Verb.DELETE)
            change.uid = job["metadata"]["uid"]
            try:
                await self.client.delete(AGENT_JOBS, key, job["metadata"]["uid"])
            except ApiError as error:
                raise errors.of(error) from error
        self.cache.drop(job)

    async def _own(self, caller: Caller, key: Key, verb: Verb) -> Object:
        """A job that the caller may do this to."""
        job = await self.find(key)
        if not await self.rights.allows(caller, verb, key.namespace, is_own=is_own(caller, job)):
            raise NotAllowed(f"{caller.name} may not {verb} job {key.name!r}, which it has not made")
        return job


def _missing(key: Key) -> Missing:
    return Missing(f"there is no job {key.name[:60]!r} in the namespace {key.namespace!r}")


def _deed(caller: Caller, verb: Verb, key: Key, request: str) -> Deed:
    return Deed(caller=caller, what=verb, namespace=key.namespace, job=key.name, request=request)


def is_own(caller: Caller, job: Object) -> bool:
    """Whether a caller has made a job."""
    return answers.submitter(job) == caller.name


def _is_of(found: Object, wanted: Object) -> bool:
    """Whether a job was made by this very request: by a try of it whose answer was lost."""
    request = names.ANNOTATION_REQUEST
    return bool(found["metadata"]["annotations"].get(request) == wanted["metadata"]["annotations"][request])
