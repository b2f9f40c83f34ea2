"""The proxy: requests in, requests out, and what a plan does to them in between."""

import asyncio
import json
import math
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
from aiohttp import web
from yarl import URL

from agentjob_kube.wire import MAX_LINE, Split, verb
from fault_proxy.plan import (
    WRITES,
    Doubled,
    ErrorEvent,
    Fault,
    Refused,
    Reset,
    Rule,
    Silence,
    Skipped,
    Slow,
    Stale,
    Stop,
)

Object = dict[str, Any]
_PASSED = ("Authorization", "Content-Type", "Accept", "User-Agent")
"""Headers of a request that are passed on."""


class Seen(NamedTuple):
    """One request."""

    number: int
    """From 1 on, in the order in which they came."""
    verb: str
    resource: str
    path: str
    status: int
    """Of the answer that was given; 0 when there was none."""
    done: Object | None
    """What the API server answered to a write that held, whether or not that was passed back."""

    @property
    def name(self) -> str:
        """Of the object, where it is known: of one that is made, once it is."""
        if self.verb == "create":
            made: str = (self.done or {}).get("metadata", {}).get("name", "")
            return made
        parts = self.path.split(f"/{self.resource.partition('/')[0]}/")
        return parts[1].partition("/")[0] if len(parts) > 1 else ""


class _CutOffError(Exception):
    """No answer is to come: the connection breaks."""


class FaultProxy:
    """`async with FaultProxy(server) as proxy:` serves at `proxy.url` until the block ends."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        self.url = ""
        self.rules: list[Rule] = []
        """The plan. The first rule that takes a request decides."""
        self.stopped = asyncio.Event()
        """Set when the plan said Stop; nothing comes through until `go_on`."""
        self._upstream, self._tls = upstream.rstrip("/"), tls
        self._seen: list[Seen] = []
        self._first: dict[str, bytes] = {}
        """The first answer to each read, by its path and query."""
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        self._exits.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        timeout = aiohttp.ClientTimeout(total=None)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._session = await self._exits.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def go_on(self) -> None:
        """Lets requests through again after a Stop."""
        self.stopped.clear()

    @property
    def seen(self) -> list[Seen]:
        """All requests so far, in the order in which they came."""
        return list(self._seen)

    def writes(self, *names: str) -> list[str]:
        """What was written and held about objects whose names begin so, or about all, in order: "create pods"."""
        done = (seen for seen in self._seen if seen.done is not None and seen.name.startswith(names or ("",)))
        return [f"{seen.verb} {seen.resource}" for seen in done]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        what, resource = verb(request.method, request.path, request.query.get("watch")), _resource(request.path)
        seen = Seen(len(self._seen) + 1, what, resource, request.path, 0, None)
        self._seen.append(seen)
        try:
            fault = self._fault(what, resource)
            await self._before(fault)
            if isinstance(fault, Refused):
                return self._refuse(seen, fault)
            if isinstance(fault, Stale) and request.raw_path in self._first:
                self._note(seen, 200)
                return web.json_response(body=self._first[request.raw_path])
            return await self._pass_on(request, seen, fault)
        except (_CutOffError, aiohttp.ClientError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    def _note(self, seen: Seen, status: int, done: Object | None = None) -> None:
        self._seen[seen.number - 1] = seen._replace(status=status, done=done)

    def _fault(self, what: str, resource: str) -> Fault | None:
        now = time.monotonic()
        return next((rule.fault for rule in self.rules if rule.takes(what, resource, now)), None)

    async def _before(self, fault: Fault | None) -> None:
        """What happens before a request is passed on."""
        if fault == Stop():
            self.stopped.set()
        if self.stopped.is_set() or fault == Reset():
            raise _CutOffError
        if isinstance(fault, Silence):
            await _silence(fault)
        if isinstance(fault, Slow):
            await asyncio.sleep(fault.seconds)

    def _refuse(self, seen: Seen, fault: Refused) -> web.Response:
        self._note(seen, fault.status)
        headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else None
        return web.json_response(fault.body(), status=fault.status, headers=headers)

    async def _pass_on(self, request: web.BaseRequest, seen: Seen, fault: Fault | None) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        url, body = URL(self._upstream + request.raw_path, encoded=True), await request.read()
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            if seen.verb == "watch" and answer.status == 200:
                self._note(seen, 200)
                return await self._stream(request, answer, seen.resource)
            content = await answer.read()
        return self._answer(request, answer, content, (seen, fault))

    def _answer(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        content: bytes,
        of: tuple[Seen, Fault | None],
    ) -> web.Response:
        seen, fault = of
        is_done = seen.verb in WRITES and answer.status < 400
        is_lost = self.stopped.is_set() or fault in {Reset(after=True), Stop(after=True)}
        self._note(seen, 0 if is_lost else answer.status, json.loads(content) if is_done else None)
        if fault == Stop(after=True):
            self.stopped.set()
        if is_lost:
            raise _CutOffError
        if seen.verb not in WRITES and answer.status == 200:
            self._first.setdefault(request.raw_path, content)
        kept = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
        return web.Response(body=content, status=answer.status, headers=kept)

    async def _stream(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, resource: str
    ) -> web.StreamResponse:
        """A watch, event by event."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async for line in _lines(answer.content):
            is_bookmark = json.loads(line)["type"] == "BOOKMARK"
            fault = None if is_bookmark else self._fault("event", resource)
            if self.stopped.is_set() or isinstance(fault, Reset):
                raise _CutOffError
            if isinstance(fault, Silence):
                await _silence(fault)
            if isinstance(fault, ErrorEvent):
                error = {"type": "ERROR", "object": Refused(fault.status).body()}
                await response.write(json.dumps(error).encode() + b"\n")
                break
            if isinstance(fault, Slow):
                await asyncio.sleep(fault.seconds)
            times = 0 if isinstance(fault, Skipped) else 2 if isinstance(fault, Doubled) else 1
            for _ in range(times):
                await response.write(line + b"\n")
        await response.write_eof()
        return response


async def _silence(fault: Silence) -> None:
    """Ends with the connection: by whoever asked, or after the time."""
    await asyncio.sleep(fault.seconds) if fault.seconds < math.inf else await asyncio.Event().wait()
    raise _CutOffError


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """The lines of an answer."""
    split = Split(MAX_LINE)
    async for piece in content.iter_any():
        for line in split.take(piece):
            yield line


def _resource(path: str) -> str:
    """The plural in a path, with its subresource, as in a Role; "" for none."""
    parts = path.strip("/").split("/")
    below = parts[2:] if parts[0] == "api" else parts[3:]
    if below[:1] == ["namespaces"] and len(below) > 2:
        below = below[2:]
    return "/".join([*below[:1], *below[2:3]])
