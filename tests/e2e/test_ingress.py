"""The chart's ways in, by Ingress and by HTTPRoute, with a controller that serves them: Traefik."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from controllers import GATEWAY, LABELS, gateway_api, traefik_in, traefik_is_ready, until_reached
from deploy.kind.errors import CommandFailed
from deploy.stack import Stack
from event_source import EventSource
from operated import until
from refusals import REFUSALS, Refusal, is_told
from tests.e2e.conftest import DOOR, NAMESPACE, RELEASE, Gateway, Job, Jobs
from tests.e2e.test_doors import curl, events, sent
from tests.e2e.test_doors_faults import KILL, WITHIN, until_done
from watcher import Watcher

# What is built and installed first takes longer than a test may.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150, func_only=True)]
Object = dict[str, Any]

NAME = f"{RELEASE}-gateway"
NGINX, PLAIN, ROUTE, BARE = "nginx.test", "plain.test", "route.test", "bare.test"
WAYS = [
    pytest.param(NGINX, id="by the chart's Ingress, whose annotations count"),
    pytest.param(PLAIN, id="by an Ingress without annotations"),
    pytest.param(ROUTE, id="by the chart's HTTPRoute"),
]
HOSTS = (NGINX, PLAIN, ROUTE)
CONFIGURED: Object = {
    "service": {"type": "ClusterIP"},
    "ingress": {"enabled": True, "className": "nginx", "host": NGINX},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": GATEWAY}], "hostnames": [ROUTE]},
    "networkPolicy": {"from": [{"podSelector": {"matchLabels": LABELS}}]},
}
"""The gateway as whoever has such controllers would set it: nobody but the proxy reaches it."""


@dataclass(frozen=True)
class Way:
    """One way in."""

    gateway: Gateway
    host: str

    @property
    def name(self) -> str:
        return self.host.partition(".")[0]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.gateway.key}", "Host": self.host}

    def curl(self, path: str, *options: str) -> Object:
        return curl(self.gateway, path, "-H", f"Host: {self.host}", *options, seconds=90)

    def watcher(self, job: Job) -> Watcher:
        return Watcher(f"{self.gateway.url}/v1/jobs/{job.name}/events", self.gateway.key, Host=self.host)


def other_ingress(stack: Stack, host: str, class_name: str) -> Object:
    """The chart's Ingress, for another host and class, and without its annotations."""
    found = stack.get("ingress", NAMESPACE, NAME)
    spec = {**found["spec"], "ingressClassName": class_name, "rules": [{**found["spec"]["rules"][0], "host": host}]}
    named = {"name": host.partition(".")[0], "labels": LABELS}
    return {"apiVersion": found["apiVersion"], "kind": "Ingress", "metadata": named, "spec": spec}


@contextmanager
def configured(stack: Stack, values: Object) -> Iterator[None]:
    """The chart with its ways in, while the block runs."""
    stack.install(RELEASE, NAMESPACE, {**values, "gateway": {**values["gateway"], **CONFIGURED}})
    try:
        stack.apply(NAMESPACE, other_ingress(stack, PLAIN, "traefik"), other_ingress(stack, BARE, "nginx"))
        yield
    finally:
        stack.kubectl("delete", "ingress", "-n", NAMESPACE, "-l", f"app={LABELS['app']}")
        stack.install(RELEASE, NAMESPACE, values)


@pytest.fixture(scope="module")
def edge(stack: Stack, jobs: Jobs, values: Object, gateway: Gateway) -> Iterator[Gateway]:
    """The gateway with Traefik before it, at the port that was its own."""
    with ExitStack() as entered:
        entered.enter_context(gateway_api(stack))
        entered.enter_context(configured(stack, values))
        entered.enter_context(traefik_in(stack, NAMESPACE, DOOR))
        all_reached(gateway)
        yield gateway


def all_reached(gateway: Gateway) -> None:
    for host in (*HOSTS, BARE):
        until_reached(f"{gateway.url}/openapi.json", host)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, edge: Gateway) -> Way:
    return Way(edge, request.param)


def test_the_route_is_accepted_as_the_chart_has_it(edge: Gateway, stack: Stack) -> None:
    [parent] = stack.get("httproute", NAMESPACE, NAME)["status"]["parents"]
    assert {each["type"]: each["status"] for each in parent["conditions"]} == {
        "Accepted": "True",
        "ResolvedRefs": "True",
    }


def test_submit_and_poll(way: Way) -> None:
    accepted = way.curl("/claude", *sent({"prompt": "[script: say-hello]"}))
    polled = way.curl(f"/claude/jobs/{accepted['job_id']}?wait=60")
    assert (polled["status"], polled["result"]["output"]) == ("completed", "Hello from the scripted model.")


def test_submit_and_watch(way: Way) -> None:
    found = events(
        way.gateway, "/claude/stream", "-H", f"Host: {way.host}", *sent({"prompt": "[script: many-turns 3]"})
    )
    numbers = [int(each["id"].rpartition("-")[2]) for each in found[:-1] if "id" in each]
    assert numbers == list(range(1, len(numbers) + 1))
    assert found[-1]["data"] == "[DONE]"


async def says(answer: aiohttp.ClientResponse, source: EventSource, words: str) -> None:
    """Reads on until an event says so."""
    async with asyncio.timeout(WITHIN):
        while not any(words in event.data for event in source.events):
            piece = await answer.content.readany()
            assert piece, f"the stream has ended without {words!r}"
            source.read(piece)


def cue(job: Job, turn: int) -> None:
    """Lets the agent's n-th call end."""
    job.kubectl("exec", f"{job.name}-1", "-c", "agent", "--", "touch", f"/workspace/go-{turn}")


