"""One installation of the chart for all journeys, and jobs that are watched the way a person would: with kubectl."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from agentjob_api import lines
from deploy.kind.nodes import PUBLISHED
from deploy.stack import Stack, kind_stack

Object = dict[str, Any]

NAMESPACE = "agentjob-e2e"
RELEASE = "agentjob-e2e"
DOOR = PUBLISHED[-1]


@dataclass(frozen=True)
class Job:
    """One AgentJob on the cluster."""

    stack: Stack
    name: str

    def kubectl(self, *arguments: str, timeout: float = 60) -> str:
        return self.stack.kubectl("-n", NAMESPACE, *arguments, timeout=timeout)

    @property
    def object(self) -> dict[str, Any]:
        return self.stack.get("agentjob", NAMESPACE, self.name)

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.object.get("status", {})
        return status

    @property
    def pod(self) -> dict[str, Any]:
        return self.stack.get("pod", NAMESPACE, f"{self.name}-1")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until the API server shows it: `jsonpath={.status.phase}=Running`, `condition=Complete`, `delete`."""
        self.stack.wait(NAMESPACE, f"agentjob/{self.name}", condition, seconds)

    def wait_until_ready_says(self, reason: str, seconds: float = 60) -> None:
        """Wait until the condition Ready gives this reason."""
        self.wait(f'jsonpath={{.status.conditions[?(@.type=="Ready")].reason}}={reason}', seconds)

    def finished(self, seconds: float = 90) -> dict[str, Any]:
        """The status once the job has ended, however it did."""
        self.wait("jsonpath={.status.completionTime}", seconds)
        return self.status

    def condition(self, kind: str) -> dict[str, Any]:
        found = {condition["type"]: condition for condition in self.status.get("conditions", [])}
        condition: dict[str, Any] = found[kind]
        return condition

    def change(self, **spec: Any) -> None:
        """Change fields of the spec, as `kubectl edit` would."""
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", "agentjob", self.name, "--type=merge", "-p", patch)

    def delete(self) -> None:
        """Delete the job and wait until it is gone."""
        self.kubectl("delete", "agentjob", self.name, "--timeout=60s", timeout=70)

    def wait_for_tool(self, seconds: float = 60) -> None:
        """Wait until the agent has called a tool, which it then works with."""
        follow = ("-n", NAMESPACE, "logs", f"{self.name}-1", "-c", "agent", "--follow")
        environment = self.stack.program.variables()
        with subprocess.Popen(("kubectl", *follow), env=environment, stdout=subprocess.PIPE) as log:
            assert log.stdout is not None
            alarm = threading.Timer(seconds, log.kill)
            alarm.start()
            found = any(b'"type":"tool_use"' in line for line in log.stdout)
            alarm.cancel()
            log.kill()
        assert found, f"{self.name} called no tool within {seconds} s"

    def lines(self) -> list[lines.Line]:
        """The runner's lines, as the kubelet keeps them."""
        log = self.kubectl("logs", f"{self.name}-1", "-c", "agent").encode()
        return [line for raw in log.splitlines() if (line := lines.parse(raw)) is not None]

    def messages(self) -> list[dict[str, Any]]:
        """The agent's messages and the runner's notices."""
        return [json.loads(line.message) for line in self.lines()]


@dataclass(frozen=True)
class Jobs:
    """Makes jobs in the namespace of the tests."""

    stack: Stack

    def kubectl(self, *arguments: str, timeout: float = 60) -> str:
        return self.stack.kubectl("-n", NAMESPACE, *arguments, timeout=timeout)

    def count(self) -> int:
        """How many jobs there are."""
        return len(self.kubectl("get", "agentjobs", "-o", "name").split())

    def pods(self, component: str) -> set[str]:
        """The names of the chart's Pods that are not about to go: a rollout is over before the old ones are gone."""
        some = f"app.kubernetes.io/component={component}"
        found = json.loads(self.kubectl("get", "pods", "-l", some, "-o", "json"))["items"]
        return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def submit(self, name: str, prompt: str | None = None, **spec: Any) -> Job:
        """Apply a job whose prompt names the script that the model plays."""
        given = {"activeDeadlineSeconds": 120, **({"prompt": prompt} if prompt else {}), **spec}
        self.stack.apply(
            NAMESPACE,
            {"apiVersion": "agentjob.dev/v1alpha1", "kind": "AgentJob", "metadata": {"name": name}, "spec": given},
        )
        return Job(self.stack, name)


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The cluster with today's images in it."""
    return kind_stack()


@pytest.fixture(scope="session")
def namespace(stack: Stack) -> Iterator[str]:
    """Where everything is."""
    stack.delete_namespace(NAMESPACE)  # of a run that was cut off
    stack.ensure_namespace(NAMESPACE)
    yield NAMESPACE
    stack.delete_namespace(NAMESPACE)


@pytest.fixture(scope="session")
def api_key(stack: Stack, namespace: str) -> str:
    """Made before the gateway starts: the kubelet takes its time to bring a key to one that runs."""
    keys, secret = (sys.executable, "-m", "agentjob_gateway.keys"), f"{namespace}/{RELEASE}-keys"
    terms = ("create", "e2e", "--namespace", namespace, "--role", "submit", "--secret", secret)
    many = ("--streams", "1000", "--requests-per-minute", "10000")
    return stack.program.run(*keys, *terms, *many, timeout=30).strip()


@pytest.fixture(scope="session")
def values(stack: Stack, namespace: str) -> Object:
    """The chart's values of the installation, with the scripted model in reach."""
    values = stack.install_scripted_model(namespace)
    for label in ({"app": "git"}, {"app.kubernetes.io/component": "gateway"}):
        way = {"to": [{"podSelector": {"matchLabels": label}}], "ports": [{"port": 8080}]}
        values["runner"]["networkPolicy"]["egress"].append(way)
    cheap = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    door = {"type": "NodePort", "nodePort": DOOR}
    values["gateway"] = {"replicas": 2, "resources": cheap, "drainSeconds": 1, "service": door}
    return values


@pytest.fixture(scope="session")
def jobs(stack: Stack, namespace: str, api_key: str, values: Object) -> Iterator[Jobs]:
    """The chart installed in a namespace of its own."""
    stack.install(RELEASE, namespace, values)
    yield Jobs(stack)
    violations = stack.kubectl(
        "get", "--raw", f"/api/v1/namespaces/{namespace}/services/scripted-model:8080/proxy/scripted/violations"
    )
    # A git client that was sent to the model asks for other paths than Claude Code.
    assert [violation for violation in json.loads(violations) if " /v1/" in violation] == []


@dataclass(frozen=True)
class Gateway:
    """The doors, as a client has them."""

    url: str
    """Without a slash at its end; on loopback."""
    key: str
    """An API key that may submit."""


@pytest.fixture(scope="session")
def gateway(jobs: Jobs, api_key: str) -> Gateway:
    """The doors, through a port of the node's: whichever Pod is ready answers."""
    return Gateway(f"http://{jobs.stack.published[DOOR]}", api_key)
