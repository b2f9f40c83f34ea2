"""How late an event comes through the gateway, what it costs to hand it out, and whether clients disturb each other.

Once with all clients at one job, where each event is written once for each of them, and the last one waits for all the
others; and once with as many at several jobs, of which as many events come in all.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from typing import Any

import aiohttp

from agentjob_kube.connect import Connection
from bench.crowd import LOG_LINE, MILLION, SETTLE_SECONDS, Crowd, Delays, Single, follows, opened, request
from bench.figures import Added, Comparison, Measurement, Row, quantile
from bench.place import NAMESPACE, RATE, Place
from bench.readers import EVENT

JOB = "talker"
SEVERAL = 20
"""Jobs that talk at once, each to its part of the clients, and as often in all as one otherwise."""
SECONDS = 10.0
"""Of one measurement."""
QUANTILES = {"p50": 0.5, "p99": 0.99}


class Talk:
    """Jobs that talk, and of each the client of its Pod's log that hears it first."""

    def __init__(self, place: Place, session: aiohttp.ClientSession, raw: Mapping[str, Single]) -> None:
        self.place = place
        self.session = session
        self._raw = raw

    def headers(self, job: str) -> dict[str, str]:
        """Of a client that is up to date."""
        return {**self.place.headers, "Last-Event-ID": f"{job}/1-{self._raw[job].latest}"}

    def raw(self, begin: float, end: float) -> Delays:
        """How late those clients of the logs were."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for single in self._raw.values():
            for seq, delays in single.delays(begin, end).items():
                found[seq] += delays
        return found

    def crowd(self, readers: int, stalled: int = 0) -> Crowd:
        """Clients of the gateway, as many of each job. Those that are stalled ask for all that there is."""
        requests = [request(_events(job), self.headers(job)) for job in self._raw]
        return Crowd(self.place.door, requests, readers, stalled, request(_events(JOB), self.place.headers))

    def bare(self, readers: int) -> Crowd:
        """Clients of the bare writer."""
        return Crowd(self.place.writer, [request("/", {})], readers)

    async def written(self) -> dict[str, float]:
        """What the bare writer tells of itself."""
        async with self.session.get(f"{self.place.writer.url}/stat") as answer:
            found: dict[str, float] = await answer.json(content_type=None)
            return found


def _events(job: str) -> str:
    return f"/v1/jobs/{job}/events"


@asynccontextmanager
async def talking(place: Place, connection: Connection, jobs: Sequence[str]) -> AsyncIterator[Talk]:
    """The jobs, talking while the block runs: RATE events a second of all together."""
    await asyncio.gather(*(asyncio.to_thread(place.talk, job, rate=RATE / len(jobs)) for job in jobs))
    path = f"{connection.server}/api/v1/namespaces/{NAMESPACE}/pods/%s-1/log?container=agent&follow=true"
    async with connection.session() as cluster, aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        raw = {job: Single(cluster, path % job, LOG_LINE) for job in jobs}
        for single in raw.values():
            await stack.enter_async_context(follows(single, {}))
        yield Talk(place, session, raw)
    await asyncio.to_thread(place.kubectl, "delete", "agentjob", *jobs)


def window() -> tuple[float, float]:
    """When to measure from now on."""
    begin = time.time() + SETTLE_SECONDS
    return begin, begin + SECONDS


class Round:
    """What one turn of all has shown, in milliseconds, microseconds of CPU, and numbers."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def note(self, name: str, delays: Delays) -> None:
        """Keeps the quantiles of some delays."""
        values = list(chain.from_iterable(delays.values()))
        for word, part in QUANTILES.items():
            self.figures[f"{name} {word}"] = quantile(values, part) / MILLION
        self.figures[f"{name} events"] = len(values)


async def alone(talk: Talk, found: Round) -> None:
    """One client."""
    single = Single(talk.session, talk.place.door.url + _events(JOB), EVENT)
    async with follows(single, talk.headers(JOB)):
        begin, end = window()
        await asyncio.sleep(end - time.time() + 1)
        found.figures["follows of one"] = (await talk.place.samples(talk.session))["agentjob_gateway_follows"]
    mine, raw = single.delays(begin, end), talk.raw(begin, end)
    found.note("one", mine)
    found.note("one raw", raw)


