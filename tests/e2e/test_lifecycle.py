"""A job from its start to its end in every way there is: stopped, deleted, made again, unattended."""

import pytest

from deploy.kind.errors import CommandFailed
from tests.e2e.conftest import NAMESPACE, Job, Jobs

pytestmark = pytest.mark.cluster

HELLO = "[script: say-hello]"
SLOW = "[script: slow 300]"


def running(jobs: Jobs, name: str, prompt: str = SLOW, **spec: object) -> Job:
    job = jobs.submit(name, prompt, **spec)
    job.wait("jsonpath={.status.phase}=Running")
    return job


def kill_operator(jobs: Jobs) -> None:
    """End the operator without notice."""
    selector = "app.kubernetes.io/component=operator"
    jobs.kubectl("delete", "pod", "-l", selector, "--grace-period=0", "--force", "--wait=false")


def operator_is_back(jobs: Jobs) -> None:
    jobs.kubectl("rollout", "status", "deployment/agentjob-e2e", "--timeout=60s", timeout=70)


def test_a_running_job_can_be_cancelled(jobs: Jobs) -> None:
    job = running(jobs, "cancel-running")
    job.wait_for_tool()

    job.change(cancel=True)

    status = job.finished(60)
    assert (status["phase"], status["failure"]["reason"]) == ("Cancelled", "Cancelled")
    assert status["usage"]["inputTokens"] > 0


def test_a_waiting_job_can_be_cancelled(jobs: Jobs) -> None:
    job = jobs.submit("cancel-waiting", HELLO, suspend=True)
    job.wait_until_ready_says("Suspended")

    job.change(cancel=True)

    assert job.finished(30)["phase"] == "Cancelled"


def test_a_cancel_cannot_be_taken_back(jobs: Jobs) -> None:
    job = jobs.submit("cancel-back", HELLO, suspend=True, cancel=True)

    with pytest.raises(CommandFailed, match="cancel cannot be taken back"):
        job.change(cancel=False)


def test_a_priority_can_be_changed_within_its_bounds(jobs: Jobs) -> None:
    job = jobs.submit("priority", HELLO, suspend=True, priority=5)

    job.change(priority=1000)

    with pytest.raises(CommandFailed, match=r"spec\.priority.*should be less than or equal to 1000"):
        job.change(priority=1001)


def test_a_suspended_job_starts_when_it_is_let_go(jobs: Jobs) -> None:
    job = jobs.submit("suspended", HELLO, suspend=True)
    job.wait_until_ready_says("Suspended")
    with pytest.raises(CommandFailed, match="NotFound"):
        _ = job.pod

    job.change(suspend=False)

    assert job.finished()["phase"] == "Succeeded"


def test_a_job_that_takes_too_long_is_ended_at_its_deadline(jobs: Jobs) -> None:
    job = jobs.submit("deadline", "[script: endless]", activeDeadlineSeconds=10)

    status = job.finished(60)

    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["usage"]["inputTokens"] > 0


def test_a_deleted_job_takes_its_pod_along(jobs: Jobs) -> None:
    job = running(jobs, "deleted")

    job.delete()

    jobs.kubectl("wait", "pod/deleted-1", "--for=delete", "--timeout=60s", timeout=70)


def test_a_job_of_the_same_name_starts_afresh(jobs: Jobs) -> None:
    first = running(jobs, "again")
    old = first.pod["metadata"]["uid"]

    first.delete()
    second = jobs.submit("again", HELLO)

    status = second.finished()
    assert status["phase"] == "Succeeded"
    assert second.pod["metadata"]["uid"] != old
    assert status["attemptCount"] == 1


def test_a_job_goes_when_its_time_to_live_is_over(jobs: Jobs) -> None:
    job = jobs.submit("short-lived", HELLO, ttlSecondsAfterFinished=1)

    job.wait("delete", 60)


def test_an_operator_that_is_killed_while_a_job_runs_loses_nothing(jobs: Jobs) -> None:
    job = running(jobs, "operator-gone", "[script: slow 5]")
    pod = job.pod["metadata"]["uid"]

    kill_operator(jobs)

    status = job.finished(90)
    assert status["phase"] == "Succeeded"
    assert job.pod["metadata"]["uid"] == pod
    assert status["attemptCount"] == 1
    operator_is_back(jobs)


def test_a_job_that_ends_while_no_operator_is_there_is_told_afterwards(jobs: Jobs) -> None:
    job = running(jobs, "ends-unseen", "[script: slow 5]")

    jobs.kubectl("scale", "deployment/agentjob-e2e", "--replicas=0")
    jobs.kubectl(
        "wait",
        "-n",
        NAMESPACE,
        "pod/ends-unseen-1",
        "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=60s",
        timeout=70,
    )
    assert job.status["phase"] == "Running"
    jobs.kubectl("scale", "deployment/agentjob-e2e", "--replicas=2")

    assert job.finished(60)["phase"] == "Succeeded"


def test_a_job_whose_pod_somebody_deletes_is_tried_again_at_once(jobs: Jobs) -> None:
    job = running(jobs, "pod-deleted", "[script: slow 5]")

    jobs.kubectl("delete", "pod", "pod-deleted-1", "--grace-period=0", "--force")

    status = job.finished(60)
    assert (status["phase"], status["attempts"][0]["reason"]) == ("Succeeded", "NodeLost")
    assert (status["attemptCount"], status["failedCount"]) == (2, 0)


def test_a_job_whose_runner_was_killed_is_tried_again(jobs: Jobs) -> None:
    job = running(jobs, "killed-once", "[script: slow 5]")

    jobs.kubectl("exec", "killed-once-1", "-c", "agent", "--", "sh", "-c", "kill -KILL -1", timeout=20)

    job.wait_until_ready_says("BackOff")
    status = job.finished(60)
    assert (status["phase"], status["attempts"][0]["reason"]) == ("Succeeded", "RunnerLost")
    assert (status["attemptCount"], status["failedCount"]) == (2, 1)


def test_a_running_job_can_be_suspended_and_let_go(jobs: Jobs) -> None:
    job = running(jobs, "suspended-running", "[script: slow 10]")
    job.wait_for_tool()

    job.change(suspend=True)

    job.wait_until_ready_says("Suspended")
    spent = job.status["usage"]["inputTokens"]
    assert (job.status["phase"], job.status["attempts"][0]["reason"]) == ("Pending", "Suspended")
    job.change(suspend=False)
    status = job.finished(60)
    assert (status["phase"], status["attemptCount"], status["failedCount"]) == ("Succeeded", 2, 0)
    assert status["usage"]["inputTokens"] > spent > 0
