"""Lines and gaps as they are kept and handed out. Pure."""

from agentjob_api.lines import Line
from agentjob_gateway import sse
from agentjob_gateway.reading import Gap
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import OPEN, Position


def entry_of(job: str, item: Line | Gap) -> Entry:
    """A line or a gap of a job, by its name, as every reader gets it."""
    if isinstance(item, Gap):
        position = Position(item.attempt, OPEN if item.last is None else item.last)
        return Entry(position, item.first, None, truncated=False, chunk=sse.chunked(sse.gap(*item)))
    position = Position(item.attempt, item.seq)
    return Entry(position, item.seq, item.time, item.truncated, sse.chunked(sse.line(job, item)))


def item_of(entry: Entry) -> Line | Gap:
    """The line or gap that an entry was made of; newlines in a message, if any, are LF."""
    attempt, seq = entry.position
    if entry.time is None:
        return Gap(attempt, entry.first, None if seq == OPEN else seq)
    return Line(seq, attempt, entry.time, entry.truncated, sse.data_of(sse.unchunked(entry.chunk)))


def clipped(job: str, entry: Entry, after: Position) -> Entry:
    """An entry without what somebody at a position has: of a gap, lines that came before they were lost."""
    if entry.position.attempt != after.attempt or entry.first > after.seq:
        return entry
    item = item_of(entry)
    assert isinstance(item, Gap), "a line begins where it ends, and that is after the position"
    return entry_of(job, item._replace(first=after.seq + 1))
