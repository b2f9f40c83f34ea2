"""Replicas of the gateway that keep jobs' lines, over one store, on a fake cluster."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import obstore.store

from agentjob_api.lines import envelope
from agentjob_api.names import Key
from agentjob_gateway.archive import Archive
from agentjob_gateway.cache import JobCache
from agentjob_gateway.hub import Hub
from agentjob_gateway.keeper import Keeper
from agentjob_gateway.peers import Peers
from agentjob_gateway.record import ArchiveCounts, Pace
from agentjob_gateway.retention import Retention, Times
from agentjob_gateway.second import Seconds
from agentjob_gateway.share import owner
from agentjob_gateway.standby import Standby
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client, Object
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import AGENT_JOBS, ENDPOINT_SLICES
from agentjob_kube.wire import HttpTransport
from endpoints import endpoint_slice
from fake_cluster import FakeCluster
from operated import NAMESPACE, until
from stores import Unreliable
from watched import USUAL, Watched, last_line, line, succeeded, watched

HOME = Key("system", "gateway")
"""The Service of the replicas."""
QUICK = Pace(part_seconds=0.02, again=Backoff(first=0.005, most=0.05))
NAMES = ("gateway-a", "gateway-b")
"""Two replicas."""
OFTEN = Times(sweep_seconds=0.02, settle_seconds=0.0, again=Backoff(first=0.005, most=0.05))


class Keeping:
    """One replica, which can be killed."""

    def __init__(self, place: "Archived", session: aiohttp.ClientSession, name: str | None, most: int) -> None:
        client = Client(HttpTransport(session, place.cluster.url))
        self.name = name or ""
        self.cache = JobCache((NAMESPACE,))
        self.hub = Hub(client, self.cache, USUAL, place.archive)
        self.peers = Peers(name)
        counts = ArchiveCounts()
        self.keeper = Keeper(
            cache=self.cache,
            peers=self.peers,
            archive=place.archive,
            standby=Standby(self.hub, most, Seconds(self.hub, place.archive, QUICK, counts).begin),
            source=self.hub,
            client=client,
            clock=place.now,
            pace=QUICK,
            counts=counts,
            most=most,
        )
        self._session = session
        retention = Retention(archive=place.archive, cache=self.cache, peers=self.peers, clock=place.now, times=OFTEN)
        parts: list[Coroutine[Any, Any, None]] = [self.cache.run(client, NAMESPACE), self.keeper.run(), retention.run()]
        if name is not None:
            parts.append(self.peers.run(client, HOME))
        self._tasks = [asyncio.create_task(part) for part in parts]

    def follows(self) -> int:
        """How many jobs it keeps now."""
        return len(self.keeper._records)

    async def kill(self) -> None:
        """Ends it wherever it is."""
        for task in self._tasks:
            task.cancel()
        for channel in tuple(self.hub._channels.values()):
            await channel.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.shutdown()
        await self._session.close()

    def failed(self) -> list[BaseException]:
        """What parts of it have ended with."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [error for task in ended if (error := task.exception()) is not None]


