"""What an operator has seen, and when by its own clock."""

from datetime import datetime

import pytest

from agentjob_operator.sightings import Sightings
from agentjob_operator.world import World
from worlds import RUNNING, at, job, pod, running, terminated, told, world

UNFINISHED = job(RUNNING)
FINISHED = job({**RUNNING, "phase": "Succeeded", "completionTime": at(61)})
WORKS, ENDED = pod(agent=running()), pod(agent=terminated(told()))


def looks(*worlds: World) -> World:
    """What is made of the last of several looks at a job."""
    sightings = Sightings()
    *before, last = worlds
    for each in before:
        sightings.noted(each)
    return sightings.noted(last)


@pytest.mark.parametrize(
    ("looked", "seen", "ended"),
    [
        pytest.param([world(UNFINISHED, WORKS, now=at(300))], at(300), None, id="at the first look"),
        pytest.param(
            [world(UNFINISHED, WORKS, now=at(300)), world(UNFINISHED, WORKS, now=at(310))], at(300), None,
            id="and so at the next one",
        ),
        pytest.param(
            [world(UNFINISHED, WORKS, now=at(300)), world(UNFINISHED, ENDED, now=at(310))], at(300), at(310),
            id="and its end when there is one",
        ),
        pytest.param(
            [world(UNFINISHED, WORKS, now=at(300)), world(None, now=at(310)), world(UNFINISHED, WORKS, now=at(320))],
            at(320), None, id="and not when there was none in between",
        ),
    ],
)  # fmt: skip
def test_a_pod_was_seen(looked: list[World], seen: datetime, ended: datetime | None) -> None:
    [found] = looks(*looked).pods
    assert (found.seen, found.seen_ended) == (seen, ended)


@pytest.mark.parametrize(
    ("looked", "finished"),
    [
        pytest.param([world(UNFINISHED, now=at(361))], None, id="not before it is"),
        pytest.param([world(UNFINISHED, now=at(361)), world(FINISHED, now=at(362))], at(362), id="when it is"),
        pytest.param(
            [world(UNFINISHED, now=at(361)), world(FINISHED, now=at(362)), world(FINISHED, now=at(400))], at(362),
            id="and so at the next look",
        ),
        pytest.param([world(FINISHED, now=at(362))], None, id="not where it had before an operator has started"),
    ],
)  # fmt: skip
def test_a_job_was_seen_to_have_ended(looked: list[World], finished: datetime | None) -> None:
    assert looks(*looked).finished == finished


def test_what_is_gone_is_forgotten() -> None:
    sightings = Sightings()
    sightings.noted(world(UNFINISHED, WORKS))
    sightings.noted(world(None))
    assert not sightings._first
