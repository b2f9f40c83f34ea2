"""What to do about a job: a pure function of what was observed.

job gone            delete its Pods
job finished        delete its Pods, then the job, each after its time to live
no attempt goes on  cancelled, suspended, backing off, refused, to wait for room, or: create the Pod of the next
an attempt          ended: the job has finished, or another follows; else stop it, or say where it stands
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from agentjob_api.job import AgentJob
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason
from agentjob_api.status import AgentJobStatus, ConditionType, Standing
from agentjob_operator import attempts, rules, status
from agentjob_operator.conditions import Summary, find, standing, without
from agentjob_operator.outcome import Cause, Ending, ending
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
    decision = _recovered(world, _decided(world))
    times = (decision.look_again, *map(rules.forced_at, world.pods))
    return replace(decision, look_again=rules.earliest(filter(None, times), world.now))


def _recovered(world: World, decision: Decision) -> Decision:
    """Takes back what was said of failures once all was done that they were about.

    While the job waits for room that is not known: its turn may be what failed.
    """
    job = world.job
    if job is None or decision.status is not None or decision.actions or world.queue.place is not None:
        return decision
    if find(job.status.conditions, ConditionType.RECONCILE_FAILURE) is None:
        return decision
    kept = without(job.status.conditions, ConditionType.RECONCILE_FAILURE)
    return replace(decision, status=job.status.model_copy(update={"conditions": kept}))


def _decided(world: World) -> Decision:
    job = world.job
    to_go = [pod for pod in world.pods if rules.is_to_go(pod, world.now)]
    if job is None:
        return Decision(actions=tuple(map(DeleteOrphan, to_go)))
    orphans = tuple(DeleteOrphan(pod) for pod in to_go if pod.owner != job.metadata.uid)
    if orphans:
        return Decision(actions=orphans)
    if job.metadata.deletion_timestamp is not None:
        return Decision(actions=tuple(map(DeletePod, to_go)))
    if job.status.phase.is_final:
        return after_the_end(world, job)
    left_over = tuple(pod for pod in world.pods if rules.is_left_over(pod, job))
    working = [pod for pod in world.pods if pod.owner == job.metadata.uid and pod not in left_over]
    if working:
        decision = during_an_attempt(world, job, min(working, key=lambda pod: pod.attempt))
    else:
        decision = before_an_attempt(world, job, left_over)
    actions, times = _clean_up(world, job, left_over)
    return replace(
        decision,
        actions=(*decision.actions, *actions),
        look_again=rules.earliest((*times, *filter(None, (decision.look_again,))), world.now),
    )


def after_the_end(world: World, job: AgentJob) -> Decision:
    """A finished job never changes its outcome: only what is left of it goes, in time."""
    ended = job.status.completion_time or world.now
    gone = max(ended, world.finished or ended) + rules.time_to_live(job)
    if gone <= world.now:
        return Decision(actions=(DeleteJob(),))
    actions, times = _clean_up(world, job, world.pods)
    return _write(job, status.seen(job), actions=actions, look_again=rules.earliest((gone, *times), world.now))


def _clean_up(world: World, job: AgentJob, pods: Iterable[PodView]) -> tuple[tuple[Action, ...], list[datetime]]:
    """Deletes Pods of attempts that have ended, each after its time; and the times of those that are kept."""
    to_go = [pod for pod in pods if rules.is_to_go(pod, world.now)]
    until = {pod: world.now if pod.deleting else rules.kept_until(pod, job, world.keeping) for pod in to_go}
    return tuple(DeletePod(pod) for pod, time in until.items() if time <= world.now), list(until.values())


def before_an_attempt(world: World, job: AgentJob, left_over: Sequence[PodView]) -> Decision:
    """No attempt goes on: its Pod is gone, or the last one has ended, or there was none yet."""
    if attempts.is_open(job.status):
        return _lost(world, job)
    if (held := _held(world, job)) is not None:
        return _write(job, held)
    if len(world.pods) > len(left_over):
        return _make_way(world, job)
    if world.now < (free_at := rules.free_at(left_over, job)):
        return _write(job, _backs_off(world, job), look_again=free_at)
    if rules.is_refused(world.refusal, world.now):
        return _refused(world, job)
    if not world.queue.has_room:
        return _wait_for_room(world, job)
    was_suspended = find(job.status.conditions, ConditionType.SUSPENDED) is not None
    next_status = _starting(world, job) if was_suspended else job.status
    return _write(job, next_status, actions=(CreatePod(attempts.next_number(job.status)),))


def during_an_attempt(world: World, job: AgentJob, pod: PodView) -> Decision:
    """The job's Pod is there."""
    if (end := ending(pod, job, world.now)) is not None:
        return _heard_out(world, job, pod, end)
    look_again = rules.earliest(rules.moments(pod, job), world.now)
    if job.spec.cancel or job.spec.suspend:
        return _stop(world, job, pod, look_again)
    if isinstance(pod.agent, Running):
        return _write(job, status.running(world, job, pod), look_again=look_again)
    if pod.has_ended or not job.status.phase.is_waiting:
        return Decision(look_again=look_again)
    if (stall := rules.stall(pod, job.status, world.now)) is not None:
        summary = Summary(Phase.PENDING, stall.reason, stall.message, stalled=True)
        return _write(job, status.waiting(world, job, summary, pod), look_again=look_again)
    # A Pod that starts as it should is not worth a write: the next one says Running.
    # Unless that takes its time, and the last one is no longer true.
    has_waited = job.status.queue is not None or standing(job.status.conditions) == Standing.BACK_OFF
    is_behind = has_waited and world.now >= pod.created + rules.STALLED_AFTER
    to_take_back = is_behind or find(job.status.conditions, ConditionType.STALLED) is not None
    return _write(job, _starting(world, job, pod) if to_take_back else job.status, look_again=look_again)


