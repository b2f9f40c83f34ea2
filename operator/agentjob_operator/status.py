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
from agentjob_operator import attempts, totals
from agentjob_operator.conditions import OTHERS, Summary, conditions
from agentjob_operator.outcome import Ending
from agentjob_operator.pod import PodView
from agentjob_operator.world import World

_PHASES: dict[Reason, Phase] = {Reason.COMPLETED: Phase.SUCCEEDED, Reason.CANCELLED: Phase.CANCELLED}
"""The phase that the end of the last attempt leads to; any other reason to Failed."""
MAX_DENIALS = 64


def waiting(world: World, job: AgentJob, summary: Summary, pod: PodView | None = None) -> AgentJobStatus:
    """The status of a job whose agent has not started, or of one between two attempts."""
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


def closed(job: AgentJob, number: int, pod: str, ending: Ending) -> AgentJob:
    """The job with the end of an attempt in its records: counted, and what it took added to what the others took.

    `number` and `pod`: the attempt's, whose end must not be recorded yet: so each is added once.
    """
    told, reason, before = ending.told, ending.cause.reason, attempts.record(job.status, number)
    attempt = AttemptStatus(
        number=number,
        pod=pod,
        start_time=ending.started or (before.start_time if before else None),
        completion_time=ending.finished,
        reason=reason,
        exit_code=ending.exit_code,
        usage=told.usage if told else None,
        cost_usd=told.cost_usd if told else None,
        session_id=told.session_id if told else None,
    )
    changes = {
        **_attempt(job.status, attempt),
        "failed_count": job.status.failed_count + attempts.counts_as_failed(reason),
        "start_time": job.status.start_time or attempt.start_time,
        "session": SessionStatus(id=told.session_id) if told and told.session_id else None,
        **(_spent(job.status, told) if told else {}),
    }
    return job.model_copy(update={"status": job.status.model_copy(update=changes)})


def ended(world: World, job: AgentJob, ending: Ending) -> AgentJobStatus:
    """The status of a job that has ended, for this reason and with this answer; all of its attempts are closed."""
    reason, message = ending.cause.reason, ending.cause.message
    phase = _PHASES.get(reason, Phase.FAILED)
    changes: dict[str, Any] = {
        "completion_time": ending.finished,
        "result": _result(ending.told) if ending.told else None,
    }
    if phase is not Phase.SUCCEEDED:
        retryable = reason.retry_class is not RetryClass.NEVER
        changes["failure"] = Failure(reason=reason, message=message[:MAX_MESSAGE], retryable=retryable)
    return _status(world, job, Summary(phase, reason, message), changes)


def seen(job: AgentJob) -> AgentJobStatus:
    """The status of a finished job after an allowed change of its spec: the same, of that generation."""
    generation = job.metadata.generation
    own = {"observed_generation": generation}
    found = [old if old.type in OTHERS else old.model_copy(update=own) for old in job.status.conditions]
    return job.status.model_copy(update={"observed_generation": generation, "conditions": found})


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


def _spent(before: AgentJobStatus, told: Outcome) -> dict[str, Any]:
    """What an attempt took, with what the others took before."""
    return {
        "usage": totals.usage(before.usage, told.usage),
        "cost_usd": totals.dollars(before.cost_usd, told.cost_usd),
    }


def _result(told: Outcome) -> Result | None:
    """What a runner's outcome says of the answer, within the status' bounds; None when it did nothing."""
    if told.text is None and not told.num_turns:
        return None
    text = bounded(told.text or "", MAX_RESULT_BYTES)
    return Result(
        text=text,
        truncated=told.truncated or text != (told.text or ""),
        stop_reason=told.stop_reason,
        num_turns=told.num_turns,
        permission_denials=_unique(told.permission_denials)[:MAX_DENIALS],
    )


def _unique(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))


def bounded(text: str, limit: int) -> str:
    """The longest beginning of a text that is at most `limit` bytes of UTF-8."""
    return text.encode()[:limit].decode(errors="ignore")
