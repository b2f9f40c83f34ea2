"""What it takes to ask for a job, and to make one, through the gateway and at the API server itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from agentjob_api import names
from agentjob_kube.connect import Connection
from bench.figures import Comparison, Measurement, Row, quantile
from bench.place import NAMESPACE, Place

GATEWAY, PROXY = "gateway", "bare proxy of aiohttp"
GET, CREATE = "GET at the API server", "create at the API server"
JOB = "asked"
POLLS = 300
SUBMITS = 60
REST_SECONDS = 0.1
"""Before a job is made, so that what operator, scheduler and watches do about the one before is done: whoever comes
right after a create that was answered sooner has more of that in its own time."""
API = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}"
SPEC = {"prompt": "wait", "suspend": True}


class Ask(NamedTuple):
    """A request that can be made again and again."""

    session: aiohttp.ClientSession
    method: str
    url: str
    headers: dict[str, str]
    body: Callable[[], object] | None = None

    async def milliseconds(self) -> float:
        """How long one takes, to the end of the answer."""
        given = {"json": self.body()} if self.body else {}
        begun = time.perf_counter()
        async with self.session.request(self.method, self.url, headers=self.headers, **given) as answer:
            await answer.read()
        took = time.perf_counter() - begun
        answer.raise_for_status()
        return took * 1_000


Took = Mapping[str, list[float]]
"""Milliseconds of each of its times, by who was asked."""


class Sides(NamedTuple):
    """The same asked of all."""

    asks: Mapping[str, Ask]
    rest: float = 0.0
    """Seconds before each."""

    async def in_turn(self, times: int) -> Took:
        """One after the other, so many times."""
        took: Took = {who: [] for who in self.asks}
        for _ in range(times):
            for who, ask in self.asks.items():
                await asyncio.sleep(self.rest)
                took[who].append(await ask.milliseconds())
        return took


def polls(place: Place, ours: aiohttp.ClientSession, theirs: aiohttp.ClientSession, server: str) -> Sides:
    """Ask for a job."""
    return Sides(
        {
            GATEWAY: Ask(ours, "GET", f"{place.door.url}/claude/jobs/{JOB}", place.headers),
            GET: Ask(theirs, "GET", f"{server}{API}/{JOB}", {}),
        }
    )


def submits(place: Place, ours: aiohttp.ClientSession, theirs: aiohttp.ClientSession, server: str) -> Sides:
    """Make one."""

    def job() -> object:
        about = {"apiVersion": names.API_VERSION, "kind": names.KIND}
        return {**about, "metadata": {"generateName": "direct-"}, "spec": SPEC}

    return Sides(
        {
            GATEWAY: Ask(ours, "POST", f"{place.door.url}/claude", place.headers, lambda: SPEC),
            PROXY: Ask(ours, "POST", place.proxy.url, {}, lambda: SPEC),
            CREATE: Ask(theirs, "POST", f"{server}{API}?fieldValidation=Strict", {}, job),
        },
        REST_SECONDS,
    )


@asynccontextmanager
async def sessions(connection: Connection) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientSession]]:
    """A client of the gateway, and one of the API server."""
    async with aiohttp.ClientSession() as ours, connection.session() as theirs:
        yield ours, theirs


async def measure(place: Place, connection: Connection, pairs: int) -> tuple[list[Row], Any]:
    """The rows, and all figures behind them."""
    about = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": JOB}}
    await asyncio.to_thread(place.stack.apply, NAMESPACE, {**about, "spec": SPEC})
    found: dict[str, list[Took]] = {"poll": [], "submit": []}
    reads: list[float] = []
    async with sessions(connection) as (ours, theirs):
        asking = polls(place, ours, theirs, connection.server)
        making = submits(place, ours, theirs, connection.server)
        for sides in (asking, making):
            await sides.in_turn(10)  # connections are open, and caches warm
        for _ in range(pairs):
            before = await place.samples(ours)
            found["poll"].append(await asking.in_turn(POLLS))
            took = await place.samples(ours) - before
            reads.append(sum(took.sum("agentjob_gateway_api_requests_total", verb=v) for v in ("get", "list")) / POLLS)
            found["submit"].append(await making.in_turn(SUBMITS))
            await _forget(theirs, connection.server)
    return rows(found, tuple(reads)), {"reads": reads, "milliseconds": found}


async def _forget(session: aiohttp.ClientSession, server: str) -> None:
    """Deletes what was made, but not the job that is asked for."""
    others = {"fieldSelector": f"metadata.name!={JOB}"}
    async with session.delete(server + API, params=others) as answer:
        answer.raise_for_status()
        await answer.read()


def rows(found: Mapping[str, list[Took]], reads: tuple[float, ...]) -> list[Row]:
    """The table's rows."""

    def compared(what: str, percent: int, against: str, goal: float | None = None) -> Comparison:
        ours, theirs = (tuple(quantile(took[who], percent / 100) for took in found[what]) for who in (GATEWAY, against))
        return Comparison(name=f"{what}, p{percent}", ours=ours, theirs=theirs, against=against, unit="ms", goal=goal)

    return [
        compared("poll", 50, GET),
        compared("poll", 99, GET, 0.7),
        Measurement(name="reads at the API server per poll", values=reads, unit="reads", goal=0),
        compared("submit", 50, CREATE, 1.3),
        compared("submit", 99, CREATE),
        compared("submit", 50, PROXY, 1.2),
    ]
