"""kopf, as far as we use it: it watches AgentJobs and says which has changed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiohttp
import kopf

from agentjob_api import names
from agentjob_kube.backoff import WATCH
from agentjob_kube.connect import Connection, verb_of
from agentjob_kube.errors import ApiError, refused
from agentjob_kube.resources import AGENT_JOBS
from agentjob_operator.store import Store
from agentjob_operator.watch import Watcher
from agentjob_operator.work import WorkQueue

Task = asyncio.Task[Any]
NO_JOB: Final = "metadata.name=-"
"""Selects none: it is no name that an object could have."""
BRIEF_SECONDS: Final = 1.0
"""From when a watch was allowed to the next one, where it has ended at once."""


class NoDifferences(kopf.DiffBaseStorage):
    """What kopf compares an object with to find what has changed: nothing.

    By default it copies the whole of each object at each event, 0.12 ms of CPU, though nobody asks for the difference.
    """

    def build(self, **_: object) -> kopf.BodyEssence:
        """An object that has nothing to be compared."""
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        """What it was before is not known."""

    def store(self, **_: object) -> None:
        """Nothing is kept."""


def settings() -> kopf.OperatorSettings:
    """Kopf's settings: no Events, no look around the cluster, no request without an end, nothing slow at the end."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.persistence.diffbase_storage = NoDifferences()
    chosen.scanning.disabled = True
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    # Its own go up to 21 s, by which it would then be late; together they are as long as kopf's, before it gives up.
    chosen.networking.error_backoffs = (1, 1, 2, 3, *[5] * 10)
    chosen.watching.server_timeout = 290
    chosen.queueing.exit_timeout = 0.1
    chosen.queueing.idle_timeout = 0.1
    # kopf would kill this process ten minutes after it was asked to stop, stopped or not.
    chosen.process.ultimate_exiting_timeout = None
    return chosen


@dataclass(kw_only=True)
class Login:
    """kopf's sessions: one at a time, and no faster one after the other than a refused credential is worth."""

    connection: Connection
    sessions: AsyncExitStack
    """The last one ends with it."""
    listed: Callable[[], None]
    """Called once kopf has listed the jobs."""
    watches: Callable[[ApiError | None], None]
    """Called with what each watch of jobs is answered; None where it is allowed."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _last: AsyncExitStack | None = None
    _since: float = float("-inf")
    _failures: int = 0
    _watched: float = float("-inf")
    """When a watch was last allowed."""
    _brief: int = 0
    """Watches in a row that have ended at once."""

    async def log_in(self) -> kopf.AiohttpSession:
        """Another session: kopf asks for it at the start, and again at once whenever a credential was refused."""
        if self._last is None:
            self._last = await self.sessions.enter_async_context(AsyncExitStack())
        else:
            await self._last.aclose()
            self._failures = 1 if self.clock() > self._since + WATCH.most else self._failures + 1
            await self.sleep(WATCH.delay(self._failures))
        self._since = self.clock()
        session = await self._last.enter_async_context(self.connection.session(self._heard))
        return kopf.AiohttpSession(aiohttp_session=session, server=self.connection.server)

    async def _heard(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        match verb_of(request):
            case "list":
                return await self._listed_by_us(request, handler)
            case "watch":
                return await self._watched_at_a_pace(request, handler)
            case _:
                return await handler(request)

    async def _watched_at_a_pace(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # kopf begins another one at once, or after a LIST, whether the last one has told anything or not.
        self._brief = self._brief + 1 if self.clock() < self._watched + BRIEF_SECONDS else 0
        if self._brief:
            await self.sleep(WATCH.delay(self._brief))
        response = await handler(request)
        if response.ok:
            self._watched = self.clock()
        self.watches(None if response.ok else refused(response.status, await response.read()))
        return response

    async def _listed_by_us(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # kopf holds a whole LIST in memory, several times over, and does not say what has gone since its last one. So
        # its own tells it only from where on to watch, and one of ours brings the jobs, a page at a time.
        request.url = request.url.update_query(fieldSelector=NO_JOB)
        response = await handler(request)
        if response.ok:  # where it was refused, ours waits for its own time
            self.listed()
        return response


def registry(
    connection: Connection, sessions: AsyncExitStack, watcher: Watcher, namespace: str
) -> kopf.OperatorRegistry:
    """The two handlers: how to log in, and what to do when a job has changed. kopf's sessions end with `sessions`."""
    handlers = kopf.OperatorRegistry()
    login = Login(
        connection=connection,
        sessions=sessions,
        listed=partial(watcher.list_now, namespace),
        watches=partial(watcher.answered, AGENT_JOBS, namespace, "watch"),
    )

    @kopf.on.login(registry=handlers)
    async def log_in(**_: object) -> kopf.AiohttpSession:
        return await login.log_in()

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=handlers)
    async def job_changed(event: kopf.RawEvent, **_: object) -> None:
        note(event, watcher.store, watcher.queue)

    return handlers


def note(event: kopf.RawEvent, store: Store, queue: WorkQueue) -> None:
    """Puts what an event says about a job into the store, and its key into the queue if that is news."""
    meta = event["object"]["metadata"]
    key = names.Key(meta["namespace"], meta["name"])
    if event["type"] == "DELETED":
        store.drop_job(key, meta["uid"])
        queue.add(key)
        return
    if store.knows(key, meta["resourceVersion"]):  # our own write, whose answer was quicker
        return
    if store.take_job(key, event["object"]):
        queue.add(key)


@asynccontextmanager
async def watched(handlers: kopf.OperatorRegistry, namespace: str) -> AsyncIterator[set[Task]]:
    """Kopf's tasks while the block runs. When one of them ends, kopf has failed and the others are of no use."""
    tasks = set(
        await kopf.spawn_tasks(
            registry=handlers, settings=settings(), namespaces=[namespace], standalone=True, clusterwide=False
        )
    )
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
