"""What is wrong is said on the job itself, in one place, with the way out; and what can mend itself does."""

import re
from typing import Any

import pytest

from tests.e2e.conftest import NAMESPACE, Jobs

pytestmark = pytest.mark.cluster

HELLO = "[script: say-hello]"


def test_a_job_waits_for_its_secret_and_goes_on_when_it_appears(jobs: Jobs) -> None:
    ref = {"name": "late-prompt", "key": "prompt"}
    job = jobs.submit("late-secret", promptFrom={"secretKeyRef": ref})

    job.wait_until_ready_says("ReferenceMissing")
    assert job.status["phase"] == "Pending"
    assert 'secret "late-prompt" not found' in job.condition("Stalled")["message"]

    jobs.stack.apply(
        NAMESPACE,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late-prompt"}, "stringData": {"prompt": HELLO}},
    )
    assert job.finished(120)["phase"] == "Succeeded"


def test_a_job_waits_for_its_config_map_key(jobs: Jobs) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": {"other": "x"}}
    jobs.stack.apply(NAMESPACE, config)
    job = jobs.submit("late-key", promptFrom={"configMapKeyRef": {"name": "prompts", "key": "prompt"}})

    job.wait_until_ready_says("ReferenceMissing")
    assert "prompt" in job.condition("Stalled")["message"]

    jobs.stack.apply(NAMESPACE, {**config, "data": {"prompt": HELLO}})
    assert job.finished(120)["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("name", "runner", "reason", "words"),
    [
        pytest.param("no-image", {"image": "localhost:1/none:1"}, "ImagePull", "localhost:1/none:1", id="no image"),
        pytest.param(
            "no-node", {"nodeSelector": {"no": "no"}}, "Unschedulable", "0/1 nodes are available", id="no node"
        ),
        pytest.param(
            "too-large",
            {"resources": {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}}},
            "Unschedulable",
            "Insufficient cpu",
            id="more than any node has",
        ),
    ],
)
def test_a_pod_that_cannot_start_says_why_and_fails_at_its_deadline(
    jobs: Jobs, name: str, runner: dict[str, Any], reason: str, words: str
) -> None:
    job = jobs.submit(name, HELLO, runner=runner, activeDeadlineSeconds=20, backoffLimit=0)

    job.wait_until_ready_says(reason)
    assert words in job.condition("Stalled")["message"]

    status = job.finished(90)
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", reason)
    assert words in status["failure"]["message"]


def test_a_git_url_that_fails_is_told_in_gits_own_words_without_the_credential(jobs: Jobs) -> None:
    data = {"username": "robot", "password": "hunter2-token"}
    jobs.stack.apply(NAMESPACE, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": data})
    url = f"http://scripted-model.{NAMESPACE}:8080/no/such.git"
    job = jobs.submit("bad-git", HELLO, workspace={"git": {"url": url, "secretRef": "git"}}, backoffLimit=0)

    status = job.finished()

    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "WorkspaceError")
    assert re.search(r"fatal: .*such\.git", status["failure"]["message"])
    assert "hunter2" not in str(job.object)
    assert "hunter2" not in jobs.kubectl("logs", "bad-git-1", "-c", "workspace")


def test_a_broken_mcp_json_is_a_warning_and_the_job_goes_on(jobs: Jobs) -> None:
    job = jobs.submit("bad-mcp", HELLO, workspace={"files": {".mcp.json": "{ not json"}})

    assert job.finished()["phase"] == "Succeeded"
    warnings = [m["text"] for m in job.messages() if m["type"] == "agentjob" and m["subtype"] == "warning"]
    assert any(".mcp.json" in warning for warning in warnings)


def test_an_mcp_server_that_is_down_does_not_stop_the_job(jobs: Jobs) -> None:
    server = {"type": "http", "url": "http://127.0.0.1:1/mcp"}
    job = jobs.submit("mcp-down", HELLO, agent={"mcpServers": {"down": server}})

    assert job.finished()["phase"] == "Succeeded"
    (init,) = [m for m in job.messages() if m.get("subtype") == "init"]
    assert [(server["name"], server["status"]) for server in init["mcp_servers"]] == [("down", "failed")]


@pytest.mark.parametrize(
    ("name", "prompt", "reason"),
    [
        pytest.param("cli-killed", "[script: kill-cli KILL]", "AgentError", id="the agent dies without a result"),
        pytest.param("no-turns", "[script: many-turns 9]", "MaxTurns", id="the turns are used up"),
        pytest.param("bad-key", "[script: bad-key]", "AuthenticationFailed", id="the key is refused"),
        pytest.param("no-money", "[script: billing]", "BudgetExceeded", id="the account is empty"),
        pytest.param("overloaded", "[script: overloaded]", "ModelOverloaded", id="the model is overloaded"),
        pytest.param("refused", "[script: refusal]", "Refused", id="the model declines"),
    ],
)
def test_an_attempt_that_fails_gives_its_reason(jobs: Jobs, name: str, prompt: str, reason: str) -> None:
    job = jobs.submit(name, prompt, agent={"maxTurns": 3}, backoffLimit=0)

    status = job.finished(120)

    assert (status["phase"], status["failure"]["reason"]) == ("Failed", reason)
    assert status["failure"]["message"]
    assert job.condition("Failed")["reason"] == reason
    assert job.condition("Ready")["status"] == "False"


def test_a_container_that_is_too_small_for_its_agent_is_out_of_memory(jobs: Jobs) -> None:
    resources = {"limits": {"memory": "120Mi"}, "requests": {"memory": "100Mi"}}
    job = jobs.submit("too-small", HELLO, runner={"resources": resources}, backoffLimit=0)

    assert job.finished()["failure"]["reason"] == "OutOfMemory"


def test_a_runner_that_is_killed_is_lost(jobs: Jobs) -> None:
    job = jobs.submit("runner-killed", "[script: slow 60]", backoffLimit=0)
    job.wait("jsonpath={.status.phase}=Running")

    jobs.kubectl("exec", "runner-killed-1", "-c", "agent", "--", "sh", "-c", "kill -KILL -1", timeout=20)

    assert job.finished()["failure"]["reason"] == "RunnerLost"
