"""Slots follow the store: given away as they become free, kept while a Pod may have been made, and never lost."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_kube.errors import ApiError, Forbidden, ServerError, Unreachable, refused
from agentjob_operator.admission import Admission
from agentjob_operator.pod import PodView
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.slots import Queue
from agentjob_operator.store import Store
from agentjob_operator.work import Lane, WorkQueue
from agentjob_operator.world import CreatePod, Decision, StopPod
from worlds import RUNNING, at, job, pod, refusal, running, terminated, told

STARTS = Decision(actions=(CreatePod(1),))
WAITS = Decision()


class Cluster:
    """Jobs and Pods as the store hears of them, and an admission with so many slots."""

    def __init__(self, slots: int = 1, *, is_open: bool = True) -> None:
        self.now = 2.0
        self.version = 100
        self.gone: Counter[str] = Counter()
        """Jobs and Pods of a name that were there before."""
        self.store, self.work = Store(), WorkQueue(16)
        queue = Queue(LimitsSettings(running=slots))
        self.admission = Admission(store=self.store, queue=queue, work=self.work, clock=lambda: at(self.now))
        if is_open:
            self.admission.open()

    def job(self, name: str, status: dict[str, Any] | None = None, **spec: Any) -> AgentJob:
        self.version += 1
        created = at(ord(name[0]) - ord("a"))
        meta = {"name": name, "uid": f"uid-{name}-{self.gone[name]}", "creationTimestamp": created}
        found = job(status, meta={**meta, "resourceVersion": str(self.version)}, **spec)
        self.store.put_job(found)
        return found

    def unread(self, name: str) -> None:
        """A job gets something that this version of the operator does not know."""
        self.version += 1
        meta = self.store.jobs[Key("ns", name)].metadata.model_dump(mode="json")
        body = {"metadata": {**meta, "resourceVersion": str(self.version)}, "spec": {"prompt": 7}}
        self.store.take_job(Key("ns", name), body)

    def pod(self, name: str, **fields: Any) -> PodView:
        self.version += 1
        owner, uid = (f"{kind}-{name}-{self.gone[each]}" for kind, each in (("uid", name), ("pod", f"{name}-1")))
        own = {"name": f"{name}-1", "uid": uid, "job": name, "owner": owner, "version": self.version}
        found = pod(**{**own, **fields})
        self.store.put_pod(found)
        return found

    def drop_job(self, name: str) -> None:
        key = Key("ns", name)
        self.store.drop_job(key, self.store.jobs[key].metadata.uid)
        self.gone[name] += 1

    def drop_pod(self, name: str) -> None:
        for each in self.store.pods(Key("ns", name)):
            self.store.drop_pod(each)
            self.gone[each.name] += 1

    def admitted(self, *names: str) -> list[str]:
        """Of these, those that have slots when they are looked at."""
        return [name for name in names if self.admission.look(Key("ns", name), at(self.now)).has_room]

    def act(self, name: str, error: Exception | None = None, decision: Decision = STARTS) -> None:
        """Carries out a decision, in which this goes wrong."""
        with self.admission.acting(Key("ns", name), decision):
            if error is not None:
                raise error
            if decision is STARTS:
                self.pod(name)

    async def asked(self) -> list[str]:
        """Names of the jobs that are to be looked at, in order."""
        keys = [await self.work.take() for _ in range(len(self.work))]
        for key in keys:
            self.work.done(key)
        return [key.name for key in keys]


def full(slots: int = 1) -> Cluster:
    """A cluster in which jobs a, b and c have come, and as many as there are slots are about to start."""
    found = Cluster(slots)
    for name in "abc":
        found.job(name)
    return found


async def test_a_job_that_cannot_be_read_any_more_leaves_its_slot_to_others() -> None:
    found = full()
    await found.asked()

    found.unread("a")

    assert (found.admission.queue.is_admitted(Key("ns", "b")), await found.asked()) == (True, ["b"])


def test_a_job_that_cannot_be_read_any_more_does_not_wait() -> None:
    found = full()
    found.unread("b")

    found.drop_job("a")

    assert found.admission.queue.is_admitted(Key("ns", "c"))


def test_a_job_that_cannot_be_read_keeps_its_slot_while_its_agent_works() -> None:
    found = full()
    found.act("a")

    found.unread("a")
    found.admission.give_up(Key("ns", "a"))

    assert found.admitted("b") == []


def test_a_start_without_an_answer_of_a_job_that_cannot_be_read_since_is_not_waited_for() -> None:
    found = full()
    with pytest.raises(Unreachable):
        found.act("a", Unreachable("no answer"))
    found.unread("a")
    assert found.admitted("b") == []

    found.admission.give_up(Key("ns", "a"))

    assert found.admitted("b") == ["b"]


def answered(status: int, message: str) -> ApiError:
    """The API server's own error."""
    return refused(status, json.dumps({"kind": "Status", "message": message}).encode())


