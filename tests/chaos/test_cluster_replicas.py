"""Operators beside the real API server, stopped, doubled, robbed of their Lease or rights, or told a wrong time."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest

from agentjob_api.names import Key
from agentjob_kube.errors import NotFound
from agentjob_kube.resources import LEASES, PODS
from came_to import KIND, Results, Run
from fault_proxy import Rule, Slow
from lives import BROKEN, LIVES, goes_on, usual, works
from on_cluster import NAMESPACE, RELEASE, OnCluster, Place, grant, on_cluster, token, write
from operated import until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(300)]

LIFE = "fails, and succeeds at its second attempt"
LEASE = Key(NAMESPACE, "agentjob-chaos")
SEVERAL = {"lease": {"namespace": LEASE.namespace, "name": LEASE.name}, "podName": "operator-a"}
SKEW = timedelta(minutes=5)
REVOKED_SECONDS = 10.0
LEASE_SECONDS = 15.0
Lengths = list[float]
"""Of faults that came one after the other, in seconds."""
Disturb = Callable[..., AbstractAsyncContextManager[Lengths]]
"""Something goes wrong with an operator, or with it and another one; gives for how long, once that is known."""


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
async def another(op: OnCluster, settings: Mapping[str, Any]) -> AsyncIterator[OnCluster]:
    """A second operator, which knows what there is."""

    async def both_watch() -> bool:
        return len([seen for seen in op.proxy.seen if (seen.verb, seen.resource) == ("watch", "pods")]) >= 2

    found = op.beside(**{**settings, "podName": "operator-b"})
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


async def is_away(op: OnCluster, seconds: Lengths) -> None:
    """It starts again, for as long as that takes."""
    seconds.append(await op.start_again())


def was_told(op: OnCluster, status: HTTPStatus) -> bool:
    """Whether a write of the operator's was answered so."""
    return ("update", status) in {(seen.verb, seen.status) for seen in op.proxy.seen}


@asynccontextmanager
async def stopped_in_a_write(op: OnCluster) -> AsyncIterator[Lengths]:
    """It is told to stop while a write is on its way, and another one comes."""
    rule = Rule("update", "agentjobs/status", Slow(1.0))
    op.proxy.rules.append(rule)

    async def is_under_way() -> bool:
        return rule.times == 0

    async def stop_and_start() -> None:
        await until(is_under_way, op.within)
        assert await op.end(signal.SIGTERM) == 0
        away.append(await op.start_again())

    away: Lengths = []
    async with meanwhile(stop_and_start()):
        yield away


@asynccontextmanager
async def both_act(op: OnCluster, other: OnCluster) -> AsyncIterator[Lengths]:
    """Nothing keeps a second one from acting, as where a Lease was taken from one that does not know it yet."""
    yield []


@asynccontextmanager
async def one_goes(op: OnCluster, other: OnCluster, how: signal.Signals) -> AsyncIterator[Lengths]:
    """The one that acts is ended, and the other one acts: at once where it was told to stop, else after the Lease."""
    await op.end(how)
    yield [LEASE_SECONDS] if how is signal.SIGKILL else []
    assert await holder(op) == "operator-b"


@asynccontextmanager
async def both_are_killed(op: OnCluster, other: OnCluster) -> AsyncIterator[Lengths]:
    """Both are killed at once, and start again in their Pods: the one that acted need not wait for its own Lease."""
    await asyncio.gather(op.kill(), other.kill())
    away: Lengths = []
    async with meanwhile(is_away(op, away)):
        other.start()
        yield away
    assert await holder(op) == "operator-a"


@asynccontextmanager
async def lease_is_stolen(op: OnCluster) -> AsyncIterator[Lengths]:
    """Somebody writes another name into the Lease: the one that acts ends, and starts again when nobody renews it."""
    await op.client.patch(LEASES, LEASE, {"spec": {"holderIdentity": "somebody"}})
    assert await op.exit_code() == 1
    away = [LEASE_SECONDS]
    async with meanwhile(is_away(op, away)):
        yield away
    assert await holder(op) == "operator-a"


@asynccontextmanager
async def rights_are_revoked(op: OnCluster) -> AsyncIterator[Lengths]:
    """Its Role is taken from it for a while."""
    stack = op.place.stack
    await asyncio.to_thread(stack.kubectl, "delete", "rolebinding", RELEASE, "-n", NAMESPACE)

    async def give_back() -> None:
        await asyncio.sleep(REVOKED_SECONDS)
        await asyncio.to_thread(grant, stack)

    async with meanwhile(give_back()):
        yield [REVOKED_SECONDS]
    assert was_told(op, HTTPStatus.FORBIDDEN)


