"""The second of two writers: it writes what the first has not written in time, and nothing else."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import obstore.store
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_jobs import agent_job
from agentjob_api.lines import Line
from agentjob_gateway.archive import Archive
from agentjob_gateway.archive_keys import Kept, Part, Span
from agentjob_gateway.reading import Gap
from agentjob_gateway.record import ArchiveCounts, Pace, Record
from agentjob_gateway.second import LOOKS, Second
from agentjob_kube.backoff import Backoff
from scripted_lines import Script
from stores import Unreliable

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NS, UID = "agents", "uid-fix"
QUICK = Pace(part_seconds=0.002, again=Backoff(first=0.001, most=0.01))


def line(seq: int) -> Line:
    return Line(seq, 1, NOON, False, b'{"n":%d}' % seq)


def part(first: int, last: int) -> Part:
    found = Part(line(first))
    for seq in range(first + 1, last + 1):
        found.take(line(seq))
    return found


class Place:
    """A second writer, and what happens while it waits for the first."""

    def __init__(self, *, is_alone: bool = False) -> None:
        self.store = Unreliable(obstore.store.MemoryStore())
        self.archive = Archive(self.store)
        self.heard: list[int] = []
        pace = Pace(part_seconds=7.0, sleep=self._wait)
        self.second = Second(self.archive, lambda line: self.heard.append(line.seq), pace, is_alone=is_alone)
        self.waits: list[float] = []
        self.meanwhile: Callable[[], Coroutine[Any, Any, object]] | None = None

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()

    async def first(self, *spans: tuple[int, int]) -> None:
        """Writes as the first does."""
        for span in spans:
            await self.archive.write(NS, UID, part(*span))

    async def write(self, first: int, last: int) -> bool:
        return await self.second.write(NS, UID, part(first, last)) > 0

    async def spans(self) -> tuple[Span, ...]:
        return (await self.archive.kept(NS, UID)).get(1, Kept()).parts


@pytest.mark.parametrize(
    ("before", "meanwhile", "waits", "writes"),
    [
        pytest.param([(1, 9)], [], 0, False, id="it is there"),
        pytest.param([(1, 5), (6, 9)], [], 0, False, id="it is there in other parts"),
        pytest.param([(1, 5)], [(6, 9)], 1, False, id="the rest of it comes in time"),
        pytest.param([], [(1, 20)], 1, False, id="all of it comes in time"),
        pytest.param([(1, 5)], [(7, 8)], 2, True, id="a line of it does not come"),
        pytest.param([], [], 2, True, id="nothing comes"),
        pytest.param([(1, 5)], [(7, 9)], 1, True, id="a line of it is left out meanwhile"),
        pytest.param([(1, 5), (7, 9)], [], 0, True, id="a line of it has been left out"),
    ],
)
async def test_a_part_is_written_unless_the_first_has_written_it_in_time(
    before: list[tuple[int, int]], meanwhile: list[tuple[int, int]], waits: int, writes: bool
) -> None:
    place = Place()
    await place.first(*before)
    place.meanwhile = lambda: place.first(*meanwhile)
    assert await place.write(2, 8) is writes
    assert place.waits == [3.5] * waits
    assert (Span(2, 8) in await place.spans()) is writes
    assert place.heard == (list(range(2, 9)) if writes else [])


async def test_who_does_not_write_is_not_waited_for_again_until_they_do() -> None:
    place = Place()
    assert [await place.write(seq, seq) for seq in (1, 2, 3)] == [True, True, True]
    assert len(place.waits) == LOOKS
    await place.first((4, 4))
    assert [await place.write(seq, seq) for seq in (4, 5)] == [False, True]
    assert len(place.waits) == 2 * LOOKS


async def test_where_the_first_may_not_have_begun_it_is_not_waited_for_until_it_writes() -> None:
    place = Place(is_alone=True)
    assert [await place.write(seq, seq) for seq in (1, 2)] == [True, True]
    assert place.waits == []
    await place.first((3, 3))
    assert [await place.write(seq, seq) for seq in (3, 4)] == [False, True]
    assert len(place.waits) == LOOKS


async def test_who_has_left_out_lines_is_waited_for_as_ever() -> None:
    place = Place()
    await place.first((3, 4))
    assert [await place.write(*span) for span in ((1, 2), (3, 4))] == [True, False]
    assert place.waits == []
    await place.write(5, 5)
    assert len(place.waits) == LOOKS


async def test_what_is_sealed_is_left_alone() -> None:
    place = Place()
    await place.first((1, 3))
    await place.archive.seal(NS, UID, 1)
    assert await place.write(4, 4) is False
    assert await place.archive.kept(NS, UID) == {1: Kept(is_sealed=True)}


async def test_when_an_attempt_is_over_and_what_is_lost_is_for_the_first_to_say() -> None:
    place = Place()
    await place.first((1, 3))
    await place.second.note_gaps(NS, UID, 1, [Gap(1, 4, 5)])
    await place.second.seal(NS, UID, 1)
    assert await place.second.kept(NS, UID) == {1: Kept(parts=(Span(1, 3),))}
    await place.archive.note_gaps(NS, UID, 1, [Gap(1, 4, 5)])
    assert await place.second.gaps(NS, UID, 1) == (Gap(1, 4, 5),)


@settings(max_examples=60, deadline=None)
@given(kill=st.integers(0, 150), lost=st.sets(st.integers(1, 40), max_size=8))
def test_whenever_the_first_is_killed_the_second_has_written_every_line(kill: int, lost: set[int]) -> None:
    """Some lines do not reach the first: it has come just now."""
    lines = [line(seq) for seq in range(1, 41)]
    holes: list[Line | Gap] = [Gap(1, each.seq, each.seq) if each.seq in lost else each for each in lines]

    async def play() -> None:
        archive = Archive(obstore.store.MemoryStore())
        script = Script(*holes)
        script.is_over = False
        first = asyncio.create_task(Record(script, archive, agent_job(), ArchiveCounts(), QUICK).run())
        heard: list[Line] = []
        shelf = Second(archive, heard.append, QUICK)
        second = asyncio.create_task(Record(Script(*lines), shelf, agent_job(), ArchiveCounts(), QUICK).run())
        for _ in range(kill):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert [each async for each in archive.lines(NS, UID, 1, 0)] == lines
        assert not (await archive.kept(NS, UID))[1].is_sealed

    asyncio.run(play())
