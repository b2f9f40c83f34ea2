"""What became of a job: the types of `AgentJob.status`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from agentjob_api.model import Resource
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason

MAX_RESULT_BYTES = 32_768
"""UTF-8 bytes of the result text in status; the whole text is in the log."""
MAX_MESSAGE = 4_096
"""Characters of a message in a condition or failure."""
MAX_ATTEMPTS_SHOWN = 10
MAX_MODELS = 64
MAX_DOLLARS = 32
"""Characters of an amount."""

Dollars = Annotated[str, Field(max_length=MAX_DOLLARS, pattern=r"^[0-9]+([.][0-9]+)?$")]
"""US dollars as a decimal string: exact, unlike a float."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1, json_schema_extra={"format": "int64"})]
"""A number that survives JSON everywhere."""


class ConditionType(StrEnum):
    """What is observed of a job, after kstatus: all but Ready are there only while they are true."""

    READY = "Ready"
    """Always there: true when the job has succeeded, and its reason says where the job stands."""
    COMPLETE = "Complete"
    """The job has succeeded."""
    FAILED = "Failed"
    """The job has failed or was cancelled."""
    RECONCILING = "Reconciling"
    """The job is on its way; the reason says where it stands."""
    STALLED = "Stalled"
    """The job cannot go on by itself: something it names is missing, or it has failed."""
    SUSPENDED = "Suspended"
    """The job waits because `spec.suspend` is set; an agent that worked has stopped."""
    ARCHIVED = "Archived"
    """The job has ended, and its log is kept outside its Pods. Set by the gateway; the operator leaves it as it is."""
    RECONCILE_FAILURE = "ReconcileFailure"
    """For some minutes the operator could do nothing about the job, which stands still; it goes on by itself. The
    message says what was tried, since when, what went wrong, and the way out. Gone once it was done."""


class Archival(StrEnum):
    """What is kept of the log of a job that has ended: reasons of its condition Archived."""

    ARCHIVED = "Archived"
    """Every line."""
    WITH_GAPS = "ArchivedWithGaps"
    """What there was: lines were lost before they could be kept."""


class Trouble(StrEnum):
    """Why nothing could be done about a job: reasons of its condition ReconcileFailure."""

    REFUSED = "ApiServerRefuses"
    """The API server, or an admission webhook behind it, answers with an error."""
    UNREACHABLE = "ApiServerUnreachable"
    """The API server gives no answer to what is asked about this job, or not in time."""
    UNREADABLE = "JobNotReadable"
    """The job has something in it that this version of the operator does not know. Said in an Event alone."""
    DEFECT = "OperatorDefect"
    """The operator fails in itself: its log has the traceback."""


class Standing(StrEnum):
    """Where a job stands that has not ended: reasons of its conditions, beside those of reasons.py."""

    STARTING = "Starting"
    """The Pod is on its way."""
    RUNNING = "Running"
    """The agent works."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is set, and no agent works."""
    BACK_OFF = "BackOff"
    """An attempt has ended that is worth another; the message says which, why, and when the next may start."""
    REFERENCE_MISSING = "ReferenceMissing"
    """A Secret, ConfigMap or key that the job names does not exist. The job goes on when it appears."""
    POD_REFUSED = "PodRefused"
    """The API server did not take the Pod: a quota, an admission rule, or a Pod of that name. It is tried again."""
    INSTALLATION_FULL = "InstallationFull"
    """As many jobs of the installation run as may: `limits.running` of the chart."""
    NAMESPACE_FULL = "NamespaceFull"
    """As many jobs of the namespace run, or are before it in the queue, as may run there: `limits.namespaces` or
    `limits.runningPerNamespace` of the chart."""


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    """It holds."""
    FALSE = "False"
    """It does not."""
    UNKNOWN = "Unknown"
    """Not known."""


