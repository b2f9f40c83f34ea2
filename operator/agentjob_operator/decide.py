"""What to do about a job: a pure function of what was observed.

job gone            delete its Pods
job finished        delete its Pods, then the job, each after its time to live
no attempt yet      cancelled, suspended, refused, to wait for room, or: create the Pod
an attempt          ended: the job has finished; else stop it, or say where it stands
"""

from dataclasses import replace
from datetime import datetime

from agentjob_api.job import AgentJob
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason
from agentjob_api.status import AgentJobStatus, ConditionType, Standing
from agentjob_operator import rules, status
from agentjob_operator.conditions import Summary, find
from agentjob_operator.outcome import Ending, ending
from agentjob_operator.pod import PodView, Running
from agentjob_operator.world import (
    Action,
    CreatePod,
    Decision,
    DeleteJob,
    DeleteOrphan,
    DeletePod,
    ReadOutcome,
    RecordEvent,
    StopPod,
    World,
)

_FULL: dict[Standing, str] = {
    Standing.INSTALLATION_FULL: "As many jobs of this installation run as may; status.queue says whose turn it is.",
    Standing.NAMESPACE_FULL: "As many jobs of this namespace run as may; status.queue says whose turn it is.",
}


def decide(world: World) -> Decision:
    """The next status, the actions, and when to look again."""
    job = world.job
    if job is None:
        return Decision(actions=tuple(DeleteOrphan(pod) for pod in world.pods if not pod.deleting))
    orphans = tuple(DeleteOrphan(pod) for pod in world.pods if pod.owner != job.metadata.uid and not pod.deleting)
    if orphans:
        return Decision(actions=orphans)
    if job.metadata.deletion_timestamp is not None:
        return Decision(actions=tuple(DeletePod(pod) for pod in world.pods if not pod.deleting))
    if job.status.phase.is_final:
        return after_the_end(world, job)
    match current(world, job):
        case None:
            return before_an_attempt(world, job)
        case pod:
            return during_an_attempt(world, job, pod)


def current(world: World, job: AgentJob) -> PodView | None:
    """The Pod of the latest attempt."""
    own = [pod for pod in world.pods if pod.owner == job.metadata.uid]
    return max(own, key=lambda pod: pod.attempt, default=None)


def after_the_end(world: World, job: AgentJob) -> Decision:
    """A finished job never changes its outcome: only what is left of it goes, in time."""
    ended = job.status.completion_time or world.now
    gone = ended + rules.time_to_live(job)
    if gone <= world.now:
        return Decision(actions=(DeleteJob(),))
    pods_go = ended + rules.pod_time_to_live(job, world.keeping)
    kept_until = {pod: pods_go if pod.has_ended else ended for pod in world.pods if not pod.deleting}
    return _write(
        job,
        status.seen(job),
        actions=tuple(DeletePod(pod) for pod, until in kept_until.items() if until <= world.now),
        look_again=rules.earliest((gone, *kept_until.values()), world.now),
    )


def before_an_attempt(world: World, job: AgentJob) -> Decision:
    """There is no Pod of this job: it is gone, or there never was one, or it is not to be yet."""
    if job.status.start_time is not None:
        return _lost(world, job)
    if job.spec.cancel:
        return _write(job, status.lost(world, job, Reason.CANCELLED, "spec.cancel was set before the agent started."))
    if job.spec.suspend:
        summary = Summary(Phase.PENDING, Standing.SUSPENDED, "spec.suspend is set.", suspended=True)
        return _write(job, status.waiting(world, job, summary))
    if world.pods:
        return _make_way(world, job)
    if rules.is_refused(world.refusal, world.now):
        return _refused(world, job)
    if not world.queue.has_room:
        return _wait_for_room(world, job)
    was_suspended = find(job.status.conditions, ConditionType.SUSPENDED) is not None
    next_status = _starting(world, job) if was_suspended else job.status
    return _write(job, next_status, actions=(CreatePod(_attempt(job)),))


def during_an_attempt(world: World, job: AgentJob, pod: PodView) -> Decision:
    """The job's Pod is there."""
    if (end := ending(pod, job, world.now)) is not None:
        return _after_an_attempt(world, job, pod, end)
    look_again = rules.earliest(rules.moments(pod, job), world.now)
    if job.spec.cancel:
        return _cancel(world, job, pod, look_again)
    if isinstance(pod.agent, Running):
        return _write(job, status.running(world, job, pod), look_again=look_again)
    if pod.has_ended or not job.status.phase.is_waiting:
        return Decision(look_again=look_again)
    if (stall := rules.stall(pod, job.status, world.now)) is not None:
        summary = Summary(Phase.PENDING, stall.reason, stall.message, stalled=True)
        return _write(job, status.waiting(world, job, summary, pod), look_again=look_again)
    # A Pod that starts as it should is not worth a write: the next one says Running.
    # Unless that takes its time, and the last one is no longer true.
    has_left_queue = job.status.queue is not None and world.now >= pod.created + rules.STALLED_AFTER
    to_take_back = has_left_queue or find(job.status.conditions, ConditionType.STALLED) is not None
    return _write(job, _starting(world, job, pod) if to_take_back else job.status, look_again=look_again)


