"""The loop: what fails waits for itself, longer and longer, and holds nobody up."""

import asyncio
from contextlib import suppress
from datetime import datetime

import pytest

from agentjob_api.names import Key
from agentjob_kube.errors import ApiError, ServerError, TooManyRequests
from agentjob_operator.admission import Admission
from agentjob_operator.metrics import Metrics
from agentjob_operator.reconcile import RETRY, Reconciler
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.slots import Queue
from agentjob_operator.store import Store
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import Decision, World
from worlds import KEEPING, KEY, at, job

AWAY = ServerError("away", status=503)
OTHER = Key("ns", "other")


class NoAlarms(Alarms):
    """Notes the alarms that are set, and rings none."""

    def __init__(self) -> None:
        super().__init__(lambda _: None, lambda: at(0))
        self.noted: list[tuple[Key, datetime | None]] = []

    def set(self, key: Key, time: datetime | None) -> None:
        self.noted.append((key, time))


class Acts:
    """Fails with these errors, one for each act on the job; anything else is done and forgotten."""

    def __init__(self, store: Store, errors: list[Exception]) -> None:
        self._store = store
        self.errors = errors
        self.on: list[Key] = []

    async def __call__(self, world: World, decision: Decision) -> None:
        assert decision.actions
        self.on.append(world.key)
        if world.key == KEY and self.errors:
            raise self.errors.pop(0)
        self._store.jobs.pop(world.key, None)


def loop(*errors: Exception) -> tuple[Reconciler, NoAlarms, Acts]:
    """A loop over two new jobs, acts on the first of which fail."""
    store, alarms = Store(), NoAlarms()
    for name in ("fix", "other"):
        store.put_job(job(meta={"name": name}))
    metrics = Metrics(lambda: store.jobs, lambda: 0, lambda: True)
    acts = Acts(store, list(errors))
    queue = WorkQueue()
    found = Reconciler(
        store=store,
        queue=queue,
        alarms=alarms,
        admission=Admission(store=store, queue=Queue(LimitsSettings()), work=queue, clock=lambda: at(0)),
        act=acts,
        metrics=metrics,
        keeping=KEEPING,
        clock=lambda: at(0),
    )
    found.admission.open()
    return found, alarms, acts


async def run(reconciler: Reconciler, *keys: Key) -> None:
    """Lets one worker work until nothing waits, after each key in turn."""
    worker = asyncio.create_task(reconciler.work())
    for key in keys:
        reconciler.queue.add(key)
        for _ in range(20):
            await asyncio.sleep(0)
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker


def waits(alarms: NoAlarms) -> list[float]:
    """Seconds until the job is looked at again, after each failure."""
    return [(time - at(0)).total_seconds() for key, time in alarms.noted if key == KEY and time is not None]


@pytest.mark.parametrize("error", [AWAY, ValueError("a defect")], ids=["the API server", "a defect"])
async def test_a_job_that_fails_is_looked_at_later_and_later(error: Exception) -> None:
    reconciler, alarms, _ = loop(*[error] * 12)

    await run(reconciler, *[KEY] * 12)

    found = waits(alarms)
    assert len(found) == 12
    assert found[0] <= RETRY.first
    assert found[-1] >= RETRY.most / 2


async def test_a_job_that_succeeds_at_last_starts_anew() -> None:
    reconciler, alarms, acts = loop(*[AWAY] * 8)

    await run(reconciler, *[KEY] * 9)
    reconciler.store.put_job(job(meta={"resourceVersion": "200"}))
    acts.errors.append(AWAY)
    await run(reconciler, KEY)

    found = waits(alarms)
    assert found[7] > 1.0
    assert found[8] <= RETRY.first


async def test_the_api_server_is_given_the_time_it_asks_for() -> None:
    reconciler, alarms, _ = loop(TooManyRequests("later", status=429, retry_after=30.0))

    await run(reconciler, KEY)

    assert waits(alarms) == [30.0]


@pytest.mark.parametrize("error", [AWAY, ApiError("anything"), KeyError("a defect")])
async def test_the_other_jobs_are_not_held_up(error: Exception) -> None:
    reconciler, _, acts = loop(error)

    await run(reconciler, KEY, OTHER)

    assert acts.on == [KEY, OTHER]
