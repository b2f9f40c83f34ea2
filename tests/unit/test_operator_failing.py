"""When a job says that nothing can be done about it, and in which words."""

from datetime import timedelta
from typing import Any

import pytest

from agentjob_api.job import AgentJob
from agentjob_api.status import AgentJobStatus, ConditionStatus, ConditionType, QueueStatus, Standing, Trouble
from agentjob_kube.errors import ApiError, Conflict, ServerError, TooManyRequests, Unreachable
from agentjob_operator import failing
from agentjob_operator.decide import decide
from agentjob_operator.failing import MAX_SAID, OFTEN, SELDOM, STUCK_AFTER, TRIES, Failing, after, backoff, condition
from agentjob_operator.world import QueueView, World
from worlds import RUNNING, at, job, pod, running, terminated, told, world

AWAY = ServerError("etcd is away", status=500)
LONG = STUCK_AFTER.total_seconds()
SAYS_SO = job({"conditions": [condition(after(None, job(), AWAY, at(0)), 1).model_dump()]})


def looks(*seconds: float, of: AgentJob | None = None, error: Exception = AWAY) -> Failing:
    """What is known after looks that failed so many seconds after the job's creation."""
    found: Failing | None = None
    for each in seconds:
        found = after(found, of or job(), error, at(each))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("found", "is_stuck"),
    [
        pytest.param(looks(0), False, id="not after one failure"),
        pytest.param(looks(0, 0.2, 0.6, LONG - 1), False, id="not while it may pass by itself"),
        pytest.param(looks(0, 0.2, 0.6, LONG), True, id="once a look has failed so long after the first"),
        pytest.param(looks(0, LONG), True, id="however seldom it was tried"),
        pytest.param(looks(0, of=SAYS_SO), True, id="at the first failure that another operator sees, as the job says"),
    ],
)
def test_a_job_is_stuck(found: Failing, is_stuck: bool) -> None:
    assert found.is_stuck == is_stuck


def test_a_job_that_says_so_is_not_told_again() -> None:
    assert (looks(0).told, looks(0, of=SAYS_SO).told) == (False, True)


def test_another_job_of_the_name_starts_anew() -> None:
    later = after(looks(0, LONG), job(meta={"uid": "another"}), AWAY, at(LONG + 1))

    assert (later.times, later.since, later.is_stuck) == (1, at(LONG + 1), False)


def test_pods_whose_job_is_gone_are_counted_by_themselves() -> None:
    found = after(after(looks(0), None, AWAY, at(1)), None, AWAY, at(1 + LONG))

    assert (found.times, found.is_stuck) == (2, True)


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (AWAY, Trouble.REFUSED, "etcd is away. Mend what the API server names"),
        (TooManyRequests("later.", status=429), Trouble.REFUSED, "later. Mend"),
        (Conflict("the object has been modified", status=409), Trouble.REFUSED, "has been modified. Mend"),
        (ApiError("the status was not kept"), Trouble.REFUSED, "bring the chart and its definitions up to date"),
        (Unreachable("POST /pods: no answer in time"), Trouble.UNREACHABLE, "an admission webhook"),
        (ValueError("Mend the tests."), Trouble.DEFECT, "ValueError, in the operator itself. Please report it"),
    ],
    ids=["an error 500", "too many requests", "a conflict", "a status not kept", "no answer", "a defect"],
)
def test_the_condition_says_what_went_wrong_and_the_way_out(error: Exception, reason: Trouble, says: str) -> None:
    found = condition(looks(0, 61, LONG, error=error), 3)

    assert (found.type, found.status, found.reason) == (
        ConditionType.RECONCILE_FAILURE,
        ConditionStatus.TRUE,
        reason,
    )
    assert says in found.message
    assert "3 times since 2026-11-22T10:00:00Z" in found.message
    assert (found.last_transition_time, found.observed_generation) == (at(LONG), 3)


@pytest.mark.parametrize(
    ("error", "failing", "most"),
    [
        pytest.param(AWAY, 1, OFTEN, id="one that fails as others would: often"),
        pytest.param(AWAY, TRIES * 20, 20.0, id="some: so many a second together"),
        pytest.param(AWAY, 10_000, SELDOM, id="very many: seldom"),
        pytest.param(Conflict("changed", status=409), 1, SELDOM, id="one that fails for itself: seldom"),
    ],
)
def test_a_job_waits_at_most(error: Exception, failing: int, most: float) -> None:
    assert backoff(looks(0, error=error), failing).most == most


def test_what_a_defect_says_of_itself_is_not_repeated() -> None:
    assert "Mend the tests" not in condition(looks(0, error=ValueError("Mend the tests.")), 1).message


def test_what_was_tried_is_named() -> None:
    error = ServerError("no", status=500)
    error.add_note("making its Pod")

    assert failing.said(error) == "making its Pod, no."


def test_a_long_error_is_cut() -> None:
    said = failing.said(ServerError("x" * 9_999, status=500))

    assert len(said) == MAX_SAID + 1


def test_a_time_between_two_seconds_is_written_as_the_second_it_is_in() -> None:
    found = condition(after(None, job(), AWAY, at(1) + timedelta(milliseconds=900)), 1)

    assert found.last_transition_time == at(1)


FAILURE = condition(looks(0), 1)
ENDED = pod(agent=terminated(told()), phase="Succeeded")
DONE: dict[str, Any] = {**RUNNING, "phase": "Succeeded", "completionTime": at(61), "conditions": []}
FULL = QueueView(has_room=False, place=QueueStatus(position=7, reason=Standing.INSTALLATION_FULL))
QUEUED = decide(world(job(), queue=FULL)).status


def failed(status: dict[str, Any] | None = None) -> dict[str, Any]:
    """A status that says as well that nothing could be done about the job."""
    found = job(status).status.model_dump()
    return {**found, "conditions": [*found["conditions"], FAILURE.model_dump()]}


def says_so(status: AgentJobStatus | None) -> bool:
    assert status is not None
    return FAILURE in status.conditions


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(world(job(failed(RUNNING)), pod(agent=running())), id="its agent works"),
        pytest.param(world(job(failed()), pod()), id="its Pod is on its way"),
        pytest.param(world(job(failed(DONE)), ENDED, now=at(70)), id="it has ended"),
        pytest.param(world(job(failed(), meta={"deletionTimestamp": at(5)})), id="it waits for a finalizer"),
    ],
)
def test_a_job_takes_back_that_nothing_could_be_done_once_nothing_is_left_to_be_done(found: World) -> None:
    assert found.job is not None
    decision = decide(found)

    assert not says_so(decision.status)
    assert decision.actions == ()
    after_that = found.job.model_copy(update={"status": decision.status})
    assert decide(world(after_that, *found.pods, now=found.now)).status is None


@pytest.mark.parametrize(
    ("found", "is_written"),
    [
        pytest.param(world(job(failed())), False, id="its Pod is still to be made"),
        pytest.param(
            world(job(failed(QUEUED.model_dump() if QUEUED else None)), queue=FULL),
            False,
            id="it waits for room, as it says",
        ),
        pytest.param(world(job(failed()), queue=FULL), True, id="it waits for room, and is to say so"),
        pytest.param(world(job(failed(RUNNING)), ENDED, now=at(62)), True, id="its end is to be written"),
        pytest.param(world(job(failed(DONE)), ENDED, now=at(61 + 600)), False, id="its Pod is to be deleted"),
    ],
)
def test_a_job_goes_on_saying_that_nothing_could_be_done_while(found: World, is_written: bool) -> None:
    decision = decide(found)

    assert (decision.status is not None) == is_written
    assert not is_written or says_so(decision.status)
