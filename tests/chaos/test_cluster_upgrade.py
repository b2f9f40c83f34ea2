"""The operator is upgraded while hundreds of agents work, and some of them end at that moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agentjob_api.names import API_VERSION, KIND, LABEL_JOB
from agentjob_kube.client import Client, Object
from agentjob_kube.connect import connect
from agentjob_kube.resources import AGENT_JOBS, PODS, ResourceType
from agentjob_kube.wire import HttpTransport
from came_to import KIND as REAL
from came_to import Results, Run, timed
from fake_cluster import kubelet
from on_cluster import PLACE, Place
from operated import told, until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(500)]

NAMESPACE = RELEASE = "agentjob-upgrade"
VALUES: Object = {"gateway": {"enabled": False}, "limits": {"running": None}}
WORK = 500
"""Agents at work while the operator is upgraded."""
END = 100
"""Of these, the ones that end at that moment; and as many that ended before."""
AT_ONCE = 16
WITHIN = 150.0


@dataclass(frozen=True)
class Crowd:
    """Jobs of one installation, whose kubelet is the test."""

    place: Place
    client: Client

    def install(self, **values: Any) -> None:
        """Installs the chart, or upgrades it, and waits until both operators are ready."""
        self.place.stack.install(RELEASE, NAMESPACE, {**VALUES, **values})

    async def submit(self, names: Iterable[str]) -> None:
        """Makes jobs, and lets their agents start."""
        spec = {"prompt": "Mend the tests.", "runner": PLACE}
        about = {"apiVersion": API_VERSION, "kind": KIND, "spec": spec}
        made = [self.client.create(AGENT_JOBS, NAMESPACE, {**about, "metadata": {"name": name}}) for name in names]
        await some_at_once(made)

        async def are_bound() -> list[Object]:
            pods = await self.items(PODS)
            return pods if len([pod for pod in pods if pod["spec"].get("nodeName")]) == len(made) else []

        now = datetime.now(UTC)
        status = kubelet.started(now, kubelet.running(now))
        pods = await until(are_bound, WITHIN)
        await some_at_once([self.client.replace_status(PODS, {**pod, "status": status}) for pod in pods])
        await self.until_phase("Running", len(made))

    async def end(self, names: Iterable[str]) -> None:
        """Lets agents end well; returns once their jobs say so."""
        now, chosen = datetime.now(UTC), {f"{name}-1" for name in names}
        ended = kubelet.terminated(now, now, told(text="Done."), 0)
        status = kubelet.started(now, ended, "Succeeded")
        pods = [pod for pod in await self.items(PODS) if pod["metadata"]["name"] in chosen]
        before = await self.count("Succeeded")
        await some_at_once([self.client.replace_status(PODS, {**pod, "status": status}) for pod in pods])
        await self.until_phase("Succeeded", before + len(chosen))

    async def until_phase(self, phase: str, number: int) -> None:
        """Returns once so many jobs are in a phase."""

        async def are() -> bool:
            return await self.count(phase) == number

        await until(are, WITHIN)

    async def count(self, phase: str) -> int:
        """How many jobs are in a phase."""
        return [job["status"]["phase"] for job in await self.items(AGENT_JOBS)].count(phase)

    async def items(self, kind: ResourceType) -> list[Object]:
        """All jobs, or all Pods of jobs: the operator's own are there too."""
        selector = LABEL_JOB if kind == PODS else ""
        return [item async for page in self.client.pages(kind, NAMESPACE, selector) for item in page.items]

    async def versions(self, names: Iterable[str]) -> dict[str, str]:
        """The resourceVersion of each of these jobs: another one is a write."""
        chosen = set(names)
        found = [job["metadata"] for job in await self.items(AGENT_JOBS)]
        return {meta["name"]: meta["resourceVersion"] for meta in found if meta["name"] in chosen}


async def some_at_once(work: Iterable[Awaitable[Any]]) -> None:
    """Does all of it, a few at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(each: Awaitable[Any]) -> None:
        async with room:
            await each

    await asyncio.gather(*(one(each) for each in work))


@asynccontextmanager
async def crowd(place: Place) -> AsyncIterator[Crowd]:
    """An installation of its own while the block runs."""
    place.stack.delete_namespace(NAMESPACE)  # of a run that was cut off
    place.stack.ensure_namespace(NAMESPACE)
    connection = await connect(lambda *_: None, place.kubeconfig)
    try:
        async with connection.session() as session:
            found = Crowd(place, Client(HttpTransport(session, connection.server)))
            found.install()
            yield found
    finally:
        place.stack.program.run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", timeout=90)
        # All in one request: kubectl would send one for each, and nobody is on their node to let them go.
        place.stack.kubectl("delete", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods?gracePeriodSeconds=0", timeout=150)
        place.stack.delete_namespace(NAMESPACE)


async def took(what: Callable[[], Awaitable[None]]) -> float:
    """Seconds."""
    found: list[float] = []
    with timed(found.append):
        await what()
    return found[0]


async def test_an_upgrade_under_five_hundred_jobs_disturbs_none(results: Results, place: Place) -> None:
    early = [f"early-{number}" for number in range(END)]
    meanwhile = [f"meanwhile-{number}" for number in range(END)]
    later = [f"later-{number}" for number in range(WORK - END)]
    async with crowd(place) as jobs:
        await jobs.submit([*early, *meanwhile, *later])
        pods = {pod["metadata"]["uid"] for pod in await jobs.items(PODS)}
        usual = await took(lambda: jobs.end(early))
        before = await jobs.versions(later)

        upgrade = asyncio.create_task(asyncio.to_thread(jobs.install, workers=12))
        seconds = await took(lambda: jobs.end(meanwhile))
        await upgrade

        assert await jobs.versions(later) == before
        await jobs.end(later)
        assert {pod["metadata"]["uid"] for pod in await jobs.items(PODS)} == pods
        assert {job["status"]["attemptCount"] for job in await jobs.items(AGENT_JOBS)} == {1}
    fault = f"helm upgrade of the operator while {WORK} agents work, of which {END} end meanwhile"
    results.add(Run(REAL, "operator", fault, "nothing", usual, seconds))
