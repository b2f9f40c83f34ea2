"""The API server fails while an agent works: who watches hears of it as silence at most, who submits gets one job."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from components import API_SERVER, LONGEST
from deploy.changes import END_SECONDS, Change, control_plane
from tests.e2e.conftest import Gateway, Job, Jobs
from watcher import Watcher

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(480)]
Object = dict[str, Any]

READERS = 20
AGAIN_SECONDS = 0.2
"""Between two requests of a client that repeats itself."""
HEARTBEAT_SECONDS = 15.0
LATE_SECONDS = 40.0
"""For all to be told the end, once the cluster is well again, for which the agent has to end first."""


class Answer(NamedTuple):
    status: int
    retry_after: str | None
    body: Object
    seconds: float
    """How long it took."""


class Client:
    """Asks the doors for the same again and again."""

    def __init__(self, gateway: Gateway, method: str, path: str, **request: Any) -> None:
        self.answers: list[Answer] = []
        self._gateway = gateway
        self._request = {"method": method, "url": gateway.url + path, **request}

    async def ask(self, is_enough: Callable[[], bool]) -> None:
        """Asks until it is enough, and once at least."""
        headers, timeout = {"Authorization": f"Bearer {self._gateway.key}"}, aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while not self.answers or not is_enough():
                began = time.monotonic()
                async with session.request(**self._request) as answer:
                    body, retry_after = await answer.json(), answer.headers.get("Retry-After")
                self.answers.append(Answer(answer.status, retry_after, body, time.monotonic() - began))
                await asyncio.sleep(AGAIN_SECONDS)

    def is_accepted(self) -> bool:
        return self.answers[-1].status == 202


class Outage(NamedTuple):
    """How the API server fails."""

    name: str
    fault: Change
    seconds: float
    turns: int
    """How long the agent works, at one turn a second."""
    refusals: int
    """How often a client is told at least to come back later, that asks for a job meanwhile."""


OUTAGES = [
    pytest.param(Outage("hangs", API_SERVER.frozen(), 10, 16, 0), id="it hangs for 10 s"),
    pytest.param(Outage("gone", API_SERVER.gone(), 10, 16, 1), id="it is gone for 10 s"),
    pytest.param(Outage("hangs-long", API_SERVER.frozen(), 60, 50, 1), id="it hangs for 60 s, and the agent ends"),
]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_nothing_is_lost_while_the_api_server(gateway: Gateway, jobs: Jobs, outage: Outage) -> None:
    name, before = f"outlives-{outage.name}", await asyncio.to_thread(jobs.count)
    job = jobs.submit(name, f"[script: many-turns {outage.turns} 1]")
    await asyncio.to_thread(job.wait, "jsonpath={.status.phase}=Running")
    standing = gateways(jobs)
    watchers = [Watcher(f"{gateway.url}/v1/jobs/{name}/events", gateway.key) for _ in range(READERS)]
    poller = Client(gateway, "GET", f"/claude/jobs/{name}")
    once = {"json": {"prompt": "[script: say-hello]"}, "headers": {"Idempotency-Key": name}}
    submitter = Client(gateway, "POST", "/claude", **once)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        within = outage.seconds + END_SECONDS + LATE_SECONDS
        watching = [tasks.create_task(watcher.watch(within)) for watcher in watchers]
        for watcher in watchers:
            await watcher.few.wait()
        async with control_plane(jobs.stack).changed(outage.fault, LONGEST):
            tasks.create_task(poller.ask(over.is_set))
            tasks.create_task(submitter.ask(submitter.is_accepted))
            await asyncio.sleep(outage.seconds)
        over.set()
        _, late = await asyncio.wait(watching, timeout=LATE_SECONDS)
        assert not late, [str(watcher) for watcher in watchers]
    check_watched(job, watchers, outage.seconds)
    check_asked(poller, submitter, outage.refusals)
    made = Job(jobs.stack, submitter.answers[-1].body["job_id"])
    assert (await asyncio.to_thread(made.finished))["phase"] == "Succeeded"
    assert await asyncio.to_thread(jobs.count) == before + 2
    assert gateways(jobs) == standing


def check_watched(job: Job, watchers: list[Watcher], seconds: float) -> None:
    """Each has got every line, once and in order, by one connection that was never silent for long."""
    whole = [line.seq for line in job.lines()]
    assert whole == list(range(1, len(whole) + 1))
    assert [watcher.numbers() for watcher in watchers] == [whole] * len(watchers)
    assert [gap for watcher in watchers for gap in watcher.gaps()] == []
    assert {watcher.events[-1].data for watcher in watchers} == {"[DONE]"}
    assert {watcher.connections for watcher in watchers} == {1}
    assert min(watcher.heartbeats for watcher in watchers) >= seconds // HEARTBEAT_SECONDS


def check_asked(poller: Client, submitter: Client, refusals: int) -> None:
    """Polls are answered as ever; who submits is told to come back, until a job is made."""
    assert {answer.status for answer in poller.answers} == {200}
    assert {answer.body["status"] for answer in poller.answers} <= {"in_progress", "completed"}
    assert max(answer.seconds for answer in poller.answers) < 2
    refused = submitter.answers[:-1]
    assert {answer.status for answer in refused} <= {503}
    assert all(int(answer.retry_after or 0) >= 1 for answer in refused)
    assert len(refused) >= refusals


def gateways(jobs: Jobs) -> list[str]:
    """Each gateway's Pod, how often it was restarted, and since when it is ready."""
    since = '{.status.conditions[?(@.type=="Ready")].lastTransitionTime}'
    line = f"{{.metadata.name}} {{.status.containerStatuses[0].restartCount}} {since}"
    some = ("-l", "app.kubernetes.io/component=gateway")
    return jobs.kubectl("get", "pods", *some, "-o", f'jsonpath={{range .items[*]}}{line}{{"\\n"}}{{end}}').splitlines()
