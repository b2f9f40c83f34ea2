"""Jobs that are deleted, at any moment, by name, by the thousand and with all around them, on the real API server."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import pytest

from agentjob_api.names import Key
from agentjob_kube.client import Object
from agentjob_kube.resources import AGENT_JOBS
from came_to import KIND, Results, Run, timed
from disturbed import ended
from lives import BROKEN, LIVES, ends_well, usual, works
from on_cluster import NAMESPACE, OnCluster, Place, empty, grant, on_cluster
from operated import told, until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(300)]

T = TypeVar("T")
LIFE = "succeeds, and goes in time"
MANY = 1_000
AT_ONCE = 32
OTHER = f"{NAMESPACE}-other"
Until = Callable[[OnCluster], Awaitable[Any]]


async def it_has_ended(op: OnCluster) -> None:
    await works(op)
    await op.end_agent(told())
    await op.until_status(phase="Succeeded")


async def it_backs_off(op: OnCluster) -> None:
    await works(op)
    await op.end_agent(BROKEN, code=1)
    await op.until_ready_says("BackOff")


async def nothing(op: OnCluster) -> None:
    """Nobody has looked at it yet."""


PHASES: Mapping[str, tuple[Until, Mapping[str, Any], Mapping[str, Any]]] = {
    "at once": (nothing, {}, {}),
    "while its Pod waits to start": (lambda op: op.pod(), {}, {}),
    "while its agent works": (works, {}, {}),
    "when it has ended": (it_has_ended, {}, {}),
    "while it backs off": (it_backs_off, {}, {}),
    "while it is suspended": (lambda op: op.until_ready_says("Suspended"), {"suspend": True}, {}),
    "while it is queued": (lambda op: op.until_status(phase="Queued"), {}, {"limits": {"running": 0}}),
}
"""When a job is deleted; its spec; the operator's settings."""


def owner(pod: Object) -> str:
    found: str = pod["metadata"]["ownerReferences"][0]["uid"]
    return found


def each_was_made_once(op: OnCluster) -> None:
    assert {*Counter((owner(pod), pod["metadata"]["name"]) for pod in op.pods_made()).values()} <= {1}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_job_that_is_deleted_leaves_nothing_and_one_of_its_name_starts_afresh(
    results: Results, place: Place, phase: str
) -> None:
    undisturbed = await usual(results, LIFE, KIND, partial(on_cluster, place))
    comes_about, spec, settings = PHASES[phase]
    async with on_cluster(place, **settings) as op:
        await op.is_watching()
        await op.submit(**spec)
        await comes_about(op)
        if settings:
            await op.stop()
            op.configure(podTTLSeconds=0)
        began = time.monotonic()
        await op.delete()
        second: str = (await op.submit())["metadata"]["uid"]
        away = await op.start_again() if settings else 0.0

        async def its_pod() -> bool:
            return [owner(pod) for pod in await op.pods() if pod["spec"].get("nodeName")] == [second]

        await until(its_pod, op.within)
        await ends_well(op)
        took = time.monotonic() - began
        each_was_made_once(op)
        assert ended(op.written(second)[-1]) == LIVES[LIFE].end
        assert await op.pods() == []
    fault = f"deleted {phase}, and one of its name made at once"
    results.add(Run(KIND, "jobs", fault, "nothing", undisturbed, took, away))


async def some_at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Does something with each, AT_ONCE at the same time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def test_a_thousand_jobs_that_are_made_and_deleted_at_once_leave_nothing(results: Results, place: Place) -> None:
    undisturbed = await usual(results, LIFE, KIND, partial(on_cluster, place))
    async with on_cluster(place) as op:
        await op.is_watching()
        began, made = time.monotonic(), list[Object]()

        async def make(number: int) -> None:
            made.append(await op.submit(f"many-{number}"))

        async def delete(job: Object) -> None:
            await op.client.delete(AGENT_JOBS, Key(NAMESPACE, job["metadata"]["name"]), job["metadata"]["uid"])

        await some_at_once(make, range(MANY))
        await some_at_once(delete, made)
        lasted = time.monotonic() - began
        await until(op.is_empty, op.within)
        took = time.monotonic() - began
        each_was_made_once(op)
        await op.nothing_more_is_done()
    fault = f"{MANY:,} jobs made as fast as they are taken, and all deleted at once"
    results.add(Run(KIND, "jobs", fault, "nothing", undisturbed, took, lasted))


async def test_a_namespace_that_is_deleted_does_not_hold_up_others(results: Results, place: Place) -> None:
    undisturbed = await usual(results, LIFE, KIND, partial(on_cluster, place))
    stack, took = place.stack, list[float]()
    stack.ensure_namespace(OTHER)
    grant(stack, OTHER)
    try:
        async with on_cluster(place, namespaces=[NAMESPACE, OTHER]) as op:
            kubelet = asyncio.create_task(op.let_go(OTHER))
            await op.submit(where=OTHER)
            await until_made(op)
            deleting = asyncio.create_task(asyncio.to_thread(stack.delete_namespace, OTHER))
            with timed(took.append):
                await op.lives(LIVES[LIFE])
            await deleting
            stack.ensure_namespace(OTHER)
            grant(stack, OTHER)
            await op.submit("again", where=OTHER)
            await until_made(op, "again-1")
            await op.nothing_more_is_done()
            kubelet.cancel()
    finally:
        empty(stack, OTHER)  # nobody is on their node to let its Pods go
        stack.delete_namespace(OTHER)
    fault = "a namespace is deleted in which a job works, and made again"
    results.add(Run(KIND, "jobs", fault, "nothing in other namespaces", undisturbed, took[0]))


async def until_made(op: OnCluster, name: str = "fix-1") -> None:
    """Returns once the Pod was made in the other namespace."""

    async def is_there() -> bool:
        return Key(OTHER, name) in {
            Key(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in op.pods_made()
        }

    await until(is_there, op.within)
