"""An ASGI application behind aiohttp, and clients that hang up, stall, or never end what they have begun."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from agentjob_gateway.asgi import Application, Exchange, Message, Receive, Send
from agentjob_gateway.errors import BadRequest
from mcp_place import Place, listening

WITHIN = 15.0


class Observed:
    """A route with an ASGI application behind it, and how the exchanges there ended."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.over: asyncio.Queue[Exchange] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request, await request.read(), {"X-More": "1"}, write_seconds=0.2)
        try:
            return await exchange.answer(self.application, {"more": 2})
        finally:
            self.over.put_nowait(exchange)

    async def ended(self) -> Exchange:
        async with asyncio.timeout(WITHIN):
            return await self.over.get()


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Answers in two pieces with what it was asked."""
    asked = await receive()
    facts = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {scope['more']} ".encode()
    headers = [(b"content-type", b"text/plain"), (b"connection", b"keep-alive"), *scope["headers"][:1]]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": facts, "more_body": True})
    await send({"type": "http.response.body", "body": asked["body"]})


async def wait(_: Message, receive: Receive, send: Send) -> None:
    """Begins an answer and waits until nobody wants it."""
    await receive()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    assert await receive() == {"type": "http.disconnect"}
    await send({"type": "http.response.body", "body": b"too late", "more_body": True})


async def hesitate(_: Message, receive: Receive, __: Send) -> None:
    """Waits until nobody wants an answer."""
    await receive()
    assert await receive() == {"type": "http.disconnect"}


async def flood(_: Message, receive: Receive, send: Send) -> None:
    """Answers more than fits in between, until nobody wants more."""
    await receive()
    await send({"type": "http.response.start", "status": 200})
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(url: str, head: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which this was sent."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(head)
        await writer.drain()
        yield reader, writer
    finally:
        writer.transport.abort()


REQUEST = b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


async def test_what_goes_in_comes_out() -> None:
    async with (
        listening(Observed(echo).handle) as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}?a=%20b", data=b"words") as response,
    ):
        assert await response.text() == "POST /mcp a=%20b 2 words"
        assert response.status == 201
        assert (response.headers["Content-Type"], response.headers["X-More"]) == ("text/plain", "1")
        assert response.headers["Host"] == url.split("/")[2]
        assert "Connection" not in response.headers


@pytest.mark.parametrize("application", [pytest.param(wait, id="in an answer"), pytest.param(hesitate, id="before it")])
async def test_an_application_hears_that_its_client_has_hung_up(application: Application) -> None:
    observed = Observed(application)
    async with listening(observed.handle) as url:
        async with connected(url, REQUEST) as (reader, _):
            if application is wait:
                await reader.readuntil(b"begun")
        assert (await observed.ended()).was_left


async def test_a_client_that_does_not_read_is_hung_up_on_and_has_not_hung_up_itself() -> None:
    observed = Observed(flood)
    async with listening(observed.handle) as url, connected(url, REQUEST) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        assert not (await observed.ended()).was_left


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        pytest.param(b"Content-Length: 10\r\n\r\n{", b"", id="but the client's hanging up"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"zz\r\n", id="but nonsense"),
    ],
)
async def test_a_message_that_has_no_end_is_refused(head: bytes, rest: bytes) -> None:
    entered = asyncio.Event()
    outcome: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    door = Place().door()

    async def post(request: web.Request) -> web.StreamResponse:
        entered.set()
        try:
            outcome.set_result(await door.post(request))
        except BadRequest as problem:
            outcome.set_exception(problem)
        return web.Response()

    async with door.running(), listening(post) as url, asyncio.timeout(WITHIN):
        async with connected(url, b"POST /mcp HTTP/1.1\r\nHost: x\r\n" + head) as (_, writer):
            await entered.wait()
            writer.write(rest)
        with pytest.raises(BadRequest, match="its end did not come"):
            await outcome
