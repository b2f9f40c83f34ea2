"""How an attempt ended, by what its runner, the kubelet and the cluster say: one row for every way."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agentjob_api.job import AgentJob
from agentjob_api.reasons import Reason
from agentjob_operator.outcome import ending
from agentjob_operator.pod import Note, PodView, Terminated, Waiting
from worlds import at, job, lost, pod, running, stalled, terminated, told

STOPPED = told(Reason.CANCELLED, stopped=True, message="stopped before the agent had ended")
KILLED = terminated(code=137)
JOB = job(activeDeadlineSeconds=600)
CANCEL = job(cancel=True)
SOON = at(62)
"""A moment after the agent's end, when the Pod's status may still be on its way."""


def over(**fields: object) -> PodView:
    """A Pod whose phase has followed its container."""
    return pod(phase="Failed", **fields)


def evicted(message: str) -> Note:
    return Note("Evicted", message)


def disrupted(reason: str) -> Note:
    return Note(reason, "as the cluster says")


BY_ITSELF = [
    pytest.param(pod(agent=terminated(told())), JOB, Reason.COMPLETED, "left a result", id="a result is completion"),
    pytest.param(
        pod(agent=terminated(told(Reason.MAX_TURNS, message="10 turns"), code=1)), JOB, Reason.MAX_TURNS, "10 turns",
        id="an agent that failed says why itself",
    ),
    pytest.param(
        pod(agent=terminated(told()), deleting=True), CANCEL, Reason.COMPLETED, "",
        id="an agent that was done before it was stopped has completed",
    ),
    pytest.param(
        pod(agent=terminated(told(stopped=True)), stop_asked=at(60)), CANCEL, Reason.COMPLETED, "",
        id="and so has one that could give its answer while it was stopped",
    ),
    pytest.param(
        pod(agent=terminated(told(), reason="OOMKilled")), JOB, Reason.COMPLETED, "",
        id="a result counts though a tool was killed for its memory",
    ),
    pytest.param(
        pod(agent=terminated(told(Reason.AGENT_ERROR), code=137, reason="OOMKilled")), JOB, Reason.OUT_OF_MEMORY,
        "agent was killed at its memory limit", id="an agent killed for its memory is out of memory",
    ),
    pytest.param(
        pod(agent=terminated(code=137, reason="OOMKilled")), JOB, Reason.OUT_OF_MEMORY, "memory limit",
        id="a runner killed for its memory is out of memory",
    ),
    pytest.param(
        pod(agent=terminated(code=1)), JOB, Reason.RUNNER_LOST, "exited with code 1 and left no outcome",
        id="a runner that exits without an outcome is lost",
    ),
    pytest.param(
        pod(agent=terminated(code=0, message="not an outcome")), JOB, Reason.RUNNER_LOST, "code 0",
        id="also with exit code 0 and words of its own",
    ),
    pytest.param(
        pod(agent=terminated(code=128, reason="StartError", message='exec: "python": not found')), JOB,
        Reason.START_ERROR, 'exec: "python": not found', id="an image without the runner cannot start",
    ),
    pytest.param(
        pod(workspace=terminated(code=128, message="fatal: repository not found\n")), JOB, Reason.WORKSPACE_ERROR,
        "fatal: repository not found", id="a repository that cannot be cloned, in git's words",
    ),
    pytest.param(
        pod(workspace=terminated(code=2)), JOB, Reason.WORKSPACE_ERROR, "exited with code 2",
        id="a workspace that fails without a word",
    ),
    pytest.param(
        pod(workspace=terminated(code=137, reason="OOMKilled")), JOB, Reason.OUT_OF_MEMORY, "container workspace",
        id="a clone that is killed for its memory",
    ),
]  # fmt: skip
TAKEN_AWAY = [
    pytest.param(STOPPED, pod(), CANCEL, Reason.CANCELLED, "spec.cancel", id="a job that is cancelled"),
    pytest.param(None, pod(), CANCEL, Reason.CANCELLED, "spec.cancel", id="a cancelled job whose runner is killed"),
    pytest.param(
        STOPPED, over(end=Note("DeadlineExceeded", "")), JOB, Reason.DEADLINE_EXCEEDED, "600 s", id="the deadline"
    ),
    pytest.param(
        STOPPED, over(end=Note("DeadlineExceeded", ""), stop_asked=at(30)), JOB, Reason.SUSPENDED, "spec.suspend",
        id="a job that is suspended, or was",
    ),
    pytest.param(
        None, pod(stop_asked=at(30)), JOB, Reason.SUSPENDED, "spec.suspend", id="a suspended one whose runner is killed"
    ),
    pytest.param(
        STOPPED, pod(stop_asked=at(30)), CANCEL, Reason.CANCELLED, "spec.cancel", id="one that was cancelled meanwhile"
    ),
    pytest.param(
        STOPPED, over(end=evicted('Usage of EmptyDir volume "workspace" exceeds the limit "5Gi".')), JOB,
        Reason.OUT_OF_DISK, '"workspace"', id="a workspace that grew too large",
    ),
    pytest.param(
        None, over(end=evicted("Pod ephemeral local storage usage exceeds the total limit of containers 10Gi.")), JOB,
        Reason.OUT_OF_DISK, "10Gi", id="a Pod that grew too large",
    ),
    pytest.param(
        STOPPED, over(end=evicted("The node was low on resource: memory.")), JOB, Reason.EVICTED, "low on resource",
        id="a node that is short of memory",
    ),
    pytest.param(STOPPED, over(end=Note("Terminated", "shutdown")), JOB, Reason.NODE_LOST, "shutdown",
                 id="a node that shuts down"),
    pytest.param(STOPPED, over(end=Note("Preempting", "critical")), JOB, Reason.PREEMPTED, "critical",
                 id="a kubelet that makes room for a critical Pod"),
    pytest.param(
        STOPPED, pod(deleting=True, disruption=disrupted("PreemptionByScheduler")), JOB, Reason.PREEMPTED,
        "as the cluster says", id="a Pod of higher priority",
    ),
    pytest.param(
        STOPPED, pod(deleting=True, disruption=disrupted("EvictionByEvictionAPI")), JOB, Reason.EVICTED,
        "as the cluster says", id="a node that is drained",
    ),
    pytest.param(
        None, pod(deleting=True, disruption=disrupted("DeletionByTaintManager")), JOB, Reason.NODE_LOST,
        "as the cluster says", id="a node that does not answer",
    ),
    pytest.param(STOPPED, pod(deleting=True), JOB, Reason.NODE_LOST, "fix-1 was deleted", id="a Pod that is deleted"),
]  # fmt: skip
UNSTARTED = [
    pytest.param(over(end=Note("DeadlineExceeded", "")), JOB, Reason.DEADLINE_EXCEEDED, id="the deadline"),
    pytest.param(
        over(end=Note("DeadlineExceeded", ""), agent=Waiting("ImagePullBackOff")),
        job(stalled("ImagePull", "no such image")), Reason.IMAGE_PULL, id="the deadline, waiting for an image",
    ),
    pytest.param(
        over(end=Note("DeadlineExceeded", "")), job(stalled("ReferenceMissing", 'secret "x" not found')),
        Reason.START_ERROR, id="the deadline, waiting for a Secret",
    ),
    pytest.param(
        over(end=Note("DeadlineExceeded", "")), job(stalled("WordOfANewerVersion", "")), Reason.START_ERROR,
        id="the deadline, waiting for what a newer operator knew",
    ),
    pytest.param(over(end=Note("OutOfcpu", "full")), JOB, Reason.UNSCHEDULABLE, id="a kubelet that does not admit it"),
    pytest.param(over(end=evicted("The node was low on resource: memory.")), JOB, Reason.EVICTED, id="an eviction"),
    pytest.param(over(), JOB, Reason.RUNNER_LOST, id="no word of it"),
    pytest.param(over(), CANCEL, Reason.CANCELLED, id="a cancel"),
    pytest.param(over(stop_asked=at(30)), JOB, Reason.SUSPENDED, id="a stop"),
]  # fmt: skip
WAITING_STILL = [
    pytest.param(pod(), JOB, at(2), id="nothing is known of its container"),
    pytest.param(pod(agent=running()), JOB, at(500), id="its agent works"),
    pytest.param(pod(agent=running()), JOB, at(700), id="its deadline is past, which its kubelet will see to"),
    pytest.param(pod(agent=running(), stop_asked=at(10)), CANCEL, at(60), id="its agent was told to stop"),
    pytest.param(lost(), job(), at(489), id="its node does not answer, but may still stop it"),
    pytest.param(
        lost(disruption=disrupted("EvictionByEvictionAPI")), job(), at(1_700), id="it was told to go, and does not"
    ),
    pytest.param(pod(node=None, started=None), JOB, at(599), id="no node has taken it"),
    pytest.param(pod(agent=running(), started=at(-300)), JOB, at(1190), id="its kubelet's clock is five minutes late"),
    pytest.param(pod(agent=terminated(code=137, end=600)), JOB, at(601), id="it was killed at its deadline, by whom"),
    pytest.param(pod(agent=KILLED), JOB, SOON, id="its agent was killed, and why is not told yet"),
    pytest.param(pod(agent=terminated(STOPPED)), JOB, SOON, id="its agent was stopped, and why is not told yet"),
    pytest.param(pod(workspace=replace(KILLED, message="git")), JOB, SOON, id="its clone was killed, by whom is open"),
]


def check(found_in: PodView, of: AgentJob, now: datetime, reason: Reason, message: str = "") -> None:
    found = ending(found_in, of, now)

    assert found is not None
    assert found.cause.reason is reason
    assert message in found.cause.message


@pytest.mark.parametrize(("found_in", "of", "reason", "message"), BY_ITSELF)
def test_an_attempt_that_ended_by_itself(found_in: PodView, of: AgentJob, reason: Reason, message: str) -> None:
    check(found_in, of, SOON, reason, message)


@pytest.mark.parametrize(("outcome", "found_in", "of", "reason", "message"), TAKEN_AWAY)
def test_an_attempt_that_was_ended(
    outcome: object, found_in: PodView, of: AgentJob, reason: Reason, message: str
) -> None:
    agent = terminated(STOPPED) if outcome is STOPPED else KILLED
    check(replace(found_in, agent=agent), of, SOON, reason, message)


@pytest.mark.parametrize(("found_in", "of", "reason"), UNSTARTED)
def test_a_pod_that_is_over_without_its_agent_having_ended(found_in: PodView, of: AgentJob, reason: Reason) -> None:
    check(found_in, of, SOON, reason)


@pytest.mark.parametrize(("found_in", "of", "now"), WAITING_STILL)
def test_an_attempt_that_has_not_ended(found_in: PodView, of: AgentJob, now: datetime) -> None:
    assert ending(found_in, of, now) is None


@pytest.mark.parametrize(
    ("agent", "reason", "message"),
    [
        pytest.param(KILLED, Reason.RUNNER_LOST, "code 137 (signal 9)", id="a killed runner is lost"),
        pytest.param(terminated(STOPPED), Reason.RUNNER_LOST, "neither the job nor the", id="a stopped one too"),
        pytest.param(
            terminated(told(Reason.RATE_LIMITED, stopped=True, message="429")), Reason.RATE_LIMITED, "429",
            id="but not one that had failed before",
        ),
        pytest.param(
            terminated(code=137, end=600), Reason.DEADLINE_EXCEEDED, "600 s",
            id="nor one that was killed at its deadline",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("settled", ["the Pod is over", "five seconds have passed"])
def test_when_nobody_says_who_killed_it(agent: Terminated, reason: Reason, message: str, settled: str) -> None:
    if settled == "the Pod is over":
        check(over(agent=agent), JOB, agent.finished, reason, message)
    else:
        check(pod(agent=agent), JOB, agent.finished + timedelta(seconds=5), reason, message)


@pytest.mark.parametrize(
    ("found_in", "of", "now", "reason", "message"),
    [
        pytest.param(
            pod(node=None, started=None, unschedulable="0/1 nodes are available"), JOB, at(600), Reason.UNSCHEDULABLE,
            "0/1 nodes are available", id="no node at the deadline",
        ),
        pytest.param(
            pod(node=None, started=None, seen=at(300)), JOB, at(900), Reason.UNSCHEDULABLE,
            "No node took the Pod within 600 s", id="none for as long as its deadline is from when it was seen",
        ),
        pytest.param(
            pod(node=None, started=None, seen=at(9_000)), JOB, at(1_200), Reason.UNSCHEDULABLE,
            "No node took the Pod within 600 s", id="none by then, though an operator has started long afterwards",
        ),
        pytest.param(
            pod(node=None, started=None), JOB, at(600), Reason.UNSCHEDULABLE, "No node took the Pod within 600 s",
            id="no scheduler either",
        ),
        pytest.param(
            pod(agent=running()), JOB, at(1201), Reason.NODE_LOST, "node-1 has not ended the Pod",
            id="a kubelet that does not keep the deadline",
        ),
        pytest.param(
            pod(agent=Waiting("ImagePullBackOff")), job(stalled("ImagePull", "none"), activeDeadlineSeconds=600),
            at(1201), Reason.IMAGE_PULL, "none", id="the same, waiting for an image",
        ),
        pytest.param(
            pod(agent=running()), job(stalled("ImagePull", "none"), activeDeadlineSeconds=600), at(1201),
            Reason.NODE_LOST, "node-1 has not ended the Pod", id="but not when the image came at last",
        ),
        pytest.param(
            pod(agent=running(), stop_asked=at(10)), CANCEL, at(70), Reason.CANCELLED, "has not stopped the agent",
            id="a kubelet that does not stop the agent",
        ),
        pytest.param(
            pod(agent=running(), stop_asked=at(10)), JOB, at(70), Reason.SUSPENDED, "has not stopped the agent",
            id="also of a job that was suspended",
        ),
        pytest.param(
            lost(), job(), at(490), Reason.NODE_LOST,
            "Node node-1 does not answer. Should it be cut off only, the agent may work on until 2026-11-22T10:30:00Z.",
            id="a node that is lost",
        ),
        pytest.param(
            lost(agent=None), job(), at(490), Reason.NODE_LOST, "does not answer", id="also before the agent started"
        ),
        pytest.param(
            lost(), CANCEL, at(490), Reason.CANCELLED, "does not answer", id="also of a job that was cancelled since"
        ),
    ],
)  # fmt: skip
def test_a_pod_is_not_waited_for_for_ever(
    found_in: PodView, of: AgentJob, now: datetime, reason: Reason, message: str
) -> None:
    check(found_in, of, now, reason, message)


def test_an_ending_has_the_facts_of_the_container() -> None:
    found = ending(pod(agent=terminated(told(), code=0)), JOB, SOON)

    assert found is not None
    assert (found.started, found.finished, found.exit_code, found.told) == (at(1), at(61), 0, told())


@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.EVICTED, Reason.NODE_LOST, Reason.PREEMPTED])
def test_an_agent_cannot_say_that_its_attempt_does_not_count(reason: Reason) -> None:
    found = ending(pod(agent=terminated(told(reason), code=1)), JOB, SOON)

    assert found is not None
    assert (found.cause.reason, found.told) == (Reason.RUNNER_LOST, None)


def test_the_words_of_the_workspace_are_not_taken_for_an_outcome() -> None:
    found = ending(pod(workspace=terminated(told(), code=1)), JOB, SOON)

    assert found is not None
    assert found.cause.reason is Reason.WORKSPACE_ERROR
    assert found.told is None
    assert (found.started, found.exit_code) == (None, None)
