"""What is done about a job, for every way it may be found."""

from datetime import timedelta
from typing import Any

import pytest

from agentjob_api.phases import ALLOWED, Phase
from agentjob_api.reasons import Reason
from agentjob_api.status import ConditionType, QueueStatus
from agentjob_operator import rules
from agentjob_operator.decide import decide
from agentjob_operator.pod import Note, PodView, Waiting
from agentjob_operator.rules import STALLED_AFTER
from agentjob_operator.world import (
    Action,
    CreatePod,
    Decision,
    DeleteJob,
    DeleteOrphan,
    DeletePod,
    QueueView,
    ReadOutcome,
    RecordEvent,
    StopPod,
    World,
)
from worlds import ARCHIVING, ROOM, RUNNING, at, job, lost, pod, refusal, running, stalled, terminated, told, world

ENDED = pod(agent=terminated(told()), phase="Succeeded")
DONE: dict[str, Any] = {**RUNNING, "phase": "Succeeded", "completionTime": at(61), "conditions": []}
ARCHIVED = {
    **DONE,
    "conditions": [{"type": "Archived", "status": "True", "reason": "Archived", "lastTransitionTime": at(70)}],
}
OTHERS = pod(name="fix-1", uid="old-pod", owner="old-job")
CUT_AHEAD = pod(agent=terminated(told(text="All", truncated=True)), seen_ended=at(361))
NO_IMAGE = Waiting("ErrImagePull", "no such image: r:1")
SUSPENDED = {
    "conditions": [{"type": "Suspended", "status": "True", "reason": "Suspended", "lastTransitionTime": at(0)}]
}


def unstarted(**fields: Any) -> PodView:
    """A Pod that no kubelet has taken."""
    return pod(node=None, started=None, **fields)


def behind(position: int = 7, reason: str = "InstallationFull") -> QueueView:
    """A place in the queue."""
    return QueueView(has_room=False, place=QueueStatus.model_validate({"position": position, "reason": reason}))


def queued(position: int = 7, reason: str = "InstallationFull", since: float = 0) -> dict[str, Any]:
    """The status of a job that waits for room."""
    status = decide(world(job(), queue=behind(position, reason), now=at(since))).status
    assert status is not None
    return status.model_dump()


