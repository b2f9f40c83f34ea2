"""The transport that real clusters are reached by: aiohttp, with every wait bounded."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Final, NamedTuple
from urllib.parse import urlencode

import aiohttp

from agentjob_api import lines as contract
from agentjob_kube.errors import Unreachable, refused
from agentjob_kube.transport import IDLE_SECONDS, Request

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one watch event: an object is at most 1.5 MiB in etcd, and longer as JSON."""
MAX_LOG_LINE: Final = 2 * contract.MAX_LINE
"""Bytes of one line of a log that are kept: what is longer is none of a runner's lines."""

_COLLECTION = re.compile(r"/(api|apis/[^/]+)/[^/]+/(namespaces/[^/]+/)?[^/]+")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Patience(NamedTuple):
    """How long anything is waited for, in seconds."""

    connect: float = 10.0
    request: float = 30.0
    """From the request to the end of its answer."""
    idle: float = IDLE_SECONDS
    """From one piece of a stream to the next."""


PATIENCE: Final = Patience()


class HttpTransport:
    """A `Transport` over an aiohttp session, which brings TLS and the credential (see connect.py)."""

    def __init__(self, session: aiohttp.ClientSession, server: str, patience: Patience = PATIENCE) -> None:
        self._session = session
        self._server = server.rstrip("/")
        connect, request, idle = patience
        self._once = aiohttp.ClientTimeout(total=request, sock_connect=connect)
        self._stream = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=idle)

    async def send(self, request: Request) -> bytes:
        """The body of the answer."""
        async with self._answer(request, self._once) as response:
            return await response.read()

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        """The lines of an answer that goes on and on."""
        is_watch = "watch" in request.query
        split = Split(MAX_LINE if is_watch else MAX_LOG_LINE)
        async with self._answer(request, self._stream) as response:
            while piece := await response.content.readany():
                lines = split.take(piece)
                if is_watch and any(len(line) > MAX_LINE for line in lines):
                    yield [*takewhile(lambda line: len(line) <= MAX_LINE, lines)]
                    raise Unreachable(f"expected events of at most {MAX_LINE} bytes in the answer, found a longer one")
                if lines:
                    yield lines
            if lines := split.end():
                yield lines

    def _url(self, request: Request) -> str:
        """As one text: the client remembers what it has read of it, and what it puts together of parts it does not."""
        query = f"?{urlencode(request.query)}" if request.query else ""
        return self._server + request.path + query

    @asynccontextmanager
    async def _answer(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer below 400, open for reading; every way in which there is none becomes an `ApiError`."""
        try:
            async with self._session.request(
                request.method,
                self._url(request),
                data=request.body,
                headers={"Content-Type": request.content_type, "Accept": "application/json"},
                timeout=limits,
            ) as response:
                if response.status >= 400:
                    raise refused(response.status, await response.read(), response.headers.get("Retry-After"))
                yield response
        except TimeoutError as error:
            raise Unreachable(f"{request.method} {request.path}: no answer in time") from error
        except aiohttp.ClientError as error:
            raise Unreachable(f"{request.method} {request.path}: {str(error) or type(error).__name__}") from error


class Split:
    """Lines out of chunks, without newlines and without empty lines.

    A line without an end so far is kept up to `most` bytes; beyond that it is given as far as it has come, and its rest
    is left out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""
        """Of a line without an end so far."""
        self._is_given = False
        """Whether that was given in part."""

    def take(self, chunk: bytes) -> list[bytes]:
        """The lines that the next chunk ends."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._is_given and lines:
            lines[0], self._is_given = b"", False
        if not self._is_given and len(self._rest) > self._most:
            lines.append(self._rest)
            self._is_given = True
        if self._is_given:
            self._rest = b""
        return [line for line in lines if line]

    def end(self) -> list[bytes]:
        """The line that had no end, if any."""
        return [self._rest] if self._rest else []


def verb(method: str, path: str, query_watch: str | None) -> str:
    """The verb of a request as a Role names it: get, list, watch, create, update, patch or delete."""
    if method != "GET":
        return _VERBS[method]
    if query_watch in {"true", "1"}:
        return "watch"
    return "list" if _COLLECTION.fullmatch(path) else "get"
