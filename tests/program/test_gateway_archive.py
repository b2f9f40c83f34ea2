"""Every job is kept, read or unread, by one replica, whatever becomes of replicas, store and log."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from zstandard import ZstdCompressor

from agentjob_api.lines import Line, envelope
from agentjob_api.names import Key
from agentjob_gateway import archive_keys
from agentjob_gateway.archive_frames import MAGIC
from agentjob_gateway.archive_keys import Kept
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import START
from archived import NAMES, Archived, archived, begin, numbers, owned, pair
from fake_cluster import Fault
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, until
from watched import backing_off, running

FULL = OSError(28, "No space left on device")
LINES = 10_000


@pytest.fixture
async def place() -> AsyncIterator[Archived]:
    async with archived() as found:
        yield found


async def test_a_job_is_kept_though_nobody_reads_it(place: Archived) -> None:
    await place.replica()
    await begin(place)
    place.at.say(1, 2, 3)
    await place.until_kept(3)
    assert await place.reason() is None
    await place.at.finish(4)

    assert await place.until_archived() == "Archived"
    assert await place.archive.kept(NAMESPACE, await place.uid()) == {1: Kept(is_sealed=True)}
    assert await place.seqs() == [1, 2, 3, 4]
    [found] = [each for each in (await place.job())["status"]["conditions"] if each["type"] == "Archived"]
    assert (found["status"], found["message"]) == ("True", "Every line of the log is in the archive.")
    assert place.at.logs_asked() == 1


async def test_a_job_that_is_read_as_well_is_followed_once(place: Archived) -> None:
    replica = await place.replica()
    await begin(place)
    place.at.say(1)
    await place.until_kept(1)
    lines = replica.hub.lines(Key(NAMESPACE, "fix"), await place.uid(), START)
    assert isinstance(await anext(lines), Line)
    place.at.say(2)
    await place.at.finish(3)
    rest = [each async for each in lines]

    assert [each.seq for each in rest if isinstance(each, Line)] == [2, 3]
    assert await place.until_archived() == "Archived"
    assert place.at.logs_asked() == 1


async def test_a_job_that_never_ran_has_nothing_to_keep(place: Archived) -> None:
    await place.replica()
    await place.at.submit()
    await place.at.set_status({"phase": "Cancelled"})
    assert await place.until_archived() == "Archived"
    assert place.at.logs_asked() == 0


async def test_every_attempt_is_kept(place: Archived) -> None:
    await place.replica()
    await begin(place)
    place.at.say(1, 2)
    await place.at.end_container()
    await place.at.start(2)
    place.at.say(1, attempt=2)
    await place.at.finish(2, 2)

    assert await place.until_archived() == "Archived"
    assert [await place.seqs(attempt=attempt) for attempt in (1, 2)] == [[1, 2], [1, 2]]


async def test_the_end_of_an_attempt_is_kept_though_the_next_one_takes_its_time(place: Archived) -> None:
    await begin(place)
    place.at.say(1, 2)
    await place.at.end_container()
    await place.at.set_status(backing_off(1))
    await place.replica()
    await place.until_kept(2)

    await place.at.remove_pod()
    await place.at.start(2)
    await place.at.finish(1, 2)

    assert await place.until_archived() == "Archived"
    assert [await place.seqs(attempt=attempt) for attempt in (1, 2)] == [[1, 2], [1]]


async def test_lines_that_were_lost_before_they_could_be_kept_are_told(place: Archived) -> None:
    await begin(place)
    place.at.say(1, 2)
    place.cluster.rotate_log(NAMESPACE, "fix-1")
    place.at.say(3)
    await place.replica()
    await place.at.finish(4)

    assert await place.until_archived() == "ArchivedWithGaps"
    assert await place.seqs() == [3, 4]


# What goes wrong


async def test_a_replica_that_starts_finds_what_is_not_sealed(place: Archived) -> None:
    await begin(place)
    first = await place.replica()
    place.at.say(1, 2)
    await place.until_kept(2)
    await first.kill()
    place.at.say(3)
    await place.at.finish(4)
    await place.replica()

    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("put 1/", id="before a part is written"),
        pytest.param("put 1.jsonl", id="between the last part and the sealing"),
        pytest.param("delete 1/", id="between the sealing and the end of the parts"),
    ],
)
async def test_a_replica_that_is_killed_leaves_what_the_next_can_finish(place: Archived, before: str) -> None:
    killed: list[asyncio.Task[None]] = []
    first = await place.replica()

    def kill(call: str, path: str) -> Exception | None:
        if f"{call} {'/'.join(path.split('/')[3:])}".startswith(before) and not killed:
            killed.append(asyncio.create_task(first.kill()))
        return OSError("killed") if killed else None

    place.store.fault = kill
    await begin(place)
    place.at.say(1, 2)
    await place.at.finish(3)

    async def is_killed() -> bool:
        return bool(killed) and killed[0].done()

    await until(is_killed)
    place.store.fault = lambda _, __: None
    assert await place.reason() is None
    await place.replica()
    assert await place.until_archived() == "Archived"
    assert await place.archive.kept(NAMESPACE, await place.uid()) == {1: Kept(is_sealed=True)}
    assert await place.seqs() == [1, 2, 3]


async def test_a_job_is_not_said_to_be_kept_before_it_is(place: Archived) -> None:
    replica = await place.replica()
    place.store.fault = lambda call, _: FULL if call == "put" else None
    await begin(place)
    place.at.say(1, 2)
    await place.at.finish(3)

    async def has_tried() -> bool:
        return replica.keeper.counts.failures > 10

    await until(has_tried)
    assert await place.reason() is None
    place.store.fault = lambda _, __: None
    assert await place.until_archived() == "Archived"
    assert await place.seqs() == [1, 2, 3]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Refusal(409, "Conflict", "the object has been modified"), id="the job has changed meanwhile"),
        pytest.param(Refusal(500, "InternalError", "not now"), id="the API server fails"),
        pytest.param(Refusal(403, "Forbidden", "not yours"), id="the right is not there yet"),
    ],
)
async def test_that_a_job_is_kept_is_said_however_often_it_takes(place: Archived, fault: Refusal) -> None:
    for _ in range(3):
        place.cluster.fail(Fault("patch", "agentjobs/status", refusal=fault))
    await place.replica()
    await begin(place)
    await place.at.finish(1)
    assert await place.until_archived() == "Archived"
    assert place.cluster.has_failed()


async def test_while_the_archive_is_down_nothing_that_is_kept_is_told_as_lost(place: Archived) -> None:
    first = await place.replica()
    await begin(place)
    place.at.say(1, 2)
    await place.at.finish(3)
    await place.until_archived()
    await place.at.remove_pod()
    await first.kill()
    replica = await place.replica()
    await replica.cache.synced.wait()
    place.store.fault = lambda _, __: FULL
    key, uid = Key(NAMESPACE, "fix"), await place.uid()
    with pytest.raises(Unavailable):
        await anext(replica.hub.lines(key, uid, START))
    place.store.fault = lambda _, __: None
    found = [each async for each in replica.hub.lines(key, uid, START)]
    assert [each.seq for each in found if isinstance(each, Line)] == [1, 2, 3]
    assert len(found) == 3


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], list[object]]] = {
    "it is empty": (lambda _: b"", [(1, None)]),
    "it is cut off": (lambda found: found[:-4], [1, 2, 3, 4, (5, None)]),
    "its beginning is gone": (lambda found: found[10:], [(1, 2), 3, 4, 5, 6]),
    "a frame in the middle is none": (
        lambda found: found[: found.index(MAGIC, 1)] + b"?" + found[found.index(MAGIC, 1) + 1 :],
        [1, 2, (3, 4), 5, 6],
    ),
    "a part is missing in it": (
        lambda found: found[: found.index(MAGIC, 1)] + found[found.rindex(MAGIC) :],
        [1, 2, (3, 4), 5, 6],
    ),
    "it is something else": (lambda _: b"<html>404</html>", [(1, None)]),
    "it is another attempt's": (
        lambda _: ZstdCompressor().compress(envelope(1, 2, datetime.now(UTC)) + b"{}}\n"),
        [(1, None)],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_of_an_object_that_is_damaged_the_rest_is_given_and_the_stream_ends(
    place: Archived, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    uid, spoil, expected = await place.uid_of_job_without_pod(), *DAMAGES[damage]
    await place.rewrite(archive_keys.sealed_name(NAMESPACE, uid, 1), spoil)
    replica = await place.replica()
    await replica.cache.synced.wait()

    found = [each async for each in replica.hub.lines(Key(NAMESPACE, "fix"), uid, START)]
    assert [each.seq if isinstance(each, Line) else each[1:] for each in found] == expected
    told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    is_readable = damage in {"a part is missing in it", "it is another attempt's"}
    assert [f"{uid}/1.jsonl.zst is damaged" in each for each in told] == ([] if is_readable else [True])
    assert replica.hub.counts.damaged == len(told)


async def test_beside_an_attempt_that_is_damaged_the_others_can_be_read(place: Archived) -> None:
    first = await place.replica()
    await begin(place)
    place.at.say(1)
    await place.at.end_container()
    await place.at.start(2)
    await place.at.finish(1, 2)
    await place.until_archived()
    for attempt in (1, 2):
        await place.at.remove_pod(attempt)
    uid = await place.uid()
    await place.rewrite(archive_keys.sealed_name(NAMESPACE, uid, 1), lambda found: found[:20])
    await first.kill()
    replica = await place.replica()
    await replica.cache.synced.wait()

    found = [each async for each in replica.hub.lines(Key(NAMESPACE, "fix"), uid, START)]
    assert found[0] == Gap(1, 1, None)
    assert [(each.attempt, each.seq) for each in found[1:] if isinstance(each, Line)] == [(2, 1)]
    assert len(found) == 2


async def test_no_more_jobs_than_allowed_are_followed_at_once_and_the_others_come_later(place: Archived) -> None:
    replica = await place.replica(most=2)
    names = [f"job-{number}" for number in range(5)]
    for name in names:
        await begin(place, name)
        place.at.say(1, name=name)

    async def are_known() -> bool:
        return replica.keeper.counts.waiting == 3

    await until(are_known)
    assert replica.follows() == replica.keeper.counts.kept == 2
    for name in names:
        await place.at.finish(2, name=name)
    assert {await place.until_archived(name) for name in names} == {"Archived"}
    assert [await place.seqs(name) for name in names] == [[1, 2]] * 5
    assert replica.keeper.counts.waiting == 0


async def test_ten_thousand_lines_are_kept_once_each_through_kills_cuts_and_rotation(place: Archived) -> None:
    dice = random.Random(4)
    replicas = await pair(place)
    await begin(place)
    said = 0
    while said < LINES:
        more = min(dice.randint(200, 900), LINES - said)
        place.at.say(*range(said + 1, said + more + 1), size=300)
        said += more
        match dice.choice(["kill", "cut", "end", "rotate", "store"]):
            case "kill":
                first, keeping, _ = await owned(place, replicas)
                await keeping.kill()
                replicas[first] = await place.replica(first)
            case "cut":
                place.cluster.cut_log(NAMESPACE, "fix-1")
            case "end":
                place.cluster.end_log(NAMESPACE, "fix-1")
            case "rotate":
                await place.until_kept(said)
                place.cluster.rotate_log(NAMESPACE, "fix-1")
            case _:
                place.store.fault = lambda call, _: FULL if call == "put" and dice.random() < 0.5 else None
        await place.ready(*dice.choice([NAMES, NAMES[:1], NAMES[1:]]))
    place.store.fault = lambda _, __: None
    await place.ready(*NAMES)
    await place.at.finish(LINES + 1)

    assert await place.until_archived() == "Archived"
    assert await place.seqs() == numbers(LINES + 1)


# Retention


async def test_what_is_kept_goes_with_its_job(place: Archived) -> None:
    await place.replica()
    for name in ("fix", "other"):
        await begin(place, name)
        place.at.say(1, name=name)
        await place.until_kept(1, name)
    await place.at.finish(2)
    await place.until_archived()
    uids = [await place.uid(name) for name in ("fix", "other")]
    for name in ("fix", "other"):
        await place.at.delete(name)

    async def gone() -> bool:
        return not await place.archive.uids(NAMESPACE)

    await until(gone)
    assert [await place.archive.kept(NAMESPACE, uid) for uid in uids] == [{}, {}]


async def test_what_was_left_by_jobs_that_nobody_saw_go_is_swept_once_it_is_old(place: Archived) -> None:
    first = await place.replica()
    await begin(place)
    await place.at.finish(1)
    await place.until_archived()
    uid = await place.uid()
    await first.kill()
    await place.at.delete()
    await begin(place, "other")
    place.at.say(1, name="other")
    await place.replica()
    await place.until_kept(1, "other")

    async def has_swept() -> bool:
        return place.store.done.count("list") > 3

    await until(has_swept)
    assert await place.archive.kept(NAMESPACE, uid) != {}
    place.ahead = timedelta(hours=1, minutes=1)

    async def gone() -> bool:
        return await place.archive.uids(NAMESPACE) == [await place.uid("other")]

    await until(gone)
    assert await place.seqs("other") == [1]


async def test_a_store_that_fails_keeps_nothing_from_going_later(place: Archived) -> None:
    await place.replica()
    await begin(place)
    place.at.say(1)
    await place.until_kept(1)
    fails = 0

    def fault(call: str, _: str) -> Exception | None:
        nonlocal fails
        fails += call == "delete"
        return FULL if call == "delete" and fails < 4 else None

    place.store.fault = fault
    await place.at.delete()

    async def gone() -> bool:
        return not await place.archive.uids(NAMESPACE)

    await until(gone)
    assert fails >= 4


async def test_a_status_that_is_written_by_the_operator_meanwhile_stays(place: Archived) -> None:
    """It writes with a precondition, and so does the gateway: neither takes away what the other has said."""
    await place.replica()
    await begin(place)
    await place.at.set_status(running(1) | {"phase": "Succeeded", "costUSD": "0.5"})
    await place.at.end_container()
    await place.until_archived()
    status = (await place.job())["status"]
    assert status["costUSD"] == "0.5"
    assert [each["type"] for each in status["conditions"]] == ["Ready", "Archived"]
