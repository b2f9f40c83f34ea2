"""What a person sees of an agent at work."""

import pytest

from deploy.transcript import RESULT_LINES, Message, Transcript

PLAIN = Transcript(width=60, coloured=False)


def assistant(*blocks: Message) -> Message:
    return {"type": "assistant", "message": {"content": list(blocks)}}


def tool_result(content: object, **more: object) -> Message:
    return {"type": "user", "message": {"content": [{"type": "tool_result", "content": content, **more}]}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            {"type": "system", "subtype": "init", "model": "m-1", "tools": ["Bash", "Read"]},
            ["  model m-1, 2 tools"],
            id="the start names the model",
        ),
        pytest.param(assistant({"type": "text", "text": "Two words."}), ["● Two words."], id="text is shown as it is"),
        pytest.param(
            assistant({"type": "text", "text": "word " * 15}),
            ["● " + "word " * 10 + "word", "  word word word word"],
            id="long text is wrapped and set in",
        ),
        pytest.param(assistant({"type": "thinking", "thinking": "Hm."}), ["· Hm."], id="thoughts are shown, too"),
        pytest.param(
            assistant({"type": "tool_use", "name": "Bash", "input": {"command": "ls\n-l", "description": "x"}}),
            ["→ Bash ls -l"],
            id="a command is shown on one line",
        ),
        pytest.param(
            assistant({"type": "tool_use", "name": "mcp__a__b", "input": {"n": 1}}),
            ["→ mcp__a__b n=1"],
            id="an unknown tool shows its arguments",
        ),
        pytest.param(tool_result("one\ntwo"), ["  │ one", "  │ two"], id="what a tool gave back is set in"),
        pytest.param(
            tool_result([{"type": "text", "text": "one"}, {"type": "image"}]),
            ["  │ one", "  │ [image]"],
            id="blocks that are no text are named",
        ),
        pytest.param(tool_result("x" * 100), ["  │ " + "x" * 55 + "…"], id="a long line is cut"),
        pytest.param(
            tool_result("\n".join("abcdefghij")),
            [f"  │ {c}" for c in "abcdefgh"] + [f"  │ … {10 - RESULT_LINES} more lines"],
            id="many lines are counted",
        ),
        pytest.param(
            {"type": "system", "subtype": "api_retry", "error_status": 529, "retry_delay_ms": 2000},
            ["  the model's endpoint refused (529), again in 2 s"],
            id="a retry says when",
        ),
        pytest.param(
            {"type": "agentjob", "subtype": "warning", "text": "no .mcp.json"},
            ["! no .mcp.json"],
            id="a warning stands out",
        ),
        pytest.param({"type": "agentjob", "subtype": "start"}, [], id="the start notice is for programs"),
        pytest.param({"type": "stream_event"}, [], id="partial messages are for programs"),
    ],
)
def test_a_message_is_shown(message: Message, expected: list[str]) -> None:
    assert list(PLAIN.lines(message)) == expected


def test_a_failed_tool_is_red_on_a_terminal() -> None:
    (line,) = Transcript(width=60, coloured=True).lines(tool_result("no such file", is_error=True))

    assert line == "\033[31m  │ no such file\033[0m"
