"""Why an attempt ended, and what that means for trying again."""

from enum import StrEnum


class RetryClass(StrEnum):
    """What another attempt could change."""

    RETRY = "retry"
    """The cause may be gone next time: another attempt from the start makes sense."""
    RESUME = "resume"
    """The conversation is whole up to the fault: another attempt can go on from there."""
    NEVER = "never"
    """Another attempt would end the same way, or the end was asked for."""
    FREE = "free"
    """The cluster took the Pod away: not the agent's fault, and not counted as a failure."""


class Reason(StrEnum):
    """Why an attempt ended."""

    COMPLETED = "Completed"
    """The agent finished and left a result."""
    CANCELLED = "Cancelled"
    """`spec.cancel` was set."""
    SUSPENDED = "Suspended"
    """`spec.suspend` was set; another attempt starts when that is taken back."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The attempt ran for `spec.activeDeadlineSeconds`."""
    BUDGET_EXCEEDED = "BudgetExceeded"
    """The model's endpoint refused to be paid for more (HTTP 402), or the CLI's own budget was used up."""
    MAX_TURNS = "MaxTurns"
    """The agent used up `spec.agent.maxTurns`."""
    TRUNCATED = "Truncated"
    """The model's last answer was cut at its output limit."""
    REFUSED = "Refused"
    """The model declined to go on."""
    AGENT_ERROR = "AgentError"
    """The agent ended in an error of its own, or without any result."""
    MODEL_OVERLOADED = "ModelOverloaded"
    """The model's endpoint said 529 until the CLI gave up."""
    RATE_LIMITED = "RateLimited"
    """The model's endpoint said 429 until the CLI gave up."""
    MODEL_UNAVAILABLE = "ModelUnavailable"
    """The model's endpoint could not be reached, or answered 5xx until the CLI gave up."""
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    """The model's endpoint refused the credential (401, 403)."""
    INVALID_REQUEST = "InvalidRequest"
    """The model's endpoint refused the request (400, 404, 413): for example an unknown model."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The agent's container was killed at its memory limit."""
    OUT_OF_DISK = "OutOfDisk"
    """The Pod was evicted at one of its own storage limits."""
    EVICTED = "Evicted"
    """The node was short of something and evicted the Pod."""
    NODE_LOST = "NodeLost"
    """The Pod's node went away, or the Pod was deleted by somebody."""
    PREEMPTED = "Preempted"
    """A Pod of higher priority took the place."""
    IMAGE_PULL = "ImagePull"
    """The runner image could not be had."""
    UNSCHEDULABLE = "Unschedulable"
    """No node would take the Pod."""
    START_ERROR = "StartError"
    """The container could not be started."""
    RUNNER_LOST = "RunnerLost"
    """The runner was killed, or exited without an outcome."""
    INVALID_SPEC = "InvalidSpec"
    """No Pod can be made from this spec; the message says why."""
    WORKSPACE_ERROR = "WorkspaceError"
    """The workspace could not be laid out: for example a git URL that fails."""

    @property
    def retry_class(self) -> RetryClass:
        """What another attempt could change."""
        return RETRY_CLASS[self]


RETRY_CLASS: dict[Reason, RetryClass] = {
    Reason.COMPLETED: RetryClass.NEVER,
    Reason.CANCELLED: RetryClass.NEVER,
    Reason.SUSPENDED: RetryClass.RESUME,
    Reason.DEADLINE_EXCEEDED: RetryClass.NEVER,
    Reason.BUDGET_EXCEEDED: RetryClass.NEVER,
    Reason.MAX_TURNS: RetryClass.NEVER,
    Reason.TRUNCATED: RetryClass.RESUME,
    Reason.REFUSED: RetryClass.NEVER,
    Reason.AGENT_ERROR: RetryClass.RETRY,
    Reason.MODEL_OVERLOADED: RetryClass.RESUME,
    Reason.RATE_LIMITED: RetryClass.RESUME,
    Reason.MODEL_UNAVAILABLE: RetryClass.RESUME,
    Reason.AUTHENTICATION_FAILED: RetryClass.NEVER,
    Reason.INVALID_REQUEST: RetryClass.NEVER,
    Reason.OUT_OF_MEMORY: RetryClass.RETRY,
    Reason.OUT_OF_DISK: RetryClass.NEVER,
    Reason.EVICTED: RetryClass.FREE,
    Reason.NODE_LOST: RetryClass.FREE,
    Reason.PREEMPTED: RetryClass.FREE,
    Reason.IMAGE_PULL: RetryClass.RETRY,
    Reason.UNSCHEDULABLE: RetryClass.RETRY,
    Reason.START_ERROR: RetryClass.RETRY,
    Reason.RUNNER_LOST: RetryClass.RESUME,
    Reason.INVALID_SPEC: RetryClass.NEVER,
    Reason.WORKSPACE_ERROR: RetryClass.RETRY,
}
