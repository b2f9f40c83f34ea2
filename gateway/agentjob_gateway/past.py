"""What comes before a ring, read from history and log once for all that want it at about the same time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from agentjob_api.lines import Line
from agentjob_gateway.entries import entry_of
from agentjob_gateway.reading import Gap
from agentjob_gateway.ring import BATCH_BYTES, Entry
from agentjob_gateway.sse import Position

NEAR: Final = 1_000
"""Somebody who is so many lines before what was read waits for them rather than to have it read once more."""
KEPT: Final = 4
"""Batches that are kept for those behind the first."""

Batches = AsyncGenerator[Sequence[Entry], None]
Read = Callable[[Position, Position], Batches]
"""What there is between two positions; raises ArchiveError."""


async def batched(job: str, items: AsyncGenerator[Line | Gap, None]) -> Batches:
    """Lines and gaps of a job, by its name, as entries: so many at once as are handed out at once."""
    batch: list[Entry] = []
    size = 0
    async with aclosing(items):
        async for item in items:
            batch.append(entry_of(job, item))
            size += len(batch[-1].chunk)
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


class Pasts:
    """All that is being read of one job's past."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._open: set[_Past] = set()

    async def between(self, after: Position, until: Position) -> AsyncGenerator[list[Entry], None]:
        """What there is between two positions. Nothing before `until` is to be a later call's `until`.

        Raises:
            ArchiveError: the history cannot be read at the moment.
        """
        while after < until:
            past = self._joined(after, until)
            try:
                while found := await past.after(after):
                    yield found
                    after = found[-1].position
                if found is not None:
                    after = past.until
            finally:
                self._leave(past)

    def _joined(self, after: Position, until: Position) -> "_Past":
        past = next((each for each in self._open if each.serves(after)), None)
        if past is None:
            past = _Past(self._read(after, until), after, until)
            self._open.add(past)
        past.users += 1
        return past

    def _leave(self, past: "_Past") -> None:
        past.users -= 1
        if not past.users:
            self._open.discard(past)
            past.end()


class _Past:
    """One reading. It goes on when somebody who has all of it wants more; who is far behind has to begin another."""

    def __init__(self, batches: Batches, after: Position, until: Position) -> None:
        self.until = until
        self.users = 0
        self._floors = deque([after], maxlen=KEPT + 1)
        """Where each batch that is kept begins, and where the last one ends."""
        self._batches: deque[Sequence[Entry]] = deque(maxlen=KEPT)
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run(batches))
        self._task.add_done_callback(self._ended)

    def serves(self, after: Position) -> bool:
        """Whether it has, or will soon have, what comes after a position."""
        attempt, seq = self._floors[-1]
        return self._floors[0] <= after < min(self.until, (attempt, seq + NEAR)) and not self._task.done()

    async def after(self, position: Position) -> list[Entry] | None:
        """The next entries after a position; none at its end, and None when some of them were dropped.

        Raises:
            ArchiveError: they cannot be read at the moment.
        """
        while self._floors[-1] <= position and not self._task.done():
            self._wanted.set()
            await self._news.wait()
        if position < self._floors[0]:
            return None
        found = [entry for batch in self._batches for entry in batch if entry.position > position]
        if not found:
            self._task.result()
        return found

    async def _run(self, batches: Batches) -> None:
        async with aclosing(batches):
            async for batch in batches:
                self._batches.append(batch)
                self._floors.append(batch[-1].position)
                self._wanted.clear()
                self._news.set()
                self._news = asyncio.Event()
                await self._wanted.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # whoever is left raises it
        self._news.set()

    def end(self) -> None:
        """Reads no more."""
        self._task.cancel()
