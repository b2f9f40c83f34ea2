"""An operator whose every request goes through a fault proxy, and what it must not have lost or doubled in the end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import aiohttp

from agentjob_api.names import LABEL_JOB
from agentjob_api.reasons import Reason
from agentjob_kube.resources import PODS
from agentjob_kube.wire import HttpTransport
from agentjob_operator.operate import operate
from fake_cluster import FakeCluster
from fault_proxy import FaultProxy, Rule, Seen, Stop
from operated import Operated, told, until

Object = dict[str, Any]
FINAL = {"Succeeded", "Failed", "Cancelled"}


class End(NamedTuple):
    """How a job has ended."""

    phase: str
    reasons: tuple[Reason, ...]
    """Why each attempt ended."""
    failed: int
    cost: str | None


async def nobody(op: "Disturbed") -> None:
    """There is nothing."""


@dataclass(frozen=True)
class Life:
    """One job's life."""

    live: Callable[["Disturbed"], Awaitable[None]]
    """A person, a scheduler and a kubelet do their parts."""
    writes: tuple[str, ...]
    """What an operator writes that is not disturbed, in order."""
    end: End | None
    """How the job has ended; None when it was deleted before."""
    pods: tuple[str, ...] = ("fix-1",)
    """All that are ever made, in order."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    before: Callable[["Disturbed"], Awaitable[None]] = nobody
    """What there is before the job."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The operator's."""


class Disturbed(Operated):
    """The operator reaches the API server through `proxy` only; person, scheduler and kubelet past it."""

    proxy: FaultProxy

    def go_through(self, proxy: FaultProxy) -> None:
        """From the next start on."""
        self.proxy, self.server = proxy, proxy.url

    async def pods(self) -> list[Object]:
        """All Pods of jobs that there are."""
        return [pod async for page in self.client.pages(PODS, self.namespace, LABEL_JOB) for pod in page.items]

    def pods_made(self) -> list[Object]:
        """All Pods that ever were made, in order."""
        seen = (each for each in self.proxy.seen if (each.verb, each.resource) == ("create", "pods"))
        return [each.done for each in seen if each.done is not None]

    def made(self) -> list[str]:
        """The job's Pods that ever were, in order, once for each time."""
        names: list[str] = [pod["metadata"]["name"] for pod in self.pods_made()]
        return [name for name in names if name.startswith("fix-")]

    def written(self, uid: str = "") -> list[Object]:
        """The statuses that the job ever had, in order; of several of its name, that of one uid."""
        seen = (each for each in self.proxy.seen if each.resource == "agentjobs/status" and each.name == "fix")
        jobs = (each.done for each in seen if each.done is not None)
        return [job["status"] for job in jobs if uid in {"", job["metadata"]["uid"]}]

    def refused(self) -> list[Seen]:
        """The operator's requests that the API server had an error of its own with."""
        return [seen for seen in self.proxy.seen if seen.status >= 500]

    async def start_again(self) -> float:
        """Starts another operator; the seconds until it asks for something."""
        began, before = time.monotonic(), len(self.proxy.seen)
        self.start()

        async def asks() -> bool:
            return len(self.proxy.seen) > before

        await until(asks, self.within)
        return time.monotonic() - began

    async def is_watching(self) -> None:
        """Returns once the operator has everything in view."""

        async def both() -> bool:
            return {seen.resource for seen in self.proxy.seen if seen.verb == "watch"} >= {"pods", "agentjobs"}

        await until(both, self.within)

    async def lives(self, life: Life) -> None:
        """A job's life, from its submission to its end."""
        await life.before(self)
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
        assert self.made() == [*life.pods]
        written = self.written()
        is_forward(written)
        if life.end is not None:
            assert ended(written[-1]) == life.end
        assert await self.pods() == []


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
async def doubled(op: Disturbed) -> AsyncIterator[None]:
    """A second operator acts as the first one does, with nothing that keeps them apart."""
    stopped = asyncio.Event()
    second = asyncio.create_task(operate(op.settings, op._connect, stopped, op._now))
    try:
        yield
    finally:
        stopped.set()
        await second


@asynccontextmanager
async def killed_at(op: Disturbed, number: int, *, after: bool) -> AsyncIterator[list[float]]:
    """The operator is killed before its n-th write is passed on, or when it was done; another one starts at once.

    Gives the seconds until that one has started, once it has.
    """
    async with killed_by(op, Rule("write", "*", Stop(after=after), skip=number - 1)) as away:
        yield away


@asynccontextmanager
async def killed_by(op: Disturbed, rule: Rule) -> AsyncIterator[list[float]]:
    """As `killed_at`, when a rule says Stop."""
    away: list[float] = []
    op.proxy.rules.append(rule)

    async def kill_and_start() -> None:
        await op.proxy.stopped.wait()
        await op.kill()
        op.proxy.go_on()
        away.append(await op.start_again())

    killing = asyncio.create_task(kill_and_start())
    try:
        yield away
        assert killing.done(), f"that never came: {rule}"
    finally:
        killing.cancel()
        await asyncio.wait({killing})
        if not killing.cancelled():
            killing.result()  # what it has failed with is the test's failure
