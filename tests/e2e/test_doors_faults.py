"""Whoever watches never notices that anything was restarted."""

import asyncio
from typing import Any, NamedTuple

import aiohttp
import pytest

from event_source import Event, EventSource
from tests.e2e.conftest import RELEASE, Gateway, Job, Jobs

pytestmark = pytest.mark.cluster
Object = dict[str, Any]

WITHIN = 100.0


class Watcher:
    """An EventSource: comes back with the last id it has got until it is told that this was all."""

    def __init__(self, gateway: Gateway, job: str) -> None:
        self.events: list[Event] = []
        self.connections = 0
        self.few = asyncio.Event()
        """Set once there is something to lose."""
        self._gateway = gateway
        self._path = f"/v1/jobs/{job}/events"

    async def watch(self) -> None:
        last = ""
        async with asyncio.timeout(WITHIN), aiohttp.ClientSession() as session:
            while not self.events or self.events[-1].data != "[DONE]":
                source = EventSource(last_event_id=last)
                try:
                    await self._read(session, source)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)  # as a browser waits before it comes back
                last = source.last_event_id

    async def _read(self, session: aiohttp.ClientSession, source: EventSource) -> None:
        headers = {"Authorization": f"Bearer {self._gateway.key}", "Last-Event-ID": source.last_event_id}
        async with session.get(self._gateway.url + self._path, headers=headers) as answer:
            answer.raise_for_status()
            self.connections += 1
            async for piece in answer.content.iter_any():
                seen = len(source.events)
                source.read(piece)
                self.events += source.events[seen:]
                if len(self.numbers()) > 4:
                    self.few.set()

    def numbers(self) -> list[int]:
        """The seqs of the lines it has got."""
        ids = [event.last_event_id for event in self.events if event.type in {"message", "agentjob"}]
        return [int(each.rpartition("-")[2]) for each in ids if not each.endswith("/end")]


def kubectl(jobs: Jobs, *words: str) -> None:
    jobs.kubectl(*words, timeout=90)


async def until_done(jobs: Jobs, job: Job, watchers: list[Watcher], *fault: str) -> None:
    """Lets something happen to the gateway once all watch, and waits until they have seen the end."""
    async with asyncio.TaskGroup() as tasks:
        for watcher in watchers:
            tasks.create_task(watcher.watch())
        for watcher in watchers:
            await watcher.few.wait()
        await asyncio.to_thread(kubectl, jobs, *fault)
        await asyncio.to_thread(job.finished, 90)


GATEWAYS = ("-l", "app.kubernetes.io/component=gateway")
OPERATOR = ("-l", "app.kubernetes.io/component=operator")
KILL = ("delete", "pods", "--grace-period=0", "--force")


class Fault(NamedTuple):
    """Something that happens while an agent works."""

    name: str
    command: tuple[str, ...]
    turns: int = 60
    """How long the agent works."""
    connections: int = 1
    """How often each client has to connect, at least."""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("killed", (*KILL, *GATEWAYS), connections=2), id="every gateway is killed"),
        pytest.param(
            Fault("replaced", ("rollout", "restart", f"deployment/{RELEASE}-gateway"), 250, 2), id="they are replaced"
        ),
        pytest.param(Fault("operator", (*KILL, *OPERATOR)), id="the operator is killed"),
    ],
)
async def test_every_line_comes_once_and_in_order_though(gateway: Gateway, jobs: Jobs, fault: Fault) -> None:
    name = f"watched-{fault.name}"
    job = jobs.submit(name, f"[script: many-turns {fault.turns}]")
    await asyncio.to_thread(job.wait, "jsonpath={.status.phase}=Running")
    watchers = [Watcher(gateway, name) for _ in range(20)]
    await until_done(jobs, job, watchers, *fault.command)
    whole = [line.seq for line in job.lines()]
    assert whole == list(range(1, len(whole) + 1))
    assert [watcher.numbers() for watcher in watchers] == [whole] * len(watchers)
    assert min(watcher.connections for watcher in watchers) >= fault.connections
    assert not [event for watcher in watchers for event in watcher.events if event.type == "gap"]
    jobs.kubectl("rollout", "status", f"deployment/{RELEASE}-gateway", "--timeout=60s", timeout=70)


async def test_a_job_submitted_while_gateways_go_is_one_job(gateway: Gateway, jobs: Jobs) -> None:
    """A client that repeats itself with the same key until it is answered."""
    before = await asyncio.to_thread(jobs.count)
    headers = {"Authorization": f"Bearer {gateway.key}", "Idempotency-Key": "while they go"}
    gone = asyncio.create_task(asyncio.to_thread(kubectl, jobs, *KILL, *GATEWAYS))
    found: set[str] = set()
    async with asyncio.timeout(WITHIN):
        while len(found) == 0 or not gone.done():
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(
                        f"{gateway.url}/claude", json={"prompt": "[script: say-hello]"}, headers=headers
                    ) as answer,
                ):
                    if answer.status == 202:
                        found.add((await answer.json())["job_id"])
            except aiohttp.ClientError:
                pass  # nobody is there
            await asyncio.sleep(0.1)  # as a client waits before it repeats itself
    await gone
    assert len(found) == 1
    assert await asyncio.to_thread(jobs.count) == before + 1
