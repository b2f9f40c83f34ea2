"""The routes that stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from agentjob_gateway.access import ACCESS
from agentjob_gateway.caller import Role
from event_source import EventSource
from fake_cluster import Fault
from operated import until
from served import NAMESPACE, Door, Served, served
from streamed import WHOLE, events, finish, finished, ids, make, small

Object = dict[str, Any]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        found.key("reader", Role.READ)
        found.key("two", streams=2)
        found.key("stranger", namespace="other")
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door(namespaces=[NAMESPACE, "other"]).start()


async def test_a_finished_job_is_watched_from_its_beginning(door: Door, place: Served) -> None:
    await finished(door, place)
    for path in ("/v1/jobs/fix/events", "/claude/stream?job_id=fix"):
        answer = await door.ask("GET", path, place.key("reader", Role.READ))
        assert (answer.status, answer.headers["Content-Type"], ids(answer)) == (200, "text/event-stream", WHOLE)
        assert answer.headers["X-Request-Id"]


async def test_a_task_is_submitted_and_watched_in_one_request(door: Door, place: Served) -> None:
    async with door.session.post(
        f"{door.url}/claude/stream", json={"prompt": "x"}, headers={"Authorization": f"Bearer {place.key()}"}
    ) as response:
        [name] = place.cluster.made("agentjobs")
        await finish(place, name)
        found = EventSource().read(await response.content.read()).events
    assert [event.last_event_id for event in found if event.type == "message"] == [
        *(f"{name}/1-{seq}" for seq in (1, 2)),
        f"{name}/end",
    ]
    assert found[-1].data == "[DONE]"


async def test_a_failure_is_told_at_the_end(door: Door, place: Served) -> None:
    await make(door, place)
    failure = {"reason": "MaxTurns", "message": "Reached maximum number of turns (3).", "retryable": False}
    await place.set_status("fix", {"phase": "Failed", "failure": failure})
    answer = await door.ask("GET", "/v1/jobs/fix/events", place.key())
    assert json.loads(events(answer)[-1].data) == {"error": failure["message"], "reason": "MaxTurns"}


@pytest.mark.parametrize(
    ("last", "rest"),
    [
        pytest.param("fix/1-1", WHOLE[1:], id="after the first line"),
        pytest.param("fix/1-3", WHOLE[3:], id="after the last line"),
        pytest.param("fix/1-900", ["fix/end"], id="beyond the last line"),
    ],
)
async def test_who_comes_back_goes_on_there(door: Door, place: Served, last: str, rest: list[str]) -> None:
    await finished(door, place)
    answer = await door.ask("GET", "/v1/jobs/fix/events", place.key(), headers={"Last-Event-ID": last})
    assert ids(answer) == rest


async def test_who_has_seen_all_is_told_not_to_come_again(door: Door, place: Served) -> None:
    await finished(door, place)
    answer = await door.ask("GET", "/claude/stream?job_id=fix", place.key(), headers={"Last-Event-ID": "fix/end"})
    assert (answer.status, answer.body) == (204, "")


@pytest.mark.parametrize(
    ("path", "headers", "told"),
    [
        pytest.param(
            "/v1/jobs/fix/events",
            {"Last-Event-ID": "x"},
            "400 expected the id of an event such as fix/1-17",
            id="no id",
        ),
        pytest.param(
            "/v1/jobs/fix/events", {"Last-Event-ID": "other/1-1"}, "400 found one of 'other'", id="another job's id"
        ),
        pytest.param("/v1/jobs/fix/events", {"Accept": "image/png"}, "406 only text/event-stream", id="a picture"),
        pytest.param("/v1/jobs/gone/events", {}, "404 there is no job 'gone'", id="a job that is not there"),
        pytest.param("/claude/stream", {}, "400 prompt: expected a prompt, or the job_id", id="nothing to watch"),
        pytest.param(
            "/claude/stream?job_id=fix&prompt=more", {}, "400 prompt: expected nothing beside job_id", id="two things"
        ),
    ],
)
async def test_what_cannot_be_watched_is_refused_in_words(
    door: Door, place: Served, path: str, headers: Object, told: str
) -> None:
    await make(door, place)
    answer = await door.ask("GET", path, place.key(), headers=headers)
    status, _, words = told.partition(" ")
    assert (str(answer.status), words in answer.body["detail"]) == (status, True)


async def test_nobody_holds_more_streams_than_they_may(door: Door, place: Served) -> None:
    await make(door, place)
    headers = {"Authorization": f"Bearer {place.key('two')}"}
    url = f"{door.url}/v1/jobs/fix/events"
    async with door.session.get(url, headers=headers) as first, door.session.get(url, headers=headers) as second:
        assert (first.status, second.status) == (200, 200)
        third = await door.ask("GET", "/v1/jobs/fix/events", place.key("two"))
        assert (third.status, third.headers["Retry-After"]) == (429, "2")
        assert third.body["detail"] == "2 streams are open, and no more may be; close one"
        given = await door.ask("POST", "/v1/tickets", place.key("two"), json={"job_id": "fix"})
        by_ticket = await door.ask("GET", "/claude/stream", params={"ticket": given.body["ticket"]})
        assert by_ticket.status == 429, "a ticket is the key's that it was given for"
        made = await door.ask("POST", "/claude/stream", place.key("two"), json={"prompt": "x"})
        assert (made.status, place.cluster.made("agentjobs")) == (429, ["fix"])

    async def let_in() -> bool:
        async with door.session.get(url, headers=headers) as again:
            return again.status == 200

    await until(let_in)


async def test_that_a_stream_was_answered_is_told_at_its_end(door: Door, place: Served) -> None:
    await make(door, place)
    counted = 'agentjob_gateway_requests_total{method="GET",route="/v1/jobs/{id}/events",status="200"} 1.0'
    headers = {"Authorization": f"Bearer {place.key()}"}

    async def is_told() -> bool:
        async with door.session.get(f"{door.metrics}/metrics") as response:
            return counted in await response.text()

    async with door.session.get(f"{door.url}/v1/jobs/fix/events", headers=headers) as stream:
        await stream.content.readuntil(b"event: state\n")
        assert not await is_told()
        await finish(place)
        assert (await stream.read()).endswith(b"data: [DONE]\n\n")
    await until(is_told)


@pytest.mark.parametrize("headers", [{"Accept": "image/png"}, {"Last-Event-ID": "x"}])
async def test_no_job_is_made_for_whom_it_cannot_be_shown(door: Door, place: Served, headers: Object) -> None:
    answer = await door.ask("POST", "/claude/stream", place.key(), json={"prompt": "x"}, headers=headers)
    assert (answer.status in {400, 406}, place.cluster.made("agentjobs")) == (True, [])


async def test_who_comes_back_to_a_task_of_its_own_goes_on_there_and_makes_no_other(door: Door, place: Served) -> None:
    url, task = f"{door.url}/claude/stream", {"prompt": "x"}
    async with door.session.post(url, json=task, headers={"Authorization": f"Bearer {place.key()}"}):
        [name] = place.cluster.made("agentjobs")
    await finish(place, name)
    whole = [f"{name}/{each}" for each in ("1-1", "1-2", "1-3", "end")]
    for last, rest in (("start", whole), ("1-1", whole[1:]), ("end", [])):
        headers = {"Last-Event-ID": f"{name}/{last}"}
        again = await door.ask("POST", "/claude/stream", place.key(), json=task, headers=headers)
        assert (again.status, ids(again)) == (200 if rest else 204, rest)
    assert place.cluster.made("agentjobs") == [name]


async def test_who_comes_back_to_a_job_it_cannot_see_is_told_so_and_makes_none(door: Door, place: Served) -> None:
    await make(door, place)
    headers = {"Last-Event-ID": "fix/1-5"}
    stranger = place.key("stranger", namespace="other")
    answer = await door.ask("POST", "/claude/stream", stranger, json={"prompt": "x"}, headers=headers)
    assert (answer.status, place.cluster.made("agentjobs")) == (404, ["fix"])


async def test_of_a_task_with_no_room_to_watch_it_no_job_is_made(place: Served) -> None:
    async with small(place, channels=0) as client:
        posted = await client.post("/claude/stream", json={"prompt": "x"})
        asked = await client.get("/claude/stream?prompt=x")
    assert (posted.status, posted.headers["Retry-After"], asked.status) == (503, "2", 503)
    assert place.cluster.made("agentjobs") == []


async def test_a_task_that_is_repeated_needs_no_room_where_its_job_is_watched(place: Served) -> None:
    def posted(key: str) -> AbstractAsyncContextManager[ClientResponse]:
        return client.post("/claude/stream", json={"prompt": "x"}, headers={"Idempotency-Key": key})

    async with small(place, channels=1) as client, posted("one"), posted("one") as again, posted("two") as other:
        assert (again.status, other.status) == (200, 503)
    assert len(place.cluster.made("agentjobs")) == 1


async def test_a_task_whose_gateway_stops_while_its_job_is_made_goes_on_elsewhere(door: Door, place: Served) -> None:
    place.cluster.fail(Fault("create", "agentjobs", "cut"))
    task, source = {"prompt": "x"}, EventSource()
    async with small(place, channels=1) as client:
        answer = await client.post("/claude/stream", json=task)
        source.read(await answer.read())
    [name] = place.cluster.made("agentjobs")
    assert (answer.status, source.events, source.last_event_id) == (200, [], f"{name}/start")
    assert 500 <= (source.retry or 0) <= 2_000
    await finish(place, name)
    headers = {"Last-Event-ID": source.last_event_id}
    again = await door.ask("POST", "/claude/stream", place.key(), json=task, headers=headers)
    assert ids(again)[-1] == f"{name}/end"
    assert place.cluster.made("agentjobs") == [name]


@pytest.mark.parametrize("asked", ["prompt=x&continue=true", "job_id=fix&continue=true", "prompt=x&continue="])
async def test_to_go_on_with_a_conversation_is_refused_in_an_address_too(door: Door, place: Served, asked: str) -> None:
    await make(door, place)
    answer = await door.ask("GET", f"/claude/stream?{asked}", place.key())
    assert (answer.status, "continue: earlier conversations" in answer.body["detail"]) == (422, True)
    assert place.cluster.made("agentjobs") == ["fix"]


async def test_an_address_may_say_that_it_continues_nothing(door: Door, place: Served) -> None:
    await finished(door, place)
    assert ids(await door.ask("GET", "/claude/stream?job_id=fix&continue=false", place.key())) == WHOLE


async def test_a_gateway_that_stops_sends_those_who_watch_elsewhere_and_they_miss_nothing(
    door: Door, place: Served
) -> None:
    other = await place.door().start()
    await make(door, place)
    await place.agents.start()
    place.agents.say(1, 2)
    headers = {"Authorization": f"Bearer {place.key()}"}
    async with door.session.get(f"{door.url}/v1/jobs/fix/events", headers=headers) as response:
        source = EventSource()
        while "fix/1-2" not in [event.last_event_id for event in source.events]:
            source.read(await response.content.readany())
        await door.stop()
        source.read(await response.content.read())
    assert source.retry is not None
    assert 500 <= source.retry <= 2_000
    await place.agents.finish(3)
    again = await other.ask("GET", "/v1/jobs/fix/events", place.key(), headers={"Last-Event-ID": source.last_event_id})
    assert ids(again) == WHOLE[2:]


async def test_a_poll_that_waits_is_answered_by_a_gateway_that_stops(place: Served) -> None:
    door = await place.door(drainSeconds=0.5).start()
    await make(door, place)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(door.ask("GET", "/claude/jobs/fix?wait=60", place.key()))
        tasks.create_task(door.stop())
    assert waiting.result().body["status"] == "pending"


async def test_it_asks_the_cluster_for_what_its_role_grants_and_for_nothing_else(door: Door, place: Served) -> None:
    await finished(door, place)
    await door.ask("GET", "/v1/jobs/fix/events", place.key())
    await door.ask("GET", "/v1/jobs/never-was", place.key())
    await make(door, place, "other")
    await door.ask("POST", "/v1/jobs/other/cancel", place.key())
    await door.ask("DELETE", "/v1/jobs/other", place.key())
    asked = {(each.group, each.resource, each.verb) for each in place.cluster.requests() if each.agent == "agentjob"}
    given = {(access.group, access.resource, verb) for access in ACCESS for verb in access.verbs}
    assert asked == given - {("agentjob.dev", "agentjobs/status", "patch")}, "that is for an archive"
