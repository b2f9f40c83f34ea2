"""More jobs than may run on the real cluster, and limits that `helm upgrade` changes under jobs that run."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import NAMESPACE, RELEASE, Job, Jobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

HELLO = "[script: say-hello]"
SLOW = "[script: slow 300]"
USUAL = 100


def limit(jobs: Jobs, running: int) -> None:
    """Upgrade the installation to another limit, with nothing else changed."""
    given = ("--reuse-values", "--set", f"limits.running={running}", "--wait", "--timeout=2m")
    jobs.stack.program.run("helm", "upgrade", RELEASE, "charts/agentjob", "-n", NAMESPACE, *given, timeout=150)


@pytest.fixture
def one_at_a_time(jobs: Jobs) -> Iterator[Jobs]:
    """An installation that runs one job, and has none."""
    jobs.kubectl("delete", "agentjobs", "--all", "--timeout=120s", timeout=130)
    limit(jobs, 1)
    yield jobs
    limit(jobs, USUAL)


def running(jobs: Jobs, name: str) -> Job:
    job = jobs.submit(name, SLOW)
    job.wait("jsonpath={.status.phase}=Running")
    return job


def queued(jobs: Jobs, name: str, priority: int = 0) -> Job:
    job = jobs.submit(name, HELLO, priority=priority)
    job.wait("jsonpath={.status.phase}=Queued")
    return job


def test_limits_are_changed_under_jobs_that_run_and_wait(one_at_a_time: Jobs) -> None:
    jobs = one_at_a_time
    first = running(jobs, "queue-first")
    low, high = queued(jobs, "queue-low", priority=-1), queued(jobs, "queue-high", priority=5)
    assert high.status["queue"] == {"position": 1, "reason": "InstallationFull"}

    limit(jobs, 2)

    ended = [job.finished() for job in (high, low)]
    assert [status["phase"] for status in ended] == ["Succeeded", "Succeeded"]
    assert ended[0]["startTime"] <= ended[1]["startTime"]
    second = running(jobs, "queue-second")

    limit(jobs, 1)

    third = queued(jobs, "queue-third")
    first.change(cancel=True)
    assert (first.finished()["phase"], first.status["attemptCount"]) == ("Cancelled", 1)
    assert (third.status["phase"], second.status["phase"]) == ("Queued", "Running")
    second.change(cancel=True)
    assert second.finished()["attemptCount"] == 1
    assert third.finished()["phase"] == "Succeeded"
