"""An operator may be killed before and after each of its writes, or another act beside it: nothing is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import pytest

from agentjob_api.names import Key
from agentjob_kube.resources import LEASES
from came_to import FAKE, Results, Run, timed
from disturbed import Disturbed, disturbed, doubled, killed_at, killed_by
from fault_proxy import Rule, Stop
from lives import BROKEN, LIVES, goes_on, usual, works
from operated import NAMESPACE, until

SHORT = {"succeeds, and goes in time", "fails, and succeeds at its second attempt"}
"""Lives that have most kinds of writes; those of others take as long again, and more."""
KILLS = [
    pytest.param(
        name,
        number,
        after,
        id=f"a job that {name}: {'after' if after else 'before'} {number}, {write}",
        marks=[] if name in SHORT else pytest.mark.long,
    )
    for name, life in LIVES.items()
    for number, write in enumerate(life.writes, start=1)
    for after in (False, True)
]


@pytest.mark.parametrize("name", LIVES)
async def test_an_undisturbed_life_has_the_writes_that_an_operator_is_killed_at(results: Results, name: str) -> None:
    assert await usual(results, name) > 0


@pytest.mark.parametrize("name", LIVES)
async def test_two_operators_that_act_at_once_lose_and_double_nothing(results: Results, name: str) -> None:
    life, undisturbed = LIVES[name], await usual(results, name)
    took: list[float] = []
    async with disturbed(**life.settings) as op, doubled(op):
        await op.is_watching()
        with timed(took.append):
            await op.lives(life)
        await op.nothing_was_lost_or_doubled(life)
    fault = "two operators act at once, with no Lease between them, on a job of each kind"
    results.add(Run(FAKE, "operator", fault, "an Event may come twice", undisturbed, took[0]))


async def kill_what_does_not_run(op: Disturbed) -> None:
    await op.kill()
    async with killed_at(op, 1, after=False):
        op.proxy.stopped.set()
        for _ in range(10):
            await asyncio.sleep(0)


async def test_a_kill_that_fails_is_the_tests_failure() -> None:
    async with disturbed() as op:
        with pytest.raises(AssertionError, match="nothing runs"):
            await kill_what_does_not_run(op)


@pytest.mark.parametrize(("name", "number", "after"), KILLS)
async def test_an_operator_that_is_killed_at_any_write_loses_and_doubles_nothing(
    results: Results, name: str, number: int, after: bool
) -> None:
    life, undisturbed = LIVES[name], await usual(results, name)
    took: list[float] = []
    async with disturbed(**life.settings) as op, killed_at(op, number, after=after):
        await op.is_watching()
        with timed(took.append):
            await op.lives(life)
        await op.nothing_was_lost_or_doubled(life)
    writes = len(life.writes)
    fault = f"operator killed before and after each of the {writes} writes of a job that {name}"
    sees = "nothing" if "create events" not in life.writes else "an Event may be missing; the status says the same"
    results.add(Run(FAKE, "operator", fault, sees, undisturbed, took[0]))


LIFE = "fails, and succeeds at its second attempt"
LEASE = Key(NAMESPACE, "agentjob")
LEASE_SECONDS = 3.0


def one_of_several(name: str) -> dict[str, Any]:
    """The settings of an operator in the Pod of this name."""
    lease = {"namespace": LEASE.namespace, "name": LEASE.name, "seconds": LEASE_SECONDS}
    return {"lease": lease, "podName": name, "podTTLSeconds": 0}


async def another_comes(op: Disturbed) -> None:
    """The one that acts is gone, and another one in its place."""
    await op.kill()
    op.start()


async def it_is_deleted(op: Disturbed) -> None:
    """Somebody has deleted the Lease with the operator that held it."""
    await op.kill()
    await op.client.delete(LEASES, LEASE, (await op.client.get(LEASES, LEASE))["metadata"]["uid"])
    op.start()


async def it_is_stopped(op: Disturbed) -> None:
    """The one that acts is told to stop."""
    op.ask_to_stop()


async def time_passes(op: Disturbed) -> None:
    """The one that acts does so for a while."""


class ToLease(NamedTuple):
    """A write to the Lease."""

    verb: str
    comes: Callable[[Disturbed], Awaitable[None]]
    """What it comes of."""


TO_LEASE: Mapping[str, ToLease] = {
    "makes the Lease": ToLease("create", it_is_deleted),
    "takes the Lease over": ToLease("patch", another_comes),
    "renews the Lease": ToLease("patch", time_passes),
    "gives the Lease back": ToLease("patch", it_is_stopped),
}


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", TO_LEASE)
async def test_an_operator_that_is_killed_at_a_write_to_its_lease_loses_and_doubles_nothing(
    results: Results, what: str, after: bool
) -> None:
    """While an agent works; whoever comes after it has another name, and waits for the Lease unless it is free."""
    write, undisturbed = TO_LEASE[what], await usual(results, LIFE)
    took: list[float] = []
    async with disturbed(**one_of_several("operator-a")) as op:
        op.configure(**one_of_several("operator-b"))
        await op.is_watching()
        with timed(took.append):
            await op.submit()
            await works(op)
            async with killed_by(op, Rule(write.verb, LEASES.plural, Stop(after=after))) as away:
                await write.comes(op)

                async def is_there_again() -> bool:
                    return bool(away)

                await until(is_there_again, op.within)
            await op.end_agent(BROKEN, code=1)
            await goes_on(op)
        await op.nothing_was_lost_or_doubled(LIVES[LIFE])
        assert (await op.client.get(LEASES, LEASE))["spec"]["holderIdentity"] == "operator-b"
    fault = f"operator killed before and after it {what}, while an agent works"
    results.add(
        Run(FAKE, "operator", fault, "its status comes late, by the Lease", undisturbed, took[0], LEASE_SECONDS)
    )
