"""How an attempt ended: from what its runner left behind, and what the kubelet and the cluster say of its Pod."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from agentjob_api import lines
from agentjob_api.job import AgentJob
from agentjob_api.outcome import Outcome, from_line, from_termination_message
from agentjob_api.reasons import Reason, RetryClass
from agentjob_operator import rules
from agentjob_operator.pod import TAINTED, Note, PodView, Terminated

_OTHERS_TO_SAY = {Reason.SUSPENDED, *(each for each in Reason if each.retry_class is RetryClass.FREE)}
"""Ends that the operator or the cluster brought about: none of them counts against `spec.backoffLimit`."""
SIGNALS = 128
"""An exit code beyond this is a signal's number plus this."""


@dataclass(frozen=True)
class Cause:
    """Why, in one word and in a sentence."""

    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    cause: Cause
    told: Outcome | None = None
    """What the runner itself said."""
    exit_code: int | None = None
    started: datetime | None = None
    finished: datetime


def from_log(tail: bytes) -> Outcome | None:
    """What the runner itself said in the last lines of its log; None where none of them is that."""
    parsed = (lines.parse(line) for line in reversed(tail.split(b"\n")))
    found = (from_line(line.message) for line in parsed if line is not None)
    return next((each for each in found if each is not None), None)


def ending(pod: PodView, job: AgentJob, now: datetime) -> Ending | None:
    """How the Pod's attempt ended; None when it has not, or when why it was killed is not known yet."""
    last = pod.workspace if pod.workspace_failed else pod.agent
    end = last if isinstance(last, Terminated) else None
    told = _told(end) if end is not None and end is pod.agent else None
    cause = _cause(pod, job, end, told, now)
    if cause is None:
        return None
    return Ending(
        cause=cause,
        told=told,
        exit_code=end.exit_code if end is not None and end is pod.agent else None,
        started=pod.agent_started,
        finished=end.finished if end else now,
    )


def _told(end: Terminated) -> Outcome | None:
    """What a container said of its end, unless it said what is not its to say: an agent may write there as well."""
    told = from_termination_message(end.message)
    return None if told is not None and told.reason in _OTHERS_TO_SAY else told


def _cause(pod: PodView, job: AgentJob, end: Terminated | None, told: Outcome | None, now: datetime) -> Cause | None:
    if end is None:
        return _unstarted(pod, job) if pod.is_over else _given_up(pod, job, now)
    if told is not None and told.reason is Reason.COMPLETED:
        return Cause(told.reason, "The agent has finished and left a result.")
    if end.reason == "OOMKilled":
        return Cause(Reason.OUT_OF_MEMORY, f"The container {_which(pod, end)} was killed at its memory limit.")
    if end.reason in {"StartError", "ContainerCannotRun"}:
        return Cause(Reason.START_ERROR, end.message)
    own = _own_end(pod, end, told)
    ended_by_itself = not told.stopped if told is not None else end.exit_code <= SIGNALS
    if ended_by_itself:
        return own
    return _killed(pod, job, end, now) or (own if _settled(pod, end, now) else None)


def _which(pod: PodView, end: Terminated) -> str:
    return "workspace" if end is pod.workspace else "agent"


def _own_end(pod: PodView, end: Terminated, told: Outcome | None) -> Cause:
    """What the container's end means by itself."""
    if told is not None and told.reason is not Reason.CANCELLED:
        return Cause(told.reason, told.message)
    if told is not None:
        return Cause(Reason.RUNNER_LOST, "The runner was told to stop; neither the job nor the cluster says why.")
    if end is pod.workspace:
        return Cause(Reason.WORKSPACE_ERROR, end.message.strip() or f"It exited with code {end.exit_code}.")
    signal = f" (signal {end.exit_code - SIGNALS})" if end.exit_code > SIGNALS else ""
    return Cause(Reason.RUNNER_LOST, f"The runner exited with code {end.exit_code}{signal} and left no outcome.")


def _settled(pod: PodView, end: Terminated, now: datetime) -> bool:
    """Whether the Pod's status has had its time to say why a container was killed."""
    return pod.is_over or now >= rules.heard_of(pod, end.finished) + rules.SETTLED_AFTER


def _killed(pod: PodView, job: AgentJob, end: Terminated, now: datetime) -> Cause | None:
    """Who killed a container that did not end by itself."""
    if found := _asked_for(pod, job) or by_the_cluster(pod, job):
        return found
    limit = timedelta(seconds=job.spec.active_deadline_seconds)
    if _settled(pod, end, now) and pod.started is not None and end.finished >= pod.started + limit:
        return _deadline_exceeded(job)
    return None


