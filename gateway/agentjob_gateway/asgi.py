"""An ASGI application behind an aiohttp route: one request in, one answer out.

Why not the package aiohttp-asgi (0.7.1): after the body, its `receive` goes on giving empty pieces at once instead of
waiting for the client to hang up, so an application that watches for that, as the MCP SDK does during every call, keeps
the whole process busy and never learns of it; its writes wait without limit for a client that does not read; and it
takes every method of every path under its root, past the application's routes. What is left of it are these lines.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from aiohttp import web

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""https://asgi.readthedocs.io/en/latest/specs/www.html"""

WRITE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.5
"""How often it is looked whether the client is still there."""
_OF_THE_CONNECTION: Final = frozenset({"connection", "transfer-encoding"})
"""Headers that are the server's own to set (RFC 9110, 7.6.1)."""


class Exchange:
    """One request of aiohttp's whose answer an ASGI application gives."""

    def __init__(
        self, request: web.Request, body: bytes, headers: Mapping[str, str], write_seconds: float = WRITE_SECONDS
    ) -> None:
        """`body` is the request's, read before; `headers` are put on the answer beside the application's own.

        `write_seconds` is how long the client may leave its answer unread before it is hung up on.
        """
        self.was_left = False
        """Whether the client hung up before the end of its answer."""
        self._request = request
        self._body: bytes | None = body
        self._headers = headers
        self._write_seconds = write_seconds
        self._response: web.StreamResponse | None = None
        self._hung_up = False

    async def answer(self, application: Application, about: Mapping[str, Any]) -> web.StreamResponse:
        """The application's answer, sent to its end. `about` is put into the scope that the application is given."""
        await application({**_scope(self._request), **about}, self._receive, self._send)
        # Without an answer there is nobody left to read one: 499 is what logs commonly call that.
        return self._response or web.Response(status=499)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # aiohttp tells no handler that the client has hung up.
        while (transport := self._request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        self.was_left = not self._hung_up
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await self._write(message)
        except TimeoutError:
            self._hung_up = True
            if self._request.transport is not None:
                self._request.transport.abort()
        except ConnectionError:
            pass  # the client is gone, which `_receive` tells

    async def _write(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {**_headers(message), **self._headers}
            self._response = web.StreamResponse(status=message["status"], headers=headers)
            await self._response.prepare(self._request)
            return
        assert self._response is not None, "ASGI: the start of an answer comes before its body"
        if body := message.get("body"):
            await self._response.write(body)
        if not message.get("more_body", False):
            await self._response.write_eof()


def _scope(request: web.Request) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.rel_url.raw_path.encode(),
        "root_path": "",
        "query_string": request.rel_url.raw_query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": None,
        "server": None,
    }


def _headers(message: Message) -> dict[str, str]:
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in message.get("headers", ())}
    return {name: value for name, value in given.items() if name.lower() not in _OF_THE_CONNECTION}
