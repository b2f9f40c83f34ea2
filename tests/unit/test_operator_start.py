"""When an operator begins to look at jobs: in each namespace once that is known, and for no dead one's sake later."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from agentjob_api.names import Key
from agentjob_api.status import Condition
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, NoRight, ServerError
from agentjob_kube.reach import REFUSED_AFTER, Reach
from agentjob_kube.resources import AGENT_JOBS
from agentjob_kube.transport import Request
from agentjob_operator.admission import Admission
from agentjob_operator.leader import Alone
from agentjob_operator.metrics import Metrics
from agentjob_operator.operate import _act
from agentjob_operator.reconcile import Reconciler
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.slots import Queue
from agentjob_operator.store import Store
from agentjob_operator.watch import Watcher
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import CreatePod, Decision, Keeping, World
from worlds import RUNNING, at, job, pod, running

BROKEN = ServerError("conversion webhook failed", status=500)


class Silent:
    """A transport that does not answer."""

    async def send(self, request: Request) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError(request)

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        yield [await self.send(request)]


async def silence(_: object, condition: Condition) -> bool:
    raise AssertionError(condition)


class Start:
    """An operator that may act from one moment on, of which namespaces were listed since."""

    def __init__(
        self, listed: Collection[str], refused: Collection[str], seconds: float, slots: int | None = None
    ) -> None:
        self.store, self.queue = Store(), WorkQueue(4)
        self.queue.accepts = lambda key: key.namespace in self.reconciler.served
        self.acting, self.leadership = asyncio.Event(), Alone()
        self.leadership.since = time.monotonic() - 5
        self.watcher = Watcher(
            client=Client(Silent()), store=self.store, queue=self.queue, reach=Reach(namespaces=("alive", "dead"))
        )
        for namespace in listed:
            self.list(namespace)
        for namespace in refused:
            self.refuse(namespace, seconds)
        self.started: list[Key] = []
        self.reconciler = Reconciler(
            store=self.store,
            queue=self.queue,
            alarms=Alarms(self.queue.add, lambda: at(0)),
            admission=Admission(
                store=self.store, queue=Queue(LimitsSettings(running=slots)), work=self.queue, clock=lambda: at(0)
            ),
            act=self._act,
            say=silence,
            metrics=Metrics(dict, lambda: 0, lambda: True),
            keeping=Keeping(pod_ttl=timedelta(), archives=False),
            clock=lambda: at(0),
        )

    async def _act(self, world: World, decision: Decision) -> bool:
        assert world.job is not None
        if CreatePod(1) in decision.actions:
            self.started.append(world.key)
            self.store.put_pod(pod(namespace=world.key.namespace, owner=world.job.metadata.uid, uid="new"))
        if decision.status is not None:
            meta = world.job.metadata.model_copy(update={"resource_version": "101"})
            self.store.put_job(world.job.model_copy(update={"metadata": meta, "status": decision.status}))
        return True

    def refuse(self, namespace: str, seconds: float, verb: str = "list") -> None:
        """This is refused of its jobs, since so many seconds."""
        self.fail(namespace, seconds, verb, NoRight("no right", status=403))

    def fail(self, namespace: str, seconds: float, verb: str = "list", error: ApiError = BROKEN) -> None:
        """This fails of its jobs, since so many seconds."""
        reach = self.watcher.reach
        reach.clock = lambda: time.monotonic() - seconds
        self.watcher.answered(AGENT_JOBS, namespace, verb, error)
        reach.clock = time.monotonic

    def allow(self, namespace: str, verb: str) -> None:
        """This is answered of its jobs."""
        self.watcher.answered(AGENT_JOBS, namespace, verb, None)

    def works(self, namespace: str) -> None:
        """An agent works there."""
        self.store.put_job(job(RUNNING, meta={"namespace": namespace}))
        self.store.put_pod(pod(namespace=namespace, agent=running()))

    def waits(self, namespace: str) -> None:
        """A job waits there."""
        self.store.put_job(job(meta={"namespace": namespace, "uid": "waits"}))

    def list(self, namespace: str, ago: float = 0.0) -> None:
        """Its jobs and Pods come, as they stood so many seconds ago."""
        for times in (self.watcher._jobs_of, self.watcher._pods_of):
            times[namespace] = time.monotonic() - ago
        self.allow(namespace, "list")
        self.watcher.news.set()

    async def served(self) -> tuple[bool, set[str]]:
        """Whether it acts, and on what, once all has come to rest."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.acting.is_set(), self.reconciler.served


@asynccontextmanager
async def begun(
    listed: Collection[str], refused: Collection[str] = (), seconds: float = 0.0, slots: int | None = None
) -> AsyncIterator[Start]:
    start = Start(listed, refused, seconds, slots)
    task = asyncio.create_task(_act(start.leadership, start.watcher, start.reconciler, start.acting, 2))
    try:
        yield start
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("listed", "refused", "seconds", "acts", "served"),
    [
        pytest.param({"alive", "dead"}, (), 0, True, {"alive", "dead"}, id="when all namespaces are known"),
        pytest.param({"alive"}, (), 0, False, set(), id="not before"),
        pytest.param(
            {"alive"}, {"dead"}, REFUSED_AFTER - 1, False, set(), id="not when one refuses for the first time"
        ),
        pytest.param({"alive"}, {"dead"}, REFUSED_AFTER, True, {"alive"}, id="without one that refuses for a minute"),
        pytest.param((), {"alive", "dead"}, REFUSED_AFTER, False, set(), id="not when all of them do"),
        pytest.param((), {"dead"}, REFUSED_AFTER, False, set(), id="not when the other one does not answer either"),
    ],
)
async def test_it_begins(
    listed: Collection[str], refused: Collection[str], seconds: float, acts: bool, served: set[str]
) -> None:
    async with begun(listed, refused, seconds) as start:
        assert await start.served() == (acts, served)


