"""The last lines of one job, ready to be written: what readers that fall a little behind are served from. Pure."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from agentjob_gateway.sse import START, Position

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_ENTRIES: Final = 10_000
BATCH_BYTES: Final = 64 * 1024
"""About how much is handed out at once."""
_COMPACT: Final = 1_024
"""Dropped entries whose places are kept at most, before the rest moves up."""


class Entry(NamedTuple):
    """A line, or a gap, as every reader gets it."""

    position: Position
    """Where a reader is after it."""
    first: int
    """The first seq it stands for: of a line its own."""
    time: datetime | None
    """Of a line; None for a gap."""
    truncated: bool
    """Of a line: whether its message is only the beginning."""
    chunk: bytes
    """The event, as one chunk of an HTTP body."""


_DROPPED: Final = Entry(START, 0, None, False, b"")  # noqa: FBT003 - an entry's own field


class Ring:
    """Entries in the order of their positions, the oldest dropped beyond a number of bytes or entries."""

    def __init__(self, start: Position, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        self.floor = start
        """Everything after it is here."""
        self.last = start
        """The position of the latest entry."""
        self.size = 0
        """Bytes of all entries."""
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: list[Entry] = []
        self._head = 0
        """Entries before this one are dropped: they are taken out of the list many at a time."""

    def __len__(self) -> int:
        return len(self._entries) - self._head

    def begin(self, position: Position) -> None:
        """Takes what comes after a position as the first: only before there is an entry."""
        assert not self._entries, "expected a ring without entries"
        assert position > self.last, f"expected a position after {self.last}, found {position}"
        self.floor = self.last = position

    def append(self, entry: Entry) -> None:
        """Takes the next entry. The latest is kept whatever its size."""
        assert entry.position > self.last, f"expected an entry after {self.last}, found {entry.position}"
        self._entries.append(entry)
        self.last = entry.position
        self.size += len(entry.chunk)
        while len(self) > 1 and (self.size > self._max_bytes or len(self) > self._max_entries):
            self._drop()

    def _drop(self) -> None:
        oldest = self._entries[self._head]
        self.floor = oldest.position
        self.size -= len(oldest.chunk)
        self._entries[self._head] = _DROPPED
        self._head += 1
        if self._head > min(_COMPACT, len(self._entries) // 2):
            del self._entries[: self._head]
            self._head = 0

    def portions(self, entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
        """Entries in portions that there is room for: of each, all is here once it was appended."""
        begin = size = 0
        for at, entry in enumerate(entries):
            size += len(entry.chunk)
            if begin < at and (size > self._max_bytes or at - begin == self._max_entries):
                yield entries[begin:at]
                begin, size = at, len(entry.chunk)
        yield entries[begin:]

    def after(self, position: Position, limit: int = BATCH_BYTES) -> list[Entry] | None:
        """The next entries after a position, of `limit` bytes or one more entry; None when some of them were dropped.

        The lookup is O(log n).
        """
        if position < self.floor:
            return None
        found: list[Entry] = []
        begin = bisect_right(self._entries, position, lo=self._head, key=lambda entry: entry.position)
        for index in range(begin, len(self._entries)):
            found.append(self._entries[index])
            limit -= len(self._entries[index].chunk)
            if limit <= 0:
                break
        return found
