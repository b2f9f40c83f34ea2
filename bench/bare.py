"""The least that a controller of these jobs can be: a list, a watch, a queue, and the operator's own writes.

It runs in the operator's image: `python -c SOURCE NAMESPACE IMAGE`. It keeps the last state of each object as it came,
decides nothing, and misses what a watch misses. After its first look at everything it says `looked` and how long that
took since its start.
"""

import asyncio
import sys
import time
from contextlib import aclosing
from typing import Any

import uvloop

from agentjob_api import names
from agentjob_api.job import AgentJob
from agentjob_kube.client import Client
from agentjob_kube.connect import connect
from agentjob_kube.errors import AlreadyExists, Conflict
from agentjob_kube.listwatch import Changed, ListWatch, Removed, Replaced, Selection
from agentjob_kube.resources import AGENT_JOBS, PODS, ResourceType
from agentjob_kube.wire import HttpTransport
from agentjob_operator import manifests
from agentjob_operator.settings import RunnerSettings

BEGAN = time.monotonic()
WORKERS = 16
AFTER = {None: ("Running", "Succeeded"), "Running": ("Succeeded",)}
"""Phases of a Pod that a job of a phase takes over."""
Object = dict[str, Any]


class Bare:
    """Jobs and Pods by the job's name, and the names to look at."""

    def __init__(self, client: Client, namespace: str, runner: RunnerSettings) -> None:
        self.client = client
        self.namespace = namespace
        self.runner = runner
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.listed = 0
        self.known = asyncio.Event()

    async def follow(self, kind: ResourceType, into: dict[str, Object], selector: str = "") -> None:
        """Keeps what there is of a kind."""
        selection = Selection(kind, self.namespace, selector)
        async with aclosing(ListWatch(self.client, selection, lambda found: found).deltas()) as deltas:
            async for delta in deltas:
                match delta:
                    case Replaced(found):
                        into.update({_job_of(each): each for each in found})
                        self.listed += 1
                        if self.listed == 2:
                            for name in self.jobs:
                                self.queue.put_nowait(name)
                            self.known.set()
                    case Changed(found):
                        into[_job_of(found)] = found
                        self.queue.put_nowait(_job_of(found))
                    case Removed(found):
                        into.pop(_job_of(found), None)

    async def work(self) -> None:
        """Looks at jobs for ever."""
        await self.known.wait()
        while True:
            name = await self.queue.get()
            if (job := self.jobs.get(name)) is not None:
                try:
                    await self.look(name, job)
                except (AlreadyExists, Conflict):
                    continue
            if self.queue.empty():
                print("looked", round(time.monotonic() - BEGAN, 3), len(self.jobs), flush=True)

    async def look(self, name: str, job: Object) -> None:
        """A Pod for a job that has none; its state in the job's status."""
        pod, phase = self.pods.get(name), job.get("status", {}).get("phase")
        phase = None if phase == "Pending" else phase
        if pod is None and phase is None:
            manifest = manifests.pod(AgentJob.model_validate(job), 1, self.runner)
            made = await self.client.create(PODS, self.namespace, manifest)
            self.pods.setdefault(name, made)  # the watch may be quicker, and it tells each state once
        elif pod is not None and (found := pod["status"].get("phase")) in AFTER.get(phase, ()):
            await self.write(name, job, found)

    async def write(self, name: str, job: Object, phase: str) -> None:
        """Says it, with the condition that whoever waits looks at."""
        is_over, when = phase == "Succeeded", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {
            "type": "Complete",
            "status": str(is_over),
            "reason": phase,
            "message": "",
            "lastTransitionTime": when,
        }
        status = {**job.get("status", {}), "phase": phase, "conditions": [condition]}
        self.jobs[name] = await self.client.replace_status(AGENT_JOBS, {**job, "status": status})
        if self.pods.get(name, {}).get("status", {}).get("phase") != phase:
            self.queue.put_nowait(name)


def _job_of(found: Object) -> str:
    meta = found["metadata"]
    return str((meta.get("labels") or {}).get(names.LABEL_JOB, meta["name"]))


async def main(namespace: str, image: str) -> None:
    """Runs until it is ended."""
    connection = await connect(lambda *_: None)
    async with connection.session() as session:
        bare = Bare(Client(HttpTransport(session, connection.server)), namespace, RunnerSettings(image=image))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bare.follow(AGENT_JOBS, bare.jobs))
            tasks.create_task(bare.follow(PODS, bare.pods, names.LABEL_JOB))
            for _ in range(WORKERS):
                tasks.create_task(bare.work())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
