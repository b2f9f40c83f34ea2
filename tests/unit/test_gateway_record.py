"""One job on its way into the archive: whatever breaks, however often it is begun again, every line is kept once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import obstore.store
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_jobs import agent_job
from agentjob_api.lines import Line
from agentjob_gateway.archive import Archive
from agentjob_gateway.archive_keys import PART_BYTES, Kept, Part, Span
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.reading import Gap
from agentjob_gateway.record import PENDING_BYTES, ArchiveCounts, Pace, Record
from agentjob_gateway.sse import Position
from agentjob_kube.backoff import Backoff
from operated import until
from scripted_lines import Script
from stores import Unreliable

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB = agent_job()
NS, UID = "agents", "uid-fix"
QUICK = Pace(part_seconds=0.005, again=Backoff(first=0.001, most=0.01))
PATIENT = QUICK._replace(part_seconds=60.0)
FULL = OSError(28, "No space left on device")


def line(seq: int, attempt: int = 1, size: int = 0) -> Line:
    return Line(seq, attempt, NOON, False, b'{"n":"%d-%d%b"}' % (attempt, seq, b"x" * size))


class Place:
    def __init__(self) -> None:
        self.store = Unreliable(obstore.store.MemoryStore())
        self.archive = Archive(self.store)
        self.counts = ArchiveCounts()

    def record(self, script: Script, pace: Pace = QUICK) -> Record:
        return Record(script, self.archive, JOB, self.counts, pace)

    async def read(self, attempt: int = 1) -> list[Line]:
        return [each async for each in self.archive.lines(NS, UID, attempt, 0)]

    async def kept(self) -> dict[int, Kept]:
        return await self.archive.kept(NS, UID)

    def puts(self) -> list[str]:
        return [each.removeprefix("put ").removesuffix(".jsonl.zst") for each in self.store.done if "put " in each]


def named(attempt: int, first: int, last: int) -> str:
    return f"{attempt}/{first:015d}-{last:015d}"


async def test_a_job_is_written_as_it_goes_and_sealed_at_its_end() -> None:
    place, script = Place(), Script(line(1), line(2))
    script.is_over = False
    running = asyncio.create_task(place.record(script).run())

    async def written() -> bool:
        return place.puts() == [named(1, 1, 2)]

    await until(written)
    assert await place.read() == [line(1), line(2)]
    script.say(line(3), is_over=True)

    assert await running is True
    assert place.puts() == [named(1, 1, 2), named(1, 3, 3), "1"]
    assert (await place.kept(), await place.read()) == ({1: Kept(is_sealed=True)}, [line(1), line(2), line(3)])
    assert (place.counts.lines, place.counts.failures) == (3, 0)


async def test_many_lines_are_written_before_their_time() -> None:
    place, script = Place(), Script(*(line(seq, size=PART_BYTES // 4) for seq in range(1, 7)))
    script.is_over = False
    running = asyncio.create_task(place.record(script, PATIENT).run())

    async def written() -> bool:
        return place.puts() == [named(1, 1, 4)]

    await until(written)
    script.say(is_over=True)
    assert await running is True


async def test_every_attempt_is_sealed_when_it_is_over() -> None:
    place, script = Place(), Script(line(1), line(2), line(1, 2), line(1, 4))
    assert await place.record(script, PATIENT).run() is True
    assert place.puts() == [named(1, 1, 2), "1", named(2, 1, 1), "2", named(4, 1, 1), "4"]


async def test_a_job_without_lines_is_kept_at_once() -> None:
    place = Place()
    assert await place.record(Script()).run() is True
    assert place.puts() == []


@pytest.mark.parametrize(
    ("items", "puts"),
    [
        pytest.param([Gap(1, 1, 2), line(3)], ["1.gaps", named(1, 3, 3), "1"], id="at the beginning"),
        pytest.param(
            [line(1), Gap(1, 2, 5), line(6)], [named(1, 1, 1), "1.gaps", named(1, 6, 6), "1"], id="in the middle"
        ),
        pytest.param([line(1), Gap(1, 2, None)], [named(1, 1, 1), "1.gaps", "1"], id="at the end"),
        pytest.param([Gap(1, 1, None)], ["1.gaps"], id="from the beginning to the end"),
    ],
)
async def test_lost_lines_are_noted(items: list[Line | Gap], puts: list[str]) -> None:
    place = Place()
    assert await place.record(Script(*items), PATIENT).run() is False
    assert place.puts() == puts
    assert await place.record(Script(*items), PATIENT).run() is False, "it is known to whoever comes after"


async def refuse_twice(place: Place) -> None:
    fails: dict[str, int] = {}

    def fault(call: str, path: str) -> Exception | None:
        fails[call + path] = fails.get(call + path, 0) + 1
        return ValueError("not now") if fails[call + path] <= 2 else None

    place.store.fault = fault


async def be_full_for_a_while(place: Place) -> None:
    left = 20

    def fault(call: str, _: str) -> Exception | None:
        nonlocal left
        left -= call == "put"
        return FULL if call == "put" and left >= 0 else None

    place.store.fault = fault


@pytest.mark.parametrize(
    "fails",
    [
        pytest.param(refuse_twice, id="every call fails twice"),
        pytest.param(be_full_for_a_while, id="the store is full for a while"),
    ],
)
async def test_a_store_that_fails_for_a_while_is_waited_for(fails: Callable[[Place], Awaitable[None]]) -> None:
    place, lines = Place(), [line(seq, size=20_000) for seq in range(1, 60)]
    await fails(place)
    assert await place.record(Script(*lines)).run() is True
    place.store.fault = lambda _, __: None
    assert await place.read() == lines
    assert place.counts.failures > 0


async def test_what_cannot_be_written_is_left_in_the_log() -> None:
    place, lines = Place(), [line(seq, size=PART_BYTES // 8) for seq in range(1, 200)]
    script = Script(*lines)
    place.store.fault = lambda call, _: FULL if call == "put" else None
    running = asyncio.create_task(place.record(script).run())

    async def has_tried() -> bool:
        return place.counts.failures > 20

    await until(has_tried)
    assert script.given <= 2 + 8 * PENDING_BYTES // PART_BYTES
    place.store.fault = lambda _, __: None
    assert await running is True
    assert await place.read() == lines


async def test_what_is_broken_off_goes_on_at_the_first_line_that_is_not_kept() -> None:
    place, script = Place(), Script(line(1), line(2), line(1, 2), line(2, 2))
    script.is_over = False
    running = asyncio.create_task(place.record(script).run())

    async def written() -> bool:
        return place.puts() == [named(1, 1, 2), "1", named(2, 1, 2)]

    await until(written)
    script.breaks_off = True
    script.say()
    with pytest.raises(Unavailable):
        await running
    script.breaks_off = False
    script.say(line(3, 2), is_over=True)
    assert await place.record(script).run() is True
    assert script.asked[1] == Position(2, 2)
    assert [await place.read(attempt) for attempt in (1, 2)] == [
        [line(1), line(2)],
        [line(1, 2), line(2, 2), line(3, 2)],
    ]
    await place.record(script).run()
    assert script.asked[2] == Position(2, 10**15)


async def test_a_hole_that_another_one_has_left_is_filled() -> None:
    place, script = Place(), Script(*(line(seq) for seq in range(1, 8)))
    await place.archive.write(NS, UID, Part(line(1)))
    await place.archive.write(NS, UID, Part(line(4)))
    assert await place.record(script, PATIENT).run() is True
    assert script.asked == [Position(1, 1)]
    assert place.puts()[2:] == [named(1, 2, 3), named(1, 5, 7), "1"]
    assert await place.read() == [line(seq) for seq in range(1, 8)]


@pytest.mark.parametrize(
    ("parts", "gaps", "settled"),
    [
        pytest.param([1, 2], [], 2, id="nothing is lost"),
        pytest.param([1, 2, 6], [], 2, id="it is not known what has become of some"),
        pytest.param([1, 2, 6], [Gap(1, 3, 5)], 6, id="those between are known to be lost"),
        pytest.param([1, 6, 9], [Gap(1, 2, 5)], 6, id="some are known to be lost, and of others it is not known"),
        pytest.param([3], [Gap(1, 1, 2), Gap(1, 4, 8)], 8, id="the last ones are"),
    ],
)
async def test_lines_that_are_known_to_be_lost_are_not_looked_for(
    parts: list[int], gaps: list[Gap], settled: int
) -> None:
    place, script = Place(), Script(*(line(seq) for seq in range(1, 13)))
    for seq in parts:
        await place.archive.write(NS, UID, Part(line(seq)))
    if gaps:
        await place.archive.note_gaps(NS, UID, 1, gaps)
    assert await place.record(script, PATIENT).run() is True
    assert script.settled == [Position(1, settled)]
    assert await place.read() == [line(seq) for seq in range(1, 13)], "those that are at hand are kept all the same"


async def test_of_lost_lines_those_that_were_noted_before_stay_noted() -> None:
    place = Place()
    await place.archive.write(NS, UID, Part(line(1)))
    await place.archive.note_gaps(NS, UID, 1, [Gap(1, 2, 3)])
    items: list[Line | Gap] = [Gap(1, 2, 3), line(4), Gap(1, 5, 5), line(6)]
    assert await place.record(Script(*items), PATIENT).run() is False
    assert await place.archive.gaps(NS, UID, 1) == (Gap(1, 2, 3), Gap(1, 5, 5))
    assert place.puts().count("1.gaps") == 2, "once by whoever was before, and once for what is lost since"


async def test_a_line_that_is_lost_but_kept_is_not_lost() -> None:
    place = Place()
    await place.archive.write(NS, UID, Part(line(2)))
    assert await place.record(Script(line(1), Gap(1, 2, 2), line(3)), PATIENT).run() is True
    assert [each.seq for each in await place.read()] == [1, 2, 3]


async def test_lines_that_are_lost_here_and_written_by_another_one_meanwhile_are_not_lost() -> None:
    place, script = Place(), Script(line(1), Gap(1, 2, 3), line(4), Gap(1, 5, 6), line(7))
    script.is_over = False
    running = asyncio.create_task(place.record(script).run())

    async def has_noted() -> bool:
        return place.puts().count("1.gaps") == 2

    await until(has_noted)
    await place.archive.write(NS, UID, Part(line(2)))
    await place.archive.write(NS, UID, Part(line(3)))
    script.say(line(8), is_over=True)
    assert await running is False
    assert await place.archive.gaps(NS, UID, 1) == (Gap(1, 5, 6),)
    assert [each.seq for each in await place.read()] == [1, 2, 3, 4, 7, 8]


async def test_a_job_of_which_lines_are_in_no_part_is_not_said_to_be_whole_though_nobody_has_noted_it() -> None:
    place = Place()
    for seq in (1, 4):
        await place.archive.write(NS, UID, Part(line(seq)))
    assert await place.record(Script(line(5)), PATIENT).run() is False
    assert await place.archive.gaps(NS, UID, 1) == (Gap(1, 2, 3),)


@pytest.mark.parametrize("killed_at", ["put 1.jsonl", "delete 1/", "list", "put 1/"])
async def test_one_that_is_killed_at_any_step_is_finished_by_the_next(killed_at: str) -> None:
    place, lines = Place(), [line(seq) for seq in range(1, 20)]
    running: asyncio.Task[Any] | None = None
    times = 0

    def kill(call: str, path: str) -> Exception | None:
        nonlocal times
        times += f"{call} {'/'.join(path.split('/')[3:])}".startswith(killed_at)
        if times >= 2 or (times and killed_at != "list"):
            assert running is not None
            running.cancel()
        return None

    place.store.fault = kill
    running = asyncio.create_task(place.record(Script(*lines)).run())
    with suppress(asyncio.CancelledError):
        await running
    place.store.fault = lambda _, __: None
    assert await place.record(Script(*lines)).run() is True
    assert (await place.read(), await place.kept()) == (lines, {1: Kept(is_sealed=True)})


async def until_cancelled(tasks: Sequence[asyncio.Task[bool | None]], after: int) -> None:
    for _ in range(after):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(
    lost=st.sets(st.integers(1, 40), max_size=8),
    kills=st.lists(st.integers(1, 120), max_size=3),
    both=st.booleans(),
)
def test_however_many_write_and_are_killed_every_line_is_kept_once(
    lost: set[int], kills: list[int], both: bool
) -> None:
    """Some lines are lost to one of two writers only: together they have them all."""
    lines = [line(seq) for seq in range(1, 41)]
    holes: list[Line | Gap] = [Gap(1, each.seq, each.seq) if each.seq in lost else each for each in lines]

    async def play() -> None:
        place = Place()
        for kill in kills:
            scripts = [Script(*lines), Script(*holes)] if both else [Script(*holes)]
            tasks = [asyncio.create_task(place.record(script).run()) for script in scripts]
            await until_cancelled(tasks, kill)
        await place.store.settled()
        sealed_early = (await place.kept()).get(1, Kept()).is_sealed
        await place.record(Script(*lines)).run()
        found = await place.read()
        assert [each.seq for each in found] == sorted({each.seq for each in found}), "in order, and each once"
        assert set(found) <= set(lines)
        missing = {each.seq for each in lines} - {each.seq for each in found}
        assert not missing or (sealed_early and missing <= lost)
        assert await place.kept() == {1: Kept(is_sealed=True, has_gaps=(await place.kept())[1].has_gaps)}
        assert (await place.kept())[1].has_gaps or not missing
        assert sealed_early or not (await place.kept())[1].has_gaps, "what one has lost and the other has is not lost"

    asyncio.run(play())


def test_spans_of_parts_are_what_is_in_them() -> None:
    found = Part(line(3))
    assert found.take(line(4))
    assert found.span == Span(3, 4)


async def handed_over(place: Place, script: Script, pace: Pace) -> bool | None:
    """A record that is handed over once it has read all that there is."""
    record, script.is_over = place.record(script, pace), False
    running = asyncio.create_task(record.run())

    async def has_read() -> bool:
        return script.given == len(script.items)

    await until(has_read)
    record.hand_over()
    async with asyncio.timeout(5):
        return await running


async def test_who_hands_a_job_over_writes_first_what_it_has_read() -> None:
    place = Place()
    assert await handed_over(place, Script(line(1), line(2)), PATIENT) is None
    assert await place.kept() == {1: Kept(parts=(Span(1, 2),))}
    script = Script(line(1), line(2), line(3))
    assert await place.record(script).run()
    assert script.asked == [Position(1, 2)]
    assert await place.read() == [line(1), line(2), line(3)]


async def test_a_job_of_which_nothing_was_read_is_handed_over_at_once() -> None:
    place = Place()
    assert await handed_over(place, Script(), PATIENT._replace(last_seconds=60)) is None


async def test_a_store_that_does_not_answer_does_not_hold_up_the_next_one() -> None:
    place = Place()
    place.store.fault = lambda call, _: FULL if call == "put" else None
    assert await handed_over(place, Script(line(1)), PATIENT._replace(last_seconds=0.05)) is None
    assert await place.kept() == {}
