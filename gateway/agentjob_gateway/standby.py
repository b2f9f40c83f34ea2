"""What jobs say that are another replica's to read: at hand should that one go, and written should it not do so.

The kubelet may turn a log over between the last line that was kept and the first that the next one would read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final, Protocol

from agentjob_api.names import Key
from agentjob_gateway.cache import key_of
from agentjob_gateway.errors import Unavailable
from agentjob_kube.backoff import Backoff

Object = dict[str, Any]

AGAIN: Final = Backoff(first=1.0, most=60.0)
"""Before a job is followed again that could not be."""
log = logging.getLogger(__name__)


class Followed(Protocol):
    """What follows jobs."""

    async def follow(self, key: Key, uid: str) -> None:
        """Keeps the latest lines of a job at hand until it has ended; raises Unavailable."""
        ...


class Writer(Protocol):
    """Writes the lines of one job that its replica does not write."""

    async def run(self) -> object:
        """Works until the job has ended, or it was handed over; raises Unavailable."""
        ...

    def hand_over(self) -> None:
        """Ends it once what was read is written."""
        ...


class Begin(Protocol):
    """Makes what writes a job's lines."""

    def __call__(self, job: Object, *, is_alone: bool) -> Writer:
        """`is_alone`: whoever else is to write them may not have begun."""
        ...


class Standby:
    """Follows each job that it is told of."""

    def __init__(self, source: Followed, most: int, begin: Begin | None = None) -> None:
        """`most`: so many at once. Without `begin`, no lines are written."""
        self._source = source
        self._most = most
        self._begin = begin
        self._held: dict[str, _Held] = {}
        """By uid; one that has ended stays until its job is no longer told of."""
        self._leaving: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, uid: str) -> bool:
        return uid in self._held

    def assign(
        self, jobs: Iterable[Object], open_uids: Collection[str] = (), handed_over: Collection[str] = ()
    ) -> None:
        """From now on follows these, and no others. What was read of one that is still open is written first.

        `handed_over`: those that were this replica's own up to now.
        """
        wanted = {job["metadata"]["uid"]: job for job in jobs}
        for uid in self._held.keys() - wanted.keys():
            task = asyncio.create_task(self._held.pop(uid).end(writes=uid in open_uids))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for uid, job in wanted.items():
            if uid not in self._held and len(self._held) < self._most:
                self._held[uid] = _Held(self._source, job, self._begin, is_alone=uid in handed_over)

    async def stop(self) -> None:
        """Follows nothing any more."""
        self.assign(())
        leaving = tuple(self._leaving)
        await asyncio.sleep(0)  # each has begun to end what it holds
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)


class _Held:
    """One job."""

    def __init__(self, source: Followed, job: Object, begin: Begin | None, *, is_alone: bool) -> None:
        self._source = source
        self._job = job
        self._begin = begin
        self._is_alone = is_alone
        self._writer: Writer | None = None
        self._following = asyncio.create_task(self._again(self._follow))
        self._writing = asyncio.create_task(self._again(self._write))

    async def end(self, *, writes: bool) -> None:
        """Returns once nothing is left of it; `writes`: and what was read is written."""
        self._begin, tasks = None, (self._following, self._writing)
        try:
            if writes and self._writer is not None:
                self._writer.hand_over()
                await asyncio.wait([self._writing])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        await self._source.follow(key_of(self._job), self._job["metadata"]["uid"])

    async def _write(self) -> None:
        if self._begin is not None:
            self._writer = self._begin(self._job, is_alone=self._is_alone)
            try:
                await self._writer.run()
            finally:
                self._writer = None

    async def _again(self, do: Callable[[], Awaitable[None]]) -> None:
        failures, facts = 0, {"job": self._job["metadata"]["name"]}
        while True:
            try:
                await do()
            except Unavailable as error:
                log.info("Following a job for another replica: %s", error, extra=facts)
            except Exception:  # the outermost frame of each job: a defect of ours is told, and not the end of it
                log.exception("Following a job for another replica", extra=facts)
            else:
                return
            failures += 1
            await asyncio.sleep(AGAIN.delay(failures))