def test_before_it_is_open_nobody_is_admitted_and_then_those_whose_turn_it_is() -> None:
    found = Cluster(is_open=False)
    for name in "cab":
        found.job(name)
    assert found.admitted("a", "b", "c") == []

    found.admission.open()

    assert found.admitted("a", "b", "c") == ["a"]


async def test_a_job_that_works_already_has_a_slot() -> None:
    found = Cluster(is_open=False)
    found.job("z", RUNNING)
    found.pod("z", agent=running())
    found.job("a")

    found.admission.open()

    assert (found.admitted("a"), await found.asked()) == ([], [])


HELD = [
    pytest.param({}, id="on its way"),
    pytest.param({"node": None, "unscheduled": True}, id="without a node"),
    pytest.param({"agent": running()}, id="with an agent at work"),
    pytest.param({"agent": running(), "stop_asked": at(3)}, id="with an agent that was told to stop"),
    pytest.param({"agent": running(), "deleting": True}, id="that is being deleted"),
]


@pytest.mark.parametrize("fields", HELD)
def test_a_pod_holds_a_slot(fields: dict[str, Any]) -> None:
    found = full()
    found.act("a")
    found.pod("a", **{key: value for key, value in fields.items() if key != "unscheduled"})

    assert found.admitted("b", "c") == []


async def ends(found: Cluster) -> None:
    found.pod("a", agent=terminated(told()))


async def fails(found: Cluster) -> None:
    found.pod("a", phase="Failed")


async def goes(found: Cluster) -> None:
    found.drop_pod("a")


async def is_cancelled(found: Cluster) -> None:
    found.job("a", {"phase": "Cancelled"})


GIVEN_BACK = [
    pytest.param(ends, id="its agent ends"),
    pytest.param(fails, id="it fails as a whole"),
    pytest.param(goes, id="it is gone, with its job started"),
    pytest.param(is_cancelled, id="its job has an end without it"),
]


@pytest.mark.parametrize("happens", GIVEN_BACK)
async def test_the_next_job_is_looked_at_before_all_others_when_a_pod_no_longer_holds_its_slot(happens: Any) -> None:
    found = full()
    found.act("a")
    found.job("a", RUNNING)
    for name in "xyz":
        found.work.add(Key("ns", name))
    await happens(found)

    assert (await found.asked(), found.admitted("b", "c")) == (["b", "x", "y", "z"], ["b"])


def test_the_agent_of_a_deleted_job_holds_its_slot_until_it_has_ended() -> None:
    found = full()
    found.act("a")
    found.pod("a", agent=running())
    found.drop_job("a")
    assert found.admitted("b") == []

    found.pod("a", owner="uid-a-0", agent=terminated(told()), deleting=True)

    assert found.admitted("b") == ["b"]


LEAVES = [
    pytest.param({"cancel": True}, id="cancelled"),
    pytest.param({"suspend": True}, id="suspended"),
]


