"""Many who watch, slow ones and some that go: one follow for all, bounded buffers, and nothing is left of anybody."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from agentjob_api.lines import MAX_LINE, Line, envelope
from agentjob_api.names import Key
from agentjob_gateway.cache import key_of
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.follow import Pace
from agentjob_gateway.known import Known
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import START, Position
from event_source import EventSource
from fake_cluster import Fault
from fake_cluster.refusals import Refusal
from operated import until
from watched import USUAL, Replica, Watched, begun, nobody_watches, numbered, watched

MANY = 200
EAGER = USUAL._replace(drain=0.5, buffer_bytes=64 * 1024)


@pytest.fixture
async def at() -> AsyncIterator[Watched]:
    async with watched() as found:
        yield found


async def watching(replica: Replica, count: int) -> bool:
    return replica.hub.counts.streams == count


@asynccontextmanager
async def silent(replica: Replica, after: str = "") -> AsyncIterator[socket.socket]:
    """A client of HTTP/1.0 that asks and does not read."""
    last = f"Last-Event-ID: fix/{after}\r\n" if after else ""
    with socket.socket() as found:
        found.setblocking(False)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await asyncio.get_running_loop().sock_connect(found, ("127.0.0.1", replica.port))
        await asyncio.get_running_loop().sock_sendall(found, f"GET /fix HTTP/1.0\r\n{last}\r\n".encode())
        yield found


async def rest(client: socket.socket) -> EventSource:
    """Everything that a client gets from now on."""
    body = bytearray()
    async with asyncio.timeout(15):
        while piece := await asyncio.get_running_loop().sock_recv(client, 256 * 1024):
            body += piece
    head, _, events = bytes(body).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    return EventSource().read(events)


def lines_of(source: EventSource) -> list[str]:
    found = [each.last_event_id.partition("/")[2] for each in source.events if each.type in {"message", "agentjob"}]
    return found[:-1] if found[-1:] == ["end"] else found


async def test_however_many_watch_the_log_is_followed_once(at: Watched) -> None:
    replica, first = await begun(at)
    viewers = [first, *await asyncio.gather(*(at.watch(replica) for _ in range(MANY - 1)))]
    await until(lambda: watching(replica, MANY))
    at.say(4, 5)
    await viewers[-1].until_lines(5)
    follows = replica.hub.counts.follows
    await at.finish(6)
    ended = await asyncio.gather(*(each.until_end() for each in viewers))

    assert [each.lines for each in ended] == [numbered(1, 2, 3, 4, 5, 6)] * MANY
    assert (follows, at.logs_asked()) == (1, 1)
    assert replica.hub.lag_seconds() == 0.0


async def test_how_late_lines_come_is_told_of_those_that_were_said_since_the_job_is_followed(at: Watched) -> None:
    replica = await at.replica()
    await at.submit()
    await at.start()
    begun = datetime.now(UTC)
    at.print(envelope(1, 1, begun - timedelta(hours=1)) + b"{}}\n")
    viewer = await at.watch(replica)
    await viewer.until_lines(1)
    assert replica.hub.counts.lag.buckets()[-1] == ("+Inf", 0)
    for seq in (2, 3):
        at.print(envelope(seq, 1, begun + timedelta(hours=1)) + b"{}}\n")
        await viewer.until_lines(seq)

    assert replica.hub.counts.lag.buckets()[0] == ("0.005", 2)


async def test_for_clients_that_keep_up_there_is_neither_a_task_nor_a_request(at: Watched) -> None:
    replica, first = await begun(at)
    viewers = [first, *await asyncio.gather(*(at.watch(replica) for _ in range(20)))]
    await asyncio.gather(*(each.until_lines(3) for each in viewers))

    async def are_idle() -> bool:
        return not [task for task in asyncio.all_tasks() if "Reader" in repr(task.get_coro())]

    await until(are_idle)
    assert replica.connections() == []
    at.say(4)
    await asyncio.gather(*(each.until_lines(4) for each in viewers))
    assert await are_idle(), "the channel has written it"
    await at.finish(5)
    ended = await asyncio.gather(*(each.until_end() for each in viewers))
    assert [each.lines for each in ended] == [numbered(1, 2, 3, 4, 5)] * 21
    assert {each.response.headers["Connection"] for each in viewers} == {"close"}


async def test_of_a_thousand_clients_that_come_and_go_nothing_is_left(at: Watched) -> None:
    replica = await at.replica()
    await at.submit()
    await at.start()
    await replica.job()
    before = len(asyncio.all_tasks())
    for number in range(20):
        async with AsyncExitStack() as clients:
            for _ in range(50):
                await clients.enter_async_context(silent(replica))
            if number % 2:  # the others go before they have got anything
                await until(lambda: watching(replica, 50))
        await until(lambda: watching(replica, 0))
    await until(lambda: nobody_watches(replica))

    async def is_quiet() -> bool:
        return len(asyncio.all_tasks()) <= before

    await until(is_quiet)
    assert (replica.hub.counts.follows, replica.hub.counts.dropped, replica.hub._readers) == (0, 0, set())


async def test_clients_that_go_while_lines_come_disturb_nobody(at: Watched) -> None:
    replica, viewer = await begun(at)
    for begin in range(4, 104, 10):
        async with AsyncExitStack() as clients:
            hung_up = [await clients.enter_async_context(silent(replica)) for _ in range(20)]
            await until(lambda: watching(replica, 21))
            for client in hung_up:  # with a reset instead of a farewell
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            at.say(*range(begin, begin + 5))
        at.say(*range(begin + 5, begin + 10))
        await viewer.until_lines(begin + 9)
        await until(lambda: watching(replica, 1))
    await at.finish(104)

    assert (await viewer.until_end()).lines == numbered(*range(1, 105))


async def test_a_channel_is_kept_for_those_that_come_back(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(linger=60.0))
    await at.submit()
    await at.start()
    at.say(1)
    first = await at.watch(replica)
    await first.until_lines(1)
    await first.leave()
    await until(lambda: watching(replica, 0))
    at.say(2)
    await (await at.watch(replica, "1-1")).until_lines(1)

    assert at.logs_asked() == 1


async def test_a_client_that_never_reads_is_dropped_and_the_others_get_everything(at: Watched) -> None:
    replica = await at.replica(EAGER)
    await at.submit()
    await at.start()
    viewer = await at.watch(replica)
    async with silent(replica):
        await until(lambda: watching(replica, 2))
        for begin in range(1, 41, 8):
            at.say(*range(begin, begin + 8), size=MAX_LINE)
            await viewer.until_lines(begin + 7)
        await until(lambda: watching(replica, 1))
    await at.finish(41)
    await viewer.until_end()

    assert viewer.lines == numbered(*range(1, 42))
    assert replica.hub.counts.dropped == 1


async def test_what_was_dropped_can_be_had_by_coming_back(at: Watched) -> None:
    replica = await at.replica(EAGER)
    await at.submit()
    await at.start()
    async with silent(replica):
        await until(lambda: watching(replica, 1))
        at.say(*range(1, 41), size=MAX_LINE)
        await until(lambda: watching(replica, 0))
    await at.finish(41)
    async with silent(replica, "1-2") as again:
        found = await rest(again)

    assert lines_of(found) == numbered(*range(3, 42))


async def test_however_many_want_what_is_past_the_log_is_read_once_for_it(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(ring_entries=1))
    await at.submit()
    await at.start()
    at.say(*range(1, 2_001), size=400)
    viewer = await at.watch(replica)
    await viewer.until_lines(2_000)
    before = at.logs_asked()
    late = await asyncio.gather(*(at.watch(replica) for _ in range(20)))
    for each in late:
        await each.until_lines(2_000)

    assert [each.lines for each in late] == [numbered(*range(1, 2_001))] * 20
    assert at.logs_asked() < before + 20, "for all together, and anew only for who came or fell far behind the others"


@pytest.mark.parametrize(
    ("ring_bytes", "asked"),
    [pytest.param(64 * 1024 * 1024, 1, id="from the ring"), pytest.param(200_000, 2, id="from the log")],
)
async def test_a_slow_client_catches_up(at: Watched, ring_bytes: int, asked: int) -> None:
    replica = await at.replica(USUAL._replace(buffer_bytes=64 * 1024, ring_bytes=ring_bytes))
    await at.submit()
    await at.start()
    viewer = await at.watch(replica)
    async with silent(replica) as slow:
        await until(lambda: watching(replica, 2))
        for seq in range(1, 61):
            at.say(seq, size=50_000)
            await viewer.until_lines(seq)
        lag = replica.hub.lag_seconds()
        reading = asyncio.create_task(rest(slow))
        await at.finish(61)
        found = await reading

    assert lines_of(found) == (await viewer.until_end()).lines == numbered(*range(1, 62))
    assert [each for each in found.events if each.type == "gap"] == []
    assert lag > 0
    assert at.logs_asked() == asked


async def test_the_longest_lines_come_whole(at: Watched) -> None:
    _, viewer = await begun(at)
    at.say(4, size=MAX_LINE)
    await at.finish(5)
    await viewer.until_end()

    assert viewer.lines == numbered(1, 2, 3, 4, 5)
    assert len(viewer.source.events[-4].data) > MAX_LINE - 200


async def test_a_silent_stream_has_a_heartbeat(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(heartbeat=0.02))
    await at.submit()
    viewer = await at.watch(replica)

    async def beats() -> bool:
        return len(viewer.source.comments) >= 3

    await until(beats)


async def test_a_stream_that_tells_something_has_none(at: Watched) -> None:
    replica, viewer = await begun(at)
    replica.hub.beat()
    at.say(4)
    await viewer.until_lines(4)
    replica.hub.beat()
    at.say(5)
    await viewer.until_lines(5)

    assert viewer.source.comments == []


async def test_who_does_not_go_when_all_are_sent_elsewhere_is_hung_up_on(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(leave=0.05, buffer_bytes=64 * 1024))
    await at.submit()
    await at.start()
    async with silent(replica):
        await until(lambda: watching(replica, 1))
        at.say(*range(1, 41), size=MAX_LINE)

        async def is_behind() -> bool:
            return replica.hub.lag_seconds() > 0

        await until(is_behind)
        await replica.hub.shutdown()
        await until(lambda: watching(replica, 0))


async def test_who_is_sent_elsewhere_misses_nothing(at: Watched) -> None:
    replica, viewer = await begun(at)
    other = await at.replica()
    at.say(4, 5)
    await replica.hub.shutdown()
    await viewer.until_end()
    at.say(6)
    again = await at.watch(other, viewer.lines[-1])
    await at.finish(7)
    await again.until_end()

    assert viewer.lines + again.lines == numbered(1, 2, 3, 4, 5, 6, 7)
    assert viewer.closing is None
    assert 500 <= (viewer.source.retry or 0) <= 2_000
    sent_on = await (await at.watch(replica, viewer.lines[-1])).until_end()
    assert (sent_on.response.status, sent_on.source.events) == (200, [])
    assert sent_on.source.last_event_id == viewer.source.last_event_id
    assert await nobody_watches(replica)


async def test_only_so_many_jobs_are_watched_at_once(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(channels=1, linger=60.0))
    for name in ("fix", "mend"):
        await at.submit(name)
    first = await at.watch(replica)
    refused = await at.watch(replica, name="mend")
    await first.leave()
    await until(lambda: watching(replica, 0))
    taken = await at.watch(replica, name="mend")

    assert (refused.response.status, refused.response.headers["Retry-After"]) == (503, "2")
    assert taken.response.status == 200


async def test_a_place_is_kept_for_a_job_that_is_being_made(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(channels=1, linger=60.0))
    for name in ("fix", "mend"):
        await at.submit(name)
    with replica.hub.room():
        refused = await at.watch(replica)
        with pytest.raises(Unavailable, match="1 jobs are watched here"), replica.hub.room():
            pytest.fail("there is one place")
    taken = await at.watch(replica, name="mend")

    assert (refused.response.status, taken.response.status) == (503, 200)


async def test_a_hub_that_stops_has_no_place(at: Watched) -> None:
    replica = await at.replica()
    await replica.hub.shutdown()
    with pytest.raises(Unavailable, match="broken off"), replica.hub.room():
        pytest.fail("nobody could watch what is made here")


async def test_a_past_that_cannot_be_read_is_read_later(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(ring_entries=1))
    await at.submit()
    await at.start()
    viewer = await at.watch(replica)
    at.say(1, 2, 3)
    await viewer.until_lines(3)
    for code in (500, 404, 400):
        at.cluster.fail(Fault("get", "pods/log", refusal=Refusal(code, "TestsOwn", "not now")))
    late = await at.watch(replica)
    await late.until_lines(3)

    assert (late.lines, late.of("gap")) == (numbered(1, 2, 3), [])
    assert at.logs_asked() == 5


async def test_who_waits_for_a_past_that_cannot_be_read_has_a_heartbeat(at: Watched) -> None:
    replica = await at.replica(USUAL._replace(ring_entries=1, heartbeat=0.02))
    await at.submit()
    await at.start()
    viewer = await at.watch(replica)
    at.say(1, 2, 3)
    await viewer.until_lines(3)
    at.cluster.fail(Fault("get", "pods/log", "swallow"))
    late = await at.watch(replica)

    async def beats() -> bool:
        return len(late.source.comments) >= 3

    await until(beats)
    assert (late.lines, replica.hub.lag_seconds() > 0) == ([], True)


class DefectError(Exception):
    """Of the test's."""


