"""Which jobs a replica reads when there are more than it may: none waits for one that cannot be read."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from agent_jobs import agent_job
from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.cache import JobCache
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.keeper import Keeper
from agentjob_gateway.peers import Peers
from agentjob_gateway.reading import Gap
from agentjob_gateway.record import ArchiveCounts
from agentjob_gateway.standby import Standby
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, NoRight, ServerError
from agentjob_kube.transport import Request
from operated import until

Object = dict[str, Any]
LOST, GOOD = "lost", "good"
NO_RIGHT, BROKEN = NoRight("no right", status=403), ServerError("no conversion", status=500)
RUNNING = {"phase": "Running", "startTime": "2026-11-22T10:00:00Z"}


class Nowhere:
    """A transport that nothing is sent by."""

    async def send(self, request: Request) -> bytes:
        raise NotImplementedError

    def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        raise NotImplementedError


class Silent:
    """Jobs that say nothing."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        """Which of them are being read."""
        self.held: set[str] = set()
        """Which of them are at hand for another replica."""
        self.defects: list[Exception] = []
        """What the next tries to follow them end with."""

    async def lines(self, key: Key, *_: Any, **__: Any) -> AsyncGenerator[Line | Gap, None]:
        self.read.add(key.name)
        try:
            await asyncio.Event().wait()
            yield Gap(1, 1, None)
        finally:
            self.read.discard(key.name)

    async def follow(self, key: Key, *_: Any, **__: Any) -> None:
        if self.defects:
            raise self.defects.pop()
        self.held.add(key.name)
        try:
            await asyncio.Event().wait()
        finally:
            self.held.discard(key.name)


class Place(NamedTuple):
    cache: JobCache
    jobs: Silent
    counts: ArchiveCounts

    def begin(self, namespace: str, hour: int) -> None:
        """A job that runs, and was made at an hour, which is in its name."""
        made: Object = {"namespace": namespace, "creationTimestamp": f"2026-11-22T{hour:02}:00:00Z"}
        self.cache.put(agent_job(f"{namespace}-{hour}", RUNNING, **made))

    def lose(self, error: ApiError = NO_RIGHT) -> None:
        self.cache.reach.patience = 0.0
        self.cache.reach.failed(LOST, "list agentjobs", error)

    async def until_read(self, *names: str) -> None:
        await _until(self.jobs.read, names)

    async def until_held(self, *names: str) -> None:
        await _until(self.jobs.held, names)


async def _until(found: set[str], names: Iterable[str]) -> None:
    wanted = set(names)

    async def are_found() -> bool:
        return found == wanted

    await until(are_found)


@asynccontextmanager
async def keeping(peers: Peers, most: int = 2) -> AsyncIterator[Place]:
    """A replica that may read so many jobs."""
    cache, jobs = JobCache((LOST, GOOD)), Silent()
    for namespace in (LOST, GOOD):
        cache.replace(namespace, (), at=0)
    keeper = Keeper(
        cache=cache,
        peers=peers,
        archive=None,
        standby=Standby(jobs, most),
        source=jobs,
        client=Client(Nowhere()),
        clock=lambda: datetime.now(UTC),
        most=most,
        look_seconds=0.02,
    )
    task = asyncio.create_task(keeper.run())
    try:
        yield Place(cache, jobs, keeper.counts)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_oldest_jobs_are_read_first() -> None:
    async with keeping(Peers()) as place:
        for hour in (3, 1, 2):
            place.begin(GOOD, hour)
        await place.until_read("good-1", "good-2")


async def test_a_job_does_not_wait_for_older_ones_of_a_namespace_that_was_lost() -> None:
    async with keeping(Peers()) as place:
        place.lose()
        for hour in (1, 2):
            place.begin(LOST, hour)
        place.begin(GOOD, 3)
        await place.until_read("good-3", "lost-1")


async def test_a_job_takes_the_place_of_one_that_is_read_of_a_namespace_that_was_lost() -> None:
    async with keeping(Peers()) as place:
        for hour in (1, 2):
            place.begin(LOST, hour)
        await place.until_read("lost-1", "lost-2")
        place.lose()
        place.begin(GOOD, 3)
        await place.until_read("good-3", "lost-1")
        place.begin(GOOD, 4)
        await place.until_read("good-3", "good-4")


async def test_a_job_takes_such_a_place_though_nothing_is_heard_of_any_job_after_the_loss() -> None:
    async with keeping(Peers()) as place:
        for hour in (1, 2):
            place.begin(LOST, hour)
        place.begin(GOOD, 3)
        await place.until_read("lost-1", "lost-2")
        place.lose()
        await place.until_read("good-3", "lost-1")


async def test_where_there_is_room_jobs_of_a_namespace_that_was_lost_are_read_on() -> None:
    async with keeping(Peers(), most=3) as place:
        place.begin(LOST, 1)
        await place.until_read("lost-1")
        place.lose()
        for hour in (2, 3):
            place.begin(GOOD, hour)
        await place.until_read("lost-1", "good-2", "good-3")


async def test_jobs_of_a_namespace_whose_lists_fail_keep_their_places() -> None:
    """Their logs may be there as ever."""
    async with keeping(Peers()) as place:
        for hour in (1, 2):
            place.begin(LOST, hour)
        await place.until_read("lost-1", "lost-2")
        place.lose(BROKEN)
        place.begin(GOOD, 3)

        async def waits() -> bool:
            return place.counts.waiting == 1

        await until(waits)
        assert place.jobs.read == {"lost-1", "lost-2"}


async def test_what_is_held_for_another_replica_gives_way_in_the_same_way() -> None:
    peers = Peers("gateway-a")
    peers.replace({"gateway-1": frozenset({"gateway-a", "gateway-b"})})
    lost, good = ([hour for hour in range(24) if peers.inherits(f"uid-{each}-{hour}")] for each in (LOST, GOOD))
    async with keeping(peers) as place:
        for hour in lost[:2]:
            place.begin(LOST, hour)
        await place.until_held(*(f"lost-{hour}" for hour in lost[:2]))
        place.begin(GOOD, good[0])
        place.lose()
        place.begin(GOOD, good[1])
        await place.until_held(*(f"good-{hour}" for hour in good[:2]))


async def test_a_defect_does_not_end_for_good_that_a_job_is_held_for_another_replica(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peers = Peers("gateway-a")
    peers.replace({"gateway-1": frozenset({"gateway-a", "gateway-b"})})
    hour = next(hour for hour in range(24) if peers.inherits(f"uid-{GOOD}-{hour}"))
    async with keeping(peers) as place:
        place.jobs.defects.append(KeyError("no such thing"))
        place.begin(GOOD, hour)
        await place.until_held(f"good-{hour}")
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


class Writer:
    """Has read a line that is not written yet."""

    def __init__(self) -> None:
        self.has_begun = False
        self.has_written = asyncio.Event()

    async def run(self) -> None:
        self.has_begun = True
        await self.has_written.wait()

    def hand_over(self) -> None:
        self.has_written.set()


async def test_what_was_read_of_a_held_job_is_written_also_where_it_cannot_be_followed() -> None:
    jobs, writer, job = Silent(), Writer(), agent_job()
    jobs.defects = [Unavailable("no room"), Unavailable("no room")]
    standby = Standby(jobs, 1, lambda _, *, is_alone: writer)  # noqa: ARG005 - as a writer is begun
    standby.assign([job])

    async def is_refused_again() -> bool:
        return writer.has_begun and not jobs.defects

    await until(is_refused_again)
    standby.assign([], [job["metadata"]["uid"]])
    async with asyncio.timeout(1):
        await writer.has_written.wait()
    await standby.stop()
