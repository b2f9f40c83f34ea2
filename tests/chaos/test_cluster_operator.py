"""The operator as a process beside the real API server: killed at any write, stopped with work in hand, cut off."""

from functools import partial

import pytest

from came_to import KIND, Results, Run, timed
from disturbed import killed_at
from lives import LIVES, usual
from on_cluster import Place, on_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(400)]

LIVED = (
    "succeeds, and goes in time",
    "fails, and succeeds at its second attempt",
    "is suspended while it works, and let go",
    "is cancelled while it works",
)
KILLS = [
    pytest.param(name, number, after, id=f"a job that {name}: {'after' if after else 'before'} {number}, {write}")
    for name in LIVED
    for number, write in enumerate(LIVES[name].writes, start=1)
    for after in (False, True)
]


@pytest.mark.parametrize(("name", "number", "after"), KILLS)
async def test_an_operator_that_is_killed_at_any_write_loses_and_doubles_nothing(
    results: Results, place: Place, name: str, number: int, after: bool
) -> None:
    life, undisturbed = LIVES[name], await usual(results, name, KIND, partial(on_cluster, place))
    took: list[float] = []
    async with on_cluster(place) as op:
        await op.is_watching()
        async with killed_at(op, number, after=after) as away:
            with timed(took.append):
                await op.lives(life)
            await op.nothing_was_lost_or_doubled(life)
    fault = f"operator killed before and after each of the {len(life.writes)} writes of a job that {name}"
    results.add(Run(KIND, "operator", fault, "nothing", undisturbed, took[0], sum(away)))
