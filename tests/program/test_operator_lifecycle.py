"""Whole lives of jobs: the operator as it runs, on a fake cluster, with a test for a kubelet."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from agentjob_api.names import LABEL_JOB, Key
from agentjob_api.reasons import Reason
from agentjob_kube.client import Object
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import AGENT_JOBS, PODS
from fake_cluster import Fault, kubelet
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, Operated, operated, told, until

STOPPED = told(Reason.CANCELLED, stopped=True, message="stopped before the agent had ended")


@pytest.fixture
async def op() -> AsyncIterator[Operated]:
    async with operated() as found:
        yield found


async def running(op: Operated, **spec: Any) -> None:
    """A job whose agent works."""
    await op.submit(**spec)
    await op.bind()
    await op.run_agent()
    await op.until_status(phase="Running")


async def test_a_job_runs_and_succeeds_with_three_writes(op: Operated) -> None:
    await running(op)
    await op.end_agent(told(text="All tests pass."))

    status = await op.until_status(phase="Succeeded")

    assert status["result"]["text"] == "All tests pass."
    assert (status["costUSD"], status["usage"]["inputTokens"], status["session"]["id"]) == ("0.0127", 7, "s-1")
    assert op.writes() == ["create pods", "update agentjobs/status", "update agentjobs/status"]
    assert await op.events() == []


async def test_a_short_job_succeeds_with_two_writes(op: Operated) -> None:
    await op.submit()
    await op.end_agent(told(text="Done."))

    status = await op.until_status(phase="Succeeded")

    assert status["startTime"] is not None
    assert op.writes() == ["create pods", "update agentjobs/status"]


async def test_a_finished_pod_waits_for_its_log_to_be_archived() -> None:
    async with operated(podTTLSeconds=0, archives=True) as op:
        await op.submit()
        await op.end_agent(told())
        await op.until_status(phase="Succeeded")
        await op.submit("other")  # whatever the operator does about the first job, it has done by the end of this one
        await op.end_agent(told(), name="other-1")
        await op.until_status("other", phase="Succeeded")
        assert await op.pod()

        job = await op.client.get(AGENT_JOBS, Key(NAMESPACE, "fix"))
        condition = {
            "type": "Archived",
            "status": "True",
            "reason": "Archived",
            "lastTransitionTime": "2026-11-22T10:00:00Z",
        }
        body = {
            "metadata": {key: job["metadata"][key] for key in ("namespace", "name", "resourceVersion")},
            "status": {"conditions": [condition]},
        }
        await op.client.apply_status(AGENT_JOBS, body, "agentjob-gateway")
        await op.until_no_pod()
        assert await op.pod("other-1")

        await op.change(ttlSecondsAfterFinished=9_999)
        status = await op.until_status(observedGeneration=2)
        types = [each["type"] for each in status["conditions"]]
        assert types == ["Ready", "Complete", "Archived"]


async def test_a_finished_pod_goes_with_one_more_write() -> None:
    async with operated(podTTLSeconds=0) as op:
        await op.submit()
        await op.end_agent(told())
        await op.until_status(phase="Succeeded")
        await op.until_no_pod()

        assert op.writes() == ["create pods", "update agentjobs/status", "delete pods"]


async def test_a_job_goes_after_its_time_to_live_with_its_pod(op: Operated) -> None:
    await op.submit(ttlSecondsAfterFinished=1)
    await op.end_agent(told())
    await op.until_no_pod()

    with pytest.raises(NotFound):
        await op.client.get(AGENT_JOBS, Key(NAMESPACE, "fix"))


async def test_a_failure_is_told_and_recorded_as_an_event(op: Operated) -> None:
    await running(op)
    await op.end_agent(told(Reason.MAX_TURNS, message="10 turns were not enough"), code=1)

    status = await op.until_status(phase="Failed")

    assert status["failure"] == {
        "reason": "MaxTurns",
        "message": "10 turns were not enough",
        "retryable": False,
    }
    assert await op.events() == ["MaxTurns"]


async def test_a_runner_that_is_killed_is_lost_once_the_pod_says_nothing_else(op: Operated) -> None:
    await running(op, backoffLimit=0)
    await op.end_agent(code=137)
    await op.end_agent(code=137, phase="Failed")

    status = await op.until_status(phase="Failed")

    assert status["failure"]["reason"] == "RunnerLost"


async def test_an_eviction_that_is_told_a_moment_later_is_the_reason(op: Operated) -> None:
    await running(op)
    await op.end_agent(code=137)
    status = (await op.pod())["status"]
    await op.set_pod(
        {**status, "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    )

    status = await op.until_status(attemptCount=1, phase="Pending")

    assert status["attempts"][0]["reason"] == "Evicted"
    assert status["failedCount"] == 0


async def test_a_running_job_that_is_cancelled_is_heard_to_its_end(op: Operated) -> None:
    await running(op)

    await op.change(cancel=True)
    stopped = await op.pod(generation=2)
    assert stopped["spec"]["activeDeadlineSeconds"] == 1
    assert "deletionTimestamp" not in stopped["metadata"]
    assert (await op.status())["phase"] == "Running"
    await op.end_agent(STOPPED)

    status = await op.until_status(phase="Cancelled")
    assert status["costUSD"] == "0.0127"
    assert status["failure"]["reason"] == "Cancelled"
    assert op.writes() == ["create pods", "update agentjobs/status", "patch pods", "update agentjobs/status"]
    assert await op.events() == []


async def test_what_a_cancelled_agent_spent_is_known_though_no_operator_saw_it_end(op: Operated) -> None:
    await running(op)
    await op.change(cancel=True)
    await op.pod(generation=2)
    await op.kill()

    await op.end_agent(STOPPED, phase="Failed")
    op.start()

    assert (await op.until_status(phase="Cancelled"))["costUSD"] == "0.0127"


async def test_a_job_that_is_cancelled_before_its_agent_starts_is_cancelled_at_once(op: Operated) -> None:
    await op.submit()
    await op.pod()

    await op.change(cancel=True)

    status = await op.until_status(phase="Cancelled")
    assert (status["attemptCount"], status["failedCount"]) == (1, 0)
    await op.until_no_pod()


async def test_a_suspended_job_waits_until_it_is_let_go(op: Operated) -> None:
    await op.submit(suspend=True)
    await op.until_ready_says("Suspended")
    assert op.writes() == ["update agentjobs/status"]

    await op.change(suspend=False)
    await op.end_agent(told())

    await op.until_status(phase="Succeeded")


async def test_a_job_that_is_deleted_while_it_runs_takes_its_pod_along(op: Operated) -> None:
    await running(op)

    await op.delete()

    await op.pod(deletionGracePeriodSeconds=30)
    await op.remove_pod()
    await op.until_no_pod()


@pytest.mark.parametrize("moment", ["pending", "finishing"])
async def test_a_job_that_is_deleted_takes_its_pod_along_when(op: Operated, moment: str) -> None:
    await op.submit()
    await op.pod()
    if moment == "finishing":
        await op.run_agent()
        await op.end_agent(code=137)

    await op.delete()

    await op.until_no_pod()


async def test_a_job_of_the_same_name_starts_afresh_once_the_old_pod_is_gone(op: Operated) -> None:
    await running(op)
    old = await op.pod()
    await op.delete()
    new = await op.submit()
    await op.pod(deletionGracePeriodSeconds=30)
    assert await op.status() == {"phase": "Pending"}

    await op.remove_pod()

    owner = (await fresh_pod(op, old["metadata"]["uid"]))["metadata"]["ownerReferences"][0]
    assert owner["uid"] == new["metadata"]["uid"]
    await op.end_agent(told(text="Second."))
    status = await op.until_status(phase="Succeeded")
    assert (status["attemptCount"], status["result"]["text"]) == (1, "Second.")


async def fresh_pod(op: Operated, old: str) -> Object:
    """The Pod once it is another one."""

    async def look() -> Object | None:
        found = await op.pod()
        return found if found["metadata"]["uid"] != old else None

    found: Object = await until(look)
    return found


async def test_a_pod_that_was_deleted_before_its_start_is_made_again(op: Operated) -> None:
    await op.submit()
    first = await op.pod()

    await op.remove_pod()

    await fresh_pod(op, first["metadata"]["uid"])
    await op.end_agent(told())
    assert (await op.until_status(phase="Succeeded"))["attemptCount"] == 1


async def test_an_image_that_cannot_be_had_is_told_until_it_can(op: Operated) -> None:
    await op.submit()
    made = datetime.now(UTC)
    await op.set_pod(kubelet.started(made, kubelet.waiting("ErrImagePull", "no such image: r:1"), "Pending"))

    status = await op.until_ready_says("ImagePull")

    assert status["phase"] == "Pending"
    assert {each["message"] for each in status["conditions"]} == {"no such image: r:1"}
    await op.set_pod(kubelet.started(made, kubelet.waiting("ImagePullBackOff", "Back-off"), "Pending"))
    await op.set_pod(kubelet.started(made, kubelet.waiting("ErrImagePull", "no such image: r:1"), "Pending"))
    await op.run_agent()
    status = await op.until_status(phase="Running")
    assert "Stalled" not in [each["type"] for each in status["conditions"]]
    assert op.writes() == ["create pods", "update agentjobs/status", "create events", "update agentjobs/status"]


async def test_a_pod_that_the_api_server_calls_invalid_fails_the_job_in_its_words(op: Operated) -> None:
    op.cluster.fail(Fault("create", "pods", refusal=Refusal(422, "Invalid", 'Pod "fix-1" is invalid: spec.affinity')))

    await op.submit()

    status = await op.until_status(phase="Failed")
    assert status["failure"] == {
        "reason": "InvalidSpec",
        "message": 'Pod "fix-1" is invalid: spec.affinity',
        "retryable": False,
    }


POLICY = "pods \"fix-1\" is forbidden: ValidatingAdmissionPolicy 'team' with binding 'all' denied request: no team"


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(Refusal(403, "Forbidden", "exceeded quota: pods"), id="beyond the quota"),
        pytest.param(Refusal(422, "Invalid", POLICY), id="against an admission policy"),
    ],
)
async def test_a_pod_is_told_of_and_tried_again_that_is(op: Operated, refusal: Refusal) -> None:
    op.cluster.fail(Fault("create", "pods", refusal=refusal))

    await op.submit()

    status = await op.until_ready_says("PodRefused")
    assert status["phase"] == "Pending"
    assert refusal.message in {each["message"] for each in status["conditions"]}


async def test_a_strangers_pod_of_that_name_is_left_alone_and_told(op: Operated) -> None:
    await op.kill()
    stranger = {"metadata": {"name": "fix-1"}, "spec": {"containers": []}}
    made = await op.client.create(PODS, NAMESPACE, stranger)
    await op.submit()

    op.start()

    status = await op.until_ready_says("PodRefused")
    assert "Pod fix-1 exists and does not count as this job's" in str(status["conditions"])
    assert (await op.pod())["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_pod_that_was_out_of_sight_is_told_of_and_not_asked_for_again_and_again(op: Operated) -> None:
    await op.submit()
    await op.pod()
    for label in (None, "fix"):
        await op.client.patch(PODS, Key(NAMESPACE, "fix-1"), {"metadata": {"labels": {LABEL_JOB: label}}})

    status = await op.until_ready_says("PodRefused")

    assert "Pod fix-1 exists and does not count as this job's: delete it" in str(status["conditions"])
    asked = [each.status for each in op.cluster.requests() if (each.verb, each.resource) == ("create", "pods")]
    assert asked == [201, 409]
