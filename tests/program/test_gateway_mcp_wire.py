"""The MCP door as it is on the wire: bare requests, repeated, cancelled, cut off and malformed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from mcp.types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from agent_jobs import ENDED
from agentjob_gateway.mcp import SESSION
from mcp_place import ANSWER, HEADERS, ORIGIN, Place, listening, two_replicas
from operated import until
from served import served

Object = dict[str, Any]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with two_replicas() as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(30)) as session:
        yield session


def rpc(method: str, request: int | str | None = None, **params: Any) -> Object:
    """A message of JSON-RPC."""
    return {"jsonrpc": "2.0", "method": method, "params": params} | ({} if request is None else {"id": request})


def run(request: int | str, prompt: str = "Mend the tests.") -> Object:
    return rpc("tools/call", request, name="run_claude_agent", arguments={"prompt": prompt})


async def initialized(http: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """The headers of a session that has begun."""
    client = {"name": "test", "version": "1"}
    message = rpc("initialize", 0, protocolVersion=LATEST_HANDSHAKE_VERSION, capabilities={}, clientInfo=client)
    async with http.post(url, json=message) as response:
        assert response.status == 200
        return {SESSION: response.headers[SESSION], "MCP-Protocol-Version": LATEST_HANDSHAKE_VERSION}


async def answered(http: aiohttp.ClientSession, url: str, message: Object, headers: dict[str, str]) -> Object:
    """The JSON-RPC answer to a request, which ends a stream."""
    async with http.post(url, json=message, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        lines = [line async for line in response.content if line.startswith(b"data: ")]
    found: Object = orjson.loads(lines[-1].removeprefix(b"data: "))
    return found


async def test_a_call_is_cancelled_through_any_replica(place: Place, http: aiohttp.ClientSession) -> None:
    first, second = place.urls
    session = await initialized(http, first)
    async with asyncio.TaskGroup() as tasks:
        called = tasks.create_task(answered(http, first, run(7), session))
        await place.jobs.one()
        async with http.post(second, json=rpc("notifications/cancelled", requestId=7), headers=session) as response:
            assert response.status == 202
        answer = await called
    assert answer["result"]["isError"]
    assert place.jobs.phases() == ["Cancelled"]


async def test_a_cancellation_that_comes_before_the_job_is_made_is_not_lost(
    place: Place, http: aiohttp.ClientSession
) -> None:
    first, second = place.urls
    session = await initialized(http, first)
    async with http.post(second, json=rpc("notifications/cancelled", requestId="a"), headers=session) as response:
        assert response.status == 202
    assert (await answered(http, first, run("a"), session))["result"]["isError"]
    assert place.jobs.phases() == ["Cancelled"]


async def test_only_the_sessions_own_requests_are_cancelled(place: Place, http: aiohttp.ClientSession) -> None:
    url = place.urls[0]
    mine, other = await initialized(http, url), await initialized(http, url)
    cancelled = rpc("notifications/cancelled", requestId=1)
    async with asyncio.TaskGroup() as tasks:
        called = tasks.create_task(answered(http, url, run(1), mine))
        job = await place.jobs.one()
        for headers in (other, mine | {"Authorization": "Bearer somebody"}, {}):
            async with http.post(url, json=cancelled, headers=headers) as response:
                assert response.status == 202
        await place.until_nothing_is_cancelled()
        await place.jobs.set(job, ENDED)
        assert not (await called)["result"]["isError"]


async def test_a_request_that_is_sent_again_finds_its_job(place: Place, http: aiohttp.ClientSession) -> None:
    first, second = place.urls
    session, other = await initialized(http, first), await initialized(http, first)
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(answered(http, url, run(1), session)) for url in (first, second, first)]
        key = await place.jobs.one()
        await place.jobs.set(key, ENDED)
        assert [(await call)["result"]["structuredContent"] for call in calls] == [ANSWER] * 3
        assert len(place.jobs.there) == 1

        for headers, count in ((other, 2), (session | {"Authorization": "Bearer somebody"}, 3)):
            called = tasks.create_task(answered(http, second, run(1), headers))
            await place.jobs.set(await place.jobs.one(count), ENDED)
            await called

    assert "another body" in str(await answered(http, second, run(1, "Something else."), session))
    assert len(place.jobs.there) == 3


async def test_outside_a_session_no_request_is_the_same(place: Place, http: aiohttp.ClientSession) -> None:
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(answered(http, place.urls[0], run(1), {})) for _ in range(2)]
        for number in (1, 2):
            await place.jobs.set(await place.jobs.one(number), ENDED)
        assert ["result" in await call for call in calls] == [True, True]


async def test_a_client_that_hangs_up_leaves_its_job_running_and_nothing_behind(
    place: Place, http: aiohttp.ClientSession
) -> None:
    url = place.urls[0]
    session = await initialized(http, url)
    before = asyncio.all_tasks()
    for number in range(1, 21):
        async with http.post(url, json=run(number) | {"id": number}, headers=session) as response:
            assert response.status == 200
            await place.jobs.one(number)
            response.close()

    async def is_quiet() -> bool:
        return not (asyncio.all_tasks() - before) and place.jobs.waiting == 0

    await until(is_quiet)
    assert place.hub.streams == 0
    assert place.jobs.phases() == ["Pending"] * 20


async def test_a_call_that_waits_counts_as_a_stream(tmp_path: Path) -> None:
    async with served(tmp_path) as found:
        key = {"Authorization": f"Bearer {found.key(streams=2)}"}
        door = await found.door().start()

        async def are_open(count: int) -> bool:
            async with door.session.get(f"{door.metrics}/metrics") as response:
                return f"agentjob_gateway_streams {float(count)}\n" in await response.text()

        async def has_its_job() -> bool:
            return len(found.cluster.made("agentjobs")) == 1

        async with aiohttp.ClientSession(headers=HEADERS | key) as http, asyncio.TaskGroup() as tasks:
            url = f"{door.url}/mcp"
            session = await initialized(http, url)
            called = tasks.create_task(answered(http, url, run(1), session))
            await until(lambda: are_open(1))
            await until(has_its_job)
            [name] = found.cluster.made("agentjobs")
            async with http.get(f"{door.url}/v1/jobs/{name}/events"):
                await until(lambda: are_open(2))
                refused = (await answered(http, url, run(2), session))["result"]
                third = await door.ask("GET", f"/v1/jobs/{name}/events", found.key())
            await found.agents.start(name=name)
            await found.agents.finish(1, name=name)
            await called
            await until(lambda: are_open(0))
        assert found.cluster.made("agentjobs") == [name]
    assert (refused["isError"], third.status) == (True, 429)
    assert refused["content"][0]["text"] == (
        "2 streams are open, and no more may be; close one, or use submit_claude_agent and wait with"
        " get_claude_agent_job"
    )


async def test_a_door_that_closes_cuts_calls_off_and_cancels_no_job(http: aiohttp.ClientSession) -> None:
    place = Place()
    async with asyncio.TaskGroup() as tasks:
        async with place.replica() as url:
            headers = await initialized(http, url)
            handshake = tasks.create_task(cut_off(http, url, run(1), headers))
            meta = {
                "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            message = run(1)
            message["params"]["_meta"] = meta
            names = {"MCP-Protocol-Version": LATEST_MODERN_VERSION, "Mcp-Method": "tools/call"}
            other = tasks.create_task(cut_off(http, url, message, names | {"Mcp-Name": "run_claude_agent"}))
            await place.jobs.one(2)
        await asyncio.gather(handshake, other)
    assert place.jobs.phases() == ["Pending", "Pending"]


async def test_a_door_that_closes_still_cancels_what_it_was_asked_to(http: aiohttp.ClientSession) -> None:
    place = Place()
    async with asyncio.TaskGroup() as tasks, place.replica() as other:
        async with place.replica() as url:
            headers = await initialized(http, url)
            async with http.post(url, json=rpc("notifications/cancelled", requestId=1), headers=headers) as response:
                assert response.status == 202
            called = tasks.create_task(answered(http, other, run(1), headers))
        assert (await called)["result"]["isError"]
    assert place.jobs.phases() == ["Cancelled"]


async def cut_off(http: aiohttp.ClientSession, url: str, message: Object, headers: dict[str, str]) -> None:
    with suppress(aiohttp.ClientError):
        async with http.post(url, json=message, headers=headers) as response:
            assert b'"result"' not in await response.read()


async def test_a_door_that_is_not_open_says_so(http: aiohttp.ClientSession) -> None:
    async with listening(Place().door().post) as url, http.post(url, json=run(1)) as response:
        assert response.status == 503


PING = orjson.dumps(rpc("ping", 1))
HUGE = json.dumps(
    rpc("tools/call", 1, name="submit_claude_agent", arguments={"prompt": "x", "spec": {"suspend": 2**64}})
).encode()


@pytest.mark.parametrize(
    ("headers", "body", "answer"),
    [
        pytest.param({}, PING, (200, '"result":{}'), id="a ping"),
        pytest.param({}, b"{", (400, "-32700"), id="no JSON"),
        pytest.param({}, b"[]", (400, "-32602"), id="no message"),
        pytest.param({}, b"", (400, "-32700"), id="nothing at all"),
        pytest.param({}, b"\xff\xfe", (400, "-32700"), id="bytes that are no text"),
        pytest.param({}, b'{"method":' * 20_000, (413, "larger than 100000 bytes"), id="a body that is too large"),
        pytest.param({"Accept": "text/html"}, PING, (406, "Not Acceptable"), id="a client that takes no JSON"),
        pytest.param({"Accept": "application/json"}, PING, (406, "Not Acceptable"), id="a client that takes no stream"),
        pytest.param({"Content-Type": "text/plain"}, PING, (400, "Content-Type"), id="another type"),
        pytest.param({SESSION: "my-session"}, PING, (404, "send initialize"), id="a session that is none of ours"),
        pytest.param({SESSION: "0" * 32}, PING, (200, '"result":{}'), id="a session of any replica"),
        pytest.param(
            {"MCP-Protocol-Version": "1999-01-01"}, PING, (400, "protocolVersion"), id="a version that never was"
        ),
        pytest.param({"Origin": "https://evil.example"}, PING, (403, "evil.example"), id="a page of another origin"),
        pytest.param({"Origin": ORIGIN}, PING, (200, '"result":{}'), id="a page that was let in"),
        pytest.param({}, orjson.dumps(rpc("resources/list", 1)), (200, "-32601"), id="a method that is not offered"),
        pytest.param(
            {}, orjson.dumps(rpc("tools/call", 1, name="rm")), (200, "-32602"), id="a tool that is not offered"
        ),
        pytest.param({}, HUGE, (200, "spec.suspend: it cannot be passed on"), id="a number with too many digits"),
        pytest.param({}, orjson.dumps(rpc("initialize", 1)), (200, "-32602"), id="a handshake that says nothing"),
    ],
)
async def test_what_a_message_may_be(
    place: Place, http: aiohttp.ClientSession, headers: dict[str, str], body: bytes, answer: tuple[int, str]
) -> None:
    status, words = answer
    async with http.post(place.urls[0], data=body, headers=headers) as response:
        assert response.status == status
        assert words in await response.text()
    assert place.jobs.there == {}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_the_door_pushes_nothing_and_ends_no_session(
    place: Place, http: aiohttp.ClientSession, method: str
) -> None:
    async with http.request(method, place.urls[0]) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