async def test_a_defect_ends_a_stream_so_that_the_client_comes_back(
    at: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(known: Known, seconds: float) -> None:
        raise DefectError

    replica = await at.replica(USUAL._replace(pace=Pace(wait=wait)))
    await at.submit()
    with caplog.at_level(logging.ERROR):
        viewer = await (await at.watch(replica)).until_end()

    assert (viewer.lines, viewer.closing, viewer.source.retry) == ([], None, 2_000)
    assert [each.exc_info and each.exc_info[0] for each in caplog.records] == [DefectError]


async def test_who_follows_a_job_without_watching_hears_of_a_defect_too(at: Watched) -> None:
    async def wait(known: Known, seconds: float) -> None:
        raise DefectError

    replica = await at.replica(USUAL._replace(pace=Pace(wait=wait)))
    await at.submit()
    job = await replica.job()
    with pytest.raises(Unavailable, match="broken off"):
        await replica.hub.follow(key_of(job), job["metadata"]["uid"])


async def test_lines_can_be_had_without_http(at: Watched) -> None:
    replica, viewer = await begun(at)
    job = await replica.job()
    found: list[Line | Gap] = []

    async def collect() -> None:
        async with aclosing(replica.hub.lines(key_of(job), job["metadata"]["uid"], Position(1, 1))) as lines:
            found.extend([line async for line in lines])

    collecting = asyncio.create_task(collect())
    at.say(4)
    await viewer.until_lines(4)
    await at.finish(5)
    await collecting

    assert [(each.attempt, each.seq) for each in found if isinstance(each, Line)] == [(1, seq) for seq in (2, 3, 4, 5)]
    assert isinstance(found[0], Line)
    assert found[0].message.startswith(b'{"type":"assistant","text":"1-2 ')


async def test_lines_end_with_the_hub(at: Watched) -> None:
    replica, _ = await begun(at)
    job = await replica.job()
    lines = replica.hub.lines(Key(*key_of(job)), job["metadata"]["uid"], START)
    for _ in range(3):
        await anext(lines)
    waiting = asyncio.ensure_future(anext(lines))
    await replica.hub.shutdown()

    with pytest.raises(Unavailable):
        await waiting
