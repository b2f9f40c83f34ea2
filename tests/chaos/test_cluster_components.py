"""Components of the cluster and Pods fail while real agents work, with the scripted model and the real kubelet."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from agentjob_api.reasons import Reason
from agentjob_kube.client import Object
from agentjob_kube.resources import PODS
from agentjob_kube.transport import Request
from came_to import KIND, Results, Run
from components import API_SERVER, ETCD, LONGEST, compacted, restarted, stopped
from deploy.changes import Change, control_plane
from disturbed import ended, is_forward
from on_cluster import NAMESPACE, PLACE, OnCluster, Place, on_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(400)]

WORKS = "[script: many-turns 15 1]"
"""An agent that works for about a quarter of a minute."""


@pytest.fixture(scope="module")
def model(place: Place) -> Object:
    """The operator's settings for real agents."""
    values = place.stack.install_scripted_model(NAMESPACE)["model"]
    return {
        "image": place.stack.images["runner"],
        "modelBaseURL": values["baseURL"],
        "modelApiKeySecret": values["apiKeySecret"],
    }


@asynccontextmanager
async def with_agents(place: Place, model: Object) -> AsyncIterator[OnCluster]:
    """An operator whose jobs are real."""
    async with on_cluster(place, runner=model) as op:
        op.runner = {}
        await op.is_watching()
        yield op


async def worked(op: OnCluster) -> tuple[Any, ...]:
    """How the job has ended, checked as ever."""
    status = await op.until_status(phase="Succeeded")
    await op.until_no_pod("fix-1")
    is_forward(op.written())
    op.runner = PLACE
    await op.nothing_more_is_done()
    return ended(status)


async def undisturbed(results: Results, place: Place, model: Object) -> float:
    """Seconds of a real agent that nothing disturbs."""
    key = (KIND, WORKS)
    if key not in results.usual:
        async with with_agents(place, model) as op:
            began = time.monotonic()
            await op.submit(prompt=WORKS)
            await op.until_status(phase="Succeeded")
            results.usual[key] = time.monotonic() - began
            phase, reasons, failed, cost = await worked(op)
            assert (phase, reasons, failed) == ("Succeeded", (Reason.COMPLETED,), 0)
            assert float(cost) > 0
            results.costs[key] = cost
    return results.usual[key]


class Outage(NamedTuple):
    """A component that fails for so many seconds."""

    fault: Change
    seconds: float


OUTAGES: Mapping[str, Outage] = {
    "API server restarted": Outage(API_SERVER.gone(), 1),
    "API server hangs for 60 s": Outage(API_SERVER.frozen(), 60),
    "API server gone for 10 s": Outage(API_SERVER.gone(), 10),
    "etcd stopped for 60 s, then compacted": Outage(compacted(ETCD.gone()), 60),
    "kubelet restarted": Outage(restarted("kubelet"), 1),
    "kubelet stopped for 60 s": Outage(stopped("kubelet"), 60),
    "containerd restarted": Outage(restarted("containerd"), 1),
}


@pytest.mark.parametrize("fault", OUTAGES)
async def test_nothing_is_lost_or_doubled_when(results: Results, place: Place, model: Object, fault: str) -> None:
    outage, usual = OUTAGES[fault], await undisturbed(results, place, model)
    node = await asyncio.to_thread(control_plane, place.stack)
    async with with_agents(place, model) as op:
        began = time.monotonic()
        await op.submit(prompt=WORKS)
        await op.until_status(phase="Running")
        broke = time.monotonic()
        async with node.changed(outage.fault, LONGEST):
            await asyncio.sleep(outage.seconds)
        lasted = time.monotonic() - broke
        await op.until_status(phase="Succeeded")
        took = time.monotonic() - began
        assert await worked(op) == ("Succeeded", (Reason.COMPLETED,), 0, results.costs[KIND, WORKS])
        assert op.made() == ["fix-1"]
    results.add(Run(KIND, "cluster", fault, "its status comes late", usual, took, lasted))


async def evict(op: OnCluster) -> None:
    """As `kubectl drain` does."""
    body = b'{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"fix-1"}}'
    path = PODS.path(NAMESPACE, "fix-1", "eviction")
    await op._transport.send(Request(method="POST", path=path, body=body))


async def nothing(op: OnCluster) -> None:
    """The Pod is wrong from its start."""


@dataclass(frozen=True)
class PodFault:
    """What happens to a Pod."""

    happens: Callable[[OnCluster], Awaitable[None]]
    sees: str
    phase: str
    reasons: tuple[Reason, ...]
    runner: Mapping[str, Any] = field(default_factory=dict)
    usual: float | None = None
    """Seconds that it is to take, where that is not what an agent takes."""


SMALL = {"limits": {"memory": "120Mi"}, "requests": {"memory": "100Mi"}}
DEADLINE = 15
POD_FAULTS: Mapping[str, PodFault] = {
    "its image does not exist": PodFault(
        nothing,
        "Stalled with ImagePull, then Failed at its deadline",
        "Failed",
        (Reason.IMAGE_PULL,),
        {"image": "localhost:1/none:1"},
        DEADLINE,
    ),
    "no node takes it": PodFault(
        nothing,
        "Stalled with Unschedulable, then Failed at its deadline",
        "Failed",
        (Reason.UNSCHEDULABLE,),
        {"nodeSelector": {"no": "no"}},
        DEADLINE,
    ),
    "it is out of memory": PodFault(
        nothing, "Failed with OutOfMemory", "Failed", (Reason.OUT_OF_MEMORY,), {"resources": SMALL}
    ),
    "it is evicted": PodFault(evict, "another attempt at once", "Succeeded", (Reason.EVICTED, Reason.COMPLETED)),
    "it is deleted with no time of grace": PodFault(
        lambda op: op.remove_pod(), "another attempt at once", "Succeeded", (Reason.NODE_LOST, Reason.COMPLETED)
    ),
}


@pytest.mark.parametrize("fault", POD_FAULTS)
async def test_a_job_ends_as_it_should_whose_pod(results: Results, place: Place, model: Object, fault: str) -> None:
    row, usual = POD_FAULTS[fault], await undisturbed(results, place, model)
    async with with_agents(place, model) as op:
        op.runner = dict(row.runner)
        began = time.monotonic()
        spec: Object = {"activeDeadlineSeconds": DEADLINE} if row.usual else {}
        await op.submit(prompt=WORKS, backoffLimit=0, **spec)
        if row.phase == "Succeeded":
            await op.until_status(phase="Running")
            await row.happens(op)
        status = await op.until_status(phase=row.phase)
        took = time.monotonic() - began
        is_forward(op.written())
        phase, reasons, failed, cost = ended(status)
        assert (phase, reasons, failed) == (row.phase, row.reasons, int(row.phase == "Failed"))
        assert row.phase == "Failed" or float(cost) >= float(results.costs[KIND, WORKS])
        assert op.made() == [f"fix-{number}" for number, _ in enumerate(row.reasons, start=1)]
        op.runner = PLACE
        await op.nothing_more_is_done()
    results.add(Run(KIND, "pods", fault, row.sees, row.usual or usual, took))
