"""Several releases on one cluster: each acts in its own namespaces, with its own Lease and within its own limits."""

from typing import Any

import aiohttp

from agentjob_api.names import Key
from agentjob_kube.resources import AGENT_JOBS, LEASES
from agentjob_kube.wire import HttpTransport
from fake_cluster import FakeCluster
from operated import Operated, until

TEAMS = ("team-a", "team-b")


def release(cluster: FakeCluster, session: aiohttp.ClientSession, team: str) -> Operated:
    """The operator of a release for one namespace, in a namespace of its own."""
    lease = {"namespace": f"{team}-system", "name": "agentjob"}
    settings = {"namespaces": [team], "limits": {"running": 1}, "lease": lease, "podName": f"operator-{team}"}
    return Operated(cluster, HttpTransport(session, cluster.url), settings)


async def test_two_releases_act_side_by_side_each_in_its_own_namespaces_and_limits() -> None:
    with FakeCluster() as cluster:
        cluster.bookmark_every(1.0)
        async with aiohttp.ClientSession(headers={"User-Agent": "test"}) as session:
            releases = [release(cluster, session, team) for team in TEAMS]
            client = releases[0].client
            for each in releases:
                each.start()
            try:
                for team in TEAMS:
                    for number in range(2):
                        await releases[0].submit(f"{team}-{number}", where=team)

                async def one_of_each_waits() -> bool:
                    return [len(waiting(await listed(releases[0], team))) for team in TEAMS] == [1, 1]

                await until(one_of_each_waits)
            finally:
                for each in releases:
                    await each.stop()
            made = cluster.made("pods")
            assert sorted(name.rpartition("-")[0].rpartition("-")[0] for name in made) == list(TEAMS)
            leases = [await client.get(LEASES, Key(f"{team}-system", "agentjob")) for team in TEAMS]
            assert [found["spec"]["leaseTransitions"] for found in leases] == [0, 0]


async def listed(op: Operated, namespace: str) -> list[dict[str, Any]]:
    return [item async for page in op.client.pages(AGENT_JOBS, namespace) for item in page.items]


def waiting(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [job for job in jobs if "queue" in job["status"]]
