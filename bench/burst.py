"""Many jobs at once, and a few a second: the operator beside the controller of batch/v1 Jobs, at the same limits."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bench.arena import NAMESPACE, OPERATOR, Arena
from bench.figures import Comparison, Measurement, Row, quantile
from bench.sides import OURS, Side, watched
from bench.spent import for_each, spent
from bench.writes import counted
from deploy.kind.steps import STEPS

RATE: Final = 5.0
"""Jobs a second, where there are few."""
FEW: Final = 100
SPANS: Final = ("create → Pod", "Pod's end → Complete")
PARTS: Final = {"p50": 0.5, "p99": 0.99}


class Burst(NamedTuple):
    """What came of many jobs at once."""

    rate: float
    """Jobs a second, from the first create to the last Complete."""
    writes: float
    """Of the controller, for each job."""
    cpu: dict[str, float]
    """Milliseconds for each job: of the control plane's parts, and of the one process that was asked for."""


@dataclass
class Runs:
    """What came of one side's runs, one value for each."""

    bursts: list[Burst] = field(default_factory=list)
    delays: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds, by span and quantile, where jobs come a few a second."""

    @property
    def times(self) -> tuple[float, ...]:
        """Seconds for 1,000 jobs at once: all ratios of the table are better when they are smaller."""
        return tuple(1_000 / each.rate for each in self.bursts)

    @property
    def writes(self) -> tuple[float, ...]:
        """Of the controller for each job of a burst."""
        return tuple(each.writes for each in self.bursts)

    def kept(self) -> dict[str, Any]:
        """As it is written to the results."""
        return {"bursts": [each._asdict() for each in self.bursts], "delays": self.delays}

    def add_delays(self, spans: Mapping[str, list[float]]) -> None:
        """Takes the quantiles of a run."""
        for (span, values), (word, part) in itertools.product(spans.items(), PARTS.items()):
            self.delays.setdefault(f"{span}, {word}", []).append(quantile(values, part))


async def burst(arena: Arena, side: Side, count: int, who: str = OPERATOR) -> Burst:
    """Many jobs at once. `who`: whose CPU is counted beside the control plane's."""
    before = await asyncio.to_thread(_counts, arena, side, who)
    async with watched(arena.client, side, NAMESPACE, "burst") as seen:
        began = time.monotonic()
        await arena.create(side, "burst", range(count))
        await seen.until(lambda: len(seen.complete) == count)
    after = await asyncio.to_thread(_counts, arena, side, who)
    await arena.clear(side, "burst")
    rate = count / (max(seen.complete.values()) - began)
    STEPS.note(f"{side.name}: {count:,} at once, {rate:.1f} a second")
    return Burst(rate, (after[0] - before[0]) / count, for_each(before[1], after[1], count))


def _counts(arena: Arena, side: Side, who: str) -> tuple[int, dict[str, float]]:
    """Writes of the controller, and seconds of CPU."""
    writes = counted(arena.stack.kubectl("get", "--raw", "/metrics"), side.writes).total()
    return writes, {who: arena.taken(who)["cpu"], **spent(arena.stack, arena.node)}


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
    medians = ", ".join(f"{name} {quantile(values, 0.5):.1f} ms" for name, values in zip(SPANS, spans, strict=True))
    STEPS.note(f"{side.name}: {RATE:g} a second, {medians}")
    return dict(zip(SPANS, spans, strict=True))


async def at_defaults(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """Bursts at the limits that controllers have by default. Of Jobs a fifth, whose pace is the limit at any number."""
    runs = await _bursts(arena, pairs, count, count // 5)
    return [_burst_row(runs, arena, f"burst of {count:,} jobs", "limits as by default", 0.1)], _kept(runs)


async def at_raised(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """Bursts where nothing but the machine holds anybody back."""
    runs = await _bursts(arena, pairs, count, count)
    writes = Measurement(
        name="writes per job in a burst, but Events",
        values=runs[OURS.name].writes,
        unit="writes",
        goal=3,
        theirs=runs[arena.theirs.name].writes,
        against="Job",
    )
    return [_burst_row(runs, arena, f"burst of {count:,} jobs", "limits raised", 1.0), writes], _kept(runs)


async def a_few(arena: Arena, pairs: int, _: int) -> tuple[list[Row], Any]:
    """A few a second, where nothing but the machine holds anybody back."""
    runs = {OURS.name: Runs(), arena.theirs.name: Runs()}
    for _pair, side in itertools.product(range(pairs), (OURS, arena.theirs)):
        runs[side.name].add_delays(await few(arena, side))
    ours, theirs = runs[OURS.name], runs[arena.theirs.name]
    goals = {"create → Pod, p50": 1.1, "create → Pod, p99": 1.5, "Pod's end → Complete, p50": 0.05}
    rows: list[Row] = [
        Comparison(
            name=f"{RATE:g} jobs a second: {span}",
            ours=tuple(ours.delays[span]),
            theirs=tuple(theirs.delays[span]),
            against="Job, limits raised",
            unit="ms",
            goal=goals.get(span),
        )
        for span in ours.delays
    ]
    return rows, _kept(runs)


async def _bursts(arena: Arena, pairs: int, ours: int, theirs: int) -> dict[str, Runs]:
    runs = {OURS.name: Runs(), arena.theirs.name: Runs()}
    for _, (side, jobs) in itertools.product(range(pairs), ((OURS, ours), (arena.theirs, theirs))):
        runs[side.name].bursts.append(await burst(arena, side, jobs))
    return runs


def _kept(runs: Mapping[str, Runs]) -> dict[str, Any]:
    return {name: each.kept() for name, each in runs.items()}


def _burst_row(runs: Mapping[str, Runs], arena: Arena, name: str, limits: str, goal: float) -> Row:
    return Comparison(
        name=f"{name}, seconds for 1,000",
        ours=runs[OURS.name].times,
        theirs=runs[arena.theirs.name].times,
        against=f"Job, {limits}",
        unit="s",
        goal=goal,
    )
