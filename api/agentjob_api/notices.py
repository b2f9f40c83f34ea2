"""Our own messages in an agent's stream: `{"type":"agentjob","subtype":…}` beside the CLI's own types."""

from enum import StrEnum

TYPE = "agentjob"


class Notice(StrEnum):
    """What a notice tells."""

    START = "start"
    """First line of an attempt: job, attempt and versions."""
    WARNING = "warning"
    """Something is not as it should be, and the job goes on: `text` says what."""
    STOPPING = "stopping"
    """The runner was told to stop and interrupts the agent."""
    OUTCOME = "outcome"
    """Last line of an attempt: `outcome` as in outcome.py."""


def notice(kind: Notice, **fields: object) -> dict[str, object]:
    """A notice as a message."""
    return {"type": TYPE, "subtype": kind.value, **fields}
