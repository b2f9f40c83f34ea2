"""The conditions of a job, as kstatus wants them: a table."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from agentjob_api.phases import Phase
from agentjob_api.status import MAX_MESSAGE, Condition, ConditionStatus, ConditionType


class Summary(NamedTuple):
    """Where a job stands."""

    phase: Phase
    reason: str
    """In one word: of reasons.py when it has ended or cannot start, of `Standing` otherwise."""
    message: str = ""
    stalled: bool = False
    """Whether it waits for something that only a person can change."""
    suspended: bool = False


HOLDS: dict[ConditionType, Callable[[Summary], bool]] = {
    ConditionType.READY: lambda job: job.phase is Phase.SUCCEEDED,
    ConditionType.COMPLETE: lambda job: job.phase is Phase.SUCCEEDED,
    ConditionType.FAILED: lambda job: job.phase in {Phase.FAILED, Phase.CANCELLED},
    ConditionType.RECONCILING: lambda job: not job.phase.is_final and not job.stalled and not job.suspended,
    ConditionType.STALLED: lambda job: job.stalled or job.phase in {Phase.FAILED, Phase.CANCELLED},
    ConditionType.SUSPENDED: lambda job: job.suspended,
}
"""When each condition is true."""
OTHERS: Final = frozenset({ConditionType.ARCHIVED, ConditionType.RECONCILE_FAILURE})
"""Conditions that are set beside what is decided, and that stay as they are."""
ALWAYS_THERE = frozenset({ConditionType.READY})
"""Conditions that are there when false as well; kstatus wants the others to be absent then."""


def conditions(job: Summary, generation: int, before: Sequence[Condition], now: datetime) -> list[Condition]:
    """The conditions of a job; the time of one that was there before with the same status stays.

    Those that are set by others stay altogether.
    """
    since = {(old.type, old.status): old.last_transition_time for old in before}
    found: list[Condition] = []
    for kind, holds in HOLDS.items():
        status = ConditionStatus.TRUE if holds(job) else ConditionStatus.FALSE
        if status is ConditionStatus.TRUE or kind in ALWAYS_THERE:
            found.append(
                Condition(
                    type=kind,
                    status=status,
                    reason=job.reason,
                    message=job.message[:MAX_MESSAGE],
                    last_transition_time=since.get((kind, status), now),
                    observed_generation=generation,
                )
            )
    return [*found, *(old for old in before if old.type in OTHERS)]


def standing(found: Sequence[Condition]) -> str | None:
    """Where a job stands, in one word: the reason of its condition Ready."""
    ready = find(found, ConditionType.READY)
    return ready.reason if ready is not None else None


def find(found: Sequence[Condition], kind: ConditionType) -> Condition | None:
    """The condition of a type, where it is there."""
    return next((condition for condition in found if condition.type is kind), None)


def without(found: Sequence[Condition], kind: ConditionType) -> list[Condition]:
    """The other conditions."""
    return [condition for condition in found if condition.type is not kind]