NOTHING = [
    pytest.param(world(job(queued(100)), queue=behind(51)), id="one whose place is better, but by less than half"),
    pytest.param(world(job(queued(100)), queue=behind(199)), id="one whose place is worse, but less than twice"),
    pytest.param(world(job(queued()), pod()), id="one that was queued and whose Pod is on its way"),
    pytest.param(world(job(), queue=QueueView(has_room=False)), id="one whose slot was given back at this moment"),
    pytest.param(world(job(), pod()), id="a Pod on its way"),
    pytest.param(world(job(), unstarted()), id="a Pod that waits for a node"),
    pytest.param(world(job(), unstarted(unschedulable="0/1 nodes")), id="a Pod that found no node a moment ago"),
    pytest.param(
        world(job(activeDeadlineSeconds=60), unstarted(seen=at(300)), now=at(304)),
        id="a Pod that waits for a node, where the clock is ahead by more than its deadline",
    ),
    pytest.param(
        world(job(RUNNING), pod(agent=terminated(code=137), seen_ended=at(361)), now=at(362)),
        id="an agent killed, by whom is open, where the clock is ahead",
    ),
    pytest.param(
        world(job(DONE, ttlSecondsAfterFinished=60), finished=at(361), now=at(420)),
        id="a finished job within its time to live, where the clock is ahead by more than that",
    ),
    pytest.param(world(job(), pod(agent=NO_IMAGE)), id="a Pod whose image failed a moment ago"),
    pytest.param(world(job(RUNNING), pod(agent=running())), id="an agent that is known to work"),
    pytest.param(world(job(RUNNING), pod()), id="an agent that works, which the kubelet has lost sight of"),
    pytest.param(
        world(job(RUNNING), pod(agent=terminated(code=137)), now=at(62)), id="an agent killed, by whom is open"
    ),
    pytest.param(
        world(job(stalled("ImagePull", "x")), pod(agent=terminated(code=137)), now=at(62)), id="one that had stalled"
    ),
    pytest.param(world(job(RUNNING, cancel=True), pod(agent=running(), stop_asked=at(5))), id="an agent told to stop"),
    pytest.param(world(job(RUNNING, cancel=True), pod(agent=running(), deleting=True)), id="an agent being deleted"),
    pytest.param(world(job(), pod(uid="old-pod", owner="old-job", deleting=True)), id="an earlier job's Pod, leaving"),
    pytest.param(world(None, pod(deleting=True)), id="a deleted job whose Pod is leaving"),
    pytest.param(world(job(RUNNING), lost(), now=at(489)), id="an agent whose node may still answer"),
    pytest.param(world(None, lost(), now=at(489)), id="a deleted job whose Pod's node may still answer"),
    pytest.param(
        world(None, lost(disruption=Note("EvictionByEvictionAPI", "")), now=at(9_999)),
        id="a deleted job whose Pod does not go, from a node that Kubernetes has not given up",
    ),
    pytest.param(world(None, lost(gone_by=None), now=at(9_999)), id="a deleted job whose Pod somebody holds"),
    pytest.param(world(None), id="no job at all"),
    pytest.param(world(job(DONE), ENDED, now=at(70)), id="a finished job and its Pod"),
    pytest.param(world(job(DONE), now=at(70)), id="a finished job whose Pod is gone"),
    pytest.param(
        world(job(DONE), ENDED, now=at(61 + 600 + 3_599), keeping=ARCHIVING), id="a finished Pod that is to be archived"
    ),
    pytest.param(
        world(job(ARCHIVED), ENDED, now=at(61 + 599), keeping=ARCHIVING), id="an archived Pod within its time to live"
    ),
    pytest.param(world(job(meta={"deletionTimestamp": at(9)}), pod(deleting=True)), id="a job and Pod being deleted"),
]
ACTIONS = [
    pytest.param(world(job()), [CreatePod(1)], id="a new job gets its Pod"),
    pytest.param(world(job(queued())), [CreatePod(1)], id="so does one that was queued"),
    pytest.param(
        world(job(), refusal=refusal(when=2), now=at(32)), [CreatePod(1)], id="a refused Pod is tried again later"
    ),
    pytest.param(world(job(), OTHERS), [DeleteOrphan(OTHERS)], id="the Pod of an earlier job of this name goes first"),
    pytest.param(world(None, OTHERS), [DeleteOrphan(OTHERS)], id="the Pod of a deleted job goes"),
    pytest.param(world(None, lost(), now=at(490)), [DeleteOrphan(lost())], id="by force, where its node is lost"),
    pytest.param(
        world(job(), lost(owner="old-job"), now=at(490)), [DeleteOrphan(lost(owner="old-job"))],
        id="so does that of an earlier job of this name",
    ),
    pytest.param(
        world(job(RUNNING, meta={"deletionTimestamp": at(9)}), lost(), now=at(490)), [DeletePod(lost())],
        id="and that of a job that is being deleted",
    ),
    pytest.param(world(job(DONE), lost(), now=at(490)), [DeletePod(lost())], id="and that of a finished job"),
    pytest.param(
        world(job(RUNNING, meta={"deletionTimestamp": at(9)}), pod(agent=running())), [DeletePod(pod(agent=running()))],
        id="the Pod of a job that is being deleted goes",
    ),
    pytest.param(
        world(job(RUNNING, cancel=True), pod(agent=running())), [StopPod(pod(agent=running()))],
        id="a cancelled job that runs is stopped",
    ),
    pytest.param(
        world(job(RUNNING, cancel=True), pod()), [StopPod(pod())],
        id="so is one whose agent the kubelet has lost sight of",
    ),
    pytest.param(
        world(job(DONE), ENDED, now=at(61 + 600)), [DeletePod(ENDED)], id="a finished Pod goes after its time to live"
    ),
    pytest.param(
        world(job(ARCHIVED), ENDED, now=at(61 + 600), keeping=ARCHIVING), [DeletePod(ENDED)],
        id="an archived Pod goes after its time to live",
    ),
    pytest.param(
        world(job(DONE), ENDED, now=at(61 + 600 + 3_600), keeping=ARCHIVING), [DeletePod(ENDED)],
        id="a Pod that nobody archives goes an hour later",
    ),
    pytest.param(
        world(job({**DONE, "phase": "Cancelled"}), pod(), now=at(62), keeping=ARCHIVING), [DeletePod(pod())],
        id="a Pod that has not ended waits for no archive",
    ),
    pytest.param(
        world(job(DONE, ttlSecondsAfterFinished=60), ENDED, now=at(121), keeping=ARCHIVING), [DeleteJob()],
        id="nor does a job whose time to live is over",
    ),
    pytest.param(
        world(job({**DONE, "phase": "Cancelled"}), pod(), now=at(62)), [DeletePod(pod())],
        id="a Pod that has not ended goes with the end of its job",
    ),
    pytest.param(world(job(DONE, ttlSecondsAfterFinished=60), now=at(121)), [DeleteJob()],
                 id="a job goes after its time to live"),
    pytest.param(
        world(job({**DONE, "phase": "Failed"}, ttlSecondsAfterFailed=9), now=at(70)), [DeleteJob()],
        id="a failed job goes after its own time to live",
    ),
    pytest.param(
        world(job(RUNNING), pod(agent=terminated(told(text="All", truncated=True))), now=at(62)),
        [ReadOutcome(pod(agent=terminated(told(text="All", truncated=True))))],
        id="an answer that did not fit is read from the log",
    ),
    pytest.param(
        world(job(RUNNING), CUT_AHEAD, now=at(362)), [ReadOutcome(CUT_AHEAD)], id="so it is with the clock ahead"
    ),
]  # fmt: skip
BECOMES = [
    pytest.param(world(job(), queue=behind()), "Queued", "InstallationFull", id="a job for which there is no room"),
    pytest.param(
        world(job(), queue=behind(reason="NamespaceFull")), "Queued", "NamespaceFull",
        id="one whose namespace has no room",
    ),
    pytest.param(
        world(job(queued(100)), queue=behind(50)), "Queued", "InstallationFull", id="one that was half as far behind"
    ),
    pytest.param(
        world(job(queued(100)), queue=behind(200)), "Queued", "InstallationFull", id="one that is twice as far behind"
    ),
    pytest.param(
        world(job(queued()), queue=behind(reason="NamespaceFull")), "Queued", "NamespaceFull",
        id="one that waits for its namespace by now",
    ),
    pytest.param(
        world(job(queued(), meta={"generation": 2}, priority=5), queue=behind()), "Queued", "InstallationFull",
        id="one whose priority was changed",
    ),
    pytest.param(
        world(job(SUSPENDED), queue=behind()), "Queued", "InstallationFull", id="one that is no longer suspended"
    ),
    pytest.param(
        world(job(), refusal=refusal(when=2), queue=behind(), now=at(32)), "Queued", "InstallationFull",
        id="one that was refused, and might be tried again",
    ),
    pytest.param(
        world(job(queued(), suspend=True), queue=behind()), "Pending", "Suspended", id="a queued job, suspended"
    ),
    pytest.param(
        world(job(queued(), cancel=True), queue=behind()), "Cancelled", "Cancelled", id="a queued job, cancelled"
    ),
    pytest.param(world(job(queued()), pod(), now=at(5)), "Pending", "Starting", id="one whose start takes its time"),
    pytest.param(world(job(queued()), pod(agent=running())), "Running", "Running", id="one that was queued, and works"),
    pytest.param(world(job(), pod(agent=running())), "Running", "Running", id="an agent that has started"),
    pytest.param(world(job(suspend=True)), "Pending", "Suspended", id="a suspended job"),
    pytest.param(world(job(SUSPENDED)), "Pending", "Starting", id="a job that is no longer suspended"),
    pytest.param(
        world(job(), pod(agent=NO_IMAGE), now=at(5)), "Pending", "ImagePull", id="a job whose image cannot be had"
    ),
    pytest.param(
        world(job(), unstarted(unschedulable="0/1 nodes"), now=at(5)), "Pending", "Unschedulable",
        id="a job without a node",
    ),
    pytest.param(
        world(job(), pod(workspace=NO_IMAGE, agent=Waiting("PodInitializing")), now=at(5)), "Pending", "ImagePull",
        id="a job whose workspace container cannot start",
    ),
    pytest.param(
        world(job(), pod(agent=Waiting("CreateContainerConfigError", 'secret "s" not found')), now=at(5)),
        "Pending", "ReferenceMissing", id="a job whose Secret is missing",
    ),
    pytest.param(
        world(job(), pod(agent=Waiting("CreateContainerConfigError", "couldn't find key k in Secret")), now=at(5)),
        "Pending", "ReferenceMissing", id="a job whose key is missing",
    ),
    pytest.param(
        world(job(), pod(agent=Waiting("CreateContainerConfigError", "image will run as root")), now=at(5)),
        "Pending", "StartError", id="a job whose image may not run here",
    ),
    pytest.param(
        world(job(stalled("ReferenceMissing", "x")), pod(agent=Waiting("ContainerCreating"))), "Pending", "Starting",
        id="a job whose Secret has appeared",
    ),
    pytest.param(world(job(), refusal=refusal()), "Pending", "PodRefused", id="a job beyond its quota"),
    pytest.param(
        world(job(), pod(uid="old-pod", owner="old-job", deleting=True), now=at(60)), "Pending", "PodRefused",
        id="a job whose name an earlier Pod still has after a minute",
    ),
    pytest.param(world(job(RUNNING), ENDED, now=at(62)), "Succeeded", "Completed", id="an agent with a result"),
    pytest.param(world(job(), ENDED, now=at(62)), "Succeeded", "Completed", id="one that was never seen running"),
    pytest.param(
        world(job(RUNNING), pod(agent=terminated(told(Reason.REFUSED), code=1)), now=at(62)), "Failed", "Refused",
        id="an agent that failed",
    ),
    pytest.param(
        world(job(RUNNING, cancel=True), pod(agent=terminated(code=137), end=Note("DeadlineExceeded", "")), now=at(62)),
        "Cancelled", "Cancelled", id="an agent that was stopped",
    ),
    pytest.param(world(job(RUNNING)), "Pending", "BackOff", id="an agent whose Pod is gone"),
    pytest.param(
        world(job(stalled("ImagePull", "x"))), "Pending", "BackOff", id="one that had stalled, with its Pod"
    ),
    pytest.param(world(job(RUNNING, cancel=True)), "Cancelled", "Cancelled", id="a cancelled job whose Pod is gone"),
    pytest.param(world(job(cancel=True)), "Cancelled", "Cancelled", id="a job cancelled before it had a Pod"),
    pytest.param(world(job(cancel=True, suspend=True)), "Cancelled", "Cancelled", id="a suspended job, cancelled"),
    pytest.param(world(job(cancel=True), pod()), "Cancelled", "Cancelled", id="a job cancelled before its start"),
    pytest.param(world(job(cancel=True), refusal=refusal()), "Cancelled", "Cancelled", id="a refused job, cancelled"),
    pytest.param(
        world(job(), refusal=refusal(for_good=True)), "Failed", "InvalidSpec", id="a spec that no Pod can be made from"
    ),
]  # fmt: skip


