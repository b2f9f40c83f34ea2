"""Several operators on one cluster: one acts, and when it goes, another one goes on as if nothing had been."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest

from agentjob_api.names import Key
from agentjob_kube.resources import AGENT_JOBS, LEASES
from agentjob_kube.wire import HttpTransport
from agentjob_operator.access import ACCESS, HOME_ACCESS
from agentjob_operator.leader import LeaseLostError
from fake_cluster import FakeCluster, Fault
from operated import NAMESPACE, Operated, free_port, told, until

LEASE = {"namespace": "system", "name": "agentjob", "seconds": 3}
KEY = Key("system", "agentjob")


class Pair:
    """Two operators and the cluster; the first has started, and acts."""

    def __init__(self, cluster: FakeCluster, transport: HttpTransport, settings: dict[str, Any]) -> None:
        self.cluster = cluster
        self.first, self.second = (
            Operated(cluster, transport, {"lease": LEASE, "podName": name, **settings})
            for name in ("operator-a", "operator-b")
        )

    async def start(self) -> None:
        self.first.start()
        await self.until_acts("operator-a")
        self.second.start()
        await until(self.is_waiting)

    async def holder(self) -> str:
        found: str = (await self.first.client.get(LEASES, KEY))["spec"]["holderIdentity"]
        return found

    async def until_acts(self, name: str) -> None:
        async def acts() -> bool:
            leases = [item async for page in self.first.client.pages(LEASES, "system") for item in page.items]
            return [each["spec"]["holderIdentity"] for each in leases] == [name]

        await until(acts)

    async def is_waiting(self) -> bool:
        """Whether the second knows what there is."""
        lists = Counter(seen.resource for seen in self.first.asked() if seen.verb == "watch")
        return lists["pods"] >= 2

    def made(self) -> Counter[str]:
        """Pods that an operator has made, or tried to."""
        asked = (seen for seen in self.first.asked() if (seen.verb, seen.resource) == ("create", "pods"))
        return Counter(str(seen.status) for seen in asked)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with at_work() as found:
        yield found


@asynccontextmanager
async def at_work(**settings: Any) -> AsyncIterator[Pair]:
    with FakeCluster() as cluster:
        cluster.bookmark_every(1.0)
        async with aiohttp.ClientSession(headers={"User-Agent": "test"}) as session:
            found = Pair(cluster, HttpTransport(session, cluster.url), settings)
            await found.start()
            try:
                yield found
            finally:
                for each in (found.first, found.second):
                    with suppress(LeaseLostError, asyncio.CancelledError):
                        await each.stop()


async def run(op: Operated, name: str) -> None:
    """Lets a job's agent work to its end."""
    await op.pod(f"{name}-1")
    await op.run_agent(f"{name}-1")
    await op.until_status(name, phase="Running")
    await op.end_agent(told(), name=f"{name}-1")
    await op.until_status(name, phase="Succeeded")


async def test_one_acts_and_the_other_writes_nothing(pair: Pair) -> None:
    for number in range(10):
        await pair.first.submit(f"job-{number}")
    for number in range(10):
        await run(pair.first, f"job-{number}")
    assert pair.made() == {"201": 10}
    assert await pair.holder() == "operator-a"


async def test_when_it_is_stopped_the_other_acts_at_once(pair: Pair) -> None:
    await pair.first.submit("before")
    await pair.first.pod("before-1")
    await pair.first.stop()
    await pair.first.submit("after")
    await run(pair.first, "before")
    await run(pair.first, "after")
    assert (pair.made(), await pair.holder()) == ({"201": 2}, "operator-b")


async def test_when_it_is_killed_the_other_acts_once_its_time_is_over(pair: Pair) -> None:
    await pair.first.submit("before")
    await pair.first.pod("before-1")
    await pair.first.kill()
    await pair.first.submit("after")
    await run(pair.first, "before")
    await run(pair.first, "after")
    assert (pair.made(), await pair.holder()) == ({"201": 2}, "operator-b")
    lease = await pair.first.client.get(LEASES, KEY)
    assert lease["spec"]["leaseTransitions"] == 1


