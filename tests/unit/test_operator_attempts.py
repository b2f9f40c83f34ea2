"""What follows the end of an attempt, and what a job does between two of them; suspended, let go and cancelled."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.phases import ALLOWED
from agentjob_api.reasons import Reason, RetryClass
from agentjob_api.status import ConditionType
from agentjob_operator import attempts, rules
from agentjob_operator.conditions import find
from agentjob_operator.conditions import standing as stands
from agentjob_operator.decide import decide
from agentjob_operator.pod import Note, PodView
from agentjob_operator.world import Action, CreatePod, DeletePod, QueueView, RecordEvent, StopPod, World
from worlds import (
    ARCHIVING,
    ROOM,
    RUNNING,
    at,
    attempt,
    between,
    job,
    lost,
    pod,
    refusal,
    running,
    stalled,
    standing,
    suspended,
    terminated,
    told,
    world,
)

FAILED = Reason.AGENT_ERROR
TAKEN = Reason.EVICTED
STOPPED = told(Reason.CANCELLED, stopped=True)
ENDED = pod(agent=terminated(told(FAILED), code=1), phase="Failed")
LOST = pod(agent=running())
"""The Pod of an attempt that was given up: nobody hears of its node any more."""
GONE_WITH_ITS_NODE = 1800 + 600
"""When its kubelet has ended it by itself, also where nobody hears of that."""
FULL = QueueView(has_room=False)


NOT_TOLD: dict[Reason, dict[str, Any]] = {
    Reason.EVICTED: {"end": Note("Evicted", "The node was low on resource: memory.")},
    Reason.NODE_LOST: {"end": Note("NodeShutdown", "Pod was terminated in response to imminent node shutdown.")},
    Reason.PREEMPTED: {"end": Note("Preempting", "Preempted in order to admit critical pod")},
    Reason.SUSPENDED: {"stop_asked": at(60)},
}
"""How a Pod shows the ends that are not its runner's to tell."""


def second(**fields: Any) -> PodView:
    """The Pod of the second attempt."""
    usual = {"name": "fix-2", "uid": "pod-2", "attempt": 2, "created": at(70), "started": at(70)}
    return pod(**{**usual, **fields})


SECOND_WORKS = {
    **standing("Running", "The agent works in Pod fix-2.", FAILED),
    "phase": "Running",
    "podName": "fix-2",
    "attempts": [attempt(1, FAILED), attempt(2, start=71)],
    "attemptCount": 2,
}


def failing(*before: Reason, reason: Reason = FAILED, limit: int = 2, **spec: Any) -> World:
    """A job the next attempt of which ends for this reason, after others did for these."""
    number = len(before) + 1
    status = {**between(*before, end=0), "phase": "Running"} if before else {**RUNNING, "attempts": []}
    status["attempts"] = [*status["attempts"], attempt(number)][-10:]
    status["attemptCount"] = number
    killed: dict[str, Any] = {"phase": "Failed", "agent": terminated(code=137), **NOT_TOLD.get(reason, {})}
    fields = killed if reason in NOT_TOLD else {"agent": terminated(told(reason), code=1)}
    ended = pod(name=f"fix-{number}", attempt=number, **fields)
    return world(job(status, backoffLimit=limit, **spec), ended, now=at(62))


def between_attempts(seconds: float, *pods: PodView, of: dict[str, Any] | None = None, **fields: Any) -> World:
    """A job whose first attempt has failed at second 61, so many seconds after T0."""
    known = {key: fields.pop(key) for key in ("keeping", "queue", "refusal") if key in fields}
    return world(job(of or between(FAILED), **fields), *pods, now=at(seconds), **known)


