"""The loop: take a key, observe, decide, act, and again, for as long as there is something to do."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from agentjob_api.names import Key
from agentjob_kube.backoff import Backoff
from agentjob_kube.errors import ApiError
from agentjob_operator.admission import Admission
from agentjob_operator.decide import decide
from agentjob_operator.metrics import Metrics
from agentjob_operator.observe import observe
from agentjob_operator.store import Store
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import Decision, Keeping, World

RETRY: Final = Backoff(first=0.2, most=60.0)
"""Of a job that could not be acted on: each job waits for itself, and the others do not wait for it."""
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Reconciler:
    """Looks at jobs."""

    store: Store
    queue: WorkQueue
    alarms: Alarms
    admission: Admission
    act: Callable[[World, Decision], Awaitable[None]]
    metrics: Metrics
    keeping: Keeping
    clock: Callable[[], datetime]
    _failures: dict[Key, int] = field(default_factory=dict)

    async def work(self) -> None:
        """Takes keys from the queue for ever; what fails is logged and looked at again later."""
        while True:
            key = await self.queue.take()
            started = time.perf_counter()
            try:
                await self.look(key)
                self._failures.pop(key, None)
            except ApiError as error:
                self._failed(key, error, error.retry_after)
                log.warning("Not done: %s", error, extra={"namespace": key.namespace, "job": key.name})
            except Exception as error:  # the outermost frame: one job's defect must not stop the others
                self._failed(key, error, 0.0)
                log.exception("Not done", extra={"namespace": key.namespace, "job": key.name})
            finally:
                self.metrics.reconcile_seconds.observe(time.perf_counter() - started)
                self.queue.done(key)

    async def look(self, key: Key) -> None:
        """One look at a job."""
        now = self.clock()
        world = observe(self.store, key, self.keeping, self.admission.look(key, now), now)
        decision = decide(world)
        self.alarms.set(key, decision.look_again)
        with self.admission.acting(key, decision):
            if decision.status is not None or decision.actions:
                await self.act(world, decision)
                self.queue.add(key)

    def _failed(self, key: Key, error: Exception, at_least: float) -> None:
        self._failures[key] = failures = self._failures.get(key, 0) + 1
        self.metrics.reconcile_errors.labels(type(error).__name__).inc()
        self.alarms.set(key, self.clock() + timedelta(seconds=RETRY.delay(failures, at_least)))
