"""Carries out what is decided about Pods. Each action may be repeated: whatever is done already is a success."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from agentjob_api import lines
from agentjob_api.handover import HandoverTooLargeError
from agentjob_api.job import AgentJob
from agentjob_api.names import AGENT_CONTAINER, Key
from agentjob_kube.client import Client
from agentjob_kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NoRight, NotFound
from agentjob_kube.resources import AGENT_JOBS, PODS
from agentjob_operator import manifests, rules
from agentjob_operator.failing import StopNotKeptError
from agentjob_operator.jobs import about
from agentjob_operator.outcome import from_log
from agentjob_operator.pod import STOP_ANNOTATION, PodView, view
from agentjob_operator.settings import RunnerSettings
from agentjob_operator.store import Store
from agentjob_operator.world import Refusal

TAIL_LINES: Final = 10
"""Lines asked of a log to find the outcome: it is the last line, but another program may have written after it."""
TAIL_BYTES: Final = (TAIL_LINES + 1) * lines.MAX_LINE
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PodActor:
    """Makes, stops, reads and deletes Pods, and keeps the store up with that."""

    client: Client
    store: Store
    runner: RunnerSettings
    clock: Callable[[], datetime]

    async def create(self, job: AgentJob, attempt: int) -> None:
        """Makes the Pod of an attempt, takes over one that is there already, or notes why there can be none."""
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
        log.info("Pod created", extra=about(job.key) | {"attempt": attempt})

    async def _take_over(self, job: AgentJob, name: str) -> None:
        """A Pod of that name is there: ours from before, one of an earlier job, or anybody's.

        Or one that was out of the watch's sight, and so was told to be gone: it is not taken back, and no Pod can be
        made in its place.
        """
        try:
            pod = view(await self.client.get(PODS, Key(job.metadata.namespace, name)))
        except ApiError as error:
            error.may_be_done = not isinstance(error, NotFound)
            raise
        self.store.put_pod(pod)
        if pod.uid not in [known.uid for known in self.store.pods(job.key)]:
            self._refused(job, f"Pod {name} exists and does not count as this job's: delete it", for_good=False)

    def _refused(self, job: AgentJob, message: str, *, for_good: bool) -> None:
        log.warning("Pod refused: %s", message, extra=about(job.key))
        until = self.clock().replace(microsecond=0) + rules.try_again_after(self.store.refused(job.key.namespace))
        self.store.note_refusal(job.key, Refusal(job=job.metadata.uid, for_good=for_good, message=message, until=until))

    async def stop(self, pod: PodView) -> None:
        """Ends a Pod's time instead of deleting it.

        The kubelet stops its agent with the whole grace period, and what the agent then says stays readable for as long
        as the Pod does, whether an operator is there at that moment or not.

        Raises:
            StopNotKeptError: nothing of it is to be seen on the Pod.
        """
        try:
            told = view(await self.client.patch(PODS, pod.key, manifests.stop(pod, self.clock())))
        except NotFound:
            self.store.drop_pod(pod)
        except (Conflict, Invalid):  # to another uid in a patch, the answer is "field is immutable"
            await self._look_at(pod)
        else:
            self.store.put_pod(told)
            if told.stop_asked is None and not told.deleting:
                raise StopNotKeptError(
                    f"Pod {pod.key}: the API server did not keep the annotation {STOP_ANNOTATION};"
                    " a mutating webhook or policy that takes it away is to leave it there"
                )
            log.info("Agent told to stop", extra=pod.about)

    async def delete(self, pod: PodView) -> None:
        """Deletes a Pod, only this one; one that is being deleted, by force."""
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

    async def delete_orphan(self, key: Key, pod: PodView) -> None:
        """Deletes a Pod unless its job is there after all: the store may be behind the cluster."""
        body: dict[str, Any] | None = None
        with suppress(NotFound):
            body = await self.client.get(AGENT_JOBS, key)
        if body is None or body["metadata"]["uid"] != pod.owner:
            await self.delete(pod)
        if body is not None:
            self.store.take_job(key, body)

    async def read_outcome(self, pod: PodView) -> None:
        """Notes the outcome in the last lines of the agent's log; None when the log is gone or does not hold it."""
        tail = b""
        with suppress(*((ApiError,) if pod.deleting else (NotFound, Invalid))):  # its end, as told, goes with it
            tail = await self.client.log_tail(pod.key, AGENT_CONTAINER, lines=TAIL_LINES, limit_bytes=TAIL_BYTES)
        self.store.note_read(pod, from_log(tail))
