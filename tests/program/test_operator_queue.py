"""More jobs than may run: who starts, who waits, and what becomes of those that wait."""

import asyncio
from typing import Any

import pytest

from agentjob_api.names import Key
from agentjob_kube.resources import AGENT_JOBS, PODS
from fake_cluster import Fault
from fake_cluster.kubelet import Lasting
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, Operated, operated, told, until

QUOTA = Refusal(403, "Forbidden", "exceeded quota: pods, requested: 1, used: 1, limited: 1")


async def queued(op: Operated, *names: str) -> None:
    """Returns once these wait."""
    for name in names:
        await op.until_status(name, phase="Queued")


async def end(op: Operated, name: str) -> None:
    """Lets a job's agent work and end."""
    await op.pod(f"{name}-1")
    await op.end_agent(told(text="Done."), name=f"{name}-1")
    await op.until_status(name, phase="Succeeded")


async def places(op: Operated) -> dict[str, Any]:
    """Positions and reasons of the jobs that wait."""
    found = {item["metadata"]["name"]: item["status"].get("queue") for item in await op.items(AGENT_JOBS)}
    return {name: (place["position"], place["reason"]) for name, place in found.items() if place is not None}


async def test_of_a_burst_never_more_run_than_may_and_all_run_in_the_end() -> None:
    lasting = Lasting(0.02, told(text="Done."))
    async with operated(limits={"running": 3}) as op:
        op.cluster.on_change(lasting.on)
        await asyncio.gather(*(op.submit(f"job-{number}") for number in range(30)))

        async def all_have() -> bool:
            return [item["status"]["phase"] for item in await op.items(AGENT_JOBS)] == ["Succeeded"] * 30

        await until(all_have, within=30)

        assert lasting.most == 3
        assert sorted(op.cluster.made("pods")) == sorted(f"job-{number}-1" for number in range(30))
        assert max(op.writes(f"job-{number}").count("update agentjobs/status") for number in range(30)) <= 5


async def test_a_job_that_a_newer_operator_has_written_while_it_waits_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def is_known() -> bool:
        return "cannot read the job" in caplog.text

    async with operated(limits={"running": 1}) as op:
        await op.submit("a")
        await op.pod("a-1")
        await op.submit("b", priority=1)
        await op.submit("c")
        await queued(op, "b", "c")
        body = await op.client.get(AGENT_JOBS, Key(NAMESPACE, "b"))
        novel = {**body["status"]["conditions"][0], "type": "Novel"}
        status = {**body["status"], "conditions": [*body["status"]["conditions"], novel]}
        await op.client.replace_status(AGENT_JOBS, {**body, "status": status})
        await until(is_known)

        await end(op, "a")

        await op.pod("c-1")
        assert "b-1" not in op.cluster.made("pods")


async def test_a_job_that_waits_says_so_and_starts_when_one_has_ended() -> None:
    async with operated(limits={"running": 1}) as op:
        await op.submit("first")
        await op.pod("first-1")
        await op.submit("second")
        status = await op.until_status("second", phase="Queued")
        conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
        assert conditions == {"Ready": ("False", "InstallationFull"), "Reconciling": ("True", "InstallationFull")}
        assert status["queue"] == {"position": 1, "reason": "InstallationFull"}

        await end(op, "first")
        await op.pod("second-1")
        await op.run_agent("second-1")

        assert "queue" not in await op.until_status("second", phase="Running")


async def test_the_highest_priority_starts_first_also_when_it_was_raised_while_it_waited() -> None:
    async with operated(limits={"running": 1}) as op:
        await op.submit("first")
        await op.pod("first-1")
        for name, priority in (("low", -5), ("high", 5), ("raised", 0)):
            await op.submit(name, priority=priority)
        await queued(op, "low", "high", "raised")
        await op.change("raised", priority=9)

        async def is_known() -> bool:
            found = await op.client.get(AGENT_JOBS, Key(NAMESPACE, "raised"))
            return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

        await until(is_known)
        for name in ("first", "raised", "high", "low"):
            await end(op, name)

        assert op.cluster.made("pods") == ["first-1", "raised-1", "high-1", "low-1"]