class Condition(Resource):
    """As in every Kubernetes resource, after kstatus."""

    type: ConditionType
    """What is observed."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in one word."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """Why, in a sentence."""
    last_transition_time: datetime
    """When status last changed."""
    observed_generation: Count = 0
    """The generation of the spec this was seen at."""


class ModelUsage(Resource):
    """Tokens and dollars of one model."""

    input_tokens: Count = 0
    """Tokens read, not counting those from the cache."""
    output_tokens: Count = 0
    """Tokens written."""
    cache_read_input_tokens: Count = 0
    """Tokens read from the cache."""
    cache_creation_input_tokens: Count = 0
    """Tokens written to the cache."""
    cost_usd: Annotated[Dollars, Field(alias="costUSD")] = "0"
    """What they cost by Claude Code's price list."""


class Usage(Resource):
    """Tokens of all models together, and by model."""

    input_tokens: Count = 0
    """Tokens read, not counting those from the cache."""
    output_tokens: Count = 0
    """Tokens written."""
    cache_read_input_tokens: Count = 0
    """Tokens read from the cache."""
    cache_creation_input_tokens: Count = 0
    """Tokens written to the cache."""
    by_model: Annotated[dict[str, ModelUsage], Field(max_length=MAX_MODELS)] = {}
    """The same by model, subagents included."""


class AttemptStatus(Resource):
    """One attempt."""

    number: Annotated[int, Field(ge=1)]
    """Counted from 1."""
    pod: str
    """Name of its Pod."""
    start_time: datetime | None = None
    """When the agent's container started."""
    completion_time: datetime | None = None
    """When it ended."""
    reason: Reason | None = None
    """Why it ended."""
    exit_code: int | None = None
    """Exit code of the agent's container."""
    usage: Usage | None = None
    """Tokens of this attempt."""
    cost_usd: Annotated[Dollars | None, Field(alias="costUSD")] = None
    """Dollars of this attempt."""
    session_id: Annotated[str | None, Field(alias="sessionID")] = None
    """The conversation, as Claude Code names it."""


class Result(Resource):
    """What the agent answered."""

    text: str
    """The answer, at most 32 KiB of it."""
    truncated: bool = False
    """Whether the answer was longer."""
    stop_reason: str | None = None
    """Why the model stopped."""
    num_turns: Count = 0
    """Turns of the conversation."""
    permission_denials: Annotated[list[str], Field(max_length=64)] = []
    """Tools that were refused, each named once."""


class Failure(Resource):
    """Why the job did not succeed."""

    reason: Reason
    """In one word."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)]
    """In a sentence, with the words of whoever refused."""
    retryable: bool
    """Whether the same job might succeed another time."""


class SessionStatus(Resource):
    """The conversation of the job."""

    id: str
    """As Claude Code names it."""


class QueueStatus(Resource):
    """Where a job stands among those that wait for room."""

    position: Annotated[int, Field(ge=1, le=2**53 - 1, json_schema_extra={"format": "int64"})]
    """1 is the next to start, over the installation. It is written anew once it is half or twice of what is here, at
    the latest five minutes later."""
    reason: Literal[Standing.INSTALLATION_FULL, Standing.NAMESPACE_FULL]
    """Which limit it waits for."""


class AgentJobStatus(Resource):
    """What became of a job."""

    observed_generation: Count = 0
    """The generation of the spec that this status speaks of."""
    phase: Phase = Phase.PENDING
    """Where the job stands."""
    start_time: datetime | None = None
    """When the agent first started."""
    completion_time: datetime | None = None
    """When the job ended."""
    pod_name: str | None = None
    """The Pod of the latest attempt."""
    queue: QueueStatus | None = None
    """Where the job stands in the queue, while it waits there."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    """What is observed."""
    attempts: Annotated[list[AttemptStatus], Field(max_length=MAX_ATTEMPTS_SHOWN)] = []
    """The latest attempts, oldest first."""
    attempt_count: Count = 0
    """Attempts so far."""
    failed_count: Count = 0
    """Attempts that failed; those that the cluster took away, or that were suspended, do not count."""
    result: Result | None = None
    """The agent's answer, in the last attempt, once the job has ended."""
    usage: Usage | None = None
    """Tokens over all attempts that have ended."""
    cost_usd: Annotated[Dollars | None, Field(alias="costUSD")] = None
    """Dollars over all attempts that have ended; never goes down."""
    session: SessionStatus | None = None
    """The conversation of the last attempt that has ended."""
    failure: Failure | None = None
    """Why the job did not succeed, once it has ended."""
