"""The tools that MCP clients are offered: what they take, and what is said about a job. Pure."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import orjson
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentjob_api import names
from agentjob_api.notices import TYPE, Notice
from agentjob_api.phases import Phase
from agentjob_api.spec import MAX_PROMPT
from agentjob_gateway import answers
from agentjob_gateway.caller import Verb
from agentjob_gateway.errors import BadRequest

Object = dict[str, Any]

MAX_WAIT: Final = 50
"""Seconds that one look at a job may wait: less than the minute after which many clients give a call up."""
MAX_SAID: Final = 120
"""Characters of the agent's words in a line of progress."""


class Arguments(BaseModel):
    """What a tool is called with."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Prompted(Arguments):
    """What makes a job."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    """The task in full. The agent sees nothing of this conversation: say what to do, with what, and what to answer."""


class Run(Prompted):
    """Of run_claude_agent."""


class Submit(Prompted):
    """Of submit_claude_agent."""

    spec: Object = {}
    """More of the AgentJob's spec, such as {"agent": {"model": "opus"}, "activeDeadlineSeconds": 3600}."""


class Named(Arguments):
    """What names a job."""

    job_id: Annotated[str, Field(min_length=1, max_length=names.MAX_JOB_NAME, pattern=f"^{names.JOB_NAME}$")]
    """The job, as submit_claude_agent has named it."""


class Get(Named):
    """Of get_claude_agent_job."""

    wait_seconds: Annotated[float, Field(ge=0, le=MAX_WAIT)] = 0
    """How long to wait for the job's end before it is told as it stands."""


class Cancel(Named):
    """Of cancel_claude_agent_job."""


Asked = Run | Submit | Get | Cancel
ARGUMENTS: Final[Mapping[str, type[Asked]]] = {
    "run_claude_agent": Run,
    "submit_claude_agent": Submit,
    "get_claude_agent_job": Get,
    "cancel_claude_agent_job": Cancel,
}
CHANGES: Final[Mapping[type[Asked], Verb]] = {Run: Verb.SUBMIT, Submit: Verb.SUBMIT, Cancel: Verb.CANCEL}
"""The tools that change something."""


def _tool(name: str, title: str, description: str, annotations: ToolAnnotations) -> Tool:
    schema = ARGUMENTS[name].model_json_schema()
    fields = {field: {**about} for field, about in schema["properties"].items()}
    for about in fields.values():
        del about["title"]  # pydantic's: the field's own name once more
    schema = {"type": "object", "properties": fields, "required": schema["required"], "additionalProperties": False}
    return Tool(name=name, title=title, description=description, input_schema=schema, annotations=annotations)


TOOLS: Final[Sequence[Tool]] = (
    _tool(
        "run_claude_agent",
        "Run a Claude agent",
        "Hands a task to a Claude agent that works on its own in a fresh sandbox in the cluster, with a shell and"
        " files, and waits until it is done, which takes from seconds to hours. Answers with the agent's final words,"
        " the tokens and the dollars it took. Use it for one task whose outcome you need now; for a long task, or"
        " several at once, use submit_claude_agent.",
        ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True),
    ),
    _tool(
        "submit_claude_agent",
        "Start a Claude agent",
        "Hands a task to a Claude agent as run_claude_agent does, and answers at once with a job_id while the agent"
        " works. Ask how it goes with get_claude_agent_job.",
        ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True),
    ),
    _tool(
        "get_claude_agent_job",
        "Ask about a Claude agent's job",
        "Says where a job stands (pending, in_progress, completed or failed) and, when it has ended, the agent's final"
        " words or why there are none. With wait_seconds it waits for the end first: better than asking again and"
        " again.",
        ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
    _tool(
        "cancel_claude_agent_job",
        "Stop a Claude agent",
        "Stops a job's agent within seconds. What it has done outside its sandbox stays done. A job that has ended"
        " stays as it is.",
        ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False),
    ),
)


def arguments(tool: str, given: Mapping[str, Any] | None) -> Asked:
    """What a tool is called with, checked.

    Raises:
        MCPError: there is no such tool.
        BadRequest: the tool cannot be called so.
    """
    if (kind := ARGUMENTS.get(tool)) is None:
        raise MCPError(INVALID_PARAMS, f"there is no tool {tool[:60]!r}; there are {', '.join(ARGUMENTS)}")
    try:
        return kind.model_validate(given or {})
    except ValidationError as error:
        # Without the values: a prompt may be among them.
        found = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        raise BadRequest("; ".join(found)) from None


def spec(asked: Prompted) -> Object:
    """The spec of the job that is asked for.

    Raises:
        BadRequest: it has two prompts.
    """
    more = asked.spec if isinstance(asked, Submit) else {}
    if "prompt" in more:
        raise BadRequest("spec.prompt: the prompt is an argument of its own; leave it out of spec")
    return {**more, "prompt": asked.prompt}


def told(data: Object) -> CallToolResult:
    """An answer in data: as JSON in text, and as it is."""
    return CallToolResult(content=[TextContent(type="text", text=orjson.dumps(data).decode())], structured_content=data)


def failed(why: str) -> CallToolResult:
    """No answer, for a reason that the model may act on."""
    return CallToolResult(content=[TextContent(type="text", text=why)], is_error=True)


def outcome(job: Object) -> CallToolResult:
    """What has come of a job that has ended."""
    found, standing = answers.result(job), answers.phase(job)
    if found is None or standing is not Phase.SUCCEEDED:
        name = job["metadata"]["name"]
        return failed(answers.failure(job) or f"job {name} is {standing.lower()} and has left no answer")
    return told({"result": found["output"], "usage": found["usage"], "cost_usd": found["cost_usd"]})


def word(session: str, request: str | int) -> str:
    """What the job of a client's request is called, wherever and however often the request comes in."""
    return f"mcp:{session}:{request}"


def said(message: bytes) -> str | None:
    """A message of an agent's stream as a line for a person who waits; None when it says nothing to them."""
    try:
        found = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    match found:
        case {"type": "assistant", "message": {"content": [*blocks]}}:
            return next((text for text in map(_said, reversed(blocks)) if text is not None), None)
        case {"type": kind, "subtype": Notice.START} if kind == TYPE:
            return "Running"
        case {"type": kind, "subtype": Notice.STOPPING} if kind == TYPE:
            return "Stopping"
        case {"type": "result"}:
            return "The agent has answered"
        case _:
            return None


def _said(block: object) -> str | None:
    match block:
        case {"type": "text", "text": str(text)} if words := " ".join(text.split()):
            return f"assistant: {words[:MAX_SAID]}"
        case {"type": "tool_use", "name": str(name)}:
            return f"tool: {name[:MAX_SAID]}"
        case _:
            return None
