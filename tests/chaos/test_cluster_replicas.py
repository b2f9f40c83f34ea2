"""Operators beside the real API server, stopped, doubled, robbed of their Lease or rights, or told a wrong time."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from agentjob_api.names import Key
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import LEASES
from came_to import KIND, Results, Run
from disturbed import usual
from fault_proxy import Rule, Slow
from lives import BROKEN, LIVES, goes_on, works
from on_cluster import NAMESPACE, RELEASE, OnCluster, Place, grant, on_cluster
from operated import until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(300)]

LIFE = "fails, and succeeds at its second attempt"
LEASE = Key(NAMESPACE, "agentjob-chaos")
SEVERAL = {"lease": {"namespace": LEASE.namespace, "name": LEASE.name}, "podName": "operator-a"}
SKEW = timedelta(minutes=5)
REVOKED_SECONDS = 10.0
Disturb = Callable[[OnCluster], AbstractAsyncContextManager[None]]


async def holder(op: OnCluster) -> str:
    with suppress(NotFound):
        found: str = (await op.client.get(LEASES, LEASE))["spec"]["holderIdentity"]
        return found
    return ""


async def until_holds(op: OnCluster, name: str) -> None:
    async def holds() -> bool:
        return await holder(op) == name

    await until(holds, op.within)


@asynccontextmanager
async def another(op: OnCluster, **settings: Any) -> AsyncIterator[OnCluster]:
    """A second operator, which knows what there is."""

    async def both_watch() -> bool:
        return len([seen for seen in op.proxy.seen if (seen.verb, seen.resource) == ("watch", "pods")]) >= 2

    found = op.beside(**settings)
    found.start()
    try:
        await until(both_watch, op.within)
        yield found
    finally:
        await found.kill()


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does something while the block runs, and has done it at its end."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work)
        yield


@asynccontextmanager
async def stopped_in_a_write(op: OnCluster) -> AsyncIterator[None]:
    """It is told to stop while a write is on its way, and another one comes."""
    rule = Rule("update", "agentjobs/status", Slow(1.0))
    op.proxy.rules.append(rule)

    async def is_under_way() -> bool:
        return rule.times == 0

    async def stop_and_start() -> None:
        await until(is_under_way, op.within)
        assert await op.end(signal.SIGTERM) == 0
        op.start()

    async with meanwhile(stop_and_start()):
        yield


@asynccontextmanager
async def both_act(op: OnCluster) -> AsyncIterator[None]:
    """Nothing keeps a second one from acting, as where a Lease was taken from one that does not know it yet."""
    async with another(op, podName="operator-b"):
        yield


@asynccontextmanager
async def one_goes(op: OnCluster, how: signal.Signals) -> AsyncIterator[None]:
    """The one that acts is ended, and the other one acts."""
    await until_holds(op, "operator-a")
    async with another(op, **{**SEVERAL, "podName": "operator-b"}):
        await op.end(how)
        yield
        assert await holder(op) == "operator-b"


@asynccontextmanager
async def lease_is_stolen(op: OnCluster) -> AsyncIterator[None]:
    """Somebody writes another name into the Lease: the one that acts ends, and starts again when nobody renews it."""
    await until_holds(op, "operator-a")
    await op.client.patch(LEASES, LEASE, {"spec": {"holderIdentity": "somebody"}})
    assert await op.exit_code() == 1
    op.start()
    yield
    assert await holder(op) == "operator-a"


@asynccontextmanager
async def rights_are_revoked(op: OnCluster) -> AsyncIterator[None]:
    """Its Role is taken from it for a while."""
    stack = op.place.stack
    await asyncio.to_thread(stack.kubectl, "delete", "rolebinding", RELEASE, "-n", NAMESPACE)

    async def give_back() -> None:
        await asyncio.sleep(REVOKED_SECONDS)
        await asyncio.to_thread(grant, stack)

    async with meanwhile(give_back()):
        yield


@asynccontextmanager
async def nothing(op: OnCluster) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True)
class Row:
    disturb: Disturb
    sees: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    ahead: timedelta = timedelta()
    lasted: float = 0.0


ROWS: Mapping[str, Row] = {
    "SIGTERM while a write is on its way": Row(stopped_in_a_write, "nothing"),
    "two operators act at once, with no Lease between them": Row(both_act, "nothing"),
    "of two operators, the one that acts is killed": Row(
        partial(one_goes, how=signal.SIGKILL), "its status comes late, by 15 s for the Lease", SEVERAL, lasted=15.0
    ),
    "of two operators, the one that acts is told to stop": Row(
        partial(one_goes, how=signal.SIGTERM), "nothing", SEVERAL
    ),
    "the Lease is stolen": Row(lease_is_stolen, "its status comes late, by 15 s for the Lease", SEVERAL, lasted=15.0),
    "the operator's rights are revoked for 10 s": Row(
        rights_are_revoked, "its status comes late", lasted=REVOKED_SECONDS
    ),
    "the operator's clock is 5 minutes ahead": Row(nothing, "the second attempt comes early", ahead=SKEW),
}


@pytest.mark.parametrize("fault", ROWS)
async def test_nothing_is_lost_or_doubled_when(results: Results, place: Place, fault: str) -> None:
    row, undisturbed = ROWS[fault], await usual(results, LIFE, KIND, partial(on_cluster, place))
    async with on_cluster(place, **row.settings) as op:
        op.put_ahead(row.ahead)
        await op.is_watching()
        began = time.monotonic()
        await op.submit()
        await works(op)
        async with row.disturb(op):
            await op.end_agent(BROKEN, code=1)
            await goes_on(op)
            took = time.monotonic() - began
            await op.nothing_was_lost_or_doubled(LIVES[LIFE])
    results.add(Run(KIND, "operator", fault, row.sees, undisturbed, took, row.lasted))
