"""The MCP door in two replicas before the same jobs, all made up but the door, and clients that knock at it."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import httpx2
import orjson
from aiohttp import web
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agent_jobs import agent_job
from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway import answers
from agentjob_gateway.caller import Caller, Limits, Role, Verb, permits
from agentjob_gateway.errors import Missing, NotAllowed, Problem, TooMany
from agentjob_gateway.jobs import Submitted
from agentjob_gateway.limits import Streams
from agentjob_gateway.mcp import Door
from agentjob_gateway.mcp_calls import Calls, Pace
from agentjob_gateway.sse import Position
from agentjob_gateway.submission import Submission, check_same, manifest
from operated import until

Object = dict[str, Any]

ORIGIN = "https://agents.example"
MAX_BODY = 100_000
QUICK = Pace(least=0.01, most=0.05, look=30.0, again=(0.05, 0.1, 0.2, 0.4))
ANSWER = {
    "result": "Mended.",
    "usage": {
        "input_tokens": 7,
        "output_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 0,
    },
    "cost_usd": 0.0127,
}
"""What run_claude_agent says of a job that is `agent_jobs.ENDED`."""
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class Jobs:
    """All jobs there are, by the contract of jobs.py."""

    def __init__(self) -> None:
        self.there: dict[Key, Object] = {}
        self.waiting = 0
        self.is_closing = False
        self.room = 100
        self._news = asyncio.Condition()

    async def namespace(self, caller: Caller, asked: str | None, verb: Verb) -> str:
        assert caller.role is not None
        if not permits(caller.role, verb, is_own=True):
            raise NotAllowed(f"{caller.name} may not {verb} agentjobs")
        return asked or "agents"

    async def submit(self, caller: Caller, namespace: str, submission: Submission) -> Submitted:
        body = manifest(submission, caller, namespace, "0" * 32)
        key = Key(namespace, body["metadata"]["name"])
        if (known := self.there.get(key)) is not None:
            check_same(known, body)
            return Submitted(known, is_new=False)
        if len(self.there) >= self.room:
            raise TooMany(f"{caller.name} may have no more jobs")
        job = agent_job(key.name)
        self.there[key] = job | {"metadata": job["metadata"] | body["metadata"], "spec": body["spec"]}
        return Submitted(self.there[key], is_new=True)

    async def ended(self, key: Key, seconds: float) -> Object:
        self.waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), self._news:
                    await self._news.wait_for(lambda: self.is_closing or answers.phase(self._job(key)).is_final)
            return self._job(key)
        finally:
            self.waiting -= 1

    async def cancel(self, _: Caller, key: Key, __: str) -> Object:
        job = self._job(key)
        await self.set(key, {"phase": "Cancelled", "failure": {"reason": "Cancelled", "message": "It was cancelled."}})
        return job

    def _job(self, key: Key) -> Object:
        if key not in self.there:
            raise Missing(f"there is no job {key.name!r}")
        return self.there[key]

    # What happens to them

    async def one(self, number: int = 1) -> Key:
        """The key of the job that was made as this one."""

        async def made() -> Key | None:
            return next(itertools.islice(self.there, number - 1, None), None)

        found: Key = await until(made)
        return found

    async def set(self, key: Key, status: Object) -> None:
        async with self._news:
            self.there[key]["status"] = status
            self._news.notify_all()

    async def close(self) -> None:
        async with self._news:
            self.is_closing = True
            self._news.notify_all()

    def phases(self) -> list[str]:
        return [answers.phase(job) for job in self.there.values()]

    async def until_phases(self, *phases: str) -> None:
        async def are() -> bool:
            return self.phases() == list(phases)

        await until(are)


class Hub:
    """The lines that a test says, and then none for as long as anybody listens."""

    def __init__(self) -> None:
        self.listeners = self.streams = 0
        self.problem: Problem | None = None
        self._messages: asyncio.Queue[Object] = asyncio.Queue()

    def say(self, *messages: Object) -> None:
        for message in messages:
            self._messages.put_nowait(message)

    async def lines(self, _: Key, __: str, after: Position) -> AsyncGenerator[object, None]:
        self.listeners += 1
        try:
            yield "a gap, say"
            if self.problem is not None:
                raise self.problem
            for seq in itertools.count(after.seq + 1):
                message = await self._messages.get()
                yield Line(seq, 1, datetime.now(UTC), False, orjson.dumps(message))
        finally:
            self.listeners -= 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1


class Place:
    """Two replicas before the same jobs. Whoever knocks is called as the credential is."""

    def __init__(self) -> None:
        self.jobs, self.hub = Jobs(), Hub()
        self.calls: list[Calls] = []
        self.urls: list[str] = []

    def door(self) -> Door:
        """Another replica's."""
        self.calls.append(Calls(jobs=self.jobs, hub=self.hub, streams=Streams(), pace=QUICK))
        return Door(self.calls[-1], _caller, lambda _: "request-1", frozenset({ORIGIN}))

    @asynccontextmanager
    async def replica(self) -> AsyncIterator[str]:
        """A replica that listens; its URL."""
        door = self.door()
        async with door.running(), listening(door.post) as url:
            yield url

    @asynccontextmanager
    async def client(self, mode: str = "auto", key: str = "ci") -> AsyncIterator[Client]:
        """The SDK's client, whose requests go to the replicas in turn."""
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, transport=_InTurn(self.urls), timeout=30)
        async with http, Client(streamable_http_client(self.urls[0], http_client=http), mode=mode) as found:
            yield found

    async def until_nothing_is_cancelled(self) -> None:
        async def is_quiet() -> bool:
            return not any(calls.cancelling for calls in self.calls)

        await until(is_quiet)


@asynccontextmanager
async def two_replicas() -> AsyncIterator[Place]:
    """A place at work."""
    place = Place()
    async with place.replica() as first, place.replica() as second:
        place.urls = [first, second]
        yield place


class _InTurn(httpx2.AsyncHTTPTransport):
    """Sends each request to the next of several replicas."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__()
        self._ports = itertools.cycle(httpx2.URL(url).port for url in urls)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(port=next(self._ports))
        return await super().handle_async_request(request)


def _caller(request: web.Request) -> Caller:
    name = request.headers.get("Authorization", "Bearer ci").removeprefix("Bearer ")
    limits = Limits(requests_per_minute=1, concurrent_jobs=1, streams=20)
    role = Role.READ if name == "reader" else Role.SUBMIT
    return Caller(name=f"key:{name}", limits=limits, role=role, namespace="agents")


@web.middleware
async def _problems(request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except Problem as problem:
        return web.json_response(problem.body("request-1"), status=problem.status)
    return response


@asynccontextmanager
async def listening(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """A server with one route; the URL of that."""
    app = web.Application(middlewares=[_problems], client_max_size=MAX_BODY)
    app.router.add_post("/mcp", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()
