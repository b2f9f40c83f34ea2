"""What a runner leaves behind: how its attempt ended, as termination message and as the last line of its log."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from agentjob_api.model import Resource
from agentjob_api.reasons import Reason
from agentjob_api.status import Count, Dollars, Usage

MAX_TERMINATION_BYTES = 4_096
"""UTF-8 bytes of a termination message; the kubelet cuts what is longer, and cut JSON is no JSON."""


class Outcome(Resource):
    """How an attempt ended, as the runner saw it."""

    reason: Reason
    """Completed, or what went wrong."""
    message: str = ""
    """What went wrong, in a sentence; empty when nothing did."""
    stopped: bool = False
    """Whether the runner was told to stop (SIGTERM) before the agent had ended."""
    stop_reason: str | None = None
    num_turns: Count = 0
    session_id: Annotated[str | None, Field(alias="sessionID")] = None
    usage: Usage = Usage()
    cost_usd: Annotated[Dollars, Field(alias="costUSD")] = "0"
    last_seq: Count = 0
    """Number of the last line, which carries this same outcome with the text whole."""
    text: str | None = None
    """The agent's answer; None when it gave none."""
    truncated: bool = False
    """Whether text is only the beginning."""
    permission_denials: list[str] = []

    def to_json(self) -> str:
        """Compact JSON without what is default, in this type's field order."""
        return self.model_dump_json(exclude_defaults=True)

    def fitted(self, limit: int) -> "Outcome":
        """The same outcome with as much of its texts as `limit` UTF-8 bytes of JSON hold.

        Cut, in this order and only as far as needed: text, then the usage by model, then message.
        """
        if _size(self) <= limit:
            return self
        fitted = _cut(self, "text", limit)
        if _size(fitted) > limit:
            fitted = fitted.model_copy(update={"usage": self.usage.model_copy(update={"by_model": {}})})
        if _size(fitted) > limit:
            fitted = _cut(fitted, "message", limit)
        return fitted


def from_termination_message(message: str) -> Outcome | None:
    """Reads a termination message; None when a runner did not write it, or it was cut."""
    try:
        return Outcome.model_validate_json(message)
    except ValidationError:
        return None


class _LastLine(Resource):
    """The notice around the outcome in the last line."""

    type: Literal["agentjob"]
    subtype: Literal["outcome"]
    outcome: Outcome


def from_line(message: bytes) -> Outcome | None:
    """Reads the message of a runner's last line; None when it is not one."""
    try:
        return _LastLine.model_validate_json(message).outcome
    except ValidationError:
        return None


def _size(outcome: Outcome) -> int:
    return len(outcome.to_json().encode())


def _cut(outcome: Outcome, field: str, limit: int) -> Outcome:
    """The outcome with the longest beginning of one text field that fits; with none of it when nothing does."""
    text: str = getattr(outcome, field) or ""
    mark = {"truncated": True} if field == "text" else {}
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _size(outcome.model_copy(update={field: text[:middle], **mark})) <= limit:
            low = middle
        else:
            high = middle - 1
    return outcome.model_copy(update={field: text[:low], **mark})
