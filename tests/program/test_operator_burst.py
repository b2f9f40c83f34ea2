"""Many jobs at once, on a cluster whose Pods end as soon as they are there."""

import asyncio

from agentjob_kube.resources import AGENT_JOBS, PODS
from fake_cluster.kubelet import Instant
from operated import Operated, operated, told, until

JOBS = 300


async def all_succeed(op: Operated) -> bool:
    items = await op.items(AGENT_JOBS)
    return [item["status"]["phase"] for item in items] == ["Succeeded"] * JOBS


async def test_a_burst_costs_at_most_three_writes_a_job_and_one_to_delete_each_pod() -> None:
    async with operated(podTTLSeconds=0) as op:
        op.cluster.on_change(Instant.leaving(told(text="Done.")))
        for start in range(0, JOBS, 20):
            await asyncio.gather(*(op.submit(f"job-{number}") for number in range(start, start + 20)))

        async def done() -> bool:
            return await all_succeed(op) and not await op.items(PODS)

        await until(done, within=60)
        assert sorted(op.cluster.made("pods")) == sorted(f"job-{number}-1" for number in range(JOBS))
        for number in range(JOBS):
            writes = op.writes(f"job-{number}")
            assert writes.count("update agentjobs/status") <= 2
            assert writes.count("delete pods") == 1
        creations = [seen for seen in op.asked() if (seen.verb, seen.resource) == ("create", "pods")]
        assert len(creations) == JOBS


async def test_a_restart_in_the_middle_of_a_burst_makes_no_second_pod_and_loses_no_job() -> None:
    async with operated() as op:
        op.cluster.on_change(Instant.leaving(told(text="Done.")))
        for start in range(0, JOBS, 20):
            await asyncio.gather(*(op.submit(f"job-{number}") for number in range(start, start + 20)))
            if start % 100 == 40:
                await op.kill()
                op.start()

        await until(lambda: all_succeed(op), within=60)

        assert sorted(op.cluster.made("pods")) == sorted(f"job-{number}-1" for number in range(JOBS))
