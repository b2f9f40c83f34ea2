"""Jobs, Pods and worlds at a moment of our own, for tests of what is decided about them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_api.outcome import Outcome
from agentjob_api.reasons import Reason, RetryClass
from agentjob_api.status import MAX_ATTEMPTS_SHOWN
from agentjob_operator.pod import TAINTED, Note, PodView, Running, Terminated
from agentjob_operator.rules import SOONEST_TRY
from agentjob_operator.world import Keeping, QueueView, Refusal, World

T0 = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
"""When the job and its Pod were created."""
KEY = Key("ns", "fix")
UID = "job-uid"
POD_TTL = timedelta(minutes=10)
KEEPING = Keeping(pod_ttl=POD_TTL, archives=False)
ARCHIVING = Keeping(pod_ttl=POD_TTL, archives=True)
ROOM = QueueView(has_room=True)


def at(seconds: float) -> datetime:
    """So many seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def job(status: Mapping[str, Any] | None = None, *, meta: Mapping[str, Any] | None = None, **spec: Any) -> AgentJob:
    """A job with these fields of its spec, in the API's own words."""
    return AgentJob.model_validate(
        {
            "metadata": {
                "name": KEY.name,
                "namespace": KEY.namespace,
                "uid": UID,
                "resourceVersion": "100",
                "creationTimestamp": T0,
                **(meta or {}),
            },
            "spec": {"prompt": "Mend the tests.", **spec},
            "status": {"phase": "Pending", "observedGeneration": 1, **status} if status else {},
        }
    )


def pod(**fields: Any) -> PodView:
    """The Pod of the job's first attempt: created, on a node, nothing known of its container yet."""
    base = PodView(
        namespace="ns", name="fix-1", uid="pod-uid", version=100, job="fix", owner=UID, attempt=1, created=T0,
        node="node-1", started=T0,
    )  # fmt: skip
    return replace(base, **fields)


def lost(**fields: Any) -> PodView:
    """The Pod once its node does not answer: it was to be gone 430 s after T0, and its agent may work."""
    tainted = Note(TAINTED, "Taint manager: deleting due to NoExecute taint")
    return pod(**{"agent": running(), "deleting": True, "gone_by": at(430), "disruption": tainted, **fields})


def running(seconds: float = 1) -> Running:
    """An agent that started so many seconds after T0."""
    return Running(at(seconds))


def told(reason: Reason = Reason.COMPLETED, **fields: Any) -> Outcome:
    """What a runner leaves behind."""
    usual: dict[str, Any] = {"num_turns": 3, "session_id": "s-1", "cost_usd": "0.0127", "last_seq": 9}
    if reason is Reason.COMPLETED:
        usual["text"] = "All tests pass."
    return Outcome.model_validate({**usual, "reason": reason, **fields})


def terminated(outcome: Outcome | None = None, *, code: int = 0, end: float = 61, **fields: Any) -> Terminated:
    """An agent that ran from second 1 to `end`."""
    usual = Terminated(
        exit_code=code,
        reason="Error" if code else "Completed",
        message=outcome.to_json() if outcome else "",
        started=at(1),
        finished=at(end),
    )
    return replace(usual, **fields)


def world(job: AgentJob | None, *pods: PodView, now: datetime | None = None, **fields: Any) -> World:
    """What is observed; by default two seconds after T0."""
    return World(key=KEY, job=job, pods=pods, now=now or at(2), **{"keeping": KEEPING, "queue": ROOM, **fields})


def refusal(message: str = "exceeded quota", *, for_good: bool = False, when: float = 2) -> Refusal:
    """What the API server said to the job's Pod."""
    return Refusal(job=UID, for_good=for_good, message=message, until=at(when) + SOONEST_TRY)


RUNNING: dict[str, Any] = {
    "phase": "Running",
    "startTime": at(1),
    "podName": "fix-1",
    "attempts": [{"number": 1, "pod": "fix-1", "startTime": at(1)}],
    "attemptCount": 1,
    "conditions": [
        {
            "type": kind,
            "status": status,
            "reason": "Running",
            "message": "The agent works in Pod fix-1.",
            "lastTransitionTime": at(1),
            "observedGeneration": 1,
        }
        for kind, status in (("Ready", "False"), ("Reconciling", "True"))
    ],
}
"""The status of a job whose agent works."""


def attempt(number: int, reason: Reason | None = None, *, start: float | None = 1, end: float = 61) -> dict[str, Any]:
    """The record of an attempt; without a reason, of one that goes on."""
    found = {"number": number, "pod": f"fix-{number}", "startTime": at(start) if start is not None else None}
    return found if reason is None else {**found, "completionTime": at(end), "reason": reason}


def between(*reasons: Reason, end: float = 61, message: str = "So it was said.") -> dict[str, Any]:
    """The status of a job whose attempts ended for these reasons, the last one so many seconds after T0.

    It backs off, and says so in these words.
    """
    return standing("BackOff", message, *reasons, end=end)


def suspended(*reasons: Reason) -> dict[str, Any]:
    """The status of a job that is suspended after attempts that ended for these reasons."""
    return standing("Suspended", "spec.suspend is set.", *reasons)


def standing(word: str, message: str, *reasons: Reason, end: float = 61) -> dict[str, Any]:
    """The status of a job that stands so after attempts that ended for these reasons."""
    others = {Reason.SUSPENDED, *(each for each in Reason if each.retry_class is RetryClass.FREE)}
    numbered = [attempt(number, reason, end=end) for number, reason in enumerate(reasons, start=1)]
    kinds = {"Ready": "False", "Suspended" if word == "Suspended" else "Reconciling": "True"}
    common = {"reason": word, "message": message, "lastTransitionTime": at(end), "observedGeneration": 1}
    return {
        "startTime": at(1),
        "podName": f"fix-{len(reasons)}",
        "attempts": numbered[-MAX_ATTEMPTS_SHOWN:],
        "attemptCount": len(reasons),
        "failedCount": len([reason for reason in reasons if reason not in others]),
        "conditions": [{"type": kind, "status": status, **common} for kind, status in kinds.items()],
    }


def stalled(reason: str, message: str) -> dict[str, Any]:
    """The status of a job that waits for a person."""
    return {
        "podName": "fix-1",
        "attempts": [{"number": 1, "pod": "fix-1"}],
        "attemptCount": 1,
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": at(5),
                "observedGeneration": 1,
            }
            for kind, status in (("Ready", "False"), ("Stalled", "True"))
        ],
    }
