"""Jobs that are watched: hubs behind HTTP servers on a fake cluster, with a test for operator, kubelet and agent."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp
from aiohttp import web

from agentjob_api.lines import envelope
from agentjob_api.names import Key
from agentjob_api.notices import Notice, notice
from agentjob_gateway import sse
from agentjob_gateway.cache import JobCache
from agentjob_gateway.channel import Tuning
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.follow import Pace
from agentjob_gateway.hub import Hub
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client, Object
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import AGENT_JOBS, PODS
from agentjob_kube.wire import HttpTransport
from event_source import Event, EventSource
from fake_cluster import FakeCluster, kubelet
from operated import NAMESPACE, until

USUAL = Tuning(linger=0.0, drain=10.0, pace=Pace(Backoff(first=0.002, most=0.02)))
"""What there is to wait for is over in a moment."""
SMALL_BUFFER = 256 * 1024
"""Bytes that the kernel keeps for a connection, so that a client that does not read is soon noticed."""


def line(seq: int, attempt: int = 1, size: int = 0) -> bytes:
    """A line of the agent's, of about this size at least."""
    message = {"type": "assistant", "text": f"{attempt}-{seq} " + "x" * max(0, size - 130)}
    return envelope(seq, attempt, datetime.now(UTC)) + json.dumps(message, separators=(",", ":")).encode() + b"}\n"


def last_line(seq: int, attempt: int = 1) -> bytes:
    """The line with which a runner ends."""
    message = notice(Notice.OUTCOME, outcome={"reason": "Completed", "lastSeq": seq})
    return envelope(seq, attempt, datetime.now(UTC)) + json.dumps(message, separators=(",", ":")).encode() + b"}\n"


class Viewer:
    """A client that reads a stream, or does so when it is told to."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.source = EventSource()
        self.has_ended = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for piece in self.response.content.iter_any():
            self.source.read(piece)
        self.has_ended = True

    @property
    def lines(self) -> list[str]:
        """The ids of all lines so far, without the job's name."""
        found = [each for each in self.source.events if each.type in {"message", "agentjob"}]
        return [each.last_event_id.partition("/")[2] for each in found if each.last_event_id.partition("/")[2] != "end"]

    def of(self, kind: str) -> list[Any]:
        """What events of a type say."""
        return [json.loads(each.data) for each in self.source.events if each.type == kind]

    @property
    def closing(self) -> Event | None:
        """The closing event, if it has come."""
        found = [each for each in self.source.events if each.last_event_id.endswith("/end")]
        return found[-1] if found else None

    async def until_lines(self, count: int) -> None:
        async def there() -> bool:
            return len(self.lines) >= count

        await until(there)

    async def until_end(self) -> Self:
        async with asyncio.timeout(15):
            await self._task
        return self

    async def leave(self) -> None:
        """Hangs up."""
        self._task.cancel()
        self.response.close()
        await asyncio.gather(self._task, return_exceptions=True)


class Replica:
    """One hub with a cache of its own, behind a server."""

    def __init__(self, cluster: FakeCluster, tuning: Tuning) -> None:
        self._cluster = cluster
        self._tuning = tuning
        self.cache = JobCache((NAMESPACE,))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Replica"]:
        app = web.Application()
        app.router.add_get("/{name}", self._answer, allow_head=False)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        async with aiohttp.ClientSession(headers={"User-Agent": "gateway"}) as session:
            client = Client(HttpTransport(session, self._cluster.url))
            self.hub = Hub(client, self.cache, self._tuning)
            parts = [asyncio.create_task(each) for each in (self.cache.run(client, NAMESPACE), self.hub.run())]
            await runner.setup()
            assert runner.server is not None
            self._server = runner.server
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
            await web.SockSite(runner, listener).start()
            self.port: int = listener.getsockname()[1]
            try:
                yield self
            finally:
                await self.hub.shutdown()
                await runner.cleanup()
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

    def connections(self) -> list[Any]:
        """Those on which requests are being answered, or may be sent."""
        return list(self._server.connections)

    async def job(self, name: str = "fix") -> Object:
        async def known() -> Object | None:
            return self.cache.get(Key(NAMESPACE, name))

        found: Object = await until(known)
        return found

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        job = await self.job(request.match_info["name"])
        last = request.headers.get("Last-Event-ID")
        after = sse.parse_id(last, job["metadata"]["name"]) if last else sse.START
        try:
            return await self.hub.stream(request, job, after)
        except Unavailable as error:
            return web.Response(status=error.status, text=str(error), headers=error.headers())


