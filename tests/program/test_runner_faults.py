"""What goes wrong at the model's door becomes a reason, by way of the real Claude Code."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import scripted_model
from agentjob_api.reasons import Reason
from runner_process import NO_MODEL, Job, ran
from scripted_model import ScriptedModel

pytestmark = pytest.mark.cli


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with scripted_model.running() as running:
        yield running
        assert running.violations == []


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        pytest.param("overloaded", Reason.MODEL_OVERLOADED, "529", id="529 for ever"),
        pytest.param("broken-stream", Reason.MODEL_OVERLOADED, "529", id="529 in the middle of streams"),
        pytest.param("server-error", Reason.MODEL_UNAVAILABLE, "Internal server error", id="500 for ever"),
        pytest.param("rate-limited 1 always", Reason.RATE_LIMITED, "429", id="429 for ever"),
        pytest.param("rate-limited 3600 always", Reason.RATE_LIMITED, "429", id="429 for an hour"),
        pytest.param("bad-key", Reason.AUTHENTICATION_FAILED, "API key", id="401"),
        pytest.param("billing", Reason.BUDGET_EXCEEDED, "Credit balance is too low", id="402"),
        pytest.param("bad-request", Reason.INVALID_REQUEST, "does not like it", id="400"),
        pytest.param("max-tokens", Reason.TRUNCATED, "output token maximum", id="answers that are always cut"),
        pytest.param("refusal", Reason.REFUSED, "safeguards", id="a model that declines"),
    ],
)
async def test_a_refusal_becomes_its_reason(
    model: ScriptedModel, tmp_path: Path, script: str, reason: Reason, words: str
) -> None:
    runner = await ran(Job(prompt=f"[script: {script}]"), tmp_path, model.url)

    assert runner.process.returncode == 1
    assert runner.outcome.reason is reason
    assert words in runner.outcome.message
    assert runner.outcome.text is None
    assert runner.messages[-1]["outcome"]["reason"] == reason


@pytest.mark.parametrize("script", ["overloaded 1", "server-error 1", "rate-limited 1 1", "cut-stream 1", "bad-key 1"])
async def test_a_fault_that_passes_is_ridden_out(model: ScriptedModel, tmp_path: Path, script: str) -> None:
    runner = await ran(Job(prompt=f"[script: {script}]"), tmp_path, model.url)

    assert (runner.outcome.reason, runner.outcome.text) == (Reason.COMPLETED, "It worked at last.")


async def test_a_model_that_cannot_be_reached(tmp_path: Path) -> None:
    runner = await ran(Job(prompt="Hello."), tmp_path, NO_MODEL)

    assert runner.outcome.reason is Reason.MODEL_UNAVAILABLE
    assert "ECONNREFUSED" in runner.outcome.message


async def test_streams_that_are_always_cut(model: ScriptedModel, tmp_path: Path) -> None:
    without_fallback = {"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1"}

    runner = await ran(Job(prompt="[script: cut-stream]", environment=without_fallback), tmp_path, model.url)

    assert runner.outcome.reason is Reason.MODEL_UNAVAILABLE


async def test_turns_that_are_used_up(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt="[script: many-turns 5]", agent={"maxTurns": 2}), tmp_path, model.url)

    assert runner.outcome.reason is Reason.MAX_TURNS
    assert runner.outcome.message == "Reached maximum number of turns (2)"
    assert runner.outcome.usage.input_tokens == 20, "what was used is told all the same"


async def test_an_mcp_server_that_is_down_does_not_stop_the_job(model: ScriptedModel, tmp_path: Path) -> None:
    server = {"type": "http", "url": f"{NO_MODEL}/mcp"}

    runner = await ran(Job(prompt="[script: say-hello]", agent={"mcpServers": {"it": server}}), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    [server_seen] = runner.messages[1]["mcp_servers"]
    assert (server_seen["name"], server_seen["status"]) == ("it", "failed")


async def test_a_tool_that_is_not_allowed_is_named(model: ScriptedModel, tmp_path: Path) -> None:
    prompt = f"[script: big-argument {tmp_path}/workspace/new.txt 0.001]"

    runner = await ran(Job(prompt=prompt, agent={"permissionMode": "dontAsk"}), tmp_path, model.url)

    assert runner.outcome.permission_denials == ["Write"]


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        pytest.param("KILL", "killed by signal 9 before it had ended", id="killed"),
        pytest.param("TERM", "exited with 143 without a result", id="terminated"),
    ],
)
async def test_an_agent_that_goes_away_without_a_result(
    model: ScriptedModel, tmp_path: Path, signal: str, words: str
) -> None:
    runner = await ran(Job(prompt=f"[script: kill-cli {signal}]"), tmp_path, model.url)

    assert runner.process.returncode == 1
    assert runner.outcome.reason is Reason.AGENT_ERROR
    assert words in runner.outcome.message
    assert [message["type"] for message in runner.messages].count("result") == 0


async def test_what_claude_code_says_on_stderr_is_told(tmp_path: Path) -> None:
    without_bubblewrap = {"CLAUDE_CODE_SUBPROCESS_ENV_SCRUB": "1", "PATH": "/nowhere"}

    runner = await ran(Job(prompt="Hello.", environment=without_bubblewrap), tmp_path, NO_MODEL)

    assert runner.outcome.reason is Reason.AGENT_ERROR
    assert runner.outcome.message.startswith("Claude Code exited with 1 without a result: ")
    assert "bubblewrap" in runner.outcome.message
    assert b"bubblewrap" in runner.errors