FOLLOWED = [
    pytest.param(failing(), id="the first failure"),
    pytest.param(failing(FAILED), id="as many failures as attempts after the first"),
    pytest.param(failing(TAKEN, TAKEN, TAKEN, FAILED), id="what the cluster took away does not count"),
    pytest.param(failing(Reason.SUSPENDED, Reason.SUSPENDED, Reason.SUSPENDED, FAILED), id="nor what was suspended"),
    pytest.param(failing(reason=Reason.RATE_LIMITED), id="a conversation that can go on"),
    pytest.param(failing(reason=TAKEN, limit=0), id="an attempt that the cluster took away, without any other allowed"),
    pytest.param(failing(*[TAKEN] * 8, reason=TAKEN), id="nine in a row that the cluster took away"),
    pytest.param(failing(*[TAKEN] * 9, FAILED, *[TAKEN] * 8, reason=TAKEN), id="nineteen, but for one between them"),
    pytest.param(world(job(RUNNING), now=at(90)), id="a Pod that is gone without a trace"),
    pytest.param(
        world(job(stalled("ImagePull", "none"), activeDeadlineSeconds=600), pod(), now=at(1201)),
        id="an image that did not come in time",
    ),
    pytest.param(
        world(job(RUNNING), pod(agent=terminated(STOPPED), stop_asked=at(50)), now=at(62)),
        id="an agent that was suspended, and let go before it had stopped",
    ),
]
ENDS = [
    pytest.param(failing(limit=0), "AgentError", id="a failure where no other attempt is allowed"),
    pytest.param(failing(FAILED, FAILED), "AgentError", id="one failure more than there may be"),
    pytest.param(failing(*[FAILED] * 100, limit=100), "AgentError", id="the hundred and first of a hundred and one"),
    pytest.param(failing(reason=Reason.MAX_TURNS), "MaxTurns", id="what another attempt would not change"),
    pytest.param(failing(reason=Reason.DEADLINE_EXCEEDED), "DeadlineExceeded", id="an attempt that took too long"),
    pytest.param(failing(*[TAKEN] * 9, reason=TAKEN), "Evicted", id="ten in a row that the cluster took away"),
    pytest.param(
        failing(FAILED, *[TAKEN] * 9, reason=Reason.NODE_LOST), "NodeLost", id="whatever it was that took the last"
    ),
    pytest.param(failing(cancel=True), "Cancelled", id="a failure worth another attempt, of a cancelled job"),
    pytest.param(failing(limit=0, suspend=True), "AgentError", id="the last failure, though the job is suspended"),
]


@pytest.mark.parametrize("found", FOLLOWED)
def test_another_attempt_follows(found: World) -> None:
    status = decide(found).status

    assert status is not None
    assert (status.phase, stands(status.conditions)) == ("Pending", "BackOff")
    assert (status.failure, status.result, status.completion_time) == (None, None, None)
    assert status.attempts[-1].completion_time is not None


@pytest.mark.parametrize(("found", "reason"), ENDS)
def test_the_job_ends_with(found: World, reason: str) -> None:
    status = decide(found).status

    assert status is not None
    assert status.phase == ("Cancelled" if reason == "Cancelled" else "Failed")
    assert status.failure is not None
    assert status.failure.reason == reason
    assert status.completion_time is not None


def test_that_the_cluster_has_taken_too_many_is_said() -> None:
    status = decide(failing(*[TAKEN] * 9, reason=TAKEN)).status

    assert status is not None
    assert status.failure is not None
    assert status.failure.message.endswith("The cluster has taken 10 attempts in a row.")


def test_it_is_said_which_attempt_ended_why_and_when_the_next_starts() -> None:
    found = world(job(RUNNING), pod(agent=terminated(told(FAILED, message="It broke."), code=1)), now=at(62))
    status = decide(found).status

    assert status is not None
    again = attempts.starts_at(job().model_copy(update={"status": status}))
    assert {each.message for each in status.conditions} == {
        f"Attempt 2 starts at {again:%Y-%m-%dT%H:%M:%SZ} at the earliest. Attempt 1 ended as AgentError. It broke."
    }


WAITS = [
    pytest.param([FAILED], 10, id="one failure"),
    pytest.param([FAILED, FAILED], 20, id="two"),
    pytest.param([FAILED] * 3, 40, id="three"),
    pytest.param([FAILED] * 6, 320, id="six"),
    pytest.param([FAILED] * 7, 360, id="seven"),
    pytest.param([FAILED] * 101, 360, id="very many"),
    pytest.param([FAILED, Reason.SUSPENDED, FAILED], 20, id="two, with a stop between them"),
    pytest.param([FAILED, Reason.SUSPENDED], 0, id="a stop"),
    pytest.param([TAKEN], 0, id="one that was taken away"),
    pytest.param([FAILED, FAILED, TAKEN], 0, id="one that was taken away, after failures"),
    pytest.param([TAKEN, TAKEN], 10, id="two that were taken away"),
    pytest.param([TAKEN, Reason.NODE_LOST, Reason.PREEMPTED], 20, id="three, in different ways"),
    pytest.param([TAKEN] * 9, 360, id="nine"),
    pytest.param([TAKEN] * 9 + [FAILED], 10, id="one failure after nine that were taken away"),
]


