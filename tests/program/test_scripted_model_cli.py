"""The real Claude Code CLI plays the scripts: its tools really run, and every request it sends is in order."""

import contextlib
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import claude_agent_sdk as sdk
import pytest
import yaml

import scripted_model
from scripted_model import ScriptedModel

pytestmark = pytest.mark.cli

SAMPLE = Path(__file__).parents[2] / "deploy" / "samples" / "fix-the-tests.yaml"


@sdk.tool("say", "Say words.", {"words": str})
async def say(arguments: dict[str, str]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": f"echo: {arguments['words']}"}]}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with scripted_model.running() as running:
        yield running
        assert running.violations == []


@pytest.fixture
def options(model: ScriptedModel, tmp_path: Path) -> sdk.ClaudeAgentOptions:
    """How the CLI is started: an empty HOME, an empty workspace, one retry, no way to anywhere but the model."""
    for directory in ("home", "workspace"):
        (tmp_path / directory).mkdir()
    return sdk.ClaudeAgentOptions(
        cwd=tmp_path / "workspace",
        permission_mode="bypassPermissions",
        setting_sources=[],
        max_buffer_size=20 * 1024 * 1024,
        env={
            "HOME": str(tmp_path / "home"),
            "IS_SANDBOX": "1",
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": "x",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        },
    )


async def run(prompt: str, options: sdk.ClaudeAgentOptions) -> sdk.ResultMessage:
    """Play a prompt to its end and give the last result; a failed one too, which `query` reports by raising."""
    last = None
    with contextlib.suppress(sdk.ResultError):
        async for message in sdk.query(prompt=prompt, options=options):
            if isinstance(message, sdk.ResultMessage):
                last = message
    assert last is not None, "the CLI failed without a result"
    return last


def turns(model: ScriptedModel) -> list[tuple[str, int, int]]:
    """What was asked of the model: script, turn, status."""
    return [(recorded.script, recorded.turn, recorded.status) for recorded in model.requests]


@pytest.mark.parametrize(
    ("prompt", "answer", "requests"),
    [
        pytest.param("[script: say-hello]", "Hello from the scripted model.", 1, id="a text"),
        pytest.param("[script: think-then-answer]", "The answer is 42.", 1, id="a thought before the answer"),
        pytest.param("[script: many-turns 3]", "Done after 3 turns.", 4, id="several tool calls in a row"),
        pytest.param("[script: parallel-calls 2]", "answer 1, answer 2", 2, id="several tool calls at once"),
        pytest.param("[script: slow 0.1]", "The long command is done.", 2, id="a command that takes long"),
        pytest.param("[script: slow-answer 0.1 0.01]", "This answer took its time", 1, id="an answer that takes long"),
        pytest.param("[script: invalid-utf8]", "caf\ufffd", 4, id="bytes that are not UTF-8"),
        pytest.param("[script: big-message 5]", "The quick brown fox", 1, id="an answer of 5 MB"),
        pytest.param("[script: big-argument big.txt 2]", "Written: File created", 2, id="an argument of 2 MB"),
        pytest.param("[script: read-env]", "ANTHROPIC_BASE_URL=http://127.0.0.1:", 2, id="the environment"),
        pytest.param("[script: fill-disk 2 0]", "status 0", 2, id="a full disk"),
        pytest.param("[script: memory-hog 20 cli]", "allocated 20 MiB", 2, id="a command that takes memory"),
        pytest.param("[script: subagent]", "The subagent has reported.", 4, id="a subagent in the background"),
        pytest.param("[script: overloaded 1]", "It worked at last.", 2, id="529 once"),
        pytest.param("[script: server-error 1]", "It worked at last.", 2, id="500 once"),
        pytest.param("[script: rate-limited 0]", "It worked at last.", 2, id="429 once"),
        pytest.param("[script: cut-stream 1 content_block_delta]", "It worked at last.", 2, id="a stream that is cut"),
    ],
)
async def test_scripts_that_end_well(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions, prompt: str, answer: str, requests: int
) -> None:
    result = await run(prompt, options)
    assert not result.is_error
    assert answer in (result.result or "")
    assert len(model.requests) == requests


@pytest.mark.parametrize(
    ("prompt", "ending", "requests"),
    [
        pytest.param("[script: overloaded]", (529, "529 Overloaded"), 2, id="529 for ever"),
        pytest.param("[script: server-error]", (500, "500 Internal server error"), 2, id="500 for ever"),
        pytest.param("[script: rate-limited 61 always]", (429, "rejected (429)"), 1, id="429 for more than a minute"),
        pytest.param("[script: bad-key]", (401, "Invalid API key"), 2, id="401"),
        pytest.param("[script: billing]", (402, "Credit balance is too low"), 1, id="402"),
        pytest.param("[script: bad-request]", (400, "the scripted model does not like it"), 6, id="400"),
        pytest.param("[script: cut-stream]", (None, "Connection dropped"), 3, id="a stream that is cut for ever"),
        pytest.param("[script: broken-stream]", (529, "529 Overloaded"), 3, id="a stream that ends in an error"),
        pytest.param("[script: refusal]", (None, "safeguards flagged this message"), 2, id="a refusal"),
        pytest.param("[script: max-tokens]", (None, "output token maximum"), 4, id="answers that are cut off"),
    ],
)
async def test_scripts_that_end_badly(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions, prompt: str, ending: tuple[int | None, str], requests: int
) -> None:
    result = await run(prompt, options)
    status, words = ending
    assert result.is_error
    assert result.api_error_status == status
    assert words in (result.result or "")
    assert len(model.requests) == requests


def lay_sample(options: sdk.ClaudeAgentOptions) -> tuple[str, Path]:
    """Lay the demo's project into the workspace; give the demo's prompt and the file with the mistake."""
    spec = yaml.safe_load(SAMPLE.read_text())["spec"]
    workspace = Path(str(options.cwd))
    for name, content in spec["workspace"]["files"].items():
        (workspace / name).write_text(content)
    return spec["prompt"], workspace / "prices.py"


async def test_the_demo_mends_a_real_project(model: ScriptedModel, options: sdk.ClaudeAgentOptions) -> None:
    prompt, source = lay_sample(options)
    before = source.read_text()
    result = await run(prompt, options)
    assert (result.result or "").endswith("it is mended, and all tests pass.")
    assert source.read_text() == before.replace("+", "-", 1)
    assert turns(model) == [("fix-the-tests", turn, 200) for turn in range(7)]


async def test_the_demo_leaves_a_sound_project_alone(options: sdk.ClaudeAgentOptions) -> None:
    _, source = lay_sample(options)
    source.write_text(source.read_text().replace("+", "-", 1))
    result = await run("[script: fix-the-tests]", options)
    assert result.result == "All tests pass already; there was nothing to fix."


async def test_usage_adds_up_to_what_the_scripts_say(options: sdk.ClaudeAgentOptions) -> None:
    usage = (await run("[script: many-turns 2]", options)).usage or {}
    expected = {"input_tokens": 30, "cache_creation_input_tokens": 1_500, "cache_read_input_tokens": 7_500}
    assert {name: usage[name] for name in expected} == expected


async def test_network_probe_tells_open_from_closed(model: ScriptedModel, options: sdk.ClaudeAgentOptions) -> None:
    opened = model.url.removeprefix("http://")
    result = await run(f"[script: network-probe {opened} 127.0.0.1:1]", options)
    assert result.result == f"{opened} open\n127.0.0.1:1 closed"


async def test_a_tool_of_an_mcp_server_is_found_and_called(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions
) -> None:
    options.mcp_servers = {"echo": sdk.create_sdk_mcp_server("echo", tools=[say])}
    result = await run("[script: use-mcp mcp__echo__say words=hello]", options)
    assert result.result == "mcp__echo__say said: echo: hello"
    assert turns(model) == [("use-mcp", turn, 200) for turn in range(3)]


async def test_a_tool_of_no_mcp_server_is_called_in_vain(options: sdk.ClaudeAgentOptions) -> None:
    result = await run("[script: use-mcp mcp__gone__say]", options)
    assert "No such tool available: mcp__gone__say" in (result.result or "")


async def test_a_child_may_be_left_behind(options: sdk.ClaudeAgentOptions) -> None:
    result = await run("[script: background-child 600]", options)
    child = int((result.result or "").rpartition(" ")[2])
    os.kill(child, signal.SIGKILL)


async def test_the_cli_may_be_killed(options: sdk.ClaudeAgentOptions) -> None:
    with pytest.raises(sdk.ProcessError) as killed:
        await run("[script: kill-cli]", options)
    assert killed.value.exit_code == -9


@pytest.mark.parametrize("signal_name", ["KILL", "TERM"])
async def test_a_conversation_whose_cli_was_killed_goes_on_in_order(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions, signal_name: str
) -> None:
    options.session_id = str(uuid.uuid4())
    with pytest.raises(sdk.ProcessError):
        await run(f"[script: kill-cli {signal_name}]", options)
    options.session_id, options.resume = None, options.session_id
    assert (await run("Go on.", options)).result == "I am still here."
    assert turns(model) == [("kill-cli", 0, 200), ("kill-cli", 1, 200)]


async def until_tool_runs(client: sdk.ClaudeSDKClient) -> None:
    async for message in client.receive_messages():
        if isinstance(message, sdk.AssistantMessage) and isinstance(message.content[0], sdk.ToolUseBlock):
            return


async def result_of(client: sdk.ClaudeSDKClient) -> sdk.ResultMessage:
    [result] = [message async for message in client.receive_response() if isinstance(message, sdk.ResultMessage)]
    return result


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        pytest.param("[script: slow]", "I was told to stop.", id="while a command runs"),
        pytest.param("[script: endless]", "I was told to stop in round", id="in an endless loop"),
    ],
)
async def test_an_interrupted_script_hears_the_next_words(
    options: sdk.ClaudeAgentOptions, prompt: str, answer: str
) -> None:
    async with sdk.ClaudeSDKClient(options) as client:
        await client.query(prompt)
        await until_tool_runs(client)
        await client.interrupt()
        assert (await result_of(client)).is_error
        await client.query("Time is up: write a summary.")
        assert answer in ((await result_of(client)).result or "")


