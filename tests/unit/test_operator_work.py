"""The queue and the alarms: nothing is done twice at once, nothing is forgotten, and what hangs holds nobody up."""

import asyncio
from collections import Counter
from collections.abc import Callable, Container
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.names import Key
from agentjob_operator.work import Alarms, Lane, WorkQueue
from worlds import T0, at

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("ns", "c")


def starting(keys: Container[Key]) -> Callable[[Key], Lane]:
    """Tells that these are to start."""
    return lambda key: Lane.START if key in keys else Lane.OTHER


async def taken(queue: WorkQueue) -> list[Key]:
    """Everything that waits, taken and given back."""
    keys = []
    while len(queue):
        keys.append(await queue.take())
        queue.done(keys[-1])
    return keys


async def test_keys_come_in_their_order_and_once() -> None:
    queue = WorkQueue(16)
    for key in (A, B, A, C, B):
        queue.add(key)

    assert await taken(queue) == [A, B, C]


async def test_a_key_that_is_held_comes_again_afterwards_and_to_nobody_before() -> None:
    queue = WorkQueue(16)
    queue.add(A)
    held = await queue.take()

    queue.add(A)
    queue.add(A)
    assert len(queue) == 0

    queue.done(held)
    assert await taken(queue) == [A]


@pytest.mark.parametrize(
    ("failing", "to_start", "order"),
    [
        pytest.param((), (), [A, B, C], id="as they came up, where nothing is known of them"),
        pytest.param((), (C,), [C, A, B], id="first those that have a slot"),
        pytest.param((B,), (C,), [B, C, A], id="and before them those that have failed, of which few are held"),
        pytest.param((A, C), (A, C), [A, C, B], id="one that is to start again counts as one that has failed"),
    ],
)
async def test_lanes_are_served_in_turn(failing: tuple[Key, ...], to_start: tuple[Key, ...], order: list[Key]) -> None:
    queue = WorkQueue(16)
    queue.failing, queue.lane = failing, starting(to_start)
    for key in (A, B, C):
        queue.add(key)

    assert await taken(queue) == order


async def test_a_key_that_waits_gets_into_another_lane_and_is_taken_once() -> None:
    queue, to_start = WorkQueue(16), set[Key]()
    queue.lane = starting(to_start)
    for key in (A, B):
        queue.add(key)
    to_start.update({B, C})
    queue.add(B)
    queue.add(C)
    assert len(queue) == 3

    assert await taken(queue) == [B, C, A]


async def test_a_key_that_belongs_elsewhere_by_the_time_of_its_turn_waits_there() -> None:
    queue, failing = WorkQueue(4), set[Key]()
    queue.failing = failing
    for key in (A, B, C):
        queue.add(key)
    held = await queue.take()
    failing.update({A, B})
    queue.add(held)
    queue.done(held)

    assert await queue.take() == A
    assert await queue.take() == C  # B may be looked at again once A is done
    queue.done(A)
    assert await queue.take() == B


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param({A}, id="that would wait in another lane by now"),
        pytest.param(set(), id="that waits where it did"),
    ],
)
async def test_a_key_that_is_not_to_be_looked_at_any_more_is_forgotten_until_it_is_again(failing: set[Key]) -> None:
    queue = WorkQueue(16)
    queue.add(A)
    queue.failing, queue.accepts = failing, lambda key: key == B
    queue.add(B)
    assert await taken(queue) == [B]

    queue.failing, queue.accepts = (), lambda _: True
    queue.add(A)
    assert await taken(queue) == [A]


async def test_what_came_up_while_it_was_held_is_in_the_lane_it_belongs_into_afterwards() -> None:
    queue, failing = WorkQueue(16), set[Key]()
    queue.failing = failing
    queue.add(A)
    held = await queue.take()
    queue.add(B)
    queue.add(held)
    failing.add(held)

    queue.done(held)

    assert await taken(queue) == [A, B]


@pytest.mark.parametrize(
    ("workers", "failing", "to_start", "others", "held"),
    [
        pytest.param(16, 99, 0, 0, (4, 0, 0), id="a quarter is at looks again"),
        pytest.param(16, 0, 99, 0, (0, 8, 0), id="half is at starts"),
        pytest.param(16, 0, 0, 99, (0, 0, 16), id="all are at anything else"),
        pytest.param(16, 99, 99, 99, (4, 8, 4), id="a quarter is left for anything else"),
        pytest.param(3, 99, 99, 99, (1, 1, 1), id="three workers are one for each"),
        pytest.param(1, 99, 99, 99, (1, 0, 0), id="one worker is at whatever comes"),
    ],
)
async def test_of_the_workers(
    workers: int, failing: int, to_start: int, others: int, held: tuple[int, int, int]
) -> None:
    """Those that wait for a key hold none."""
    queue, took = WorkQueue(workers), Counter[str]()
    queue.failing = {Key("ns", f"again-{number}") for number in range(failing)}
    queue.lane = lambda key: Lane.START if key.name.startswith("start") else Lane.OTHER
    for kind, number in (("other", others), ("start", to_start), ("again", failing)):
        for each in range(number):
            queue.add(Key("ns", f"{kind}-{each}"))

    async def work() -> None:
        while True:
            took[(await queue.take()).name.partition("-")[0]] += 1
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(work()) for _ in range(workers)]
        for _ in range(3):
            await asyncio.sleep(0)
        for worker in working:
            worker.cancel()

    assert (took["again"], took["start"], took["other"]) == held


