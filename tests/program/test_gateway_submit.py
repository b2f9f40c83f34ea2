"""One submission makes one job, and a caller gets no more than its limits: repeated, at once, through any replica."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_jobs import ENDED
from agentjob_gateway.cache import JobCache
from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.census import Census
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.gate import Gate
from agentjob_gateway.jobs import Jobs
from agentjob_gateway.submission import Submission
from agentjob_gateway.tokens import Reviews
from fake_cluster import Fault
from fake_cluster.refusals import modified
from operated import until
from served import NAMESPACE, Door, Served, served, submit

Object = dict[str, Any]

LIMITS = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
CALLER = Caller(name="key:ci", limits=LIMITS, role=Role.SUBMIT, namespace=NAMESPACE)
ONCE = Submission(spec={"prompt": "Mend the tests."}, idempotency_key="once", request="r-1")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        for name in ("ci", "bot"):
            found.key(name)
        found.key("one", concurrentJobs=1)
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door().start()


def unwatched(place: Served) -> Jobs:
    """The jobs as a replica knows them that hears of nothing."""
    gate, cache = Gate(Reviews(place.client)), JobCache((NAMESPACE,))
    return Jobs(client=place.client, cache=cache, census=Census(), rights=gate, queue_depth=10, create_seconds=0.2)


async def test_one_key_makes_one_job_however_often_and_wherever(door: Door, place: Served) -> None:
    other = await place.door().start()
    headers = {"Idempotency-Key": "build 7"}
    answers = await asyncio.gather(*(submit(each, place, headers=headers) for each in (door, other) * 10))
    assert len({answer.body["job_id"] for answer in answers}) == 1
    assert {answer.status for answer in answers} == {202}
    assert len(place.cluster.made("agentjobs")) == 1


async def test_one_key_is_for_one_body(door: Door, place: Served) -> None:
    headers = {"Idempotency-Key": "build 7"}
    await submit(door, place, headers=headers)
    answer = await submit(door, place, {"prompt": "Something else."}, headers=headers)
    assert (answer.status, "with another body" in answer.body["detail"]) == (422, True)


@pytest.mark.parametrize("later", [{"name": "b"}, {}], ids=["another name", "no name"])
async def test_one_key_is_for_one_name(door: Door, place: Served, later: Object) -> None:
    headers, task = {"Idempotency-Key": "build 7"}, {"spec": {"prompt": "x"}}
    bodies = [{"name": "a", **task}, {"name": "a", **task}, {**later, **task}]
    answers = [await door.ask("POST", "/v1/jobs", place.key(), json=body, headers=headers) for body in bodies]
    assert [answer.status for answer in answers] == [201, 200, 422]
    assert "used for job 'a' with another body" in answers[2].body["detail"]
    assert place.cluster.made("agentjobs") == ["a"]


async def test_one_key_with_two_names_at_once_makes_one_job(door: Door, place: Served) -> None:
    headers, bodies = {"Idempotency-Key": "build 7"}, [{"name": name, "spec": {"prompt": "x"}} for name in "ab"]
    asked = [door.ask("POST", "/v1/jobs", place.key(), json=body, headers=headers) for body in bodies]
    assert sorted(answer.status for answer in await asyncio.gather(*asked)) == [201, 422]
    assert len(place.cluster.made("agentjobs")) == 1


async def test_one_key_of_two_callers_is_two(door: Door, place: Served) -> None:
    headers = {"Idempotency-Key": "build 7"}
    for name in ("ci", "bot"):
        await door.ask("POST", "/claude", place.key(name), json={"prompt": "x"}, headers=headers)
    assert len(place.cluster.made("agentjobs")) == 2


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        pytest.param(("POST", "/claude", {"prompt": "x"}), {"prompt": "y"}, id="a task"),
        pytest.param(("POST", "/claude/stream", {"prompt": "x"}), {"prompt": "y"}, id="a task that is watched"),
        pytest.param(("GET", "/claude/stream?prompt=x", None), "/claude/stream?prompt=y", id="a task in an address"),
        pytest.param(("POST", "/v1/jobs", {"spec": {"prompt": "x"}}), {"spec": {"prompt": "y"}}, id="a job"),
        pytest.param(("POST", "/v1/tickets", {"prompt": "x"}), {"prompt": "y"}, id="a task with a ticket"),
    ],
)
async def test_one_key_makes_one_job_through_every_door(
    door: Door, place: Served, asked: tuple[str, str, Object | None], other: Object | str
) -> None:
    async def status(path: str, body: Object | None, word: str = "build 7") -> int:
        headers = {"Authorization": f"Bearer {place.key()}", "Idempotency-Key": word}
        async with place.session.request(method, door.url + path, json=body, headers=headers) as answer:
            return answer.status

    method, path, body = asked
    changed = (other, None) if isinstance(other, str) else (path, other)
    assert await status(path, body, "") == await status(path, body, "tab\there") == 400
    assert place.cluster.made("agentjobs") == []
    assert {await status(path, body) < 300 for _ in range(3)} == {True}
    assert await status(*changed) == 422
    assert len(place.cluster.made("agentjobs")) == 1


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "build 7"}], ids=["without a key", "with a key"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"how": "cut"}, id="lost"),
        pytest.param({"how": "refuse"}, id="a failure"),
        pytest.param({"refusal": modified("resourcequotas", "jobs")}, id="that a quota was counted at once"),
    ],
)
async def test_a_create_whose_answer_means_nothing_makes_one_job(
    door: Door, place: Served, fault: Any, headers: Object
) -> None:
    place.cluster.fail(Fault("create", "agentjobs", **fault))
    answer = await submit(door, place, headers=headers)
    assert answer.status == 202
    assert place.cluster.made("agentjobs") == [answer.body["job_id"]]


async def test_a_cluster_that_takes_requests_and_answers_none_is_not_waited_for(place: Served) -> None:
    jobs = unwatched(place)
    place.cluster.fail(Fault("create", "agentjobs", "hold"))
    with pytest.raises(Unavailable, match="gives no answer") as told:
        await jobs.submit(CALLER, NAMESPACE, ONCE)
    assert told.value.retry_after is not None
    assert not (await jobs.submit(CALLER, NAMESPACE, replace(ONCE, request="r-2"))).is_new


@pytest.mark.parametrize("request_id", ["r-1", "r-2"], ids=["with the request's id", "with another id"])
async def test_a_repetition_elsewhere_has_made_nothing(place: Served, request_id: str) -> None:
    first, second = [
        await unwatched(place).submit(CALLER, NAMESPACE, replace(ONCE, request=each)) for each in ("r-1", request_id)
    ]
    assert (first.is_new, second.is_new) == (True, False)


async def test_a_request_that_has_lost_an_answer_has_made_its_job(place: Served) -> None:
    place.cluster.fail(Fault("create", "agentjobs", "cut"))
    assert (await unwatched(place).submit(CALLER, NAMESPACE, ONCE)).is_new


# Limits


async def test_a_repetition_is_no_job_too_many(door: Door, place: Served) -> None:
    key = place.key("one")
    once = {"json": {"prompt": "x"}, "headers": {"Idempotency-Key": "a"}}
    first = await door.ask("POST", "/claude", key, **once)
    again = await door.ask("POST", "/claude", key, **once)
    other = await door.ask("POST", "/claude", key, json={"prompt": "x"})
    assert (first.status, again.status, other.status) == (202, 202, 429)
    assert again.body["job_id"] == first.body["job_id"]


async def test_of_jobs_that_come_at_once_no_more_are_made_than_a_caller_may_have(door: Door, place: Served) -> None:
    key = place.key("one")
    answers = await asyncio.gather(*(door.ask("POST", "/claude", key, json={"prompt": "x"}) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [202, *[429] * 9]
    assert len(place.cluster.made("agentjobs")) == 1


async def test_of_jobs_that_come_at_once_no_more_are_made_than_may_wait(place: Served) -> None:
    door = await place.door(queueDepth=2).start()
    answers = await asyncio.gather(*(submit(door, place) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [202] * 2 + [429] * 8
    assert len(place.cluster.made("agentjobs")) == 2


async def test_one_key_that_comes_twice_at_once_takes_one_place(door: Door, place: Served) -> None:
    asked = {"json": {"prompt": "x"}, "headers": {"Idempotency-Key": "a"}}
    answers = await asyncio.gather(*(door.ask("POST", "/claude", place.key("one"), **asked) for _ in range(10)))
    assert {answer.status for answer in answers} == {202}


async def test_who_has_as_many_jobs_as_it_may_is_told_so_and_has_room_when_one_ends(door: Door, place: Served) -> None:
    first = await door.ask("POST", "/claude", place.key("one"), json={"prompt": "x"})
    full = await door.ask("POST", "/claude", place.key("one"), json={"prompt": "y"})
    assert (full.status, full.headers["Retry-After"]) == (429, "10")
    assert full.body["detail"] == "key:one has 1 jobs that have not ended, and may have no more"
    assert (await submit(door, place)).status == 202, "that is another caller's"
    await place.set_status(first.body["job_id"], ENDED)

    async def is_taken() -> bool:
        return (await door.ask("POST", "/claude", place.key("one"), json={"prompt": "y"})).status == 202

    await until(is_taken)


async def test_who_finds_the_queue_full_is_told_when_to_come_back(place: Served) -> None:
    door = await place.door(queueDepth=1).start()
    await submit(door, place)
    for name, path, body in (("ci", "/claude", {"prompt": "x"}), ("bot", "/v1/jobs", {"spec": {"prompt": "x"}})):
        full = await door.ask("POST", path, place.key(name), json=body)
        assert (full.status, full.headers["Retry-After"]) == (429, "10")
        assert full.body["detail"] == f"1 jobs wait in {NAMESPACE!r} for their agents to start"
