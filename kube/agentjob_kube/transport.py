"""The one seam to the outside: requests in, bytes out."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""Server-side apply. JSON is YAML."""
JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request: path and query as the API server knows them, body as it goes over the wire."""

    method: str = "GET"
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON


class Transport(Protocol):
    """Carries requests to the API server.

    Whoever implements it answers within a bounded time, or raises:

    - `send` gives the whole body of an answer below 400, and raises the `Refused` that fits any other.
    - `lines` gives the body's lines, without newlines and without empty lines, those together that come together. It
      ends when the server ends the answer cleanly, and raises `Unreachable` when the answer is cut off or nothing comes
      for IDLE_SECONDS: a connection whose other end has vanished looks like silence. Of a log, which anybody may write
      to, a line that is longer than any runner's is given in part; an event of a watch that is too long is
      `Unreachable`.
    - Both raise `Unreachable` when there is no answer.
    """

    async def send(self, request: Request) -> bytes:
        """The body of the answer."""
        ...

    def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        """The lines of an answer that goes on and on."""
        ...


IDLE_SECONDS = 90.0
"""Silence after which a stream is taken for dead. The API server sends a bookmark about once a minute."""