class Archived:
    """The cluster, the store, and the replicas."""

    def __init__(self, at: Watched) -> None:
        self.at = at
        self.cluster: FakeCluster = at.cluster
        self.store = Unreliable(obstore.store.MemoryStore())
        self.archive = Archive(self.store)
        self.replicas: list[Keeping] = []
        self.ahead = timedelta()
        """How much later it is for sweeps."""
        self._client = Client(HttpTransport(at.session, at.cluster.url))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def replica(self, name: str | None = None, most: int = 500) -> Keeping:
        """A replica; one with a name shares the jobs with those that are `ready`."""
        session = aiohttp.ClientSession(headers={"User-Agent": "gateway"})
        found = Keeping(self, session, name, most)
        self.replicas.append(found)
        return found

    async def ready(self, *names: str) -> None:
        """Lets these replicas, and no others, be ready."""
        body = endpoint_slice("gateway-1", HOME.name, *names)
        key = Key(HOME.namespace, "gateway-1")
        with suppress(NotFound):
            await self._client.patch(ENDPOINT_SLICES, key, {"endpoints": body["endpoints"]})
            return
        await self._client.create(ENDPOINT_SLICES, HOME.namespace, body)

    async def job(self, name: str = "fix") -> Object:
        return await self._client.get(AGENT_JOBS, Key(NAMESPACE, name))

    async def uid(self, name: str = "fix") -> str:
        found: str = (await self.job(name))["metadata"]["uid"]
        return found

    async def reason(self, name: str = "fix") -> str | None:
        """The reason of the job's condition Archived."""
        conditions = (await self.job(name))["status"].get("conditions", ())
        return next((each["reason"] for each in conditions if each["type"] == "Archived"), None)

    async def until_archived(self, name: str = "fix") -> str:
        """The reason, once the condition is there."""
        found: str = await until(lambda: self.reason(name), 60.0)
        return found

    async def until_kept(self, count: int, name: str = "fix", attempt: int = 1) -> None:
        """Returns once so many lines are in the store."""

        async def there() -> bool:
            return len(await self.seqs(name, attempt)) >= count

        await until(there)

    async def uid_of_job_without_pod(self) -> str:
        """`fix` has said six lines, of which two at a time were kept, and no replica is there."""
        first = await self.replica()
        await begin(self)
        for seq in (1, 3):
            self.at.say(seq, seq + 1)
            await self.until_kept(seq + 1)
        self.at.print(line(5) + last_line(6))
        await self.at.end_container()
        await self.at.set_status(succeeded(1))
        await self.until_archived()
        await self.at.remove_pod()
        await first.kill()
        return await self.uid()

    async def rewrite(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """Puts something else in place of an object."""
        pieces = (await self.store.get_async(path)).stream(2**20)
        content = b"".join([piece async for piece in pieces])
        await self.store.put_async(path, change(content), use_multipart=False)

    def print_from(self, time: datetime, first: int, last: int) -> None:
        """Lets the agent of `fix` have printed these lines at a time."""
        message = b'{"type":"assistant"}'
        content = b"".join(b"%b%b}\n" % (envelope(seq, 1, time), message) for seq in range(first, last + 1))
        self.cluster.append_log(NAMESPACE, "fix-1", content)

    async def seqs(self, name: str = "fix", attempt: int = 1) -> list[int]:
        """The lines that are in the store."""
        uid = await self.uid(name)
        return [line.seq async for line in self.archive.lines(NAMESPACE, uid, attempt, 0)]


@asynccontextmanager
async def archived() -> AsyncIterator[Archived]:
    """A fake cluster and a store, no replica yet; what is started is stopped at the end, and must not have failed."""
    async with watched() as at:
        place = Archived(at)
        try:
            yield place
        finally:
            failed = [error for replica in place.replicas for error in replica.failed()]
            for replica in place.replicas:
                await replica.kill()
        assert failed == []


async def pair(place: Archived) -> dict[str, Keeping]:
    """Two replicas that know each other."""
    await place.ready(*NAMES)
    found = {name: await place.replica(name) for name in NAMES}
    for replica in found.values():
        await replica.peers.joined.wait()
    return found


async def owned(place: Archived, replicas: dict[str, Keeping], name: str = "fix") -> tuple[str, Keeping, Keeping]:
    """Which replica a job falls to, that replica, and the other one."""
    first = owner(await place.uid(name), NAMES)
    assert first is not None
    [other] = [each for each in NAMES if each != first]
    return first, replicas[first], replicas[other]


async def begin(place: Archived, name: str = "fix") -> None:
    await place.at.submit(name)
    await place.at.start(name=name)


def numbers(last: int) -> list[int]:
    return list(range(1, last + 1))
