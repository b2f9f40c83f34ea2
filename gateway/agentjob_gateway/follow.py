"""A job's lines as they come from the cluster: every one once, in order, through all attempts, whatever goes wrong.

A log is followed until it breaks off, and then read again from its last known line on. What is known already is told by
`seq`; what is not there, though a later line is, is looked for in the whole log, then in the history, and then told as
a `Gap`.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from agentjob_api import lines
from agentjob_api.lines import Line
from agentjob_api.names import AGENT_CONTAINER, Key, pod_name
from agentjob_gateway.history import ArchiveError, DamagedError, together
from agentjob_gateway.known import Known
from agentjob_gateway.lag import Lag
from agentjob_gateway.reading import PATIENCE, End, Flow, Gap, Items, Next, Reading, end_of, next_step
from agentjob_gateway.sse import OPEN, Position
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError

LOOK_SECONDS: Final = 30.0
"""A job is looked at again after so long, though nothing was heard of it."""
log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What all streams of a process come to."""

    streams: int = 0
    """Streams that are open, calls of run_claude_agent among them."""
    follows: int = 0
    """Logs that are being read for them."""
    lines: int = 0
    """Lines that came from the cluster."""
    skipped: int = 0
    """Lines of text in a log that are none of a runner's."""
    gaps: int = 0
    """Places at which lines are lost."""
    bytes: int = 0
    """Bytes of events that went to clients."""
    damaged: int = 0
    """Times that lines could not be had because what they are kept in is damaged."""
    dropped: int = 0
    """Clients that did not read, and were hung up on."""
    lag: Lag = field(default_factory=Lag)
    """Of the last of all lines that came at once, if they were said since their job is followed."""


class Pace(NamedTuple):
    """How a log is read again that has given nothing more."""

    again: Backoff = Backoff(first=0.1, most=5.0)
    wait: Callable[[Known, float], Awaitable[None]] = Known.change
    """Waits for a change of the job, or so many seconds."""
    clock: Callable[[], float] = time.monotonic


PACE: Final = Pace()


