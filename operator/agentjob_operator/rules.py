"""The small rules that decisions are made of: what a Pod waits for, and when to look at it again."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from agentjob_api.job import AgentJob
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason
from agentjob_api.status import AgentJobStatus, ConditionType, QueueStatus, Standing
from agentjob_operator import attempts
from agentjob_operator.conditions import find
from agentjob_operator.pod import TAINTED, PodView, Terminated, Waiting
from agentjob_operator.world import Keeping, Refusal

GRACE: Final = timedelta(seconds=30)
"""From SIGTERM to SIGKILL: the Pod's terminationGracePeriodSeconds."""
STALLED_AFTER: Final = timedelta(seconds=5)
"""A Pod that waits no longer than this from its creation is not spoken of: most such waits pass by themselves."""
SETTLED_AFTER: Final = timedelta(seconds=5)
"""From a container's end until the Pod's status says why it was killed; the kubelet takes about 1.2 s."""
STOPPED_AFTER: Final = GRACE + timedelta(seconds=30)
"""From asking an agent to stop until its Pod is taken for one whose kubelet no longer listens."""
OVERDUE_AFTER: Final = timedelta(minutes=10)
"""From the deadline, which the kubelet itself keeps, until its Pod is taken for one whose kubelet no longer listens.
Longer than clocks are apart."""
FORCED_AFTER: Final = timedelta(seconds=60)
"""From the end of a Pod's grace until it is deleted by force, where its node does not answer."""
READ_WITHIN: Final = timedelta(seconds=60)
"""From an agent's end: how long its log is asked for; then the cut text of the termination message has to do."""
ARCHIVED_WITHIN: Final = timedelta(hours=1)
"""From the end of a Pod's time to live: how long it is kept for its log to be archived. Then something is wrong with
the archive, and it must not fill the cluster with Pods."""
SOONEST_TRY: Final = timedelta(seconds=30)
LATEST_TRY: Final = timedelta(minutes=5)
"""From a refusal of the API server until the Pod is tried again, at least and at most."""
TRIES_A_SECOND: Final = 10
"""Of all Pods of a namespace that are refused, within these bounds: what they are refused for is mostly the same, and
so many find its end soon enough."""
PLACES_A_SECOND: Final = 10.0
SOONEST_LOOK: Final = timedelta(seconds=10)
LATEST_LOOK: Final = timedelta(minutes=5)
"""How often a job looks where it stands in the queue: one tenth of a second for each place, within these bounds. Ten
thousand jobs that wait look, and therefore write, at most about 70 times a second together."""
FAR_OFF: Final = 2
"""By what factor a place that was written must differ from the true one to be written anew."""


class Stall(NamedTuple):
    """What a Pod waits for that only a person can change."""

    reason: Reason | Standing
    message: str

    @property
    def failure(self) -> Reason:
        """What the attempt fails with when nobody changes it until its deadline."""
        return self.reason if isinstance(self.reason, Reason) else Reason.START_ERROR


_STALLS: dict[str, Reason] = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "ImageInspectError": Reason.IMAGE_PULL,
    "SignatureValidationFailed": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.START_ERROR,
    "CreateContainerError": Reason.START_ERROR,
    "RunContainerError": Reason.START_ERROR,
}
"""The kubelet's reasons for which a container does not start and will not by itself."""
_MISSING = ("not found", "couldn't find key", "non-existent config key")
"""The kubelet's words for a reference to nothing; CreateContainerConfigError has other causes too."""
_WORDS: dict[str, Reason | Standing] = {word.value: word for word in (*Reason, *Standing)}


def stall(pod: PodView, status: AgentJobStatus, now: datetime) -> Stall | None:
    """What a Pod that has not started waits for, once it is worth speaking of."""
    if now < pod.created + STALLED_AFTER:
        return None
    if pod.unschedulable is not None:
        return Stall(Reason.UNSCHEDULABLE, pod.unschedulable)
    for container in (pod.workspace, pod.agent):
        if isinstance(container, Waiting) and container.reason in _STALLS:
            return _steady(_container_stall(container), last_stall(status))
    return None


def _container_stall(container: Waiting) -> Stall:
    if container.reason == "CreateContainerConfigError" and any(words in container.message for words in _MISSING):
        return Stall(Standing.REFERENCE_MISSING, container.message)
    return Stall(_STALLS[container.reason], container.message)


def _steady(new: Stall, old: Stall | None) -> Stall:
    """A pull that fails shows two messages by turns; the first stays, or each turn would cost a write."""
    return old if old is not None and old.reason is new.reason is Reason.IMAGE_PULL else new


def last_stall(status: AgentJobStatus) -> Stall | None:
    """What the job was last known to wait for, by its own status."""
    found = find(status.conditions, ConditionType.STALLED)
    if found is None or status.phase is not Phase.PENDING:
        return None
    return Stall(_WORDS.get(found.reason, Reason.START_ERROR), found.message)


def forced_at(pod: PodView) -> datetime | None:
    """When a Pod is deleted by force; None for one that is not, as far as is known.

    Kubernetes itself has given its node up, for as long as the Pod bears that, and asked it to go; nobody has said
    since that it did.
    """
    was_tainted = pod.disruption is not None and pod.disruption.reason == TAINTED
    return pod.gone_by + FORCED_AFTER if pod.gone_by is not None and was_tainted else None


def is_lost(pod: PodView, now: datetime) -> bool:
    """Whether a Pod's node does not answer, and nothing but force takes the Pod away."""
    return (forced := forced_at(pod)) is not None and now >= forced