@pytest.mark.parametrize(("reasons", "longest"), WAITS)
def test_it_is_waited_between_half_and_all_of_the_time_after(reasons: list[Reason], longest: int) -> None:
    waits = attempts.starts_at(job(between(*reasons))) - at(61)

    assert timedelta(seconds=longest / 2) <= waits <= timedelta(seconds=longest)


@given(st.text(max_size=40), st.integers(1, 9))
def test_the_same_attempt_always_waits_the_same_whole_seconds(uid: str, failures: int) -> None:
    one, other = (job(between(*[FAILED] * failures), meta={"uid": uid}) for _ in range(2))

    assert attempts.starts_at(one) == attempts.starts_at(other)
    assert attempts.starts_at(one).microsecond == 0


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    moments = {attempts.starts_at(job(between(FAILED, FAILED), meta={"uid": f"uid-{n}"})) for n in range(200)}

    assert len(moments) == 11


NOTHING = [
    pytest.param(between_attempts(65, ENDED), id="a job that backs off"),
    pytest.param(between_attempts(65), id="one whose earlier Pod is gone"),
    pytest.param(between_attempts(100, pod(agent=running(), deleting=True)), id="one whose earlier Pod does not go"),
    pytest.param(between_attempts(489, lost(), of=between(Reason.NODE_LOST)), id="one whose lost Pod may still go"),
    pytest.param(between_attempts(72, ENDED, second()), id="one whose next Pod is on its way"),
    pytest.param(between_attempts(90, of=suspended(Reason.SUSPENDED), suspend=True), id="a suspended job"),
    pytest.param(
        world(job(RUNNING, suspend=True), pod(agent=running(), stop_asked=at(5)), now=at(6)),
        id="an agent that was told to stop, as the job is suspended",
    ),
    pytest.param(
        world(job(RUNNING), pod(agent=running(), stop_asked=at(5)), now=at(6)),
        id="one that was told to stop, and whose job was let go meanwhile",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True, cancel=True), pod(agent=running(), stop_asked=at(5)), now=at(6)),
        id="one that was told to stop, and whose job was cancelled meanwhile",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), pod(agent=running(), deleting=True), now=at(6)),
        id="one whose Pod somebody has deleted, as the job is suspended",
    ),
    pytest.param(
        between_attempts(100, of=between(FAILED), meta={"deletionTimestamp": at(99)}), id="a job that is being deleted"
    ),
]
ACTIONS = [
    pytest.param(between_attempts(71, ENDED), [CreatePod(2)], id="the next attempt starts when it has waited"),
    pytest.param(between_attempts(71), [CreatePod(2)], id="also when the Pod before is gone"),
    pytest.param(
        between_attempts(71, of=between(FAILED, TAKEN)), [CreatePod(3)], id="its number follows that of the last"
    ),
    pytest.param(
        between_attempts(61, of=between(*[FAILED, TAKEN] * 10)), [CreatePod(21)], id="also beyond those that are shown"
    ),
    pytest.param(
        between_attempts(900, of={**between(FAILED), "conditions": []}), [CreatePod(2)],
        id="its Pod is made again when it is gone before it was recorded",
    ),
    pytest.param(
        between_attempts(100, refusal=refusal(when=60)), [CreatePod(2)], id="a refused Pod is tried again later"
    ),
    pytest.param(between_attempts(100, LOST), [DeletePod(LOST)], id="a Pod that may still work is deleted first"),
    pytest.param(
        between_attempts(GONE_WITH_ITS_NODE, LOST), [CreatePod(2), DeletePod(LOST)],
        id="but not for longer than its kubelet keeps it by itself",
    ),
    pytest.param(
        between_attempts(61 + 600, ENDED, second(agent=running(71)), of=SECOND_WORKS),
        [DeletePod(ENDED)], id="the Pod of an earlier attempt goes after its time to live, while the next works",
    ),
    pytest.param(
        between_attempts(61 + 600, ENDED, of=suspended(FAILED), suspend=True), [DeletePod(ENDED)],
        id="also while the job is suspended",
    ),
    pytest.param(
        between_attempts(61 + 600 + 3_600, ENDED, of=suspended(FAILED), suspend=True,
                         keeping=ARCHIVING),
        [DeletePod(ENDED)], id="an hour later where logs are archived, which is told at the end of the job",
    ),
    pytest.param(
        between_attempts(490, lost(), of=between(Reason.NODE_LOST)), [DeletePod(lost())],
        id="a Pod whose node is lost goes by force, before another one is made",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), pod(agent=running())), [StopPod(pod(agent=running()))],
        id="the agent of a job that is suspended is told to stop",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), pod()), [StopPod(pod())], id="also one whom its kubelet has lost sight of"
    ),
    pytest.param(
        between_attempts(65, ENDED, second(deleting=True), meta={"deletionTimestamp": at(64)}), [DeletePod(ENDED)],
        id="a job that is being deleted takes the Pods of all attempts along",
    ),
]  # fmt: skip
AFTER_STOP = pod(agent=terminated(STOPPED), stop_asked=at(50), end=Note("DeadlineExceeded", ""), phase="Failed")
BECOMES = [
    pytest.param(between_attempts(65, ENDED, suspend=True), "Pending", "Suspended", id="a job suspended meanwhile"),
    pytest.param(
        between_attempts(62, of=suspended(FAILED)), "Pending", "BackOff",
        id="one that is let go before it has waited",
    ),
    pytest.param(
        between_attempts(71, of=suspended(FAILED)), "Pending", "Starting",
        id="one that is let go later",
    ),
    pytest.param(
        between_attempts(61, of=suspended(Reason.SUSPENDED)), "Pending", "Starting",
        id="one that was stopped, and is let go at once",
    ),
    pytest.param(
        between_attempts(66, meta={"generation": 2}), "Pending", "BackOff", id="one whose spec is changed meanwhile"
    ),
    pytest.param(between_attempts(65, ENDED, cancel=True), "Cancelled", "Cancelled", id="one cancelled meanwhile"),
    pytest.param(
        between_attempts(65, of=suspended(Reason.SUSPENDED), suspend=True, cancel=True),
        "Cancelled", "Cancelled", id="a suspended one, cancelled",
    ),
    pytest.param(
        between_attempts(80, refusal=refusal(when=71)), "Pending", "PodRefused", id="one whose next Pod is refused"
    ),
    pytest.param(
        between_attempts(80, refusal=refusal(when=71, for_good=True)), "Failed", "InvalidSpec",
        id="one whose next Pod can never be",
    ),
    pytest.param(between_attempts(75, second()), "Pending", "Starting", id="one whose next start takes long"),
    pytest.param(between_attempts(75, second(agent=running(74))), "Running", "Running", id="one whose next one works"),
    pytest.param(
        world(job(RUNNING, suspend=True), AFTER_STOP, now=at(62)), "Pending", "Suspended", id="one that was stopped"
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), pod(agent=running(), stop_asked=at(10)), now=at(70)), "Pending", "Suspended",
        id="one that has not stopped a minute later",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True, cancel=True), AFTER_STOP, now=at(62)), "Cancelled", "Cancelled",
        id="one that was cancelled while it was being suspended",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), pod(agent=terminated(told()), stop_asked=at(50)), now=at(62)), "Succeeded",
        "Completed", id="one that could give its answer while it was being suspended",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), ENDED, now=at(62)), "Pending", "Suspended",
        id="one that failed before it was told to stop",
    ),
    pytest.param(
        world(job(RUNNING, suspend=True), pod(agent=terminated(STOPPED), end=Note("DeadlineExceeded", "")), now=at(62)),
        "Failed", "DeadlineExceeded", id="one that reached its deadline before it was told to stop",
    ),
    pytest.param(world(job(RUNNING, suspend=True), now=at(62)), "Pending", "Suspended", id="one whose Pod is gone"),
    pytest.param(world(job(suspend=True), pod()), "Pending", "Suspended", id="a job suspended before its agent starts"),
    pytest.param(
        world(job(stalled("ImagePull", "x"), suspend=True), pod()), "Pending", "Suspended", id="one that stalls"
    ),
    pytest.param(
        between_attempts(75, second(), cancel=True), "Cancelled", "Cancelled", id="one cancelled before its next start"
    ),
]  # fmt: skip
EVERYTHING = [
    pytest.param(*each.values[:1], id=str(each.id)) for each in (*FOLLOWED, *ENDS, *NOTHING, *ACTIONS, *BECOMES)
]


