"""What a browser's EventSource makes of a stream, after html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6.

Written after the specification and after nothing of the gateway's.
"""

import re
from dataclasses import dataclass, field


@dataclass
class Event:
    """An event as it is dispatched."""

    type: str
    data: str
    last_event_id: str


@dataclass
class EventSource:
    """Reads a stream, in whatever pieces it comes."""

    events: list[Event] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    retry: int | None = None
    last_event_id: str = ""
    """Of the latest event: what is sent when it comes back."""
    rest: bytes = b""
    """What has come of a line that is not over."""
    _id: str = ""
    _type: str = ""
    _data: str = ""

    def read(self, piece: bytes) -> "EventSource":
        whole = self.rest + piece
        held = b"\r" if whole.endswith(b"\r") else b""  # an LF may belong to it
        *lines, rest = re.split(b"\r\n|\r|\n", whole.removesuffix(b"\r"))
        self.rest = rest + held
        for line in lines:
            self._line(line.decode())
        return self

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
        elif line.startswith(":"):
            self.comments.append(line[1:])
        else:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            self.events.append(Event(self._type or "message", self._data.removesuffix("\n"), self._id))
        self._data = self._type = ""
