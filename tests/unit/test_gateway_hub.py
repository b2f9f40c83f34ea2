"""What one process takes on at most: what the archive follows leaves room for clients, and all of it for memory."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from agent_jobs import agent_job
from agentjob_api.names import Key
from agentjob_gateway.cache import JobCache
from agentjob_gateway.channel import FOR_CLIENTS, TUNING
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.hub import Hub
from agentjob_gateway.keeper import MOST
from agentjob_kube.client import Client
from agentjob_kube.transport import Request

MIB = 2**20


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