def condition(decision: Decision, kind: ConditionType) -> tuple[str, str] | None:
    """Status and reason of a condition in the next status; None when it is not there."""
    assert decision.status is not None
    found = {each.type: each for each in decision.status.conditions}
    return (found[kind].status, found[kind].reason) if kind in found else None


@pytest.mark.parametrize("found", NOTHING)
def test_nothing_is_done_about(found: World) -> None:
    decision = decide(found)

    assert (decision.status, decision.actions) == (None, ())


@pytest.mark.parametrize(("found", "actions"), ACTIONS)
def test_an_action_alone(found: World, actions: list[Action]) -> None:
    decision = decide(found)

    assert list(decision.actions) == actions
    assert decision.status is None


@pytest.mark.parametrize(("found", "phase", "reason"), BECOMES)
def test_a_status_is_written_for(found: World, phase: str, reason: str) -> None:
    decision = decide(found)

    assert decision.status is not None
    assert decision.status.phase == phase
    assert condition(decision, ConditionType.READY) == ("True" if phase == "Succeeded" else "False", reason)


@pytest.mark.parametrize(("found", "phase", "reason"), BECOMES)
def test_a_written_status_is_not_written_again(found: World, phase: str, reason: str) -> None:
    assert found.job is not None
    written = found.job.model_copy(update={"status": decide(found).status})

    again = decide(World(**{**vars(found), "job": written}))

    assert again.status is None
    assert not any(isinstance(action, RecordEvent) for action in again.actions)


