"""The loop: what fails waits for itself, longer and longer, and holds nobody up."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from agentjob_api.names import Key
from agentjob_api.phases import Phase
from agentjob_api.status import Condition, ConditionType, Trouble
from agentjob_kube.errors import ApiError, Forbidden, NoRight, ServerError, TooManyRequests, Unreachable
from agentjob_operator.admission import Admission
from agentjob_operator.failing import FIRST, OFTEN, SELDOM, STUCK_AFTER
from agentjob_operator.metrics import Metrics
from agentjob_operator.reconcile import Reconciler
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.sightings import Sightings
from agentjob_operator.slots import Queue
from agentjob_operator.store import Store
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import Decision, World
from worlds import KEEPING, KEY, at, job, pod

AWAY = ServerError("away", status=503)
OTHER = Key("ns", "other")
CHANGED = Exception("no error: the job has changed, and nothing was done")


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
        self.failing: dict[Key, Exception] = {}
        """What acts on a job fail with for as long as it is here."""
        self.on: list[Key] = []
        self.seconds = 0.0
        """By how many the clock goes on with each act."""
        self.now = at(0)

    async def __call__(self, world: World, decision: Decision) -> bool:
        if decision.status is not None:
            assert world.job is not None
            meta = world.job.metadata
            newer = meta.model_copy(update={"resource_version": str(int(meta.resource_version) + 1)})
            self._store.put_job(world.job.model_copy(update={"metadata": newer, "status": decision.status}))
        if not decision.actions:
            return True
        self.on.append(world.key)
        self.now += timedelta(seconds=self.seconds)
        if world.key in self.failing:
            raise self.failing[world.key]
        if world.key == KEY and self.errors:
            if (error := self.errors.pop(0)) is CHANGED:
                return False
            raise error
        self._store.jobs.pop(world.key, None)
        return True


class Says:
    """Takes down what jobs are to say of themselves, unless it fails with one of these."""

    def __init__(self) -> None:
        self.said: list[tuple[Key, ConditionType]] = []
        self.errors: list[Exception | bool] = []

    async def __call__(self, key: Key, condition: Condition) -> bool:
        self.said.append((key, condition.type))
        match self.errors.pop(0) if self.errors else True:
            case bool(done):
                return done
            case error:
                raise error


def loop(*errors: Exception, limit: int | None = None) -> tuple[Reconciler, NoAlarms, Acts]:
    """A loop over two new jobs, acts on the first of which fail. So many jobs may run."""
    store, alarms = Store(), NoAlarms()
    for name in ("fix", "other"):
        store.put_job(job(meta={"name": name}))
    metrics = Metrics(lambda: store.jobs, lambda: 0, lambda: True)
    acts = Acts(store, list(errors))
    queue = WorkQueue(4)
    found = Reconciler(
        store=store,
        queue=queue,
        alarms=alarms,
        admission=Admission(store=store, queue=Queue(LimitsSettings(running=limit)), work=queue, clock=lambda: at(0)),
        act=acts,
        say=Says(),
        metrics=metrics,
        keeping=KEEPING,
        clock=lambda: acts.now,
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


@pytest.mark.parametrize(
    ("error", "most"),
    [
        pytest.param(AWAY, OFTEN, id="often, where the API server fails"),
        pytest.param(Forbidden("quota", status=403), SELDOM, id="seldom, where it is refused"),
        pytest.param(ValueError("a defect"), SELDOM, id="seldom, where there is a defect"),
    ],
)
async def test_a_job_that_fails_is_looked_at_later_and_later(error: Exception, most: float) -> None:
    reconciler, alarms, _ = loop(*[error] * 12)

    await run(reconciler, *[KEY] * 12)

    found = waits(alarms)
    assert len(found) == 12
    assert found[0] <= FIRST
    assert most / 2 <= found[-1] <= most


async def test_a_job_that_succeeds_at_last_starts_anew() -> None:
    reconciler, alarms, acts = loop(*[AWAY] * 8)

    await run(reconciler, *[KEY] * 9)
    reconciler.store.put_job(job(meta={"resourceVersion": "200"}))
    acts.errors.append(AWAY)
    await run(reconciler, KEY)

    found = waits(alarms)
    assert found[7] > 1.0
    assert found[8] <= FIRST


async def test_the_api_server_is_given_the_time_it_asks_for() -> None:
    reconciler, alarms, _ = loop(TooManyRequests("later", status=429, retry_after=30.0))

    await run(reconciler, KEY)

    assert 30.0 <= waits(alarms)[0] <= 36.0


@pytest.mark.parametrize(
    ("error", "together"),
    [
        pytest.param(AWAY, [OTHER], id="the API server fails"),
        pytest.param(Unreachable("no answer"), [OTHER], id="there is no answer"),
        pytest.param(NoRight("no right", status=403), [OTHER], id="the operator has no right to it"),
        pytest.param(Forbidden("quota", status=403), [], id="they are refused, each for itself"),
        pytest.param(TooManyRequests("later", status=429, retry_after=30.0), [], id="a time was named"),
    ],
)
async def test_when_one_job_gets_on_those_do_that_failed_as_well_since(error: Exception, together: list[Key]) -> None:
    reconciler, _, acts = loop()
    acts.failing = {KEY: error, OTHER: error}
    await run(reconciler, KEY, OTHER)

    acts.failing = {}
    await run(reconciler, KEY)

    assert acts.on == [KEY, OTHER, KEY, *together]


@pytest.mark.parametrize(
    ("seconds", "looks"),
    [
        pytest.param(OFTEN - 1, 2, id="not as often as one of them does"),
        pytest.param(OFTEN, 3, id="once in a while"),
    ],
)
async def test_others_are_looked_at_together_when_a_job_gets_on(seconds: float, looks: int) -> None:
    reconciler, _, acts = loop()
    acts.failing[OTHER] = AWAY
    await run(reconciler, OTHER)
    for number in range(2):
        acts.failing[KEY] = AWAY
        await run(reconciler, KEY)
        del acts.failing[KEY]
        await run(reconciler, KEY)
        reconciler.store.put_job(job(meta={"resourceVersion": str(200 + number)}))
        acts.now += timedelta(seconds=seconds)

    assert acts.on.count(OTHER) == looks


@pytest.mark.parametrize("error", [AWAY, ApiError("anything"), KeyError("a defect")])
async def test_the_other_jobs_are_not_held_up(error: Exception) -> None:
    reconciler, _, acts = loop(error)

    await run(reconciler, KEY, OTHER)

    assert acts.on == [KEY, OTHER]


def says(reconciler: Reconciler) -> Says:
    found = reconciler.say
    assert isinstance(found, Says)
    return found


SAID = [(KEY, ConditionType.RECONCILE_FAILURE)]
MINUTES = STUCK_AFTER.total_seconds() / 3
"""Between two looks: the fourth one that fails finds that it has been so for long."""


@pytest.mark.parametrize("error", [AWAY, ValueError("a defect")], ids=["the API server", "a defect"])
@pytest.mark.parametrize(
    ("failures", "answers", "times"),
    [
        pytest.param(3, [], 0, id="is not said before it is so for long"),
        pytest.param(4, [], 1, id="is said then"),
        pytest.param(9, [], 1, id="is said once"),
        pytest.param(6, [AWAY, False], 3, id="is said again until it is heard"),
        pytest.param(6, [KeyError("a defect in saying it")], 2, id="is said again when that was a defect"),
    ],
)
async def test_that_a_job_is_stuck(
    error: Exception, failures: int, answers: list[Exception | bool], times: int
) -> None:
    reconciler, _, acts = loop(*[error] * failures)
    acts.seconds, says(reconciler).errors = MINUTES, [*answers]

    await run(reconciler, *[KEY] * failures)

    assert says(reconciler).said == SAID * times


async def test_that_a_job_has_changed_is_not_the_end_of_its_failures() -> None:
    reconciler, _, acts = loop(AWAY, CHANGED, AWAY, AWAY)
    acts.seconds = MINUTES

    await run(reconciler, *[KEY] * 3)

    assert reconciler.failures[KEY].times == 3
    assert says(reconciler).said == SAID


async def test_a_job_on_which_deciding_fails_says_so_too() -> None:
    reconciler, _, acts = loop()
    store = reconciler.store
    forever = {"phase": "Succeeded", "completionTime": "9999-12-31T23:59:59Z"}
    store.put_job(job(forever, meta={"resourceVersion": "200"}))
    for _ in range(4):
        await run(reconciler, KEY)
        acts.now += timedelta(seconds=MINUTES)

    assert (acts.on, says(reconciler).said) == ([], SAID)


async def test_a_job_that_cannot_be_read_is_left_alone_and_told_of() -> None:
    reconciler, _, acts = loop()
    reconciler.store.put_pod(pod())
    body = {"metadata": job(meta={"resourceVersion": "200"}).metadata.model_dump(), "spec": {"prompt": 7}}
    assert reconciler.store.take_job(KEY, body)
    for _ in range(4):
        await run(reconciler, KEY)
        acts.now += timedelta(seconds=MINUTES)

    assert (acts.on, says(reconciler).said) == ([], SAID)
    assert reconciler.failures[KEY].trouble is Trouble.UNREADABLE


async def test_a_job_that_is_gone_is_forgotten() -> None:
    reconciler, _, acts = loop(*[AWAY] * 5)
    acts.seconds = MINUTES
    await run(reconciler, *[KEY] * 5)
    assert reconciler.failures.keys() == {KEY}

    reconciler.store.drop_job(KEY, reconciler.store.jobs[KEY].metadata.uid)
    await run(reconciler, KEY)

    assert (reconciler.failures, says(reconciler).said) == ({}, SAID)


async def test_waiting_for_room_is_neither_a_failure_nor_the_end_of_one() -> None:
    reconciler, _, acts = loop(*[AWAY] * 4, limit=1)
    acts.seconds = MINUTES
    await run(reconciler, KEY)
    reconciler.admission.queue.works(OTHER)  # it has got the slot
    acts.now += STUCK_AFTER
    await run(reconciler, KEY, KEY)

    assert (reconciler.store.jobs[KEY].status.phase, acts.on) == (Phase.QUEUED, [KEY])
    assert (reconciler.failures[KEY].times, says(reconciler).said) == (1, [])


async def test_jobs_are_looked_at_once_their_namespace_is_served_and_none_is_remembered_before() -> None:
    reconciler, _, acts = loop()
    reconciler.queue.accepts = lambda key: key.namespace in reconciler.served

    await run(reconciler, KEY, OTHER)
    assert (len(reconciler.queue), acts.on) == (0, [])

    reconciler.serve({"elsewhere"})
    await run(reconciler, KEY)
    assert acts.on == []

    reconciler.serve({"ns"})
    await run(reconciler, KEY)
    assert acts.on == [KEY, OTHER]


def test_a_job_of_a_namespace_that_is_not_served_takes_no_slot() -> None:
    reconciler, _, _ = loop(limit=1)
    reconciler.queue.accepts = lambda key: key.namespace in reconciler.served
    reconciler.store.put_job(job(meta={"name": "away", "namespace": "away", "uid": "uid-away"}))

    reconciler.serve({"ns"})

    assert [reconciler.admission.queue.is_admitted(key) for key in (KEY, Key("away", "away"))] == [True, False]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(None, id="is done"),
        pytest.param(NoRight("no right", status=403), id="is refused"),
        pytest.param(Unreachable("no answer"), id="gets no answer"),
    ],
)
async def test_nothing_is_kept_of_a_namespace_that_is_left_though_what_was_begun_there(error: Exception | None) -> None:
    reconciler, _, acts = loop(limit=1)
    reconciler.queue.accepts = lambda key: key.namespace in reconciler.served

    async def act(world: World, _: Decision) -> bool:
        acts.on.append(world.key)
        reconciler.leave("ns")
        if error is not None:
            raise error
        return True

    reconciler.act = act
    reconciler.serve({"ns"})
    await run(reconciler, OTHER)

    assert acts.on == [KEY]
    assert (reconciler.failures, reconciler.sightings, len(reconciler.queue)) == ({}, Sightings(), 0)
    assert reconciler.admission.queue.tally("ns") == (0, None, 0)
    reconciler.store.put_job(job())
    reconciler.serve({"ns"})
    assert reconciler.admission.queue.is_admitted(KEY)


async def test_nothing_is_kept_of_a_job_that_was_gone_when_its_namespace_is_left() -> None:
    reconciler, _, _ = loop(AWAY)
    reconciler.queue.accepts = lambda key: key.namespace in reconciler.served
    reconciler.serve({"ns"})
    await run(reconciler, KEY)
    assert reconciler.failures.keys() == {KEY}

    reconciler.store.drop_job(KEY, reconciler.store.jobs[KEY].metadata.uid)
    reconciler.leave("ns")

    assert (reconciler.failures, reconciler.sightings) == ({}, Sightings())