@pytest.mark.parametrize(
    ("failing", "seconds", "acts", "served"),
    [
        pytest.param({"dead"}, REFUSED_AFTER - 1, False, set(), id="not when one begins to"),
        pytest.param({"dead"}, REFUSED_AFTER, True, {"alive"}, id="without one that does for a minute"),
    ],
)
async def test_it_begins_while_lists_fail(
    failing: Collection[str], seconds: float, acts: bool, served: set[str]
) -> None:
    async with begun({"alive"}) as start:
        for namespace in failing:
            start.fail(namespace, seconds)
        assert await start.served() == (acts, served)
        start.list("dead")
        assert await start.served() == (True, {"alive", "dead"})


async def test_a_namespace_that_is_known_is_not_left_because_its_lists_fail() -> None:
    """It may be the API server, which fails all alike; what is done there fails, too, or its watches go on."""
    async with begun({"alive", "dead"}) as start:
        await start.served()
        start.fail("dead", 10 * REFUSED_AFTER)
        assert await start.served() == (True, {"alive", "dead"})


async def test_a_namespace_that_may_be_listed_and_not_watched_is_left_alone_until_it_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with begun({"alive", "dead"}) as start:
        start.refuse("dead", REFUSED_AFTER, "watch")
        assert await start.served() == (True, {"alive"})
        for _ in range(5):
            start.list("dead", ago=-1)
            assert await start.served() == (True, {"alive"})
        assert caplog.text.count("Namespace dead: its jobs are left alone") == 1
        assert "watch agentjobs" in caplog.text
        start.allow("dead", "watch")
        assert await start.served() == (True, {"alive", "dead"})


async def test_a_namespace_that_can_be_listed_again_joins() -> None:
    async with begun({"alive"}, {"dead"}, REFUSED_AFTER) as start:
        await start.served()
        start.list("dead")
        assert await start.served() == (True, {"alive", "dead"})


@pytest.mark.parametrize(
    ("refused", "seconds", "served", "started"),
    [
        pytest.param({"dead"}, REFUSED_AFTER - 1, {"alive", "dead"}, [], id="not at once"),
        pytest.param({"dead"}, REFUSED_AFTER, {"alive"}, [Key("alive", "fix")], id="after a minute"),
        pytest.param({"alive", "dead"}, REFUSED_AFTER, {"alive", "dead"}, [], id="not where no other can be listed"),
    ],
)
async def test_a_namespace_that_cannot_be_listed_any_more_loses_its_slots_to_others(
    refused: Collection[str], seconds: float, served: set[str], started: list[Key]
) -> None:
    """With a namespace goes our Role there, and nobody may tell us that the last of its Pods is gone."""
    async with begun({"alive", "dead"}, slots=1) as start:
        start.works("dead")
        start.waits("alive")
        await start.served()
        assert start.started == []
        for namespace in refused:
            start.refuse(namespace, seconds)
        assert await start.served() == (True, served)
        assert start.started == started


async def test_who_takes_over_gives_no_slot_to_what_it_knows_of_a_namespace_that_is_gone() -> None:
    async with begun({"alive"}, {"dead"}, REFUSED_AFTER, slots=1) as start:
        start.works("dead")
        start.list("dead", ago=10)
        start.refuse("dead", REFUSED_AFTER)
        start.waits("alive")
        assert await start.served() == (True, {"alive"})
        assert start.started == [Key("alive", "fix")]


async def test_what_is_there_of_it_is_looked_at_once_it_can_be_listed_again() -> None:
    async with begun({"alive", "dead"}) as start:
        start.works("dead")
        start.refuse("dead", REFUSED_AFTER)
        await start.served()
        assert start.store.keys() == set()
        start.waits("dead")
        start.list("dead", ago=-1)
        assert await start.served() == (True, {"alive", "dead"})
        assert start.started == [Key("dead", "fix")]


async def test_what_was_listed_before_the_lease_was_acquired_does_not_count() -> None:
    async with begun({"alive"}) as start:
        start.list("dead", ago=10)
        assert await start.served() == (False, set())
        start.list("dead")
        assert await start.served() == (True, {"alive", "dead"})


async def test_what_was_listed_of_a_namespace_before_it_was_left_does_not_count() -> None:
    """Its jobs came, and its Pods not before it was forgotten."""
    async with begun({"alive"}) as start:
        start.waits("dead")
        start.watcher._jobs_of["dead"] = time.monotonic()
        start.fail("dead", REFUSED_AFTER)
        assert await start.served() == (True, {"alive"})
        start.watcher._pods_of["dead"] = time.monotonic() + 1
        start.allow("dead", "list")
        assert await start.served() == (True, {"alive"})
        start.waits("dead")
        start.list("dead", ago=-2)
        assert await start.served() == (True, {"alive", "dead"})
        assert start.started == [Key("dead", "fix")]


async def test_what_is_still_heard_of_a_namespace_that_is_left_takes_no_slot() -> None:
    """Its Pods' watch goes on until it ends, and then nobody tells that they are gone."""
    async with begun({"alive", "dead"}, slots=1) as start:
        start.refuse("dead", REFUSED_AFTER, "watch")
        assert await start.served() == (True, {"alive"})
        start.works("dead")
        start.waits("alive")
        start.queue.add(Key("alive", "fix"))
        await start.served()
        assert start.started == [Key("alive", "fix")]