@pytest.mark.parametrize("spec", LEAVES)
def test_a_slot_that_was_not_used_goes_on_when_its_job_is(spec: dict[str, Any]) -> None:
    found = full()
    found.job("a", **spec)

    assert found.admitted("a", "b", "c") == ["b"]


@pytest.mark.parametrize("spec", LEAVES)
def test_a_slot_is_kept_while_the_pod_is_made_of_a_job_that_is(spec: dict[str, Any]) -> None:
    found = full()
    with found.admission.acting(Key("ns", "a"), STARTS):
        found.job("a", **spec)
        assert found.admitted("b") == []
        found.pod("a")

    assert found.admitted("b") == []


@pytest.mark.parametrize("error", [ServerError("no", status=500), ApiError("not kept"), KeyError("a defect")], ids=repr)
def test_who_cannot_be_started_gives_its_slot_to_others_and_comes_back_with_its_next_look(error: Exception) -> None:
    found = full()
    with pytest.raises(type(error)):
        found.act("a", error)
    assert found.admitted("b") == ["b"]
    assert found.admitted("a") == []
    found.act("b")
    found.pod("b", agent=terminated(told()))

    assert found.admitted("a", "c") == ["a"]


MAY_BE_DONE = [
    pytest.param(Unreachable("no answer"), id="without an answer"),
    pytest.param(answered(504, "Timeout: request did not complete within requested timeout"), id="after a timeout"),
]


@pytest.mark.parametrize("error", MAY_BE_DONE)
def test_who_may_have_been_started_keeps_its_slot(error: ApiError) -> None:
    found = full()
    with pytest.raises(type(error)):
        found.act("a", error)
    found.job("a", cancel=True)
    assert found.admitted("b") == []

    found.act("a", decision=WAITS)

    assert found.admitted("b") == ["b"]


def test_who_was_refused_gives_its_slot_to_others_for_half_a_minute() -> None:
    found = full(2)
    with found.admission.acting(Key("ns", "a"), STARTS):
        found.store.refusals["ns"][Key("ns", "a")] = replace(refusal(), job="uid-a-0")
    assert found.admitted("a", "b", "c") == ["b", "c"]
    found.drop_job("c")

    found.now = 32

    assert found.admitted("a", "b") == ["a", "b"]


FAILS = [Unreachable("no answer"), ServerError("no", status=500)]


@pytest.mark.parametrize("error", FAILS, ids=["without an answer", "with an error"])
def test_after_a_start_that_fails_others_of_that_namespace_start_in_the_lane_of_what_fails(error: Exception) -> None:
    found = full(slots=3)
    lanes = [found.admission.lane(Key("ns", name)) for name in "abc"]
    with pytest.raises(type(error)):
        found.act("a", error)

    assert lanes == [Lane.START] * 3
    assert [found.admission.lane(Key("ns", name)) for name in "bc"] == [Lane.AGAIN] * 2
    assert found.admission.lane(Key("ns", "z")) == Lane.OTHER
    found.act("b")
    assert found.admission.lane(Key("ns", "c")) == Lane.START


def test_a_status_that_was_refused_leaves_the_slot_where_it_is() -> None:
    found = full()
    with found.admission.acting(Key("ns", "a"), STARTS):
        found.job("a")

    assert found.admitted("a", "b") == ["a"]


def test_what_is_done_about_a_job_that_does_not_start_changes_nothing() -> None:
    found = full()
    found.act("a")
    found.act("a", decision=Decision(actions=(StopPod(found.store.pods(Key("ns", "a"))[0]),)))

    assert found.admitted("b", "c") == []


JOBS = "abc"
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["comes", "is cancelled", "is deleted", "begins", "is made", "is unanswered", "is refused", "ends", "goes"]
        ),
        st.sampled_from(JOBS),
    ),
    min_size=40,
    max_size=120,
)


