"""The loop: take a key, observe, decide, act, and again, for as long as there is something to do."""

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from agentjob_api.names import Key
from agentjob_api.status import Condition
from agentjob_kube.backoff import Backoff
from agentjob_kube.errors import ApiError
from agentjob_operator import failing
from agentjob_operator.admission import Admission
from agentjob_operator.decide import decide
from agentjob_operator.failing import Failing
from agentjob_operator.jobs import UnreadableError
from agentjob_operator.metrics import Metrics
from agentjob_operator.observe import observe
from agentjob_operator.store import Store
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import Decision, Keeping, World

RETRY: Final = Backoff(first=0.2, most=60.0)
"""Of a job that could not be acted on: each job waits for itself, and the others do not wait for it."""
SPREAD: Final = 1.2
"""The API server names many jobs the same time to come back: they do within so many times it."""
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Reconciler:
    """Looks at jobs."""

    store: Store
    queue: WorkQueue
    alarms: Alarms
    admission: Admission
    act: Callable[[World, Decision], Awaitable[bool]]
    """Carries a decision out; False when the job is not as it was, and nothing was done."""
    say: Callable[[Key, Condition], Awaitable[bool]]
    """Adds a condition to a job; whether that is done."""
    metrics: Metrics
    keeping: Keeping
    clock: Callable[[], datetime]
    failures: dict[Key, Failing] = field(default_factory=dict)
    """Of each key whose last look has failed, or that waits for room since; forgotten with the job and its Pods."""

    def __post_init__(self) -> None:
        self.queue.failing = self.failures

    async def work(self) -> None:
        """Takes keys from the queue for ever; what fails is logged and looked at again later."""
        while True:
            key = await self.queue.take()
            started = time.perf_counter()
            try:
                if (error := await self._tried(key, self.look(key))) is not None:
                    self._failed(key, error)
                    await self._tried(key, self._tell(key))
            finally:
                self.metrics.reconcile_seconds.observe(time.perf_counter() - started)
                self.queue.done(key)

    async def look(self, key: Key) -> None:
        """One look at a job.

        Raises:
            ApiError: nothing could be done about it, for now.
        """
        if key in self.store.unread:
            raise UnreadableError("this version of the operator cannot read the job")
        now = self.clock()
        world = observe(self.store, key, self.keeping, self.admission.look(key, now), now)
        decision = decide(world)
        self.alarms.set(key, decision.look_again)
        is_done = True
        with self.admission.acting(key, decision):
            if decision.status is not None or decision.actions:
                is_done = await self.act(world, decision)
                self.queue.add(key)
        if is_done and world.queue.place is None:  # while it waits for room, only its turn shows whether it goes on
            self.failures.pop(key, None)

    async def _tried(self, key: Key, doing: Awaitable[None]) -> Exception | None:
        """What it ended with, if not well."""
        about = {"namespace": key.namespace, "job": key.name}
        try:
            await doing
        except ApiError as error:
            log.warning("Not done: %s", failing.said(error), extra=about)
            return error
        except Exception as error:  # the outermost frame: one job's defect must not stop the others
            log.exception("Not done", extra=about)
            return error
        return None

    def _failed(self, key: Key, error: Exception) -> None:
        now = self.clock()
        found = failing.after(self.failures.get(key), self.store.jobs.get(key), error, now)
        self.failures[key] = found
        self.metrics.reconcile_errors.labels(type(error).__name__).inc()
        asked_for = error.retry_after if isinstance(error, ApiError) else 0.0
        at_least = asked_for * random.uniform(1.0, SPREAD)  # noqa: S311 - no secret
        self.alarms.set(key, now + timedelta(seconds=RETRY.delay(found.times, at_least)))

    async def _tell(self, key: Key) -> None:
        """Has a job that is stuck say so, once."""
        found, job = self.failures[key], self.store.jobs.get(key)
        if found.told or not found.is_stuck:
            return
        if await self.say(key, failing.condition(found, job.metadata.generation if job else 0)):
            self.failures[key] = replace(found, told=True)
