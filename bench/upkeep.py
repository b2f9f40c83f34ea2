"""What the operator itself takes: CPU beside a controller that is as bare as can be, memory, and a start onto much."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from agentjob_api import names
from agentjob_kube.resources import AGENT_JOBS, PODS
from bench.arena import NAMESPACE, OPERATOR, RELEASE, SETTLE_SECONDS, Arena
from bench.burst import Burst, burst
from bench.fake_nodes import STAYS
from bench.figures import Comparison, Measurement, Row
from bench.place import READY_SECONDS, script_pod
from bench.sides import OURS
from deploy.kind.steps import STEPS

BARE: Final = "bare"
MEGABYTE: Final = 1e6
THOUSANDS: Final = 3
"""Thousands of jobs that are live at the end."""
STEP: Final = 1_000


async def cpu(arena: Arena, pairs: int, count: int) -> tuple[list[Row], Any]:
    """Seconds of CPU for 1,000 jobs, half of `count` at once, beside a bare controller that writes the same."""
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(await _one(arena, OPERATOR, count // 2))
        await asyncio.to_thread(arena.stop)
        with _bare(arena):
            theirs.append(await _one(arena, f"pod/{BARE}", count // 2))
        await asyncio.to_thread(arena.start)
        await asyncio.sleep(SETTLE_SECONDS)
    row = Comparison(
        name="CPU for 1,000 jobs at once",
        ours=tuple(each.cpu[OPERATOR] for each in ours),
        theirs=tuple(each.cpu[f"pod/{BARE}"] for each in theirs),
        against="bare list and watch, same writes",
        unit="s",
        goal=2.5,
    )
    return [row], {"ours": [each._asdict() for each in ours], "bare": [each._asdict() for each in theirs]}


async def _one(arena: Arena, who: str, count: int) -> Burst:
    """One burst after a small one."""
    await burst(arena, OURS, 50, who)
    return await burst(arena, OURS, count, who)


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
    for number in range(THOUSANDS):
        await arena.fill(OURS, "running", range(number * STEP, (number + 1) * STEP), STAYS)
        resident.append(await _resident(arena))
        STEPS.note(f"{(number + 1) * STEP:,} live jobs: {resident[-1] / MEGABYTE:.1f} MB")
    starts = [await _start(arena, THOUSANDS * STEP) for _ in range(pairs)]
    await arena.clear(OURS, "running", run=True)
    live = f"{THOUSANDS * STEP:,} jobs and their Pods"
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
    before = await asyncio.to_thread(arena.pods)
    began = time.monotonic()
    for kind, selector in ((AGENT_JOBS, ""), (PODS, names.LABEL_JOB)):
        async for _page in arena.client.pages(kind, NAMESPACE, selector):
            pass
    listed = time.monotonic() - began
    await asyncio.to_thread(arena.start)
    found = await asyncio.to_thread(arena.taken, OPERATOR, str(count))
    after = await asyncio.to_thread(arena.pods)
    return {**found, "list": listed, "changed": len(before ^ after)}
