"""An operator whose every request goes through a fault proxy, and what it must not have lost or doubled in the end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import aiohttp

from agentjob_kube.resources import PODS
from agentjob_kube.wire import HttpTransport
from came_to import Results, timed
from fake_cluster import FakeCluster
from fault_proxy import FaultProxy, Rule, Stop
from lives import LIVES, Life
from operated import Operated, told

Object = dict[str, Any]
FINAL = {"Succeeded", "Failed", "Cancelled"}


class Disturbed(Operated):
    """The operator reaches the API server through `proxy` only; person, scheduler and kubelet past it."""

    proxy: FaultProxy

    def go_through(self, proxy: FaultProxy) -> None:
        """From the next start on."""
        self.proxy, self.server = proxy, proxy.url

    def made(self) -> list[str]:
        """The job's Pods that ever were, in order, once for each time."""
        done = (seen for seen in self.proxy.seen if (seen.verb, seen.resource) == ("create", "pods") and seen.done)
        return [seen.name for seen in done if seen.name.startswith("fix-")]

    def written(self) -> list[Object]:
        """The statuses that the job ever had, in order."""
        found = (seen for seen in self.proxy.seen if seen.resource == "agentjobs/status" and seen.name == "fix")
        return [seen.done["status"] for seen in found if seen.done is not None]

    async def lives(self, life: Life) -> None:
        """A job's life, from its submission to its end."""
        await self.submit(**life.spec)
        await life.live(self)

    async def nothing_more_is_done(self) -> None:
        """Whatever the operator does about other jobs so far, it has done by the end of this one."""
        await self.submit("other")
        await self.end_agent(told(), name="other-1")
        await self.until_status("other", phase="Succeeded")
        await self.until_no_pod("other-1")

    async def nothing_was_lost_or_doubled(self, life: Life) -> None:
        """Each Pod was made once, the job has ended as it should, at its price, and nothing is left of it."""
        await self.nothing_more_is_done()
        assert self.made() == life.pods
        written = self.written()
        is_forward(written)
        if life.end is not None:
            assert ended(written[-1]) == life.end
        assert [item["metadata"]["name"] for item in await self.items(PODS)] == []


def ended(status: Object) -> tuple[Any, ...]:
    """How a job has ended, by its status."""
    reasons = tuple(each["reason"] for each in status["attempts"])
    assert status["attemptCount"] == len(reasons)
    return status["phase"], reasons, status.get("failedCount", 0), status.get("costUSD")


def is_forward(written: Sequence[Object]) -> None:
    """No status takes back what one before has said: an end stays as it is, counts and costs only grow."""
    for before, after in pairwise(written):
        assert before["phase"] not in FINAL, (before, after)
        assert Decimal(after.get("costUSD", 0)) >= Decimal(before.get("costUSD", 0))
        assert after.get("attemptCount", 0) >= before.get("attemptCount", 0)


async def usual(results: Results, name: str) -> float:
    """Seconds of an undisturbed life on the fake cluster, which is lived once in a session."""
    if name not in results.usual:
        async with disturbed() as op:
            with timed(partial(results.usual.__setitem__, name)):
                await op.lives(LIVES[name])
            await op.nothing_was_lost_or_doubled(LIVES[name])
            assert op.proxy.writes("fix") == [*LIVES[name].writes]
    return results.usual[name]


@asynccontextmanager
async def disturbed(*rules: Rule, **settings: Any) -> AsyncIterator[Disturbed]:
    """A fake cluster with an operator at work on it, of which goes wrong what these rules say."""
    with FakeCluster() as cluster:
        cluster.bookmark_every(1.0)
        async with aiohttp.ClientSession(headers={"User-Agent": "test"}) as session, FaultProxy(cluster.url) as proxy:
            found = Disturbed(cluster, HttpTransport(session, cluster.url), {"podTTLSeconds": 0, **settings})
            proxy.rules += rules
            found.go_through(proxy)
            found.start()
            try:
                yield found
            finally:
                await found.stop()


@asynccontextmanager
async def killed_at(op: Disturbed, number: int, *, after: bool) -> AsyncIterator[None]:
    """The operator is killed before its n-th write is passed on, or when it was done; another one starts at once."""
    op.proxy.rules.append(Rule("write", "*", Stop(after=after), skip=number - 1))

    async def kill_and_start() -> None:
        await op.proxy.stopped.wait()
        await op.kill()
        op.proxy.go_on()
        op.start()

    killing = asyncio.create_task(kill_and_start())
    try:
        yield
        assert killing.done(), f"there was no write {number}"
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