async def test_a_namespace_is_not_held_up_by_the_backlog_of_another() -> None:
    async with operated(namespaces=[NAMESPACE, "others"], limits={"running": 2}) as op:
        for name in ("a0", "a1"):
            await op.submit(name)
            await op.pod(f"{name}-1")
        for name in ("a2", "a3"):
            await op.submit(name)
        await queued(op, "a2", "a3")
        await op.submit("b0", where="others")

        async def is_queued() -> bool:
            found = await op.client.get(AGENT_JOBS, Key("others", "b0"))
            return bool(found["status"].get("queue") == {"position": 1, "reason": "InstallationFull"})

        await until(is_queued)
        await end(op, "a0")

        async def has_pod() -> bool:
            return "b0-1" in op.cluster.made("pods")

        await until(has_pod)
        await end(op, "a1")

        async def goes_on() -> bool:
            return len(op.cluster.made("pods")) == 4

        await until(goes_on)
        assert op.cluster.made("pods")[:3] == ["a0-1", "a1-1", "b0-1"]


async def test_a_full_namespace_waits_for_itself_alone() -> None:
    limits = {"running": 3, "namespaces": {NAMESPACE: {"running": 1}}}
    async with operated(namespaces=[NAMESPACE, "others"], limits=limits) as op:
        await op.submit("a0")
        await op.pod("a0-1")
        await op.submit("a1")
        assert (await op.until_status("a1", phase="Queued"))["queue"]["reason"] == "NamespaceFull"
        await op.submit("b0", where="others")

        async def has_pod() -> bool:
            return op.cluster.made("pods") == ["a0-1", "b0-1"]

        await until(has_pod)


async def test_a_limit_that_is_lowered_stops_nobody_and_one_that_is_raised_lets_more_start() -> None:
    async with operated(limits={"running": 2}) as op:
        for name in ("a", "b"):
            await op.submit(name)
            await op.pod(f"{name}-1")
        await op.stop()
        op.configure(limits={"running": 1})
        op.start()
        await op.submit("c")
        await queued(op, "c")
        await end(op, "a")
        await op.submit("d")
        await queued(op, "d")
        assert op.cluster.made("pods") == ["a-1", "b-1"]
        assert [pod["metadata"].get("deletionTimestamp") for pod in await op.items(PODS)] == [None, None]

        await op.stop()
        op.configure(limits={"running": 3})
        op.start()
        for name in ("c", "d"):
            await op.pod(f"{name}-1")


async def test_an_operator_that_is_killed_finds_the_same_queue() -> None:
    async with operated(limits={"running": 2}) as op:
        for number in range(7):
            await op.submit(f"job-{number}", priority=7 - number)
            await op.until_pod_or_place(f"job-{number}")
        before = await places(op)
        assert len(before) == 5
        await op.kill()
        op.start()
        await op.submit("last", priority=-1)
        await queued(op, "last")
        assert {**before, "last": (6, "InstallationFull")} == await places(op)
        assert len(op.cluster.made("pods")) == 2

        await end(op, op.cluster.made("pods")[0].removesuffix("-1"))

        [next_one] = [name for name, place in before.items() if place == (1, "InstallationFull")]
        await op.pod(f"{next_one}-1")


async def test_a_job_that_waits_can_be_cancelled_suspended_and_deleted() -> None:
    async with operated(limits={"running": 1}) as op:
        await op.submit("first")
        await op.pod("first-1")
        for name in ("x", "y", "z"):
            await op.submit(name)
        await queued(op, "x", "y", "z")
        await op.change("x", cancel=True)
        assert "queue" not in await op.until_status("x", phase="Cancelled")
        await op.change("y", suspend=True)
        assert "queue" not in await op.until_ready_says("Suspended", "y")
        await op.delete("z")

        await end(op, "first")
        await op.submit("last")
        await op.pod("last-1")
        assert op.cluster.made("pods") == ["first-1", "last-1"]

        await op.change("y", suspend=False)
        await queued(op, "y")
        await end(op, "last")
        await op.pod("y-1")


async def test_a_job_whose_pod_is_refused_gives_its_slot_to_others() -> None:
    async with operated(limits={"running": 1}) as op:
        op.cluster.fail(Fault("create", "pods", refusal=QUOTA))
        await op.submit("refused")
        await op.until_ready_says("PodRefused", "refused")
        await op.submit("second")
        await op.pod("second-1")

        assert op.cluster.made("pods") == ["second-1"]


async def test_a_pod_whose_making_was_not_answered_counts() -> None:
    async with operated(limits={"running": 1}) as op:
        op.cluster.hide("pods")
        op.cluster.fail(Fault("create", "pods", how="cut"))
        await op.submit("first")
        await op.pod("first-1")
        await op.submit("second")
        await queued(op, "second")
        assert op.cluster.made("pods") == ["first-1"]

        op.cluster.hide()
        await end(op, "first")
        await op.pod("second-1")
