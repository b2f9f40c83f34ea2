"""What a status says: conditions as kstatus wants them, attempts, results within their bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason, RetryClass
from agentjob_api.status import MAX_MESSAGE, MAX_RESULT_BYTES, AgentJobStatus, Condition
from agentjob_operator import status
from agentjob_operator.conditions import Summary, conditions
from agentjob_operator.decide import decide
from worlds import RUNNING, at, job, pod, running, stalled, terminated, told, world

USAGE = {"inputTokens": 7, "outputTokens": 5, "byModel": {"claude": {"inputTokens": 7, "outputTokens": 5}}}


@pytest.mark.parametrize(
    ("summary", "true", "false"),
    [
        pytest.param(Summary(Phase.PENDING, "Starting"), {"Reconciling"}, {"Ready"}, id="on its way"),
        pytest.param(Summary(Phase.RUNNING, "Running"), {"Reconciling"}, {"Ready"}, id="running"),
        pytest.param(Summary(Phase.PENDING, "Suspended", suspended=True), {"Suspended"}, {"Ready"}, id="suspended"),
        pytest.param(Summary(Phase.PENDING, "ImagePull", stalled=True), {"Stalled"}, {"Ready"}, id="stalled"),
        pytest.param(Summary(Phase.SUCCEEDED, "Completed"), {"Ready", "Complete"}, set(), id="succeeded"),
        pytest.param(Summary(Phase.FAILED, "AgentError"), {"Failed", "Stalled"}, {"Ready"}, id="failed"),
        pytest.param(Summary(Phase.CANCELLED, "Cancelled"), {"Failed", "Stalled"}, {"Ready"}, id="cancelled"),
    ],
)
def test_where_a_job_stands_is_in_its_conditions(summary: Summary, true: set[str], false: set[str]) -> None:
    found = conditions(summary, 3, (), at(0))

    assert {each.type for each in found if each.status == "True"} == true
    assert {each.type for each in found if each.status == "False"} == false
    assert {(each.reason, each.observed_generation, each.last_transition_time) for each in found} == {
        (summary.reason, 3, at(0))
    }


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    pending = conditions(Summary(Phase.PENDING, "Starting"), 1, (), at(0))
    runs = conditions(Summary(Phase.RUNNING, "Running"), 1, pending, at(10))
    succeeded = conditions(Summary(Phase.SUCCEEDED, "Completed"), 1, runs, at(20))

    assert {each.last_transition_time for each in runs} == {at(0)}
    assert {each.last_transition_time for each in succeeded} == {at(20)}


def test_a_long_message_is_cut() -> None:
    found = conditions(Summary(Phase.FAILED, "AgentError", "x" * 9000), 1, (), at(0))

    assert {len(each.message) for each in found} == {MAX_MESSAGE}


def final(*, of: dict[str, Any] = RUNNING, code: int = 0, **outcome: Any) -> AgentJobStatus:
    """The status after the only attempt, which left this outcome."""
    ended = pod(agent=terminated(told(**outcome), code=code))
    found = decide(world(job(of, backoffLimit=0), ended, now=at(62))).status
    assert found is not None
    return found


def test_a_finished_job_tells_everything_its_runner_told() -> None:
    found = final(usage=USAGE, stop_reason="end_turn", permission_denials=["Bash", "Bash", "Write"])

    assert found.model_dump(mode="json", exclude_none=True, exclude={"conditions", "attempts"}) == {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "startTime": "2026-11-22T10:00:01Z",
        "completionTime": "2026-11-22T10:01:01Z",
        "podName": "fix-1",
        "attemptCount": 1,
        "failedCount": 0,
        "result": {
            "text": "All tests pass.",
            "truncated": False,
            "stopReason": "end_turn",
            "numTurns": 3,
            "permissionDenials": ["Bash", "Write"],
        },
        "usage": found.usage and found.usage.model_dump(),
        "costUSD": "0.0127",
        "session": {"id": "s-1"},
    }
    (attempt,) = found.attempts
    assert (attempt.number, attempt.reason, attempt.exit_code, attempt.session_id) == (1, Reason.COMPLETED, 0, "s-1")
    assert (attempt.start_time, attempt.completion_time, attempt.cost_usd) == (at(1), at(61), "0.0127")
    assert found.usage is not None
    assert found.usage.by_model["claude"].output_tokens == 5


FAILS = [each for each in Reason if each.retry_class is not RetryClass.FREE]


@pytest.mark.parametrize("reason", [each for each in FAILS if each not in {"Completed", "Cancelled", "Suspended"}])
def test_a_failed_job_says_why_and_whether_another_time_may_help(reason: Reason) -> None:
    found = final(reason=reason, message="m" * 9000, code=1)

    assert found.phase is Phase.FAILED
    assert found.failure is not None
    assert found.failure.reason is reason
    assert len(found.failure.message) == MAX_MESSAGE
    assert found.failure.retryable == (reason.retry_class.value != "never")
    assert found.failed_count == 1


def test_a_job_started_when_its_agent_first_started() -> None:
    assert final(of={**RUNNING, "startTime": at(0.5)}).start_time == at(0.5)


def test_what_an_agent_spent_before_it_failed_is_told() -> None:
    found = final(reason=Reason.MAX_TURNS, usage=USAGE, code=1)

    assert found.cost_usd == "0.0127"
    assert found.usage is not None
    assert found.result is not None
    assert (found.result.text, found.result.num_turns) == ("", 3)


def test_an_agent_that_did_nothing_has_no_result() -> None:
    assert final(reason=Reason.AGENT_ERROR, num_turns=0, code=1).result is None


@given(st.text(max_size=200).map(lambda text: text * 400))
def test_an_answer_fits_into_the_status_and_is_only_shortened(text: str) -> None:
    found = final(text=text)

    assert found.result is not None
    assert len(found.result.text.encode()) <= MAX_RESULT_BYTES
    assert text.startswith(found.result.text)
    assert found.result.truncated == (found.result.text != text)


def test_denials_fit_into_the_status() -> None:
    found = final(permission_denials=[f"mcp__tool_{number}" for number in range(500)])

    assert found.result is not None
    assert AgentJobStatus.model_validate(found.model_dump()) == found


def test_an_agent_that_starts_is_recorded_with_its_attempt() -> None:
    found = decide(world(job(), pod(agent=running(3)))).status

    assert found is not None
    assert (found.start_time, found.pod_name, found.attempt_count) == (at(3), "fix-1", 1)
    assert [(each.number, each.start_time, each.completion_time) for each in found.attempts] == [(1, at(3), None)]


def test_a_job_that_never_started_counts_no_attempt() -> None:
    found = decide(world(job(cancel=True))).status

    assert found is not None
    assert (found.attempts, found.attempt_count, found.completion_time) == ([], 0, at(2))


def test_a_lost_attempt_is_closed_and_does_not_count_as_failed() -> None:
    found = decide(world(job(RUNNING), now=at(90))).status

    assert found is not None
    assert [(each.reason, each.completion_time) for each in found.attempts] == [(Reason.NODE_LOST, at(90))]
    assert found.failed_count == 0


def test_an_attempt_that_could_not_start_counts_as_failed() -> None:
    waits = job(stalled("ImagePull", "no such image"), activeDeadlineSeconds=600, backoffLimit=0)

    found = decide(world(waits, pod(), now=at(1201))).status

    assert found is not None
    assert (found.attempt_count, found.failed_count, found.start_time) == (1, 1, None)


def test_only_the_last_attempts_are_shown() -> None:
    many = {**RUNNING, "attempts": [{"number": n, "pod": f"fix-{n}"} for n in range(1, 11)], "attemptCount": 10}

    found = decide(world(job(many), pod(name="fix-11", attempt=11, agent=running()))).status

    assert found is not None
    assert [each.number for each in found.attempts] == list(range(2, 12))
    assert found.attempt_count == 11


@given(st.text(), st.integers(0, 50))
def test_a_text_is_bounded_in_bytes_without_breaking_a_character(text: str, limit: int) -> None:
    found = status.bounded(text, limit)

    assert text.startswith(found)
    assert limit - 4 < len(found.encode()) <= limit or found == text


def test_a_condition_is_as_the_resource_wants_it() -> None:
    (ready, *_) = conditions(Summary(Phase.PENDING, "Starting"), 1, (), at(0))

    assert Condition.model_validate(ready.model_dump()) == ready


ARCHIVED = Condition.model_validate(
    {"type": "Archived", "status": "True", "reason": "Archived", "lastTransitionTime": at(70), "observedGeneration": 1}
)


@pytest.mark.parametrize(
    "summary",
    [
        pytest.param(Summary(Phase.RUNNING, "Running"), id="while it runs"),
        pytest.param(Summary(Phase.SUCCEEDED, "Completed"), id="after its end"),
    ],
)
def test_what_others_say_of_a_job_stays_as_it_is(summary: Summary) -> None:
    found = conditions(summary, 3, (ARCHIVED,), at(90))

    assert found[-1] == ARCHIVED
    assert [each.type for each in found].count(ARCHIVED.type) == 1
    assert conditions(summary, 3, found, at(90)) == found


def test_a_new_generation_of_a_finished_job_leaves_what_others_have_said() -> None:
    done = final()
    archived = done.model_copy(update={"conditions": [*done.conditions, ARCHIVED]})
    found = status.seen(job(meta={"generation": 2}).model_copy(update={"status": archived}))

    assert found.conditions[-1] == ARCHIVED
    assert {each.observed_generation for each in found.conditions[:-1]} == {2}
