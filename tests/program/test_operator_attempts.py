"""Jobs that need more than one attempt: the operator as it runs, on a fake cluster, with a test for a kubelet."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from agentjob_api.names import ANNOTATION_HANDOVER, Key
from agentjob_api.reasons import Reason
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import AGENT_JOBS, PODS
from fake_cluster import Fault
from operated import NAMESPACE, Operated, operated, told, until

BROKEN = told(Reason.AGENT_ERROR, message="It broke.")
STOPPED = told(Reason.CANCELLED, stopped=True, message="stopped before the agent had ended")
LONGEST_FIRST_WAIT = 10


@pytest.fixture
async def op() -> AsyncIterator[Operated]:
    async with operated() as found:
        yield found


async def failed_once(op: Operated, **spec: Any) -> None:
    """A job whose first attempt has failed, and that backs off."""
    await op.submit(**spec)
    await op.end_agent(BROKEN, code=1)
    await op.until_ready_says("BackOff")


async def working(op: Operated, name: str = "fix") -> None:
    """A job whose first agent works on a node."""
    await op.submit(name)
    await op.bind(f"{name}-1")
    await op.run_agent(f"{name}-1")
    await op.until_status(name, phase="Running")


async def nothing_more_is_done(op: Operated) -> None:
    """Whatever the operator does about jobs so far, it has done by the end of this one."""
    await op.submit("other")
    await op.end_agent(told(), name="other-1")
    await op.until_status("other", phase="Succeeded")


def made(op: Operated) -> list[str]:
    """The job's Pods that ever were."""
    return [name for name in op.cluster.made("pods") if name.startswith("fix-")]


async def test_a_job_whose_agent_failed_is_tried_again_and_both_are_paid_for(op: Operated) -> None:
    await failed_once(op)
    status = await op.status()
    assert status["phase"] == "Pending"
    assert {"result", "failure", "completionTime"} & status.keys() == set()

    await op.later(LONGEST_FIRST_WAIT)
    second = await op.pod("fix-2")
    await op.run_agent("fix-2")
    await op.until_status(phase="Running")
    await op.end_agent(told(text="Done."), name="fix-2")

    status = await op.until_status(phase="Succeeded")
    assert (status["attemptCount"], status["failedCount"], status["costUSD"]) == (2, 1, "0.0254")
    assert (status["usage"]["inputTokens"], status["usage"]["byModel"]["opus"]["outputTokens"]) == (14, 10)
    assert (status["result"]["text"], status["podName"]) == ("Done.", "fix-2")
    assert [(each["number"], each["reason"]) for each in status["attempts"]] == [(1, "AgentError"), (2, "Completed")]
    assert json.loads(second["metadata"]["annotations"][ANNOTATION_HANDOVER])["attempt"] == 2
    assert made(op) == ["fix-1", "fix-2"]
    assert await op.events() == []


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"agentjob.dev/attempt": "1"}, id="an earlier attempt"),
        pytest.param({"agentjob.dev/attempt": "7"}, id="a later attempt"),
        pytest.param({"agentjob.dev/attempt": "x"}, id="no attempt"),
        pytest.param({"agentjob.dev/job": "other"}, id="another job"),
    ],
)
async def test_a_pod_that_somebody_labels_otherwise_stays_the_one_of_its_attempt(
    op: Operated, labels: dict[str, str]
) -> None:
    await failed_once(op)
    await op.later(LONGEST_FIRST_WAIT)
    await op.pod("fix-2")

    await op.client.patch(PODS, Key(NAMESPACE, "fix-2"), {"metadata": {"labels": labels}})
    await op.end_agent(told(text="Done."), name="fix-2")

    status = await op.until_status(phase="Succeeded")
    assert [(each["number"], each["pod"]) for each in status["attempts"]] == [(1, "fix-1"), (2, "fix-2")]
    assert made(op) == ["fix-1", "fix-2"]


async def test_a_job_fails_when_its_attempts_are_used_up(op: Operated) -> None:
    await failed_once(op, backoffLimit=1)
    await op.later(LONGEST_FIRST_WAIT)

    await op.end_agent(BROKEN, code=1, name="fix-2")

    status = await op.until_status(phase="Failed")
    assert (status["attemptCount"], status["failedCount"], status["costUSD"]) == (2, 2, "0.0254")
    assert status["failure"] == {"reason": "AgentError", "message": "It broke.", "retryable": True}
    assert await op.events() == ["AgentError"]


