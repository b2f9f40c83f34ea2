"""How long nobody acts: the operator that does is killed, or stopped, while another one stands by.

They are Pods as the chart makes them, but the kubelet does not start them again: one that it does finds its own name in
the Lease, and acts before the one that stands by may.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from agentjob_kube.client import Object
from bench.arena import NAMESPACE, RELEASE, SETTLE_SECONDS, Arena
from bench.fake_nodes import STAYS
from bench.figures import Measurement, Row
from bench.place import READY_SECONDS
from bench.sides import LABEL, OURS, watched
from bench.upkeep import STEP, THOUSANDS
from deploy.kind.steps import STEPS

JOBS: Final = THOUSANDS * STEP
"""That run meanwhile."""
RUNNING: Final = "running"
ASKED: Final = "failover"
"""What the jobs are made for that somebody waits for."""
OPERATORS: Final = "operators"


class Way(NamedTuple):
    """How the one that acts ends."""

    signal: str
    goal: float
    """Seconds until the other one has made a Pod."""


WAYS: Final = {"killed": Way("KILL", 20.0), "stopped": Way("TERM", 2.0)}


class Turn(NamedTuple):
    """One has ended, and the other one acts."""

    seconds: float
    """From the signal until the Pod of a job was there that was made after it."""
    changed: int
    """Pods of the jobs that run that were made or have gone."""


async def measure(arena: Arena, pairs: int, _: int) -> tuple[list[Row], Any]:
    """Ends of the one that acts, one way and the other in turn, beside thousands of jobs that run."""
    await arena.fill(OURS, RUNNING, range(JOBS), STAYS)
    await asyncio.to_thread(arena.stop)
    try:
        with _operators(arena):
            turns = await _turns(arena, pairs)
    finally:
        await asyncio.to_thread(arena.start)
    await arena.clear(OURS, ASKED)
    await arena.clear(OURS, RUNNING, run=True)
    return rows(turns), {how: [each._asdict() for each in found] for how, found in turns.items()}


def rows(turns: Mapping[str, Sequence[Turn]]) -> list[Row]:
    """Each way against its goal, and that no job was touched by any."""
    beside = f"with {JOBS:,} jobs"
    times = [
        Measurement(
            name=f"stand-by acts after the holder is {how}, {beside}",
            values=tuple(each.seconds for each in turns[how]),
            unit="s",
            goal=way.goal,
        )
        for how, way in WAYS.items()
    ]
    changed = Measurement(
        name=f"stand-by acts, {beside}: Pods made or gone",
        values=tuple(each.changed for found in turns.values() for each in found),
        unit="Pods",
        goal=0,
    )
    return [*times, changed]


async def _turns(arena: Arena, pairs: int) -> dict[str, list[Turn]]:
    """The one that stood by is the one that acts in the next turn."""
    found: dict[str, list[Turn]] = {how: [] for how in WAYS}
    acts = await asyncio.to_thread(_start, arena, 0)
    for number, how in enumerate([*WAYS] * pairs):
        stands_by = await asyncio.to_thread(_start, arena, number + 1)
        await asyncio.sleep(SETTLE_SECONDS)
        await asyncio.to_thread(_holds, arena, acts)
        turn = await _turn(arena, number, acts, WAYS[how].signal)
        await asyncio.to_thread(_holds, arena, stands_by)
        STEPS.note(f"{how}: the other one acts after {turn.seconds:.1f} s")
        found[how].append(turn)
        acts = stands_by
    return found


async def _turn(arena: Arena, number: int, acts: str, signal: str) -> Turn:
    """Ends the one that acts, and makes a job then, which nobody takes but the other one."""
    job = f"{ASKED}-{number}"
    end = await asyncio.to_thread(_ending, arena, acts, signal)
    before = await asyncio.to_thread(arena.pods, f"{LABEL}={RUNNING}")
    async with watched(arena.client, OURS, NAMESPACE, ASKED) as seen:
        began = time.monotonic()
        await asyncio.to_thread(arena.stack.program.run, *end, timeout=30)
        await arena.create(OURS, ASKED, range(number, number + 1))
        await seen.until(lambda: job in seen.pod and job in seen.complete)
    after = await asyncio.to_thread(arena.pods, f"{LABEL}={RUNNING}")
    return Turn(seconds=seen.pod[job] - began, changed=len(before ^ after))


def _ending(arena: Arena, pod: str, signal: str) -> tuple[str, ...]:
    """The command that sends an operator a signal: from its node, for from within, the first process hears no KILL."""
    found = arena.stack.get("pod", NAMESPACE, pod)
    node = found["spec"]["nodeName"]
    container = found["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    told = arena.stack.program.run("docker", "exec", node, "crictl", "inspect", container, timeout=30)
    return ("docker", "exec", node, "bash", "-c", f"kill -{signal} {json.loads(told)['info']['pid']}")


def _holds(arena: Arena, pod: str) -> None:
    """Returns once an operator holds the Lease; raises ClusterError where it does not."""
    arena.stack.wait(NAMESPACE, f"lease/{RELEASE}", f"jsonpath={{.spec.holderIdentity}}={pod}", READY_SECONDS)


def _start(arena: Arena, number: int) -> str:
    """Starts another operator; its name, once it knows what there is."""
    name = f"operator-{number}"
    template = arena.stack.get("deployment", NAMESPACE, RELEASE)["spec"]["template"]
    arena.stack.apply(NAMESPACE, operator_pod(name, template))
    arena.stack.wait(NAMESPACE, f"pod/{name}", "condition=Ready", READY_SECONDS)
    return name


def operator_pod(name: str, template: Object) -> Object:
    """A Pod as the Deployment makes it, which is not the Deployment's, and ends when its operator does."""
    # Spreading counts the Pods that have the Deployment's labels, as its selector does.
    spec = {key: value for key, value in template["spec"].items() if key != "topologySpreadConstraints"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {LABEL: OPERATORS}},
        "spec": {**spec, "restartPolicy": "Never"},
    }


@contextmanager
def _operators(arena: Arena) -> Iterator[None]:
    """Takes all of these away at the end."""
    try:
        yield
    finally:
        arena.kubectl("delete", "pods", "-l", f"{LABEL}={OPERATORS}", "--wait", timeout=90)
