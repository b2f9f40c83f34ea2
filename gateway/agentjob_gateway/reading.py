"""What is made of the lines of one attempt's log, and what to do when reading it has ended. Pure."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final, NamedTuple, Self, assert_never

from agentjob_api import outcome
from agentjob_api.lines import Line
from agentjob_gateway.sse import OPEN
from agentjob_kube.errors import ApiError, Invalid, NotFound, Refused

OVERLAP: Final = timedelta(seconds=2)
"""A log is read again from so long before its last line: the kubelet knows whole seconds, and a time of its own."""
MOST_SEARCHES: Final = 10
"""How often the whole log of an attempt is searched for lines that are missing: it may be one of 10 MiB."""
HASTY_RATE: Final = 10 * 1024 * 1024 / 300.0
"""Bytes a second of a log that is turned over, at 10 MiB, every five minutes or more often."""
HASTE_SECONDS: Final = 5.0
"""How long it is tried without delay to read on in such a one."""
_LAST_BEGINS: Final = b'{"type":"agentjob","subtype":"outcome"'


class Gap(NamedTuple):
    """Lines that are lost."""

    attempt: int
    first: int
    last: int | None
    """None where nobody knows how many, or whether any."""


Items = AsyncGenerator[Sequence[Line] | Gap, None]
"""Lines and gaps in their order, lines that come together together."""


class Reading:
    """How far the log of an attempt was read."""

    def __init__(self, attempt: int, seq: int = 0, until: int = OPEN, searches: int = MOST_SEARCHES) -> None:
        """What is wanted are the lines after `seq` up to `until`."""
        self.attempt = attempt
        self.seq = seq
        """Number of the last line."""
        self.until = until
        self.is_complete = False
        """Whether no more is wanted, or there will be no more: this was the runner's last line."""
        self.is_missing_lines = False
        """Whether a line came too early: the whole log is to be searched for those before it."""
        self._time: datetime | None = None
        self._sought = 0
        """The seq that the whole log was last read for."""
        self._searches = searches

    @classmethod
    def after(cls, line: Line) -> Self:
        """Wants what follows a line."""
        reading = cls(line.attempt, line.seq - 1)
        reading.take(line)
        return reading

    def since(self, *, is_whole: bool) -> datetime | None:
        """From when on to read now; None for the whole log."""
        if self._time is not None and not is_whole and not self.is_missing_lines:
            return self._time - OVERLAP
        self._sought = self.seq + 1
        self.is_missing_lines = False
        return None

    def take(self, line: Line) -> tuple[Line | Gap, ...]:
        """What a line adds: nothing when it is known, and nothing when those before it are to be looked for."""
        if not self.seq < line.seq <= self.until:
            return ()
        is_early = line.seq > self.seq + 1
        if is_early and self._sought != self.seq + 1 and self._searches:
            self._searches -= 1
            self.is_missing_lines = True
            return ()
        gap = Gap(self.attempt, self.seq + 1, line.seq - 1)
        self.seq, self._time = line.seq, line.time
        self.is_complete = line.seq == self.until or (
            line.message.startswith(_LAST_BEGINS) and outcome.from_line(line.message) is not None
        )
        return (gap, line) if is_early else (line,)

    def taken(self, lines: Iterable[Line]) -> Iterator[Sequence[Line] | Gap]:
        """What lines add, up to the last that is wanted, or the first that comes too early."""
        found: list[Line] = []
        for line in lines:
            for item in self.take(line):
                if isinstance(item, Line):
                    found.append(item)
                    continue
                if found:
                    yield found
                yield item
                found = []
            if self.is_complete or self.is_missing_lines:
                break
        if found:
            yield found

    def rest(self) -> Gap:
        """What is wanted and has not come."""
        return Gap(self.attempt, self.seq + 1, None if self.until == OPEN else self.until)


class Flow:
    """How fast a log grows, as far as it was read."""

    def __init__(self) -> None:
        self._rate = 0.0
        """Bytes a second, while it was last read with anything coming."""
        self._last = float("-inf")
        """When that was."""

    def came(self, size: int, seconds: float, now: float) -> None:
        """So many bytes were read within a time, up to now."""
        if size:
            self._rate, self._last = size / max(seconds, 1.0), now

    def is_hasty(self, now: float) -> bool:
        """Whether it is to be read on without delay: it may be turned over before that."""
        return self._rate >= HASTY_RATE and now - self._last < HASTE_SECONDS


class End(Enum):
    """How it ended that a log was read."""

    COMPLETE = auto()
    """With the last line that is wanted, or that there will be."""
    MISSING = auto()
    """With a line before which others are missing."""
    EOF = auto()
    """There is no more at the moment, or at all."""
    TEXT = auto()
    """There was none of our lines in it, and something else: perhaps an error of the kubelet's."""
    NOT_STARTED = auto()
    """The container has not started; so says a kubelet, too, that has started just now."""
    GONE = auto()
    """There is no such Pod."""
    REFUSED = auto()
    """The API server, or the kubelet, would not give it."""
    UNREACHABLE = auto()
    """It broke off, or nobody answered."""


class Next(Enum):
    """What to do then."""

    DONE = auto()
    """All there is was read."""
    LOST = auto()
    """There may be more, and it cannot be had."""
    LATER = auto()
    """Read on in a while."""
    AT_ONCE = auto()
    """Read on now."""


PATIENCE: Final = {End.TEXT: 5.0, End.NOT_STARTED: 5.0, End.REFUSED: 60.0, End.UNREACHABLE: 600.0}
"""Seconds for which it is tried to read a log after its end, by what stands against it."""


def next_step(end: End, *, has_ended: bool, seconds: float) -> Next:
    """What to do after a log was read.

    `has_ended`: whether the attempt was known to have ended before the log was read, so that all of it was there.
    `seconds`: for how long reading has ended like this, again and again, without a new line.
    """
    match end:
        case End.COMPLETE:
            return Next.DONE
        case End.MISSING:
            return Next.AT_ONCE
        case _ if not has_ended:
            return Next.LATER
        case End.EOF:
            return Next.DONE
        case End.GONE:
            return Next.LOST
        case End.TEXT | End.NOT_STARTED | End.REFUSED | End.UNREACHABLE:
            return Next.LATER if seconds < PATIENCE[end] else Next.LOST
        case _:
            assert_never(end)


def end_of(error: ApiError) -> End:
    """What an error means for a log.

    Only the API server's own 404 says that there is no Pod. A kubelet's, which the API server passes on in other words
    (NewGenericServerResponse), may be that of one that has started just now and knows no Pods yet.
    """
    match error:
        case Invalid():
            return End.NOT_STARTED
        case NotFound() if str(error).startswith('pods "'):
            return End.GONE
        case Refused():
            return End.REFUSED
        case _:
            return End.UNREACHABLE