@pytest.mark.parametrize("found", NOTHING)
def test_nothing_is_done_about(found: World) -> None:
    decision = decide(found)

    assert decision.status is None
    assert [each for each in decision.actions if not isinstance(each, DeletePod)] == []


@pytest.mark.parametrize(("found", "actions"), ACTIONS)
def test_an_action_alone(found: World, actions: list[Action]) -> None:
    decision = decide(found)

    assert list(decision.actions) == actions
    assert decision.status is None


@pytest.mark.parametrize(("found", "phase", "reason"), BECOMES)
def test_a_status_is_written_for(found: World, phase: str, reason: str) -> None:
    status = decide(found).status

    assert status is not None
    assert (status.phase, stands(status.conditions)) == (phase, reason)
    assert (find(status.conditions, ConditionType.SUSPENDED) is not None) == (reason == "Suspended")


@pytest.mark.parametrize("found", EVERYTHING)
def test_a_written_status_is_not_written_again(found: World) -> None:
    assert found.job is not None
    if (status := decide(found).status) is None:
        return
    written = found.job.model_copy(update={"status": status})

    again = decide(World(**{**vars(found), "job": written}))

    assert again.status is None
    assert not any(isinstance(action, RecordEvent) for action in again.actions)
    assert status.phase in {found.job.status.phase, *ALLOWED[found.job.status.phase]}


