"""Carries decisions out. Each action may be repeated: whatever is done already is a success."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

from agentjob_api import lines
from agentjob_api.handover import HandoverTooLargeError
from agentjob_api.job import AgentJob, Metadata
from agentjob_api.names import AGENT_CONTAINER, API_VERSION, KIND, Key
from agentjob_api.outcome import Outcome
from agentjob_api.status import AgentJobStatus, Condition
from agentjob_kube.client import Client
from agentjob_kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NoRight,
    NotFound,
    TooManyRequests,
    Unreachable,
)
from agentjob_kube.resources import AGENT_JOBS, EVENTS, PODS
from agentjob_operator import manifests, rules
from agentjob_operator.failing import TRIED, StatusNotKeptError, StopNotKeptError, trying
from agentjob_operator.metrics import Metrics
from agentjob_operator.outcome import from_log
from agentjob_operator.pod import STOP_ANNOTATION, PodView, view
from agentjob_operator.settings import RunnerSettings
from agentjob_operator.store import Store
from agentjob_operator.world import (
    Action,
    CreatePod,
    Decision,
    DeleteJob,
    DeleteOrphan,
    DeletePod,
    ReadOutcome,
    RecordEvent,
    Refusal,
    StopPod,
    World,
)

TAIL_LINES: Final = 10
"""Lines asked of a log to find the outcome: it is the last line, but another program may have written after it."""
TAIL_BYTES: Final = (TAIL_LINES + 1) * lines.MAX_LINE
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Writes to the cluster, and keeps the store up with its own writes."""

    client: Client
    store: Store
    metrics: Metrics
    runner: RunnerSettings
    clock: Callable[[], datetime]

    async def act(self, world: World, decision: Decision) -> bool:
        """Writes the status first; what depends on it is done only when it held. Whether it did.

        Raises:
            ApiError: something could not be done, and may be done later.
        """
        if decision.status is not None and world.job is not None:
            with trying("writing its status"):
                if not await self._write_or_refresh(world.job, decision.status):
                    return False
        for action in decision.actions:
            with trying(TRIED[type(action)]):
                await self._carry_out(world, action)
        return True

    async def say(self, key: Key, condition: Condition) -> bool:
        """Adds a condition to a job, or records it as an Event where it does not take it; whether that is done.

        Raises:
            ApiError: neither can be done now.
        """
        event = RecordEvent(condition.type, condition.message)
        if (unread := self.store.unread.get(key)) is not None:
            return await self._record_event(unread, event)
        if (job := self.store.jobs.get(key)) is None:  # only its Pods are left
            return False
        status = job.status.model_copy(update={"conditions": [*job.status.conditions, condition]})
        try:
            return await self._write_or_refresh(job, status)
        except (Unreachable, TooManyRequests):
            raise
        except ApiError as error:
            log.warning("Condition not written: %s", error, extra=_about(job) | {"reason": condition.reason})
        return await self._record_event(job.metadata, event)

    async def _carry_out(self, world: World, action: Action) -> None:
        match action:
            case CreatePod():
                await self._create_pod(_job(world), action.attempt)
            case StopPod():
                await self._stop_pod(action.pod)
            case DeletePod():
                await self._delete_pod(action.pod)
            case DeleteOrphan():
                await self._delete_orphan(world.key, action.pod)
            case ReadOutcome():
                self.store.note_read(action.pod, await self._read_outcome(action.pod))
            case DeleteJob():
                await self._delete_job(_job(world))
            case RecordEvent():
                await self._record_event(_job(world).metadata, action)
            case _:
                assert_never(action)

    async def _write_or_refresh(self, job: AgentJob, status: AgentJobStatus) -> bool:
        """Whether the status was written; else the job is not as it was, and was read again.

        Raises:
            Conflict: it is as it was: to try at once would be to try for ever.
        """
        try:
            await self._write_status(job, status)
        except (Conflict, NotFound):
            known = await self._refresh(job)
            if known is not None and known.metadata.resource_version == job.metadata.resource_version:
                raise
            return False
        return True

    async def _write_status(self, job: AgentJob, status: AgentJobStatus) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": job.metadata.model_dump(include={"name", "namespace", "uid", "resource_version"}),
            "status": status.model_dump(mode="json", exclude_none=True),
        }
        written = AgentJob.model_validate(await self.client.replace_status(AGENT_JOBS, body))
        self.store.put_job(written)
        self.metrics.written(job, job.status, written.status)  # what is not kept will be written again
        if status.phase is not job.status.phase:
            _tell(job, status)
        if written.status != status:
            raise StatusNotKeptError(
                f"AgentJob {job.key}: the API server did not keep the status as it was written;"
                " bring the CustomResourceDefinition up to the operator's version"
            )

    async def _refresh(self, job: AgentJob) -> AgentJob | None:
        """Reads a job again that is not as it was, or no longer is; what is known by its name then."""
        try:
            self.store.take_job(job.key, await self.client.get(AGENT_JOBS, job.key))
        except NotFound:
            self.store.drop_job(job.key, job.metadata.uid)
        return self.store.jobs.get(job.key)

    async def _create_pod(self, job: AgentJob, attempt: int) -> None:
        try:
            manifest = manifests.pod(job, attempt, self.runner)
            pod = await self.client.create(PODS, job.metadata.namespace, manifest)
        except AlreadyExists:
            await self._take_over(job, manifest["metadata"]["name"])
            return
        except NoRight:  # the operator's own, which fails all jobs alike
            raise
        except (HandoverTooLargeError, Invalid, Forbidden) as error:
            self._refused(job, str(error), for_good=not isinstance(error, Forbidden))
            return
        self.store.drop_refusal(job.key)
        self.store.put_pod(view(pod))
        log.info("Pod created", extra=_about(job) | {"attempt": attempt})

    async def _take_over(self, job: AgentJob, name: str) -> None:
        """A Pod of that name is there: ours from before, one of an earlier job, or anybody's."""
        try:
            pod = view(await self.client.get(PODS, Key(job.metadata.namespace, name)))
        except ApiError as error:
            error.may_be_done = not isinstance(error, NotFound)
            raise
        if pod.owner is None or pod.job != job.metadata.name:
            self._refused(job, f"Pod {name} exists and does not belong to this job: delete it", for_good=False)
        else:
            self.store.put_pod(pod)

    def _refused(self, job: AgentJob, message: str, *, for_good: bool) -> None:
        log.warning("Pod refused: %s", message, extra=_about(job))
        until = self.clock().replace(microsecond=0) + rules.try_again_after(self.store.refused(job.key.namespace))
        self.store.note_refusal(job.key, Refusal(job=job.metadata.uid, for_good=for_good, message=message, until=until))

    async def _stop_pod(self, pod: PodView) -> None:
        """Ends a Pod's time instead of deleting it.

        The kubelet stops its agent with the whole grace period, and what the agent then says stays readable for as long
        as the Pod does, whether an operator is there at that moment or not.

        Raises:
            StopNotKeptError: nothing of it is to be seen on the Pod.
        """
        try:
            told = view(await self.client.patch(PODS, pod.key, manifests.stop(pod, self.clock())))
            self.store.put_pod(told)
            if told.stop_asked is None and not told.deleting:
                raise StopNotKeptError(
                    f"Pod {pod.key}: the API server did not keep the annotation {STOP_ANNOTATION};"
                    " a mutating webhook or policy that takes it away is to leave it there"
                )
        except NotFound:
            self.store.drop_pod(pod)
        except (Conflict, Invalid):  # to another uid in a patch, the answer is "field is immutable"
            await self._look_at(pod)
        log.info("Agent told to stop", extra=pod.about)

    async def _delete_pod(self, pod: PodView) -> None:
        try:
            await self.client.delete(PODS, pod.key, pod.uid, grace=0 if pod.deleting else None)
        except NotFound:
            self.store.drop_pod(pod)
        except Conflict:
            await self._look_at(pod)
        else:
            self.store.mark_deleting(pod)
            if pod.deleting:
                log.warning("Pod deleted by force: node %s does not answer", pod.node, extra=pod.about)

    async def _look_at(self, pod: PodView) -> None:
        """A Pod was not as it was expected: another one has its name by now, or it is changing at this moment.

        Raises:
            Conflict: it is the same Pod.
        """
        with suppress(NotFound):
            found = view(await self.client.get(PODS, pod.key))
            self.store.put_pod(found)
            if found.uid == pod.uid:
                raise Conflict(f"Pod {pod.key} is changing", status=409)
        self.store.drop_pod(pod)

    async def _delete_orphan(self, key: Key, pod: PodView) -> None:
        """Deletes a Pod unless its job is there after all: the store may be behind the cluster."""
        body: dict[str, Any] | None = None
        with suppress(NotFound):
            body = await self.client.get(AGENT_JOBS, key)
        if body is None or body["metadata"]["uid"] != pod.owner:
            await self._delete_pod(pod)
        if body is not None:
            self.store.take_job(key, body)

    async def _read_outcome(self, pod: PodView) -> Outcome | None:
        """The outcome in the last lines of the agent's log; None when the log is gone or does not hold it."""
        tail = b""
        with suppress(*((ApiError,) if pod.deleting else (NotFound, Invalid))):  # its end, as told, goes with it
            tail = await self.client.log_tail(pod.key, AGENT_CONTAINER, lines=TAIL_LINES, limit_bytes=TAIL_BYTES)
        return from_log(tail)

    async def _record_event(self, about: Metadata, warning: RecordEvent) -> bool:
        """Records a warning once, as well as may be; whether it was: mostly the status has said it already."""
        try:
            await self.client.create(EVENTS, about.namespace, manifests.event(about, warning, self.clock()))
        except ApiError as error:
            of = {"namespace": about.namespace, "job": about.name, "reason": warning.reason}
            log.warning("Event not recorded: %s", error, extra=of)
            return False
        return True

    async def _delete_job(self, job: AgentJob) -> None:
        try:
            left = await self.client.delete(AGENT_JOBS, job.key, job.metadata.uid)
        except NotFound:
            left = {}
        except Conflict:
            known, left = await self._refresh(job), {}
            if known is not None and known.metadata.uid == job.metadata.uid:
                raise
        if left.get("kind") == KIND:  # somebody's finalizer holds it
            self.store.put_job(AgentJob.model_validate(left))
        else:
            self.store.drop_job(job.key, job.metadata.uid)


def _job(world: World) -> AgentJob:
    assert world.job is not None, "only DeleteOrphan is decided on without a job"
    return world.job


def _about(job: AgentJob) -> dict[str, Any]:
    return {"namespace": job.metadata.namespace, "job": job.metadata.name}


def _tell(job: AgentJob, status: AgentJobStatus) -> None:
    """One log line for each phase a job enters."""
    facts = _about(job) | {"attempt": status.attempt_count, "phase": status.phase.value}
    if status.failure is not None:
        facts |= {"reason": status.failure.reason.value}
    elif status.attempts and (reason := status.attempts[-1].reason) is not None:
        facts |= {"reason": reason.value}
    log.info("Job is %s", status.phase.value, extra=facts)