def _starting(world: World, job: AgentJob, pod: PodView | None = None) -> AgentJobStatus:
    return status.waiting(world, job, Summary(Phase.PENDING, Standing.STARTING), pod)


def _held(world: World, job: AgentJob) -> AgentJobStatus | None:
    """The status of a job that is not to start another attempt; None when it may."""
    if job.spec.cancel:
        cause = Cause(Reason.CANCELLED, "spec.cancel was set while no agent worked.")
        return status.ended(world, job, Ending(cause=cause, finished=world.now))
    if job.spec.suspend:
        summary = Summary(Phase.PENDING, Standing.SUSPENDED, "spec.suspend is set.", suspended=True)
        return status.waiting(world, job, summary)
    return None


def _backs_off(world: World, job: AgentJob, why: str = "") -> AgentJobStatus:
    """The status of a job between two attempts. Why the last one ended is said once, and then stays as it was said."""
    last, number = job.status.attempts[-1], attempts.next_number(job.status)
    ready = find(job.status.conditions, ConditionType.READY)
    when = attempts.starts_at(job).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"Attempt {number} starts at {when} at the earliest. Attempt {last.number} ended as {last.reason}. {why}"
    if not why and ready is not None and ready.reason == Standing.BACK_OFF:
        message = ready.message
    return status.waiting(world, job, Summary(Phase.PENDING, Standing.BACK_OFF, message.strip()))


def _lost(world: World, job: AgentJob) -> Decision:
    """The Pod is gone with whatever its agent said."""
    last = job.status.attempts[-1]
    cause = Cause(Reason.NODE_LOST, f"Pod {last.pod} is gone, and with it what its agent did.")
    if job.spec.cancel:
        cause = Cause(Reason.CANCELLED, "spec.cancel was set, and the Pod is gone.")
    elif job.spec.suspend:
        cause = Cause(Reason.SUSPENDED, "spec.suspend was set, and the Pod is gone.")
    return _after_an_attempt(world, job, (last.number, last.pod), Ending(cause=cause, finished=world.now))


def _make_way(world: World, job: AgentJob) -> Decision:
    """Pods of an earlier job of this name are on their way out."""
    patience = job.metadata.creation_timestamp + rules.STOPPED_AFTER
    if world.now < patience:
        return Decision(look_again=patience)
    names = ", ".join(pod.name for pod in world.pods if pod.owner != job.metadata.uid)
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
        cause = Cause(Reason.INVALID_SPEC, world.refusal.message)
        return _write(job, status.ended(world, job, Ending(cause=cause, finished=world.now)))
    summary = Summary(Phase.PENDING, Standing.POD_REFUSED, world.refusal.message, stalled=True)
    return _write(job, status.waiting(world, job, summary), look_again=world.refusal.until)


def _stop(world: World, job: AgentJob, pod: PodView, look_again: datetime | None) -> Decision:
    """An agent that works is told to stop, and heard to its end; one that does not is not waited for."""
    known = attempts.record(job.status, pod.attempt)
    if pod.agent_started is None and (known is None or known.start_time is None):
        reason, field = (Reason.CANCELLED, "cancel") if job.spec.cancel else (Reason.SUSPENDED, "suspend")
        cause = Cause(reason, f"spec.{field} was set before the agent started.")
        return _after_an_attempt(world, job, (pod.attempt, pod.name), Ending(cause=cause, finished=world.now))
    if pod.stop_asked is not None or pod.deleting:
        return Decision(look_again=look_again)
    return Decision(actions=(StopPod(pod),))


def _heard_out(world: World, job: AgentJob, pod: PodView, end: Ending) -> Decision:
    """The attempt has ended: what its runner said is taken, the whole of it if it can be had."""
    read_until = rules.heard_of(pod, end.finished) + rules.READ_WITHIN
    if end.told is not None and end.told.truncated and pod.uid not in world.read and world.now < read_until:
        return Decision(actions=(ReadOutcome(pod),), look_again=read_until)
    told = world.read.get(pod.uid) or end.told
    return _after_an_attempt(world, job, (pod.attempt, pod.name), replace(end, told=told))


def _after_an_attempt(world: World, job: AgentJob, attempt: tuple[int, str], end: Ending) -> Decision:
    """The attempt of this number, with this Pod, has ended, and with it the job, or another follows.

    That is one write: before it nothing of the end is known, and after it nothing is recorded again. Only then, by
    another look, the next Pod is made.
    """
    closed = status.closed(job, *attempt, end)
    if attempts.another_follows(closed):
        if not job.spec.cancel:
            return _write(job, _held(world, closed) or _backs_off(world, closed, end.cause.message))
        end = replace(end, cause=Cause(Reason.CANCELLED, "spec.cancel was set."))
    elif attempts.taken_in_a_row(closed.status) == attempts.MOST_TAKEN:
        message = f"{end.cause.message} The cluster has taken {attempts.MOST_TAKEN} attempts in a row."
        end = replace(end, cause=replace(end.cause, message=message))
    return _write(job, status.ended(world, closed, end))


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
