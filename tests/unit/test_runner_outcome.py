"""How an attempt ended decides its outcome: one table for the reason, others for what it carries."""

from typing import Any

import pytest

from agentjob_api.outcome import MAX_TERMINATION_BYTES
from agentjob_api.reasons import Reason
from agentjob_api.status import ModelUsage, Usage
from agentjob_runner.ending import Ending, Exit
from agentjob_runner.outcome import outcome

EXITED = Exit(code=0)
FAILED = Exit(code=1)
KILLED = Exit(code=-9)
FORCED = Exit(words="it had to be ended by force")


def answered(text: str = "Done.", **fields: Any) -> dict[str, Any]:
    """A result of a turn that went well, or what `fields` make of it."""
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "api_error_status": None,
        "terminal_reason": "completed",
        "stop_reason": "end_turn",
        "num_turns": 1,
        "result": text,
        "total_cost_usd": 0.25,
    } | fields


def refused(status: int | None, text: str = "API Error", **fields: Any) -> dict[str, Any]:
    """The result after the model's API has refused: the CLI still calls its subtype success."""
    return (
        answered(
            text,
            is_error=True,
            api_error_status=status,
            terminal_reason="api_error",
            stop_reason="stop_sequence",
        )
        | fields
    )


def broken(terminal_reason: str, **fields: Any) -> dict[str, Any]:
    """A result that Claude Code itself calls an error: no text, but `errors`."""
    result = answered(is_error=True, terminal_reason=terminal_reason, errors=[f"because of {terminal_reason}"])
    return {key: value for key, value in result.items() if key != "result"} | fields


ABORTED = broken("aborted_tools", subtype="error_during_execution", errors=["[ede_diagnostic] result_type=user"])

WELL = [
    pytest.param(Ending(exit=EXITED, results=(answered(),)), Reason.COMPLETED, "", id="an answer is success"),
    pytest.param(
        Ending(exit=FAILED, results=(answered(),)), Reason.COMPLETED, "", id="the exit code alone decides nothing"
    ),
    pytest.param(
        Ending(exit=EXITED, results=(answered(result=None),)),
        Reason.COMPLETED,
        "",
        id="an answer without text is an answer",
    ),
    pytest.param(
        Ending(exit=EXITED, results=(answered(terminal_reason=None),)),
        Reason.COMPLETED,
        "",
        id="a command of Claude Code's own gives no terminal reason",
    ),
    pytest.param(
        Ending(exit=EXITED, results=(refused(500), answered("Recovered."))),
        Reason.COMPLETED,
        "",
        id="the last of several results counts: good after bad",
    ),
    pytest.param(
        Ending(exit=FORCED, stopped=True, results=(answered(),)),
        Reason.COMPLETED,
        "",
        id="stopped while only a background command ran: the answer stands",
    ),
]

API = [
    (400, Reason.INVALID_REQUEST),
    (401, Reason.AUTHENTICATION_FAILED),
    (402, Reason.BUDGET_EXCEEDED),
    (403, Reason.AUTHENTICATION_FAILED),
    (404, Reason.INVALID_REQUEST),
    (413, Reason.INVALID_REQUEST),
    (418, Reason.INVALID_REQUEST),
    (429, Reason.RATE_LIMITED),
    (500, Reason.MODEL_UNAVAILABLE),
    (502, Reason.MODEL_UNAVAILABLE),
    (503, Reason.MODEL_UNAVAILABLE),
    (529, Reason.MODEL_OVERLOADED),
]
REFUSALS = [
    pytest.param(
        Ending(exit=FAILED, results=(refused(status, "the API's words"),), error="unknown"),
        reason,
        "the API's words",
        id=f"the API said {status}",
    )
    for status, reason in API
]

KINDS = [
    ("authentication_failed", Reason.AUTHENTICATION_FAILED),
    ("billing_error", Reason.BUDGET_EXCEEDED),
    ("rate_limit", Reason.RATE_LIMITED),
    ("overloaded", Reason.MODEL_OVERLOADED),
    ("invalid_request", Reason.INVALID_REQUEST),
    ("model_not_found", Reason.INVALID_REQUEST),
    ("server_error", Reason.MODEL_UNAVAILABLE),
    ("max_output_tokens", Reason.TRUNCATED),
    ("unknown", Reason.AGENT_ERROR),
    (None, Reason.AGENT_ERROR),
]
UNANSWERED = [
    pytest.param(
        Ending(exit=FAILED, results=(refused(None, "Connection refused"),), error=kind),
        reason,
        "Connection refused",
        id=f"no answer from the API, Claude Code calls it {kind}",
    )
    for kind, reason in KINDS
]