async def test_a_job_backs_off_as_long_with_another_operator(op: Operated) -> None:
    await failed_once(op)
    before = await op.status()

    await op.kill()
    op.start()
    await nothing_more_is_done(op)
    assert await op.status() == before
    await op.kill()
    await op.later(LONGEST_FIRST_WAIT)
    assert made(op) == ["fix-1"]
    op.start()

    await op.pod("fix-2")


async def test_a_job_whose_pod_was_evicted_is_tried_again_at_once(op: Operated) -> None:
    await working(op)
    await op.end_agent(code=137)
    status = (await op.pod())["status"]
    await op.set_pod({**status, "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource."})

    await op.end_agent(told(text="Done."), name="fix-2")

    status = await op.until_status(phase="Succeeded")
    assert (status["attemptCount"], status["failedCount"]) == (2, 0)
    assert status["attempts"][0]["reason"] == "Evicted"


async def test_a_job_whose_pod_was_deleted_by_hand_is_tried_again_at_once(op: Operated) -> None:
    await working(op)

    await op.remove_pod()

    await op.end_agent(told(text="Done."), name="fix-2")
    status = await op.until_status(phase="Succeeded")
    assert (status["attemptCount"], status["failedCount"], status["costUSD"]) == (2, 0, "0.0127")
    assert status["attempts"][0]["reason"] == "NodeLost"


async def give_up(op: Operated) -> None:
    """Kubernetes has not heard of the node for long, and asks the Pod on it to go; nobody hears that."""
    found = await op.pod()
    tainted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    await op.set_pod({**found["status"], "conditions": [tainted]})
    await op.client.delete(PODS, Key(NAMESPACE, "fix-1"), found["metadata"]["uid"])


async def test_a_job_whose_node_is_lost_goes_on_elsewhere_once_that_had_its_time_to_answer(op: Operated) -> None:
    await working(op)
    await give_up(op)
    await op.later(80)
    await nothing_more_is_done(op)
    assert ((await op.status())["phase"], made(op)) == ("Running", ["fix-1"])

    await op.later(10)

    await op.end_agent(told(text="Done."), name="fix-2")
    status = await op.until_status(phase="Succeeded")
    assert (status["attemptCount"], status["failedCount"], status["costUSD"]) == (2, 0, "0.0127")
    assert status["attempts"][0]["reason"] == "NodeLost"
    await op.until_no_pod()


async def test_a_lost_node_does_not_keep_the_name_of_a_job_that_was_deleted(op: Operated) -> None:
    await working(op)
    await give_up(op)
    await op.delete()
    uid = (await op.submit())["metadata"]["uid"]

    await op.later(90)

    async def is_made_anew() -> bool:
        return [uid] == [owner["uid"] for owner in (await op.pod())["metadata"]["ownerReferences"]]

    await until(is_made_anew)


async def test_a_job_that_works_can_be_suspended_and_let_go(op: Operated) -> None:
    await working(op)

    await op.change(suspend=True)
    stopped = await op.pod(generation=2)
    assert stopped["spec"]["activeDeadlineSeconds"] == 1
    assert (await op.status())["phase"] == "Running"
    await op.end_agent(STOPPED, phase="Failed")
    status = await op.until_ready_says("Suspended")
    assert (status["phase"], status["failedCount"], status["costUSD"]) == ("Pending", 0, "0.0127")
    assert status["attempts"][0]["reason"] == "Suspended"
    assert "Suspended" in [each["type"] for each in status["conditions"]]
    await nothing_more_is_done(op)
    assert made(op) == ["fix-1"]

    await op.change(suspend=False)
    await op.end_agent(told(text="Done."), name="fix-2")

    status = await op.until_status(phase="Succeeded")
    assert (status["attemptCount"], status["failedCount"], status["costUSD"]) == (2, 0, "0.0254")


async def test_an_agent_that_was_told_to_stop_stops_though_its_job_was_let_go_meanwhile(op: Operated) -> None:
    await working(op)
    await op.change(suspend=True)
    await op.pod(generation=2)

    await op.change(suspend=False)
    await op.end_agent(STOPPED, phase="Failed")

    await op.pod("fix-2")
    assert (await op.status())["attempts"][0]["reason"] == "Suspended"


async def test_a_job_that_is_cancelled_while_it_is_being_suspended_is_cancelled(op: Operated) -> None:
    await working(op)
    await op.change(suspend=True)
    await op.pod(generation=2)

    await op.change(cancel=True)
    await op.end_agent(STOPPED, phase="Failed")

    assert (await op.until_status(phase="Cancelled"))["costUSD"] == "0.0127"


