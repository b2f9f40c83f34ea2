"""Jobs that could not be acted on: since when, why, and whether that has been so for so long that it is to be said.

Pure. A job is stuck when a look at it has failed so long after the first one that failed, and none between has got
anywhere. That it has failed once and has waited for room since is nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agentjob_api.job import AgentJob
from agentjob_api.status import MAX_MESSAGE, Condition, ConditionStatus, ConditionType, Trouble
from agentjob_kube.backoff import Backoff
from agentjob_kube.errors import ApiError, NoRight, ServerError, TooManyRequests, Unauthorized, Unreachable
from agentjob_operator.conditions import find
from agentjob_operator.jobs import UnreadableError
from agentjob_operator.world import (
    Action,
    CreatePod,
    DeleteJob,
    DeleteOrphan,
    DeletePod,
    ReadOutcome,
    RecordEvent,
    StopPod,
)

STUCK_AFTER: Final = timedelta(minutes=3)
"""From the first failure to one after which it is said. What passes by itself takes less: an API server that starts
anew, an admission webhook that is rolled out, another leader of etcd. A job is tried ten times by then."""
FIRST: Final = 0.2
OFTEN: Final = 5.0
SELDOM: Final = 60.0
"""Seconds between two looks that fail: at first, at most where few jobs fail for what fails them all, and at most."""
TRIES: Final = 10
"""A second, of all that fail for what fails them all, as far as OFTEN and SELDOM let."""
OF_ALL: Final = (Unreachable, ServerError, TooManyRequests, Unauthorized, NoRight)
"""What fails the looks at all jobs, or at many, and is over for all at once."""
MAX_SAID: Final = 1_000
"""Characters of an error that are repeated on the job."""
TRIED: Final[dict[type[Action], str]] = {
    CreatePod: "making its Pod",
    StopPod: "telling its agent to stop",
    DeletePod: "deleting a Pod",
    DeleteOrphan: "deleting a Pod that is left over",
    ReadOutcome: "reading its log",
    DeleteJob: "deleting the job",
    RecordEvent: "recording an Event",
}
_WAY_OUT: Final = {
    Trouble.REFUSED: "Mend what the API server names, or bring the chart and its definitions up to date.",
    Trouble.UNREACHABLE: "Find out what takes so long at the API server: an admission webhook, or the network.",
    Trouble.UNREADABLE: "Bring the operator up to the version of the definition of AgentJob: helm upgrade.",
    Trouble.DEFECT: "Please report it with the traceback in the operator's log and with the job's YAML.",
}


class StatusNotKeptError(ApiError):
    """A status came back another than it was written: deciding again at once would write it for ever."""


class StopNotKeptError(ApiError):
    """A Pod came back without what tells its agent to stop: deciding again at once would write it for ever."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """What is known of a job whose looks fail."""

    job: str
    """Its uid; "" where only its Pods are left, or it never could be read."""
    times: int
    """Looks that failed."""
    since: datetime
    last: datetime
    not_before: datetime
    """When the API server has asked to be tried again."""
    is_of_all: bool
    """Whether it is likely that others fail for the same, and go on when it is over."""
    trouble: Trouble
    said: str
    """What was tried at last, and what went wrong."""
    told: bool
    """Whether the job says so on itself, or an Event does."""

    @property
    def is_stuck(self) -> bool:
        """Whether it is more than what passes by itself."""
        return self.told or self.last - self.since >= STUCK_AFTER


def after(before: Failing | None, job: AgentJob | None, error: Exception, now: datetime) -> Failing:
    """What is known after another failure. `before`: of this key, perhaps of another job that had it."""
    uid = job.metadata.uid if job is not None else ""
    if before is not None and before.job != uid:
        before = None
    says_so = job is not None and find(job.status.conditions, ConditionType.RECONCILE_FAILURE) is not None
    return Failing(
        job=uid,
        times=before.times + 1 if before else 1,
        since=before.since if before else now.replace(microsecond=0),
        last=now,
        not_before=now + timedelta(seconds=error.retry_after if isinstance(error, ApiError) else 0.0),
        is_of_all=isinstance(error, OF_ALL),
        trouble=_trouble(error),
        said=said(error),
        told=says_so or (before is not None and before.told),
    )


def backoff(found: Failing, failing: int) -> Backoff:
    """How long a job waits for its next look, where so many jobs fail.

    What fails all jobs is tried by each, so that many find its end by trying seldom, and a few have to try often.
    """
    return Backoff(FIRST, min(SELDOM, max(OFTEN, failing / TRIES)) if found.is_of_all else SELDOM)


def condition(failing: Failing, generation: int) -> Condition:
    """What a job says of it on itself."""
    times = f"{failing.times} times since {failing.since:%Y-%m-%dT%H:%M:%SZ}"
    message = (
        f"Nothing could be done about this job, {times}. At last: {failing.said} {_WAY_OUT[failing.trouble]}"
        " It is tried again at least once a minute, and goes on by itself."
    )
    return Condition(
        type=ConditionType.RECONCILE_FAILURE,
        status=ConditionStatus.TRUE,
        reason=failing.trouble,
        message=message[:MAX_MESSAGE],
        last_transition_time=failing.last.replace(microsecond=0),
        observed_generation=generation,
    )


@contextmanager
def trying(what: str) -> Iterator[None]:
    """Has an error note what was tried."""
    try:
        yield
    except ApiError as error:
        error.add_note(what)
        raise


def _trouble(error: Exception) -> Trouble:
    match error:
        case UnreadableError():
            return Trouble.UNREADABLE
        case Unreachable():
            return Trouble.UNREACHABLE
        case ApiError():
            return Trouble.REFUSED
        case _:
            return Trouble.DEFECT


def said(error: Exception) -> str:
    """What was tried and went wrong, in a sentence. What a defect says may hold a prompt: its name has to do."""
    if not isinstance(error, ApiError):
        return f"{type(error).__name__}, in the operator itself."
    text = ", ".join([*getattr(error, "__notes__", ()), str(error)])
    return f"{text[:MAX_SAID].rstrip('.')}."
