"""Whoever watches never notices that anything was restarted."""

import asyncio
from typing import NamedTuple

import aiohttp
import pytest

from tests.e2e.conftest import RELEASE, Gateway, Job, Jobs
from watcher import Watcher

pytestmark = pytest.mark.cluster

WITHIN = 100.0


def kubectl(jobs: Jobs, *words: str) -> None:
    jobs.kubectl(*words, timeout=90)


async def until_done(jobs: Jobs, job: Job, watchers: list[Watcher], *fault: str) -> None:
    """Lets something happen to the gateway once all watch, and waits until they have seen the end."""
    async with asyncio.TaskGroup() as tasks:
        for watcher in watchers:
            tasks.create_task(watcher.watch(WITHIN))
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
    readers: int = 20


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            Fault("killed", (*KILL, *GATEWAYS), 150, 2, readers=200), id="every gateway is killed, with 200 clients"
        ),
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
    watchers = [Watcher(f"{gateway.url}/v1/jobs/{name}/events", gateway.key) for _ in range(fault.readers)]
    await until_done(jobs, job, watchers, *fault.command)
    whole = [line.seq for line in job.lines()]
    assert whole == list(range(1, len(whole) + 1))
    assert [watcher.numbers() for watcher in watchers] == [whole] * len(watchers)
    assert min(watcher.connections for watcher in watchers) >= fault.connections
    assert [gap for watcher in watchers for gap in watcher.gaps()] == []
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
