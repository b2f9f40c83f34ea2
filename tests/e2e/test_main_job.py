"""The main job: an agent works on real files in a real Pod, and the resource tells what became of it."""

from decimal import Decimal

import pytest
import yaml

from deploy.stack import ROOT
from tests.e2e.conftest import NAMESPACE, Job, Jobs

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def mended(jobs: Jobs) -> Job:
    """The sample of the demo, run to its end."""
    sample = yaml.safe_load((ROOT / "deploy/samples/fix-the-tests.yaml").read_text())
    jobs.stack.apply(NAMESPACE, sample)
    job = Job(jobs.stack, sample["metadata"]["name"])
    job.wait("condition=Complete", 120)
    return job


def test_the_agent_mends_the_tests_and_says_so(mended: Job) -> None:
    status = mended.status

    assert status["phase"] == "Succeeded"
    assert "all tests pass" in status["result"]["text"]
    assert status["result"]["numTurns"] > 3
    assert status["attemptCount"] == 1
    assert status["failedCount"] == 0
    assert "failure" not in status


def test_usage_and_cost_are_on_the_resource(mended: Job) -> None:
    usage = mended.status["usage"]

    assert usage["inputTokens"] > 0
    assert usage["outputTokens"] > 0
    assert sum(model["inputTokens"] for model in usage["byModel"].values()) == usage["inputTokens"]
    assert Decimal(mended.status["costUSD"]) > 0
    assert mended.status["attempts"][0]["costUSD"] == mended.status["costUSD"]


def test_the_stream_holds_every_message_in_order(mended: Job) -> None:
    lines = mended.lines()
    messages = mended.messages()

    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    assert {line.attempt for line in lines} == {1}
    assert messages[0]["subtype"] == "start"
    assert [message["type"] for message in messages].count("result") == 1
    assert messages[-1]["subtype"] == "outcome"
    assert messages[-1]["outcome"]["reason"] == "Completed"


def test_an_answer_that_no_termination_message_holds_is_read_from_the_log(jobs: Jobs) -> None:
    job = jobs.submit("long-answer", "[script: big-message 0.02]")

    result = job.finished()["result"]

    assert not result["truncated"]
    assert len(result["text"]) > 19_000
    (said,) = [message["result"] for message in job.messages() if message["type"] == "result"]
    assert result["text"] == said


def test_kubectl_shows_what_a_person_wants_to_know(mended: Job) -> None:
    heads, row = mended.kubectl("get", "aj", mended.name, "-o", "wide").splitlines()

    always = ["NAME", "PHASE", "REASON", "TURNS", "COST", "ATTEMPTS", "AGE"]
    assert heads.split() == [*always, "QUEUE", "MODEL", "POD", "SESSION"]
    assert row.split()[1:3] == ["Succeeded", "Completed"]
    assert row.split()[4] == mended.status["costUSD"]


def test_conditions_are_what_kstatus_tools_look_for(mended: Job) -> None:
    assert mended.condition("Ready")["status"] == "True"
    assert mended.condition("Complete")["status"] == "True"
    assert {condition["type"] for condition in mended.status["conditions"]} - {"Archived"} == {"Ready", "Complete"}
    assert mended.status["observedGeneration"] == mended.object["metadata"]["generation"]


def test_jobs_can_be_selected_by_phase(mended: Job) -> None:
    found = mended.kubectl("get", "aj", "--field-selector", "status.phase=Succeeded", "-o", "name")

    assert f"agentjob.agentjob.dev/{mended.name}" in found.split()


def test_the_spec_of_a_job_cannot_be_edited(mended: Job) -> None:
    with pytest.raises(Exception, match=r"spec\.prompt: .*prompt is immutable"):
        mended.change(prompt="Something else.")
