"""What the operator itself takes: CPU beside a controller that is as bare as can be, memory, and a start onto much."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from agentjob_api import names
from agentjob_kube.resources import AGENT_JOBS, PODS
from bench.arena import NAMESPACE, RELEASE, SETTLE_SECONDS, Arena
from bench.burst import burst
from bench.fake_nodes import STAYS
from bench.figures import Comparison, Measurement, Row
from bench.place import READY_SECONDS, script_pod
from bench.sides import OURS

BARE: Final = "bare"
MEGABYTE: Final = 1e6
STEPS: Final = 3
"""Thousands of jobs that are live at the end."""
STEP: Final = 1_000


async def cpu(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """Seconds of CPU for 1,000 jobs, half of `count` at once, beside a bare controller that writes the same."""
    ours, theirs, rates = [], [], []
    for _ in range(pairs):
        spent, rate = await _spent(arena, f"deployment/{RELEASE}", count // 2)
        ours.append(spent)
        await asyncio.to_thread(arena.stop)
        with _bare(arena):
            spent, bare_rate = await _spent(arena, f"pod/{BARE}", count // 2)
            theirs.append(spent)
        await asyncio.to_thread(arena.start)
        await asyncio.sleep(SETTLE_SECONDS)
        rates.append({"ours": rate, "bare": bare_rate})
    row = Comparison(
        name="CPU for 1,000 jobs at once",
        ours=tuple(ours),
        theirs=tuple(theirs),
        against="bare list and watch, same writes",
        unit="s",
        goal=2.5,
    )
    return [row], {"ours": ours, "bare": theirs, "jobs a second": rates}


async def _spent(arena: Arena, who: str, count: int) -> tuple[float, float]:
    """Seconds of CPU for 1,000 jobs, and jobs a second. What is spent on taking them away again is not counted."""
    await burst(arena, OURS, 50)  # warm
    found: list[float] = []

    async def note() -> None:
        found.append((await asyncio.to_thread(arena.taken, who))["cpu"])

    await note()
    rate, _ = await burst(arena, OURS, count, note)
    return (found[1] - found[0]) * 1_000 / count, rate


@contextmanager
def _bare(arena: Arena) -> Iterator[None]:
    """A bare controller in the operator's place, as its service account, while the block runs."""
    words = (NAMESPACE, arena.stack.images["runner"])
    pod = script_pod({"name": BARE}, arena.stack.images["operator"], BARE, words)
    pod["spec"] |= {"serviceAccountName": RELEASE, "automountServiceAccountToken": True}
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    arena.stack.apply(NAMESPACE, pod)
    try:
        arena.stack.wait(NAMESPACE, f"pod/{BARE}", "condition=Ready", READY_SECONDS)
        yield
    finally:
        arena.kubectl("delete", "pod", BARE, "--wait", timeout=70)


async def memory(arena: Arena, pairs: int, _: int) -> tuple[list[Row], Any]:
    """Resident memory by jobs that run, and starts onto all of them."""
    resident = [await _resident(arena)]
    for number in range(STEPS):
        await arena.fill(OURS, "running", range(number * STEP, (number + 1) * STEP), STAYS)
        resident.append(await _resident(arena))
    starts = [await _start(arena, STEPS * STEP) for _ in range(pairs)]
    await arena.clear(OURS, "running")
    live = f"{STEPS * STEP:,} jobs and their Pods"
    rows: list[Row] = [
        Measurement(
            name="memory per 1,000 live jobs",
            values=tuple((after - before) / MEGABYTE for before, after in itertools.pairwise(resident)),
            unit="MB",
            goal=15,
        ),
        Measurement(
            name=f"start onto {live}: process → all reconciled, beyond 3 times a LIST of them",
            values=tuple(start["reconciled"] - 3 * start["list"] for start in starts),
            unit="s",
            goal=1,
            theirs=tuple(start["list"] for start in starts),
            against="LIST",
        ),
        Measurement(
            name=f"start onto {live}: peak memory",
            values=tuple(start["peak"] / MEGABYTE for start in starts),
            unit="MB",
            goal=130,
        ),
        Measurement(
            name=f"start onto {live}: Pods made or gone",
            values=tuple(start["changed"] for start in starts),
            unit="Pods",
            goal=0,
        ),
    ]
    return rows, {"resident": resident, "starts": starts}


async def _resident(arena: Arena) -> float:
    await asyncio.sleep(SETTLE_SECONDS)
    return (await asyncio.to_thread(arena.taken))["resident"]


async def _start(arena: Arena, count: int) -> dict[str, float]:
    """What a start onto so many jobs takes, and a LIST of them and their Pods as it comes."""
    await asyncio.to_thread(arena.stop)
    before = await _pods(arena)
    began = time.monotonic()
    for kind, selector in ((AGENT_JOBS, ""), (PODS, names.LABEL_JOB)):
        async for _page in arena.client.pages(kind, NAMESPACE, selector):
            pass
    listed = time.monotonic() - began
    await asyncio.to_thread(arena.start)
    found = await asyncio.to_thread(arena.taken, f"deployment/{RELEASE}", str(count))
    return {**found, "list": listed, "changed": len(before ^ await _pods(arena))}


async def _pods(arena: Arena) -> set[str]:
    """uids of all Pods of jobs."""
    words = ("get", "pods", "-l", names.LABEL_JOB, "-o", "jsonpath={.items[*].metadata.uid}")
    return set((await asyncio.to_thread(arena.kubectl, *words)).split())
