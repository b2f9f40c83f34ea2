"""The jobs of the served namespaces as last heard of: what is read is read from here, and costs the cluster nothing."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from agentjob_api.names import Key
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError
from agentjob_kube.listwatch import Changed, ListWatch, Removed, Replaced, Selection
from agentjob_kube.reach import Reach
from agentjob_kube.resources import AGENT_JOBS

Object = dict[str, Any]

STALE_SECONDS: Final = 300.0
"""After so long without a word from the API server, what is known here is not worth asking for, nor is it known any
more which jobs are gone. Far less than retention's YOUNG: of what is old, the job is then known, unless it is gone."""
MAX_GONE: Final = 10_000
"""Deleted jobs that are remembered: more than can be deleted while one answer is on its way."""


class Listener(Protocol):
    """Told of every change of any job; it neither raises nor waits."""

    def __call__(self, job: Object, *, is_gone: bool) -> None:
        """A job that is new, or not as it was; or one that is gone, as it was last."""
        ...


def version(job: Object) -> int:
    """The resourceVersion of a job as a number."""
    return int(job["metadata"]["resourceVersion"])


def key_of(job: Object) -> Key:
    """Namespace and name of a job."""
    return Key(job["metadata"]["namespace"], job["metadata"]["name"])


def lean(job: Object) -> Object:
    """A job without what only its writers need."""
    job["metadata"].pop("managedFields", None)
    return job


@dataclass
class JobCache:
    """Jobs by key. Anything may be late, nothing goes back: an object never replaces a newer one of itself."""

    namespaces: tuple[str, ...]
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the jobs of all namespaces that can be read have been listed."""
    is_closing: bool = False
    """Whether nobody is to wait for changes any more."""
    listeners: list[Listener] = field(default_factory=list)
    _jobs: dict[str, dict[str, Object]] = field(default_factory=dict)
    _gone: dict[str, None] = field(default_factory=dict)
    _waiting: dict[Key, set[asyncio.Future[None]]] = field(default_factory=dict)
    """Who waits for a job's next change; a job that nobody waits for is not in it."""
    _listed: set[str] = field(default_factory=set)
    _watches: dict[str, ListWatch[Object]] = field(default_factory=dict)
    """By namespace."""

    def __post_init__(self) -> None:
        self.reach = Reach(namespaces=self.namespaces)

    def get(self, key: Key) -> Object | None:
        """A job, which the caller does not change."""
        return self._jobs.get(key.namespace, {}).get(key.name)

    def of(self, namespace: str) -> Iterator[Object]:
        """All jobs of a namespace, in no order."""
        return iter(tuple(self._jobs.get(namespace, {}).values()))

    def __len__(self) -> int:
        return sum(map(len, self._jobs.values()))

    def put(self, job: Object) -> None:
        """Takes a job as the API server gave it."""
        key = key_of(job)
        known = self.get(key)
        if job["metadata"]["uid"] in self._gone or (known is not None and version(known) >= version(job)):
            return
        self._jobs.setdefault(key.namespace, {})[key.name] = lean(job)
        if known is not None and known["metadata"]["uid"] != job["metadata"]["uid"]:
            self._announce(known, is_gone=True)
        self._announce(job, is_gone=False)
        self._tell(key)

    def drop(self, job: Object) -> None:
        """Forgets a job that is gone; not another one that has its name by now."""
        key, uid = key_of(job), job["metadata"]["uid"]
        self._gone[uid] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
        if (known := self.get(key)) is not None and known["metadata"]["uid"] == uid:
            del self._jobs[key.namespace][key.name]
            self._announce(known, is_gone=True)
            self._tell(key)

    def replace(self, namespace: str, jobs: tuple[Object, ...], at: int, unread: frozenset[str] = frozenset()) -> None:
        """Takes a LIST of all jobs in a namespace at a version. `unread`: uids of those that could not be read."""
        listed = {job["metadata"]["uid"] for job in jobs} | unread
        for job in jobs:
            self.put(job)
        for known in self.of(namespace):
            if known["metadata"]["uid"] not in listed and version(known) <= at:
                self.drop(known)
        self._listed.add(namespace)
        self._answered(namespace, "list", None)

    async def change(self, key: Key) -> None:
        """Returns at the next change of a job, or when it is gone. The caller bounds the wait."""
        if self.is_closing:
            return
        news = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(news)
        try:
            await news
        finally:
            waiting.discard(news)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]

    def is_listed(self, namespace: str) -> bool:
        """Whether the jobs of a namespace have been listed: before, what is missing may only not be known yet."""
        return namespace in self._listed

    def is_current(self, namespace: str) -> bool:
        """Whether the jobs of a namespace are known as they stand."""
        return not self._missing(namespace)

    def readable(self) -> tuple[str, ...]:
        """The namespaces whose jobs are known as they stand; all of them where there is none."""
        return tuple(filter(self.is_current, self.namespaces)) or self.namespaces

    def missing(self, namespace: str) -> list[str]:
        """What the API server does not answer of a namespace, while it does of another one."""
        if len(self.namespaces) == 1:
            return []
        missing = self._missing(namespace)
        return missing if missing and namespace not in self.readable() else []

    def _missing(self, namespace: str) -> list[str]:
        if missing := self.reach.missing(namespace):
            return missing
        if not self.is_listed(namespace):
            return [f"list {AGENT_JOBS.plural}"]
        return [f"watch {AGENT_JOBS.plural}"] if self.age([namespace]) >= STALE_SECONDS else []

    def age(self, namespaces: Iterable[str] | None = None) -> float:
        """Seconds since the API server last said anything in these namespaces, or in all: where it is longest.

        It says something about once a minute even when nothing happens.
        """
        chosen = self.namespaces if namespaces is None else namespaces
        heard = (self._watches[each].heard for each in chosen if each in self._watches)
        return max((time.monotonic() - moment for moment in heard), default=0.0)

    def close(self) -> None:
        """Wakes all who wait; whoever comes now does not wait."""
        self.is_closing = True
        for key in list(self._waiting):
            self._tell(key)

    def _answered(self, namespace: str, verb: str, error: ApiError | None) -> None:
        what = f"{verb} {AGENT_JOBS.plural}"
        if error is None:
            self.reach.came(namespace, what)
        else:
            self.reach.failed(namespace, what, error)
        if not self.synced.is_set() and self._listed.issuperset(self.reach.readable()):
            self.synced.set()

    def _announce(self, job: Object, *, is_gone: bool) -> None:
        for listener in self.listeners:
            listener(job, is_gone=is_gone)

    def _tell(self, key: Key) -> None:
        for news in self._waiting.pop(key, ()):
            if not news.done():
                news.set_result(None)

    async def run(self, client: Client, namespace: str) -> None:
        """Keeps the jobs of a namespace true for ever."""
        answered = partial(self._answered, namespace)
        watch = ListWatch(client, Selection(AGENT_JOBS, namespace), lean, answered=answered)
        self._watches[namespace] = watch
        async with aclosing(watch.deltas()) as deltas:
            async for delta in deltas:
                match delta:
                    case Replaced(jobs, at, unread):
                        self.replace(namespace, jobs, int(at), unread)
                    case Changed(job):
                        self.put(job)
                    case Removed(job):
                        self.drop(job)
