"""Namespaces that the operator may not read, or cannot: the others go on, and they join once they can be read."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from agentjob_kube.client import Client
from agentjob_kube.reach import Reach
from agentjob_kube.resources import AGENT_JOBS, PODS
from agentjob_kube.wire import HttpTransport
from agentjob_operator.operate import _kopf
from agentjob_operator.store import Store
from agentjob_operator.watch import Watcher
from agentjob_operator.work import WorkQueue
from fake_cluster import FakeCluster, Fault
from fake_cluster.faults import no_right
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, WITHIN, connection, operated, until

OTHERS = "others"
BOTH = (NAMESPACE, OTHERS)
BROKEN = Refusal(500, "InternalError", "conversion webhook for agentjob.dev/v1alpha1 failed")


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(Refusal(404, "NotFound", "the server could not find the requested resource"), id="not found"),
        pytest.param(Refusal(410, "Expired", "too old"), id="too old"),
    ],
)
async def test_a_watch_that_ends_again_and_again_in_one_namespace_disturbs_none_in_another(refusal: Refusal) -> None:
    async with operated(namespaces=list(BOTH)) as op:
        op.cluster.fail(Fault("watch", "agentjobs", namespace=OTHERS, refusal=refusal, forever=True))

        async def watches() -> Counter[str]:
            asked = (seen for seen in op.asked() if (seen.verb, seen.resource) == ("watch", "agentjobs"))
            return Counter(seen.namespace for seen in asked)

        async def is_refused_often() -> bool:
            return (await watches())[OTHERS] >= 4

        await op.submit()
        await op.pod()
        await until(is_refused_often)
        assert (await watches())[NAMESPACE] == 1


@asynccontextmanager
async def watching(cluster: FakeCluster) -> AsyncIterator[Watcher]:
    """A watcher of both namespaces that is not patient, with kopf."""
    reach = Reach(namespaces=BOTH, patience=0.1)
    async with aiohttp.ClientSession() as session:
        client = Client(HttpTransport(session, cluster.url))
        watcher = Watcher(client=client, store=Store(), queue=WorkQueue(1), reach=reach)
        reached = connection(cluster.url, lambda _verb, _code: None)
        parts: list[Coroutine[Any, Any, None]] = []
        for namespace in BOTH:
            parts += [watcher.jobs(namespace, 0.5), watcher.pods(namespace)]
            parts.append(_kopf(reached, watcher, namespace, asyncio.Event()))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            yield watcher
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.plural) for kind in (AGENT_JOBS, PODS)])
@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_namespace_is_lost_while_a_right_is_missing_there(kind: Any, verb: str) -> None:
    with FakeCluster() as cluster:
        cluster.bookmark_every(0.1)
        cluster.fail(no_right(verb, kind.plural, OTHERS))
        async with asyncio.timeout(WITHIN), watching(cluster) as watcher:
            await watcher.until(lambda: watcher.reach.is_lost(OTHERS))
            assert watcher.reach.refused(OTHERS) == [f"{verb} {kind.plural}"]
            assert not watcher.reach.is_lost(NAMESPACE)
            cluster.mend()
            await watcher.until(lambda: not watcher.reach.is_lost(OTHERS))


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.plural) for kind in (AGENT_JOBS, PODS)])
async def test_a_namespace_whose_lists_fail_is_not_waited_for_and_not_lost(kind: Any) -> None:
    with FakeCluster() as cluster:
        cluster.fail(Fault("list", kind.plural, namespace=OTHERS, refusal=BROKEN, forever=True))
        async with asyncio.timeout(WITHIN), watching(cluster) as watcher:
            await watcher.until(lambda: watcher.reach.readable() == (NAMESPACE,))
            assert not watcher.reach.is_lost(OTHERS)
            cluster.mend()
            await watcher.until(lambda: watcher.reach.readable() == BOTH)
