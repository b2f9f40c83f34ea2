"""The runner with the real Claude Code and a scripted model: what it prints, what it leaves, what it does not mind."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest

import scripted_model
from agentjob_api.lines import MAX_LINE
from agentjob_api.outcome import MAX_TERMINATION_BYTES, from_line
from agentjob_api.reasons import Reason
from runner_process import ATTEMPT, NO_MODEL, Job, environment, ran, started
from scripted_model import ScriptedModel

pytestmark = pytest.mark.cli

HELLO = "[script: say-hello]"
BROKEN_PROJECT = {
    "test_prices.py": "import unittest\nfrom prices import reduced\n\n\n"
    "class Prices(unittest.TestCase):\n    def test_reduced(self):\n"
    "        self.assertEqual(reduced(100, 10), 90)\n",
    "prices.py": "def reduced(price, percent):\n    return price + price * percent / 100\n",
}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with scripted_model.running() as running:
        yield running
        assert running.violations == []


async def test_an_attempt_prints_every_message_between_start_and_outcome(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt=HELLO), tmp_path, model.url)

    assert runner.process.returncode == 0
    assert [line.seq for line in runner.lines] == list(range(1, len(runner.lines) + 1))
    assert {line.attempt for line in runner.lines} == {ATTEMPT}
    kinds = [(message["type"], message.get("subtype")) for message in runner.messages]
    assert kinds == [
        ("agentjob", "start"),
        ("system", "init"),
        ("assistant", None),
        ("result", "success"),
        ("agentjob", "outcome"),
    ]
    start = runner.messages[0]
    assert (start["job"], start["attempt"]) == ("fix", ATTEMPT)
    assert start["versions"]["claude-code"] == runner.messages[1]["claude_code_version"]


async def test_the_outcome_is_the_termination_message_and_the_last_line(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt=HELLO), tmp_path, model.url)

    found = runner.outcome
    assert from_line(runner.lines[-1].message) == found
    assert (found.reason, found.message, found.stopped) == (Reason.COMPLETED, "", False)
    assert (found.text, found.num_turns, found.stop_reason) == ("Hello from the scripted model.", 1, "end_turn")
    assert found.session_id == runner.messages[1]["session_id"]
    assert found.last_seq == len(runner.lines)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (10, 8)
    assert found.usage.by_model["claude-opus-5-5"].cost_usd == found.cost_usd == "0.0031"


async def test_an_agent_mends_a_project(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt="Please fix the failing test.", files=BROKEN_PROJECT), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    assert "price - price * percent / 100" in (runner.workspace / "prices.py").read_text()


def shape(value: Any) -> Any:
    """A message without its values: the keys, in their order."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


