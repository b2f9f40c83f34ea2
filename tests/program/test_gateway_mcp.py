"""Claude agents as tools of other agents, through the SDK's own client, whose requests go to two replicas in turn."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import orjson
import pytest
from mcp.types import CallToolResult, TextContent

from agent_jobs import ENDED, FAILED
from agentjob_gateway.errors import TooMany
from mcp_place import ANSWER, Place, two_replicas

Object = dict[str, Any]

BOTH = pytest.mark.parametrize(
    "mode", [pytest.param("legacy", id="with a handshake"), pytest.param("auto", id="without one")]
)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with two_replicas() as found:
        yield found


def text(result: CallToolResult) -> str:
    """The words of a result, of which there is one block."""
    [block] = result.content
    assert isinstance(block, TextContent)
    return block.text


@BOTH
async def test_the_tools_are_offered(place: Place, mode: str) -> None:
    async with place.client(mode) as client:
        tools = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
        assert client.server_info is not None
        assert client.server_info.name == "agentjob"

    assert [name for name, hints in tools.items() if hints and hints.read_only_hint] == ["get_claude_agent_job"]
    assert set(tools) == {
        "run_claude_agent",
        "submit_claude_agent",
        "get_claude_agent_job",
        "cancel_claude_agent_job",
    }


@BOTH
async def test_an_agent_is_run_and_its_answer_comes_back(place: Place, mode: str) -> None:
    async with place.client(mode) as client, asyncio.TaskGroup() as tasks:
        called = tasks.create_task(client.call_tool("run_claude_agent", {"prompt": "Mend the tests."}))
        await place.jobs.set(await place.jobs.one(), ENDED)
        result = await called

    assert not result.is_error
    assert orjson.loads(text(result)) == result.structured_content == ANSWER
    [job] = place.jobs.there.values()
    assert job["spec"] == {"prompt": "Mend the tests."}
    assert place.hub.listeners == 0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(FAILED, "Reached maximum number of turns (3).", id="a failure says why"),
        pytest.param(
            FAILED | {"result": {"text": "Half."}}, "Reached maximum number of turns (3).", id="half a result"
        ),
        pytest.param({"phase": "Succeeded"}, "is succeeded and has left no answer", id="no answer"),
    ],
)
async def test_an_agent_without_an_answer_is_an_error_with_a_reason(place: Place, status: Object, words: str) -> None:
    async with place.client() as client, asyncio.TaskGroup() as tasks:
        called = tasks.create_task(client.call_tool("run_claude_agent", {"prompt": "Mend the tests."}))
        await place.jobs.set(await place.jobs.one(), status)
        result = await called

    assert result.is_error
    assert words in text(result)


@pytest.mark.parametrize(
    ("key", "tool", "arguments", "words"),
    [
        pytest.param("ci", "run_claude_agent", {}, "prompt: Field required", id="no prompt"),
        pytest.param("reader", "run_claude_agent", {"prompt": "x"}, "key:reader may not create", id="no right to it"),
        pytest.param("reader", "cancel_claude_agent_job", {"job_id": "x"}, "may not patch", id="no right to cancel"),
        pytest.param("ci", "get_claude_agent_job", {"job_id": "x"}, "there is no job 'x'", id="no such job"),
        pytest.param("ci", "cancel_claude_agent_job", {"job_id": "x"}, "there is no job 'x'", id="nothing to cancel"),
        pytest.param("ci", "submit_claude_agent", {"prompt": "x"}, "key:ci may have no more jobs", id="no room"),
    ],
)
async def test_what_cannot_be_is_said_to_the_model(
    place: Place, key: str, tool: str, arguments: Object, words: str
) -> None:
    place.jobs.room = 0
    async with place.client(key=key) as client:
        result = await client.call_tool(tool, arguments)

    assert result.is_error
    assert words in text(result)


@BOTH
async def test_progress_is_told_while_the_agent_works(place: Place, mode: str) -> None:
    told: list[tuple[float, str | None]] = []
    is_told = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))
        is_told.set()

    async def until_told(message: str) -> None:
        async with asyncio.timeout(10):
            while not any(words and words.startswith(message) for _, words in told):
                is_told.clear()
                await is_told.wait()

    async with place.client(mode) as client, asyncio.TaskGroup() as tasks:
        arguments = {"prompt": "Mend the tests."}
        called = tasks.create_task(client.call_tool("run_claude_agent", arguments, progress_callback=hear))
        await until_told("Pending")
        place.hub.say({"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash"}]}})
        await until_told("tool: Bash")
        await until_told("still working, 0 s")
        await place.jobs.set(await place.jobs.one(), ENDED)
        assert not (await called).is_error

    counts = [count for count, _ in told]
    assert counts == sorted(set(counts))
    assert place.hub.listeners == 0


async def test_an_agent_is_waited_for_even_where_its_lines_cannot_be_had(place: Place) -> None:
    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.set()

    place.hub.problem = TooMany("there are too many streams")
    heard = asyncio.Event()
    async with place.client() as client, asyncio.TaskGroup() as tasks:
        called = tasks.create_task(client.call_tool("run_claude_agent", {"prompt": "x"}, progress_callback=hear))
        await heard.wait()
        await place.jobs.set(await place.jobs.one(), ENDED)
        assert not (await called).is_error


@BOTH
async def test_a_job_is_submitted_asked_about_and_cancelled(place: Place, mode: str) -> None:
    async with place.client(mode) as client:
        given = {"prompt": "Mend the tests.", "spec": {"activeDeadlineSeconds": 60}}
        made = (await client.call_tool("submit_claude_agent", given)).structured_content
        asked = {"job_id": made["job_id"]}
        waited = (await client.call_tool("get_claude_agent_job", asked | {"wait_seconds": 0.01})).structured_content
        await client.call_tool("cancel_claude_agent_job", asked)
        ended = (await client.call_tool("get_claude_agent_job", asked)).structured_content

    [job] = place.jobs.there.values()
    assert job["spec"] == {"prompt": "Mend the tests.", "activeDeadlineSeconds": 60}
    assert made == {"job_id": job["metadata"]["name"], "status": "pending"}
    assert waited == made | {"created_at": "2026-11-22T10:00:00Z"}
    assert (ended["status"], ended["error"]) == ("failed", "It was cancelled.")


@BOTH
async def test_a_call_that_the_client_cancels_cancels_the_job(place: Place, mode: str) -> None:
    async with place.client(mode) as client:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "run_claude_agent", {"prompt": "Mend the tests."})
                await place.jobs.one()
                scope.cancel()
        await place.jobs.until_phases("Cancelled")
    assert place.jobs.waiting == 0


async def test_who_waits_is_told_where_its_job_is_when_the_gateway_stops(place: Place) -> None:
    async with place.client() as client, asyncio.TaskGroup() as tasks:
        called = tasks.create_task(client.call_tool("run_claude_agent", {"prompt": "Mend the tests."}))
        key = await place.jobs.one()
        await place.jobs.close()
        result = await called

    assert result.is_error
    assert text(result) == f"The gateway restarts; job {key.name} goes on. Wait for it with get_claude_agent_job."
    assert place.jobs.phases() == ["Pending"]