def is_to_go(pod: PodView, now: datetime) -> bool:
    """Whether a Pod that nobody needs is to be deleted now: at once, and where that did not help, by force."""
    return not pod.deleting or is_lost(pod, now)


def deadline(pod: PodView, job: AgentJob) -> datetime:
    """When a Pod that still has not ended is given up.

    A kubelet ends it itself at its deadline; where there is none yet, the time counts from the Pod's creation, and in a
    Pod that was seen later than that by no more than clocks are apart, from then.
    """
    if pod.node is not None:
        return _overdue(pod, job)
    unseen = max(timedelta(), (pod.seen or pod.created) - pod.created)
    return pod.created + min(unseen, OVERDUE_AFTER) + timedelta(seconds=job.spec.active_deadline_seconds)


def heard_of(pod: PodView, end: datetime) -> datetime:
    """From when on more is waited for of an attempt that ended then: a node's clock may be behind."""
    return max(end, pod.seen_ended or end)


def own_deadline(pod: PodView, job: AgentJob) -> datetime:
    """When a kubelet ends a Pod that it has taken, also one that is cut off."""
    return max(pod.created, pod.started or pod.created) + timedelta(seconds=job.spec.active_deadline_seconds)


def _overdue(pod: PodView, job: AgentJob) -> datetime:
    """When nothing works in a Pod any more, whatever is heard of its node: its kubelet kept the deadline by itself."""
    return own_deadline(pod, job) + OVERDUE_AFTER


def moments(pod: PodView, job: AgentJob) -> Iterator[datetime]:
    """The times at which a decision about a Pod may change though nothing happens."""
    yield deadline(pod, job)
    yield pod.created + STALLED_AFTER
    if pod.stop_asked is not None:
        yield pod.stop_asked + STOPPED_AFTER
    if isinstance(pod.agent, Terminated):
        yield heard_of(pod, pod.agent.finished) + SETTLED_AFTER
        yield heard_of(pod, pod.agent.finished) + READ_WITHIN


def wants_to_start(job: AgentJob, pods: Collection[PodView], now: datetime) -> bool:
    """Whether a job would get a Pod now if there is room. `pods`: all of its name, also those of an earlier job."""
    if job.status.phase.is_final or job.metadata.deletion_timestamp is not None:
        return False
    if job.spec.cancel or job.spec.suspend or attempts.is_open(job.status):
        return False
    return all(is_left_over(pod, job) for pod in pods) and now >= free_at(pods, job)


def is_left_over(pod: PodView, job: AgentJob) -> bool:
    """Whether a Pod is of an attempt of the job that has ended: it is kept for its log, or on its way out."""
    return pod.owner == job.metadata.uid and attempts.has_ended(job.status, pod.attempt)


def free_at(left_over: Iterable[PodView], job: AgentJob) -> datetime:
    """When the next attempt may start: it has waited long enough, and nothing works in the Pods of those before."""
    return max((attempts.starts_at(job), *(_overdue(pod, job) for pod in left_over if not pod.has_ended)))


def takes_a_slot(job: AgentJob | None, pods: Iterable[PodView]) -> bool:
    """Whether an agent works for a job, or is about to; between two attempts none does.

    One whose job was deleted works on until its Pod is stopped.
    """
    own = (pod for pod in pods if job is None or not job.status.phase.is_final or pod.owner != job.metadata.uid)
    return any(not pod.has_ended for pod in own)


def is_refused(refusal: Refusal | None, now: datetime) -> bool:
    """Whether the API server has said no to a job's Pod, and is not to be asked again yet."""
    return refusal is not None and (refusal.for_good or now < refusal.until)


def try_again_after(refused: int) -> timedelta:
    """How long until a Pod is tried again that was refused, as so many of its namespace are."""
    return min(max(timedelta(seconds=refused // TRIES_A_SECOND), SOONEST_TRY), LATEST_TRY)


def shown_place(shown: QueueStatus | None, true: QueueStatus) -> QueueStatus:
    """What is written of a job's place: what was written before, as long as that is not far off."""
    if shown is None or shown.reason != true.reason:
        return true
    is_near = true.position < shown.position * FAR_OFF and shown.position < true.position * FAR_OFF
    return shown if is_near else true


def place_look(position: int) -> timedelta:
    """How long until a job looks again where it stands."""
    return min(max(timedelta(seconds=position / PLACES_A_SECOND), SOONEST_LOOK), LATEST_LOOK)


def kept_until(pod: PodView, job: AgentJob, keeping: Keeping) -> datetime:
    """When the Pod of an attempt that has ended is deleted: at once where it has not ended itself.

    Where logs are archived, it waits for that, which is told once the job has ended.
    """
    attempt = attempts.record(job.status, pod.attempt)
    ended = (attempt.completion_time if attempt else None) or job.status.completion_time or pod.created
    if not pod.has_ended:
        return ended
    waits = keeping.archives and find(job.status.conditions, ConditionType.ARCHIVED) is None
    return ended + keeping.pod_ttl + (ARCHIVED_WITHIN if waits else timedelta())


def time_to_live(job: AgentJob) -> timedelta:
    """How long a job is kept after its end."""
    spec = job.spec
    unsuccessful = job.status.phase is not Phase.SUCCEEDED
    if unsuccessful and spec.ttl_seconds_after_failed is not None:
        return timedelta(seconds=spec.ttl_seconds_after_failed)
    return timedelta(seconds=spec.ttl_seconds_after_finished)


def earliest(times: Iterable[datetime], after: datetime) -> datetime | None:
    """The first of some times that is still to come."""
    return min((time for time in times if time > after), default=None)
