"""The jobs as last heard of: nothing goes back, and who waits is told."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from agent_jobs import agent_job
from agentjob_api.names import Key
from agentjob_gateway.cache import MAX_GONE, STALE_SECONDS, JobCache
from agentjob_gateway.serve import is_ready
from agentjob_kube.errors import ServerError

Object = dict[str, Any]
FIX = Key("agents", "fix")


def cache() -> JobCache:
    return JobCache(("agents",))


def version_of(found: JobCache) -> str | None:
    job = found.get(FIX)
    return str(job["metadata"]["resourceVersion"]) if job else None


@pytest.mark.parametrize(
    ("steps", "version"),
    [
        pytest.param([("put", 5)], "5", id="a job that is new"),
        pytest.param([("put", 5), ("put", 6)], "6", id="a change"),
        pytest.param([("put", 6), ("put", 5)], "6", id="an older answer comes late"),
        pytest.param([("put", 9), ("put", 10)], "10", id="versions are numbers"),
        pytest.param([("put", 5), ("drop", 6)], None, id="a job that is gone"),
        pytest.param([("put", 5), ("drop", 6), ("put", 5)], None, id="an answer about a job that is gone"),
    ],
)
def test_nothing_goes_back(steps: list[tuple[str, int]], version: str | None) -> None:
    found = cache()
    for step, number in steps:
        getattr(found, step)(agent_job(version=number))
    assert version_of(found) == version


def test_a_job_of_the_same_name_is_another_one() -> None:
    found = cache()
    found.put(agent_job(version=5))
    found.put(agent_job(version=7, uid="uid-2"))
    found.drop(agent_job(version=6))
    assert version_of(found) == "7"


def test_what_only_writers_need_is_not_kept() -> None:
    found = cache()
    found.put(agent_job(managedFields=[{"manager": "kubectl"}]))
    assert "managedFields" not in (found.get(FIX) or {})["metadata"]


def test_a_list_tells_what_is_gone_and_leaves_what_is_newer() -> None:
    found = cache()
    for name, number in (("gone", 3), ("fix", 4), ("newer", 12)):
        found.put(agent_job(name, version=number))
    found.replace("agents", (agent_job(version=8),), at=10)
    assert {job["metadata"]["name"] for job in found.of("agents")} == {"fix", "newer"}
    assert version_of(found) == "8"


def test_all_is_known_once_each_namespace_was_listed() -> None:
    found = JobCache(("a", "b"))
    found.replace("a", (), at=1)
    assert not found.synced.is_set()
    found.replace("b", (), at=1)
    assert found.synced.is_set()


class Silent(JobCache):
    """One in whose namespaces nothing was heard for so long."""

    silence = {"a": 0.0, "b": 0.0}

    def age(self, namespaces: Iterable[str] | None = None) -> float:
        return max(self.silence[each] for each in (self.namespaces if namespaces is None else namespaces))


@pytest.mark.parametrize(
    ("silence", "is_listed", "ready", "missing"),
    [
        pytest.param((0.0, 0.0), True, True, [], id="both are heard"),
        pytest.param((0.0, STALE_SECONDS - 1), True, True, [], id="one says nothing for a while"),
        pytest.param((0.0, STALE_SECONDS), True, True, ["watch agentjobs"], id="one says nothing for long"),
        pytest.param((STALE_SECONDS, STALE_SECONDS), True, False, [], id="neither says anything for long"),
        pytest.param((0.0, 0.0), False, True, ["list agentjobs"], id="one was never listed"),
        pytest.param((0.0, STALE_SECONDS), False, True, ["list agentjobs"], id="one was never listed, for long"),
    ],
)
def test_what_is_not_known_of_one_namespace_closes_its_door_alone(
    silence: tuple[float, float], is_listed: bool, ready: bool, missing: list[str]
) -> None:
    found = Silent(("a", "b"))
    found.silence = dict(zip("ab", silence, strict=True))
    found.reach.patience, patience = 0.0, found.reach.patience
    found.reach.failed("b", "list agentjobs", ServerError("no conversion", status=500))
    found.replace("a", (), at=1)
    found.reach.patience = patience  # what fails is given time again
    if is_listed:
        found.replace("b", (), at=1)

    assert (is_ready(found), found.missing("b"), found.missing("a")) == (ready, missing, [])


def test_of_the_jobs_that_are_gone_only_so_many_are_remembered() -> None:
    found = cache()
    for number in range(MAX_GONE + 1):
        found.drop(agent_job(f"job-{number}"))
    found.put(agent_job("job-0"))
    found.put(agent_job("job-1"))
    assert [job["metadata"]["name"] for job in found.of("agents")] == ["job-0"]


@pytest.mark.parametrize("step", ["put", "drop"])
async def test_who_waits_is_told_of_a_change(step: str) -> None:
    found = cache()
    found.put(agent_job(version=5))
    waits = [asyncio.create_task(found.change(FIX)) for _ in range(2)]
    await asyncio.sleep(0)
    found.put(agent_job("other"))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waits)
    getattr(found, step)(agent_job(version=6))
    async with asyncio.timeout(1):
        await asyncio.gather(*waits)


async def test_who_waits_in_vain_for_a_job_that_is_gone_leaves_nothing_behind() -> None:
    found = cache()
    found.put(agent_job(version=5))
    found.drop(agent_job(version=6))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await found.change(FIX)
    assert not found._waiting


async def test_nobody_waits_for_a_gateway_that_is_about_to_stop() -> None:
    found = cache()
    wait = asyncio.create_task(found.change(FIX))
    await asyncio.sleep(0)
    found.close()
    async with asyncio.timeout(1):
        await wait
        await found.change(FIX)


def test_whoever_listens_hears_of_every_job_that_changes_and_of_every_one_that_is_gone() -> None:
    found, heard = cache(), []

    def listen(job: Object, *, is_gone: bool) -> None:
        heard.append((job["metadata"]["uid"], job["metadata"]["resourceVersion"], is_gone))

    found.listeners.append(listen)
    found.put(agent_job(version=5))
    found.put(agent_job(version=4))
    found.put(agent_job(version=6))
    found.put(agent_job(version=8, uid="uid-2"))
    found.drop(agent_job(version=7))
    found.drop(agent_job(version=9, uid="uid-2"))
    found.drop(agent_job(version=9, uid="uid-2"))
    assert heard == [
        ("uid-fix", "5", False),
        ("uid-fix", "6", False),
        ("uid-fix", "6", True),
        ("uid-2", "8", False),
        ("uid-2", "8", True),
    ]
