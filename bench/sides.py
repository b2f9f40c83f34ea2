"""The two controllers that are compared, the jobs they are given, and what is seen of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agentjob_api import names
from agentjob_kube.client import Client, Object
from agentjob_kube.listwatch import Changed, ListWatch, Removed, Replaced, Selection
from agentjob_kube.resources import AGENT_JOBS, PODS, ResourceType
from bench import fake_nodes
from bench.writes import BY_JOB_CONTROLLER, OPERATORS, Write
from deploy.kind.errors import ClusterError

JOBS: Final = ResourceType("batch", "v1", "jobs")
LABEL: Final = "agentjob-bench"
"""Of jobs and Pods: what they were made for."""
WITHIN: Final = 1_500.0
"""Seconds that all jobs at once may take: 10,000 of them, on a machine on which other things run."""


class Side(NamedTuple):
    """One of the two."""

    name: str
    kind: ResourceType
    body: Callable[[str, str, str], Object]
    """A job: its name, what it is made for, and the node of its Pod."""
    writes: frozenset[Write]
    """Those of its controller, without Events."""


def _agent_job(name: str, made_for: str, node: str) -> Object:
    labels = {LABEL: made_for}
    spec = {"prompt": "Say hello.", "runner": {"labels": labels, **fake_nodes.place(node)}}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}


OURS: Final = Side("AgentJob", AGENT_JOBS, _agent_job, OPERATORS)


def job_controller(twin: Object) -> Side:
    """The controller of batch/v1 Jobs, with Jobs whose Pods are as this one of an AgentJob's."""
    left_out = {"nodeName", "serviceAccountName", "serviceAccount", "tolerations", "nodeSelector"}
    spec = {key: value for key, value in twin["spec"].items() if key not in left_out}
    annotations = twin["metadata"]["annotations"]

    def body(name: str, made_for: str, node: str) -> Object:
        labels = {LABEL: made_for}
        template = {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {**spec, **fake_nodes.place(node)},
        }
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            "spec": {"backoffLimit": 0, "template": template},
        }

    return Side("Job", JOBS, body, BY_JOB_CONTROLLER)


@dataclass
class Seen:
    """When each thing was first seen, by job, in seconds of `time.monotonic`."""

    sent: dict[str, float] = field(default_factory=dict)
    pod: dict[str, float] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    complete: dict[str, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def note_pod(self, pod: Object) -> None:
        """The Pod's first moment, and its containers' end."""
        now, job = time.monotonic(), pod["metadata"]["ownerReferences"][0]["name"]
        self.pod.setdefault(job, now)
        states = pod.get("status", {}).get("containerStatuses") or ()
        if states and all("terminated" in each["state"] for each in states):
            self.ended.setdefault(job, now)
        self.news.set()

    def note_job(self, found: Object) -> None:
        """That it runs, as its controller says, and the condition Complete."""
        now, name, status = time.monotonic(), found["metadata"]["name"], found.get("status", {})
        if status.get("phase") == "Running" or status.get("active"):
            self.running.setdefault(name, now)
        conditions = status.get("conditions") or ()
        if any((each["type"], each["status"]) == ("Complete", "True") for each in conditions):
            self.complete.setdefault(name, now)
        self.news.set()

    async def until(self, has_come: Callable[[], bool]) -> None:
        """Returns once that is so.

        Raises:
            ClusterError: it was not WITHIN so many seconds.
        """
        try:
            async with asyncio.timeout(WITHIN):
                while not has_come():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            made, ended, complete = (len(each) for each in (self.pod, self.ended, self.complete))
            come = f"{made:,} jobs have Pods, {ended:,} Pods have ended, {complete:,} jobs are complete"
            raise ClusterError(f"Not within {WITHIN:g} s: {come}") from None

    def between(self, first: Mapping[str, float], last: Mapping[str, float]) -> list[float]:
        """Milliseconds of each job from one thing to another."""
        return [(last[job] - first[job]) * 1_000 for job in last if job in first]


@asynccontextmanager
async def watched(client: Client, side: Side, namespace: str, made_for: str) -> AsyncIterator[Seen]:
    """What is seen of the jobs of one purpose while the block runs."""
    seen, listed = Seen(), [asyncio.Event(), asyncio.Event()]
    selector = f"{LABEL}={made_for}"

    async def follow(kind: ResourceType, note: Callable[[Object], None], ready: asyncio.Event) -> None:
        selection = Selection(kind, namespace, selector)
        async with aclosing(ListWatch(client, selection, lambda found: found).deltas()) as deltas:
            async for delta in deltas:
                match delta:
                    case Replaced():
                        ready.set()
                    case Changed(found):
                        note(found)
                    case Removed():
                        continue

    tasks = [
        asyncio.create_task(follow(PODS, seen.note_pod, listed[0])),
        asyncio.create_task(follow(side.kind, seen.note_job, listed[1])),
    ]
    try:
        async with asyncio.timeout(60):
            for each in listed:
                await each.wait()
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
