"""The loop: take a key, observe, decide, act, and again, for as long as there is something to do."""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from agentjob_api.names import Key
from agentjob_api.status import Condition
from agentjob_kube.errors import ApiError
from agentjob_operator import failing
from agentjob_operator.admission import Admission
from agentjob_operator.decide import decide
from agentjob_operator.failing import Failing
from agentjob_operator.jobs import UnreadableError, about
from agentjob_operator.metrics import Metrics
from agentjob_operator.observe import observe
from agentjob_operator.sightings import Sightings
from agentjob_operator.store import Store
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import Decision, Keeping, World

TOGETHER: Final = timedelta(seconds=failing.OFTEN)
"""At least between two times at which all are looked at that failed for what is over for one of them."""
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
    sightings: Sightings = field(default_factory=Sightings)
    served: set[str] = field(default_factory=set)
    """Namespaces whose jobs are looked at."""
    together: datetime | None = None
    """When all that failed were last looked at together."""

    def __post_init__(self) -> None:
        self.queue.failing = self.failures

    def serve(self, namespaces: Iterable[str]) -> None:
        """Looks at all jobs of these namespaces once, and from now on whenever they come up.

        All their jobs and Pods must be known, and nobody else may act on them.
        """
        added = set(namespaces) - self.served
        self.served |= added
        known = self.store.keys() | self.store.unread.keys()
        keys = sorted(key for key in known if key.namespace in added)
        self.admission.open(keys)
        for key in keys:
            self.queue.add(key)

    def leave(self, namespace: str) -> None:
        """Looks at no job of a namespace any more, until it is served again: nothing is heard of it.

        What was known of it is forgotten, as by a start: slots of Pods that may be gone would be lost to all others.
        That includes jobs that are gone themselves, and that nobody has looked at since.
        """
        self.served.discard(namespace)
        self.sightings.forget(namespace)
        failed = {key for key in self.failures if key.namespace == namespace}
        for key in self.store.forget(namespace) | failed:
            self.admission.give_up(key)
            self.alarms.set(key, None)
            self.failures.pop(key, None)

    async def work(self) -> None:
        """Takes keys from the queue for ever; what fails is logged and looked at again later."""
        while True:
            key = await self.queue.take()
            started = time.perf_counter()
            try:
                error = await self._tried(key, self.look(key))
                if error is not None and self.queue.accepts(key):
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
            self.admission.give_up(key)
            raise UnreadableError("this version of the operator cannot read the job")
        now = self.clock()
        world = self.sightings.noted(observe(self.store, key, self.keeping, self.admission.look(key, now), now))
        decision = decide(world)
        self.alarms.set(key, decision.look_again)
        is_done = True
        with self.admission.acting(key, decision):
            if decision.status is not None or decision.actions:
                is_done = await self.act(world, decision)
                self.queue.add(key)
        if is_done and world.queue.place is None:  # while it waits for room, only its turn shows whether it goes on
            self._got_on(key, now)

    def _got_on(self, key: Key, now: datetime) -> None:
        """What failed one job and is over may have failed others: they do not wait out their time."""
        over = self.failures.pop(key, None)
        if over is None or not over.is_of_all or (self.together is not None and now < self.together + TOGETHER):
            return
        self.together = now
        for other, found in self.failures.items():
            if found.is_of_all and found.not_before <= now:
                self.queue.add(other)

    async def _tried(self, key: Key, doing: Awaitable[None]) -> Exception | None:
        """What it ended with, if not well."""
        try:
            await doing
        except ApiError as error:
            log.warning("Not done: %s", failing.said(error), extra=about(key))
            return error
        except Exception as error:  # the outermost frame: one job's defect must not stop the others
            log.exception("Not done", extra=about(key))
            return error
        return None

    def _failed(self, key: Key, error: Exception) -> None:
        now = self.clock()
        found = failing.after(self.failures.get(key), self.store.jobs.get(key), error, now)
        self.failures[key] = found
        self.metrics.reconcile_errors.labels(type(error).__name__).inc()
        at_least = (found.not_before - now).total_seconds() * random.uniform(1.0, SPREAD)  # noqa: S311 - no secret
        waits = failing.backoff(found, len(self.failures)).delay(found.times, at_least)
        self.alarms.set(key, now + timedelta(seconds=waits))

    async def _tell(self, key: Key) -> None:
        """Has a job that is stuck say so, once."""
        found, job = self.failures[key], self.store.jobs.get(key)
        if found.told or not found.is_stuck:
            return
        said = await self.say(key, failing.condition(found, job.metadata.generation if job else 0))
        if said and key in self.failures:
            self.failures[key] = replace(found, told=True)
