"""Lines that one replica has lost: taken from what another one keeps of them, waited for, and told as lost at last."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_jobs import ENDED, agent_job
from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.archive import SECONDS
from agentjob_gateway.cache import JobCache
from agentjob_gateway.elsewhere import AGAIN_SECONDS, MOST, Elsewhere
from agentjob_gateway.entries import entry_of, item_of
from agentjob_gateway.follow import Pace
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.known import Known
from agentjob_gateway.reading import Gap
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import OPEN, Position
from timeless import now, run

Object = dict[str, Any]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUNNING: Object = {"phase": "Running", "attemptCount": 1, "attempts": [{"number": 1, "pod": "fix-1"}]}
PATIENCE = 4.0
GAP = Gap(1, 3, 5)
HANGS = 0
"""In the place of a line: from here on the archive gives no answer, until its own time is over."""
SLOW = -1
"""In the place of a line: what comes next takes a while."""
SLOW_SECONDS = 0.9


def line(seq: int) -> Line:
    return Line(seq, 1, NOON, False, b'{"n":%d}' % seq)


class Shelf:
    """What is kept at each look; None where the archive does not answer."""

    def __init__(self, *looks: Sequence[int] | None) -> None:
        self.asked: list[int] = []
        """After which seq lines were asked for."""
        self.open = self.most_open = 0
        """How many looks are not over, and were not at once."""
        self._looks = looks

    async def last(self, namespace: str, uid: str, attempt: int) -> Line | None:
        raise NotImplementedError

    async def lines(self, namespace: str, uid: str, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        assert (namespace, uid, attempt) == ("agents", "uid-fix", 1)
        found = self._looks[min(len(self.asked), len(self._looks) - 1)]
        self.asked.append(after)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            if found is None:
                raise ArchiveError("no answer")
            for seq in found:
                if seq == HANGS:
                    await asyncio.sleep(SECONDS)
                    raise ArchiveError("no answer")
                if seq == SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                if seq > after:
                    yield line(seq)
        finally:
            self.open -= 1


def known(shelf: Shelf | None, status: Object = RUNNING) -> Known:
    cache = JobCache(("agents",))
    cache.replace("agents", (), at=0)
    cache.put(agent_job(status=status))
    return Known(cache, Key("agents", "fix"), "uid-fix", shelf)


class Place:
    """A job of which lines are lost, on a clock that each wait takes on."""

    def __init__(self, shelf: Shelf | None, status: Object = RUNNING, *, is_alone: bool = False) -> None:
        self.waits: list[float] = []
        pace = Pace(wait=self._wait, clock=lambda: sum(self.waits))
        self.elsewhere = Elsewhere(known(shelf, status), pace, PATIENCE, lambda: is_alone)

    async def _wait(self, _: Known, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def told(self, *items: Line | Gap) -> list[str]:
        return await told(self.elsewhere, *items)


async def told(elsewhere: Elsewhere, *items: Line | Gap) -> list[str]:
    batch: list[Entry] = [entry_of("fix", item) for item in items]
    return [shown(entry) async for each in elsewhere.filled(batch) for entry in each]


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
    place.elsewhere.miss(Position(1, 5), 0.0)
    assert await place.told(line(2), GAP, line(6)) == ["2", *found, "6"]
    assert place.waits == [AGAIN_SECONDS] * waits


async def test_what_came_before_a_gap_is_not_held_up_by_it() -> None:
    place = Place(Shelf([]))
    place.elsewhere.miss(Position(1, 5), 0.0)
    filled = place.elsewhere.filled([entry_of("fix", item) for item in (line(1), line(2), GAP, line(6))])
    assert [shown(entry) for entry in await anext(filled)] == ["1", "2"]
    assert place.waits == []
    await filled.aclose()


async def test_however_many_wait_for_lines_it_is_looked_for_them_once() -> None:
    shelf = Shelf([], [], [3, 4, 5])
    place = Place(shelf)
    place.elsewhere.miss(Position(1, 5), 0.0)
    assert await asyncio.gather(*(place.told(GAP) for _ in range(50))) == [["3", "4", "5"]] * 50
    assert len(shelf.asked) == 3


async def test_who_has_some_of_the_lines_is_not_told_that_they_are_lost_because_others_wait_for_them() -> None:
    place = Place(Shelf([]))
    place.elsewhere.miss(Position(1, 5), 0.0)
    found = await asyncio.gather(place.told(GAP), place.told(GAP._replace(first=5)))
    assert list(found) == [["lost 3 to 5"], ["lost 5 to 5"]]


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        pytest.param([], ["lost 3 to 5"], id="which has nothing"),
        pytest.param([4, 5], ["lost 3 to 3", "4", "5"], id="which has some of it"),
    ],
)
async def test_without_another_replica_it_is_looked_once_into_the_archive(kept: list[int], found: list[str]) -> None:
    place = Place(Shelf(kept), is_alone=True)
    place.elsewhere.miss(Position(1, 5), 0.0)
    assert await place.told(line(2), GAP, line(6)) == ["2", *found, "6"]
    assert place.waits == []


async def test_a_gap_that_is_old_is_looked_for_and_not_waited_for() -> None:
    shelf = Shelf([], [], [], [], [3, 4, 5])
    place = Place(shelf)
    place.elsewhere.miss(Position(1, 5), 0.0)
    assert await place.told(GAP) == ["lost 3 to 5"]
    assert await place.told(GAP) == ["3", "4", "5"]
    assert sum(place.waits) == PATIENCE - AGAIN_SECONDS


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
    place.elsewhere.miss(Position(1, OPEN if gap.last is None else gap.last), 0.0)
    assert await place.told(gap) == [f"lost 3 to {gap.last}"]
    assert (place.waits, shelf.asked if shelf else []) == ([], [])


async def test_of_a_log_full_of_holes_the_latest_are_looked_for_and_no_others() -> None:
    shelf = Shelf([2 * MOST])
    place = Place(shelf)
    holes = [Gap(1, seq, seq) for seq in range(2, 4 * MOST + 1, 2)]
    for hole in holes:
        place.elsewhere.miss(Position(1, hole.first), 0.0)
    assert await place.told(*holes) == [f"lost {hole.first} to {hole.first}" for hole in holes]
    assert set(shelf.asked) == {hole.first - 1 for hole in holes[-MOST:]}
    assert sum(place.waits) == PATIENCE - AGAIN_SECONDS


class Silent:
    """A place on a loop whose waits take no time, with an archive that may not answer for ever."""

    def __init__(self, *looks: Sequence[int] | None, is_alone: bool = False) -> None:
        self.shelf = Shelf(*looks)
        self.elsewhere = Elsewhere(known(self.shelf), Pace(clock=now), PATIENCE, lambda: is_alone)

    async def told(self, *items: Line | Gap) -> tuple[list[str], float]:
        """What is told, and after how many seconds; nothing is asked any more by then."""
        begun = now()
        found = await told(self.elsewhere, *items)
        await asyncio.sleep(0)
        assert self.shelf.open == 0
        assert self.shelf.most_open == 1
        return found, round(now() - begun, 3)


@pytest.mark.parametrize(
    ("looks", "found", "seconds"),
    [
        pytest.param([[HANGS]], ["lost 3 to 5"], PATIENCE, id="never"),
        pytest.param([[], [HANGS]], ["lost 3 to 5"], PATIENCE, id="no more"),
        pytest.param([None, [HANGS]], ["lost 3 to 5"], PATIENCE, id="at last not even with an error"),
        pytest.param([[3, HANGS]], ["3", "lost 4 to 5"], PATIENCE, id="after a line"),
        pytest.param([[], [], [], [4, HANGS]], ["lost 3 to 3", "4", "lost 5 to 5"], PATIENCE, id="after a late line"),
        pytest.param([[HANGS], [3, 4, 5]], ["3", "4", "5"], PATIENCE - AGAIN_SECONDS, id="but at the last look"),
    ],
)
def test_an_archive_that_gives_no_answer_holds_up_nobody_for_longer_than_lines_are_waited_for(
    looks: list[list[int] | None], found: list[str], seconds: float
) -> None:
    async def play() -> None:
        place = Silent(*looks)
        place.elsewhere.miss(Position(1, 5), now())
        assert await place.told(line(2), GAP, line(6)) == (["2", *found, "6"], seconds)

    run(play())


@pytest.mark.parametrize("is_alone", [False, True], ids=["with another replica", "without one"])
def test_whoever_comes_when_an_archive_is_silent_waits_no_longer_than_the_first(*, is_alone: bool) -> None:
    async def play() -> None:
        place = Silent([HANGS], [HANGS], [HANGS], [3, 4, 5], is_alone=is_alone)
        place.elsewhere.miss(Position(1, 5), now())
        await asyncio.sleep(2 * PATIENCE)
        assert await place.told(GAP, line(6)) == (["lost 3 to 5", "6"], PATIENCE)
        await asyncio.sleep(AGAIN_SECONDS)
        assert await place.told(GAP, line(6)) == (["lost 3 to 5", "6"], PATIENCE)

    run(play())


@pytest.mark.parametrize("before", [0.0, 2 * PATIENCE], ids=["lost just now", "lost long ago"])
def test_many_gaps_are_waited_for_no_longer_than_one_by_whom_the_archive_does_not_answer(before: float) -> None:
    async def play() -> None:
        place = Silent([HANGS])
        holes = [Gap(1, seq, seq) for seq in range(2, 2 * MOST + 1, 2)]
        for hole in holes:
            place.elsewhere.miss(Position(1, hole.first), now())
        await asyncio.sleep(before)
        assert await place.told(*holes) == ([f"lost {each.first} to {each.first}" for each in holes], PATIENCE)

    run(play())


def test_lines_that_come_one_by_one_are_not_cut_off_when_the_time_is_over() -> None:
    async def play() -> None:
        place = Silent([], [], [3, SLOW, 4, SLOW, 5])
        place.elsewhere.miss(Position(1, 5), now())
        assert await place.told(GAP) == (["3", "4", "5"], 2 * AGAIN_SECONDS + 2 * SLOW_SECONDS)
        place = Silent([], [], [], [3, SLOW, 4, SLOW, 5])
        place.elsewhere.miss(Position(1, 5), now())
        found, seconds = await place.told(GAP)
        assert found == ["3", "4", "5"]
        assert seconds > PATIENCE

    run(play())


def test_lines_behind_those_that_are_missing_have_a_while_to_come_when_the_others_took_all_the_time() -> None:
    async def play() -> None:
        place = Silent([], [], [SLOW, 3, SLOW, 5], [SLOW, 5])
        place.elsewhere.miss(Position(1, 5), now())
        assert (await place.told(GAP))[0] == ["3", "lost 4 to 4", "5"]

    run(play())


def test_lines_that_come_after_they_were_told_as_lost_are_not_told_again() -> None:
    async def play() -> None:
        place = Silent([3, HANGS], [HANGS], [3, 4, 5, 6, 7])
        place.elsewhere.miss(Position(1, 5), now())
        assert (await place.told(GAP, line(6)))[0] == ["3", "lost 4 to 5", "6"]
        assert (await place.told(line(7)))[0] == ["7"]
        await asyncio.sleep(AGAIN_SECONDS)
        assert (await place.told(GAP, line(6)))[0] == ["3", "4", "5", "6"], "to whoever comes later"

    run(play())
