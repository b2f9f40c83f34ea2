"""What the MCP door's tools take, and what they say."""

import asyncio
from typing import Any

import orjson
import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent

from agent_jobs import ENDED, FAILED, agent_job
from agentjob_api.spec import MAX_PROMPT, AgentJobSpec
from agentjob_gateway import mcp_tools
from agentjob_gateway.errors import BadRequest
from agentjob_gateway.mcp_calls import News
from agentjob_gateway.mcp_tools import Cancel, Get, Run, Submit

Object = dict[str, Any]


def assistant(*blocks: Object) -> Object:
    return {"type": "assistant", "message": {"role": "assistant", "content": list(blocks)}}


def words(text: str) -> Object:
    return {"type": "text", "text": text}


TOOL = {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        pytest.param(assistant(words("I look.")), "assistant: I look.", id="the agent's words"),
        pytest.param(assistant(words("a\n\n  b\tc ")), "assistant: a b c", id="in one line"),
        pytest.param(assistant(words("x" * 200)), f"assistant: {'x' * 120}", id="the first of many"),
        pytest.param(assistant(words(" \n")), None, id="words that say nothing"),
        pytest.param(assistant(TOOL), "tool: Bash", id="a tool"),
        pytest.param(assistant(words("I look."), TOOL), "tool: Bash", id="words and a tool: what comes last"),
        pytest.param(assistant(TOOL, {"type": "thinking"}), "tool: Bash", id="a tool and a thought"),
        pytest.param(assistant({"type": "thinking", "thinking": "Hm."}), None, id="a thought"),
        pytest.param(assistant(), None, id="no blocks"),
        pytest.param({"type": "assistant", "message": {"content": "text"}}, None, id="a message of another shape"),
        pytest.param({"type": "user", "message": {"content": [words("hi")]}}, None, id="what a tool has answered"),
        pytest.param({"type": "result", "subtype": "success"}, "The agent has answered", id="the result"),
        pytest.param({"type": "agentjob", "subtype": "start"}, "Running", id="the attempt's start"),
        pytest.param({"type": "agentjob", "subtype": "stopping"}, "Stopping", id="the agent is interrupted"),
        pytest.param({"type": "agentjob", "subtype": "outcome"}, None, id="another notice"),
        pytest.param({"type": "system", "subtype": "start"}, None, id="a start that is another's"),
        pytest.param([], None, id="no object"),
    ],
)
def test_a_message_of_the_agents_is_one_line_or_none(message: object, line: str | None) -> None:
    assert mcp_tools.said(orjson.dumps(message)) == line


def test_a_message_that_is_no_json_says_nothing() -> None:
    assert mcp_tools.said(b'{"type":"assistant",}') is None


@pytest.mark.parametrize(
    ("tool", "given", "asked"),
    [
        pytest.param("run_claude_agent", {"prompt": "x"}, Run(prompt="x"), id="run"),
        pytest.param("submit_claude_agent", {"prompt": "x"}, Submit(prompt="x"), id="submit"),
        pytest.param(
            "submit_claude_agent", {"prompt": "x", "spec": {"a": 1}}, Submit(prompt="x", spec={"a": 1}), id="more of it"
        ),
        pytest.param("get_claude_agent_job", {"job_id": "a-1"}, Get(job_id="a-1"), id="get"),
        pytest.param(
            "get_claude_agent_job",
            {"job_id": "a", "wait_seconds": 50},
            Get(job_id="a", wait_seconds=50),
            id="get, and wait",
        ),
        pytest.param("cancel_claude_agent_job", {"job_id": "a.b"}, Cancel(job_id="a.b"), id="cancel"),
    ],
)
def test_what_a_tool_takes(tool: str, given: Object, asked: mcp_tools.Asked) -> None:
    assert mcp_tools.arguments(tool, given) == asked