class Follower:
    """The lines of one job."""

    def __init__(self, client: Client, known: Known, counts: Counts, pace: Pace = PACE) -> None:
        self._client = client
        self._known = known
        self._counts = counts
        self._pace = pace
        self._end = End.EOF
        """How the last reading ended."""
        self._failures = 0
        """How often in a row a log was read without a new line."""
        self._at_least = 0.0
        """Seconds for which the API server wants to be left alone."""
        self._flow = Flow()
        self.missed_at = 0.0
        """When the lines of the latest gap were found to be missing, on the pace's clock."""

    async def items(self, attempt: int, last: Line | None = None) -> Items:
        """Everything from this attempt on, as it comes. Ends when the job has, or is gone.

        `last`: a line of the attempt; only what follows it is wanted, so that the log is read from its time on.

        Raises:
            ArchiveError: what is left of an attempt that is over is in the history, which does not answer.
        """
        while await self._begins(attempt):
            reading = Reading(attempt) if last is None else Reading.after(last)
            async with aclosing(self._all(reading)) as items:
                async for found in items:
                    yield found
            attempt, last = attempt + 1, None

    async def past(self, after: Position, until: Position) -> AsyncGenerator[Line | Gap, None]:
        """The lines after a position up to another, from history and logs; what is in neither is told as gaps.

        Raises:
            ArchiveError: what is no longer in a log may be in the history, which does not answer.
        """
        for attempt in range(max(after.attempt, 1), until.attempt + 1):
            begin = after.seq if attempt == after.attempt else 0
            end = until.seq if attempt == until.attempt else OPEN
            if begin < end:
                async with aclosing(self._all(Reading(attempt, begin, end, searches=0), is_past=True)) as items:
                    async for found in items:
                        for item in (found,) if isinstance(found, Gap) else found:
                            yield item

    async def _begins(self, attempt: int) -> bool:
        """Waits for an attempt; false when there will be none."""
        while not self._known.is_gone:
            if self._known.attempts >= attempt:
                return True
            if self._known.is_final:
                return False
            await self._pace.wait(self._known, LOOK_SECONDS)
        return False

    async def _all(self, reading: Reading, *, is_past: bool = False) -> Items:
        """All that is wanted of an attempt, wherever it is. `is_past`: it has been there."""
        if is_past or self._known.has_all:
            async with aclosing(together(self._kept(reading))) as kept:
                async for found in kept:
                    yield found
        if reading.is_complete:
            return
        async with aclosing(self._attempt(reading, is_past=is_past)) as items:
            async for found in items:
                if not isinstance(found, Gap):
                    yield found
                    continue
                async with aclosing(self._recalled(found, is_past=is_past)) as recalled:
                    async for each in recalled:
                        yield each

    async def _kept(self, reading: Reading) -> AsyncGenerator[Line | Gap, None]:
        """The next lines of the history, up to the first that is missing there: the log may have it."""
        try:
            async with aclosing(self._known.past(reading.attempt, reading.seq)) as found:
                async for line in found:
                    if line.seq != reading.seq + 1 or reading.is_complete:
                        return
                    for item in reading.take(line):
                        yield item
        except ArchiveError as error:
            log.info("Reading the archive: %s", error, extra=self._known.facts)

    async def _recalled(self, gap: Gap, *, is_past: bool) -> Items:
        """What takes the place of a gap. The lines of an attempt that goes on are not held up by what is lost."""
        self.missed_at, failures = self._pace.clock(), 0
        while True:
            goes_on = not is_past and not self._known.has_ended(gap.attempt)
            try:
                async with aclosing(together(self._remembered(gap, goes_on=goes_on))) as items:
                    async for found in items:
                        yield found
                        gap = _rest(gap, found)
            except ArchiveError as error:
                if not is_past and not self._known.has_ended(gap.attempt):
                    yield gap
                    return
                if self._pace.clock() - self.missed_at > PATIENCE[End.REFUSED]:
                    raise
                level = logging.DEBUG if failures else logging.WARNING
                log.log(level, "Reading the archive: %s", error, extra=self._known.facts)
                failures += 1
                await self._pace.wait(self._known, self._pace.again.delay(failures))
            else:
                return

    async def _remembered(self, gap: Gap, *, goes_on: bool) -> AsyncGenerator[Line | Gap, None]:
        """The lines of a gap as far as they are in the history, and gaps for the others.

        Raises:
            ArchiveError: the history cannot be read at the moment. What was given is right.
        """
        reading = Reading(gap.attempt, gap.first - 1, OPEN if gap.last is None else gap.last, searches=0)
        has_all, look = self._known.has_all, self._known.soon if goes_on else self._known.past
        try:
            async with aclosing(look(gap.attempt, reading.seq)) as found:
                async for line in found:
                    if line.seq > reading.until:
                        break
                    for item in reading.take(line):
                        yield item
        except DamagedError as error:
            log.error("Lines are lost in the archive: %s", error, extra=self._known.facts)  # noqa: TRY400 - no defect here
            self._counts.damaged += 1
            has_all = False
        if not reading.is_complete and not (gap.last is None and has_all and reading.seq):
            yield reading.rest()

    async def _attempt(self, reading: Reading, *, is_past: bool) -> Items:
        """All that is wanted of an attempt, from its log."""
        step, vain_since = Next.LATER, self._pace.clock()
        while step in (Next.LATER, Next.AT_ONCE):
            has_ended, before = is_past or self._known.has_ended(reading.attempt), (reading.seq, self._end)
            if has_ended and self._never_ran(reading):
                return
            async with aclosing(self._read(reading, has_ended=has_ended)) as items:
                async for found in items:
                    yield found
            if not has_ended or (reading.seq, self._end) != before:
                vain_since = self._pace.clock()
            step = next_step(self._end, has_ended=has_ended, seconds=self._pace.clock() - vain_since)
            if step is Next.LATER:
                self._failures += 1
                failures = 1 if self._flow.is_hasty(self._pace.clock()) else self._failures
                await self._pace.wait(self._known, self._pace.again.delay(failures, self._at_least))
        if step is Next.LOST or (reading.until != OPEN and not reading.is_complete):
            yield reading.rest()

    def _never_ran(self, reading: Reading) -> bool:
        """Whether an attempt that has ended cannot have lines."""
        has_lines = reading.seq > 0 or reading.until != OPEN
        return not has_lines and not self._known.may_have_run(reading.attempt)

    async def _read(self, reading: Reading, *, has_ended: bool) -> Items:
        """What one reading adds; `_end` tells how it ended. After the attempt's end, nothing less than all will do."""
        since = reading.since(is_whole=has_ended)
        self._counts.follows += 1
        self._at_least = 0.0
        has_text = has_lines = has_news = False
        size, begun = 0, self._pace.clock()
        try:
            async with aclosing(self._log(reading.attempt, follow=not has_ended, since=since)) as log_lines:
                async for texts in log_lines:
                    ours = self._ours(texts, reading.attempt)
                    has_text, has_lines = has_text or len(ours) < len(texts), has_lines or bool(ours)
                    size += sum(map(len, texts))
                    for found in reading.taken(ours):
                        self._failures, has_news = 0, True
                        yield found
                    if reading.is_complete or reading.is_missing_lines:
                        break
            self._end = _end(reading, is_text=has_text and not has_lines)
        except ApiError as error:
            self._failed(error, reading.attempt)
        finally:
            self._counts.follows -= 1
            self._flow.came(size if has_news else 0, self._pace.clock() - begun, self._pace.clock())

    def _failed(self, error: ApiError, attempt: int) -> None:
        self._end, self._at_least = end_of(error), error.retry_after
        if self._end in (End.REFUSED, End.UNREACHABLE) and not self._failures:
            # An agent that thinks for long is silence, too: that a log breaks off is no news by itself.
            level = logging.WARNING if self._end is End.REFUSED else logging.INFO
            log.log(level, "Reading a log: %s", error, extra=self._known.facts | {"attempt": attempt})

    def _log(self, attempt: int, *, follow: bool, since: datetime | None) -> AsyncGenerator[list[bytes], None]:
        """An attempt's log."""
        job = self._known.key
        pod = Key(job.namespace, pod_name(job.name, attempt))
        return self._client.log_lines(pod, AGENT_CONTAINER, follow=follow, since=since)

    def _ours(self, texts: list[bytes], attempt: int) -> list[Line]:
        """Of a log's lines those that an attempt's runner has printed."""
        ours = []
        for text in texts:
            line = lines.parse(text)
            if line is not None and line.attempt == attempt:
                ours.append(line)
        self._counts.skipped += len(texts) - len(ours)
        return ours


def _end(reading: Reading, *, is_text: bool) -> End:
    """How a reading ended that no error has ended."""
    if reading.is_complete:
        return End.COMPLETE
    if reading.is_missing_lines:
        return End.MISSING
    return End.TEXT if is_text else End.EOF


def _rest(gap: Gap, found: Sequence[Line] | Gap) -> Gap:
    """What is left of a gap after something in it."""
    last = found.last if isinstance(found, Gap) else found[-1].seq
    return gap if last is None else gap._replace(first=last + 1)
