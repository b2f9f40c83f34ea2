"""Which replica each job falls to: the same for all who ask, evenly, and little moves when one comes or goes."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_gateway.share import heir, owner, ready

Object = dict[str, Any]
REPLICAS = st.sets(st.text("abcdef0123456789-", min_size=1, max_size=20), min_size=1, max_size=8)
UIDS = st.lists(st.uuids().map(str), min_size=1, max_size=50)


@given(REPLICAS, UIDS)
def test_everybody_finds_the_same_owner_in_whatever_order_the_names_come(replicas: set[str], uids: list[str]) -> None:
    for uid in uids:
        assert owner(uid, sorted(replicas)) == owner(uid, sorted(replicas, reverse=True))
        assert owner(uid, replicas) in replicas


@given(REPLICAS, UIDS, st.data())
def test_when_a_replica_goes_only_what_was_its_own_moves(
    replicas: set[str], uids: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(replicas)))
    for uid in uids:
        before = owner(uid, replicas)
        if before != gone:
            assert owner(uid, replicas - {gone}) == before


@given(REPLICAS, UIDS)
def test_who_inherits_is_who_owns_it_next(replicas: set[str], uids: list[str]) -> None:
    for uid in uids:
        first = owner(uid, replicas)
        assert first is not None
        assert heir(uid, replicas) == owner(uid, replicas - {first})
        assert heir(uid, {first}) is None


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_jobs_are_spread_evenly(count: int) -> None:
    jobs = 6_000
    found = Counter(owner(f"{number:08x}-9a5b", [f"gateway-{each}" for each in range(count)]) for number in range(jobs))
    assert len(found) == count
    assert max(found.values()) - min(found.values()) < jobs / count * 0.2


def test_nobody_owns_anything_where_there_is_nobody() -> None:
    assert owner("uid", ()) is None


def endpoint(name: str, kind: str = "Pod", **conditions: bool) -> Object:
    return {"targetRef": {"kind": kind, "name": name}, "conditions": conditions}


@pytest.mark.parametrize(
    ("endpoints", "names"),
    [
        pytest.param([endpoint("a", ready=True), endpoint("b", ready=True)], {"a", "b"}, id="two that are ready"),
        pytest.param([endpoint("a", ready=True), endpoint("b", ready=False)], {"a"}, id="one that is not"),
        pytest.param([endpoint("a", ready=False, serving=True, terminating=True)], set(), id="one on its way out"),
        pytest.param([endpoint("a")], {"a"}, id="one of which nothing is known, which counts as ready"),
        pytest.param([endpoint("n", "Node", ready=True), {"conditions": {}}], set(), id="others than Pods"),
        pytest.param(None, set(), id="none at all"),
    ],
)
def test_replicas_are_the_ready_pods_of_the_service(endpoints: list[Object] | None, names: set[str]) -> None:
    assert ready({"metadata": {"name": "gateway-x"}, "endpoints": endpoints}) == names
