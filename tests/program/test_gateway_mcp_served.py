"""The MCP door of a whole gateway: its tools work on the jobs, lines, keys and limits of the other doors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from agent_jobs import ENDED
from agentjob_api.lines import envelope
from agentjob_gateway.caller import Role
from mcp_place import ANSWER
from operated import until
from served import NAMESPACE, Door, Served, served
from streamed import make

Object = dict[str, Any]

TASK = {"prompt": "Mend the tests."}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        found.key("one", concurrentJobs=1)
        found.key("reader", Role.READ)
        found.key("stranger", Role.ADMIN, "other")
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door(namespaces=[NAMESPACE, "other"]).start()


@asynccontextmanager
async def connected(door: Door, key: str) -> AsyncIterator[Client]:
    """The SDK's client with an API key."""
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30)
    async with http, Client(streamable_http_client(f"{door.url}/mcp", http_client=http)) as found:
        yield found


def text(result: CallToolResult) -> str:
    """The words of a result, of which there is one block."""
    [block] = result.content
    assert isinstance(block, TextContent)
    return block.text


async def made(place: Served) -> str:
    """The name of the only job, once there is one."""

    async def names() -> list[str]:
        return place.cluster.made("agentjobs")

    found: list[str] = await until(names)
    return found[0]


async def test_progress_is_what_the_agent_says_and_the_answer_is_the_jobs(door: Door, place: Served) -> None:
    told: list[str | None] = []
    is_told = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)
        if message == "assistant: I look.":
            is_told.set()

    async with connected(door, place.key()) as client, asyncio.TaskGroup() as tasks:
        called = tasks.create_task(client.call_tool("run_claude_agent", TASK, progress_callback=hear))
        name = await made(place)
        await place.agents.start(name=name)
        said = {"type": "assistant", "message": {"role": "assistant", "content": [{"type": "text", "text": "I look."}]}}
        place.agents.print(envelope(1, 1, datetime.now(UTC)) + orjson.dumps(said) + b"}\n", name=name)
        async with asyncio.timeout(15):
            await is_told.wait()
        await place.set_status(name, ENDED)
        result = await called

    assert (told[0], result.is_error) == ("Pending", False)
    assert orjson.loads(text(result)) == result.structured_content == ANSWER


async def test_a_call_that_is_cancelled_cancels_its_job_in_the_cluster(door: Door, place: Served) -> None:
    async with connected(door, place.key()) as client:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "run_claude_agent", TASK)
                name = await made(place)
                scope.cancel()

        async def is_cancelled() -> bool:
            return (await place.job(name))["spec"].get("cancel") is True

        await until(is_cancelled)


async def test_a_job_of_another_door_is_asked_about_and_cancelled(door: Door, place: Served) -> None:
    await make(door, place)
    async with connected(door, place.key()) as client:
        asked = await client.call_tool("get_claude_agent_job", {"job_id": "fix"})
        stopped = await client.call_tool("cancel_claude_agent_job", {"job_id": "fix"})
    polled = await door.ask("GET", "/claude/jobs/fix", place.key())
    assert asked.structured_content == polled.body
    assert stopped.structured_content == {"job_id": "fix", "status": "pending"}
    assert (await place.job("fix"))["spec"]["cancel"] is True


@pytest.mark.parametrize(
    ("key", "called", "words"),
    [
        pytest.param(
            ("one", Role.SUBMIT, NAMESPACE),
            ("run_claude_agent", TASK),
            "key:one has 1 jobs that have not ended, and may have no more",
            id="more jobs than its key may have",
        ),
        pytest.param(
            ("reader", Role.READ, NAMESPACE),
            ("submit_claude_agent", TASK),
            "key:reader may not create agentjobs in the namespace 'agents'",
            id="a job, of a key that may only read",
        ),
        pytest.param(
            ("one", Role.SUBMIT, NAMESPACE),
            ("cancel_claude_agent_job", {"job_id": "fix"}),
            "key:one may not patch job 'fix', which it has not made",
            id="the end of another's job",
        ),
        pytest.param(
            ("stranger", Role.ADMIN, "other"),
            ("get_claude_agent_job", {"job_id": "fix"}),
            "there is no job 'fix' in the namespace 'other'",
            id="a job of another namespace",
        ),
    ],
)
async def test_the_model_is_told_what_its_key_cannot_have(
    door: Door, place: Served, key: tuple[str, Role, str], called: tuple[str, Object], words: str
) -> None:
    await make(door, place)
    own = {"name": "own", "spec": {"prompt": "x"}}
    assert (await door.ask("POST", "/v1/jobs", place.key("one"), json=own)).status == 201
    async with connected(door, place.key(*key)) as client:
        result = await client.call_tool(*called)
    assert (result.is_error, text(result), result.structured_content) == (True, words, None)
    assert place.cluster.made("agentjobs") == ["fix", "own"]
    assert "cancel" not in (await place.job("fix"))["spec"]
