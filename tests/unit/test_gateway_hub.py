"""What one process takes on at most: what the archive follows leaves room for clients, and all of it for memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from agent_jobs import agent_job
from agentjob_api.lines import Line, envelope
from agentjob_api.names import Key
from agentjob_gateway.cache import JobCache
from agentjob_gateway.channel import FOR_CLIENTS, TUNING
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.hub import LEAST_RING_BYTES, Hub
from agentjob_gateway.keeper import MOST
from agentjob_gateway.sse import START
from agentjob_kube.client import Client
from agentjob_kube.transport import Request

MIB = 2**20
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUNNING = {
    "phase": "Running",
    "attemptCount": 1,
    "attempts": [{"number": 1, "pod": "fix-1", "startTime": "2026-11-22T12:00:00Z"}],
}


class Silent:
    """A transport over which nothing ever comes."""

    async def send(self, _: Request) -> bytes:
        raise NotImplementedError

    async def lines(self, _: Request) -> AsyncGenerator[list[bytes], None]:
        await asyncio.Event().wait()
        yield []


async def test_the_archive_leaves_room_for_clients_and_all_together_for_memory() -> None:
    cache = JobCache(("agents",))
    hub = Hub(Client(Silent()), cache)

    async def follow(number: int) -> None:
        cache.put(agent_job(f"job-{number}"))
        await hub.follow(Key("agents", f"job-{number}"), f"uid-job-{number}")

    kept = [asyncio.create_task(follow(number)) for number in range(2 * MOST)]
    await asyncio.sleep(0)
    watched = [asyncio.create_task(follow(2 * MOST + number)) for number in range(FOR_CLIENTS)]
    await asyncio.sleep(0)

    assert not any(task.done() for task in (*kept, *watched))
    assert sum(channel.ring._max_bytes for channel in hub._channels.values()) < 410 * MIB
    with pytest.raises(Unavailable, match=f"{TUNING.channels} jobs are watched here"):
        await follow(TUNING.channels)
    await hub.shutdown()
    await asyncio.gather(*kept, *watched, return_exceptions=True)


class OnePiece:
    """A log of which all comes at once, to everybody who asks for it."""

    def __init__(self, *lines: bytes) -> None:
        self.asked = 0
        self._lines = list(lines)

    async def send(self, _: Request) -> bytes:
        raise NotImplementedError

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        self.asked += 1
        yield self._lines
        if "follow" in request.query:
            await asyncio.Event().wait()


async def test_of_more_lines_at_once_than_are_kept_at_hand_none_is_read_again_for_the_archive() -> None:
    """The log may have been turned over by then."""
    seqs = list(range(1, 41))
    log = OnePiece(*(envelope(seq, 1, NOON) + b'{"text":"%b"}}' % (b"x" * (LEAST_RING_BYTES // 10)) for seq in seqs))
    cache = JobCache(("agents",))
    cache.put(agent_job(status=RUNNING))
    hub = Hub(Client(log), cache, TUNING._replace(ring_bytes=LEAST_RING_BYTES))
    async with asyncio.timeout(5), aclosing(hub.lines(Key("agents", "fix"), "uid-fix", START)) as lines:
        found = [await anext(lines) for _ in seqs]
    await hub.shutdown()

    assert ([each.seq for each in found if isinstance(each, Line)], log.asked) == (seqs, 1)
