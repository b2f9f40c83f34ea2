"""The store: nothing in it goes back, and nothing is forgotten."""

from collections.abc import Callable
from typing import Any

import pytest

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_operator import store as storing
from agentjob_operator.observe import observe
from agentjob_operator.store import Store
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

    news = [store.put_job(each) for each in (version(5, name="a"), version(8, name="c"))]

    assert (news, store.drop_absent("ns", {A, C}, 9)) == ([False, True], {B})
    assert set(store.jobs) == {A, C}


def test_a_list_does_not_take_away_what_is_younger_than_it() -> None:
    store = Store()
    store.put_job(version(11))

    assert store.drop_absent("ns", set(), 9) == set()
    assert KEY in store.jobs


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    store = Store()
    store.put_job(version(5))

    assert store.drop_absent("elsewhere", set(), 9) == set()


def test_a_job_that_is_there_but_cannot_be_read_is_not_taken_for_deleted() -> None:
    store = Store()
    store.put_job(version(5))

    store.drop_absent("ns", {KEY}, 9)

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


def test_a_pod_that_a_list_has_and_that_cannot_be_read_is_not_taken_for_gone() -> None:
    store = Store()
    store.put_pod(pod(uid="strange", version=5))

    assert store.replace_pods("ns", [], 9, frozenset({"strange"})) == set()
    assert [each.uid for each in store.pods(KEY)] == ["strange"]


def test_our_own_deletion_is_noted_unless_the_watch_was_quicker() -> None:
    store = Store()
    store.put_pod(pod())
    store.mark_deleting(pod())
    assert [(each.deleting, each.gone_by) for each in store.pods(KEY)] == [(True, None)]

    store.drop_pod(pod())
    store.mark_deleting(pod())
    assert store.pods(KEY) == ()


def test_what_was_forgotten_with_its_namespace_may_come_back() -> None:
    store, changed = Store(), list[Key]()
    elsewhere = job(meta={"namespace": "elsewhere"})
    found = [store.put_job(version(5)), store.put_job(elsewhere), store.put_pod(pod(job="b"))]
    store.note_read(pod(job="b"), told())
    store.changed = changed.append

    assert store.forget("ns") == {KEY, B}
    assert (store.keys(), store.read, set(changed)) == ({elsewhere.key}, {}, {KEY, B})
    assert [store.put_job(version(5)), store.put_pod(pod(job="b"))] == [found[0], found[2]]


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
    store.refusals["ns"][KEY] = refusal()

    assert (observe(store, KEY, KEEPING, ROOM, T0).refusal is not None) == seen


NEWER = {"resourceVersion": "6"}
ASKS_NO_MORE = [
    pytest.param(job({"phase": "Cancelled"}, meta=NEWER), id="it has ended"),
    pytest.param(job(meta=NEWER, suspend=True), id="it is suspended"),
    pytest.param(job(meta=NEWER, cancel=True), id="it is cancelled"),
    pytest.param(job(meta={**NEWER, "deletionTimestamp": T0}), id="it is being deleted"),
]


@pytest.mark.parametrize("then", ASKS_NO_MORE)
def test_a_job_is_refused_nothing_any_more_once(then: AgentJob) -> None:
    store = Store()
    store.put_job(version(5))
    store.note_refusal(KEY, refusal())
    assert (store.refused("ns"), store.refused("elsewhere")) == (1, 0)

    store.put_job(then)

    assert store.refused("ns") == 0


@pytest.mark.parametrize("then", ASKS_NO_MORE)
def test_a_job_is_refused_nothing_any_more_where_the_answer_comes_after(then: AgentJob) -> None:
    store = Store()
    store.put_job(version(5))
    store.put_job(then)

    store.note_refusal(KEY, refusal())

    assert store.refused("ns") == 0


def test_a_job_that_is_refused_waits_on_whatever_else_changes() -> None:
    store = Store()
    store.put_job(version(5))
    store.note_refusal(KEY, refusal())

    store.put_job(version(6))

    assert store.refusal(KEY) == refusal()


def strange(number: int, uid: str = UID) -> dict[str, Any]:
    """A job as the API server sends it, with something that is not known here."""
    meta = job(meta={"resourceVersion": str(number), "uid": uid}).metadata.model_dump(mode="json")
    return {"metadata": meta, "spec": {"prompt": "x", "agent": {"permissionMode": "unheard-of"}}}


ENDS: list[Any] = [
    pytest.param(lambda store: store.put_job(version(6)), id="it can be read again"),
    pytest.param(lambda store: store.drop_job(KEY, UID), id="it is deleted"),
    pytest.param(lambda store: store.drop_absent("ns", set(), 9), id="a LIST has it no more"),
]


@pytest.mark.parametrize("before", [(), (4,)], ids=["never known", "known from before"])
@pytest.mark.parametrize("ends", ENDS)
def test_a_job_that_cannot_be_read_is_known_as_such_until(ends: Callable[[Store], object], before: list[int]) -> None:
    store = Store()
    for number in before:
        store.put_job(version(number))

    assert store.take_job(KEY, strange(5))
    assert store.knows(KEY, "5")
    assert set(store.unread) == {KEY}
    assert not store.put_job(version(4))
    assert set(store.unread) == {KEY}

    ends(store)
    assert store.unread == {}


def test_a_job_that_can_be_read_is_not_held_up_by_what_comes_late_of_it() -> None:
    store = Store()
    store.put_job(version(6))

    assert not store.take_job(KEY, strange(5))
    assert store.unread == {}


def test_a_deleted_job_does_not_come_back_with_what_cannot_be_read() -> None:
    store = Store()
    store.put_job(version(5))
    store.drop_job(KEY, UID)

    assert not store.take_job(KEY, strange(6))
    assert store.unread == {}


def test_a_job_that_cannot_be_read_any_more_has_changed() -> None:
    store, changed = Store(), list[Key]()
    store.put_job(version(5))
    store.changed = changed.append

    store.take_job(KEY, strange(6))

    assert changed == [KEY]


def test_a_job_that_cannot_be_read_stays_when_something_else_goes() -> None:
    store = Store()
    store.take_job(KEY, strange(5))

    store.drop_job(KEY, "another")
    store.drop_absent("ns", {KEY}, 9)
    store.drop_absent("elsewhere", set(), 9)
    store.drop_absent("ns", set(), 4)

    assert set(store.unread) == {KEY}


@pytest.mark.parametrize("uid", [None, "another"], ids=["gone meanwhile", "another one by now"])
def test_what_comes_of_a_job_or_pod_too_late_is_not_kept(uid: str | None) -> None:
    store = Store()
    if uid is not None:
        store.put_job(version(5, uid=uid))
        store.put_pod(pod(uid=uid))

    store.note_refusal(KEY, refusal())
    store.note_read(pod(), told())

    assert (store.refused("ns"), store.read) == (0, {})


def test_the_world_is_seen_in_whole_seconds_and_with_what_was_read() -> None:
    store = Store()
    store.put_pod(pod())
    store.read.update({"pod-uid": None, "another": told()})

    world = observe(store, KEY, KEEPING, ROOM, at(2.75))

    assert (world.now, world.job, world.pods, world.read) == (at(2), None, (pod(),), {"pod-uid": None})
