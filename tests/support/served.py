"""A gateway at work on a fake cluster, with keys for whoever knocks."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import aiohttp

from agentjob_api.names import Key
from agentjob_gateway.caller import Role
from agentjob_gateway.keyring import DOCUMENT, ID_LENGTH, PREFIX, RANDOM_BYTES, Terms, mint
from agentjob_gateway.serve import serve
from agentjob_gateway.settings import Settings
from agentjob_kube.client import Client, Object
from agentjob_kube.connect import Connection, Observer
from agentjob_kube.resources import AGENT_JOBS
from agentjob_kube.wire import HttpTransport
from fake_cluster import FakeCluster
from operated import connection, free_port, until
from watched import Watched

NAMESPACE = "agents"
SIGNING_KEY = bytes(range(32))
"""Signs the tickets."""


class Answer:
    """What came back."""

    def __init__(self, response: aiohttp.ClientResponse, body: Any) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body


class Door:
    """One replica of the gateway, and a client with a key."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, cluster: FakeCluster) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self.metrics = f"http://127.0.0.1:{settings.metrics_port}"
        self.session = session
        self.cluster = cluster
        self.stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        self.stopped = asyncio.Event()
        self._task = asyncio.create_task(serve(self.settings, self._connect, self.stopped))

        async def is_ready() -> bool:
            try:
                async with self.session.get(f"{self.metrics}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(is_ready)
        return self

    async def stop(self) -> None:
        """Asks the gateway to end, as SIGTERM does."""
        self.stopped.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _connect(self, observe: Observer) -> Connection:
        return connection(self.cluster.url, observe)

    async def ask(self, method: str, path: str, key: str | None = None, **given: Any) -> Answer:
        """One request and its answer."""
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **given.pop("headers", {})}
        async with self.session.request(method, self.url + path, headers=headers, **given) as response:
            text = await response.text()
            is_json = response.content_type.endswith("json")
            return Answer(response, await response.json(content_type=None) if is_json else text)


class Served:
    """A cluster with replicas of the gateway before it."""

    def __init__(self, cluster: FakeCluster, session: aiohttp.ClientSession, keys: Path) -> None:
        self.cluster = cluster
        self.session = session
        self.client = Client(HttpTransport(session, cluster.url))
        self.agents = Watched(cluster, session, AsyncExitStack())
        """Who runs the jobs' agents."""
        self.keys = keys
        self.doors: list[Door] = []

    def key(self, name: str = "ci", role: Role = Role.SUBMIT, namespace: str = NAMESPACE, **terms: Any) -> str:
        """A key, the same whenever it is asked for; replicas that have started may take a second to know it."""
        randomness = sha256(f"{name} {role} {namespace}".encode()).digest() * 2
        given = Terms.model_validate({"name": name, "role": role, "namespace": namespace, **terms})
        minted = mint(given, datetime.now(UTC), randomness[:RANDOM_BYTES])
        path = self.keys / minted.key.file
        if not path.exists():
            path.write_bytes(minted.key.document())
        return minted.text

    def revoke(self, key: str) -> None:
        """Takes a key away; replicas that have started may take it for a second more."""
        (self.keys / f"{key.removeprefix(PREFIX)[:ID_LENGTH]}{DOCUMENT}").unlink()

    def door(self, **settings: Any) -> Door:
        """A replica, to be started."""
        given = {"namespaces": [NAMESPACE], "keysDirectory": str(self.keys), "drainSeconds": 0, **settings}
        ports = {"port": free_port(), "metricsPort": free_port()}
        door = Door(Settings.model_validate({**ports, **given}), self.session, self.cluster)
        self.doors.append(door)
        return door

    async def job(self, name: str) -> Object:
        """An AgentJob as the cluster has it."""
        return await self.client.get(AGENT_JOBS, Key(NAMESPACE, name))

    async def set_status(self, name: str, status: Object) -> None:
        """Writes what the operator would."""
        await self.client.replace_status(AGENT_JOBS, {**await self.job(name), "status": status})


async def submit(door: Door, place: Served, body: Object | None = None, **given: Any) -> Answer:
    """Asks for a job at /claude."""
    return await door.ask("POST", "/claude", place.key(), json=body or {"prompt": "Mend the tests."}, **given)


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A fake cluster and no gateway yet; all that are started are stopped at the end."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "tickets.key").write_bytes(base64.b64encode(SIGNING_KEY))
    with FakeCluster() as cluster:
        cluster.bookmark_every(1.0)
        async with aiohttp.ClientSession(headers={"User-Agent": "test"}) as session:
            found = Served(cluster, session, keys)
            try:
                yield found
            finally:
                for door in found.doors:
                    await door.stop()
