"""The archive as the second of two replicas writes to it: what the first has not written in time.

So lines are written whatever becomes of the first, and while one that has just come is not yet where the agent is. Both
find out by what is in the store alone: neither asks the other, and either may be killed at any moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from agentjob_gateway.archive import Archive
from agentjob_gateway.archive_keys import Kept, Part, Spans
from agentjob_gateway.reading import Gap


class Second:
    """Of one job. What is lost, and when an attempt is over, is for the first to say: it may know more."""

    def __init__(
        self, archive: Archive, seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """`seconds`: how long the first may take to write a part."""
        self._archive = archive
        self._seconds = seconds
        self._sleep = sleep
        self._is_alone = False
        """Whether the first has not written what it was waited for: it is not waited for again until it writes."""

    async def kept(self, namespace: str, uid: str) -> dict[int, Kept]:
        """What is kept of the job, by attempt."""
        return await self._archive.kept(namespace, uid)

    async def gaps(self, namespace: str, uid: str, attempt: int) -> tuple[Gap, ...]:
        """The lines of an attempt that are known to be lost."""
        return await self._archive.gaps(namespace, uid, attempt)

    async def write(self, namespace: str, uid: str, part: Part) -> int:
        """Keeps a part unless it is there in time; the bytes that were written."""
        if not self._is_alone and not await self._is_there(namespace, uid, part):
            await self._sleep(self._seconds)
        if await self._is_there(namespace, uid, part):
            self._is_alone = False
            return 0
        self._is_alone = True
        return await self._archive.write(namespace, uid, part)

    async def note_gaps(self, namespace: str, uid: str, attempt: int, gaps: Sequence[Gap]) -> None:
        """Does nothing."""

    async def seal(self, namespace: str, uid: str, attempt: int) -> None:
        """Does nothing."""

    async def _is_there(self, namespace: str, uid: str, part: Part) -> bool:
        found = (await self.kept(namespace, uid)).get(part.attempt, Kept())
        return found.is_sealed or Spans(found.parts).covers(part.span)
