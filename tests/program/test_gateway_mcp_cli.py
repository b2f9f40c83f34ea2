"""The real Claude Code hands a task to an agent through the MCP door, and takes it back."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import claude_agent_sdk as sdk
import pytest

import scripted_model
from agent_jobs import ENDED
from agentjob_gateway import answers
from mcp_place import Place, two_replicas

pytestmark = pytest.mark.cli

TASK = '[script: use-mcp mcp__agentjob__run_claude_agent "prompt=Mend the tests."]'
WITHIN = 60.0
KEY = "laptop"
SERVERS = ".mcp.json"
OWN = Path(__file__).parents[2] / SERVERS
"""The repository's own, with which Claude Code has the gateway of GATEWAY and KEY."""


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with two_replicas() as found:
        yield found


@pytest.fixture
async def claude(place: Place, tmp_path: Path) -> AsyncIterator[sdk.ClaudeSDKClient]:
    """Claude Code in a project with OWN, and no way to anywhere but the door and the model."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    shutil.copy(OWN, project / SERVERS)
    async with scripted_model.running() as model:
        options = sdk.ClaudeAgentOptions(
            cwd=project,
            permission_mode="bypassPermissions",
            setting_sources=["project"],
            env={
                "HOME": str(home),
                "IS_SANDBOX": "1",
                "GATEWAY": place.urls[0].removesuffix("/mcp"),
                "KEY": KEY,
                "ANTHROPIC_BASE_URL": model.url,
                "ANTHROPIC_API_KEY": "x",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
        )
        async with sdk.ClaudeSDKClient(options) as client:
            await client.query(TASK)
            yield client
        assert model.violations == []


async def result(client: sdk.ClaudeSDKClient) -> sdk.ResultMessage:
    async with asyncio.timeout(WITHIN):
        *_, last = [message async for message in client.receive_response()]
    assert isinstance(last, sdk.ResultMessage)
    return last


async def test_claude_code_gets_the_agents_answer(place: Place, claude: sdk.ClaudeSDKClient) -> None:
    key = await place.jobs.one()
    assert answers.submitter(place.jobs.there[key]) == f"key:{KEY}"
    await place.jobs.set(key, ENDED)
    found = await result(claude)
    assert not found.is_error
    assert '"result":"Mended."' in (found.result or "")


async def test_claude_code_that_is_interrupted_cancels_the_agent(place: Place, claude: sdk.ClaudeSDKClient) -> None:
    await place.jobs.one()
    await claude.interrupt()
    await result(claude)
    await place.jobs.until_phases("Cancelled")
