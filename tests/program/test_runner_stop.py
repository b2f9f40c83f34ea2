"""Being told to stop: the agent is interrupted, leaves a result, and nothing of it goes on."""

import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import scripted_model
from agentjob_api.reasons import Reason
from runner_process import Job, Runner, ran, started
from scripted_model import Plot, ScriptedModel, Task, script
from scripted_model.replies import text, tool

pytestmark = pytest.mark.cli

GRACE = 20.0
"""Seconds that a runner may take to end; Kubernetes gives it 30."""


@script()
def leave_a_server(_: Task) -> Plot:
    """Start a command in the background and answer; asked again when it has ended."""
    yield [tool("Bash", command="sleep 601", description="a server", run_in_background=True)]
    yield [text("The server is running.")]


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with scripted_model.running(leave_a_server) as running:
        yield running
        assert running.violations == []


async def stopped(runner: Runner, times: int = 1) -> float:
    """Tell the runner to stop and wait for its end; returns the seconds it took."""
    begin = time.monotonic()
    for _ in range(times):
        runner.process.terminate()
        await runner.until('"stopping"')
    await runner.end()
    return time.monotonic() - begin


def processes(word: str) -> list[str]:
    """Command lines of this machine's processes that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has just ended
            continue
    return [line for line in found if word in line]


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        pytest.param("[script: slow 602]", '"tool_use"', id="in the middle of a tool"),
        pytest.param("[script: slow-answer 0 0.2]", '"content_block_delta"', id="in the middle of a sentence"),
        pytest.param("[script: slow-answer 60]", '"init"', id="while it waits for the model"),
        pytest.param("[script: subagent 'slow 602']", '"task_progress"', id="while a subagent works in the background"),
    ],
)
async def test_an_agent_at_work_is_cancelled(model: ScriptedModel, tmp_path: Path, prompt: str, seen: str) -> None:
    job = Job(prompt=prompt, agent={"includePartialMessages": True})
    async with started(job, tmp_path, model.url) as runner:
        await runner.until(seen)
        seconds = await stopped(runner)

    assert seconds < GRACE / 2
    assert runner.process.returncode == 1
    assert (runner.outcome.reason, runner.outcome.stopped) == (Reason.CANCELLED, True)
    assert runner.outcome.session_id
    assert len(runner.notices("stopping")) == 1
    assert "result" in [message["type"] for message in runner.messages]
    assert runner.messages[-1]["subtype"] == "outcome"
    assert processes("sleep 602") == []
    assert processes(str(tmp_path)) == []


async def test_a_runner_that_has_not_started_the_agent_never_does(model: ScriptedModel, tmp_path: Path) -> None:
    async with started(Job(prompt="[script: slow 602]"), tmp_path, model.url) as runner:
        await runner.until('"start"')
        runner.process.terminate()
        await runner.end()

    assert (runner.outcome.reason, runner.outcome.stopped) == (Reason.CANCELLED, True)
    assert runner.messages[-1]["subtype"] == "outcome"
    assert "result" not in [message["type"] for message in runner.messages]
    assert model.requests == []


@pytest.mark.parametrize("times", [pytest.param(1, id="told once"), pytest.param(2, id="told twice")])
async def test_a_claude_code_that_hangs_is_ended_by_force(model: ScriptedModel, tmp_path: Path, times: int) -> None:
    async with started(Job(prompt="[script: slow 603]"), tmp_path, model.url) as runner:
        await runner.until('"tool_use"')
        os.kill(cli := cli_of(runner), signal.SIGSTOP)
        seconds = await stopped(runner, times)

    assert seconds < (GRACE + 2 if times == 1 else GRACE / 2 + 2)
    assert (runner.outcome.reason, runner.outcome.stopped) == (Reason.CANCELLED, True)
    with pytest.raises(ProcessLookupError):
        os.kill(cli, 0)


def cli_of(runner: Runner) -> int:
    """The process of Claude Code under a runner."""
    [child] = Path(f"/proc/{runner.process.pid}/task/{runner.process.pid}/children").read_text().split()
    return int(child)


async def test_an_answer_stands_when_only_a_background_command_is_stopped(model: ScriptedModel, tmp_path: Path) -> None:
    async with started(Job(prompt="[script: leave-a-server]"), tmp_path, model.url) as runner:
        await runner.until('"type":"result"')
        seconds = await stopped(runner)

    assert seconds < GRACE
    assert (runner.outcome.reason, runner.outcome.stopped) == (Reason.COMPLETED, True)
    assert runner.outcome.text == "The server is running."
    assert processes("sleep 601") == []


async def test_a_process_that_detached_itself_does_not_hold_the_end_up(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt="[script: background-child 604]"), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    # In a Pod it dies with the PID namespace; here it is left to us.
    found = re.search(r"child (\d+)", runner.outcome.text or "")
    assert found is not None
    os.kill(int(found[1]), signal.SIGKILL)
