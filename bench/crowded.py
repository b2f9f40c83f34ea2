"""The operator beside many other jobs: that it takes no longer, and that the cost of jobs grows no faster than they."""

from typing import Any, Final

from bench.arena import Arena
from bench.burst import RATE, Runs, burst, few
from bench.fake_nodes import STAYS
from bench.figures import Comparison, Measurement, Row
from bench.picture import curves
from bench.sides import OURS
from deploy.stack import ROOT

FINISHED: Final = 5_000
RUNNING: Final = 500
SLOWER: Final = 1.25
"""What it may take at most of what it takes without them."""
SIZES: Final = (1, 3, 10)
"""Bursts, in those that are compared with everything else."""
PICTURE: Final = ROOT / "docs" / "jobs-at-once.svg"


async def measure(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """The same figures without and with finished and running jobs beside them."""
    empty = await _runs(arena, pairs, count)
    await arena.fill(OURS, "running", range(RUNNING), STAYS)
    await arena.fill(OURS, "finished", range(FINISHED))
    full = await _runs(arena, pairs, count)
    await arena.clear(OURS, "finished")
    await arena.clear(OURS, "running", run=True)
    with_them = f"{FINISHED:,} finished and {RUNNING} running jobs beside them"
    spans = (
        (f"burst of {count:,} jobs, seconds for 1,000", "s", full.times, empty.times),
        *((f"{RATE:g} jobs a second: {span}", "ms", full.delays[span], empty.delays[span]) for span in full.delays),
    )
    rows: list[Row] = [
        Comparison(
            name=f"{name}, {with_them}", ours=tuple(ours), theirs=tuple(theirs), against="none", unit=unit, goal=SLOWER
        )
        for name, unit, ours, theirs in spans
    ]
    return rows, {"empty": empty.kept(), "full": full.kept()}


async def _runs(arena: Arena, pairs: int, count: int) -> Runs:
    runs = Runs()
    for _ in range(pairs):
        runs.bursts.append(await burst(arena, OURS, count))
        runs.add_delays(await few(arena, OURS))
    return runs


async def growth(arena: Arena, _: int, count: int) -> tuple[list[Row], Any]:
    """Bursts of several sizes, drawn as a picture, too."""
    seconds: dict[str, dict[int, float]] = {}
    bursts: dict[str, dict[str, Any]] = {}
    for size in SIZES:
        for side in (OURS, arena.theirs):
            found = await burst(arena, side, size * count)
            seconds.setdefault(side.name, {})[size * count] = size * count / found.rate
            bursts.setdefault(side.name, {})[str(size * count)] = found._asdict()
    PICTURE.write_text(curves(seconds, "jobs at once", "seconds to the last Complete"))
    first, last = SIZES[0] * count, SIZES[-1] * count
    ours = seconds[OURS.name]
    grown = (ours[last] / ours[first]) / (last / first)
    row = Measurement(
        name=f"time per job of {last:,} at once, in those of {first:,}", values=(grown,), unit="×", goal=SLOWER
    )
    return [row], bursts
