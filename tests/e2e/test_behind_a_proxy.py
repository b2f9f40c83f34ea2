"""A gateway behind Traefik, both on loopback: cluster and agent are the test, so it is known what was said when."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from deploy.kind import traefik
from deploy.kind.checkout import Checkout
from deploy.stack import ROOT
from event_source import EventSource
from operated import free_port, until
from proxy import Traefik
from refusals import REFUSALS, Refusal, is_told
from served import Door, Served, served
from watched import succeeded
from watcher import Watcher

# The first waits for Traefik, which may have to be built.
pytestmark = pytest.mark.timeout(120, func_only=True)
Object = dict[str, Any]
WITHIN = 60.0


class Behind(NamedTuple):
    """All that there is."""

    place: Served
    door: Door
    proxy: Traefik
    session: aiohttp.ClientSession

    async def job(self, lines: int = 0) -> None:
        """One that works, and whose agent has said so much."""
        body = {"name": "fix", "spec": {"prompt": "x"}}
        async with self.session.post(f"{self.proxy.url}/v1/jobs", json=body) as answer:
            assert answer.status == 201
        await self.place.agents.start()
        self.place.agents.say(*range(1, lines + 1))

    @property
    def stream(self) -> str:
        return f"{self.proxy.url}/v1/jobs/fix/events"

    def watcher(self) -> Watcher:
        return Watcher(self.stream, self.place.key(), few=1)


@pytest.fixture(scope="module")
def program() -> Path:
    return traefik.ensure(Checkout(ROOT))


@pytest.fixture
async def behind(tmp_path: Path, program: Path) -> AsyncIterator[Behind]:
    async with served(tmp_path) as place:
        headers = {"Authorization": f"Bearer {place.key()}"}
        door = await place.door().start()
        proxy = Traefik(program, tmp_path, free_port(), door.url)
        async with aiohttp.ClientSession(headers=headers) as session:
            await proxy.start()
            try:
                yield Behind(place, door, proxy, session)
            finally:
                await proxy.kill()


async def has_come(answer: aiohttp.ClientResponse, source: EventSource, last: str) -> None:
    """Reads on until the event with this id."""
    async with asyncio.timeout(WITHIN):
        while source.last_event_id != last:
            piece = await answer.content.readany()
            assert piece, f"the stream has ended before {last}"
            source.read(piece)


async def test_each_line_is_seen_before_the_next_is_said(behind: Behind) -> None:
    await behind.job()
    source = EventSource()
    async with behind.session.get(behind.stream) as answer:
        for seq in (1, 2, 3):
            behind.place.agents.say(seq)
            await has_come(answer, source, f"fix/1-{seq}")
        await behind.place.agents.finish(4)
        await has_come(answer, source, "fix/end")
        assert await answer.content.readany() == b""


async def test_a_proxy_that_compresses_leaves_events_alone(behind: Behind) -> None:
    await behind.job(3)
    await behind.place.agents.finish(4)
    found = {}
    for url in (f"{behind.proxy.url}/openapi.json", behind.stream):
        async with behind.session.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
            assert await answer.read()
            found[answer.content_type] = answer.headers.get("Content-Encoding")
    assert found == {"application/json": "gzip", "text/event-stream": None}


async def test_a_stream_in_which_nothing_happens_outlives_the_proxys_timeouts(behind: Behind) -> None:
    """A heartbeat comes after fifteen seconds of silence; the timeouts are three."""
    await behind.job(1)
    watcher = behind.watcher()

    async def is_heard() -> bool:
        return watcher.heartbeats > 0

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watcher.watch(WITHIN))
        await until(is_heard, WITHIN)
        await behind.place.agents.finish(2)
    assert (watcher.numbers(), watcher.connections) == ([1, 2], 1)


async def test_every_line_comes_once_though_the_proxy_is_killed(behind: Behind) -> None:
    await behind.job(1)
    watchers = [behind.watcher() for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for watcher in watchers:
            tasks.create_task(watcher.watch(WITHIN))
        for watcher in watchers:
            await watcher.few.wait()
        await behind.proxy.kill()
        behind.place.agents.say(2, 3)
        await behind.proxy.start()
        behind.place.agents.say(4)
        await behind.place.agents.finish(5)
    assert [watcher.numbers() for watcher in watchers] == [[1, 2, 3, 4, 5]] * 20
    assert {watcher.connections for watcher in watchers} == {2}


async def test_a_client_that_hangs_up_is_noticed(behind: Behind) -> None:
    await behind.job(1)

    async def open_are(count: int) -> bool:
        async with behind.session.get(f"{behind.door.metrics}/metrics") as answer:
            return f"agentjob_gateway_streams {float(count)}" in (await answer.text()).splitlines()

    answers = [await behind.session.get(behind.stream) for _ in range(3)]
    await until(lambda: open_are(3), WITHIN)
    for answer in answers:
        answer.close()
    await until(lambda: open_are(0), WITHIN)


async def test_an_agent_is_run_by_mcp(behind: Behind) -> None:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {behind.place.key()}"}, timeout=WITHIN)
    async with http, Client(streamable_http_client(f"{behind.proxy.url}/mcp", http_client=http)) as client:
        called = asyncio.create_task(client.call_tool("run_claude_agent", {"prompt": "Mend it."}))

        async def made() -> list[Object]:
            async with behind.session.get(f"{behind.proxy.url}/v1/jobs") as answer:
                found: list[Object] = (await answer.json())["items"]
                return found

        [job] = await until(made, WITHIN)
        await behind.place.set_status(job["id"], succeeded(1) | {"result": {"text": "Mended."}})
        result = await called
    assert result.structured_content is not None
    assert result.structured_content["result"] == "Mended."


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_is_refused_is_told_as_the_gateway_tells_it(
    behind: Behind, tmp_path: Path, refusal: Refusal
) -> None:
    headers = {"Authorization": f"Bearer {behind.place.key()}"}
    await asyncio.to_thread(is_told, refusal, behind.proxy.url, headers, tmp_path)
