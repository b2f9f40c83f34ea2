"""The phases of a job and the ways between them."""

from enum import StrEnum


class Phase(StrEnum):
    """Where a job stands. Succeeded, Failed and Cancelled are final."""

    PENDING = "Pending"
    """No agent works yet, or none at the moment: suspended, between two attempts, or the Pod waits for a node, an
    image or a reference."""
    QUEUED = "Queued"
    """Waits for room among the agents that work; `status.queue` says where it stands."""
    RUNNING = "Running"
    """The agent works: its container has started."""
    SUCCEEDED = "Succeeded"
    """The agent ended with a result that is no error."""
    FAILED = "Failed"
    """The job ended without such a result; `status.failure` says why."""
    CANCELLED = "Cancelled"
    """Stopped because `spec.cancel` was set."""

    @property
    def is_final(self) -> bool:
        """Whether the job can never leave this phase."""
        return not ALLOWED[self]

    @property
    def is_waiting(self) -> bool:
        """Whether no agent works at the moment, and one may still."""
        return self in {Phase.PENDING, Phase.QUEUED}


ALLOWED: dict[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset({Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}),
    Phase.QUEUED: frozenset({Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}),
    Phase.RUNNING: frozenset({Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}),
    Phase.SUCCEEDED: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.CANCELLED: frozenset(),
}
"""Which phase may follow which. A short attempt may end before it was ever seen running; after one that is worth
another, or that was suspended, the job is Pending again."""
