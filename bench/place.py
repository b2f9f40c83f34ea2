"""Where the doors are measured: the chart in a namespace of its own, Pods that print, and a bare writer beside them.

A job here is a real one, suspended when it is made, so that the operator starts no agent; the Pod that prints is made
for it under the name that the operator would give it, and from then on operator and gateway take it for an agent.
Everything is reached at the node's own address: the ports that kind publishes go through a process of Docker's that
copies every byte, and has its own share of the machine.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from agentjob_api import names
from bench.driver import DRIVER, admit
from bench.samples import Samples
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS
from deploy.stack import ROOT, Stack

Object = dict[str, Any]

NAMESPACE = "agentjob-bench-doors"
RELEASE = "agentjob-bench-doors"
WRITER = "bare-writer"
PROXY = "bare-proxy"
PYTHON = "/opt/agentjob/bin/python"
GATEWAYS = ("-l", "app.kubernetes.io/component=gateway")
READY_SECONDS = 60
DRIVES = (
    {"apiGroups": [names.GROUP], "resources": [names.PLURAL], "verbs": ["create", "get", "deletecollection"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
)
"""What the client may do that is compared with those of the gateway."""
SURE = 30
"""Answers in a row that show that every way leads to a gateway."""
RATE = 20
"""Events a second of a stream that is watched."""
SIZE = 500
"""Bytes of its lines."""
SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where something of ours listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a URL without a slash at its end."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The chart as it is installed for these measurements: one gateway, whose limits nobody here reaches."""

    stack: Stack
    key: str
    door: Address
    metrics: Address
    writer: Address
    proxy: Address
    node: str
    """Name of the control plane's node, and of its container."""

    @property
    def headers(self) -> dict[str, str]:
        """Who asks."""
        return {"Authorization": f"Bearer {self.key}"}

    def kubectl(self, *words: str, timeout: float = 90) -> str:
        """Runs kubectl in the namespace."""
        return self.stack.kubectl("-n", NAMESPACE, *words, timeout=timeout)

    async def samples(self, session: aiohttp.ClientSession) -> Samples:
        """What the gateway's process tells of itself now."""
        async with session.get(f"{self.metrics.url}/metrics") as answer:
            answer.raise_for_status()
            return Samples.parse(await answer.text())

    def fresh(self) -> None:
        """A gateway that has just started, and none beside it."""
        self.kubectl("delete", "pods", *GATEWAYS, "--wait")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}-gateway", "--timeout=60s")

    def scale(self, replicas: int) -> None:
        """So many gateways."""
        self.kubectl("scale", f"deployment/{RELEASE}-gateway", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}-gateway", "--timeout=60s")

    def talk(self, name: str, *, lines: int = 10**9, rate: float = RATE, size: int = SIZE) -> None:
        """A job whose agent prints so many lines, so many a second, each of about so many bytes; it has begun."""
        spec = {"prompt": "print", "suspend": True, "activeDeadlineSeconds": 3600, "backoffLimit": 0}
        about = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}}
        self.stack.apply(NAMESPACE, {**about, "spec": spec})
        uid = self.stack.get("agentjob", NAMESPACE, name)["metadata"]["uid"]
        owner = {**{k: about[k] for k in ("apiVersion", "kind")}, "name": name, "uid": uid, "controller": True}
        pod, words = names.pod_name(name, 1), (str(lines), str(rate), str(size))
        metadata = {"name": pod, "ownerReferences": [owner]}
        self.stack.apply(NAMESPACE, script_pod(metadata, self.stack.images["operator"], "printer", words))
        # It finds its name taken, and then, by its label and owner, that the Pod is the job's.
        self.kubectl("patch", "agentjob", name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
        self.kubectl("label", "pod", pod, f"{names.LABEL_JOB}={name}")
        self.stack.wait(NAMESPACE, f"agentjob/{name}", "jsonpath={.status.phase}=Running", READY_SECONDS)


def script_pod(metadata: Object, image: str, script: str, words: tuple[str, ...]) -> Object:
    """A Pod that runs one of this folder's files."""
    container = {
        "name": names.AGENT_CONTAINER,
        "image": image,
        "imagePullPolicy": "Never",
        "command": [PYTHON, "-c", (ROOT / "bench" / f"{script}.py").read_text(), *words],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "securityContext": SECURITY,
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": POD_SECURITY,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def install(stack: Stack) -> Place:
    """Everything but the jobs, ready.

    Raises:
        ClusterError: what failed, in its own words.
    """
    with STEPS.step("chart, bare writer, bare proxy"):
        stack.delete_namespace(NAMESPACE)  # of a run that was cut off
        stack.ensure_namespace(NAMESPACE)
        admit(stack, NAMESPACE, DRIVES)
        key = make_key(stack)
        limits = {"requestsPerMinute": 1_000_000, "concurrentJobs": 100_000, "streams": 100_000}
        gateway = {
            "replicas": 1,
            "drainSeconds": 0,
            "limits": limits,
            "queueDepth": 100_000,
            "service": {"type": "NodePort"},
        }
        stack.install(RELEASE, NAMESPACE, {"gateway": gateway})
        jobs = f"{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}"
        _apply_bare(stack, WRITER, "writer", (str(RATE), str(SIZE)))
        _apply_bare(stack, PROXY, "proxy", (names.API_VERSION, names.KIND, jobs), account=DRIVER)
        for pod in (WRITER, PROXY):
            stack.wait(NAMESPACE, f"pod/{pod}", "condition=Ready", READY_SECONDS)
    return _place(stack, key)


def _apply_bare(stack: Stack, name: str, script: str, words: tuple[str, ...], account: str | None = None) -> None:
    """A Pod that the gateway is compared with, and the way to it."""
    label = {"app": name}
    pod = script_pod({"name": name, "labels": label}, stack.images["gateway"], script, words)
    if account is not None:
        pod["spec"] |= {"serviceAccountName": account, "automountServiceAccountToken": True}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": label, "ports": [{"name": "http", "port": 8080}]},
    }
    stack.apply(NAMESPACE, pod, service)


def make_key(stack: Stack) -> str:
    """Made before the gateway starts: the kubelet takes its time to bring a key to one that runs."""
    keys, secret = (sys.executable, "-m", "agentjob_gateway.keys"), f"{NAMESPACE}/{RELEASE}-keys"
    terms = ("create", "bench", "--namespace", NAMESPACE, "--role", "admin", "--secret", secret)
    return stack.program.run(*keys, *terms, timeout=30).strip()


def _place(stack: Stack, key: str) -> Place:
    node = stack.control_plane()
    addresses = json.loads(stack.kubectl("get", "node", node, "-o", "json"))["status"]["addresses"]
    (host, *_) = (each["address"] for each in addresses if each["type"] == "InternalIP")
    gateway = node_ports(stack, f"{RELEASE}-gateway")
    return Place(
        stack=stack,
        key=key,
        door=Address(host=host, port=gateway["http"]),
        metrics=Address(host=host, port=gateway["metrics"]),
        writer=Address(host=host, port=node_ports(stack, WRITER)["http"]),
        proxy=Address(host=host, port=node_ports(stack, PROXY)["http"]),
        node=node,
    )


def node_ports(stack: Stack, service: str) -> dict[str, int]:
    """The node's ports of a Service, by name."""
    return {each["name"]: each["nodePort"] for each in stack.get("service", NAMESPACE, service)["spec"]["ports"]}


async def answering(place: Place, session: aiohttp.ClientSession) -> None:
    """Returns once the gateway answers at the node's address, and does so every time: the node learns of Pods late.

    Raises:
        ClusterError: it does not, as where Docker runs in a virtual machine of its own.
    """
    deadline, answers = time.monotonic() + READY_SECONDS, 0
    headers = {**place.headers, "Connection": "close"}
    while answers < SURE:
        try:
            async with session.get(f"{place.door.url}/v1/jobs?limit=1", headers=headers) as answer:
                answer.raise_for_status()
                answers += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"The node's address {place.door.url} gives no answer here: {error}") from error
            answers = 0
            await asyncio.sleep(0.1)