@pytest.mark.parametrize(("found", "phase", "reason"), BECOMES)
def test_a_phase_is_only_followed_by_one_that_may_follow(found: World, phase: str, reason: str) -> None:
    assert found.job is not None
    assert Phase(phase) in {found.job.status.phase, *ALLOWED[found.job.status.phase]}


EVERYTHING = [pytest.param(*param.values[:1], id=str(param.id)) for param in (*NOTHING, *ACTIONS, *BECOMES)]


@pytest.mark.parametrize("final", [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED])
@pytest.mark.parametrize("found", EVERYTHING)
def test_a_finished_job_never_changes_its_outcome(found: World, final: Phase) -> None:
    spec = {"spec": (found.job or job()).spec}
    finished = job({**DONE, "phase": final}, meta={"generation": 7}).model_copy(update=spec)

    status = decide(World(**{**vars(found), "job": finished})).status

    kept = {"observed_generation", "conditions"}
    assert status is None or status.model_dump(exclude=kept) == finished.status.model_dump(exclude=kept)


@pytest.mark.parametrize("found", EVERYTHING)
def test_a_job_waits_in_the_queue_exactly_when_room_is_all_it_waits_for(found: World) -> None:
    is_refused = rules.is_refused(found.refusal, found.now)
    waits = found.job is not None and rules.wants_to_start(found.job, found.pods, found.now) and not is_refused

    with_room = decide(World(**{**vars(found), "queue": ROOM}))
    without = decide(World(**{**vars(found), "queue": behind()}))

    assert any(isinstance(action, CreatePod) for action in with_room.actions) == waits
    assert not any(isinstance(action, CreatePod) for action in without.actions)
    assert (without.look_again == found.now + timedelta(seconds=10)) or not waits


