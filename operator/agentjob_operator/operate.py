"""The whole operator: everything made once, handed down, and run until one part fails or it is stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

from agentjob_api.names import Key
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client
from agentjob_kube.connect import Connection, Observer
from agentjob_kube.reach import Reach
from agentjob_kube.resources import AGENT_JOBS
from agentjob_kube.wire import HttpTransport
from agentjob_operator import handlers
from agentjob_operator.act import Actor
from agentjob_operator.act_pod import PodActor
from agentjob_operator.admission import Admission
from agentjob_operator.leader import Alone, Candidate, Fenced, Leadership
from agentjob_operator.lease import Terms
from agentjob_operator.metrics import FailuresByNamespace, Metrics, QueueByNamespace, StoreAge
from agentjob_operator.reconcile import Reconciler
from agentjob_operator.settings import Settings
from agentjob_operator.slots import Queue
from agentjob_operator.store import Store
from agentjob_operator.watch import Watcher
from agentjob_operator.work import Alarms, WorkQueue
from agentjob_operator.world import Keeping
from agentjob_program import health, parts

KOPF: Final = Backoff(first=0.5, most=30.0)
"""Before kopf is started again; it ends itself on errors of a watch that others wait out."""
LIST_JOBS: Final = f"list {AGENT_JOBS.plural}"
log = logging.getLogger(__name__)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


async def operate(
    settings: Settings,
    connect: Callable[[Observer], Awaitable[Connection]],
    stopped: asyncio.Event,
    clock: Callable[[], datetime] = now,
) -> None:
    """Runs until `stopped` is set, or until SIGTERM or SIGINT. What becomes of jobs in time goes by this clock.

    Raises:
        Exception: whatever one of the parts ended with. The process is then to end too, and to be started again.
    """
    parts.listen(stopped)
    store, acting = Store(), asyncio.Event()
    metrics = Metrics(lambda: store.jobs if acting.is_set() else {}, lambda: len(queue), acting.is_set)
    queue = WorkQueue(settings.workers, metrics.waited)
    queue.accepts = lambda key: key.namespace in reconciler.served
    admission = Admission(store=store, queue=Queue(settings.limits), work=queue, clock=clock)
    alarms = Alarms(queue.add, clock)
    metrics.registry.register(QueueByNamespace(admission.queue, settings.namespaces, acting.is_set, clock))
    connection = await connect(metrics.request)
    async with connection.session() as session:
        transport = HttpTransport(session, connection.server)
        client = Client(transport)
        leadership = _leadership(settings, client)
        reach = Reach(namespaces=tuple(settings.namespaces))
        watcher = Watcher(client=client, store=store, queue=queue, reach=reach)
        fenced = Client(Fenced(transport, leadership.holds))
        pods = PodActor(client=fenced, store=store, runner=settings.runner, clock=clock)
        actor = Actor(client=fenced, store=store, pods=pods, metrics=metrics, clock=clock)
        reconciler = Reconciler(
            store=store,
            queue=queue,
            alarms=alarms,
            admission=admission,
            act=actor.act,
            say=actor.say,
            metrics=metrics,
            keeping=Keeping(pod_ttl=timedelta(seconds=settings.pod_ttl_seconds), archives=settings.archives),
            clock=clock,
        )
        metrics.registry.register(FailuresByNamespace(reconciler.failures, settings.namespaces, acting.is_set))
        metrics.registry.register(StoreAge(watcher.ages))
        async with health.served(metrics.registry, watcher.is_ready, settings.port):
            log.info("Started, serving AgentJobs in %s", ", ".join(settings.namespaces))
            # First: what is listed after it was ours need not be listed again.
            await leadership.tries()
            running = [
                *(_kopf(connection, watcher, namespace, stopped) for namespace in settings.namespaces),
                leadership.run(),
                alarms.run(),
                *(watcher.pods(namespace) for namespace in settings.namespaces),
                *(watcher.pods_again(namespace, settings.resync_seconds) for namespace in settings.namespaces),
                *(watcher.jobs(namespace, settings.resync_seconds) for namespace in settings.namespaces),
                _act(leadership, watcher, reconciler, acting, settings.workers),
            ]
            await parts.run(running, stopped)
            await leadership.give_back()
    log.info("Stopped")


def _leadership(settings: Settings, client: Client) -> Leadership:
    if settings.lease is None:
        return Alone()
    key, terms = Key(settings.lease.namespace, settings.lease.name), Terms(duration=settings.lease.seconds)
    return Candidate(client=client, key=key, identity=settings.pod_name, terms=terms, now=now)


async def _act(
    leadership: Leadership, watcher: Watcher, reconciler: Reconciler, acting: asyncio.Event, workers: int
) -> None:
    """Looks at jobs for ever, once nobody else does and everything is known that can be.

    A Pod whose job is not known yet is no orphan; and a job may stand otherwise since the one that acted before has
    written, whose Pods are gone by now. No slot is given away before it is known who has one. A namespace that cannot
    be read holds up no other, and has no slot: it is served from when it can be.
    """
    await leadership.acquired.wait()
    known: set[str] = set()
    reach = watcher.reach
    since = dict.fromkeys(reach.namespaces, leadership.since)

    def leave(namespace: str) -> None:
        since[namespace] = time.monotonic()  # what has come before is forgotten
        reconciler.leave(namespace)
        missing = ", ".join(reach.missing(namespace))
        log.warning("Namespace %s: its jobs are left alone until this is answered: %s", namespace, missing)

    async def know(namespace: str) -> None:
        while True:
            await _listed(watcher, namespace, since)
            known.add(namespace)
            watcher.news.set()
            if acting.is_set():
                reconciler.serve({namespace})
            await watcher.until(lambda: reach.is_lost(namespace))
            known.discard(namespace)
            leave(namespace)

    async with asyncio.TaskGroup() as tasks:
        for namespace in reach.namespaces:
            tasks.create_task(know(namespace))
        await watcher.until(lambda: bool(known) and known >= set(reach.readable()))
        for namespace in set(reach.namespaces) - known:
            leave(namespace)
        reconciler.serve(known)
        acting.set()
        for _ in range(workers):
            tasks.create_task(reconciler.work())


async def _listed(watcher: Watcher, namespace: str, since: dict[str, float]) -> None:
    """Returns once a namespace can be read and was listed since a moment, which may become a later one meanwhile."""
    moment: float | None = None
    while moment != since[namespace]:
        await watcher.until(lambda: not watcher.reach.is_lost(namespace))
        await watcher.listed_after(namespace, moment := since[namespace])


async def _kopf(connection: Connection, watcher: Watcher, namespace: str, stopped: asyncio.Event) -> None:
    """Runs kopf for one namespace, and again whenever it has ended itself, as it does where it may not watch.

    Each namespace has its own: what ends one does not disturb the others.
    """
    failures = 0
    while True:
        await watcher.until(lambda: LIST_JOBS not in watcher.reach.refused(namespace))
        async with AsyncExitStack() as sessions:
            registry = handlers.registry(connection, sessions, watcher, namespace)
            async with handlers.watched(registry, namespace) as tasks:
                parts.listen(stopped)
                began = asyncio.get_running_loop().time()
                ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        errors = [str(task.exception()) for task in ended if not task.cancelled() and task.exception()]
        failures = 1 if asyncio.get_running_loop().time() - began > KOPF.most else failures + 1
        delay = KOPF.delay(failures)
        log.warning("kopf has ended in %s: %s; again in %.1f s", namespace, "; ".join(errors) or "no error", delay)
        await asyncio.sleep(delay)
