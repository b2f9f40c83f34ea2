"""The store, the queue and the alarms: nothing goes back, nothing is done twice at once, nothing is forgotten."""

import asyncio
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_operator import store as storing
from agentjob_operator.observe import observe
from agentjob_operator.store import Store
from agentjob_operator.work import Alarms, WorkQueue
from worlds import KEEPING, KEY, ROOM, T0, UID, at, job, pod, refusal, told

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("ns", "c")


def version(number: int, *, uid: str = UID, name: str = "fix") -> AgentJob:
    return job(meta={"resourceVersion": str(number), "uid": uid, "name": name})


def test_a_job_is_replaced_by_a_newer_one_only() -> None:
    store = Store()

    assert [store.put_job(version(number)) for number in (5, 4, 5, 6)] == [True, False, False, True]
    assert store.jobs[KEY].metadata.resource_version == "6"


def test_versions_are_numbers() -> None:
    store = Store()
    store.put_job(version(9))

    assert store.put_job(version(10))


def test_a_deleted_job_does_not_come_back_with_a_late_answer() -> None:
    store = Store()
    store.put_job(version(5))
    store.drop_job(KEY, UID)

    assert not store.put_job(version(6))
    assert store.put_job(version(7, uid="another"))


def test_the_end_of_an_earlier_job_does_not_take_the_new_one_along() -> None:
    store = Store()
    store.put_job(version(7, uid="another"))
    store.drop_job(KEY, UID)

    assert store.jobs[KEY].metadata.uid == "another"


def test_a_list_brings_what_was_missed() -> None:
    store = Store()
    store.put_job(version(5, name="a"))
    store.put_job(version(6, name="b"))

    changed = store.replace_jobs("ns", [version(5, name="a"), version(8, name="c")], {A, C}, 9)

    assert changed == {B, C}
    assert set(store.jobs) == {A, C}


def test_a_list_does_not_take_away_what_is_younger_than_it() -> None:
    store = Store()
    store.put_job(version(11))

    assert store.replace_jobs("ns", [], set(), 9) == set()
    assert KEY in store.jobs


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    store = Store()
    store.put_job(version(5))

    assert store.replace_jobs("elsewhere", [], set(), 9) == set()


def test_a_job_that_is_there_but_cannot_be_read_is_not_taken_for_deleted() -> None:
    store = Store()
    store.put_job(version(5))

    store.replace_jobs("ns", [], {KEY}, 9)

    assert KEY in store.jobs


def test_a_pod_is_kept_under_its_job() -> None:
    store = Store()

    assert store.put_pod(pod()) == KEY
    assert store.put_pod(pod()) is None
    assert store.pods(KEY) == (pod(),)
    assert store.keys() == {KEY}


def test_a_pod_that_no_agent_job_controls_is_not_kept() -> None:
    store = Store()

    assert store.put_pod(pod(owner=None)) is None
    assert store.pods(KEY) == ()


def test_a_pod_that_is_gone_does_not_come_back_and_leaves_nothing() -> None:
    store = Store()
    store.put_pod(pod())
    store.read["pod-uid"] = told()

    assert store.drop_pod(pod()) == KEY
    assert store.put_pod(pod(version=200)) is None
    assert (store.pods(KEY), store.read, store.keys()) == ((), {}, set())


def test_a_list_of_pods_brings_what_was_missed() -> None:
    store = Store()
    store.put_pod(pod(uid="old", version=5))
    store.put_pod(pod(uid="young", version=11))

    assert store.replace_pods("ns", [pod(uid="new", version=8, job="b")], 9) == {KEY, B}
    assert [each.uid for each in store.pods(KEY)] == ["young"]


def test_our_own_deletion_is_noted_unless_the_watch_was_quicker() -> None:
    store = Store()
    store.put_pod(pod())
    store.mark_deleting(pod())
    assert [each.deleting for each in store.pods(KEY)] == [True]

    store.drop_pod(pod())
    store.mark_deleting(pod())
    assert store.pods(KEY) == ()


def test_the_memory_of_what_is_gone_is_bounded() -> None:
    store = Store()
    for number in range(storing.MAX_GONE + 5):
        store.drop_job(KEY, str(number))

    assert not store.put_job(version(1, uid=str(storing.MAX_GONE)))
    assert store.put_job(version(1, uid="0"))


@pytest.mark.parametrize(
    ("uid", "seen"),
    [pytest.param(UID, True, id="of this job"), pytest.param("another", False, id="not of an earlier one")],
)
def test_a_refusal_is_observed(uid: str, seen: bool) -> None:
    store = Store()
    store.put_job(version(5, uid=uid))
    store.refusals[KEY] = refusal()

    assert (observe(store, KEY, KEEPING, ROOM, T0).refusal is not None) == seen


def test_the_world_is_seen_in_whole_seconds_and_with_what_was_read() -> None:
    store = Store()
    store.put_pod(pod())
    store.read.update({"pod-uid": None, "another": told()})

    world = observe(store, KEY, KEEPING, ROOM, at(2.75))

    assert (world.now, world.job, world.pods, world.read) == (at(2), None, (pod(),), {"pod-uid": None})


async def taken(queue: WorkQueue) -> list[Key]:
    """Everything that waits, taken and given back."""
    keys = []
    while len(queue):
        keys.append(await queue.take())
        queue.done(keys[-1])
    return keys


async def test_keys_come_in_their_order_and_once() -> None:
    queue = WorkQueue()
    for key in (A, B, A, C, B):
        queue.add(key)

    assert await taken(queue) == [A, B, C]


async def test_a_key_that_is_held_comes_again_afterwards_and_to_nobody_before() -> None:
    queue = WorkQueue()
    queue.add(A)
    held = await queue.take()

    queue.add(A)
    queue.add(A)
    assert len(queue) == 0

    queue.done(held)
    assert await taken(queue) == [A]


async def test_what_is_urgent_comes_before_all_else_and_once() -> None:
    queue = WorkQueue()
    for key in (A, B):
        queue.add(key)
    queue.add(B, first=True)
    queue.add(C, first=True)
    assert len(queue) == 3

    assert await taken(queue) == [B, C, A]


async def test_what_became_urgent_while_it_was_held_comes_first_afterwards() -> None:
    queue = WorkQueue()
    queue.add(A)
    held = await queue.take()
    queue.add(B)
    queue.add(held, first=True)
    queue.add(held)

    queue.done(held)

    assert await taken(queue) == [A, B]


async def test_whoever_waits_is_woken() -> None:
    queue = WorkQueue()
    workers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(0)

    queue.add(A)
    queue.add(B)

    async with asyncio.timeout(5):
        assert {await worker for worker in workers} == {A, B}


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(["add", "hurry", "take", "done"])), max_size=60))
async def test_no_key_is_lost_and_none_is_held_twice(steps: list[tuple[Key, str]]) -> None:
    queue, held, owed = WorkQueue(), list[Key](), set[Key]()
    for key, step in steps:
        if step in {"add", "hurry"}:
            queue.add(key, first=step == "hurry")
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
