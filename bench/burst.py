"""Many jobs at once, and a few a second: the operator beside the controller of batch/v1 Jobs, at the same limits."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.arena import NAMESPACE, Arena
from bench.figures import Comparison, Measurement, Row, quantile
from bench.sides import OURS, Side, watched
from bench.writes import counted

RATE: Final = 5.0
"""Jobs a second, where there are few."""
FEW: Final = 100
SPANS: Final = ("create → Pod", "Pod's end → Complete")
PARTS: Final = {"p50": 0.5, "p99": 0.99}


@dataclass
class Runs:
    """What came of one side's runs, one value for each."""

    rates: list[float] = field(default_factory=list)
    """Jobs a second, from the first create to the last Complete."""
    writes: list[float] = field(default_factory=list)
    """Of its controller, for each job of a burst."""
    delays: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds, by span and quantile, where jobs come a few a second."""

    def add_delays(self, spans: Mapping[str, list[float]]) -> None:
        """Takes the quantiles of a run."""
        for (span, values), (word, part) in itertools.product(spans.items(), PARTS.items()):
            self.delays.setdefault(f"{span}, {word}", []).append(quantile(values, part))


async def _nothing() -> None:
    """Nothing is to be done."""


async def burst(
    arena: Arena, side: Side, count: int, at_its_end: Callable[[], Awaitable[None]] = _nothing
) -> tuple[float, float]:
    """Jobs a second, and writes of the controller for each."""
    before = await _writes(arena, side)
    async with watched(arena.client, side, NAMESPACE, "burst") as seen:
        began = time.monotonic()
        await arena.create(side, "burst", range(count))
        await seen.until(lambda: len(seen.complete) == count)
    writes = await _writes(arena, side) - before
    await at_its_end()
    await arena.clear(side, "burst")
    return count / (max(seen.complete.values()) - began), writes / count


async def few(arena: Arena, side: Side) -> dict[str, list[float]]:
    """Milliseconds of each job, by span, where few come a second."""
    async with watched(arena.client, side, NAMESPACE, "few") as seen:
        began = time.monotonic()
        for number in range(FEW):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            name = f"few-{number}"
            seen.sent[name] = time.monotonic()
            await arena.create(side, "few", range(number, number + 1))
        await seen.until(lambda: len(seen.complete) == FEW)
    await arena.clear(side, "few")
    spans = (seen.between(seen.sent, seen.pod), seen.between(seen.ended, seen.complete))
    return dict(zip(SPANS, spans, strict=True))


async def _writes(arena: Arena, side: Side) -> int:
    metrics = await asyncio.to_thread(arena.stack.kubectl, "get", "--raw", "/metrics")
    return counted(metrics, side.writes).total()


async def at_defaults(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """Bursts at the limits that controllers have by default. Of Jobs a fifth, whose pace is the limit at any number."""
    runs = {OURS.name: Runs(), arena.theirs.name: Runs()}
    for _, (side, jobs) in itertools.product(range(pairs), ((OURS, count), (arena.theirs, count // 5))):
        rate, writes = await burst(arena, side, jobs)
        runs[side.name].rates.append(rate)
        runs[side.name].writes.append(writes)
    return [_burst_row(runs, arena, f"burst of {count:,} jobs, seconds for 1,000", "limits as by default", 0.1)], _kept(
        runs
    )


async def at_raised(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """Bursts, and a few a second, where nothing but the machine holds anybody back."""
    runs = {OURS.name: Runs(), arena.theirs.name: Runs()}
    for _, side in itertools.product(range(pairs), (OURS, arena.theirs)):
        rate, writes = await burst(arena, side, count)
        runs[side.name].rates.append(rate)
        runs[side.name].writes.append(writes)
        runs[side.name].add_delays(await few(arena, side))
    return _raised_rows(runs, arena, count), _kept(runs)


def _kept(runs: Mapping[str, Runs]) -> dict[str, Any]:
    return {name: asdict(each) for name, each in runs.items()}


def _burst_row(runs: Mapping[str, Runs], arena: Arena, name: str, limits: str, goal: float) -> Row:
    ours, theirs = (tuple(1_000 / rate for rate in runs[side.name].rates) for side in (OURS, arena.theirs))
    return Comparison(name=name, ours=ours, theirs=theirs, against=f"Job, {limits}", unit="s", goal=goal)


def _raised_rows(runs: Mapping[str, Runs], arena: Arena, count: int) -> list[Row]:
    ours, theirs = runs[OURS.name], runs[arena.theirs.name]
    goals = {"create → Pod, p50": 1.1, "create → Pod, p99": 1.5, "Pod's end → Complete, p50": 0.05}
    return [
        _burst_row(runs, arena, f"burst of {count:,} jobs, seconds for 1,000", "limits raised", 1.0),
        Measurement(
            name="writes per job in a burst, but Events",
            values=tuple(ours.writes),
            unit="writes",
            goal=3,
            theirs=tuple(theirs.writes),
            against="Job",
        ),
        *(
            Comparison(
                name=f"{RATE:g} jobs a second: {span}",
                ours=tuple(ours.delays[span]),
                theirs=tuple(theirs.delays[span]),
                against="Job, limits raised",
                unit="ms",
                goal=goals.get(span),
            )
            for span in ours.delays
        ),
    ]
