"""Replicas that come and go: each job falls to one, another one stands by, and no line is lost between them."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.share import owner
from agentjob_gateway.sse import START, Position
from archived import NAMES, Archived, archived, begin, numbers, owned, pair
from operated import NAMESPACE, until

FULL = OSError(28, "No space left on device")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
async def place() -> AsyncIterator[Archived]:
    async with archived() as found:
        yield found


async def test_each_job_is_kept_by_one_of_two_replicas(place: Archived) -> None:
    replicas = await pair(place)
    names = [f"job-{number}" for number in range(12)]
    for name in names:
        await begin(place, name)
        place.at.say(1, name=name)
        await place.until_kept(1, name)
    fell_to = [owner(await place.uid(name), NAMES) for name in names]
    assert [replicas[name].follows() for name in NAMES] == [fell_to.count(name) for name in NAMES]
    assert set(fell_to) == set(NAMES)
    assert place.at.logs_asked() == 24, "once by its own replica, and once by the one that would follow on it"
    for name in names:
        await place.at.finish(2, name=name)
    assert {await place.until_archived(name) for name in names} == {"Archived"}


async def test_when_a_replica_goes_another_one_goes_on(place: Archived) -> None:
    replicas = await pair(place)
    await begin(place)
    place.at.say(1, 2)
    await place.until_kept(2)
    first, keeping, other = await owned(place, replicas)
    await keeping.kill()
    place.at.say(3)
    await place.ready(*(name for name in NAMES if name != first))
    await place.until_kept(3)
    assert other.follows() == 1
    await place.at.finish(4)

    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3, 4]


async def test_lines_that_are_turned_over_when_a_replica_goes_are_at_hand_at_the_next(place: Archived) -> None:
    replicas = await pair(place)
    await begin(place)
    _, keeping, other = await owned(place, replicas)
    place.store.fault = lambda call, _: FULL if call == "put" else None
    place.at.say(1, 2, 3)

    async def both_have_heard() -> bool:
        return [each.hub.counts.lines for each in replicas.values()] == [3, 3]

    await until(both_have_heard)
    await keeping.kill()
    place.cluster.rotate_log(NAMESPACE, "fix-1")
    place.store.fault = lambda _, __: None
    await place.ready(other.name)
    await place.at.finish(4)

    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3, 4]


async def test_when_one_comes_the_job_that_falls_to_it_is_handed_over(place: Archived) -> None:
    await begin(place)
    place.at.say(1, 2)
    first = owner(await place.uid(), NAMES)
    [second] = [name for name in NAMES if name != first]
    await place.ready(second)
    before = await place.replica(second)
    await place.until_kept(2)
    after = await place.replica(first)
    await place.ready(*NAMES)
    place.at.say(3)

    async def handed_over() -> bool:
        return (before.follows(), after.follows()) == (0, 1)

    await until(handed_over)
    await place.at.finish(4)
    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3, 4]


async def test_when_two_think_that_a_job_is_theirs_nothing_is_harmed(place: Archived) -> None:
    replicas = [await place.replica(), await place.replica()]
    await begin(place)
    for seq in range(1, 40):
        place.at.say(seq)
        await place.until_kept(seq)

    async def both() -> bool:
        return [replica.follows() for replica in replicas] == [1, 1]

    await until(both)
    await place.at.finish(40)
    assert await place.until_archived() == "Archived"
    assert await place.seqs() == numbers(40)


async def test_a_job_is_written_though_the_one_that_it_falls_to_does_not_do_it(place: Archived) -> None:
    await begin(place)
    first = owner(await place.uid(), NAMES)
    [second] = [name for name in NAMES if name != first]
    await place.ready(*NAMES)
    replica = await place.replica(second)
    place.at.say(1, 2, 3)
    await place.until_kept(3)
    place.cluster.rotate_log(NAMESPACE, "fix-1")
    await place.at.finish(4)
    await place.until_kept(4)
    assert (replica.follows(), await place.reason()) == (0, None)

    await place.ready(second)
    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3, 4]


async def test_who_hands_a_job_over_goes_on_writing_while_the_next_one_does_not(place: Archived) -> None:
    await begin(place)
    first = owner(await place.uid(), NAMES)
    [second] = [name for name in NAMES if name != first]
    await place.ready(second)
    before = await place.replica(second)
    place.at.say(1)
    await place.until_kept(1)
    await place.ready(*NAMES)

    async def has_handed_over() -> bool:
        return before.follows() == 0

    await until(has_handed_over)
    assert before.keeper.standby._held[await place.uid()]._is_alone, "it does not wait for one that has not begun"
    place.at.say(2, 3)
    await place.until_kept(3)
    place.cluster.rotate_log(NAMESPACE, "fix-1")
    after = await place.replica(first)
    await place.at.finish(4)
    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3, 4]
    assert after.hub.counts.gaps == 0


async def test_a_client_gets_lines_that_only_the_other_replica_has_read(place: Archived) -> None:
    await begin(place)
    await place.ready(*NAMES)
    first = owner(await place.uid(), NAMES)
    keeping = await place.replica(first)
    place.at.say(1, 2)
    await place.until_kept(2)
    place.store.fault = lambda call, _: FULL if call == "put" else None
    place.at.say(3, 4)

    async def has_read() -> bool:
        return keeping.hub.counts.lines == 4

    await until(has_read)
    place.cluster.rotate_log(NAMESPACE, "fix-1")
    place.at.say(5)
    other = await place.replica(next(name for name in NAMES if name != first))

    async def has_lost() -> bool:
        return other.hub.counts.gaps == 1

    await until(has_lost)
    told = other.hub._channels[await place.uid()].told(START)
    seqs = [entry.position.seq for entry in await anext(told)]
    place.store.fault = lambda _, __: None
    async with aclosing(told):
        async for batch in told:
            seqs += [entry.position.seq for entry in batch if entry.time is not None]
    assert seqs == [1, 2, 3, 4, 5]
    await place.at.finish(6)
    assert await place.until_archived() == "Archived"


# Where one begins that starts


async def test_a_replica_that_starts_reads_the_log_from_where_the_archive_ends(place: Archived) -> None:
    first = await place.replica()
    await begin(place)
    place.print_from(NOON, 1, 300)
    await place.until_kept(300)
    await first.kill()
    place.print_from(NOON + timedelta(hours=1), 301, 303)
    second = await place.replica()
    await place.until_kept(303)

    assert second.hub.counts.lines == 3, "those that were kept came neither from the log nor from the archive"
    lines = second.hub.lines(Key(NAMESPACE, "fix"), await place.uid(), START)
    found = [await anext(lines) for _ in range(303)]
    assert [each.seq for each in found if isinstance(each, Line)] == numbers(303)
    await place.at.finish(304)
    assert await place.until_archived() == "Archived"
    assert await place.seqs() == numbers(304)


async def test_where_the_log_was_turned_over_meanwhile_it_begins_with_what_there_is(place: Archived) -> None:
    first = await place.replica()
    await begin(place)
    place.at.say(1, 2)
    await place.until_kept(2)
    await first.kill()
    place.at.say(3, 4)
    place.cluster.rotate_log(NAMESPACE, "fix-1")
    place.at.say(5)
    second = await place.replica()
    await place.until_kept(3)
    third = await place.replica()
    lines = third.hub.lines(Key(NAMESPACE, "fix"), await place.uid(), START)
    found = [await anext(lines) for _ in range(4)]

    assert second.hub.counts.gaps == 1
    assert [each.seq if isinstance(each, Line) else each[1:] for each in found] == [1, 2, (3, 4), 5]
    await place.at.finish(6)
    assert await place.until_archived() == "ArchivedWithGaps"


async def test_of_lines_that_are_known_to_be_lost_those_at_hand_are_kept_and_the_log_is_not_searched(
    place: Archived,
) -> None:
    await begin(place)
    place.at.say(1, 4)
    replica = await place.replica(most=0)
    uid, key = await place.uid(), Key(NAMESPACE, "fix")
    await replica.cache.synced.wait()
    watching = replica.hub.lines(key, uid, START)
    found = [await anext(watching) for _ in range(3)]
    asked = place.at.logs_asked()
    after = replica.hub.lines(key, uid, Position(1, 1), settled=Position(1, 3))
    assert [found[1], found[2]] == [await anext(after), await anext(after)]
    assert place.at.logs_asked() == asked
