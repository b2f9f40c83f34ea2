"""What is kept of a runner Pod: the little that decisions depend on, without its spec and its handover."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentjob_api import names

STOP_ANNOTATION = f"{names.GROUP}/stop-asked"
"""On a runner Pod whose agent was told to stop: when. It outlives an operator that does not."""


TAINTED = "DeletionByTaintManager"
"""Reason of the condition DisruptionTarget of a Pod whose node has a taint that it does not bear, or not any longer:
mostly because its kubelet is not heard of, or says that it is not well."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container that does not run yet, and why in the kubelet's words."""

    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs."""

    started: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """A container that has ended. `message` is its termination message."""

    exit_code: int
    reason: str
    message: str
    started: datetime | None
    finished: datetime


ContainerState = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class Note:
    """A reason in one word and a message, as Kubernetes gives them."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """One Pod that carries the label of a job."""

    namespace: str
    name: str
    uid: str
    version: int
    job: str
    """Name of the job. This and the attempt are told by the Pod's name, which stays: labels may be changed."""
    owner: str | None
    """uid of the AgentJob that controls it; None for a Pod that is not ours to touch: it has no such owner, or not the
    label by which Pods are watched, or not the name of one."""
    attempt: int
    created: datetime
    seen: datetime | None = None
    """When it was first looked at, by the operator's own clock."""
    seen_ended: datetime | None = None
    """The same since its attempt has ended."""
    deleting: bool = False
    gone_by: datetime | None = None
    """When a Pod that is being deleted has had its time of grace; None where it was given none."""
    stop_asked: datetime | None = None
    node: str | None = None
    unschedulable: str | None = None
    """The scheduler's words when it found no node."""
    started: datetime | None = None
    """When a kubelet took it; its deadline counts from here."""
    phase: str = "Pending"
    end: Note | None = None
    """Why the Pod as a whole ended, where Kubernetes says so: Evicted, DeadlineExceeded…"""
    disruption: Note | None = None
    """Who in the cluster is taking it away."""
    agent: ContainerState | None = None
    workspace: ContainerState | None = None

    @property
    def key(self) -> names.Key:
        """Namespace and name."""
        return names.Key(self.namespace, self.name)

    @property
    def about(self) -> dict[str, str | int]:
        """What a log line says of whose it is."""
        return {"namespace": self.namespace, "job": self.job, "attempt": self.attempt}

    @property
    def is_over(self) -> bool:
        """Whether nothing in it will ever run again."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def workspace_failed(self) -> bool:
        """Whether its workspace could not be laid out, so that the agent will not start."""
        return isinstance(self.workspace, Terminated) and self.workspace.exit_code != 0

    @property
    def agent_started(self) -> datetime | None:
        """When its agent started; None when it has not, or never did."""
        return None if self.agent is None or isinstance(self.agent, Waiting) else self.agent.started

    @property
    def has_ended(self) -> bool:
        """Whether its attempt has ended. The Pod's phase says so more than a second later."""
        return self.is_over or self.workspace_failed or isinstance(self.agent, Terminated)


def view(pod: dict[str, Any]) -> PodView:
    """The view of a Pod as the API server sends it."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    job, attempt = names.of_pod(meta["name"])
    is_ours = attempt > 0 and names.LABEL_JOB in (meta.get("labels") or {})
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    created = datetime.fromisoformat(meta["creationTimestamp"])
    scheduled, disrupted = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        job=job,
        owner=_owner(meta) if is_ours else None,
        attempt=attempt,
        created=created,
        deleting="deletionTimestamp" in meta,
        gone_by=_time(meta.get("deletionTimestamp")) if meta.get("deletionGracePeriodSeconds") else None,
        stop_asked=_time((meta.get("annotations") or {}).get(STOP_ANNOTATION)),
        node=spec.get("nodeName"),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        started=_time(status.get("startTime")),
        phase=status.get("phase", "Pending"),
        end=_note(status) if status.get("reason") else None,
        disruption=_note(disrupted) if disrupted.get("status") == "True" else None,
        agent=_state(status.get("containerStatuses"), names.AGENT_CONTAINER, created),
        workspace=_state(status.get("initContainerStatuses"), names.WORKSPACE_CONTAINER, created),
    )


def _owner(meta: dict[str, Any]) -> str | None:
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == names.KIND and owner["apiVersion"].startswith(names.GROUP):
            return str(owner["uid"])
    return None


def _state(containers: list[dict[str, Any]] | None, name: str, created: datetime) -> ContainerState | None:
    """The state of one container; None when the kubelet has not said anything about it, or lost sight of it.

    Where a kubelet leaves a time out, the Pod's creation stands in for it.
    """
    state: dict[str, Any] = next((item["state"] for item in containers or () if item["name"] == name), {})
    if found := state.get("terminated"):
        # Made up by a kubelet that finds no trace of the container: it says nothing about the agent.
        return None if found.get("reason") == "ContainerStatusUnknown" else _terminated(found, created)
    if found := state.get("running"):
        return Running(_time(found.get("startedAt")) or created)
    if (found := state.get("waiting")) is not None:
        return Waiting(found.get("reason", ""), found.get("message", ""))
    return None


def _terminated(state: dict[str, Any], created: datetime) -> Terminated:
    return Terminated(
        exit_code=state["exitCode"],
        reason=state.get("reason", ""),
        message=state.get("message", ""),
        started=_time(state.get("startedAt")),
        finished=_time(state.get("finishedAt")) or created,
    )


def _note(source: dict[str, Any]) -> Note:
    return Note(source.get("reason", ""), source.get("message", ""))


def _time(text: str | None) -> datetime | None:
    """A time; None where there is none. A container that could not be started has "started" in 1970.

    Anybody may write an annotation: what is no time with a time zone is none.
    """
    try:
        time = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None and time.timestamp() > 0 else None
