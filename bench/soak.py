"""The operator with a few jobs a second for a long time: what grows although the number of jobs does not?"""

import asyncio
import time
from statistics import median
from typing import Any, Final

from bench.arena import NAMESPACE, Arena, arena
from bench.burst import RATE
from bench.fake_nodes import ENDS
from bench.figures import Measurement, Row, quantile
from bench.sides import OURS, Seen, watched
from deploy.stack import Stack

KEPT_SECONDS: Final = 60
"""A job's own time to live: after that, as many go as come."""
WARM_MINUTES: Final = 3
FLAT: Final = {"resident": 1.05, "files": 1.05, "threads": 1.0, "create → Complete, p50": 1.25}
"""What the last quarter may be of the first, once warm."""


def compare(stack: Stack, minutes: int) -> tuple[list[Row], dict[str, Any]]:
    """All rows of the table, and the figures of each minute behind them."""
    samples = asyncio.run(_measure(stack, minutes))
    return rows(samples), {"samples": samples}


async def _measure(stack: Stack, minutes: int) -> list[dict[str, float]]:
    async with arena(stack) as place, watched(place.client, OURS, NAMESPACE, "soak") as seen:
        return [await _minute(place, seen, number) for number in range(minutes)]


async def _minute(place: Arena, seen: Seen, minute: int) -> dict[str, float]:
    """Jobs for a minute, and what is so at its end."""
    count, began = int(60 * RATE), time.monotonic()
    jobs = [f"soak-{minute * count + number}" for number in range(count)]
    for number, name in enumerate(jobs):
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        body = OURS.body(name, "soak", ENDS)
        body["spec"]["ttlSecondsAfterFinished"] = KEPT_SECONDS
        seen.sent[name] = time.monotonic()
        await place.client.create(OURS.kind, NAMESPACE, body)
    await seen.until(lambda: all(name in seen.complete for name in jobs))
    delays = [(seen.complete[name] - seen.sent[name]) * 1_000 for name in jobs]
    quantiles = {f"create → Complete, {word}": quantile(delays, part) for word, part in (("p50", 0.5), ("p99", 0.99))}
    return {**await asyncio.to_thread(place.taken), **quantiles}


def rows(samples: list[dict[str, float]]) -> list[Row]:
    """The last quarter against the first, once warm."""
    warm = samples[WARM_MINUTES:] or samples
    quarter = max(1, len(warm) // 4)
    return [
        Measurement(
            name=f"{RATE:g} jobs a second for {len(samples)} minutes: {what}, last quarter by first",
            values=(median(each[what] for each in warm[-quarter:]) / median(each[what] for each in warm[:quarter]),),
            unit="×",
            goal=most,
        )
        for what, most in FLAT.items()
    ]