OTHERWISE = [
    pytest.param(
        Ending(exit=FAILED, results=(broken("max_turns", subtype="error_max_turns"),)),
        Reason.MAX_TURNS,
        "because of max_turns",
        id="turns used up",
    ),
    pytest.param(
        Ending(exit=FAILED, results=(broken("budget_exhausted"),)),
        Reason.BUDGET_EXCEEDED,
        "because of budget_exhausted",
        id="Claude Code's own budget used up",
    ),
    pytest.param(
        Ending(exit=FAILED, results=(broken("prompt_too_long"),)),
        Reason.INVALID_REQUEST,
        "because of prompt_too_long",
        id="the conversation outgrew the model",
    ),
    pytest.param(
        Ending(exit=FAILED, results=(refused(None, "flagged", stop_reason="refusal"),)),
        Reason.REFUSED,
        "flagged",
        id="the model declined, as an error",
    ),
    pytest.param(
        Ending(exit=EXITED, results=(answered(stop_reason="refusal"),)),
        Reason.REFUSED,
        "the model stopped with refusal",
        id="the model declined, as an answer",
    ),
    pytest.param(
        Ending(exit=EXITED, results=(answered(stop_reason="max_tokens"),)),
        Reason.TRUNCATED,
        "the model stopped with max_tokens",
        id="the answer was cut at the output limit",
    ),
    pytest.param(
        Ending(exit=EXITED, results=(answered(terminal_reason="hook_stopped", result=None),)),
        Reason.AGENT_ERROR,
        "the agent ended with hook_stopped",
        id="a hook of the project stopped it: no error, but not completed",
    ),
    pytest.param(
        Ending(exit=FAILED, results=(answered(), refused(529, "Overloaded"))),
        Reason.MODEL_OVERLOADED,
        "Overloaded",
        id="the last of several results counts: bad after good",
    ),
    pytest.param(
        Ending(exit=FAILED, results=(broken("malformed_tool_use_exhausted", errors=[None, {}]),)),
        Reason.AGENT_ERROR,
        "the agent ended with malformed_tool_use_exhausted",
        id="an error without words is named",
    ),
]

BROKEN_OFF = [
    pytest.param(
        Ending(exit=Exit(code=1, words="cannot run as root"), finished=False),
        Reason.AGENT_ERROR,
        "Claude Code exited with 1 without a result: cannot run as root",
        id="no result, with what it said on stderr",
    ),
    pytest.param(
        Ending(exit=EXITED, finished=True),
        Reason.AGENT_ERROR,
        "Claude Code exited with 0 without a result",
        id="no result although all seemed well",
    ),
    pytest.param(
        Ending(exit=Exit(words="Failed to decode JSON"), finished=False),
        Reason.AGENT_ERROR,
        "Claude Code ended without a result: Failed to decode JSON",
        id="it could not be understood",
    ),
    pytest.param(
        Ending(exit=KILLED, finished=False),
        Reason.AGENT_ERROR,
        "Claude Code was killed by signal 9 before it had ended",
        id="somebody killed it",
    ),
    pytest.param(
        Ending(exit=KILLED, finished=False, results=(answered(),)),
        Reason.AGENT_ERROR,
        "Claude Code was killed by signal 9 before it had ended",
        id="killed in the turn after an answer",
    ),
    pytest.param(
        Ending(exit=KILLED, finished=False, out_of_memory=True),
        Reason.OUT_OF_MEMORY,
        "Claude Code was killed because the container was at its memory limit",
        id="the kernel killed it for want of memory",
    ),
    pytest.param(
        Ending(exit=FAILED, results=(refused(500, "Internal"),), out_of_memory=True),
        Reason.MODEL_UNAVAILABLE,
        "Internal",
        id="the kernel killed another process, the agent went on",
    ),
    pytest.param(
        Ending(exit=Exit(started=False, words="no such file: claude")),
        Reason.START_ERROR,
        "Claude Code could not be started: no such file: claude",
        id="it could not be started",
    ),
    pytest.param(
        Ending(exit=Exit(started=False), failure=(Reason.WORKSPACE_ERROR, "cannot clone")),
        Reason.WORKSPACE_ERROR,
        "cannot clone",
        id="the attempt could not begin",
    ),
]

STOPPED_WORDS = "stopped before the agent had ended"
STOPPED = [
    pytest.param(Ending(exit=Exit(started=False), stopped=True, cut_off=True), id="before Claude Code was started"),
    pytest.param(Ending(exit=FAILED, stopped=True, results=(ABORTED,)), id="in the middle of a tool"),
    pytest.param(
        Ending(exit=FAILED, stopped=True, results=(broken("aborted_streaming"),)), id="in the middle of a sentence"
    ),
    pytest.param(
        Ending(exit=EXITED, stopped=True, cut_off=True, results=(answered("It works on it."),)),
        id="while a subagent worked in the background",
    ),
    pytest.param(Ending(exit=FORCED, stopped=True, cut_off=True, finished=False), id="and it had to be ended by force"),
    pytest.param(Ending(exit=Exit(code=143), stopped=True, cut_off=True, finished=False), id="and it broke off"),
]