async def test_each_line_is_seen_before_the_next_is_said(way: Way, jobs: Jobs) -> None:
    """The agent goes on when it is told to, which is when its last line has come through the proxy."""
    job = jobs.submit(f"on-cue-{way.name}", "[script: on-cue 3]")
    source, url = EventSource(), f"{way.gateway.url}/v1/jobs/{job.name}/events"
    async with aiohttp.ClientSession() as session, session.get(url, headers=way.headers) as answer:
        for turn in (1, 2, 3):
            await says(answer, source, f"[ -e go-{turn} ]")
            await asyncio.to_thread(cue, job, turn)
        await says(answer, source, "[DONE]")
    assert any("Done after 3 turns." in event.data for event in source.events)


async def test_a_proxy_that_compresses_leaves_streams_alone(way: Way, jobs: Jobs) -> None:
    job = jobs.submit(f"plain-{way.name}", "[script: many-turns 3]")
    await asyncio.to_thread(job.finished)
    sends = {**way.headers, "Accept-Encoding": "gzip"}
    found = {}
    async with aiohttp.ClientSession() as session:
        for path in ("/openapi.json", f"/v1/jobs/{job.name}/events"):
            async with session.get(way.gateway.url + path, headers=sends) as answer:
                assert (await answer.read()).strip()
                found[answer.content_type] = answer.headers.get("Content-Encoding")
    assert found == {"application/json": "gzip", "text/event-stream": None}


async def test_annotations_are_what_lets_lines_through_where_answers_are_collected(edge: Gateway, jobs: Jobs) -> None:
    """The chart's Ingress beside one that lacks them, in a controller that collects as ingress-nginx does."""
    job = jobs.submit("annotated", "[script: on-cue 1]")
    with_them, without = Way(edge, NGINX), Way(edge, BARE)
    url = f"{edge.url}/v1/jobs/{job.name}/events"
    async with aiohttp.ClientSession() as session:
        bare = asyncio.create_task(_status(session, url, without.headers))
        async with session.get(url, headers=with_them.headers) as answer:
            source = EventSource()
            await says(answer, source, "[ -e go-1 ]")
            assert not bare.done()
            await asyncio.to_thread(cue, job, 1)
            await says(answer, source, "[DONE]")
        async with asyncio.timeout(WITHIN):
            await bare


async def _status(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.get(url, headers=headers) as answer:
        return answer.status


async def test_a_stream_in_which_nothing_happens_outlives_the_proxys_timeouts(edge: Gateway, jobs: Jobs) -> None:
    """A heartbeat comes after fifteen seconds of silence, the timeouts are three."""
    job = jobs.submit("silent", "[script: on-cue 1]")
    watchers = [Way(edge, host).watcher(job) for host in HOSTS]

    async def heard() -> bool:
        return all(watcher.few.is_set() and watcher.heartbeats for watcher in watchers)

    async with asyncio.TaskGroup() as tasks:
        for watcher in watchers:
            tasks.create_task(watcher.watch(WITHIN))
        await until(heard, WITHIN)
        await asyncio.to_thread(cue, job, 1)
    assert [watcher.connections for watcher in watchers] == [1, 1, 1]


async def test_every_line_comes_once_though_the_proxy_is_killed(edge: Gateway, stack: Stack, jobs: Jobs) -> None:
    job = jobs.submit("proxy-killed", "[script: many-turns 200]")
    watchers = [Way(edge, host).watcher(job) for host in HOSTS]
    await until_done(jobs, job, watchers, *KILL, "-l", f"app={LABELS['app']}")
    whole = [line.seq for line in job.lines()]
    assert [watcher.numbers() for watcher in watchers] == [whole] * len(watchers)
    assert min(watcher.connections for watcher in watchers) >= 2
    await asyncio.to_thread(traefik_is_ready, stack, NAMESPACE)
    await asyncio.to_thread(all_reached, edge)


async def test_a_client_that_hangs_up_is_noticed(edge: Gateway, jobs: Jobs) -> None:
    job = jobs.submit("left", "[script: on-cue 1]")
    url = f"{edge.url}/v1/jobs/{job.name}/events"

    async def open_are(count: int) -> bool:
        try:
            return await asyncio.to_thread(open_streams, jobs) == count
        except CommandFailed:
            return False  # a gateway that only starts, or is gone by now, answers nothing

    async with aiohttp.ClientSession() as session:
        answers = [await session.get(url, headers=Way(edge, host).headers) for host in HOSTS]
        await until(lambda: open_are(len(HOSTS)), WITHIN)
        for answer in answers:
            answer.close()
        await until(lambda: open_are(0), WITHIN)
    await asyncio.to_thread(job.delete)


def open_streams(jobs: Jobs) -> float:
    """How many all gateways have."""
    paths = [f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8081/proxy/metrics" for pod in jobs.pods("gateway")]
    lines = [line for path in paths for line in jobs.stack.kubectl("get", "--raw", path).splitlines()]
    return sum(float(line.split()[-1]) for line in lines if line.startswith("agentjob_gateway_streams "))


async def test_an_agent_is_run_by_mcp(way: Way) -> None:
    http = httpx2.AsyncClient(headers=way.headers, timeout=90)
    async with http, Client(streamable_http_client(f"{way.gateway.url}/mcp", http_client=http)) as client:
        result = await client.call_tool("run_claude_agent", {"prompt": "[script: say-hello]"})
    assert result.structured_content is not None
    assert result.structured_content["result"] == "Hello from the scripted model."


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused_is_told_as_the_gateway_tells_it(way: Way, tmp_path: Path, refusal: Refusal) -> None:
    is_told(refusal, way.gateway.url, way.headers, tmp_path)
