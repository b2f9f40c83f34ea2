"""What a client costs that is told nothing at the moment."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import aiohttp

from bench.crowd import Crowd, opened, request
from bench.figures import Measurement, Row
from bench.place import Place, answering

JOB = "silent"
QUIET = 0.001
"""Lines a second."""
SETTLE_SECONDS = 3.0
KIB = 1024


async def measure(place: Place, steps: int, readers: int) -> tuple[list[Row], Any]:
    """Resident memory of a fresh gateway, and of the bare writer, as so many clients come to it again and again."""
    await asyncio.to_thread(place.talk, JOB, rate=QUIET)
    await asyncio.to_thread(place.fresh)
    door = Crowd(place.door, [request(f"/v1/jobs/{JOB}/events", place.headers)], readers)
    bare = Crowd(place.writer, [request("/idle", {})], readers)
    async with aiohttp.ClientSession() as session, AsyncExitStack() as crowds:
        await answering(place, session)
        await crowds.enter_async_context(opened(door._replace(readers=1, processes=1)))
        ours, theirs = [await _ours(place, session)], [await _theirs(place, session)]
        for _ in range(steps):
            await crowds.enter_async_context(opened(door))
            await crowds.enter_async_context(opened(bare))
            ours.append(await _ours(place, session))
            theirs.append(await _theirs(place, session))
    row = Measurement(
        name="memory per idle client",
        values=_growth(ours, readers),
        unit="KiB",
        goal=12,
        theirs=_growth(theirs, readers),
        against="bare asyncio writer",
    )
    return [row], {"resident": ours, "bare resident": theirs}


def _growth(resident: list[float], readers: int) -> tuple[float, ...]:
    return tuple((b - a) / readers / KIB for a, b in pairwise(resident))


async def _ours(place: Place, session: aiohttp.ClientSession) -> float:
    await asyncio.sleep(SETTLE_SECONDS)
    return (await place.samples(session))["process_resident_memory_bytes"]


async def _theirs(place: Place, session: aiohttp.ClientSession) -> float:
    async with session.get(f"{place.writer.url}/stat") as answer:
        return float((await answer.json(content_type=None))["rss"])
