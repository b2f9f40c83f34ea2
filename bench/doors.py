"""What the gateway adds to the API server: latency, CPU, memory, and lines that do not arrive."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import aiohttp

from agentjob_kube.connect import Connection, connect
from bench import asking, audit, latency, memory
from bench.driver import driver
from bench.figures import Row
from bench.place import NAMESPACE, Place, answering, install
from deploy.kind.steps import STEPS
from deploy.stack import Stack

Found = tuple[list[Row], Any]


class Sizes(NamedTuple):
    """How much of everything."""

    pairs: int
    readers: int
    lines: int


class Visit(NamedTuple):
    """What a part has at hand."""

    place: Place
    connection: Connection
    sizes: Sizes


async def _latency(at: Visit) -> Found:
    return await latency.measure(at.place, at.connection, at.sizes.pairs, at.sizes.readers)


async def _spread(at: Visit) -> Found:
    return await latency.spread(at.place, at.connection, at.sizes.pairs, at.sizes.readers)


async def _memory(at: Visit) -> Found:
    return await memory.measure(at.place, at.sizes.pairs, at.sizes.readers)


async def _asking(at: Visit) -> Found:
    return await asking.measure(at.place, at.connection, at.sizes.pairs)


async def _audit(at: Visit) -> Found:
    return await audit.measure(at.place, at.sizes.lines)


PARTS: dict[str, Callable[[Visit], Awaitable[Found]]] = {
    "asking": _asking,
    "latency": _latency,
    "spread": _spread,
    "memory": _memory,
    "audit": _audit,
}


def compare(stack: Stack, sizes: Sizes, parts: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """All rows of the table, and the figures behind them."""
    try:
        place = install(stack)
        return asyncio.run(measure(place, sizes, parts))
    finally:
        stack.delete_namespace(NAMESPACE)


async def measure(place: Place, sizes: Sizes, parts: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """One part after the other."""
    with TemporaryDirectory() as directory:
        connection = await connect(lambda *_: None, driver(place.stack, NAMESPACE, Path(directory, "driver")))
    async with aiohttp.ClientSession() as session:
        await answering(place, session)
    rows: list[Row] = []
    load: dict[str, tuple[float, float, float]] = {}
    details: dict[str, Any] = {"sizes": sizes._asdict(), "gateway": place.stack.images["gateway"], "load before": load}
    for name in parts:
        load[name] = os.getloadavg()
        with STEPS.step(f"doors: {name}"):
            found, details[name] = await PARTS[name](Visit(place, connection, sizes))
            rows += found
    return rows, details
