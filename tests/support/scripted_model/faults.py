"""What goes wrong on purpose.

A plot yields a fault where a reply could stand:

yield refuse(529, "overloaded_error", "Overloaded", times=2)     # twice, then the plot goes on
yield cut(reply(text("Half an ans…")), after="message_start", times=ALWAYS)
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from scripted_model.replies import Reply

ALWAYS = None
"""`times` of a fault that never passes."""

EventName: TypeAlias = Literal[
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"
]


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """The request is answered with an HTTP error in the Messages API's shape."""

    status: int
    kind: str
    message: str
    retry_after: int | None = None
    """Seconds, as the header `retry-after`."""
    times: int | None = 1


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The connection is reset right after the reply's first event of that name; without streaming, before any byte."""

    reply: Reply
    after: EventName
    times: int | None = 1


@dataclass(frozen=True, kw_only=True)
class Break:
    """The stream begins with 200 and `message_start`, then says `event: error`; without streaming, an HTTP error."""

    reply: Reply
    status: int
    kind: str
    message: str
    times: int | None = 1


Fault: TypeAlias = Refuse | Cut | Break


def refuse(status: int, kind: str, message: str, *, retry_after: int | None = None, times: int | None = 1) -> Refuse:
    """Answer with an HTTP error, `times` times (`ALWAYS`: for ever)."""
    return Refuse(status=status, kind=kind, message=message, retry_after=retry_after, times=times)


def cut(said: Reply, *, after: EventName, times: int | None = 1) -> Cut:
    """Reset the connection in the middle of a reply."""
    return Cut(reply=said, after=after, times=times)
