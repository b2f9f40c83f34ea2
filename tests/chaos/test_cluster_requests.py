"""What goes wrong between one operator and the real API server, for longer than on the fake cluster."""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from came_to import KIND, Results, Run, timed
from fault_proxy import Rule, Silence, lasted
from lives import LIVES, usual
from on_cluster import Place, on_cluster
from tests.chaos.test_requests import ROWS, SECONDS

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(300)]

MINUTE = (
    "500 to every request",
    "503 to every request, and the watches break",
    "connections are reset",
    "connections stand and nothing comes, then they break",
)
"""Faults that are also tried for a minute."""
CASES = [(fault, 10.0) for fault in ROWS] + [(fault, 60.0) for fault in MINUTE]


def lasting(rules: Iterable[Rule], seconds: float) -> list[Rule]:
    """The same faults for so many seconds, if they are to end at all."""
    longer = [replace(rule, seconds=seconds) if rule.seconds == SECONDS else replace(rule) for rule in rules]
    return [replace(rule, fault=Silence(seconds)) if isinstance(rule.fault, Silence) else rule for rule in longer]


@pytest.mark.parametrize(("fault", "seconds"), [pytest.param(*case, id=f"{case[0]}, {case[1]:g} s") for case in CASES])
async def test_nothing_is_lost_or_doubled_when(results: Results, place: Place, fault: str, seconds: float) -> None:
    row = ROWS[fault]
    life, undisturbed = LIVES[row.life], await usual(results, row.life, KIND, partial(on_cluster, place))
    rules = lasting(row.rules, seconds)
    took: list[float] = []
    async with on_cluster(place, **row.settings) as op:
        await op.is_watching()
        op.proxy.rules += rules
        with timed(took.append):
            await op.lives(life)
        await op.nothing_was_lost_or_doubled(life)
    assert any(rule.begun < math.inf for rule in rules)
    about = fault if math.isinf(min(rule.seconds for rule in rules)) else f"{fault}, {seconds:g} s"
    results.add(Run(KIND, "requests", about, row.sees, undisturbed, took[0], lasted(rules)))
