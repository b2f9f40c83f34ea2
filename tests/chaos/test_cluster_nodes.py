"""A node is lost while a real agent works on it, and stays away, or comes back when another agent does its work."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from agentjob_api.reasons import Reason
from agentjob_kube.client import Object
from agentjob_operator import rules
from came_to import Results, Run, timed
from disturbed import ended, is_forward
from on_cluster import NAMESPACE, PLACE, OnCluster, Place, on_cluster, place
from operated import until
from three_nodes import frozen, killed, three_nodes, until_stopped

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(900)]

WHERE: Final = "kind cluster of three nodes"
SHORT, LONG = 15, 40
"""Turns that an agent takes, each of them a bit more than a second."""
HEARD_SECONDS: Final = 50
"""After its last word, Kubernetes takes a node for lost (node-monitor-grace-period)."""
BORNE_SECONDS: Final = 5
"""So long a Pod bears that: 300 in an installation that does not say otherwise."""
LOST_SECONDS: Final = HEARD_SECONDS + BORNE_SECONDS + (rules.GRACE + rules.FORCED_AFTER).total_seconds()
SEES: Final = (
    f"another attempt, 90 s after the node was unreachable for runner.unreachableSeconds, {BORNE_SECONDS} here"
)
ASKED: Final = f"/api/v1/namespaces/{NAMESPACE}/services/scripted-model:8080/proxy/scripted/requests"
"""What was asked of the model."""
HEARS_SECONDS: Final = 10
"""In which a kubelet that goes on hears of what became of its Pods."""
BESIDE_THE_API_SERVER: Final[Object] = {
    "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
    "tolerations": [{"operator": "Exists"}],
}


@pytest.fixture(scope="module", name="place")
def a_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where operators find the cluster of three nodes."""
    with three_nodes() as stack, place(stack, tmp_path_factory.mktemp("operators")) as found:
        yield found


@pytest.fixture(scope="module")
def model(place: Place) -> Object:
    """The operator's settings for real agents, whose model is on no node that is taken away."""
    stack = place.stack
    values = stack.install_scripted_model(NAMESPACE)["model"]
    patch = json.dumps({"spec": {"template": {"spec": BESIDE_THE_API_SERVER}}})
    stack.kubectl("patch", "deployment", "scripted-model", "-n", NAMESPACE, "-p", patch)
    stack.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/scripted-model", "--timeout=90s", timeout=100)
    return {
        "image": stack.images["runner"],
        "modelBaseURL": values["baseURL"],
        "modelApiKeySecret": values["apiKeySecret"],
        "unreachableSeconds": BORNE_SECONDS,
    }


@asynccontextmanager
async def with_agents(place: Place, model: Object) -> AsyncIterator[OnCluster]:
    """An operator whose jobs are real, and waited for until a node that is lost was given up."""
    async with on_cluster(place, runner=model) as op:
        op.runner, op.within = {}, op.within + LOST_SECONDS
        await op.is_watching()
        yield op


async def works(op: OnCluster, turns: int) -> str:
    """The node on which an agent has begun with its turns; it may not fail."""
    op.place.stack.kubectl("delete", "--raw", ASKED)
    await op.submit(prompt=f"[script: many-turns {turns} 1]", backoffLimit=0)
    await op.until_status(phase="Running")

    async def has_begun() -> bool:
        return max(await asyncio.to_thread(turns_of, op.place), default=0) > 1

    await until(has_begun, op.within)
    found: str = (await op.pod())["spec"]["nodeName"]
    return found


def turns_of(place: Place) -> list[int]:
    """How many turns each agent of the job has taken, by what it asked of the model; the first agent's first."""
    found: dict[str, int] = {}
    for each in json.loads(place.stack.kubectl("get", "--raw", ASKED)):
        if each["script"]:
            found[each["conversation"]] = max(each["turn"], found.get(each["conversation"], 0))
    return list(found.values())


async def undisturbed(place: Place, model: Object, turns: int) -> tuple[float, str]:
    """Seconds and dollars of an agent whose node stays."""
    took: list[float] = []
    async with with_agents(place, model) as op:
        with timed(took.append):
            await works(op, turns)
            status = await op.until_status(phase="Succeeded")
    *end, cost = ended(status)
    assert end == ["Succeeded", (Reason.COMPLETED,), 0]
    return took[0], cost


async def until_it_has_moved(op: OnCluster, lost: str) -> None:
    """Returns once another agent works on the other node."""
    await op.until_status(phase="Running", podName="fix-2")
    assert (await op.pod("fix-2"))["spec"]["nodeName"] != lost
    said = [each["message"] for status in op.written() for each in status["conditions"]]
    assert any(f"Node {lost} does not answer." in message for message in said)


async def until_it_has_ended(op: OnCluster, cost: str) -> None:
    """Returns once the second agent has done it all: at its own price, and nothing is left, of the lost node either."""
    status = await op.until_status(phase="Succeeded")
    assert ended(status) == ("Succeeded", (Reason.NODE_LOST, Reason.COMPLETED), 0, cost)
    is_forward(op.written())
    assert op.made() == ["fix-1", "fix-2"]
    await op.until_no_pod("fix-2")
    assert await op.pods() == []


async def test_a_job_goes_on_elsewhere_whose_node_is_gone_for_good(
    results: Results, place: Place, model: Object
) -> None:
    usual, cost = await undisturbed(place, model, SHORT)
    async with with_agents(place, model) as op:
        began = time.monotonic()
        node = await works(op, SHORT)
        async with killed(place.stack, node):
            await until_it_has_moved(op, node)
            await until_it_has_ended(op, cost)
            took = time.monotonic() - began
        assert await op.pods() == []
        op.runner = PLACE
        await op.nothing_more_is_done()
    results.add(Run(WHERE, "nodes", "its node is killed, and does not come back", SEES, usual, took, LOST_SECONDS))


async def test_an_agent_whose_node_comes_back_is_stopped_while_another_one_works(
    results: Results, place: Place, model: Object
) -> None:
    usual, cost = await undisturbed(place, model, LONG)
    async with with_agents(place, model) as op:
        began = time.monotonic()
        node = await works(op, LONG)
        async with frozen(place.stack, node):
            await until_it_has_moved(op, node)
        await until_stopped(place.stack, node, "fix-1", HEARS_SECONDS + rules.GRACE.total_seconds())
        assert (await op.status())["phase"] == "Running"
        await until_it_has_ended(op, cost)
        took = time.monotonic() - began
        first, second = turns_of(place)
        assert first < second == LONG
        op.runner = PLACE
        await op.nothing_more_is_done()
    fault = "its node stands still, and goes on while another agent works"
    sees = f"{SEES}; the first agent works on for a few seconds"
    results.add(Run(WHERE, "nodes", fault, sees, usual, took, LOST_SECONDS))
