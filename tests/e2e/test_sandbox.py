"""The walls: what an agent can see, reach and leave behind."""

import asyncio
import json

import pytest

from operated import until
from tests.e2e.conftest import NAMESPACE, Jobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

COLLECTED_SECONDS = 150.0
"""A kubelet clears away what is left of Pods once a minute."""


def answer(jobs: Jobs, name: str, prompt: str, **spec: object) -> str:
    status = jobs.submit(name, prompt, **spec).finished()
    assert status["phase"] == "Succeeded", status
    text: str = status["result"]["text"]
    return text


def test_the_agent_reaches_the_model_and_nothing_else(jobs: Jobs) -> None:
    stack = jobs.stack
    api_server = stack.get("service", "default", "kubernetes")["spec"]["clusterIP"]
    node = json.loads(stack.kubectl("get", "nodes", "-o", "json"))["items"][0]["status"]["addresses"][0]["address"]
    model = f"scripted-model.{NAMESPACE}:8080"
    targets = {model: "open", f"{api_server}:443": "closed", f"{node}:10250": "closed", f"{node}:6443": "closed"}

    said = answer(jobs, "probe", f"[script: network-probe {' '.join(targets)}]")

    assert dict(line.split() for line in said.splitlines()) == targets


def test_the_agent_sees_no_cluster_credential_and_no_variable_of_ours(jobs: Jobs) -> None:
    headers = [{"name": "X-Key", "secretKeyRef": {"name": "header-key", "key": "value"}}]
    server = {"type": "http", "url": "http://127.0.0.1:1/mcp", "headersFrom": headers}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "header-key"},
        "stringData": {"value": "s3cret"},
    }
    jobs.stack.apply(NAMESPACE, secret)

    said = answer(jobs, "environment", "[script: read-env]", agent={"mcpServers": {"down": server}})

    assert "s3cret" not in said
    assert "AGENTJOB_" not in said
    assert "KUBERNETES_SERVICE_HOST" not in said
    assert "NODE_OPTIONS" not in said


def test_the_pod_is_admitted_where_pod_security_is_restricted(jobs: Jobs) -> None:
    labels = jobs.stack.get("namespace", NAMESPACE, NAMESPACE)["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    answer(jobs, "restricted", "[script: say-hello]")


def test_nothing_that_the_agent_left_running_outlives_its_attempt(jobs: Jobs) -> None:
    job = jobs.submit("left-behind", "[script: background-child]")

    assert job.finished(60)["phase"] == "Succeeded"
    state = job.pod["status"]["containerStatuses"][0]["state"]
    assert "terminated" in state


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        pytest.param("utf8", "[script: invalid-utf8]", id="bytes that are not UTF-8"),
        pytest.param("five-megabytes", "[script: big-message 5]", id="a message of 5 MB"),
    ],
)
def test_an_awkward_message_does_not_break_the_stream(jobs: Jobs, name: str, prompt: str) -> None:
    job = jobs.submit(name, prompt)

    assert job.finished()["phase"] == "Succeeded"
    numbers = [line.seq for line in job.lines()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_pod_that_is_gone_leaves_nothing_on_its_node(jobs: Jobs) -> None:
    job, stack = jobs.submit("gone", "[script: say-hello]"), jobs.stack
    await asyncio.to_thread(job.finished)
    await asyncio.to_thread(job.delete)
    left = ("docker", "exec", stack.control_plane(), "crictl", "pods", "--name", f"^{job.name}-1$", "--quiet")

    async def is_collected() -> bool:
        return not await asyncio.to_thread(stack.program.run, *left, timeout=30)

    await until(is_collected, COLLECTED_SECONDS)