def _attempt(job: AgentJob) -> int:
    """Number of the attempt to start: the one that is recorded and never started, or the first."""
    return job.status.attempt_count or 1


def _starting(world: World, job: AgentJob, pod: PodView | None = None) -> AgentJobStatus:
    return status.waiting(world, job, Summary(Phase.PENDING, Standing.STARTING), pod)


def _lost(world: World, job: AgentJob) -> Decision:
    """The Pod is gone with whatever its agent said."""
    if job.spec.cancel:
        return _write(job, status.lost(world, job, Reason.CANCELLED, "spec.cancel was set, and the Pod is gone."))
    message = f"Pod {job.status.pod_name} is gone, and with it what its agent did."
    return _write(job, status.lost(world, job, Reason.NODE_LOST, message))


def _make_way(world: World, job: AgentJob) -> Decision:
    """Pods of an earlier job of this name are on their way out."""
    patience = job.metadata.creation_timestamp + rules.STOPPED_AFTER
    if world.now < patience:
        return Decision(look_again=patience)
    names = ", ".join(pod.name for pod in world.pods)
    summary = Summary(
        Phase.PENDING, Standing.POD_REFUSED, f"Pod {names} of an earlier job of this name is still there.", stalled=True
    )
    return _write(job, status.waiting(world, job, summary))


def _wait_for_room(world: World, job: AgentJob) -> Decision:
    """As many run as may."""
    if world.queue.place is None:  # it is not known to the queue, which is to be asked again
        return Decision(look_again=world.now + rules.SOONEST_LOOK)
    place = rules.shown_place(job.status.queue, world.queue.place)
    summary = Summary(Phase.QUEUED, place.reason, _FULL[place.reason])
    return _write(
        job,
        status.queued(world, job, summary, place),
        look_again=world.now + rules.place_look(world.queue.place.position),
    )


def _refused(world: World, job: AgentJob) -> Decision:
    """The API server did not take the Pod."""
    assert world.refusal is not None
    if world.refusal.for_good:
        return _write(job, status.lost(world, job, Reason.INVALID_SPEC, world.refusal.message))
    again = world.refusal.at + rules.TRY_AGAIN_AFTER
    summary = Summary(Phase.PENDING, Standing.POD_REFUSED, world.refusal.message, stalled=True)
    return _write(job, status.waiting(world, job, summary), look_again=again)


def _cancel(world: World, job: AgentJob, pod: PodView, look_again: datetime | None) -> Decision:
    """An agent that works is told to stop, and heard to its end; one that does not is not waited for."""
    if pod.agent_started is None and job.status.start_time is None:
        return _write(job, status.lost(world, job, Reason.CANCELLED, "spec.cancel was set before the agent started."))
    if pod.stop_asked is not None or pod.deleting:
        return Decision(look_again=look_again)
    return Decision(actions=(StopPod(pod),))


def _after_an_attempt(world: World, job: AgentJob, pod: PodView, end: Ending) -> Decision:
    """The attempt has ended, and with it the job."""
    read_until = end.finished + rules.READ_WITHIN
    if end.told is not None and end.told.truncated and pod.uid not in world.read and world.now < read_until:
        return Decision(actions=(ReadOutcome(pod),), look_again=read_until)
    told = world.read.get(pod.uid) or end.told
    return _write(job, status.finished(world, job, pod, replace(end, told=told)))


def _write(
    job: AgentJob, next_status: AgentJobStatus, *, actions: tuple[Action, ...] = (), look_again: datetime | None = None
) -> Decision:
    """The decision that makes this the status: written only if it differs, with a warning where it is bad news."""
    if next_status == job.status:
        return Decision(actions=actions, look_again=look_again)
    warnings = _warnings(job.status, next_status)
    return Decision(status=next_status, actions=(*actions, *warnings), look_again=look_again)


def _warnings(before: AgentJobStatus, after: AgentJobStatus) -> tuple[RecordEvent, ...]:
    """An Event for a job that newly stalls or fails. What goes well, or was asked for, is in its status."""
    old, new = (find(each.conditions, ConditionType.STALLED) for each in (before, after))
    if new is None or after.phase is Phase.CANCELLED:
        return ()
    if old is not None and (old.reason, before.phase) == (new.reason, after.phase):
        return ()
    return (RecordEvent(new.reason, new.message),)
