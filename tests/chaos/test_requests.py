"""What goes wrong between one operator and the API server costs time, never a job."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from came_to import FAKE, Results, Run, timed
from disturbed import disturbed
from fault_proxy import (
    WRITES,
    Doubled,
    ErrorEvent,
    Refused,
    Reset,
    Rule,
    Silence,
    Skipped,
    Slow,
    Stale,
    lasted,
)
from lives import LIVES, usual

LIFE = "fails, and succeeds at its second attempt"
LATE = "its status comes late"
SECONDS = 2.0
"""How long a fault lasts that does not last for ever."""


@dataclass(frozen=True)
class Row:
    """A fault and what a user sees of it."""

    rules: tuple[Rule, ...]
    sees: str = LATE
    settings: Mapping[str, Any] = field(default_factory=dict)
    life: str = LIFE
    """The one that is lived: where each verb has a rule, it has each."""


def all_of(verb: str, resource: str, fault: Any, seconds: float = SECONDS) -> Rule:
    return Rule(verb, resource, fault, times=math.inf, seconds=seconds)


ROWS: Mapping[str, Row] = {
    "connections are reset": Row((all_of("*", "*", Reset()), all_of("event", "*", Reset()))),
    "writes are done and their answers lost": Row((all_of("write", "*", Reset(after=True)),)),
    "connections stand and nothing comes, then they break": Row(
        (all_of("*", "*", Silence(SECONDS)), all_of("event", "*", Silence(SECONDS)))
    ),
    "each request and event takes 0.2 s longer, all the time": Row(
        (all_of("*", "*", Slow(0.2), math.inf), all_of("event", "*", Slow(0.2), math.inf))
    ),
    "ERROR 410 in the watches": Row((all_of("event", "*", ErrorEvent(410)),)),
    "ERROR 429 in the watches": Row((all_of("event", "*", ErrorEvent(429)),)),
    "ERROR 500 in the watches": Row((all_of("event", "*", ErrorEvent(500)),)),
    "410 to LISTs and in the watches": Row((all_of("list", "*", Refused(410)), all_of("event", "*", ErrorEvent(410)))),
    "500 to every request": Row((all_of("*", "*", Refused(500)),)),
    "503 to every request, and the watches break": Row(
        (all_of("*", "*", Refused(503)), all_of("event", "*", Reset())),
    ),
    "429 with Retry-After: 1 to every request": Row((all_of("*", "*", Refused(429, retry_after=1)),)),
    "401, the token has expired": Row((all_of("*", "*", Refused(401)), all_of("event", "*", Reset()))),
    "403, rights are revoked": Row(
        (
            *(all_of(verb, "*", Refused(403)) for verb in ("list", "watch", *sorted(WRITES))),
            all_of("event", "*", Reset()),
        ),
        life="is suspended while it works, and let go",
    ),
    "every event is told twice": Row((all_of("event", "*", Doubled(), math.inf),), sees="nothing"),
    "events of jobs are not told": Row(
        (all_of("event", "agentjobs", Skipped()),), "its status comes late, by resyncSeconds", {"resyncSeconds": 0.5}
    ),
    "events of Pods are not told": Row(
        (all_of("event", "pods", Skipped()),), "its status comes late, by resyncSeconds", {"resyncSeconds": 0.5}
    ),
    "LISTs are as old as the first one, and the watches break": Row(
        (all_of("list", "*", Stale()), all_of("event", "*", ErrorEvent(410)))
    ),
}


LONG = {
    "connections stand and nothing comes, then they break",
    "each request and event takes 0.2 s longer, all the time",
    "ERROR 429 in the watches",
    "ERROR 500 in the watches",
    "503 to every request, and the watches break",
    "403, rights are revoked",
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.long if fault in LONG else []) for fault in ROWS]
)
async def test_nothing_is_lost_or_doubled_when(results: Results, fault: str) -> None:
    row = ROWS[fault]
    life, undisturbed = LIVES[row.life], await usual(results, row.life)
    took: list[float] = []
    rules = [replace(rule) for rule in row.rules]
    async with disturbed(**row.settings) as op:
        await op.is_watching()
        op.proxy.rules += rules
        with timed(took.append):
            await op.lives(life)
        await op.nothing_was_lost_or_doubled(life)
    assert [rule for rule in rules if math.isinf(rule.begun) and rule.verb != "list"] == []
    results.add(Run(FAKE, "requests", fault, row.sees, undisturbed, took[0], lasted(rules)))
