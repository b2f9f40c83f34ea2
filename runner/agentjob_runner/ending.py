"""How an attempt ended, as facts: what its outcome is judged by."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from agentjob_api.reasons import Reason

Message = dict[str, Any]
"""A message of the CLI's stream-json, as JSON."""


class Exit(NamedTuple):
    """How Claude Code's process ended."""

    started: bool = True
    code: int | None = None
    """The exit code, negative for a signal; None when it was ended by force or cannot be known."""
    words: str = ""
    """The end of what it said on stderr, or why it could not be started or understood."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """All that an outcome may depend on."""

    exit: Exit
    failure: tuple[Reason, str] | None = None
    """Why the attempt could not begin, or what went wrong in the runner itself."""
    results: tuple[Message, ...] = ()
    """The messages of type `result`, one for each turn of the conversation: background work makes more than one."""
    error: str | None = None
    """The kind of the last error of the model's API, as the CLI's own (`<synthetic>`) answers name it."""
    session_id: str | None = None
    finished: bool = True
    """Whether Claude Code had nothing left to do."""
    stopped: bool = False
    """Whether the runner was told to stop before the agent had ended."""
    cut_off: bool = False
    """Whether a turn of the agent, or a subagent in the background, was then broken off."""
    out_of_memory: bool = False
    """Whether the kernel killed a process of the container for want of memory."""


class GiveUpError(Exception):
    """The attempt cannot begin; the message says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
