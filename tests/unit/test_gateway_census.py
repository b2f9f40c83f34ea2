"""The count of jobs that have not ended is the same as a look at all of them gives, whatever happens to them."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_jobs import agent_job
from agentjob_api.names import ANNOTATION_SUBMISSION, ANNOTATION_SUBMITTED_BY, Key
from agentjob_api.phases import Phase
from agentjob_gateway import answers
from agentjob_gateway.cache import JobCache
from agentjob_gateway.census import Census

Object = dict[str, Any]


def job(name: str, phase: Phase, version: int = 1, who: str | None = "key:ci") -> Object:
    notes = {ANNOTATION_SUBMITTED_BY: who} if who else None
    return agent_job(name, status={"phase": phase.value}, version=version, uid=f"uid-{name}", annotations=notes)


@pytest.mark.parametrize(
    ("phases", "waiting", "owned"),
    [
        pytest.param([], 0, 0, id="nothing was heard of"),
        pytest.param([Phase.PENDING], 1, 1, id="it waits"),
        pytest.param([Phase.PENDING, Phase.PENDING], 1, 1, id="it is told again"),
        pytest.param([Phase.PENDING, Phase.QUEUED], 1, 1, id="it waits for room"),
        pytest.param([Phase.PENDING, Phase.RUNNING], 0, 1, id="it runs"),
        pytest.param([Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED], 0, 0, id="it has ended"),
        pytest.param([Phase.CANCELLED], 0, 0, id="it had ended before it was heard of"),
    ],
)
def test_a_job_counts_until_it_has_ended(phases: list[Phase], waiting: int, owned: int) -> None:
    census = Census()
    for phase in phases:
        census.heard(job("fix", phase), is_gone=False)
    assert (census.waiting("agents"), census.owned("agents", "key:ci")) == (waiting, owned)


def test_a_job_that_is_deleted_does_not_count_and_its_owner_is_forgotten() -> None:
    census = Census()
    census.heard(job("fix", Phase.RUNNING), is_gone=False)
    census.heard(job("fix", Phase.RUNNING), is_gone=True)
    assert (census.owned("agents", "key:ci"), len(census._known), len(census._owned)) == (0, 0, 0)


def test_each_counts_for_its_owner_in_its_namespace() -> None:
    census = Census()
    census.heard(job("by-hand", Phase.RUNNING, who=None), is_gone=False)
    census.heard(job("other", Phase.RUNNING, who="key:other"), is_gone=False)
    census.heard(job("fix", Phase.RUNNING), is_gone=False)
    assert [census.owned("agents", who) for who in ("key:ci", "key:other", "key:none")] == [1, 1, 0]
    assert census.owned("elsewhere", "key:ci") == 0


def wanted(name: str = "fix", who: str = "key:ci", mark: str = "m-1") -> Object:
    """A job that is to be made."""
    notes = {ANNOTATION_SUBMITTED_BY: who, ANNOTATION_SUBMISSION: mark}
    return {"metadata": {"name": name, "namespace": "agents", "annotations": notes}}


def made(name: str = "fix", mark: str = "m-1", uid: str = "uid-fix") -> Object:
    """The same as it was made."""
    notes = {ANNOTATION_SUBMITTED_BY: "key:ci", ANNOTATION_SUBMISSION: mark}
    return agent_job(name, uid=uid, annotations=notes)


def counted(census: Census) -> tuple[int, int]:
    return census.waiting("agents"), census.owned("agents", "key:ci")


def test_a_job_counts_from_when_it_is_being_made_and_once() -> None:
    census, key = Census(), Key("agents", "fix")
    with census.expected(wanted()):
        assert (counted(census), census.expects(key, "key:ci")) == ((1, 1), True)
        with census.expected(wanted()):
            assert counted(census) == (1, 1), "it is asked for twice"
        census.heard(made(), is_gone=False)
        assert (counted(census), census.expects(key, "key:ci")) == ((1, 1), False)
    assert counted(census) == (1, 1)
    census.heard(made(), is_gone=True)
    assert (counted(census), census._coming, census._submitted) == ((0, 0), {}, {})


def test_a_job_that_could_not_be_made_does_not_count() -> None:
    census = Census()
    with suppress(LookupError), census.expected(wanted()):
        raise LookupError
    assert (counted(census), census._coming, census._submitted) == ((0, 0), {}, {})


def test_one_name_that_two_want_counts_for_both() -> None:
    census = Census()
    with census.expected(wanted()), census.expected(wanted(who="key:other", mark="m-2")):
        assert [census.owned("agents", who) for who in ("key:ci", "key:other")] == [1, 1]


def test_a_submission_is_known_by_its_job_from_when_that_is_being_made_to_when_it_is_gone() -> None:
    census = Census()
    with census.expected(wanted("a")):
        assert census.submitted("m-1") == "a"
        census.heard(made("a"), is_gone=False)
    assert (census.submitted("m-1"), census.submitted("m-2")) == ("a", None)
    census.heard(made("a", uid="uid-later"), is_gone=False)
    census.heard(made("a"), is_gone=True)
    assert census.submitted("m-1") == "a", "the later one is there"
    census.heard(made("a", uid="uid-later"), is_gone=True)
    assert census.submitted("m-1") is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop"]), st.sampled_from("abc"), st.sampled_from(Phase), st.sampled_from(["x", None])
    ),
    max_size=30,
)


@given(STEPS)
def test_it_is_what_a_look_at_the_cache_gives(steps: list[tuple[str, str, Phase, str | None]]) -> None:
    cache, census = JobCache(("agents",)), Census()
    cache.listeners.append(census.heard)
    for number, (step, name, phase, who) in enumerate(steps, 1):
        found = job(name, phase, number, who)
        found["metadata"]["uid"] += f"-{sum(s == 'drop' and n == name for s, n, _, _ in steps[:number])}"
        getattr(cache, step)(found)
    there = list(cache.of("agents"))
    open_ = [each for each in there if not answers.phase(each).is_final]
    assert census.waiting("agents") == sum(answers.phase(each).is_waiting for each in there)
    assert census.owned("agents", "x") == sum(answers.submitter(each) == "x" for each in open_)
    assert len(census._known) == len(open_)
