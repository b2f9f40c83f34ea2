"""All that a decision may depend on, and all that it may say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_api.outcome import Outcome
from agentjob_api.status import AgentJobStatus, QueueStatus
from agentjob_operator.pod import PodView


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The API server did not take a job's Pod."""

    job: str
    """uid of the job."""
    for_good: bool
    """Whether no Pod can ever be made from this spec; otherwise it is worth trying again."""
    message: str
    until: datetime
    """From when on that is."""


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What an installation decides about finished Pods."""

    pod_ttl: timedelta
    """How long one is kept."""
    archives: bool
    """Whether logs are archived, so that it is to wait for that."""


@dataclass(frozen=True)
class QueueView:
    """Whether a job may start, as the limits have it."""

    has_room: bool
    """Whether a slot is the job's. It is taken already: nobody else gets it before this job was decided on."""
    place: QueueStatus | None = None
    """Where it stands in the queue; None where it does not wait there."""


@dataclass(frozen=True, kw_only=True)
class World:
    """One job as it was observed at one moment."""

    key: Key
    job: AgentJob | None
    """None when there is no job of this name (any more)."""
    pods: tuple[PodView, ...] = ()
    """All Pods that an AgentJob of this name controls, also one that is gone."""
    refusal: Refusal | None = None
    """What the API server said to this job's Pod last."""
    read: Mapping[str, Outcome | None] = field(default_factory=dict)
    """By Pod's uid: the outcome from its log, for Pods whose log was read; None when it held none."""
    keeping: Keeping
    queue: QueueView
    finished: datetime | None = None
    """When the job was first seen to have ended, by the operator's own clock; None where it had before that saw it."""
    now: datetime
    """In UTC and whole seconds, as all times in Kubernetes."""


@dataclass(frozen=True)
class CreatePod:
    """Starts an attempt."""

    attempt: int


@dataclass(frozen=True)
class StopPod:
    """Tells a Pod's agent to stop. The Pod stays, so that what it says at its end can be read."""

    pod: PodView


@dataclass(frozen=True)
class DeletePod:
    """Deletes a Pod of the job; one that is being deleted, by force."""

    pod: PodView


@dataclass(frozen=True)
class DeleteOrphan:
    """Deletes a Pod whose job is gone, after making sure that it is; one that is being deleted, by force."""

    pod: PodView


@dataclass(frozen=True)
class ReadOutcome:
    """Reads the outcome of a Pod's agent from its log; then the decision is taken again."""

    pod: PodView


@dataclass(frozen=True)
class DeleteJob:
    """Deletes the job, whose time to live is over."""


@dataclass(frozen=True)
class RecordEvent:
    """Records a warning on the job, for `kubectl describe` and whoever watches Events."""

    reason: str
    message: str


Action = CreatePod | StopPod | DeletePod | DeleteOrphan | ReadOutcome | DeleteJob | RecordEvent


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be done about a World."""

    status: AgentJobStatus | None = None
    """The whole next status, written first: when it is refused, nothing else is done. None leaves it as it is."""
    actions: tuple[Action, ...] = ()
    look_again: datetime | None = None
    """When to decide again though nothing may have happened."""
