"""An operator may be killed before and after each of its writes, or another act beside it: nothing is lost."""

import pytest

from came_to import FAKE, Results, Run, timed
from disturbed import disturbed, doubled, killed_at, usual
from lives import LIVES

SHORT = {"succeeds, and goes in time", "fails, and succeeds at its second attempt"}
"""Lives that have all kinds of writes but one to stop an agent."""
KILLS = [
    pytest.param(
        name,
        number,
        after,
        id=f"a job that {name}: {'after' if after else 'before'} {number}, {write}",
        marks=[] if name in SHORT else pytest.mark.long,
    )
    for name, life in LIVES.items()
    for number, write in enumerate(life.writes, start=1)
    for after in (False, True)
]


@pytest.mark.parametrize("name", LIVES)
async def test_an_undisturbed_life_has_the_writes_that_an_operator_is_killed_at(results: Results, name: str) -> None:
    assert await usual(results, name) > 0


@pytest.mark.parametrize("name", LIVES)
async def test_two_operators_that_act_at_once_lose_and_double_nothing(results: Results, name: str) -> None:
    life, undisturbed = LIVES[name], await usual(results, name)
    took: list[float] = []
    async with disturbed() as op, doubled(op):
        await op.is_watching()
        with timed(took.append):
            await op.lives(life)
        await op.nothing_was_lost_or_doubled(life)
    fault = "two operators act at once, with no Lease between them, on a job of each kind"
    results.add(Run(FAKE, "operator", fault, "an Event may come twice", undisturbed, took[0]))


@pytest.mark.parametrize(("name", "number", "after"), KILLS)
async def test_an_operator_that_is_killed_at_any_write_loses_and_doubles_nothing(
    results: Results, name: str, number: int, after: bool
) -> None:
    life, undisturbed = LIVES[name], await usual(results, name)
    took: list[float] = []
    async with disturbed() as op, killed_at(op, number, after=after):
        await op.is_watching()
        with timed(took.append):
            await op.lives(life)
        await op.nothing_was_lost_or_doubled(life)
    writes = len(life.writes)
    fault = f"operator killed before and after each of the {writes} writes of a job that {name}"
    sees = "nothing" if "create events" not in life.writes else "an Event may be missing; the status says the same"
    results.add(Run(FAKE, "operator", fault, sees, undisturbed, took[0]))
