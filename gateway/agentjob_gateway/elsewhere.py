"""Lines that are lost here, and perhaps not at another replica: what it keeps of them takes the place of the gap.

Two replicas follow each job. When both are cut off, the one that comes back first may read what is turned over before
the other one has come.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from agentjob_api.lines import Line
from agentjob_gateway.entries import clipped
from agentjob_gateway.follow import Pace
from agentjob_gateway.history import ArchiveError, SilentError, in_time
from agentjob_gateway.known import Known
from agentjob_gateway.past import Pasts, batched
from agentjob_gateway.reading import Gap, Reading
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import OPEN, Position

MOST: Final = 10
"""Gaps of one job that are looked for, the latest: a log may be full of holes, where text came between its lines."""
AGAIN_SECONDS: Final = 1.0
"""Between two looks into the archive for what it had not yet; so long before the time is over the last one begins."""
log = logging.getLogger(__name__)


class Elsewhere:
    """Of one job."""

    def __init__(self, known: Known, pace: Pace, seconds: float, is_alone: Callable[[], bool]) -> None:
        """`seconds`: how long lines are waited for, counted from when they were found to be missing.

        No longer does anybody wait for an archive that gives no answer.

        `is_alone`: whether there is no other replica that could have them.
        """
        self._known = known
        self._pace = pace
        self._seconds = seconds
        self._is_alone = is_alone
        self._until: dict[Position, float] = {}
        """Until when the lines of a gap may come, by the gap's position. After that they are looked for once."""
        self._silent_at = float("-inf")
        """When an archive that gave no answer was last given up."""
        self._pasts = Pasts(self._read)

    def miss(self, position: Position, since: float) -> None:
        """From now on the lines of a gap are looked for, and waited for if somebody may write them.

        `since`: when they were found to be missing, on the pace's clock.
        """
        if position.seq == OPEN or not self._known.is_kept or self._known.has_ended(position.attempt):
            return
        self._until[position] = since + (0.0 if self._is_alone() else self._seconds)
        if len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    async def filled(self, batch: Sequence[Entry]) -> AsyncGenerator[Sequence[Entry], None]:
        """Entries with lines in place of gaps, as far as they can be had."""
        begin = 0
        for at, entry in enumerate(batch):
            if entry.time is not None or entry.position not in self._until:
                continue
            if begin < at:
                yield batch[begin:at]
            before = Position(entry.position.attempt, entry.first - 1)
            async with aclosing(self._pasts.between(before, entry.position)) as found:
                async for each in found:
                    each[0] = clipped(self._known.key.name, each[0], before)
                    yield each
                    before = each[-1].position
            begin = at + 1
        if begin < len(batch):
            yield batch[begin:]

    def _read(self, after: Position, until: Position) -> AsyncGenerator[Sequence[Entry], None]:
        gap = Gap(until.attempt, after.seq + 1, until.seq)
        return batched(self._known.key.name, self._items(gap, self._until.get(until, 0.0)))

    async def _items(self, gap: Gap, until: float) -> AsyncGenerator[Line | Gap, None]:
        """The lines of a gap as they come into the archive; what is not there at the end is told as lost."""
        clock, last = self._pace.clock, until - AGAIN_SECONDS
        if is_late := clock() >= last:
            until = clock() + self._seconds
        reading = Reading(gap.attempt, gap.first - 1, gap.last or OPEN, searches=0)
        while clock() < last:
            async with aclosing(self._kept(reading, last, has_gaps=False)) as found:
                async for item in found:
                    yield item
            if reading.is_complete:
                return
            await self._pace.wait(self._known, min(AGAIN_SECONDS, max(0.0, last - clock())))
        if not is_late or clock() >= self._silent_at + AGAIN_SECONDS:
            until = max(until, clock() + AGAIN_SECONDS)  # or lines that came slowly would leave it no time
            async with aclosing(self._kept(reading, until, has_gaps=True)) as found:
                async for item in found:
                    yield item
        if not reading.is_complete:
            yield reading.rest()

    async def _kept(self, reading: Reading, until: float, *, has_gaps: bool) -> AsyncGenerator[Line | Gap, None]:
        """What is wanted and kept; unless it may have gaps, up to the first line that is not.

        It is waited for until a time; lines that are coming by then are not cut off, unless there are none for a while.
        """
        clock, before = self._pace.clock, reading.seq

        def seconds() -> float:
            is_coming = reading.seq > before
            return max(until - clock(), AGAIN_SECONDS if is_coming else 0.0)

        try:
            async with aclosing(in_time(self._known.past(reading.attempt, reading.seq), seconds)) as found:
                async for line in found:
                    if line.seq > reading.until or (line.seq > reading.seq + 1 and not has_gaps):
                        return
                    for item in reading.take(line):
                        yield item
        except ArchiveError as error:
            if isinstance(error, SilentError) and has_gaps:
                self._silent_at = clock()
            log.info("Looking for lines that are lost here: %s", error, extra=self._known.facts)