class Watched:
    """Everything at hand: the cluster, its jobs, and clients."""

    def __init__(self, cluster: FakeCluster, session: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self.session = session
        self._client = Client(HttpTransport(session, cluster.url))
        self._stack = stack

    async def replica(self, tuning: Tuning = USUAL) -> Replica:
        return await self._stack.enter_async_context(Replica(self.cluster, tuning).at_work())

    async def watch(self, replica: Replica, after: str = "", name: str = "fix") -> Viewer:
        """A client that reads the stream of a job."""
        headers = {"Last-Event-ID": f"{name}/{after}"} if after else {}
        response = await self.session.get(f"http://127.0.0.1:{replica.port}/{name}", headers=headers)
        viewer = Viewer(response)
        self._stack.push_async_callback(viewer.leave)
        return viewer

    def logs_asked(self) -> int:
        """How often the gateway has asked for a log."""
        return len([each for each in self.cluster.requests() if (each.resource, each.agent) == ("pods/log", "gateway")])

    # A person and an operator

    async def submit(self, name: str = "fix") -> None:
        await self._client.create(AGENT_JOBS, NAMESPACE, {"metadata": {"name": name}, "spec": {"prompt": "Mend it."}})

    async def set_status(self, status: Object, name: str = "fix") -> None:
        job = await self._client.get(AGENT_JOBS, Key(NAMESPACE, name))
        await self._client.replace_status(AGENT_JOBS, {**job, "status": status})

    async def delete(self, name: str = "fix") -> None:
        job = await self._client.get(AGENT_JOBS, Key(NAMESPACE, name))
        await self._client.delete(AGENT_JOBS, Key(NAMESPACE, name), job["metadata"]["uid"])

    # A kubelet and an agent

    async def make_pod(self, attempt: int = 1, name: str = "fix") -> None:
        """A Pod whose container waits."""
        await self._client.create(PODS, NAMESPACE, {"metadata": {"name": f"{name}-{attempt}"}, "spec": {}})

    async def start(self, attempt: int = 1, name: str = "fix") -> None:
        """Lets an attempt begin."""
        try:
            await self._client.get(PODS, Key(NAMESPACE, f"{name}-{attempt}"))
        except NotFound:
            await self.make_pod(attempt, name)
        now = datetime.now(UTC)
        await self._set_pod(kubelet.started(now, kubelet.running(now)), attempt, name)
        await self.set_status(running(attempt), name)

    async def _set_pod(self, status: Object, attempt: int, name: str) -> None:
        pod = await self._client.get(PODS, Key(NAMESPACE, f"{name}-{attempt}"))
        await self._client.replace_status(PODS, {**pod, "status": status})

    def say(self, *seqs: int, attempt: int = 1, name: str = "fix", size: int = 0) -> None:
        """Lets the agent print these lines at once."""
        self.print(b"".join(line(seq, attempt, size) for seq in seqs), attempt, name)

    def print(self, content: bytes, attempt: int = 1, name: str = "fix") -> None:
        self.cluster.append_log(NAMESPACE, f"{name}-{attempt}", content)

    async def end_container(self, attempt: int = 1, name: str = "fix") -> None:
        now = datetime.now(UTC)
        await self._set_pod(kubelet.started(now, kubelet.terminated(now, now), "Succeeded"), attempt, name)

    async def finish(self, seq: int, attempt: int = 1, name: str = "fix") -> None:
        """Lets the runner print its last line, the container end, and the job succeed."""
        self.print(last_line(seq, attempt), attempt, name)
        await self.end_container(attempt, name)
        await self.set_status(succeeded(attempt), name)

    async def remove_pod(self, attempt: int = 1, name: str = "fix") -> None:
        pod = await self._client.get(PODS, Key(NAMESPACE, f"{name}-{attempt}"))
        await self._client.delete(PODS, Key(NAMESPACE, f"{name}-{attempt}"), pod["metadata"]["uid"])


def running(attempts: int) -> Object:
    """The status of a job at its n-th attempt."""
    started = [
        {"number": each, "pod": f"fix-{each}", "startTime": "2026-11-22T10:00:00Z"} for each in range(1, attempts + 1)
    ]
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "Running",
        "message": f"The agent works in Pod fix-{attempts}.",
    }
    return {"phase": "Running", "attemptCount": attempts, "attempts": started, "conditions": [ready]}


def backing_off(attempts: int) -> Object:
    """The status of a job whose n-th attempt has failed, and that is to be tried again."""
    found = running(attempts)
    found["attempts"][-1] |= {"completionTime": "2026-11-22T10:01:00Z", "reason": "AgentError"}
    ready = {"type": "Ready", "status": "False", "reason": "BackOff", "message": "It is tried again."}
    return found | {"phase": "Pending", "startTime": "2026-11-22T10:00:00Z", "conditions": [ready]}


def succeeded(attempts: int) -> Object:
    """The status of a job whose n-th attempt has succeeded."""
    ready = {"type": "Ready", "status": "True", "reason": "Completed", "message": "The agent has finished."}
    return running(attempts) | {"phase": "Succeeded", "conditions": [ready]}


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    """A fake cluster, no gateway yet; whatever is started is stopped at the end."""
    with FakeCluster() as cluster:
        cluster.bookmark_every(1.0)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(headers={"User-Agent": "test"}, connector=connector) as session,
            AsyncExitStack() as stack,
        ):
            yield Watched(cluster, session, stack)


async def begun(at: Watched, lines: int = 3) -> tuple[Replica, Viewer]:
    """A job that works, and a client that has its first lines."""
    replica = await at.replica()
    await at.submit()
    await at.start()
    viewer = await at.watch(replica)
    at.say(*range(1, lines + 1))
    await viewer.until_lines(lines)
    return replica, viewer


async def nobody_watches(replica: Replica) -> bool:
    return not replica.hub._channels


def numbered(*seqs: int, attempt: int = 1) -> list[str]:
    return [f"{attempt}-{seq}" for seq in seqs]