async def test_messages_have_the_shape_and_order_that_the_cli_gives_them(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt=HELLO), tmp_path, model.url)
    claude = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
    alone = await asyncio.create_subprocess_exec(
        *(claude, "-p", HELLO, "--output-format", "stream-json", "--verbose", "--permission-mode", "bypassPermissions"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=runner.workspace,
        env={**environment(tmp_path, model.url), "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
    )
    printed, _ = await alone.communicate()

    assert [shape(message) for message in runner.messages[1:-1]] == [
        shape(json.loads(line)) for line in printed.splitlines()
    ]


async def test_a_message_of_five_megabytes_is_cut_and_the_result_told(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt="[script: big-message 5]"), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    assert max(len(raw) for raw in runner.raw) <= MAX_LINE
    assert [message["type"] for message in runner.messages].count("result") == 1
    assert [line.truncated for line in runner.lines] == [False, False, True, True, False]
    assert len((tmp_path / "termination-log").read_bytes()) <= MAX_TERMINATION_BYTES
    last = from_line(runner.lines[-1].message)
    assert last is not None
    assert len(last.text or "") > 100_000
    assert last.truncated
    assert (last.text or "").startswith(runner.outcome.text or "?")


async def test_a_tool_call_of_five_megabytes_does_not_break_the_stream(model: ScriptedModel, tmp_path: Path) -> None:
    prompt = f"[script: big-argument {tmp_path}/workspace/big.txt 5]"

    runner = await ran(Job(prompt=prompt), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    assert (runner.workspace / "big.txt").stat().st_size > 4_900_000


async def test_bytes_that_are_no_utf8_go_through(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt="[script: invalid-utf8]"), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    for raw in runner.raw:
        raw.decode("utf-8")


async def test_two_results_are_read_to_the_end(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt="[script: subagent]"), tmp_path, model.url)

    assert [message["type"] for message in runner.messages].count("result") == 2
    assert runner.outcome.text == "The subagent has reported."
    assert runner.outcome.usage.input_tokens == 40, "three requests of the agent and one of the subagent, 10 each"


async def test_the_project_of_the_workspace_is_loaded(model: ScriptedModel, tmp_path: Path) -> None:
    mcp_json = json.dumps({"mcpServers": {"theirs": {"type": "http", "url": "http://127.0.0.1:1/mcp"}}})
    files = {"CLAUDE.md": "MARK-OF-THE-PROJECT " + "x" * 150_000, ".mcp.json": mcp_json}
    ours = {"ours": {"type": "http", "url": "http://127.0.0.1:1/mcp"}}

    runner = await ran(
        Job(prompt=HELLO, files=files, agent={"appendSystemPrompt": "MARK-OF-THE-JOB", "mcpServers": ours}),
        tmp_path,
        model.url,
    )

    system = json.dumps(model.requests[0].body["system"])
    assert system.index("You are Claude Code") < system.index("MARK-OF-THE-PROJECT") < system.index("MARK-OF-THE-JOB")
    init = runner.messages[1]
    assert {server["name"]: server["status"] for server in init["mcp_servers"]} == {
        "theirs": "failed",
        "ours": "failed",
    }
    assert runner.outcome.reason is Reason.COMPLETED
    assert runner.notices("warning") == []


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        pytest.param({".mcp.json": "{ not json"}, ".mcp.json: not JSON", id="a broken .mcp.json"),
        pytest.param(
            {".mcp.json": '{"mcpServers": {"db": 42, "web": {"type": "carrier-pigeon"}}}'},
            "did not take these MCP servers, check them: db, web",
            id="servers that are none",
        ),
        pytest.param({"CLAUDE.md": "x" * 60_000, ".mcp.json": "[]"}, ".mcp.json: must be an object", id="a list"),
    ],
)
async def test_a_broken_project_is_a_warning(
    model: ScriptedModel, tmp_path: Path, files: dict[str, str], warning: str
) -> None:
    runner = await ran(Job(prompt=HELLO, files=files), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED
    [notice] = runner.notices("warning")
    assert warning in notice["text"]


async def test_secrets_reach_the_server_they_are_for_and_not_the_agents_commands(
    model: ScriptedModel, tmp_path: Path
) -> None:
    ref = {"name": "tokens", "key": "k"}
    server = {"type": "http", "url": f"{model.url}/mcp", "headersFrom": [{"name": "X-Key", "secretKeyRef": ref}]}
    environment = {
        "AGENTJOB_MCP_0_0": "s3cret",
        "AGENTJOB_PROMPT": "[script: read-env]",
        "NODE_OPTIONS": "--inspect",
        "VSCODE_INSPECTOR_OPTIONS": "{}",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "MINE": "kept",
    }
    async with scripted_model.running() as unguarded:  # asking it for /mcp is a violation, and that is on purpose here
        server["url"] = f"{unguarded.url}/mcp"
        runner = await ran(Job(agent={"mcpServers": {"it": server}}, environment=environment), tmp_path, unguarded.url)
        tried = [record for record in unguarded.records if record.path == "/mcp"]

    assert tried
    assert "x-key" in tried[0].headers
    said = runner.outcome.text or ""
    assert "MINE=kept" in said
    gone = {*environment} - {"MINE"}
    assert not [name for name in gone if f"{name}=" in said]
    assert b"s3cret" not in b"".join(runner.raw)
    assert not list((tmp_path / "tmp").glob("agentjob-*")), "the file with the secret is gone"


@pytest.mark.parametrize(
    ("job", "reason", "words"),
    [
        pytest.param(Job(), Reason.INVALID_SPEC, "the prompt is empty", id="no prompt"),
        pytest.param(
            Job(environment={"AGENTJOB_PROMPT": " \n"}), Reason.INVALID_SPEC, "the prompt is empty", id="a blank one"
        ),
        pytest.param(
            Job(prompt=HELLO, files={"a": "x", "a/b": "y"}),
            Reason.WORKSPACE_ERROR,
            "spec.workspace.files: cannot write 'a/b'",
            id="files that exclude each other",
        ),
    ],
)
async def test_an_attempt_that_cannot_begin_says_why(
    model: ScriptedModel, tmp_path: Path, job: Job, reason: Reason, words: str
) -> None:
    runner = await ran(job, tmp_path, model.url)

    assert runner.process.returncode == 1
    assert runner.outcome.reason is reason
    assert words in runner.outcome.message
    assert [message["subtype"] for message in runner.messages] == ["start", "outcome"]
    assert model.requests == []


async def test_a_workspace_cannot_take_the_runner_over(model: ScriptedModel, tmp_path: Path) -> None:
    trap = "raise SystemExit('taken over')\n"
    (tmp_path / "workspace").mkdir()
    for name in ("json.py", "agentjob_runner.py", "claude_agent_sdk.py", "sitecustomize.py"):
        (tmp_path / "workspace" / name).write_text(trap)

    runner = await ran(Job(prompt=HELLO, environment={"PYTHONPATH": str(tmp_path / "workspace")}), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED


async def test_a_handover_that_is_missing_is_told(tmp_path: Path) -> None:
    runner = await ran(Job(prompt=HELLO), tmp_path, NO_MODEL, "--handover", "/nowhere/handover.json")

    assert runner.process.returncode == 1
    assert "/nowhere/handover.json" in runner.outcome.message
    assert runner.raw == []


async def test_outside_of_a_pod_nobody_reads_a_termination_message(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt=HELLO), tmp_path, model.url, "--termination-log", "/nowhere/termination-log")

    assert runner.process.returncode == 0
    assert runner.messages[-1]["outcome"]["reason"] == "Completed"
    assert b"no termination message: /nowhere/termination-log: No such file or directory" in runner.errors


async def test_a_reader_that_goes_away_does_not_take_the_outcome_along(model: ScriptedModel, tmp_path: Path) -> None:
    async with started(Job(prompt="[script: many-turns 3]"), tmp_path, model.url) as runner:
        await runner.until('"start"')
        runner.hang_up()
        await runner.process.wait()

    assert runner.process.returncode == 1
    assert (runner.outcome.reason, "BrokenPipeError" in runner.outcome.message) == (Reason.AGENT_ERROR, True)


async def test_the_home_directory_and_the_root_need_not_be_writable(model: ScriptedModel, tmp_path: Path) -> None:
    runner = await ran(Job(prompt=HELLO, environment={"HOME": "/proc"}), tmp_path, model.url)

    assert runner.outcome.reason is Reason.COMPLETED


async def test_partial_messages_are_lines_of_their_own(model: ScriptedModel, tmp_path: Path) -> None:
    job: dict[str, Any] = {"includePartialMessages": True}

    runner = await ran(Job(prompt="[script: think-then-answer]", agent=job), tmp_path, model.url)

    deltas = [m["event"]["delta"] for m in runner.messages if m.get("event", {}).get("type") == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == "The answer is 42."