@pytest.mark.parametrize("found", EVERYTHING)
def test_no_pod_is_touched_that_no_agent_job_controls_or_that_is_leaving_a_node_that_may_answer(found: World) -> None:
    for action in decide(found).actions:
        if isinstance(action, DeletePod | DeleteOrphan | StopPod):
            assert action.pod in found.pods
            assert not action.pod.deleting or rules.is_lost(action.pod, found.now)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        pytest.param(world(job(), pod(agent=NO_IMAGE), now=at(5)), ["ImagePull"], id="a job that stalls"),
        pytest.param(
            world(job(stalled("ImagePull", "x")), pod(agent=Waiting("RunContainerError")), now=at(9)), ["StartError"],
            id="a job that stalls for another reason",
        ),
        pytest.param(
            world(
                job(stalled("ImagePull", "x"), backoffLimit=0), pod(phase="Failed", end=Note("DeadlineExceeded", "")),
                now=at(9),
            ),
            ["ImagePull"], id="a stalled job that fails",
        ),
        pytest.param(
            world(job(RUNNING), pod(agent=terminated(told(Reason.REFUSED), code=1)), now=at(62)), ["Refused"],
            id="a job that fails",
        ),
        pytest.param(world(job(RUNNING)), [], id="not a job that is tried again"),
        pytest.param(world(job(RUNNING), ENDED, now=at(62)), [], id="not a job that succeeds"),
        pytest.param(world(job(cancel=True)), [], id="not a job that is cancelled"),
        pytest.param(world(job(), pod(agent=running())), [], id="not a job that starts"),
        pytest.param(world(job(stalled("ImagePull", "x")), pod(agent=running())), [], id="not one that starts at last"),
    ],
)  # fmt: skip
def test_a_warning_is_recorded_for(found: World, reasons: list[str]) -> None:
    events = [action for action in decide(found).actions if isinstance(action, RecordEvent)]

    assert [event.reason for event in events] == reasons


def test_an_image_that_cannot_be_pulled_keeps_its_first_message() -> None:
    backing_off = pod(agent=Waiting("ImagePullBackOff", "Back-off pulling image"))

    assert decide(world(job(stalled("ImagePull", "no such image: r:1")), backing_off, now=at(60))).status is None