@asynccontextmanager
async def token_is_revoked(op: OnCluster) -> AsyncIterator[Lengths]:
    """The Secret that its token is bound to is deleted; another token comes into the file a while later."""
    place = op.place
    next_token = await asyncio.to_thread(token, place.stack, f"{RELEASE}-another")
    began = time.monotonic()
    await asyncio.to_thread(place.stack.kubectl, "delete", "secret", RELEASE, "-n", NAMESPACE)
    credential = {"Authorization": f"Bearer {place.token.read_text()}"}
    async with aiohttp.ClientSession(headers=credential) as session:

        async def is_refused() -> bool:
            async with session.get(op.proxy.url + PODS.path(NAMESPACE)) as answer:
                return answer.status == HTTPStatus.UNAUTHORIZED

        await until(is_refused, op.within)  # the API server remembers for 10 s whom it knew

    async def give_another() -> None:
        await asyncio.sleep(REVOKED_SECONDS)
        write(place.token, next_token)

    async with meanwhile(give_another()):
        yield [time.monotonic() - began, REVOKED_SECONDS]
    assert was_told(op, HTTPStatus.UNAUTHORIZED)


@asynccontextmanager
async def clock_is_put_right(op: OnCluster) -> AsyncIterator[Lengths]:
    """It was behind until the first attempt has ended: what is to come in time does then."""

    async def put_right() -> None:
        await op.until_ready_says("BackOff")
        await op.later(SKEW.total_seconds())

    async with meanwhile(put_right()):
        yield []


@asynccontextmanager
async def nothing(op: OnCluster) -> AsyncIterator[Lengths]:
    yield []


@dataclass(frozen=True)
class Row:
    disturb: Disturb
    sees: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    ahead: timedelta = timedelta()
    spec: Mapping[str, Any] = field(default_factory=dict)
    is_doubled: bool = False
    """Whether there is another operator beside it."""


BY_LEASE = f"its status comes late, by {LEASE_SECONDS:g} s for the Lease"
ROWS: Mapping[str, Row] = {
    "SIGTERM while a write is on its way": Row(stopped_in_a_write, "nothing"),
    "two operators act at once, with no Lease between them": Row(both_act, "nothing", is_doubled=True),
    "of two operators, the one that acts is killed": Row(
        partial(one_goes, how=signal.SIGKILL), BY_LEASE, SEVERAL, is_doubled=True
    ),
    "of two operators, the one that acts is told to stop": Row(
        partial(one_goes, how=signal.SIGTERM), "nothing", SEVERAL, is_doubled=True
    ),
    "of two operators, both are killed at once": Row(both_are_killed, "nothing", SEVERAL, is_doubled=True),
    "the Lease is stolen": Row(lease_is_stolen, BY_LEASE, SEVERAL),
    "the operator's rights are revoked for 10 s": Row(rights_are_revoked, "its status comes late"),
    "the operator's token is revoked, and its file has another one 10 s later": Row(
        token_is_revoked, "its status comes late"
    ),
    "the operator's clock is 5 minutes ahead": Row(nothing, "the second attempt comes early", ahead=SKEW),
    "the operator's clock is 5 minutes ahead, by more than the deadline": Row(
        nothing, "the second attempt comes early", ahead=SKEW, spec={"activeDeadlineSeconds": 240}
    ),
    "the operator's clock is 5 minutes behind, until it is put right": Row(
        clock_is_put_right, "the second attempt comes once the clock is right", ahead=-SKEW
    ),
}


@pytest.mark.parametrize("fault", ROWS)
async def test_nothing_is_lost_or_doubled_when(results: Results, place: Place, fault: str) -> None:
    row, undisturbed = ROWS[fault], await usual(results, LIFE, KIND, partial(on_cluster, place))
    async with on_cluster(place, **row.settings) as op, AsyncExitStack() as exits:
        op.put_ahead(row.ahead)
        await op.is_watching()
        if "lease" in row.settings:
            await until_holds(op, "operator-a")
        others = [await exits.enter_async_context(another(op, row.settings))] if row.is_doubled else []
        began = time.monotonic()
        await op.submit(**row.spec)
        await works(op)
        async with row.disturb(op, *others) as lengths:
            await op.end_agent(BROKEN, code=1)
            await goes_on(op)
            took = time.monotonic() - began
            await op.nothing_was_lost_or_doubled(LIVES[LIFE])
    results.add(Run(KIND, "operator", fault, row.sees, undisturbed, took, sum(lengths)))
