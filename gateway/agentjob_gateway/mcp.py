"""The MCP door: Claude agents as tools of other agents, over streamable HTTP as the official SDK speaks it.

Nothing is remembered from one request to the next, so any replica may get any of them:

- The session that `initialize` answers with is a random word. With the id of a request it names the job that the
  request makes: the same request finds it again, and `notifications/cancelled` finds it to cancel it.
- In the protocol's versions up to 2025-11-25 a client that hangs up says nothing by that, and its job goes on.
- In 2026-07-28, which has no sessions, "the server MUST treat a client disconnect as cancellation of that request"
  (https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/cancellation): its job is cancelled.
"""

import asyncio
import logging
import re
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import orjson
from aiohttp import web
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import ListToolsResult, PaginatedRequestParams

from agentjob_gateway import mcp_tools
from agentjob_gateway.asgi import Exchange
from agentjob_gateway.caller import Caller
from agentjob_gateway.doors import bytes_of
from agentjob_gateway.errors import Missing, NotAllowed, Unavailable
from agentjob_gateway.mcp_calls import CALL, Call, Calls, Context

Object = dict[str, Any]

SESSION: Final = "Mcp-Session-Id"
PATIENCE_SECONDS: Final = 5.0
"""How long the door's beginning waits for the SDK, and its end for jobs that are being cancelled."""
_SESSION: Final = re.compile(r"[0-9a-f]{32}")
_INSTRUCTIONS: Final = "Delegates tasks to Claude agents that work in a cluster, each in a sandbox of its own."


class Door:
    """`/mcp` of one process, open while `running()` is."""

    def __init__(
        self,
        calls: Calls,
        caller_of: Callable[[web.Request], Caller],
        request_of: Callable[[web.Request], str],
        origins: frozenset[str],
    ) -> None:
        """`caller_of` tells who sends a request, `request_of` its id; web pages may use the door from `origins`."""
        self._calls = calls
        self._caller_of = caller_of
        self._request_of = request_of
        self._origins = origins
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps the door open while the block runs; what is still waited for at its end is cut off."""
        for library in ("mcp", "sse_starlette"):  # they tell of each request and, further down, of what is in it
            logging.getLogger(library).setLevel(logging.WARNING)
        opened, closed = asyncio.Event(), asyncio.Event()
        # In a task of its own: what goes wrong in the block would come out of the SDK's task group as another error.
        keeper = asyncio.create_task(self._keep_open(opened, closed))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await opened.wait()
            yield
        finally:
            closed.set()
            await keeper
        if self._calls.cancelling:
            await asyncio.wait(self._calls.cancelling, timeout=PATIENCE_SECONDS)

    async def _keep_open(self, opened: asyncio.Event, closed: asyncio.Event) -> None:
        # How large a body may be, the application has said before the SDK sees it.
        manager = StreamableHTTPSessionManager(_server(self._calls), stateless=True, max_request_body_size=sys.maxsize)
        async with manager.run():
            self._manager = manager
            opened.set()
            await closed.wait()
            self._manager = None

    async def post(self, request: web.Request) -> web.StreamResponse:
        """`POST /mcp`: one message in; its answer, or a stream that ends with it, out.

        Other methods are not for this door: it pushes nothing of its own, and has no session to end.

        Raises:
            Problem: the message does not get to the SDK, which puts its own errors in JSON-RPC's words.
        """
        self._check_origin(request)
        session = _session_of(request)
        body = await bytes_of(request)
        if (manager := self._manager) is None:
            raise Unavailable("the MCP door is not open", retry_after=1)
        message = _message(body)
        headers = {SESSION: secrets.token_hex(16)} if message.get("method") == "initialize" else {}
        call = Call(
            caller=self._caller_of(request),
            request=self._request_of(request),
            namespace=request.query.get("namespace"),
            session=session,
            exchange=Exchange(request, body, headers),
        )
        match message:
            case {"method": "notifications/cancelled", "params": {"requestId": str() | int() as cancelled}} if session:
                self._calls.cancel(call, mcp_tools.word(session, cancelled))
        return await call.exchange.answer(manager.handle_request, {CALL: call})

    def _check_origin(self, request: web.Request) -> None:
        """Refuses web pages that were not let in: DNS rebinding makes this server one of any page's own origin."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            raise NotAllowed(f"Origin: pages of {origin[:100]!r} may not use this server")


def _server(calls: Calls) -> Server[Any]:
    """The SDK's server with our tools."""

    async def listed(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=list(mcp_tools.TOOLS))

    return Server(
        "agentjob",
        title="AgentJob",
        version=version("agentjob"),
        instructions=_INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=calls.tool,
        get_tool_input_schema={tool.name: tool.input_schema for tool in mcp_tools.TOOLS}.get,
    )


def _session_of(request: web.Request) -> str | None:
    """The session that a request belongs to.

    Raises:
        Missing: it was not made here; the client is to initialize anew.
    """
    session = request.headers.get(SESSION)
    if session is not None and not _SESSION.fullmatch(session):
        raise Missing(f"{SESSION}: there is no such session; send initialize without one")
    return session


def _message(body: bytes) -> Object:
    """The message in a body; empty when there is none, which is for the SDK to say."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
