"""What a job's status says of its attempts: which goes on, whether another follows one that has ended, and when.

All of it is in the status: every look finds the same, and so does every operator that comes later.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import takewhile
from typing import Final

from agentjob_api.job import AgentJob
from agentjob_api.reasons import Reason, RetryClass
from agentjob_api.status import MAX_ATTEMPTS_SHOWN, AgentJobStatus, AttemptStatus

FIRST_WAIT: Final = timedelta(seconds=10)
LONGEST_WAIT: Final = timedelta(minutes=6)
"""Between two attempts at most: the first wait, and twice as long with every failure, as for a batch/v1 Job."""
MOST_TAKEN: Final = MAX_ATTEMPTS_SHOWN
"""Attempts in a row that the cluster may take away; a status shows no more of them."""
_DOUBLINGS: Final = 6
"""After so many, the wait is beyond the longest."""
_AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)


def is_open(status: AgentJobStatus) -> bool:
    """Whether an attempt is recorded that has not ended."""
    return bool(status.attempts) and status.attempts[-1].completion_time is None


def has_ended(status: AgentJobStatus, number: int) -> bool:
    """Whether the end of an attempt is recorded, or that of a later one."""
    is_latest = bool(status.attempts) and number == status.attempt_count
    return number < status.attempt_count or (is_latest and not is_open(status))


def record(status: AgentJobStatus, number: int) -> AttemptStatus | None:
    """What is recorded of an attempt; None where nothing is, or nothing any more."""
    return next((each for each in status.attempts if each.number == number), None)


def next_number(status: AgentJobStatus) -> int:
    """Of the attempt that follows the last one recorded."""
    return status.attempt_count + 1


def another_follows(job: AgentJob) -> bool:
    """Whether the end of the last attempt is not the end of the job."""
    last = job.status.attempts[-1]
    if last.reason is None or last.reason.retry_class is RetryClass.NEVER:
        return False
    return job.status.failed_count <= job.spec.backoff_limit and taken_in_a_row(job.status) < MOST_TAKEN


def taken_in_a_row(status: AgentJobStatus) -> int:
    """How many of the latest attempts, as far as they are shown, the cluster has taken away."""
    return sum(1 for _ in takewhile(_was_taken, reversed(status.attempts)))


def counts_as_failed(reason: Reason) -> bool:
    """Whether an attempt failed of itself: what was asked for, and what the cluster took away, did not."""
    asked_for = reason in {Reason.COMPLETED, Reason.CANCELLED, Reason.SUSPENDED}
    return not asked_for and reason.retry_class is not RetryClass.FREE


def starts_at(job: AgentJob) -> datetime:
    """The earliest moment for the next attempt, in whole seconds; there must be none that goes on."""
    if not job.status.attempts:
        return _AT_ONCE
    ended = job.status.attempts[-1].completion_time
    assert ended is not None, "an attempt goes on"
    return ended + _wait(job)


def _wait(job: AgentJob) -> timedelta:
    """How long after the end of the last attempt.

    Not at all where it was stopped, and the first time that the cluster took one away: neither comes again by itself.
    Between half the time and all of it, so that jobs that failed together do not come back together.
    """
    status, last = job.status, job.status.attempts[-1]
    if last.reason is Reason.SUSPENDED:
        return timedelta()
    times = taken_in_a_row(status) - 1 if _was_taken(last) else status.failed_count
    if times <= 0:
        return timedelta()
    longest = min(FIRST_WAIT * 2 ** min(times - 1, _DOUBLINGS), LONGEST_WAIT)
    return timedelta(seconds=round(longest.total_seconds() * (1 + _spread(job.metadata.uid, last.number)) / 2))


def _spread(uid: str, number: int) -> float:
    """A number from 0 to 1 that looks like chance, and is always the same for the same attempt."""
    return int.from_bytes(sha256(f"{uid}/{number}".encode()).digest()[:4]) / 2**32


def _was_taken(attempt: AttemptStatus) -> bool:
    return attempt.reason is not None and attempt.reason.retry_class is RetryClass.FREE