@pytest.mark.parametrize("found", EVERYTHING)
def test_the_end_of_an_attempt_is_written_before_anything_else_is_done(found: World) -> None:
    assert found.job is not None
    decision = decide(found)
    if decision.status is not None and decision.status.attempts != found.job.status.attempts:
        assert not any(isinstance(action, CreatePod | StopPod) for action in decision.actions)


@pytest.mark.parametrize("found", EVERYTHING)
def test_a_job_wants_a_slot_exactly_when_room_is_all_it_waits_for(found: World) -> None:
    assert found.job is not None
    wants = rules.wants_to_start(found.job, found.pods, found.now) and not rules.is_refused(found.refusal, found.now)

    with_room = decide(World(**{**vars(found), "queue": ROOM}))
    without = decide(World(**{**vars(found), "queue": FULL}))

    assert any(isinstance(action, CreatePod) for action in with_room.actions) == wants
    assert not any(isinstance(action, CreatePod) for action in without.actions)


@pytest.mark.parametrize("kind", [each for each in Reason if each.retry_class is not RetryClass.NEVER])
def test_an_attempt_is_recorded_with_its_reason_and_counts_as_failed_or_not(kind: Reason) -> None:
    status = decide(failing(reason=kind)).status

    assert status is not None
    assert status.attempts[-1].reason is kind
    assert status.failed_count == (kind.retry_class is not RetryClass.FREE and kind is not Reason.SUSPENDED)


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        pytest.param(between_attempts(65, ENDED, meta={"uid": "job-uid"}), None, id="the end of its wait"),
        pytest.param(between_attempts(100, pod(agent=running(), deleting=True)), GONE_WITH_ITS_NODE, id="a lost Pod"),
        pytest.param(
            between_attempts(65, ENDED, of=suspended(FAILED), suspend=True), 61 + 600,
            id="the end of an earlier Pod's time to live",
        ),
    ],
)  # fmt: skip
def test_it_is_looked_at_again_at(found: World, seconds: float | None) -> None:
    assert found.job is not None
    expected = at(seconds) if seconds is not None else attempts.starts_at(found.job)

    assert decide(found).look_again == expected


def test_the_first_attempt_waits_for_no_clock() -> None:
    late = job(meta={"creationTimestamp": at(3600)})

    assert decide(world(late)).actions == (CreatePod(1),)


def test_why_an_attempt_ended_is_said_for_as_long_as_the_job_backs_off() -> None:
    status = decide(between_attempts(66, meta={"generation": 2})).status

    assert status is not None
    assert {each.message for each in status.conditions} == {"So it was said."}