async def test_whoever_waits_for_a_lane_is_woken_when_a_key_of_it_is_given_back() -> None:
    queue = WorkQueue(1)
    queue.failing = {A, B}
    queue.add(A)
    queue.add(B)
    held = await queue.take()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)

    queue.done(held)

    async with asyncio.timeout(5):
        assert await waiting == B


async def test_it_is_told_how_long_each_key_has_waited_and_in_which_lane() -> None:
    told = list[tuple[Lane, float]]()
    queue = WorkQueue(16, lambda lane, seconds: told.append((lane, seconds)))
    queue.failing = {B}
    for key in (A, B):
        queue.add(key)

    await taken(queue)

    assert [lane for lane, _ in told] == [Lane.AGAIN, Lane.OTHER]
    assert all(0 <= seconds < 60 for _, seconds in told)


async def test_whoever_waits_is_woken() -> None:
    queue = WorkQueue(16)
    workers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(0)

    queue.add(A)
    queue.add(B)

    async with asyncio.timeout(5):
        assert {await worker for worker in workers} == {A, B}


STEPS = ["add", "hurry", "fail", "mend", "take", "done"]


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(STEPS)), max_size=60))
async def test_no_key_is_lost_and_none_is_held_twice(steps: list[tuple[Key, str]]) -> None:
    queue, held, owed = WorkQueue(16), list[Key](), set[Key]()
    queue.failing, to_start = (failing := set[Key]()), set[Key]()
    queue.lane = starting(to_start)
    for key, step in steps:
        if step in {"fail", "mend"}:
            (failing.add if step == "fail" else failing.discard)(key)
        elif step in {"add", "hurry"}:
            (to_start.add if step == "hurry" else to_start.discard)(key)
            queue.add(key)
            owed.add(key)
        elif step == "take" and len(queue):
            held.append(await queue.take())
            assert held.count(held[-1]) == 1
            owed.discard(held[-1])
        elif step == "done" and held:
            queue.done(held.pop(0))
    for key in held:
        queue.done(key)
    assert set(await taken(queue)) == owed


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


def test_alarms_ring_when_they_are_due_the_earliest_first() -> None:
    clock, rung = Clock(), list[Key]()
    alarms = Alarms(rung.append, clock)
    for key, seconds in ((A, 30), (B, 10), (C, 50)):
        alarms.set(key, at(seconds))

    clock.now = at(30)

    assert alarms.ring_due() == at(50)
    assert rung == [B, A]
    assert len(alarms) == 1


@pytest.mark.parametrize(
    ("anew", "rings_at"),
    [
        pytest.param(20, [20], id="later"),
        pytest.param(5, [5], id="earlier"),
        pytest.param(10, [10], id="the same time"),
        pytest.param(None, [], id="not at all"),
    ],
)
def test_an_alarm_that_is_set_anew_rings_only_then(anew: int | None, rings_at: list[int]) -> None:
    clock, rung = Clock(), list[int]()
    alarms = Alarms(lambda _: rung.append(int((clock.now - T0).total_seconds())), clock)
    alarms.set(A, at(10))
    alarms.set(A, at(anew) if anew is not None else None)

    for second in range(40):
        clock.now = at(second)
        alarms.ring_due()

    assert rung == rings_at


def test_alarms_that_are_set_anew_for_ever_take_no_more_room() -> None:
    clock, rung = Clock(), list[Key]()
    alarms = Alarms(rung.append, clock)
    for number in range(10_000):
        alarms.set(A, at(number))
    alarms.set(B, at(5))

    assert len(alarms._heap) < 2_000
    clock.now = at(99_999)
    alarms.ring_due()
    assert rung == [B, A]


async def test_an_alarm_that_is_set_while_another_is_waited_for_is_heard() -> None:
    rung: asyncio.Queue[Key] = asyncio.Queue()
    alarms = Alarms(rung.put_nowait, lambda: at(0))
    alarms.set(A, at(3600))
    running = asyncio.create_task(alarms.run())
    await asyncio.sleep(0)

    alarms.set(B, at(-1))

    async with asyncio.timeout(5):
        assert await rung.get() == B
    running.cancel()


async def test_an_alarm_rings_though_the_clock_is_set_forward_while_it_is_waited_for() -> None:
    clock, rung = Clock(), asyncio.Queue[Key]()
    alarms = Alarms(rung.put_nowait, clock, look=0.01)
    alarms.set(A, at(3600))
    running = asyncio.create_task(alarms.run())
    await asyncio.sleep(0)

    clock.now = at(3600)

    async with asyncio.timeout(5):
        assert await rung.get() == A
    running.cancel()
