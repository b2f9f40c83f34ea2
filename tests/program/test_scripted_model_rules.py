"""The scripted model takes what the real API takes, and says what is wrong with the rest."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from scripted_model.judge import ViolationError, judge
from scripted_model.plots import PLOTS
from scripted_model.replay import tool_id
from scripted_model.replies import thinking

SESSION = "8434f419-b456-41a1-9768-44e97ff53b8f"
PROMPT = "[script: many-turns 3]"
CALL = tool_id(PROMPT, 0, 0)

Body = dict[str, Any]
Change = Callable[[Body], object]


def headers(**changed: str) -> dict[str, str]:
    usual = {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "context-management-2025-06-27,advanced-tool-use-2025-11-20",
        "x-api-key": "k",
        "x-claude-code-session-id": SESSION,
    }
    merged = usual | {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in merged.items() if value}


def body() -> Body:
    """A request in order, as Claude Code sends it after the first tool call of a conversation."""
    return {
        "model": "claude-opus-5-5",
        "max_tokens": 32_000,
        "stream": True,
        "metadata": {"user_id": json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION})},
        "system": [{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "Bash", "description": "Run.", "input_schema": {"type": "object", "properties": {}}}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
            {"role": "system", "content": "# Environment"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Turn 1."},
                    {"type": "tool_use", "id": CALL, "name": "Bash", "input": {"command": "echo turn 1 of 3"}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": CALL, "content": "turn 1 of 3"}]},
        ],
    }


def refused(raw: bytes, **changed: str) -> ViolationError:
    with pytest.raises(ViolationError) as error:
        judge(headers(**changed), raw, PLOTS)
    return error.value


def test_a_request_as_claude_code_sends_it_is_taken() -> None:
    case = judge(headers(), json.dumps(body()).encode(), PLOTS)
    assert (case.scene.script, case.scene.turn, case.request.stream) == ("many-turns", 1, True)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"x_api_key": "", "authorization": "Bearer t"}, id="a token instead of a key"),
        pytest.param({"authorization": "Bearer t"}, id="a token beside a key"),
        pytest.param({"content_type": "application/json; charset=utf-8"}, id="a charset"),
    ],
)
def test_headers_that_are_in_order(changed: dict[str, str]) -> None:
    assert judge(headers(**changed), json.dumps(body()).encode(), PLOTS).scene.turn == 1


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        pytest.param({"x_api_key": ""}, 401, "found neither", id="no credentials"),
        pytest.param({"x_api_key": "", "authorization": "Bearer "}, 401, "found neither", id="an empty token"),
        pytest.param({"x_api_key": "", "authorization": "Basic eDp5"}, 401, "found neither", id="another scheme"),
        pytest.param({"anthropic_version": ""}, 400, "expected 2023-06-01, found None", id="no version"),
        pytest.param({"content_type": "text/plain"}, 400, "content-type: expected application/json", id="not JSON"),
        pytest.param({"anthropic_beta": "other-1"}, 400, "context_management: needs the beta", id="no beta"),
        pytest.param(
            {"x_claude_code_session_id": "another"},
            400,
            "not that of the header x-claude-code-session-id",
            id="two sessions",
        ),
    ],
)
def test_headers_that_are_refused(changed: dict[str, str], status: int, words: str) -> None:
    violation = refused(json.dumps(body()).encode(), **changed)
    assert violation.status == status
    assert words in violation.message


def put(path: str, value: object) -> Change:
    """A change that sets the value at a dotted path; a number is an index."""

    def change(request: Body) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = request
        for part in way:
            place = place[part]
        place[last] = value

    return change


def drop(path: str) -> Change:
    """A change that removes a field at the top."""
    return lambda request: request.pop(path)


def say(*messages: Body) -> Change:
    """A change that adds turns."""
    return lambda request: request["messages"].extend(messages)


def result(identity: str, **more: object) -> Body:
    return {"type": "tool_result", "tool_use_id": identity, **more}


def user(*content: Body) -> Body:
    return {"role": "user", "content": list(content)}


WORDS = {"type": "text", "text": "Hello."}
USER_ID = "metadata.user_id"
TOOL = {"name": "Bash", "input_schema": {"type": "object"}}

REFUSED = {
    "no model": (drop("model"), "model: Field required"),
    "an empty model": (put("model", ""), "model: String should have at least 1 character"),
    "no max_tokens": (drop("max_tokens"), "max_tokens: Field required"),
    "max_tokens of 0": (put("max_tokens", 0), "max_tokens: Input should be greater than or equal to 1"),
    "max_tokens as text": (put("max_tokens", "10"), "max_tokens: Input should be a valid integer"),
    "an unknown field": (put("surprise", 1), "surprise: Extra inputs are not permitted"),
    "no messages": (put("messages", []), "messages: List should have at least 1 item"),
    "an unknown role": (put("messages.0.role", "tool"), "messages.0.role: Input should be 'user'"),
    "an unknown field of a message": (put("messages.0.name", "x"), "messages.0.name: Extra inputs"),
    "an empty message": (put("messages.0.content", ""), "messages.0.content: String should have"),
    "a message without blocks": (put("messages.0.content", []), "messages.0.content: List should have"),
    "an empty text": (put("messages.0.content.0.text", ""), "messages.0.content.0.text.text: String"),
    "an unknown block": (put("messages.0.content.0.type", "html"), "tag 'html'"),
    "an unknown field of a block": (put("messages.0.content.0.lang", "en"), "0.text.lang: Extra inputs"),
    "a tool without schema": (put("tools.0.input_schema", {}), "input_schema.type of Bash must be 'object'"),
    "a tool with a bad name": (put("tools.0.name", "no name"), "tools.0.name: String should match"),
    "a tool twice": (put("tools", [TOOL, TOOL]), "tools: Bash is defined twice"),
    "a call of a tool that there is not": (put("tools", []), f"{CALL} is a call of Bash that did not fail"),
    "the choice of no tool": (put("tool_choice", {"type": "tool", "name": "X"}), "X is not in tools"),
    "metadata without user": (put("metadata", {}), "metadata.user_id: Field required"),
    "a user that is not JSON": (put(USER_ID, "me"), "user_id must be a JSON object"),
    "a session that is no UUID": (put(USER_ID, '{"device_id":"d","session_id":"1"}'), "session_id (a UUID)"),
    "a user without a device": (put(USER_ID, json.dumps({"session_id": SESSION})), "device_id"),
    "too little thinking": (put("thinking", {"type": "enabled", "budget_tokens": 10}), "or equal to 1024"),
    "too much thinking": (
        put("thinking", {"type": "enabled", "budget_tokens": 32_000}),
        "must be less than max_tokens",
    ),
    "a new display": (put("thinking", {"type": "adaptive", "display": "updates"}), "the beta thinking-display"),
    "effort of one turn": (put("messages.1.output_config", {"effort": "low"}), "the beta per-turn-control"),
    "effort of a user's turn": (put("messages.0.output_config", {"effort": "low"}), "only a system turn"),
    "begun by the assistant": (put("messages.0.role", "assistant"), "'assistant' may not follow 'nobody'"),
    "two turns of the user": (put("messages.1.role", "user"), "'user' may not follow 'user'"),
    "a prefilled answer": (say({"role": "assistant", "content": "I"}), "the last turn must be the user's"),
    "a call without a result": (put("messages.3.content", [WORDS]), f"without tool_result: {CALL}"),
    "two results of one call": (put("messages.3.content", [result(CALL), result(CALL)]), f"2 tool_results for {CALL}"),
    "a result of no call": (
        put("messages.3.content", [result(CALL), result("toolu_x")]),
        "tool_result for toolu_x, which the turn before did not call",
    ),
    "words before a result": (put("messages.3.content", [WORDS, result(CALL)]), "tool_results must come before"),
    "a result once more": (
        say({"role": "assistant", "content": "Turn 2."}, user(result(CALL))),
        f"messages.5: tool_result for {CALL}, which the turn before did not call",
    ),
    "two calls of one id": (
        lambda request: request["messages"].extend(request["messages"][2:4]),
        f"tool_use id {CALL} is used twice",
    ),
    "a result in number": (put("messages.3.content.0.content", 7), "messages.3.content.0.tool_result.content"),
    "a reference to no tool": (
        put("messages.3.content.0.content", [{"type": "tool_reference", "tool_name": "X"}]),
        "tool_reference to X, which tools does not define",
    ),
    "thinking that was altered": (
        put("messages.2.content.0", {"type": "thinking", "thinking": "Hm!", "signature": thinking("Hm.").signature}),
        "messages.2.content.0.signature: the thinking is not what the model said",
    ),
    "thinking of the user": (
        put("messages.0.content.0", {"type": "thinking", "thinking": "Hm.", "signature": "s"}),
        "a thinking block may not stand in a turn of 'user'",
    ),
    "the model's result": (put("messages.2.content.0", result(CALL)), "may not stand in a turn of 'assistant'"),
    "too many cache marks": (
        put("system", [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5),
        "cache_control: 5 marks, at most 4",
    ),
    "another history": (put("messages.2.content.0.text", "Turn 9."), "not what script many-turns said"),
}
"""What is wrong: the change that makes it so, and words of the refusal."""


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_bodies_that_are_refused(change: Change, words: str) -> None:
    request = body()
    change(request)
    violation = refused(json.dumps(request).encode())
    assert (violation.status, violation.kind) == (400, "invalid_request_error")
    assert words in violation.message


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[1", id="half of something"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"model": "\xff"}', id="bytes that are not UTF-8"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    assert refused(raw).message.startswith("body: ")


def test_a_failed_call_may_be_of_a_tool_that_there_is_not() -> None:
    request = body()
    request["tools"] = [TOOL | {"name": "Read"}]
    request["messages"][3]["content"] = [result(CALL, content="No such tool available", is_error=True)]
    assert judge(headers(), json.dumps(request).encode(), PLOTS).scene.turn == 1


def test_a_refusal_never_repeats_what_was_said() -> None:
    request = body()
    request["messages"][0]["content"][0]["text"] = ["my secret"]
    assert "secret" not in refused(json.dumps(request).encode()).message