async def test_a_conversation_goes_on_after_it_was_resumed_and_forked(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions
) -> None:
    first = await run("[script: many-turns 1]", options)
    options.resume = first.session_id
    await run("[script: think-then-answer]", options)
    options.fork_session = True
    forked = await run("Thank you.", options)
    assert forked.result == "Noted."
    assert turns(model) == [
        ("many-turns", 0, 200),
        ("many-turns", 1, 200),
        ("think-then-answer", 2, 200),
        ("think-then-answer", 3, 200),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"model": "haiku"}, id="a small model"),
        pytest.param({"model": "claude-sonnet-4-5"}, id="an older model"),
        pytest.param({"model": "of-our-own"}, id="an unknown model"),
        pytest.param(
            {"system_prompt": {"type": "preset", "preset": "claude_code", "append": "Be nice."}}, id="the preset"
        ),
        pytest.param({"system_prompt": "You are a test."}, id="a system prompt of one's own"),
        pytest.param({"max_turns": 1}, id="a limit of turns"),
        pytest.param({"include_partial_messages": True}, id="partial messages"),
        pytest.param({"settings": json.dumps({"apiKeyHelper": "echo token"})}, id="a key helper"),
        pytest.param(
            {"output_format": {"type": "json_schema", "schema": {"type": "object"}}}, id="a structured answer"
        ),
    ],
)
async def test_options_change_requests_within_the_rules(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions, changed: dict[str, Any]
) -> None:
    for name, value in changed.items():
        setattr(options, name, value)
    await run("[script: many-turns 1]", options)
    assert turns(model)[0] == ("many-turns", 0, 200)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1"}, id="without betas"),
        pytest.param({"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""}, id="with side questions"),
        pytest.param({"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1"}, id="with subagents in the foreground"),
    ],
)
async def test_environment_changes_requests_within_the_rules(
    model: ScriptedModel, options: sdk.ClaudeAgentOptions, changed: dict[str, str]
) -> None:
    options.env |= changed
    result = await run("[script: subagent many-turns]", options)
    assert result.result == "The subagent has reported."
    assert {recorded.status for recorded in model.requests} == {200}
