"""What keeps the store true: Pods by list and watch, and LISTs of jobs and Pods now and then for what was missed."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from agentjob_api import names
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client, Object
from agentjob_kube.errors import ApiError
from agentjob_kube.listwatch import Changed, ListWatch, Removed, Replaced, Selection
from agentjob_kube.reach import Reach
from agentjob_kube.resources import AGENT_JOBS, PODS, ResourceType
from agentjob_operator.pod import PodView, view
from agentjob_operator.store import Store
from agentjob_operator.work import WorkQueue

RELIST: Final = Backoff(first=0.5, most=30.0)
MAX_AGE: Final = {"agentjobs": 900.0, "pods": 300.0}
"""Seconds for which what is known is as good as true. Pods are spoken of about once a minute, and jobs are listed every
five: three of those have failed by then."""
EARLY_SECONDS: Final = 0.01
"""By which a timer may ring before its time: uvloop counts whole milliseconds."""
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Watcher:
    """Fills the store from the cluster and puts the keys of what changed into the queue."""

    client: Client
    store: Store
    queue: WorkQueue
    reach: Reach
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a LIST or a watch has been answered, or a LIST has failed."""
    _nudges: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """By namespace: set when its jobs are to be listed now."""
    _jobs_of: dict[str, float] = field(default_factory=dict)
    """When the last LIST of a namespace's jobs that has come was begun, by `time.monotonic`."""
    _pods_of: dict[str, float] = field(default_factory=dict)
    """The same of its Pods."""
    _watches: dict[str, ListWatch[PodView]] = field(default_factory=dict)
    """Of Pods, by namespace."""
    _begun: float = field(default_factory=time.monotonic)

    def ages(self) -> dict[str, float]:
        """For how many seconds there was no word of Pods and no LIST of jobs, in the namespace where that is longest.

        Of jobs the LIST counts, which finds what the watch has missed: whether kopf's watch lives, kopf does not say.
        Where it is refused, that counts.
        """
        return self._ages(self.reach.namespaces)

    def _ages(self, namespaces: tuple[str, ...]) -> dict[str, float]:
        now, watches = time.monotonic(), self._watches
        listed = (self._last_of_jobs(namespace) for namespace in namespaces)
        heard = (watches[namespace].heard for namespace in namespaces if namespace in watches)
        return {"agentjobs": now - min(listed), "pods": now - min(heard, default=self._begun)}

    def _last_of_jobs(self, namespace: str) -> float:
        listed = self._jobs_of.get(namespace, self._begun)
        refused = self.reach.refused_since(namespace, f"watch {AGENT_JOBS.plural}")
        return listed if refused is None else min(listed, refused)

    def is_ready(self) -> bool:
        """Whether what is in the namespaces that can be read is known, and was heard of lately."""
        readable = self.reach.readable()
        is_known = all(namespace in self._jobs_of and namespace in self._pods_of for namespace in readable)
        return is_known and all(age < MAX_AGE[kind] for kind, age in self._ages(readable).items())

    async def until(self, what: Callable[[], bool]) -> None:
        """Returns once something is so that LISTs and watches bring about."""
        while not what():
            self.news.clear()
            await self.news.wait()

    async def pods(self, namespace: str) -> None:
        """Follows the Pods of a namespace for ever."""
        began = time.monotonic()
        answered = partial(self.answered, PODS, namespace)
        watch = ListWatch(self.client, Selection(PODS, namespace, names.LABEL_JOB), view, answered=answered)
        self._watches[namespace] = watch
        async with aclosing(watch.deltas()) as deltas:
            async for delta in deltas:
                match delta:
                    case Replaced():
                        self._replace_pods(namespace, delta)
                        self._note_listed(PODS, namespace, began)
                    case Changed(pod):
                        if (key := self.store.put_pod(pod)) is not None:
                            self.queue.add(key)
                    case Removed(pod):
                        self.queue.add(self.store.drop_pod(pod))

    async def pods_again(self, namespace: str, every: float) -> None:
        """Lists the Pods of a namespace for ever, every so many seconds.

        A watch goes on from the last event that it told: one that was lost on the way is never told again, and a Pod
        whose end was in it would be waited for until its job's deadline.
        """
        while True:
            await asyncio.sleep(every)
            await self._pods_after(namespace, time.monotonic())

    async def jobs(self, namespace: str, every: float) -> None:
        """Lists the jobs of a namespace for ever, every so many seconds."""
        failures = 0
        while True:
            nudge = self._nudges[namespace]  # also one that comes while the LIST is on its way asks for another
            try:
                await self._list_jobs(namespace)
                failures, delay = 0, every
            except ApiError as error:
                failures += 1
                self.answered(AGENT_JOBS, namespace, "list", error)
                delay = RELIST.delay(failures, error.retry_after)
                log.warning("Listing jobs in %s: %s; again in %.1f s", namespace, error, delay)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await nudge.wait()

    def list_now(self, namespace: str) -> None:
        """Lists the jobs of a namespace without waiting for the next time: something may have been missed."""
        self._nudges.pop(namespace, asyncio.Event()).set()

    async def listed_after(self, namespace: str, moment: float) -> None:
        """Returns once a namespace's jobs and Pods are known as they stood at a moment of `time.monotonic` or later."""
        await self.until(lambda: namespace in self._jobs_of)
        if self._jobs_of[namespace] < moment:
            self.list_now(namespace)
        await self.until(lambda: self._jobs_of[namespace] >= moment)
        with suppress(TimeoutError):  # the watch's own LIST is on its way; why it does not come, the watch does not say
            async with asyncio.timeout(self.reach.patience):
                await self.until(lambda: namespace in self._pods_of)
        await self._pods_after(namespace, moment)

    async def _pods_after(self, namespace: str, moment: float) -> None:
        """The watch of Pods tells in its own time of one that was made before that moment."""
        failures = 0
        while namespace not in self._pods_of or self._pods_of[namespace] < moment:
            try:
                await self._list_pods(namespace)
            except ApiError as error:
                failures += 1
                self.answered(PODS, namespace, "list", error)
                delay = RELIST.delay(failures, error.retry_after)
                log.warning("Listing Pods in %s: %s; again in %.1f s", namespace, error, delay)
                await asyncio.sleep(delay)

    async def _list_pods(self, namespace: str) -> None:
        began = time.monotonic()
        self._replace_pods(namespace, await self._watches[namespace].listed())
        self._note_listed(PODS, namespace, began)

    def _replace_pods(self, namespace: str, found: Replaced[PodView]) -> None:
        self._add(self.store.replace_pods(namespace, found.objects, int(found.version), found.unread))

    async def _list_jobs(self, namespace: str) -> None:
        began = time.monotonic()
        present: set[names.Key] = set()
        version = "0"
        async with aclosing(self.client.pages(AGENT_JOBS, namespace)) as pages:
            async for page in pages:
                listed = {names.Key(namespace, body["metadata"]["name"]): body for body in page.items}
                present.update(listed)
                news = (key for key, body in listed.items() if not self._knows(key, body))
                self._add({key for key in news if self.store.take_job(key, listed[key])})
                version = page.version
        self._add(self.store.drop_absent(namespace, present, int(version)))
        self._note_listed(AGENT_JOBS, namespace, began)

    def _knows(self, key: names.Key, body: Object) -> bool:
        return self.store.knows(key, body["metadata"]["resourceVersion"])

    def _add(self, keys: set[names.Key]) -> None:
        for key in sorted(keys):
            self.queue.add(key)

    def _note_listed(self, kind: ResourceType, namespace: str, began: float) -> None:
        times = self._jobs_of if kind is AGENT_JOBS else self._pods_of
        times[namespace] = max(began, times.get(namespace, began))
        self.answered(kind, namespace, "list", None)
        self.news.set()

    def answered(self, kind: ResourceType, namespace: str, verb: str, error: ApiError | None) -> None:
        """Notes what a LIST or a watch of a kind has ended with; None where it was allowed."""
        what = f"{verb} {kind.plural}"
        if error is not None:
            is_news = self.reach.failed(namespace, what, error)
        elif is_news := self.reach.came(namespace, what):
            log.info("Namespace %s: %s is answered again", namespace, what)
        if error is not None or is_news:
            self.news.set()
        if is_news:
            # The next answer may come much later than the moment from which nothing waits for this one.
            asyncio.get_running_loop().call_later(self.reach.patience + EARLY_SECONDS, self.news.set)
