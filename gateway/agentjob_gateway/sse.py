"""Server-sent events as bytes, after https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure.

    id: fix/1-17                        the agent's own message: job, attempt and seq
    data: {"type":"assistant",…}

    id: fix/1-1                         a notice of the runner's
    event: agentjob
    data: {"type":"agentjob",…}

    event: state                        the job's phase, with the reason and message of its condition Ready
    data: {"phase":"Running",…}

    event: gap                          lines that are lost; `to` is null where nobody knows how many
    data: {"attempt":1,"from":5,"to":7}

    id: fix/end                         the end, or {"error":…,"reason":…} in place of [DONE]
    data: [DONE]

Of these, only what has an id moves a client on: it comes back with the last one in `Last-Event-ID`. Before the first of
them comes where the client is, as an id alone: fix/start in a stream from the beginning.
"""

import re
from typing import Final, NamedTuple

import orjson

from agentjob_api.lines import Line

HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""Of an answer that is a stream: nobody on its way is to keep, compress or collect it (the last one is nginx's)."""
NOTICE: Final = "agentjob"
"""The type of events that carry the runner's notices."""


class Position(NamedTuple):
    """Up to where a client has a job's lines. Positions are ordered."""

    attempt: int
    seq: int


START: Final = Position(0, 0)
"""Before the first line."""
END: Final = Position(1_000_000, 0)
"""After the closing event; the number of an attempt has six digits at most."""

OPEN: Final = 10**15
"""After every line of an attempt: a seq has fifteen digits at most."""

_WORDS: Final = {START: "start", END: "end"}
_ID: Final = re.compile(r"([^/\s]{1,253})/(?:(start|end)|([1-9][0-9]{0,5})-([1-9][0-9]{0,14}))")
_NEWLINE: Final = re.compile(rb"\r\n|\r|\n")
_UNFIT: Final = re.compile(r"[\r\n\0]")
_NOTICE_BEGINS: Final = b'{"type":"agentjob"'


def id_of(job: str, position: Position) -> str:
    """The id of the event after which a client is at a position."""
    return f"{job}/{_WORDS.get(position) or f'{position.attempt}-{position.seq}'}"


def job_of(event_id: str) -> str:
    """The name of the job whose event has this id; "" when it is none of our ids."""
    found = _ID.fullmatch(event_id)
    return found[1] if found else ""


def parse_id(event_id: str, job: str) -> Position:
    """Where a client is that has got the event with this id.

    Raises:
        ValueError: it is none of our ids, or another job's; the message says what was found.
    """
    found = _ID.fullmatch(event_id)
    if found is None:
        raise ValueError(f"expected an id such as {id_of(job, Position(1, 17))}, found {event_id[:100]!r}")
    name, word, attempt, seq = found.groups()
    if name != job:
        raise ValueError(f"expected the id of an event of the job {job!r}, found one of {name!r}")
    if word is not None:
        return START if word == _WORDS[START] else END
    return Position(int(attempt), int(seq))


def frame(data: bytes, *, event_id: str | None = None, event: str | None = None) -> bytes:
    """An event.

    Raises:
        ValueError: the id or the event's type holds a newline or NUL, which would end it or make it void.
    """
    head = b"".join(_field(name, value) for name, value in (("id", event_id), ("event", event)) if value is not None)
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_NEWLINE.split(data))
    return b"%bdata: %b\n\n" % (head, data)


def _field(name: str, value: str) -> bytes:
    if _UNFIT.search(value):
        raise ValueError(f"{name}: expected neither newline nor NUL, found {value[:100]!r}")
    return f"{name}: {value}\n".encode()


def line(job: str, found: Line) -> bytes:
    """The event of a line: its message, byte for byte. Only the runner's notices have a type."""
    event = NOTICE if found.message.startswith(_NOTICE_BEGINS) else None
    if event is not None or b"\n" in found.message or b"\r" in found.message:
        return frame(found.message, event_id=id_of(job, Position(found.attempt, found.seq)), event=event)
    return b"id: %b/%d-%d\ndata: %b\n\n" % (job.encode(), found.attempt, found.seq, found.message)


def data_of(event: bytes) -> bytes:
    """The data of an event, every newline in it as LF. Before it come, if any, fields with no `data: ` in them."""
    return event[event.index(b"data: ") + 6 : -2].replace(b"\ndata: ", b"\n")


def gap(attempt: int, first: int, last: int | None) -> bytes:
    """The event of lines that are lost. It has no id: who comes back is told again, or gets the lines after all."""
    return frame(orjson.dumps({"attempt": attempt, "from": first, "to": last}), event="gap")


def state(phase: str, reason: str, message: str) -> bytes:
    """The event of a job's phase."""
    return frame(orjson.dumps({"phase": phase, "reason": reason, "message": message}), event="state")


def done(job: str) -> bytes:
    """The closing event of a job that has succeeded."""
    return frame(b"[DONE]", event_id=id_of(job, END))


def failed(job: str, error: str, reason: str) -> bytes:
    """The closing event of any other job: why, in a sentence and in one word."""
    return frame(orjson.dumps({"error": error, "reason": reason}), event_id=id_of(job, END))


def retry(milliseconds: int) -> bytes:
    """How long a client whose stream has ended is to wait before it comes back."""
    return b"retry: %d\n\n" % milliseconds


def mark(job: str, position: Position) -> bytes:
    """Where a client is, and no event.

    In each stream a client begins without a last id, also when it has come back with one: an event that has none would
    make it forget. And a client that has got nothing else knows its job by this.
    """
    return f"id: {id_of(job, position)}\n\n".encode()


HEARTBEAT: Final = b":\n\n"
"""A comment: proxies hang up on a silent connection."""


def chunked(event: bytes) -> bytes:
    """An event as one chunk of a chunked HTTP/1.1 body (RFC 9112, 7.1): whatever is put together of such is one too."""
    return b"%x\r\n%b\r\n" % (len(event), event)


def unchunked(chunks: bytes) -> bytes:
    """What is in chunks, for a client of HTTP/1.0."""
    found, at = [], 0
    while at < len(chunks):
        begin = chunks.index(b"\r\n", at) + 2
        at = begin + int(chunks[at : begin - 2], 16)
        found.append(chunks[begin:at])
        at += 2
    return b"".join(found)