async def together(talk: Talk, found: Round, name: str, crowd: Crowd) -> None:
    """Many clients; what they cost is counted over the same time."""
    async with opened(crowd) as many:
        begin, end = window()
        delays, cpu = await asyncio.gather(many.delays(begin, end), _cost(talk, crowd, begin, end))
        found.figures[f"{name} follows"] = (await talk.place.samples(talk.session))["agentjob_gateway_follows"]
    found.note(name, delays)
    found.note(f"{name} raw", talk.raw(begin, end))
    found.figures[f"{name} cpu"] = cpu


async def _cost(talk: Talk, crowd: Crowd, begin: float, end: float) -> float:
    """Microseconds of CPU in the gateway's process for each event that it hands to a client."""
    each_line = crowd.readers / len(crowd.requests)
    await asyncio.sleep(begin - time.time())
    before = await talk.place.samples(talk.session)
    await asyncio.sleep(end - time.time())
    took = await talk.place.samples(talk.session) - before
    return took["process_cpu_seconds_total"] / (took["agentjob_gateway_log_lines_total"] * each_line) * MILLION


async def by_bare_writer(talk: Talk, found: Round, readers: int) -> None:
    """As many clients of the bare writer."""
    async with opened(talk.bare(readers)) as many:
        begin, end = window()
        delays, cpu = await asyncio.gather(many.delays(begin, end), _bare_cost(talk, begin, end))
    found.note("bare", delays)
    found.figures["bare cpu"] = cpu


async def _bare_cost(talk: Talk, begin: float, end: float) -> float:
    await asyncio.sleep(begin - time.time())
    before = await talk.written()
    await asyncio.sleep(end - time.time())
    after = await talk.written()
    return (after["cpu"] - before["cpu"]) / (after["written"] - before["written"]) * MILLION


async def measure(place: Place, connection: Connection, pairs: int, readers: int) -> tuple[list[Row], Any]:
    """The rows, and the figures of all rounds."""
    rounds = []
    async with talking(place, connection, [JOB]) as talk:
        for _ in range(pairs):
            found = Round()
            await alone(talk, found)
            await by_bare_writer(talk, found, readers)
            await together(talk, found, "many", talk.crowd(readers))
            await together(talk, found, "stalled", talk.crowd(readers - readers // 100, readers // 100))
            rounds.append(found.figures)
    columns = in_columns(rounds)
    return rows(columns, readers), columns


async def spread(place: Place, connection: Connection, pairs: int, readers: int) -> tuple[list[Row], Any]:
    """As many clients at several jobs."""
    rounds = []
    async with talking(place, connection, [f"{JOB}-{number}" for number in range(SEVERAL)]) as talk:
        for _ in range(pairs):
            found = Round()
            await together(talk, found, "spread", talk.crowd(readers))
            rounds.append(found.figures)
    columns = in_columns(rounds)
    who = f"{readers:,} clients of {SEVERAL} jobs, {RATE} events/s in all"
    return added(columns, "spread", who), columns


def in_columns(rounds: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """The figures of all rounds, by name."""
    return {name: tuple(each[name] for each in rounds) for name in rounds[0]}


def added(columns: Mapping[str, tuple[float, ...]], key: str, who: str) -> list[Row]:
    """How much later than to the log's own clients events come, as rows."""
    return [
        Added(name=f"print → client, {who}, {word}", ours=columns[f"{key} {word}"],
              theirs=columns[f"{key} raw {word}"], against="`pods/log?follow`", unit="ms", goal=goal)
        for word, goal in (("p50", 2.0), ("p99", 15.0))
    ]  # fmt: skip


def rows(columns: Mapping[str, tuple[float, ...]], readers: int) -> list[Row]:
    """The table's rows."""
    many = f"{readers:,} clients, {RATE} events/s each"
    return [
        *added(columns, "one", "1 client"),
        *added(columns, "many", many),
        Comparison(name=f"print → client, {many}, p99", ours=columns["many p99"], theirs=columns["bare p99"],
                   against="bare asyncio writer", unit="ms", goal=None),
        Measurement(name=f"CPU per delivery, {many}", values=columns["many cpu"], unit="µs", goal=24,
                    theirs=columns["bare cpu"], against="bare asyncio writer"),
        Measurement(name=f"logs followed for {readers:,} clients", values=columns["many follows"], unit="follows",
                    goal=1, theirs=columns["follows of one"], against="for 1 client"),
        Comparison(name="p99 with 1 % of clients stalled", ours=columns["stalled p99"], theirs=columns["many p99"],
                   against="none stalled", unit="ms", goal=1.2),
    ]  # fmt: skip
