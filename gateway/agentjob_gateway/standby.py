"""What jobs say that are another replica's to read, at hand should that one go.

The kubelet may turn a log over between the last line that was kept and the first that the next one would read.
"""

import asyncio
import logging
from collections.abc import Iterable
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


class Standby:
    """Follows each job that it is told of."""

    def __init__(self, source: Followed, most: int) -> None:
        """`most`: so many at once."""
        self._source = source
        self._most = most
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By uid; one that has ended stays until its job is no longer told of."""

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, uid: str) -> bool:
        return uid in self._tasks

    def assign(self, jobs: Iterable[Object]) -> None:
        """From now on follows these, and no others."""
        wanted = {job["metadata"]["uid"]: job for job in jobs}
        for uid in self._tasks.keys() - wanted.keys():
            self._tasks.pop(uid).cancel()
        for uid, job in wanted.items():
            if uid not in self._tasks and len(self._tasks) < self._most:
                self._tasks[uid] = asyncio.create_task(self._follow(job))

    async def _follow(self, job: Object) -> None:
        failures = 0
        while True:
            try:
                await self._source.follow(key_of(job), job["metadata"]["uid"])
            except Unavailable as error:
                failures += 1
                log.info("Following a job for another replica: %s", error, extra={"job": job["metadata"]["name"]})
                await asyncio.sleep(AGAIN.delay(failures))
            else:
                return

    async def stop(self) -> None:
        """Follows nothing any more."""
        tasks = tuple(self._tasks.values())
        self.assign(())
        await asyncio.gather(*tasks, return_exceptions=True)
