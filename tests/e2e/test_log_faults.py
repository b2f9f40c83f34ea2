"""What becomes of a job's lines when its log, its Pod or the gateway goes that keeps them."""

import asyncio
import json
from collections.abc import Callable

import pytest

from operated import until
from tests.e2e.conftest import NAMESPACE, RELEASE, Gateway, Job, Jobs
from watcher import Watcher

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

READERS = 20
WITHIN = 100.0
KILL = ("--grace-period=0", "--force")
OUTCOME = '{"type":"agentjob","subtype":"outcome"'
"""How a runner's last line begins."""


def watchers_of(gateway: Gateway, job: Job, count: int) -> list[Watcher]:
    return [Watcher(f"{gateway.url}/v1/jobs/{job.name}/events", gateway.key) for _ in range(count)]


async def read(gateway: Gateway, job: Job) -> Watcher:
    """Whoever asks for all of a job that has ended."""
    [watcher] = watchers_of(gateway, job, 1)
    await watcher.watch(WITHIN)
    return watcher


async def asked(is_so: Callable[[], bool]) -> None:
    """Asks the cluster until it is so."""

    async def now() -> bool:
        return await asyncio.to_thread(is_so)

    await until(now, WITHIN)


async def running(jobs: Jobs, name: str, prompt: str) -> Job:
    job = await asyncio.to_thread(jobs.submit, name, prompt)
    await asyncio.to_thread(job.wait, "jsonpath={.status.phase}=Running")
    return job


async def test_every_line_comes_once_and_in_order_though_the_log_is_rotated(gateway: Gateway, jobs: Jobs) -> None:
    """The kubelet keeps 10 MiB at hand, and looks every 10 s: 20 MB in half a minute are cut once at least."""
    job = await running(jobs, "rotated", "[script: much-output 44 8 25 0.4]")
    *watchers, late = watchers_of(gateway, job, READERS + 1)
    async with asyncio.TaskGroup() as tasks:
        for watcher in watchers:
            tasks.create_task(watcher.watch(WITHIN))
        await asked(lambda: is_rotated(job))
        assert not any(watcher.is_done() for watcher in watchers)
        tasks.create_task(late.watch(WITHIN))
    await asyncio.to_thread(job.wait, "condition=Archived")
    check_whole([*watchers, late, await read(gateway, job)])
    assert job.condition("Archived")["reason"] == "Archived"


def is_rotated(job: Job) -> bool:
    """Whether the log, as kubectl shows it, has lost its beginning."""
    beginning = job.kubectl("logs", f"{job.name}-1", "-c", "agent", "--limit-bytes=20")
    return beginning.startswith('{"seq":') and not beginning.startswith('{"seq":1,')


async def test_a_stream_says_what_is_lost_with_a_pod_and_goes_on_with_the_next(gateway: Gateway, jobs: Jobs) -> None:
    """Even without grace the kubelet gives two seconds, in which the runner mostly comes to its last line."""
    job = await running(jobs, "taken-away", "[script: many-turns 60 0.2]")
    watchers = watchers_of(gateway, job, READERS)
    async with asyncio.TaskGroup() as tasks:
        for watcher in watchers:
            tasks.create_task(watcher.watch(WITHIN))
        for watcher in watchers:
            await watcher.few.wait()
        await asyncio.to_thread(job.kubectl, "delete", "pod", f"{job.name}-1", *KILL)
    await asyncio.to_thread(job.wait, "condition=Archived")
    is_whole = job.condition("Archived")["reason"] == "Archived"
    for watcher in (*watchers, await read(gateway, job)):
        first, second = watcher.numbers(attempt=1), watcher.numbers(attempt=2)
        assert first == list(range(1, len(first) + 1))
        assert second == list(range(1, len(second) + 1))
        lost = [] if is_whole else [{"attempt": 1, "from": first[-1] + 1, "to": None}]
        assert [json.loads(gap) for gap in watcher.gaps()] == lost
        assert (said(watcher)[-2].startswith(OUTCOME), said(watcher)[-1], watcher.connections) == (True, "[DONE]", 1)
    assert job.status["attempts"][0]["reason"] == "NodeLost"


async def test_a_job_is_archived_whole_though_the_gateway_that_does_it_is_killed(gateway: Gateway, jobs: Jobs) -> None:
    job = await running(jobs, "kept-by-two", "[script: many-turns 30 0.2]")
    [watcher] = watchers_of(gateway, job, 1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watcher.watch(WITHIN))
        await asked(lambda: bool(keepers(jobs, job)))
        await asyncio.to_thread(jobs.kubectl, "delete", "pods", *keepers(jobs, job), *KILL)
    await asyncio.to_thread(job.wait, "condition=Archived")
    assert job.condition("Archived")["reason"] == "Archived"
    before = await read(gateway, job)
    await asyncio.to_thread(let_pods_go, job)
    check_whole([watcher, before, await read(gateway, job)])


def keepers(jobs: Jobs, job: Job) -> list[str]:
    """The gateways that read a job for the archive: each tells of the tools that its agent uses."""
    words = ('"audit":"tool"', f'"job":"{job.name}"')
    logs = {name: jobs.kubectl("logs", name).splitlines() for name in jobs.pods("gateway")}
    return [name for name, log in logs.items() if any(all(word in line for word in words) for line in log)]


def let_pods_go(job: Job) -> None:
    """Has the operator delete Pods soon after they have ended, until this one is gone."""
    chart = ("upgrade", RELEASE, "charts/agentjob", "-n", NAMESPACE, "--reuse-values", "--wait", "--timeout=1m")
    kept = "podTTLSeconds"
    try:
        job.stack.program.run("helm", *chart, "--set", f"{kept}=1", timeout=90)
        job.stack.wait(NAMESPACE, f"pod/{job.name}-1", "delete", 60)
    finally:
        job.stack.program.run("helm", *chart, "--set", f"{kept}=600", timeout=90)


def said(watcher: Watcher) -> list[str]:
    """What it was told of the job's lines, and of the end of them."""
    return [event.data for event in watcher.events if event.type != "state"]


def check_whole(watchers: list[Watcher]) -> None:
    """Each has got all that the job has said, byte for byte the same."""
    numbers, whole = watchers[0].numbers(), said(watchers[0])
    assert numbers == list(range(1, len(numbers) + 1))
    assert [watcher.numbers() for watcher in watchers] == [numbers] * len(watchers)
    assert all(said(watcher) == whole for watcher in watchers)
    assert whole[-2].startswith(OUTCOME)
    assert whole[-1] == "[DONE]"
