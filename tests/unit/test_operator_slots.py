"""The queue: who starts next, who stands where, and that no limit is exceeded and nobody waits for ever."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.names import Key
from agentjob_operator.rules import place_look
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.slots import Queue, Turn
from worlds import T0, at

NAMESPACES: Final = ("a", "b", "c")
UNLIMITED = 1_000_000


def queue(**limits: Any) -> Queue:
    return Queue(LimitsSettings.model_validate(limits))


def turn(name: str, priority: int = 0) -> Turn:
    """The turn of a job like "a3": in the namespace a, created three seconds after T0."""
    return Turn(-priority, at(int(name[1:])), f"uid-{name}", Key(name[0], name))


def names(keys: Sequence[Key]) -> list[str]:
    return [key.name for key in keys]


def works(found: Queue, *jobs: str) -> None:
    for job in jobs:
        found.works(Key(job[0], job))


def waits(found: Queue, *jobs: str, priority: int = 0) -> None:
    for job in jobs:
        found.waits(turn(job, priority))


def starts(found: Queue) -> list[str]:
    """All that wait, in the order in which they start as one slot after the other becomes free."""
    return names(found.admit())


def weighing(**weights: int) -> dict[str, Any]:
    return {"namespaces": {name: {"weight": weight} for name, weight in weights.items()}}


ORDERS = [
    pytest.param({}, [], ["a3", "a1", "a2"], ["a1", "a2", "a3"], id="the oldest first"),
    pytest.param({}, [], ["a1", "a2", "a3", "b4"], ["a1", "b4", "a2", "a3"], id="namespaces by turns"),
    pytest.param({}, ["a8", "a9"], ["a1", "a2", "b3", "b4", "b5"], ["b3", "b4", "a1", "b5", "a2"],
                 id="what runs already counts"),
    pytest.param(weighing(b=2), [], ["a1", "a2", "b3", "b4", "b5", "b6"], ["a1", "b3", "b4", "a2", "b5", "b6"],
                 id="twice as many of a namespace of twice the weight"),
    pytest.param(weighing(a=3, b=6), ["a8", "b8", "b9"], ["b1", "a2"], ["b1", "a2"],
                 id="equal parts are equal, whatever the weights"),
    pytest.param({"running": 2}, [], ["a1", "a2", "b3"], ["a1", "b3"], id="as many as the installation may have"),
    pytest.param({"running": 2}, ["a7", "b8", "b9"], ["a1"], [], id="none while there are more than may be"),
    pytest.param({"running": 0}, [], ["a1"], [], id="none where none may"),
    pytest.param({"runningPerNamespace": 1}, ["a9"], ["a1", "b2", "b3"], ["b2"], id="as many as a namespace may have"),
    pytest.param({"runningPerNamespace": 1, "namespaces": {"b": {"running": 2}}}, [], ["a1", "a2", "b3", "b4", "b5"],
                 ["a1", "b3", "b4"], id="as many as a namespace of its own limit may have"),
    pytest.param({"running": 2, "namespaces": {"a": {"running": 0}}}, [], ["a1", "b2"], ["b2"],
                 id="a namespace that may have none holds nobody up"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "at_work", "waiting", "started"), ORDERS)
def test_the_order_is(limits: dict[str, Any], at_work: list[str], waiting: list[str], started: list[str]) -> None:
    found = queue(**limits)
    works(found, *at_work)
    waits(found, *waiting)

    assert starts(found) == started


def test_priority_goes_before_all_else() -> None:
    found = queue()
    works(found, "b7", "b8", "b9")
    waits(found, "a1", "a2")
    waits(found, "b5", priority=1)
    waits(found, "a6", priority=2)
    waits(found, "a0", priority=-1)

    assert starts(found) == ["a6", "b5", "a1", "a2", "a0"]


def test_a_changed_priority_counts_at_once() -> None:
    found = queue()
    waits(found, "a1", "a2")
    waits(found, "a2", priority=1)

    assert starts(found) == ["a2", "a1"]


PLACES = [
    pytest.param({"running": 0}, [], ["a1", "a2"], "a2", (2, "InstallationFull"), id="behind the older ones"),
    pytest.param({"running": 0}, [], ["a1", "a2", "a3", "b4"], "b4", (2, "InstallationFull"),
                 id="before those of a namespace that gets more"),
    pytest.param({"running": 0, **weighing(b=2)}, [], ["a1", "a2", "b3", "b4", "b5"], "b5", (5, "InstallationFull"),
                 id="even parts, by age"),
    pytest.param({"running": 2, "runningPerNamespace": 1}, ["a8", "b9"], ["a1", "b2", "c3"], "c3",
                 (1, "InstallationFull"), id="before those whose namespaces are full"),
    pytest.param({"running": 2, "runningPerNamespace": 1}, ["a8", "b9"], ["a1", "b2", "c3"], "b2",
                 (3, "NamespaceFull"), id="behind those whose namespaces are not"),
    pytest.param({"running": 0, "runningPerNamespace": 2}, [], ["a1", "a2", "a3"], "a3", (3, "NamespaceFull"),
                 id="one that would be too many even if there was room"),
    pytest.param({"running": 1, "namespaces": {"a": {"running": 0}}}, [], ["a1", "a2"], "a1", (1, "NamespaceFull"),
                 id="the first of a namespace that may have none"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "at_work", "waiting", "job", "place"), PLACES)
def test_the_place_is(
    limits: dict[str, Any], at_work: list[str], waiting: list[str], job: str, place: tuple[int, str]
) -> None:
    found = queue(**limits)
    works(found, *at_work)
    waits(found, *waiting)

    view = found.view(Key(job[0], job))

    assert view.place is not None
    assert ((view.place.position, view.place.reason), view.has_room) == (place, False)


def test_who_was_admitted_has_room_and_no_place_and_does_not_wait_again() -> None:
    found = queue(running=1)
    waits(found, "a1", "a2")
    found.admit()
    waits(found, "a1")

    assert [found.view(Key("a", job)).has_room for job in ("a1", "a2", "a9")] == [True, False, False]
    assert found.view(Key("a", "a1")).place is None
    assert starts(found) == []


def test_a_slot_that_is_given_back_goes_to_the_next() -> None:
    found = queue(running=1)
    waits(found, "a1", "a2")
    found.admit()
    found.rests(Key("a", "a1"))

    assert starts(found) == ["a2"]


def test_a_namespace_is_told_of_with_its_oldest_job() -> None:
    found = queue(running=1)
    works(found, "a1")
    waits(found, "a5", "a7")
    waits(found, "a9", priority=3)

    assert (found.tally("a"), found.tally("b")) == ((3, at(5), 1), (0, None, 0))


JOBS = st.tuples(st.sampled_from(NAMESPACES), st.integers(0, 9)).map(lambda found: f"{found[0]}{found[1]}")
LIMIT = st.none() | st.integers(0, 4)
LIMITS = st.builds(
    lambda running, each, own, weights: {
        "running": running,
        "runningPerNamespace": each,
        "namespaces": {"a": {"running": own, "weight": weights[0]}, "b": {"weight": weights[1]}},
    },
    LIMIT,
    LIMIT,
    LIMIT,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["waits", "works", "rests", "admit"]), JOBS, st.integers(-1, 1)), max_size=60
)


def after(limits: dict[str, Any], steps: list[tuple[str, str, int]]) -> tuple[Queue, dict[str, str], dict[str, Turn]]:
    """A queue after these steps, how each job stands by the plainest reading of them, and the turns of those that wait.

    Each admission is checked on its way: no limit is exceeded by it, and it leaves no slot free for which one waits.
    """
    found, stands, turns = queue(**limits), dict[str, str](), dict[str, Turn]()
    for step, job, priority in steps:
        if step == "admit":
            before = taken(stands)
            for key in found.admit():
                stands[key.name] = "admitted"
                turns.pop(key.name)
            check_limits(found.limits, before, taken(stands), waiting={name[0] for name in turns})
        elif step == "waits":
            found.waits(turn(job, priority))
            if stands.get(job) != "admitted":
                stands[job], turns[job] = "waits", turn(job, priority)
        else:
            getattr(found, step)(Key(job[0], job))
            stands[job] = step
            turns.pop(job, None)
    return found, stands, turns


def taken(stands: dict[str, str]) -> dict[str, int]:
    slots = [job for job, how in stands.items() if how in {"works", "admitted"}]
    return {name: sum(job[0] == name for job in slots) for name in NAMESPACES}


def check_limits(limits: LimitsSettings, before: dict[str, int], now: dict[str, int], waiting: set[str]) -> None:
    whole = UNLIMITED if limits.running is None else limits.running
    assert sum(now.values()) <= max(whole, sum(before.values()))
    for name, number in now.items():
        limit = limits.of(name)
        own = UNLIMITED if limit is None else limit
        assert number <= max(own, before[name])
        assert name not in waiting or number >= own or sum(now.values()) >= whole, "a slot is free, and one waits"


@given(LIMITS, STEPS)
def test_no_limit_is_exceeded_and_no_slot_is_lost(limits: dict[str, Any], steps: list[tuple[str, str, int]]) -> None:
    found, stands, turns = after(limits, steps)

    for name in NAMESPACES:
        assert found.tally(name).taken == taken(stands)[name]
        assert found.tally(name).waiting == sum(job[0] == name for job in turns)


@given(LIMITS, STEPS)
def test_places_are_the_order_in_which_jobs_would_start(
    limits: dict[str, Any], steps: list[tuple[str, str, int]]
) -> None:
    found, stands, turns = after(limits, steps)
    expected = dict(found_by_starting(limits, stands, turns))

    places = {job: found.view(turns[job].key).place for job in turns}

    assert {job: (place.position, place.reason) for job, place in places.items() if place} == expected


def found_by_starting(
    limits: dict[str, Any], stands: dict[str, str], turns: dict[str, Turn]
) -> list[tuple[str, tuple[int, str]]]:
    """Places and reasons, by starting one after the other: all that may, then the others as if they might."""
    weights = {"namespaces": {name: {"weight": own["weight"]} for name, own in limits["namespaces"].items()}}
    again = queue(**{**limits, "running": None})
    works(again, *(job for job, how in stands.items() if how in {"works", "admitted"}))
    for each in turns.values():
        again.waits(each)
    may = names(again.admit())
    rest = queue(**weights)
    works(rest, *(job for job, how in stands.items() if how in {"works", "admitted"}), *may)
    for job in turns.keys() - set(may):
        rest.waits(turns[job])
    order = [(job, "InstallationFull") for job in may] + [(job, "NamespaceFull") for job in names(rest.admit())]
    return [(job, (number, reason)) for number, (job, reason) in enumerate(order, 1)]


@given(LIMITS, STEPS, st.randoms(use_true_random=False))
def test_only_what_stands_counts_and_not_the_way_there(
    limits: dict[str, Any], steps: list[tuple[str, str, int]], random: Any
) -> None:
    found, stands, turns = after(limits, steps)
    again = queue(**limits)
    told = [*(job for job, how in stands.items() if how in {"works", "admitted"}), *turns]
    random.shuffle(told)
    for job in told:
        if job in turns:
            again.waits(turns[job])
        else:
            works(again, job)

    assert [again.view(each.key) for each in turns.values()] == [found.view(each.key) for each in turns.values()]
    assert again.admit() == found.admit()


LIFE: Final = 6
"""A job ends after at most so many starts of others."""


@given(
    st.integers(1, 5),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.lists(JOBS, max_size=10, unique=True),
    st.lists(st.tuples(st.sampled_from(NAMESPACES), st.integers(1, LIFE)), min_size=400, max_size=400),
)
def test_nobody_waits_for_ever_whoever_comes_later(
    slots: int, weights: tuple[int, int, int], older: list[str], later: list[tuple[str, int]]
) -> None:
    """One job waits behind some older ones. At each start another one comes, wherever it harms most, and takes a slot
    for as many starts as it likes, of at most LIFE. The job starts after as many starts of others as its namespace's
    jobs may take, for each that is before it."""
    found = queue(running=slots, **weighing(**dict(zip(NAMESPACES, weights, strict=True))))
    waits(found, *older, "a100")
    ends: dict[Key, int] = {}
    bound = (len(older) + 1) * (LIFE + slots + len(NAMESPACES))
    for number, (namespace, life) in enumerate(later):
        waits(found, f"{namespace}{number + 1_000}")
        for key in found.admit():
            ends[key] = number + life
            if key.name == "a100":
                assert number <= bound
                return
        for key in [key for key, end in ends.items() if end <= number]:
            found.rests(key)
            del ends[key]
    pytest.fail("it has not started")


def test_ten_thousand_jobs_that_wait_look_seventy_times_a_second_together() -> None:
    assert sum(1 / place_look(position).total_seconds() for position in range(1, 10_001)) < 70


def test_ten_thousand_jobs_wait_and_each_knows_its_place() -> None:
    found = queue(running=1)
    works(found, "c0")
    line = [Turn(0, T0 + timedelta(seconds=n // 7), f"u{n}", Key(NAMESPACES[n % 2], f"j{n}")) for n in range(10_000)]
    for each in reversed(line):
        found.waits(each)

    places = [found.view(each.key).place for each in line]

    assert sorted(place.position for place in places if place) == list(range(1, 10_001))
