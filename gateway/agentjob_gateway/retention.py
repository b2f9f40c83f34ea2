"""What is kept of a job goes with the job: at once where its deletion was seen, by a sweep where it was not."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from agentjob_gateway.archive import Archive
from agentjob_gateway.cache import JobCache
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.peers import Peers
from agentjob_kube.backoff import Backoff

Object = dict[str, Any]

YOUNG: Final = timedelta(hours=1)
"""What was written since then is left alone by a sweep: its job may be one that is not known here yet."""
MAX_DOOMED: Final = 10_000
"""Jobs whose objects are to go at once; a sweep finds the others."""
log = logging.getLogger(__name__)


class Times(NamedTuple):
    """When it is looked for what is left."""

    sweep_seconds: float = 3_600.0
    """From one sweep to the next."""
    settle_seconds: float = 60.0
    """From finding what no job is known of to looking again: a LIST, or what a WATCH has to catch up with, may be on
    its way."""
    again: Backoff = Backoff(first=1.0, most=60.0)
    """Before what the store did not do is tried again."""


TIMES: Final = Times()


@dataclass(kw_only=True)
class Retention:
    """Takes objects away. Each replica does so for the jobs that are its own."""

    archive: Archive
    cache: JobCache
    peers: Peers
    clock: Callable[[], datetime]
    times: Times = TIMES
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits before it is looked again."""
    _doomed: dict[str, str] = field(default_factory=dict)
    """Namespaces by uid."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Works for ever."""
        self.cache.listeners.append(self._heard)
        await asyncio.gather(self._remove_all(), self._sweep_always())

    def _heard(self, job: Object, *, is_gone: bool) -> None:
        uid = job["metadata"]["uid"]
        if is_gone and self.peers.owns(uid) and len(self._doomed) < MAX_DOOMED:
            self._doomed[uid] = job["metadata"]["namespace"]
            self._news.set()

    async def _remove_all(self) -> None:
        failures = 0
        while True:
            self._news.clear()
            if not self._doomed:
                await self._news.wait()
            uid, namespace = next(iter(self._doomed.items()))
            try:
                await self.archive.remove(namespace, uid)
                del self._doomed[uid]
                failures = 0
            except ArchiveError as error:
                failures += 1
                log.warning("Objects of a deleted job stay for now: %s", error)
                await asyncio.sleep(self.times.again.delay(failures))

    async def _sweep_always(self) -> None:
        await self.cache.synced.wait()
        await self.peers.joined.wait()
        failures = 0
        while True:
            try:
                failures = 0 if await self.sweep() else failures + 1
            except ArchiveError as error:
                failures += 1
                log.warning("Looking for objects of deleted jobs: %s", error)
            await asyncio.sleep(self.times.again.delay(failures) if failures else self.times.sweep_seconds)

    async def sweep(self) -> bool:
        """Removes what is left of jobs that are gone; false when it is not known well enough which are.

        Of a namespace that cannot be read, all is left until it can be.

        Raises:
            ArchiveError: the store does not do its part.
        """
        for namespace in self.cache.readable():
            if not self.cache.is_current(namespace):
                return False
            old = self.clock() - YOUNG  # of before it is looked: what follows may take as long as that
            left = self._unknown(namespace, await self.archive.uids(namespace))
            if left:
                await self.sleep(self.times.settle_seconds)
                left = self._unknown(namespace, left)
            if not self.cache.is_current(namespace):
                return False
            for uid in left:
                await self._remove_old(namespace, uid, old)
        return True

    def _unknown(self, namespace: str, uids: Iterable[str]) -> list[str]:
        """Those of which there is no job, and that are for us."""
        known = {job["metadata"]["uid"] for job in self.cache.of(namespace)}
        return [uid for uid in uids if uid not in known and self.peers.owns(uid)]

    async def _remove_old(self, namespace: str, uid: str, old: datetime) -> None:
        newest = await self.archive.newest(namespace, uid)
        if newest is not None and newest < old:
            log.info("The objects of job %s go: it is gone", uid, extra={"namespace": namespace})
            await self.archive.remove(namespace, uid)
