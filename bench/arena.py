"""Where the operator is measured: the chart, fake nodes, and a client that is nobody special to the API server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from agentjob_api import names
from agentjob_kube.client import Client
from agentjob_kube.connect import connect
from agentjob_kube.resources import AGENT_JOBS, EVENTS, PODS, ResourceType
from agentjob_kube.wire import HttpTransport
from bench.driver import admit, driver, kubeconfig
from bench.fake_nodes import ENDS, fake_nodes
from bench.place import PYTHON
from bench.sides import JOBS, LABEL, OURS, Side, job_controller, watched
from deploy.kind.errors import CommandFailed
from deploy.kind.steps import STEPS
from deploy.stack import ROOT, Stack

NAMESPACE: Final = "agentjob-bench-operator"
RELEASE: Final = "agentjob-bench-operator"
OPERATOR: Final = f"deployment/{RELEASE}"
OPERATORS: Final = ("-l", f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator")
AT_ONCE: Final = 32
"""Creates that are under way."""
SETTLE_SECONDS: Final = 3.0
"""From the end of one measurement to the beginning of the next: whoever still has something to do, does it."""
GONE_SECONDS: Final = 300


@dataclass(frozen=True)
class Arena:
    """All that a measurement needs."""

    stack: Stack
    client: Client
    node: str
    """Of the control plane."""
    theirs: Side

    async def create(self, side: Side, made_for: str, numbers: range, node: str = ENDS) -> None:
        """Jobs with these numbers, so many at once."""
        waiting = iter(numbers)

        async def creates() -> None:
            for number in waiting:
                name = f"{made_for}-{number}"
                await self.client.create(side.kind, NAMESPACE, side.body(name, made_for, node))

        await asyncio.gather(*(creates() for _ in range(AT_ONCE)))

    async def fill(self, side: Side, made_for: str, numbers: range, node: str = ENDS) -> None:
        """Jobs with these numbers, which have come to where their node lets them: complete, or at work."""
        async with watched(self.client, side, NAMESPACE, made_for) as seen:
            await self.create(side, made_for, numbers, node)
            come = seen.complete if node == ENDS else seen.running
            await seen.until(lambda: len(come) == len(numbers))

    async def clear(self, side: Side, made_for: str, *, run: bool = False) -> None:
        """Takes jobs and Pods of one purpose away. `run`: they have not ended.

        Pods first, for the garbage collector takes 16 a second; but a job that runs would get another Pod.
        """
        kinds = (side.kind, PODS) if run else (PODS, side.kind)
        for kind in kinds:
            await asyncio.to_thread(_clear, self.stack, kind, f"{LABEL}={made_for}")
        await asyncio.sleep(SETTLE_SECONDS)

    def stop(self) -> None:
        """No operator."""
        self.kubectl("scale", OPERATOR, "--replicas=0")
        self.kubectl("wait", "pods", *OPERATORS, "--for=delete", "--timeout=60s", timeout=70)

    def start(self) -> None:
        """One operator, whose process has begun."""
        self.kubectl("scale", OPERATOR, "--replicas=1")
        created = ("--for=create", "--timeout=60s")
        self.kubectl("wait", "pods", *OPERATORS, *created, timeout=70)
        running = ("--for=jsonpath={.status.phase}=Running", "--timeout=60s")
        self.kubectl("wait", "pods", *OPERATORS, *running, timeout=70)

    def taken(self, what: str = OPERATOR, *words: str) -> dict[str, float]:
        """What an operator takes, as bench/probe.py tells it."""
        source = (ROOT / "bench" / "probe.py").read_text()
        found: dict[str, float] = json.loads(
            self.kubectl("exec", what, "--", PYTHON, "-c", source, *words, timeout=150)
        )
        return found

    def pods(self, selector: str = names.LABEL_JOB) -> set[str]:
        """uids of Pods, by default of all that are of jobs."""
        return set(self.kubectl("get", "pods", "-l", selector, "-o", "jsonpath={.items[*].metadata.uid}").split())

    def kubectl(self, *words: str, timeout: float = 90) -> str:
        """Runs kubectl in the namespace."""
        return self.stack.kubectl("-n", NAMESPACE, *words, timeout=timeout)


@asynccontextmanager
async def arena(stack: Stack) -> AsyncIterator[Arena]:
    """The place, with one operator that has run some jobs, while the block runs."""
    with STEPS.step("chart and fake nodes"):
        await asyncio.to_thread(_install, stack)
    try:
        with TemporaryDirectory() as directory, fake_nodes(stack, kubeconfig(stack, Path(directory, "kwok"))):
            connection = await connect(lambda *_: None, driver(stack, NAMESPACE, Path(directory, "driver")))
            async with connection.session() as session:
                client = Client(HttpTransport(session, connection.server))
                place = Arena(stack, client, stack.control_plane(), OURS)
                await place.fill(OURS, "warm", range(20))
                twin = stack.get("pod", NAMESPACE, names.pod_name("warm-0", 1))
                await place.clear(OURS, "warm")
                yield replace(place, theirs=job_controller(twin))
    finally:
        await asyncio.to_thread(_remove, stack)


def _clear(stack: Stack, kind: ResourceType, selector: str) -> None:
    """Takes all of a kind away. Nobody else ends a Pod on a node that is none, or says that it has ended."""
    where = f"{kind.path(NAMESPACE)}?labelSelector={quote(selector)}"
    deadline = time.monotonic() + GONE_SECONDS
    while json.loads(stack.kubectl("get", "--raw", f"{where}&limit=1"))["items"]:
        try:
            options = "gracePeriodSeconds=0&propagationPolicy=Background"
            stack.kubectl("delete", "--raw", f"{where}&{options}", timeout=120)
        except CommandFailed:  # the API server gives itself a minute for each request
            if time.monotonic() > deadline:
                raise


def _remove(stack: Stack) -> None:
    """Takes the place away, also when a measurement was cut off: controllers before jobs, and those before Pods.

    What cannot be taken away is told, and no more: the measurement may have ended with an error that matters.
    """
    try:
        if not stack.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found"):
            return
        stack.kubectl("-n", NAMESPACE, "delete", "deployments", "--all", "--timeout=60s")
        for kind in (AGENT_JOBS, JOBS, PODS, EVENTS):
            _clear(stack, kind, "")
        stack.delete_namespace(NAMESPACE)
    except CommandFailed as error:
        STEPS.note(f"Left behind: {error}")


def _install(stack: Stack) -> None:
    """One operator, as there is one controller of Jobs, without limits of its own."""
    _remove(stack)  # of a run that was cut off
    stack.ensure_namespace(NAMESPACE)
    values = {"gateway": {"enabled": False}, "operator": {"replicas": 1}, "limits": {"running": None}}
    stack.install(RELEASE, NAMESPACE, values)
    verbs = ["create", "list", "watch"]
    kinds = ((names.GROUP, names.PLURAL), ("batch", "jobs"), ("", "pods"))
    rules = ({"apiGroups": [group], "resources": [resource], "verbs": verbs} for group, resource in kinds)
    admit(stack, NAMESPACE, rules)
