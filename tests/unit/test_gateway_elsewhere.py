"""Lines that one replica has lost: taken from what another one keeps of them, waited for, and told as lost at last."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_jobs import ENDED, agent_job
from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.cache import JobCache
from agentjob_gateway.elsewhere import AGAIN_SECONDS, MOST, Elsewhere
from agentjob_gateway.entries import entry_of, item_of
from agentjob_gateway.follow import Pace
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.known import Known
from agentjob_gateway.reading import Gap
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import OPEN, Position

Object = dict[str, Any]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUNNING: Object = {"phase": "Running", "attemptCount": 1, "attempts": [{"number": 1, "pod": "fix-1"}]}
PATIENCE = 3.0
GAP = Gap(1, 3, 5)


def line(seq: int) -> Line:
    return Line(seq, 1, NOON, False, b'{"n":%d}' % seq)


class Shelf:
    """What is kept at each look; None where the archive does not answer."""

    def __init__(self, *looks: Sequence[int] | None) -> None:
        self.asked: list[int] = []
        """After which seq lines were asked for."""
        self._looks = looks

    async def last(self, namespace: str, uid: str, attempt: int) -> Line | None:
        raise NotImplementedError

    async def lines(self, namespace: str, uid: str, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        assert (namespace, uid, attempt) == ("agents", "uid-fix", 1)
        found = self._looks[min(len(self.asked), len(self._looks) - 1)]
        self.asked.append(after)
        if found is None:
            raise ArchiveError("no answer")
        for seq in found:
            if seq > after:
                yield line(seq)


class Place:
    """A job of which lines are lost, on a clock that each wait takes on."""

    def __init__(self, shelf: Shelf | None, status: Object = RUNNING, *, is_alone: bool = False) -> None:
        self.waits: list[float] = []
        cache = JobCache(("agents",))
        cache.replace("agents", (), at=0)
        cache.put(agent_job(status=status))
        pace = Pace(wait=self._wait, clock=lambda: sum(self.waits))
        known = Known(cache, Key("agents", "fix"), "uid-fix", shelf)
        self.elsewhere = Elsewhere(known, pace, PATIENCE, lambda: is_alone)

    async def _wait(self, _: Known, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def told(self, *items: Line | Gap) -> list[str]:
        batch: list[Entry] = [entry_of("fix", item) for item in items]
        return [shown(entry) async for each in self.elsewhere.filled(batch) for entry in each]


def shown(entry: Entry) -> str:
    item = item_of(entry)
    return f"lost {item.first} to {item.last}" if isinstance(item, Gap) else str(item.seq)


@pytest.mark.parametrize(
    ("looks", "found", "waits"),
    [
        pytest.param([[3, 4, 5]], ["3", "4", "5"], 0, id="all of it is there"),
        pytest.param([[], [], [3, 4, 5]], ["3", "4", "5"], 2, id="all of it comes"),
        pytest.param([[3], [3, 4], [3, 4, 5]], ["3", "4", "5"], 2, id="it comes line by line"),
        pytest.param([[1, 2, 6, 7], [3, 4, 5, 6]], ["3", "4", "5"], 1, id="what is around it is left out"),
        pytest.param([None, None, [3, 4, 5]], ["3", "4", "5"], 2, id="the archive answers later"),
        pytest.param([[]], ["lost 3 to 5"], 3, id="nothing of it comes"),
        pytest.param([None], ["lost 3 to 5"], 3, id="the archive does not answer"),
        pytest.param([[3]], ["3", "lost 4 to 5"], 3, id="its end does not come"),
        pytest.param([[4]], ["lost 3 to 3", "4", "lost 5 to 5"], 3, id="its middle comes alone"),
    ],
)
async def test_lines_that_another_replica_has_take_the_place_of_a_gap(
    looks: list[list[int] | None], found: list[str], waits: int
) -> None:
    place = Place(Shelf(*looks))
    place.elsewhere.miss(Position(1, 5))
    assert await place.told(line(2), GAP, line(6)) == ["2", *found, "6"]
    assert place.waits == [AGAIN_SECONDS] * waits


async def test_what_came_before_a_gap_is_not_held_up_by_it() -> None:
    place = Place(Shelf([]))
    place.elsewhere.miss(Position(1, 5))
    filled = place.elsewhere.filled([entry_of("fix", item) for item in (line(1), line(2), GAP, line(6))])
    assert [shown(entry) for entry in await anext(filled)] == ["1", "2"]
    assert place.waits == []
    await filled.aclose()


async def test_however_many_wait_for_lines_it_is_looked_for_them_once() -> None:
    shelf = Shelf([], [], [3, 4, 5])
    place = Place(shelf)
    place.elsewhere.miss(Position(1, 5))
    assert await asyncio.gather(*(place.told(GAP) for _ in range(50))) == [["3", "4", "5"]] * 50
    assert len(shelf.asked) == 3


async def test_who_has_some_of_the_lines_is_not_told_that_they_are_lost_because_others_wait_for_them() -> None:
    place = Place(Shelf([]))
    place.elsewhere.miss(Position(1, 5))
    told = await asyncio.gather(place.told(GAP), place.told(GAP._replace(first=5)))
    assert list(told) == [["lost 3 to 5"], ["lost 5 to 5"]]


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        pytest.param([], ["lost 3 to 5"], id="which has nothing"),
        pytest.param([4, 5], ["lost 3 to 3", "4", "5"], id="which has some of it"),
    ],
)
async def test_without_another_replica_it_is_looked_once_into_the_archive(kept: list[int], found: list[str]) -> None:
    place = Place(Shelf(kept), is_alone=True)
    place.elsewhere.miss(Position(1, 5))
    assert await place.told(line(2), GAP, line(6)) == ["2", *found, "6"]
    assert place.waits == []


async def test_a_gap_that_is_old_is_looked_for_and_not_waited_for() -> None:
    shelf = Shelf([], [], [], [], [3, 4, 5])
    place = Place(shelf)
    place.elsewhere.miss(Position(1, 5))
    assert await place.told(GAP) == ["lost 3 to 5"]
    assert await place.told(GAP) == ["3", "4", "5"]
    assert len(place.waits) == PATIENCE


@pytest.mark.parametrize(
    ("shelf", "status", "gap"),
    [
        pytest.param(None, RUNNING, GAP, id="without an archive"),
        pytest.param(Shelf([3]), ENDED, GAP, id="of an attempt that is over"),
        pytest.param(Shelf([3]), RUNNING, Gap(1, 3, None), id="to an end that nobody knows"),
    ],
)
async def test_lines_that_nobody_will_write_are_not_waited_for(shelf: Shelf | None, status: Object, gap: Gap) -> None:
    place = Place(shelf, status)
    place.elsewhere.miss(Position(1, OPEN if gap.last is None else gap.last))
    assert await place.told(gap) == [f"lost 3 to {gap.last}"]
    assert (place.waits, shelf.asked if shelf else []) == ([], [])


async def test_of_a_log_full_of_holes_the_latest_are_looked_for_and_no_others() -> None:
    shelf = Shelf([2 * MOST])
    place = Place(shelf)
    holes = [Gap(1, seq, seq) for seq in range(2, 4 * MOST + 1, 2)]
    for hole in holes:
        place.elsewhere.miss(Position(1, hole.first))
    told = await place.told(*holes)
    assert told == [f"lost {hole.first} to {hole.first}" for hole in holes]
    assert set(shelf.asked) == {hole.first - 1 for hole in holes[-MOST:]}
    assert sum(place.waits) == PATIENCE