async def test_no_other_agent_starts_while_one_that_does_not_stop_may_work(op: Operated) -> None:
    await working(op)
    await op.change(suspend=True)
    await op.pod(generation=2)
    await op.later(60)
    await op.until_ready_says("Suspended")
    await op.pod(deletionGracePeriodSeconds=30)

    await op.change(suspend=False)
    await op.until_ready_says("BackOff")
    await nothing_more_is_done(op)
    assert made(op) == ["fix-1"]
    await op.remove_pod()

    await op.pod("fix-2")


async def test_a_job_can_be_cancelled_between_attempts(op: Operated) -> None:
    await failed_once(op)

    await op.change(cancel=True)

    status = await op.until_status(phase="Cancelled")
    assert (status["failure"]["reason"], status["attemptCount"], status["costUSD"]) == ("Cancelled", 1, "0.0127")
    assert await op.pod()  # its log is kept for as long as after any end


async def test_a_job_that_is_deleted_between_attempts_takes_its_pod_along(op: Operated) -> None:
    await failed_once(op)

    await op.delete()

    await op.until_no_pod()
    with pytest.raises(NotFound):
        await op.client.get(AGENT_JOBS, Key(NAMESPACE, "fix"))


async def test_the_pod_of_an_earlier_attempt_goes_while_the_next_one_works() -> None:
    async with operated(podTTLSeconds=60) as op:
        await failed_once(op)
        await op.later(LONGEST_FIRST_WAIT)
        await op.run_agent("fix-2")
        await op.until_status(phase="Running")
        assert await op.pod()

        await op.later(60)

        await op.until_no_pod()
        assert await op.pod("fix-2")


@pytest.mark.parametrize("why", ["backs off", "is suspended"])
async def test_a_job_has_no_slot_while_it(why: str) -> None:
    async with operated(limits={"running": 1}) as op:
        await working(op)
        await op.submit("other")
        await op.until_status("other", phase="Queued")

        if why == "is suspended":
            await op.change(suspend=True)
            await op.pod(generation=2)
            await op.end_agent(STOPPED, phase="Failed")
        else:
            await op.end_agent(BROKEN, code=1)
        await op.pod("other-1")

        await op.change(suspend=False)
        await op.later(LONGEST_FIRST_WAIT)
        await op.until_status(phase="Queued")
        await op.end_agent(told(), name="other-1")
        await op.pod("fix-2")


WRITES = ("update agentjobs/status", "create pods", "update agentjobs/status")


@pytest.mark.parametrize("how", ["hold", "swallow"], ids=["after it was done", "before it was done"])
@pytest.mark.parametrize("lost", range(3), ids=["the first end", "the second Pod", "the second end"])
async def test_an_operator_that_is_killed_in_a_write_pays_and_counts_once(op: Operated, lost: int, how: Any) -> None:
    verb, resource = WRITES[lost].split()
    op.cluster.fail(Fault(verb, resource, how, skip=(0, 1, 1)[lost]))
    await op.submit()
    await op.end_agent(BROKEN, code=1)
    if lost == 0:
        await kill_and_start(op)
    await op.until_ready_says("BackOff")
    await op.later(LONGEST_FIRST_WAIT)
    if lost == 1:
        await kill_and_start(op)
    await op.end_agent(told(text="Done."), name="fix-2")
    if lost == 2:
        await kill_and_start(op)

    status = await op.until_status(phase="Succeeded")

    assert (status["attemptCount"], status["failedCount"], status["costUSD"]) == (2, 1, "0.0254")
    assert made(op) == ["fix-1", "fix-2"]


async def kill_and_start(op: Operated) -> None:
    """Kills the operator in the write that goes wrong, and starts another."""

    async def in_the_write() -> bool:
        return op.cluster.has_failed()

    await until(in_the_write)
    await op.kill()
    op.start()


async def test_an_operator_whose_clock_is_ahead_by_more_than_a_jobs_times_gives_it_those_all_the_same(
    op: Operated,
) -> None:
    op.ahead = timedelta(minutes=5)
    await op.submit(activeDeadlineSeconds=60, ttlSecondsAfterFinished=60)
    await op.pod()
    await nothing_more_is_done(op)
    await op.run_agent()
    await op.until_status(phase="Running")

    await op.end_agent(told(text="Done."))

    await op.until_status(phase="Succeeded")
    await op.submit("another")
    await op.pod("another-1")
    assert ((await op.status())["phase"], made(op)) == ("Succeeded", ["fix-1"])