async def test_one_that_is_started_again_in_its_pod_need_not_wait_for_its_own_lease() -> None:
    async with at_work() as pair:
        await pair.second.stop()
        await pair.first.kill()
        pair.first.start()
        await pair.first.submit("after")
        await run(pair.first, "after")
        assert await pair.holder() == "operator-a"
        assert (await pair.first.client.get(LEASES, KEY))["spec"]["leaseTransitions"] == 0


async def test_one_whose_lease_is_taken_ends(pair: Pair) -> None:
    await pair.first.client.patch(LEASES, KEY, {"spec": {"holderIdentity": "somebody"}})
    assert pair.first._task is not None
    with pytest.raises(LeaseLostError, match="taken by somebody"):
        await pair.first._task
    await pair.first.submit("after")
    await run(pair.first, "after")
    assert (pair.made(), await pair.holder()) == ({"201": 1}, "operator-b")


async def test_one_that_cannot_renew_ends_before_the_other_begins(pair: Pair) -> None:
    for _ in range(100):
        pair.cluster.fail(Fault("patch", "leases"))
    assert pair.first._task is not None
    with pytest.raises(LeaseLostError, match="could not be renewed for 2 s"):
        await pair.first._task
    assert await pair.holder() == "operator-a"


async def test_who_takes_over_lists_the_jobs_before_it_acts(pair: Pair) -> None:
    """Its watch of jobs may be behind that of Pods: a job that has ended, its Pod gone, looks as one never begun."""

    def lists() -> int:
        return len([seen for seen in pair.first.asked() if (seen.resource, seen.verb) == (AGENT_JOBS.plural, "list")])

    before = lists()
    await pair.first.stop()
    await pair.until_acts("operator-b")

    async def has_listed() -> bool:
        return lists() > before

    await until(has_listed)


@pytest.mark.parametrize("ends", ["stop", "kill"])
async def test_who_takes_over_holds_the_limit_at_once_though_its_watch_of_pods_is_behind(ends: str) -> None:
    async with at_work(limits={"running": 2}) as pair:
        pair.cluster.hide("pods")
        for number in range(5):
            await pair.first.submit(f"job-{number}")
        for number in range(5):
            await pair.first.until_pod_or_place(f"job-{number}")
        pair.cluster.fail(Fault("list", "pods"))
        await getattr(pair.first, ends)()
        await pair.until_acts("operator-b")
        last = await pair.first.submit("last", priority=-1)
        assert (await pair.first.until_status("last", phase="Queued"))["queue"]["position"] == 4, last
        assert pair.made() == {"201": 2}


async def test_what_is_asked_for_the_lease_is_what_the_role_at_home_grants(pair: Pair) -> None:
    await pair.first.submit("fix")
    await run(pair.first, "fix")
    asked = {(seen.group, seen.resource, seen.verb, seen.namespace) for seen in pair.first.asked()}
    given = {(each.group, each.resource, verb, NAMESPACE) for each in ACCESS for verb in each.verbs}
    at_home = {(each.group, each.resource, verb, KEY.namespace) for each in HOME_ACCESS for verb in each.verbs}
    assert asked <= given | at_home
    await pair.first.stop()
    await pair.until_acts("operator-b")
    asked = {(seen.group, seen.resource, seen.verb, seen.namespace) for seen in pair.first.asked()}
    assert at_home <= asked


async def test_who_waits_keeps_no_list_of_what_to_look_at_and_is_no_leader(pair: Pair) -> None:
    port = free_port()
    await pair.second.stop()
    pair.second.configure(lease=LEASE, podName="operator-b", port=port)
    pair.second.start()
    await pair.first.submit("fix")
    await run(pair.first, "fix")

    async def knows_it() -> str | None:
        async with aiohttp.ClientSession() as session:
            with suppress(aiohttp.ClientConnectionError):
                async with session.get(f"http://127.0.0.1:{port}/readyz") as ready:
                    if ready.status != HTTPStatus.OK:
                        return None
                async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                    return await response.text()
        return None

    text = await until(knows_it)
    assert "agentjob_queue_depth 0.0" in text
    assert "agentjob_leader 0.0" in text
