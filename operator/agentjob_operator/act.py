"""Carries decisions out, on the job by itself. Each action may be repeated: whatever is done already is a success."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from agentjob_api.job import AgentJob, Metadata
from agentjob_api.names import API_VERSION, KIND, Key
from agentjob_api.status import AgentJobStatus, Condition
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, Conflict, NotFound, TooManyRequests, Unreachable
from agentjob_kube.resources import AGENT_JOBS, EVENTS
from agentjob_operator import manifests
from agentjob_operator.act_pod import PodActor
from agentjob_operator.failing import TRIED, StatusNotKeptError, trying
from agentjob_operator.jobs import about
from agentjob_operator.metrics import Metrics
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
    StopPod,
    World,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Writes to the cluster, and keeps the store up with its own writes."""

    client: Client
    store: Store
    metrics: Metrics
    pods: PodActor
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
            log.warning("Condition not written: %s", error, extra=about(job.key) | {"reason": condition.reason})
        return await self._record_event(job.metadata, event)

    async def _carry_out(self, world: World, action: Action) -> None:
        match action:
            case CreatePod():
                await self.pods.create(_job(world), action.attempt)
            case StopPod():
                await self.pods.stop(action.pod)
            case DeletePod():
                await self.pods.delete(action.pod)
            case DeleteOrphan():
                await self.pods.delete_orphan(world.key, action.pod)
            case ReadOutcome():
                await self.pods.read_outcome(action.pod)
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

    async def _record_event(self, job: Metadata, warning: RecordEvent) -> bool:
        """Records a warning once, as well as may be; whether it was: mostly the status has said it already."""
        try:
            await self.client.create(EVENTS, job.namespace, manifests.event(job, warning, self.clock()))
        except ApiError as error:
            of = about(Key(job.namespace, job.name)) | {"reason": warning.reason}
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


def _tell(job: AgentJob, status: AgentJobStatus) -> None:
    """One log line for each phase a job enters."""
    facts = about(job.key) | {"attempt": status.attempt_count, "phase": status.phase.value}
    if status.failure is not None:
        facts |= {"reason": status.failure.reason.value}
    elif status.attempts and (reason := status.attempts[-1].reason) is not None:
        facts |= {"reason": reason.value}
    log.info("Job is %s", status.phase.value, extra=facts)