class Run:
    """Workers that make Pods one step at a time, while anything else happens between; the truth is in `pods`."""

    def __init__(self, slots: int) -> None:
        self.cluster = Cluster(slots)
        for name in JOBS:
            self.cluster.job(name)
        self.acting: dict[str, Any] = {}
        self.working: set[str] = set()
        self.unseen: set[str] = set()
        """Made, and neither answered nor told of by the watch."""

    def step(self, what: str, name: str) -> None:
        is_there, is_free = Key("ns", name) in self.cluster.store.jobs, name not in self.acting
        steps: dict[str, tuple[bool, Callable[[], object]]] = {
            "comes": (not is_there and name not in self.working and is_free, lambda: self.cluster.job(name)),
            "is cancelled": (is_there, lambda: self.cluster.job(name, cancel=True)),
            "is deleted": (is_there, lambda: self.cluster.drop_job(name)),
            "begins": (is_there and is_free, lambda: self.begin(name)),
            "is made": (not is_free, lambda: self.end(name, what)),
            "is unanswered": (not is_free, lambda: self.end(name, what)),
            "is refused": (not is_free and name not in self.unseen, lambda: self.end(name, what)),
            "ends": (name in self.working - self.unseen, lambda: self.cluster.pod(name, agent=terminated(told()))),
            "goes": (name in self.working - self.unseen, lambda: self.cluster.drop_pod(name)),
        }
        may, does = steps[what]
        if may:
            does()
            self.working -= {name} if what in {"ends", "goes"} else set()

    def begin(self, name: str) -> None:
        """What a worker does in one turn of the loop.

        A Pod whose making was not answered is looked for by making it again. Of a cancelled job it is not: by then, the
        watch has told of it.
        """
        key = Key("ns", name)
        if self.cluster.store.jobs[key].spec.cancel:
            self.see(name)
        has_room = self.cluster.admission.look(key, at(2)).has_room
        starts = has_room and not self.cluster.store.pods(key) and not self.cluster.store.jobs[key].spec.cancel
        context = self.cluster.admission.acting(key, STARTS if starts else WAITS)
        context.__enter__()
        if starts:
            self.acting[name] = context
        else:
            context.__exit__(None, None, None)

    def end(self, name: str, how: str) -> None:
        context = self.acting.pop(name)
        if how == "is refused":
            error = Forbidden("quota", status=403)
            context.__exit__(type(error), error, None)
            return
        self.working.add(name)
        if how == "is made":
            self.cluster.pod(name)
            self.unseen.discard(name)
            context.__exit__(None, None, None)
        else:
            self.unseen.add(name)
            lost = Unreachable("cut")
            context.__exit__(type(lost), lost, None)

    def see(self, name: str) -> None:
        """The watch tells of a Pod."""
        if name in self.unseen:
            self.unseen.remove(name)
            self.cluster.pod(name)

    def settle(self) -> None:
        """Everything is answered, and everybody has been looked at."""
        for name in [*self.acting]:
            self.end(name, "is made")
        for name in JOBS:
            self.see(name)
        for key in [Key("ns", name) for name in JOBS]:
            self.cluster.admission.look(key, at(2))
            with self.cluster.admission.acting(key, WAITS):
                pass


@given(st.integers(1, 2), STEPS)
def test_no_more_work_than_may_and_no_slot_is_lost_whatever_happens(
    slots: int, steps: Sequence[tuple[str, str]]
) -> None:
    run = Run(slots)
    for what, name in steps:
        run.step(what, name)
        assert len(run.working | run.acting.keys()) <= slots, (what, name)
    run.settle()

    may_start = {
        key.name
        for key, found in run.cluster.store.jobs.items()
        if not found.spec.cancel and not run.cluster.store.pods(key)
    }
    assert len(run.working) <= slots
    assert len(run.cluster.admitted(*may_start)) == min(len(may_start), slots - len(run.working))
