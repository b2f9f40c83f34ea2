"""Namespaces that the gateway may not read, or cannot: the doors of the others stay open, and it joins them in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import pytest

from agentjob_gateway.cache import JobCache
from agentjob_gateway.caller import Caller, Limits, Role, Verb
from agentjob_gateway.census import Census
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.gate import Gate
from agentjob_gateway.jobs import Jobs
from agentjob_gateway.serve import is_ready
from agentjob_gateway.tokens import Reviews
from agentjob_kube.client import Client
from agentjob_kube.wire import HttpTransport
from fake_cluster import FakeCluster, Fault
from fake_cluster.faults import no_right
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, WITHIN, until

OTHERS = "others"
BOTH = (NAMESPACE, OTHERS)
BROKEN = Refusal(500, "InternalError", "conversion webhook for agentjob.dev/v1alpha1 failed")
LIMITS = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)


class Place(NamedTuple):
    """What a gateway knows of two namespaces that is not patient."""

    cluster: FakeCluster
    cache: JobCache
    jobs: Jobs

    async def namespace(self, asked: str) -> str:
        caller = Caller(name="ci", namespace=asked, role=Role.ADMIN, limits=LIMITS)
        return await self.jobs.namespace(caller, asked, Verb.GET)


@asynccontextmanager
async def watching(*faults: Fault) -> AsyncIterator[Place]:
    with FakeCluster() as cluster:
        cluster.bookmark_every(0.1)
        for fault in faults:
            cluster.fail(fault)
        async with asyncio.timeout(WITHIN), aiohttp.ClientSession() as session:
            client, cache = Client(HttpTransport(session, cluster.url)), JobCache(BOTH)
            cache.reach.patience = 0.1
            rights = Gate(Reviews(client))
            jobs = Jobs(client=client, cache=cache, census=Census(), rights=rights, queue_depth=10)
            tasks = [asyncio.create_task(cache.run(client, namespace)) for namespace in BOTH]
            try:
                yield Place(cluster, cache, jobs)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        pytest.param(no_right("list", "agentjobs", OTHERS), "list agentjobs", id="may not be listed"),
        pytest.param(no_right("watch", "agentjobs", OTHERS), "watch agentjobs", id="may not be watched"),
        pytest.param(
            Fault("list", "agentjobs", namespace=OTHERS, refusal=BROKEN, forever=True),
            "list agentjobs",
            id="cannot be listed",
        ),
    ],
)
async def test_the_doors_of_one_namespace_are_open_while_another_one(fault: Fault, missing: str) -> None:
    async with watching(fault) as place:

        async def is_known() -> bool:
            return is_ready(place.cache) and place.cache.missing(OTHERS) == [missing]

        await until(is_known)
        assert await place.namespace(NAMESPACE) == NAMESPACE
        with pytest.raises(Unavailable, match=f"cannot read agentjobs in 'others'.*: {missing}$"):
            await place.namespace(OTHERS)

        place.cluster.mend()

        async def is_read() -> bool:
            return not place.cache.missing(OTHERS)

        await until(is_read)
        assert await place.namespace(OTHERS) == OTHERS
        assert place.cache.is_listed(OTHERS)


async def test_before_the_jobs_are_known_no_list_of_them_is_given() -> None:
    async with watching(Fault("list", "agentjobs", forever=True)) as place:
        with pytest.raises(Unavailable, match=r"the jobs in 'agents' have not been listed yet$"):
            await place.jobs.listed(NAMESPACE)
        place.cluster.mend()
        await place.cache.synced.wait()
        assert await place.jobs.listed(NAMESPACE) == []


async def test_where_no_namespace_can_be_read_no_door_is_open() -> None:
    faults = [Fault("list", "agentjobs", namespace=each, refusal=BROKEN, forever=True) for each in BOTH]
    async with watching(*faults) as place:

        async def has_failed() -> bool:
            return all(place.cache.reach.missing(each) for each in BOTH)

        await until(has_failed)
        assert not is_ready(place.cache)
        assert place.cache.missing(OTHERS) == []