@pytest.mark.parametrize(
    ("tool", "given", "says"),
    [
        pytest.param("run_claude_agent", None, "prompt: Field required", id="nothing"),
        pytest.param("run_claude_agent", {"prompt": ""}, "at least 1 character", id="an empty prompt"),
        pytest.param("run_claude_agent", {"prompt": "x" * (MAX_PROMPT + 1)}, "at most 131072", id="a long prompt"),
        pytest.param("run_claude_agent", {"prompt": 7}, "valid string", id="a prompt that is a number"),
        pytest.param("run_claude_agent", {"prompt": "x", "spec": {}}, "spec: Extra inputs", id="an unknown argument"),
        pytest.param("submit_claude_agent", {"prompt": "x", "spec": []}, "spec: Input should", id="spec in a list"),
        pytest.param("get_claude_agent_job", {"job_id": "../x"}, "job_id: String should match", id="a path"),
        pytest.param("get_claude_agent_job", {"job_id": "a" * 58}, "at most 57", id="a name that no job has"),
        pytest.param("get_claude_agent_job", {"job_id": "a", "wait_seconds": 51}, "less than", id="a long wait"),
        pytest.param("get_claude_agent_job", {"job_id": "a", "wait_seconds": -1}, "greater than", id="a wait back"),
    ],
)
def test_what_a_tool_does_not_take_is_named_and_not_repeated(tool: str, given: Object | None, says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        mcp_tools.arguments(tool, given)
    assert says in refused.value.detail
    assert len(refused.value.detail) < 200


def test_a_tool_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(MCPError, match="there is no tool 'rm'; there are run_claude_agent, "):
        mcp_tools.arguments("rm", {})


def test_every_tool_says_what_it_is_for() -> None:
    assert [tool.name for tool in mcp_tools.TOOLS] == list(mcp_tools.ARGUMENTS)
    for tool in mcp_tools.TOOLS:
        assert tool.description
        assert tool.annotations is not None
        assert all(field["description"] for field in tool.input_schema["properties"].values())
        assert tool.input_schema["additionalProperties"] is False


def test_the_example_in_a_description_is_a_spec() -> None:
    [submit] = [tool for tool in mcp_tools.TOOLS if tool.name == "submit_claude_agent"]
    about = submit.input_schema["properties"]["spec"]["description"]
    example = orjson.loads(about[about.index("{") : about.rindex("}") + 1])
    AgentJobSpec.model_validate({"prompt": "x", **example})


@pytest.mark.parametrize(
    ("asked", "spec"),
    [
        pytest.param(Run(prompt="x"), {"prompt": "x"}, id="run"),
        pytest.param(
            Submit(prompt="x", spec={"suspend": True}), {"prompt": "x", "suspend": True}, id="submit, with more"
        ),
    ],
)
def test_a_job_is_as_it_was_asked_for(asked: Run | Submit, spec: Object) -> None:
    assert mcp_tools.spec(asked) == spec


def test_a_job_has_one_prompt() -> None:
    with pytest.raises(BadRequest, match=r"spec\.prompt"):
        mcp_tools.spec(Submit(prompt="x", spec={"prompt": "y"}))


@pytest.mark.parametrize(
    ("status", "says", "is_error"),
    [
        pytest.param(ENDED, '{"result":"Mended.","usage":{"input_tokens":7', False, id="an answer"),
        pytest.param(FAILED, "Reached maximum number of turns (3).", True, id="a failure"),
        pytest.param(FAILED | {"result": {"text": "x"}}, "Reached maximum number", True, id="a failure in the middle"),
        pytest.param({"phase": "Succeeded"}, "job fix is succeeded and has left no answer", True, id="no answer"),
        pytest.param({"phase": "Cancelled"}, "job fix is cancelled and has left no answer", True, id="no reason"),
    ],
)
def test_what_has_come_of_a_job(status: Object, says: str, is_error: bool) -> None:
    found = mcp_tools.outcome(agent_job(status=status))

    [block] = found.content
    assert isinstance(block, TextContent)
    assert block.text.startswith(says)
    assert found.is_error is is_error
    assert found.structured_content == (None if is_error else orjson.loads(block.text))


def test_a_request_is_called_the_same_whether_its_id_is_a_number_or_its_digits() -> None:
    assert mcp_tools.word("s", 7) == mcp_tools.word("s", "7") != mcp_tools.word("s", 8)


async def test_only_the_latest_word_is_told_and_only_once() -> None:
    news = News("Pending")
    news.put("Running")
    news.put("tool: Bash")
    assert await news.take(10.0) == "tool: Bash"
    assert await news.take(0.0) is None


async def test_a_word_is_told_when_it_comes() -> None:
    news = News("Pending")
    await news.take(10.0)
    async with asyncio.TaskGroup() as tasks:
        taken = tasks.create_task(news.take(10.0))
        await asyncio.sleep(0)
        news.put("Running")
    assert taken.result() == "Running"
