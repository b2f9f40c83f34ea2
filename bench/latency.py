"""How late an event comes through the gateway, what it costs to hand it out, and whether clients disturb each other."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import aiohttp

from agentjob_kube.connect import Connection
from bench.crowd import LOG_LINE, MILLION, SETTLE_SECONDS, Crowd, Delays, Single, follows, opened
from bench.figures import Added, Comparison, Measurement, Row, quantile
from bench.place import NAMESPACE, RATE, Place
from bench.readers import EVENT

JOB = "talker"
SECONDS = 10.0
"""Of one measurement."""
QUANTILES = {"p50": 0.5, "p99": 0.99}


class Talk:
    """A job that talks, and the client of its Pod's log that hears it first."""

    def __init__(self, place: Place, session: aiohttp.ClientSession, raw: Single) -> None:
        self.place = place
        self.session = session
        self.raw = raw

    @property
    def headers(self) -> dict[str, str]:
        """Of a client that is up to date."""
        return {**self.place.headers, "Last-Event-ID": f"{JOB}/1-{self.raw.latest}"}

    def crowd(self, readers: int, stalled: int = 0) -> Crowd:
        """Clients of the gateway."""
        return Crowd(self.place.door, f"/v1/jobs/{JOB}/events", self.headers, readers, stalled)

    def bare(self, readers: int) -> Crowd:
        """Clients of the bare writer."""
        return Crowd(self.place.writer, "/", {}, readers)

    async def written(self) -> dict[str, float]:
        """What the bare writer tells of itself."""
        async with self.session.get(f"{self.place.writer.url}/stat") as answer:
            found: dict[str, float] = await answer.json(content_type=None)
            return found


@asynccontextmanager
async def talking(place: Place, connection: Connection) -> AsyncIterator[Talk]:
    """The job, talking while the block runs."""
    await asyncio.to_thread(place.talk, JOB)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{JOB}-1/log?container=agent&follow=true"
    async with connection.session() as cluster, aiohttp.ClientSession() as session:
        raw = Single(cluster, connection.server + path, LOG_LINE)
        async with follows(raw, {}):
            yield Talk(place, session, raw)
    await asyncio.to_thread(place.kubectl, "delete", "agentjob", JOB)


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

    def note_each(self, name: str, delays: Delays, raw: Delays) -> None:
        """Keeps the quantiles of what each event came later than to the client of the log."""
        later = [each - raw[seq][0] for seq, found in delays.items() if seq in raw for each in found]
        for word, part in QUANTILES.items():
            self.figures[f"{name} later {word}"] = quantile(later, part) / MILLION


async def alone(talk: Talk, found: Round) -> None:
    """One client."""
    single = Single(talk.session, f"{talk.place.door.url}/v1/jobs/{JOB}/events", EVENT)
    async with follows(single, talk.headers):
        begin, end = window()
        await asyncio.sleep(end - time.time() + 1)
        found.figures["follows of one"] = (await talk.place.samples(talk.session))["agentjob_gateway_follows"]
    mine, raw = single.delays(begin, end), talk.raw.delays(begin, end)
    found.note("one", mine)
    found.note("one raw", raw)
    found.note_each("one", mine, raw)


async def together(talk: Talk, found: Round, name: str, crowd: Crowd) -> None:
    """Many clients; what they cost is counted over the same time."""
    async with opened(crowd) as many:
        begin, end = window()
        delays, cpu = await asyncio.gather(many.delays(begin, end), _cost(talk, crowd, begin, end))
        found.figures[f"{name} follows"] = (await talk.place.samples(talk.session))["agentjob_gateway_follows"]
    raw = talk.raw.delays(begin, end)
    found.note(name, delays)
    found.note(f"{name} raw", raw)
    found.note_each(name, delays, raw)
    found.figures[f"{name} cpu"] = cpu


async def _cost(talk: Talk, crowd: Crowd, begin: float, end: float) -> float:
    """Microseconds of CPU in the gateway's process for each event that it hands to a client."""
    await asyncio.sleep(begin - time.time())
    before = await talk.place.samples(talk.session)
    await asyncio.sleep(end - time.time())
    took = await talk.place.samples(talk.session) - before
    return took["process_cpu_seconds_total"] / (took["agentjob_gateway_log_lines_total"] * crowd.readers) * MILLION


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
    async with talking(place, connection) as talk:
        for _ in range(pairs):
            found = Round()
            await alone(talk, found)
            await together(talk, found, "many", talk.crowd(readers))
            await by_bare_writer(talk, found, readers)
            await together(talk, found, "stalled", talk.crowd(readers - readers // 100, readers // 100))
            rounds.append(found.figures)
    columns = {name: tuple(each[name] for each in rounds) for name in rounds[0]}
    return rows(columns, readers), columns


def rows(columns: Mapping[str, tuple[float, ...]], readers: int) -> list[Row]:
    """The table's rows."""
    many = f"{readers:,} clients, {RATE} events/s each"
    raw = "`pods/log?follow`"
    added = [
        Added(name=f"print → client, {who}, {word}", ours=columns[f"{key} {word}"],
              theirs=columns[f"{key} raw {word}"], against=raw, unit="ms", goal=goal)
        for key, who in (("one", "1 client"), ("many", many))
        for word, goal in (("p50", 2.0), ("p99", 15.0))
    ]  # fmt: skip
    return [
        *added,
        Comparison(name=f"print → client, {many}, p99", ours=columns["many p99"], theirs=columns["bare p99"],
                   against="bare asyncio writer", unit="ms", goal=None),
        Measurement(name=f"CPU per delivery, {many}", values=columns["many cpu"], unit="µs", goal=24,
                    theirs=columns["bare cpu"], against="bare asyncio writer"),
        Measurement(name=f"logs followed for {readers:,} clients", values=columns["many follows"], unit="follows",
                    goal=1, theirs=columns["follows of one"], against="for 1 client"),
        Comparison(name="p99 with 1 % of clients stalled", ours=columns["stalled p99"], theirs=columns["many p99"],
                   against="none stalled", unit="ms", goal=1.2),
    ]  # fmt: skip