def _asked_for(pod: PodView, job: AgentJob) -> Cause | None:
    """Why its agent was told to stop, if it was; also where the job was suspended, and is not any more."""
    if job.spec.cancel:
        return Cause(Reason.CANCELLED, "spec.cancel was set.")
    if pod.stop_asked is not None:
        return Cause(Reason.SUSPENDED, "spec.suspend was set.")
    return None


def _unstarted(pod: PodView, job: AgentJob) -> Cause:
    """Why a Pod is over in which the agent was never seen to end."""
    found = _asked_for(pod, job) or by_the_cluster(pod, job)
    if found is None:
        return Cause(Reason.RUNNER_LOST, f"Pod {pod.name} is {pod.phase}, and nothing is known of its container.")
    waited = rules.last_stall(job.status)
    if found.reason is Reason.DEADLINE_EXCEEDED and waited is not None:
        return Cause(waited.failure, waited.message)
    return found


def _given_up(pod: PodView, job: AgentJob, now: datetime) -> Cause | None:
    """Why a Pod that has not ended is not waited for any longer; None when it still is."""
    asked = _asked_for(pod, job)
    if asked is not None and pod.stop_asked is not None and now - pod.stop_asked >= rules.STOPPED_AFTER:
        return Cause(asked.reason, f"{asked.message} Node {pod.node} has not stopped the agent since.")
    if rules.is_lost(pod, now):
        until = rules.own_deadline(pod, job).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = f"Node {pod.node} does not answer. Should it be cut off only, the agent may work on until {until}."
        return Cause(asked.reason if asked is not None else Reason.NODE_LOST, message)
    if now < rules.deadline(pod, job):
        return None
    if pod.node is None:
        seconds = job.spec.active_deadline_seconds
        return Cause(Reason.UNSCHEDULABLE, pod.unschedulable or f"No node took the Pod within {seconds} s.")
    if (waited := rules.last_stall(job.status)) and pod.agent_started is None:
        return Cause(waited.failure, waited.message)
    return Cause(Reason.NODE_LOST, f"Node {pod.node} has not ended the Pod at its deadline.")


_POD_ENDS: dict[str, Reason] = {
    "Evicted": Reason.EVICTED,
    "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.NODE_LOST,
    "Shutdown": Reason.NODE_LOST,
    "Terminated": Reason.NODE_LOST,
    "Preempting": Reason.PREEMPTED,
    "NodeAffinity": Reason.UNSCHEDULABLE,
    "OutOfcpu": Reason.UNSCHEDULABLE,
    "OutOfmemory": Reason.UNSCHEDULABLE,
    "OutOfpods": Reason.UNSCHEDULABLE,
    "OutOfephemeral-storage": Reason.UNSCHEDULABLE,
    "UnexpectedAdmissionError": Reason.UNSCHEDULABLE,
}
"""`status.reason` of a Pod that a kubelet ended, or would not start; "Terminated" is a node that shuts down."""
_DISRUPTIONS: dict[str, Reason] = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    TAINTED: Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}
"""Reasons of the condition DisruptionTarget."""
_OWN_LIMITS = ("Usage of EmptyDir volume", "Pod ephemeral local storage usage exceeds", "Container ")
"""How a kubelet's message begins when a Pod outgrew its own limits; else it is the node that was short."""


def by_the_cluster(pod: PodView, job: AgentJob) -> Cause | None:
    """Why Kubernetes, or somebody through it, ended a Pod; None when it does not say."""
    if pod.end is not None and pod.end.reason == "DeadlineExceeded":
        return _deadline_exceeded(job)
    if pod.end is not None and pod.end.reason in _POD_ENDS:
        return Cause(_eviction(pod.end), pod.end.message)
    if pod.disruption is not None and pod.disruption.reason in _DISRUPTIONS:
        return Cause(_DISRUPTIONS[pod.disruption.reason], pod.disruption.message)
    if pod.deleting:
        return Cause(Reason.NODE_LOST, f"Pod {pod.name} was deleted while the agent worked.")
    return None


def _eviction(end: Note) -> Reason:
    own = end.reason == "Evicted" and end.message.startswith(_OWN_LIMITS)
    return Reason.OUT_OF_DISK if own else _POD_ENDS[end.reason]


def _deadline_exceeded(job: AgentJob) -> Cause:
    seconds = job.spec.active_deadline_seconds
    return Cause(Reason.DEADLINE_EXCEEDED, f"The attempt ran for spec.activeDeadlineSeconds, {seconds} s.")
