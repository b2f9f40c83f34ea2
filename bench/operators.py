"""The operator beside the controller of batch/v1 Jobs, part by part."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from bench import burst, crowded, failover, upkeep
from bench.arena import Arena, arena
from bench.control_plane import DEFAULTS, RAISED, limited
from bench.figures import Row
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS
from deploy.stack import Stack

Part = Callable[[Arena, int, int], Awaitable[tuple[list[Row], Any]]]
"""It is given the number of pairs, and of jobs in a burst."""

PARTS: dict[str, Part] = {
    "defaults": burst.at_defaults,
    "raised": burst.at_raised,
    "few": burst.a_few,
    "crowded": crowded.measure,
    "growth": crowded.growth,
    "cpu": upkeep.cpu,
    "memory": upkeep.memory,
    "failover": failover.measure,
}
AT_DEFAULTS = {"defaults"}
"""Parts with the limits that a control plane has by default; for the others they are raised."""


def compare(stack: Stack, pairs: int, jobs: int, parts: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """All rows of the table, and the figures behind them."""
    return asyncio.run(measure(stack, pairs, jobs, parts))


async def measure(stack: Stack, pairs: int, jobs: int, parts: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """One part after the other; of one that could not be measured, why, under `failed`."""
    rows: list[Row] = []
    load: dict[str, tuple[float, float, float]] = {}
    failed: dict[str, str] = {}
    details: dict[str, Any] = {
        "pairs": pairs,
        "jobs": jobs,
        "operator": stack.images["operator"],
        "load before": load,
        "failed": failed,
    }
    ordered = sorted(parts, key=list(PARTS).index)
    async with arena(stack) as place:
        for at_defaults, names in itertools.groupby(ordered, AT_DEFAULTS.__contains__):
            async with limited(stack, DEFAULTS if at_defaults else RAISED):
                for name in names:
                    load[name] = os.getloadavg()
                    try:
                        with STEPS.step(f"operator: {name}"):
                            found, details[name] = await PARTS[name](place, pairs, jobs)
                    except ClusterError as error:
                        failed[name] = str(error)
                    else:
                        rows += found
    return rows, details