def test_a_missing_reference_shows_what_is_missing_now() -> None:
    now_missing = pod(agent=Waiting("CreateContainerConfigError", 'configmap "c" not found'))

    status = decide(world(job(stalled("ReferenceMissing", 'secret "s" not found')), now_missing, now=at(60))).status

    assert status is not None
    assert {each.message for each in status.conditions} == {'configmap "c" not found'}


def test_a_resumed_job_gets_its_pod_with_the_same_decision() -> None:
    assert decide(world(job(SUSPENDED))).actions == (CreatePod(1),)


def test_the_whole_answer_is_used_once_it_was_read() -> None:
    cut = pod(agent=terminated(told(text="All", truncated=True)))

    status = decide(world(job(RUNNING), cut, now=at(62), read={cut.uid: told(text="All of it")})).status

    assert status is not None
    assert status.result is not None
    assert (status.result.text, status.result.truncated) == ("All of it", False)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        pytest.param({"read": {"pod-uid": None}}, 62, id="the log does not hold it"),
        pytest.param({}, 61 + 60, id="the log could not be read for a minute"),
    ],
)
def test_the_cut_answer_has_to_do_when(fields: dict[str, Any], seconds: float) -> None:
    cut = pod(agent=terminated(told(text="All", truncated=True)))

    status = decide(world(job(RUNNING), cut, now=at(seconds), **fields)).status

    assert status is not None
    assert status.result is not None
    assert (status.result.text, status.result.truncated) == ("All", True)


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        pytest.param(world(job(), pod()), STALLED_AFTER.total_seconds(), id="a Pod that may turn out to be stalled"),
        pytest.param(world(job(activeDeadlineSeconds=600), pod(), now=at(6)), 600 + 600, id="a Pod that may be late"),
        pytest.param(world(job(activeDeadlineSeconds=600), unstarted(), now=at(6)), 600, id="a Pod without a node"),
        pytest.param(
            world(job(RUNNING, cancel=True), pod(agent=running(), stop_asked=at(10)), now=at(10)), 70,
            id="an agent that may not stop",
        ),
        pytest.param(world(job(RUNNING), pod(agent=terminated(code=137)), now=at(62)), 66, id="a killed agent"),
        pytest.param(world(job(), refusal=refusal(when=2)), 32, id="a refused Pod"),
        pytest.param(world(job(), pod(owner="old", deleting=True)), 60, id="a name that is not free yet"),
        pytest.param(world(job(DONE), ENDED, now=at(70)), 61 + 600, id="a finished Pod"),
        pytest.param(
            world(job(DONE), ENDED, now=at(70), keeping=ARCHIVING), 61 + 600 + 3_600, id="a Pod that is to be archived"
        ),
        pytest.param(world(job(ARCHIVED), ENDED, now=at(70), keeping=ARCHIVING), 61 + 600, id="an archived Pod"),
        pytest.param(world(job(DONE, ttlSecondsAfterFinished=99), now=at(70)), 61 + 99, id="a finished job"),
        pytest.param(world(job(), queue=behind(7)), 2 + 10, id="a job near the head of the queue"),
        pytest.param(world(job(), queue=behind(1_000)), 2 + 100, id="a job in the middle of the queue"),
        pytest.param(world(job(), queue=behind(10_000)), 2 + 300, id="a job near the end of the queue"),
        pytest.param(world(job(RUNNING), lost(), now=at(430)), 490, id="an agent whose node may be lost"),
        pytest.param(world(None, lost(), now=at(430)), 490, id="a Pod of a deleted job whose node may be lost"),
        pytest.param(world(job(suspend=True)), None, id="not a suspended job"),
        pytest.param(world(None), None, id="not a job that is gone"),
    ],
)  # fmt: skip
def test_it_is_looked_at_again(found: World, seconds: float | None) -> None:
    assert decide(found).look_again == (at(seconds) if seconds is not None else None)


def test_a_finished_job_takes_note_of_a_new_generation() -> None:
    status = decide(world(job(DONE, meta={"generation": 2}), now=at(70))).status

    assert status is not None
    assert status.observed_generation == 2