@pytest.mark.parametrize(("ending", "reason", "message"), [*WELL, *REFUSALS, *UNANSWERED, *OTHERWISE, *BROKEN_OFF])
def test_the_reason_says_how_it_ended(ending: Ending, reason: Reason, message: str) -> None:
    found = outcome(ending)

    assert (found.reason, found.message, found.stopped) == (reason, message, ending.stopped)


@pytest.mark.parametrize("ending", STOPPED)
def test_an_agent_that_was_stopped_at_work_is_cancelled(ending: Ending) -> None:
    found = outcome(ending)

    assert (found.reason, found.message, found.stopped) == (Reason.CANCELLED, STOPPED_WORDS, True)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        pytest.param(
            Ending(exit=FAILED, stopped=True, results=(refused(402, "no money"),)),
            Reason.BUDGET_EXCEEDED,
            id="the API refused before the interruption came",
        ),
        pytest.param(
            Ending(exit=EXITED, stopped=True, results=(answered(),)),
            Reason.COMPLETED,
            id="the answer came before the interruption",
        ),
    ],
)
def test_an_agent_that_was_stopped_keeps_a_reason_of_its_own(ending: Ending, reason: Reason) -> None:
    assert outcome(ending).reason is reason


MODEL_USAGE = {
    "large": {
        "inputTokens": 10,
        "outputTokens": 20,
        "cacheReadInputTokens": 3000,
        "cacheCreationInputTokens": 400,
        "costUSD": 0.0031000000000000003,
        "contextWindow": 200_000,
    },
    "small": {"inputTokens": 1, "outputTokens": 2, "costUSD": 1.45e-07},
}


def test_usage_and_cost_are_those_of_the_last_result_and_turns_of_all() -> None:
    earlier = answered(num_turns=2, total_cost_usd=0.001, modelUsage={"large": {"inputTokens": 5}})
    last = answered(num_turns=1, total_cost_usd=0.0031001450000000003, modelUsage=MODEL_USAGE)

    found = outcome(Ending(exit=EXITED, results=(earlier, last), session_id="s-1"))

    assert found.num_turns == 3
    assert found.cost_usd == "0.003100145"
    assert found.session_id == "s-1"
    assert found.usage == Usage(
        input_tokens=11,
        output_tokens=22,
        cache_read_input_tokens=3000,
        cache_creation_input_tokens=400,
        by_model={
            "large": ModelUsage(
                input_tokens=10,
                output_tokens=20,
                cache_read_input_tokens=3000,
                cache_creation_input_tokens=400,
                cost_usd="0.0031",
            ),
            "small": ModelUsage(input_tokens=1, output_tokens=2, cost_usd="0.000000145"),
        },
    )


@pytest.mark.parametrize(
    ("amount", "dollars"),
    [
        (None, "0"),
        (0, "0"),
        (0.0, "0"),
        (12, "12"),
        (100.0, "100"),
        (0.1 + 0.2, "0.3"),
        (1e-07, "0.0000001"),
        (1e-12, "0"),
        (1234.5, "1234.5"),
    ],
)
def test_dollars_are_plain_decimals(amount: float | None, dollars: str) -> None:
    assert outcome(Ending(exit=EXITED, results=(answered(total_cost_usd=amount),))).cost_usd == dollars


def test_the_text_is_the_last_answer() -> None:
    assert outcome(Ending(exit=EXITED, results=(answered("First."), answered("Second.")))).text == "Second."


def test_an_error_has_a_message_and_no_text() -> None:
    found = outcome(Ending(exit=FAILED, results=(refused(500, "Internal server error"),)))

    assert (found.text, found.message) == (None, "Internal server error")


def test_tools_that_were_refused_are_named_once() -> None:
    denials = [{"tool_name": "Bash", "tool_input": {"command": "rm"}}, {"tool_name": "Write"}, {"tool_name": "Bash"}]

    found = outcome(Ending(exit=EXITED, results=(answered(permission_denials=denials),)))

    assert found.permission_denials == ["Bash", "Write"]


def test_what_utf8_cannot_hold_does_not_stop_the_outcome() -> None:
    found = outcome(
        Ending(exit=EXITED, results=(answered("half \ud83d", permission_denials=[{"tool_name": "\udc00"}]),))
    )

    assert found.text == "half ?"
    assert len(found.fitted(MAX_TERMINATION_BYTES).to_json().encode()) < MAX_TERMINATION_BYTES


def test_a_very_long_message_is_bounded() -> None:
    assert len(outcome(Ending(exit=FAILED, results=(refused(500, "x" * 1_000_000),))).message) == 4_096
