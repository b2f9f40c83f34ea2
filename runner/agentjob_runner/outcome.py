"""What an attempt ended with: a pure function of how it ended.

Success is decided by `is_error`, `api_error_status` and `terminal_reason` of the last result. `subtype` says "success"
where the model's API has refused, and the exit code is 1 for every result that is an error.
"""

from collections.abc import Iterable
from decimal import Decimal

from agentjob_api.outcome import Outcome
from agentjob_api.reasons import Reason
from agentjob_api.status import MAX_MESSAGE, ModelUsage, Usage
from agentjob_runner.ending import Ending, Message

BY_STATUS = {
    401: Reason.AUTHENTICATION_FAILED,
    402: Reason.BUDGET_EXCEEDED,
    403: Reason.AUTHENTICATION_FAILED,
    429: Reason.RATE_LIMITED,
    529: Reason.MODEL_OVERLOADED,
}
"""The result's `api_error_status`, an HTTP status; the others go by their hundred."""
BY_STOP_REASON = {
    "max_tokens": Reason.TRUNCATED,
    "model_context_window_exceeded": Reason.TRUNCATED,
    "refusal": Reason.REFUSED,
}
"""The result's `stop_reason`, in the words of the model's API."""
BY_TERMINAL_REASON = {
    "max_turns": Reason.MAX_TURNS,
    "budget_exhausted": Reason.BUDGET_EXCEEDED,
    "prompt_too_long": Reason.INVALID_REQUEST,
    "blocking_limit": Reason.INVALID_REQUEST,
    "rapid_refill_breaker": Reason.INVALID_REQUEST,
    "image_error": Reason.INVALID_REQUEST,
}
"""The result's `terminal_reason`, in the words of Claude Code 2.1."""
BY_ERROR = {
    "account_on_hold": Reason.AUTHENTICATION_FAILED,
    "authentication_failed": Reason.AUTHENTICATION_FAILED,
    "billing_error": Reason.BUDGET_EXCEEDED,
    "cloud_credential_error": Reason.AUTHENTICATION_FAILED,
    "invalid_request": Reason.INVALID_REQUEST,
    "max_output_tokens": Reason.TRUNCATED,
    "model_not_found": Reason.INVALID_REQUEST,
    "oauth_org_not_allowed": Reason.AUTHENTICATION_FAILED,
    "overloaded": Reason.MODEL_OVERLOADED,
    "rate_limit": Reason.RATE_LIMITED,
    "server_error": Reason.MODEL_UNAVAILABLE,
    "verification_required": Reason.AUTHENTICATION_FAILED,
}
"""`error` of a synthetic answer: all there is where no HTTP answer came, such as a refused connection."""
ABORTED = ("aborted_streaming", "aborted_tools")
MAX_DENIALS = 64


def outcome(ending: Ending) -> Outcome:
    """What the attempt ended with; `last_seq` is left to whoever prints the last line."""
    last = ending.results[-1] if ending.results else {}
    reason, message = _verdict(ending, last)
    return Outcome(
        reason=reason,
        message=_clean(message)[:MAX_MESSAGE],
        stopped=ending.stopped,
        stop_reason=last.get("stop_reason"),
        num_turns=sum(result.get("num_turns") or 0 for result in ending.results),
        session_id=ending.session_id,
        usage=_usage(last),
        cost_usd=_dollars(last.get("total_cost_usd")),
        text=None if _is_error(last) or last.get("result") is None else _clean(last["result"]),
        permission_denials=_denied(ending.results),
    )


def _verdict(ending: Ending, last: Message) -> tuple[Reason, str]:
    """The reason, and a sentence where it is not Completed."""
    if ending.failure is not None:
        return ending.failure
    if ending.cut_off or (ending.stopped and last.get("terminal_reason") in ABORTED):
        return Reason.CANCELLED, "stopped before the agent had ended"
    if _is_error(last):
        return _error(ending, last), _words(last)
    if not last or not (ending.finished or ending.exit.code == 0):
        return _broken_off(ending)
    if reason := BY_STOP_REASON.get(last.get("stop_reason") or ""):
        return reason, f"the model stopped with {last['stop_reason']}"
    return Reason.COMPLETED, ""


def _is_error(result: Message) -> bool:
    is_completed = result.get("terminal_reason") in (None, "completed")
    return bool(result.get("is_error")) or result.get("api_error_status") is not None or not is_completed


def _error(ending: Ending, last: Message) -> Reason:
    status = last.get("api_error_status")
    if isinstance(status, int):
        return BY_STATUS.get(status) or (Reason.MODEL_UNAVAILABLE if status >= 500 else Reason.INVALID_REQUEST)
    return (
        BY_STOP_REASON.get(last.get("stop_reason") or "")
        or BY_TERMINAL_REASON.get(last.get("terminal_reason") or "")
        or BY_ERROR.get(ending.error or "")
        or Reason.AGENT_ERROR
    )


def _words(last: Message) -> str:
    """What Claude Code says about an error."""
    errors = [error for error in last.get("errors") or [] if isinstance(error, str)]
    return "; ".join(errors) or last.get("result") or f"the agent ended with {last.get('terminal_reason')}"


def _broken_off(ending: Ending) -> tuple[Reason, str]:
    """Claude Code went away before it had ended."""
    code, words = ending.exit.code, ending.exit.words
    said = f": {words}" if words else ""
    if not ending.exit.started:
        return Reason.START_ERROR, f"Claude Code could not be started{said}"
    if ending.out_of_memory and code == -9:
        return Reason.OUT_OF_MEMORY, "Claude Code was killed because the container was at its memory limit"
    if code is not None and code < 0:
        return Reason.AGENT_ERROR, f"Claude Code was killed by signal {-code} before it had ended{said}"
    how = "ended" if code is None else f"exited with {code}"
    return Reason.AGENT_ERROR, f"Claude Code {how} without a result{said}"


def _usage(last: Message) -> Usage:
    """Tokens of the whole attempt: the CLI adds up `modelUsage` over its turns and subagents, `usage` it does not."""
    models = {name: _model_usage(usage) for name, usage in (last.get("modelUsage") or {}).items()}
    return Usage(
        input_tokens=sum(model.input_tokens for model in models.values()),
        output_tokens=sum(model.output_tokens for model in models.values()),
        cache_read_input_tokens=sum(model.cache_read_input_tokens for model in models.values()),
        cache_creation_input_tokens=sum(model.cache_creation_input_tokens for model in models.values()),
        by_model=models,
    )


def _model_usage(usage: Message) -> ModelUsage:
    return ModelUsage(
        input_tokens=usage.get("inputTokens") or 0,
        output_tokens=usage.get("outputTokens") or 0,
        cache_read_input_tokens=usage.get("cacheReadInputTokens") or 0,
        cache_creation_input_tokens=usage.get("cacheCreationInputTokens") or 0,
        cost_usd=_dollars(usage.get("costUSD")),
    )


def _dollars(amount: float | None) -> str:
    """A decimal string, to the billionth: below that is only what floating point adds (0.0031000000000000003)."""
    rounded = Decimal(str(amount or 0)).quantize(Decimal("1e-9"))
    return f"{rounded.normalize():f}"


def _denied(results: Iterable[Message]) -> list[str]:
    """The tools that were refused, each once, in the order of their first refusal."""
    denials = (denial for result in results for denial in result.get("permission_denials") or [])
    names = dict.fromkeys(_clean(str(denial.get("tool_name"))) for denial in denials)
    return list(names)[:MAX_DENIALS]


def _clean(text: str) -> str:
    """The text without lone surrogates, which JSON can escape and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()
