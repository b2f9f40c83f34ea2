"""The next status of a job, whole, for each way it may stand."""

from collections.abc import Sequence
from typing import Any

from agentjob_api.job import AgentJob
from agentjob_api.outcome import Outcome
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason, RetryClass
from agentjob_api.status import (
    MAX_ATTEMPTS_SHOWN,
    MAX_MESSAGE,
    MAX_RESULT_BYTES,
    AgentJobStatus,
    AttemptStatus,
    Failure,
    QueueStatus,
    Result,
    SessionStatus,
    Standing,
)
from agentjob_operator.conditions import OTHERS, Summary, conditions
from agentjob_operator.outcome import Ending
from agentjob_operator.pod import PodView
from agentjob_operator.world import World

_PHASES: dict[Reason, Phase] = {Reason.COMPLETED: Phase.SUCCEEDED, Reason.CANCELLED: Phase.CANCELLED}
"""The phase that the end of the last attempt leads to; any other reason to Failed."""
MAX_DENIALS = 64


def waiting(world: World, job: AgentJob, summary: Summary, pod: PodView | None = None) -> AgentJobStatus:
    """The status of a job whose agent has not started."""
    changes = _attempt(job.status, AttemptStatus(number=pod.attempt, pod=pod.name)) if pod else {}
    return _status(world, job, summary, changes)


def queued(world: World, job: AgentJob, summary: Summary, place: QueueStatus) -> AgentJobStatus:
    """The status of a job that waits for room."""
    return _status(world, job, summary, {"queue": place})


def running(world: World, job: AgentJob, pod: PodView) -> AgentJobStatus:
    """The status of a job whose agent works."""
    attempt = AttemptStatus(number=pod.attempt, pod=pod.name, start_time=pod.agent_started)
    changes = _attempt(job.status, attempt) | {"start_time": job.status.start_time or pod.agent_started}
    return _status(world, job, Summary(Phase.RUNNING, Standing.RUNNING, f"The agent works in Pod {pod.name}."), changes)


def finished(world: World, job: AgentJob, pod: PodView, ending: Ending) -> AgentJobStatus:
    """The status of a job whose only attempt has ended."""
    told, reason = ending.told, ending.cause.reason
    attempt = AttemptStatus(
        number=pod.attempt,
        pod=pod.name,
        start_time=ending.started,
        completion_time=ending.finished,
        reason=reason,
        exit_code=ending.exit_code,
        usage=told.usage if told else None,
        cost_usd=told.cost_usd if told else None,
        session_id=told.session_id if told else None,
    )
    changes = {
        **_attempt(job.status, attempt),
        "failed_count": job.status.failed_count + _counts_as_failure(reason),
        "start_time": job.status.start_time or ending.started,
        "completion_time": ending.finished,
        **(_results(told) if told else {}),
    }
    return _ended(world, job, reason, ending.cause.message, changes)


def lost(world: World, job: AgentJob, reason: Reason, message: str) -> AgentJobStatus:
    """The status of a job that ended without a Pod to tell of it, or without ever having had one."""
    changes: dict[str, Any] = {"completion_time": world.now}
    if job.status.attempts:
        last = job.status.attempts[-1].model_copy(update={"completion_time": world.now, "reason": reason})
        changes |= _attempt(job.status, last)
        changes["failed_count"] = job.status.failed_count + _counts_as_failure(reason)
    return _ended(world, job, reason, message, changes)


def seen(job: AgentJob) -> AgentJobStatus:
    """The status of a finished job after an allowed change of its spec: the same, of that generation."""
    generation = job.metadata.generation
    own = {"observed_generation": generation}
    found = [old if old.type in OTHERS else old.model_copy(update=own) for old in job.status.conditions]
    return job.status.model_copy(update={"observed_generation": generation, "conditions": found})


def _ended(world: World, job: AgentJob, reason: Reason, message: str, changes: dict[str, Any]) -> AgentJobStatus:
    phase = _PHASES.get(reason, Phase.FAILED)
    if phase is not Phase.SUCCEEDED:
        retryable = reason.retry_class is not RetryClass.NEVER
        changes["failure"] = Failure(reason=reason, message=message[:MAX_MESSAGE], retryable=retryable)
    return _status(world, job, Summary(phase, reason, message), changes)


def _status(world: World, job: AgentJob, summary: Summary, changes: dict[str, Any]) -> AgentJobStatus:
    generation = job.metadata.generation
    return job.status.model_copy(
        update={
            "queue": None,
            **changes,
            "phase": summary.phase,
            "observed_generation": generation,
            "conditions": conditions(summary, generation, job.status.conditions, world.now),
        }
    )


def _attempt(before: AgentJobStatus, attempt: AttemptStatus) -> dict[str, Any]:
    """The record of an attempt, in place of an earlier one of the same attempt."""
    others = [old for old in before.attempts if old.number != attempt.number]
    return {
        "attempts": [*others, attempt][-MAX_ATTEMPTS_SHOWN:],
        "attempt_count": max(before.attempt_count, attempt.number),
        "pod_name": attempt.pod,
    }


def _counts_as_failure(reason: Reason) -> int:
    """1 for an attempt that failed of itself; what was asked for, and what the cluster took away, is none."""
    asked_for = reason in {Reason.COMPLETED, Reason.CANCELLED}
    return int(not asked_for and reason.retry_class is not RetryClass.FREE)


def _results(told: Outcome) -> dict[str, Any]:
    """What a runner's outcome brings into the status, within the status' bounds."""
    text = bounded(told.text or "", MAX_RESULT_BYTES)
    result = Result(
        text=text,
        truncated=told.truncated or text != (told.text or ""),
        stop_reason=told.stop_reason,
        num_turns=told.num_turns,
        permission_denials=_unique(told.permission_denials)[:MAX_DENIALS],
    )
    return {
        "result": result if told.text is not None or told.num_turns else None,
        "usage": told.usage,
        "cost_usd": told.cost_usd,
        "session": SessionStatus(id=told.session_id) if told.session_id else None,
    }


def _unique(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))


def bounded(text: str, limit: int) -> str:
    """The longest beginning of a text that is at most `limit` bytes of UTF-8."""
    return text.encode()[:limit].decode(errors="ignore")
