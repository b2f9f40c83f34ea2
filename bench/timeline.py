"""One job's second, moment by moment: what the API server shows when, and what the runner wrote when.

The node's clock and ours are the same: the cluster is on this machine.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from agentjob_api import lines, names
from agentjob_api.names import Key
from agentjob_kube.client import Client, Object
from agentjob_kube.listwatch import Changed, ListWatch, Selection
from agentjob_kube.resources import AGENT_JOBS, PODS

SECONDS = 60.0
"""How long one job may take."""

MOMENTS = (
    ("created", "asked for"),
    ("pod", "operator: Pod created"),
    ("bound", "scheduler: node chosen"),
    ("first line", "kubelet: sandbox, image, container"),
    ("first message", "runner: SDK and Claude Code started"),
    ("result", "agent: its turns"),
    ("outcome", "runner: outcome written"),
    ("terminated", "kubelet: container's end noticed"),
    ("complete", "operator: status written"),
)
"""The moments in their order, each with what happens on the way to it."""


@dataclass
class Timeline:
    """Seconds since the epoch by moment."""

    moments: dict[str, float] = field(default_factory=dict)

    def note(self, moment: str, when: float) -> None:
        """Keep the first time of a moment."""
        self.moments.setdefault(moment, when)

    def between(self, start: str, end: str) -> float:
        """Seconds from one moment to another."""
        return self.moments[end] - self.moments[start]

    def spans(self) -> dict[str, float]:
        """Seconds by what happens."""
        order = [name for name, _ in MOMENTS]
        words = dict(MOMENTS)
        return {words[end]: self.between(start, end) for start, end in pairwise(order)}


async def run_job(client: Client, namespace: str, body: Object) -> Timeline:
    """Creates an AgentJob and returns its timeline once it is complete.

    Raises:
        TimeoutError: it was not within SECONDS.
    """
    timeline = Timeline()
    name = body["metadata"]["name"]
    pod = names.pod_name(name, 1)

    def pod_seen(seen: Object) -> bool:
        timeline.note("pod", time.time())
        if seen["spec"].get("nodeName"):
            timeline.note("bound", time.time())
        if _terminated(seen):
            timeline.note("terminated", time.time())
        return "terminated" in timeline.moments

    def job_seen(seen: Object) -> bool:
        if _is_complete(seen):
            timeline.note("complete", time.time())
        return "complete" in timeline.moments

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as watchers:
        watchers.create_task(_until(client, Selection(PODS, namespace), pod, pod_seen))
        watchers.create_task(_until(client, Selection(AGENT_JOBS, namespace), name, job_seen))
        await asyncio.sleep(0.2)  # both watches are open before the clock starts
        timeline.note("created", time.time())
        await client.create(AGENT_JOBS, namespace, body)
    await note_lines(client, Key(namespace, pod), timeline)
    return timeline


async def run_pod(client: Client, namespace: str, body: Object) -> Timeline:
    """Creates a Pod and returns its timeline once its agent container has ended."""
    timeline = Timeline()
    name = body["metadata"]["name"]
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as watchers:
        watchers.create_task(_until(client, Selection(PODS, namespace), name, _terminated))
        await asyncio.sleep(0.2)
        timeline.note("created", time.time())
        await client.create(PODS, namespace, body)
    await note_lines(client, Key(namespace, name), timeline)
    return timeline


async def note_lines(client: Client, pod: Key, timeline: Timeline) -> None:
    """Adds what the runner's lines tell."""
    log = await client.log_tail(pod, names.AGENT_CONTAINER, lines=1000, limit_bytes=10_000_000)
    for line in filter(None, map(lines.parse, log.splitlines())):
        message = json.loads(line.message)
        when = line.time.timestamp()
        timeline.note("first line", when)
        if message["type"] == "agentjob":
            if message["subtype"] == "outcome":
                timeline.note("outcome", when)
            continue
        timeline.note("first message", when)
        if message["type"] == "result":
            timeline.note("result", when)


async def _until(client: Client, selection: Selection, name: str, enough: Callable[[Object], bool]) -> None:
    """Shows `enough` every state of one object until it says so."""
    async with aclosing(ListWatch(client, selection, lambda seen: seen).deltas()) as deltas:
        async for delta in deltas:
            if isinstance(delta, Changed) and delta.object["metadata"]["name"] == name and enough(delta.object):
                return


def _terminated(pod: Object) -> bool:
    statuses: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses", [])
    return any(status["name"] == names.AGENT_CONTAINER and "terminated" in status["state"] for status in statuses)


def _is_complete(job: Object) -> bool:
    conditions: list[dict[str, str]] = job.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Complete" and condition["status"] == "True" for condition in conditions)
