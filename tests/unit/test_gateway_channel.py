"""What a channel hands out to those that keep up, and when."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from agent_jobs import agent_job
from agentjob_api.lines import Line, envelope
from agentjob_api.names import Key
from agentjob_gateway import sse
from agentjob_gateway.cache import JobCache
from agentjob_gateway.channel import BROKEN, TUNING, Channel
from agentjob_gateway.entries import item_of
from agentjob_gateway.follow import Counts, Pace
from agentjob_gateway.known import ANSWER_SECONDS, Known
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import Position
from agentjob_kube.client import Client
from agentjob_kube.transport import Request
from timeless import now, run

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUNNING = {
    "phase": "Running",
    "attemptCount": 1,
    "attempts": [{"number": 1, "pod": "fix-1", "startTime": "2026-11-22T12:00:00Z"}],
}


def said(seq: int) -> bytes:
    return envelope(seq, 1, NOON) + b"{}}"


def event(*seqs: int) -> bytes:
    return b"".join(sse.chunked(b"id: fix/1-%d\ndata: {}\n\n" % seq) for seq in seqs)


class Log:
    """A log that comes in these pieces."""

    def __init__(self, *pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.reader = Reader()
        self.written: list[list[bytes]] = []
        """What had been written when each piece was asked for, and when there was no more."""
        self.over = asyncio.Event()

    async def send(self, _: Request) -> bytes:
        raise NotImplementedError

    async def lines(self, _: Request) -> AsyncGenerator[list[bytes], None]:
        for piece in self._pieces:
            self.written.append(list(self.reader.written))
            yield piece
        self.written.append(list(self.reader.written))
        self.over.set()
        await asyncio.Event().wait()


class Reader:
    """A client that keeps up."""

    def __init__(self) -> None:
        self.position, self.state = Position(1, 0), b""
        self.written: list[bytes] = []

    def deliver(self, chunks: bytes) -> bool:
        self.written.append(chunks)
        return True

    def wake(self) -> None:
        raise AssertionError("it has nothing to look for by itself")


async def test_lines_that_come_together_are_written_together_before_more_are_asked_for() -> None:
    log = Log([said(1)], [said(2), b"npm WARN", said(3)])
    cache = JobCache(("agents",))
    cache.put(agent_job(status=RUNNING))
    channel = Channel(Client(log), Known(cache, Key("agents", "fix"), "uid-fix"), 1, Counts())
    channel.attach(log.reader)
    async with asyncio.timeout(5):
        await log.over.wait()
    await channel.close()

    assert log.written == [[], [event(1)], [event(1), event(2, 3)]]


async def test_a_job_of_which_cannot_be_told_where_it_stands_keeps_nobody_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log([said(1)])
    cache = JobCache(("agents",))
    cache.put(agent_job(status=RUNNING))
    channel = Channel(Client(log), Known(cache, Key("agents", "fix"), "uid-fix"), 1, Counts())
    async with asyncio.timeout(5):
        await log.over.wait()
        cache.put(agent_job(status={**RUNNING, "conditions": [{}]}, version=6))
        await channel.news()
    await channel.close()

    assert channel.closing == BROKEN
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


class Silence:
    """A history that gives no answer."""

    async def last(self, *_: object) -> Line | None:
        await asyncio.Event().wait()
        return None

    async def lines(self, *_: object) -> AsyncGenerator[Line, None]:
        await asyncio.Event().wait()
        yield Line(1, 1, NOON, False, b"{}")


def test_an_archive_that_gives_no_answer_holds_up_who_watches_for_13_s_and_nobody_else_for_more_than_a_moment() -> None:
    async def play() -> None:
        cache = JobCache(("agents",))
        cache.put(agent_job(status=RUNNING))
        known = Known(cache, Key("agents", "fix"), "uid-fix", Silence())
        channel = Channel(Client(Log([said(6)])), known, 1, Counts(), TUNING._replace(pace=Pace(clock=now)))
        while channel.ring.last < Position(1, 6):
            await channel.news()
        missed = ANSWER_SECONDS  # so long it was looked for where the archive ends
        assert now() == missed + ANSWER_SECONDS
        told = [item_of(each) async for batch in channel.told(Position(1, 0)) for each in batch]
        assert now() == missed + TUNING.elsewhere == missed + 13.0
        assert told == [Gap(1, 1, 5), Line(6, 1, NOON, False, b"{}")]
        await channel.close()

    run(play())
