"""An operator at work on a fake cluster, and a person, a scheduler and a kubelet at its side."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from agentjob_api.names import API_VERSION, KIND, Key
from agentjob_api.outcome import Outcome
from agentjob_api.reasons import Reason
from agentjob_kube.client import Client, Object
from agentjob_kube.connect import Connection, Observer
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import AGENT_JOBS, EVENTS, PODS, ResourceType
from agentjob_kube.transport import Request
from agentjob_kube.wire import HttpTransport
from agentjob_operator.operate import operate
from agentjob_operator.settings import Settings
from fake_cluster import FakeCluster, kubelet
from fake_cluster.server import Seen

NAMESPACE = "agents"
WITHIN = 15.0
"""Seconds in which whatever is waited for must come about."""
USAGE = {"inputTokens": 7, "outputTokens": 5, "byModel": {"opus": {"inputTokens": 7, "outputTokens": 5}}}


def told(reason: Reason = Reason.COMPLETED, **fields: Any) -> str:
    """A termination message."""
    usual = {"num_turns": 3, "session_id": "s-1", "cost_usd": "0.0127", "usage": USAGE}
    return Outcome.model_validate({**usual, "reason": reason, **fields}).to_json()


PORTS = range(20_000, 30_000)
"""Below those that the kernel takes for connections: of these, one may be gone before it is used."""


def free_port() -> int:
    for port in random.sample(PORTS, 100):
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port is free in {PORTS}")


async def until(what: Callable[[], Any], within: float = WITHIN) -> Any:
    """What an awaitable look gives, once it gives anything."""
    deadline = time.monotonic() + within
    while True:
        if found := await what():
            return found
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.01)


def connection(server: str, observe: Observer) -> Connection:
    """A way to an API server as nobody in particular."""

    async def nobody() -> None:
        return None

    return Connection(server=server, authorization=nobody, observe=observe)


class Operated:
    """The operator can be started, stopped and killed; the cluster stays."""

    def __init__(self, cluster: FakeCluster, transport: HttpTransport, settings: dict[str, Any]) -> None:
        self.cluster = cluster
        self.server = cluster.url
        """Where the operator finds the API server."""
        self.client = Client(transport)
        self.namespace = NAMESPACE
        self.within = WITHIN
        """Seconds in which whatever is waited for must come about."""
        self.work_seconds = 0.0
        """For which an agent works."""
        self.configure(**settings)
        self.ahead = timedelta()
        """By how much the operator's clock is."""
        self._transport = transport
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._stopped = asyncio.Event()
        self._task = asyncio.create_task(operate(self.settings, self._connect, self._stopped, self._now))

    def configure(self, **settings: Any) -> None:
        """What holds from the next start on."""
        self.settings = Settings.model_validate(
            {"namespaces": [self.namespace], "runner": {"image": "runner:1"}, "port": 0, **settings}
        )

    def ask_to_stop(self) -> None:
        """Asks the operator to end, as SIGTERM does."""
        self._stopped.set()

    async def stop(self) -> None:
        """Asks the operator to end, and waits until it has."""
        self.ask_to_stop()
        if self._task is not None:
            await self._task

    async def kill(self) -> None:
        """Ends the operator wherever it is."""
        assert self._task is not None, "nothing runs that could be killed"
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def _connect(self, observe: Observer) -> Connection:
        return connection(self.server, observe)

    # A person

    async def submit(self, name: str = "fix", *, where: str = "", **spec: Any) -> Object:
        spec = {"prompt": "Mend the tests.", **spec}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        return await self.client.create(AGENT_JOBS, where or self.namespace, body)

    async def change(self, name: str = "fix", **spec: Any) -> None:
        await self.client.patch(AGENT_JOBS, Key(self.namespace, name), {"spec": spec})

    async def later(self, seconds: float, name: str = "fix") -> None:
        """Lets the operator find that so much time has passed, at the next thing that happens to a job."""
        self.ahead += timedelta(seconds=seconds)
        noted = {"metadata": {"annotations": {"test/ahead": str(self.ahead)}}}
        await self.client.patch(AGENT_JOBS, Key(self.namespace, name), noted)

    async def delete(self, name: str = "fix") -> None:
        key = Key(self.namespace, name)
        await self.client.delete(AGENT_JOBS, key, (await self.client.get(AGENT_JOBS, key))["metadata"]["uid"])

    async def status(self, name: str = "fix") -> Object:
        found: Object = (await self.client.get(AGENT_JOBS, Key(self.namespace, name)))["status"]
        return found

    async def until_status(self, name: str = "fix", **fields: Any) -> Object:
        """The status once it has these fields."""

        async def has_them() -> Object | None:
            found = await self.status(name)
            return found if all(found.get(field) == value for field, value in fields.items()) else None

        found: Object = await until(has_them, self.within)
        return found

    async def until_pod_or_place(self, name: str) -> None:
        """Returns once a job has started, or waits for room."""

        async def has_either() -> bool:
            return f"{name}-1" in self.cluster.made("pods") or "queue" in await self.status(name)

        await until(has_either, self.within)

    async def until_ready_says(self, reason: str, name: str = "fix") -> Object:
        """The status once its condition Ready gives this reason."""

        async def says() -> Object | None:
            found = await self.status(name)
            return found if reason in [each["reason"] for each in found.get("conditions", ())] else None

        found: Object = await until(says, self.within)
        return found

    async def items(self, kind: ResourceType) -> list[Object]:
        return [item async for page in self.client.pages(kind, self.namespace) for item in page.items]

    async def events(self) -> list[str]:
        return [event["reason"] for event in await self.items(EVENTS)]

    # A scheduler and a kubelet

    async def pod(self, name: str = "fix-1", **having: Any) -> Object:
        """The Pod once it is there, with these fields in its metadata."""

        async def look() -> Object | None:
            with suppress(NotFound):
                found = await self.client.get(PODS, Key(self.namespace, name))
                if all(found["metadata"].get(field) == value for field, value in having.items()):
                    return found
            return None

        found: Object = await until(look, self.within)
        return found

    async def until_no_pod(self, name: str = "fix-1") -> None:
        async def gone() -> bool:
            return name not in [item["metadata"]["name"] for item in await self.items(PODS)]

        await until(gone, self.within)

    async def set_pod(self, status: Object, name: str = "fix-1") -> None:
        """Writes what a kubelet or a scheduler says of a Pod."""
        pod = await self.pod(name)
        await self.client.replace_status(PODS, {**pod, "status": status})

    async def run_agent(self, name: str = "fix-1") -> None:
        """Lets the agent start."""
        now = datetime.now(UTC)
        await self.set_pod(kubelet.started(now, kubelet.running(now)), name)

    async def end_agent(self, message: str = "", code: int = 0, name: str = "fix-1", phase: str = "Running") -> None:
        """Lets the agent end, and leave this."""
        now = datetime.now(UTC)
        await self.set_pod(kubelet.started(now, kubelet.terminated(now, now, message, code), phase), name)

    async def bind(self, name: str = "fix-1") -> None:
        """Puts the Pod on a node: from now on it is deleted with grace."""
        pod = await self.pod(name)
        path = PODS.path(self.namespace, name, "binding")
        body = f'{{"target":{{"name":"node-1"}},"metadata":{{"uid":"{pod["metadata"]["uid"]}"}}}}'
        await self._transport.send(Request(method="POST", path=path, body=body.encode()))

    async def remove_pod(self, name: str = "fix-1") -> None:
        """Takes away what is left of a Pod, as a kubelet does at the end of the grace, or anybody by force."""
        path = PODS.path(self.namespace, name)
        await self._transport.send(Request(method="DELETE", path=path, body=b'{"gracePeriodSeconds":0}'))

    # What the operator did

    def asked(self) -> list[Seen]:
        """The operator's own requests so far."""
        return [seen for seen in self.cluster.requests() if seen.agent == "agentjob"]

    def writes(self, name: str = "fix") -> list[str]:
        """What the operator wrote about one job, in order, refusals left out."""
        return [
            f"{seen.verb} {seen.resource}"
            for seen in self.asked()
            if seen.verb not in {"get", "list", "watch"} and seen.status < 400
            if seen.name in {"", name, f"{name}-1"}
        ]


@asynccontextmanager
async def operated(**settings: Any) -> AsyncIterator[Operated]:
    """A fake cluster with an operator at work on it."""
    with FakeCluster() as cluster:
        cluster.bookmark_every(1.0)
        async with aiohttp.ClientSession(headers={"User-Agent": "test"}) as session:
            found = Operated(cluster, HttpTransport(session, cluster.url), settings)
            found.start()
            try:
                yield found
            finally:
                await found.stop()
