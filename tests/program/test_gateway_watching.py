"""The routes that stream, and the tickets that open them to clients which cannot send a header."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from agentjob_gateway.access import ACCESS
from agentjob_gateway.app import Entrance, application
from agentjob_gateway.cache import JobCache
from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.census import Census
from agentjob_gateway.channel import TUNING
from agentjob_gateway.doors import Doors
from agentjob_gateway.gate import Authenticator, Gate, KeyDirectory
from agentjob_gateway.hub import Hub
from agentjob_gateway.jobs import Jobs
from agentjob_gateway.limits import Rates, Streams
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.routes import CLAUDE
from agentjob_gateway.serve import now
from agentjob_gateway.tickets import COOKIE, Ticket, Tickets
from agentjob_gateway.tokens import Reviews
from event_source import Event, EventSource
from fake_cluster import Fault
from operated import until
from served import NAMESPACE, SIGNING_KEY, Answer, Door, Served, served

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


async def make(door: Door, place: Served, name: str = "fix") -> None:
    body = {"name": name, "spec": {"prompt": "x"}}
    assert (await door.ask("POST", "/v1/jobs", place.key(), json=body)).status == 201


async def finish(place: Served, name: str = "fix") -> None:
    """Lets the job's agent say three things and succeed."""
    await place.agents.start(name=name)
    place.agents.say(1, 2, name=name)
    await place.agents.finish(3, name=name)


async def finished(door: Door, place: Served, name: str = "fix") -> None:
    await make(door, place, name)
    await finish(place, name)


def events(answer: Answer) -> list[Event]:
    return EventSource().read(answer.body.encode()).events


def ids(answer: Answer) -> list[str]:
    return [event.last_event_id for event in events(answer) if event.type != "state"]


WHOLE = ["fix/1-1", "fix/1-2", "fix/1-3", "fix/end"]


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
        assert (third.status, "2 streams are open" in third.body["detail"]) == (429, True)
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


@asynccontextmanager
async def small(place: Served, channels: int) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A client at doors where so many jobs are watched at most, and that close where a create has no answer."""

    async def close(_: float) -> None:
        await hub.shutdown()

    limits = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
    keys, cache, census = KeyDirectory(place.keys), JobCache((NAMESPACE,)), Census()
    cache.listeners.append(census.heard)
    hub = Hub(place.client, cache, TUNING._replace(channels=channels))
    rights = Gate(Reviews(place.client))
    jobs = Jobs(client=place.client, cache=cache, census=census, rights=rights, queue_depth=10, sleep=close)
    known = Authenticator(keys=keys, tokens=None, limits=limits, clock=now)
    doors = Doors(jobs=jobs, hub=hub, streams=Streams(), tickets=Tickets(keys.signing_key))
    app = application(doors, Entrance(authenticator=known, rates=Rates(), metrics=Metrics()), CLAUDE, 1024)
    async with TestClient(TestServer(app), headers={"Authorization": f"Bearer {place.key()}"}) as client:
        try:
            yield client
        finally:
            await hub.shutdown()


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


# Tickets


async def test_no_job_is_made_for_a_ticket_that_cannot_be_signed(place: Served) -> None:
    (place.keys / "tickets.key").unlink()
    door = await place.door().start()
    answer = await door.ask("POST", "/v1/tickets", place.key(), json={"prompt": "x"})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
    assert "tickets.key" in answer.body["detail"]
    assert place.cluster.made("agentjobs") == []


async def ticket(door: Door, place: Served, **body: Any) -> Answer:
    answer = await door.ask("POST", "/v1/tickets", place.key(), json=body)
    assert answer.status == 201
    return answer


async def test_a_ticket_opens_the_stream_of_its_job_alone(door: Door, place: Served) -> None:
    await finished(door, place)
    await make(door, place, "other")
    text = (await ticket(door, place, job_id="fix")).body["ticket"]
    for path in ("/v1/jobs/fix/events?", "/claude/stream?job_id=fix&", "/claude/stream?"):
        assert ids(await door.ask("GET", f"{path}ticket={text}")) == WHOLE
    other = await door.ask("GET", f"/v1/jobs/other/events?ticket={text}")
    assert (other.status, other.body["detail"]) == (403, "the ticket is for another job")


async def test_a_ticket_goes_with_the_key_that_it_was_given_for(door: Door, place: Served) -> None:
    await finished(door, place)
    text = (await ticket(door, place, job_id="fix")).body["ticket"]
    path = f"/claude/stream?ticket={text}"
    assert (await door.ask("GET", path)).status == 200
    place.revoke(place.key())

    async def is_refused() -> bool:
        return (await door.ask("GET", path)).status == 401

    await until(is_refused)


async def test_a_ticket_is_a_cookie_as_well(door: Door, place: Served) -> None:
    await finished(door, place)
    given = await ticket(door, place, job_id="fix")
    cookie = given.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}={given.body['ticket']}; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Max-Age=86700" in cookie, "a browser that comes back later sends it"
    door.session.cookie_jar.clear()
    answer = await door.ask("GET", "/claude/stream", cookies={COOKIE: given.body["ticket"]})
    assert ids(answer) == WHOLE


async def test_a_task_gets_a_job_with_its_ticket(door: Door, place: Served) -> None:
    given = (await ticket(door, place, prompt="Mend it.", agent={"maxTurns": 3})).body
    assert (await place.job(given["job_id"]))["spec"] == {"prompt": "Mend it.", "agent": {"maxTurns": 3}}
    await finish(place, given["job_id"])
    assert ids(await door.ask("GET", f"/claude/stream?ticket={given['ticket']}"))[-1] == f"{given['job_id']}/end"


async def test_that_nothing_is_continued_is_no_task(door: Door, place: Served) -> None:
    assert (await ticket(door, place, **{"continue": False})).body["job_id"] is None
    await make(door, place)
    assert (await ticket(door, place, job_id="fix", **{"continue": False})).body["job_id"] == "fix"


async def test_a_ticket_makes_one_job_however_often_its_client_comes_back(door: Door, place: Served) -> None:
    text = (await ticket(door, place)).body["ticket"]
    path = f"/claude/stream?ticket={text}&prompt=Mend+it."
    for _ in range(2):
        async with door.session.get(door.url + path) as response:
            assert response.status == 200
    [name] = place.cluster.made("agentjobs")
    await finish(place, name)
    answer = await door.ask("GET", path, headers={"Last-Event-ID": f"{name}/1-1"})
    assert ids(answer) == [f"{name}/1-2", f"{name}/1-3", f"{name}/end"]
    assert place.cluster.made("agentjobs") == [name]


async def test_a_ticket_that_has_made_its_job_is_for_no_other(door: Door, place: Served) -> None:
    await finished(door, place)
    text = (await ticket(door, place)).body["ticket"]
    assert (await door.ask("GET", f"/claude/stream?ticket={text}&job_id=fix")).status == 403


def expired(job: str | None) -> str:
    """A ticket that was over a minute ago."""
    limits = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
    caller = Caller(name="key:ci", limits=limits, role=Role.SUBMIT, namespace=NAMESPACE)
    over = Ticket(caller=caller, expires=int(time.time()) - 60, nonce="n-1", namespace=NAMESPACE, job=job)
    return Tickets(lambda: SIGNING_KEY).sign(over)


@pytest.mark.parametrize("path", ["/v1/jobs/fix/events?", "/claude/stream?"])
async def test_a_stream_older_than_its_ticket_survives_a_restart(door: Door, place: Served, path: str) -> None:
    await finished(door, place)
    answer = await door.ask("GET", f"{path}ticket={expired('fix')}", headers={"Last-Event-ID": "fix/1-2"})
    assert (answer.status, ids(answer)) == (200, WHOLE[2:])


@pytest.mark.parametrize(
    ("job", "asked", "status"),
    [
        pytest.param("fix", ("/claude/stream?", ""), 401, id="not its own job from the beginning"),
        pytest.param("fix", ("/claude/stream?", "other/1-1"), 401, id="no other job"),
        pytest.param("fix", ("/claude/stream?job_id=other&", "fix/1-1"), 403, id="no other job in the address"),
        pytest.param("fix", ("/v1/jobs/other/events?", "fix/1-1"), 403, id="no other job in the path"),
        pytest.param(None, ("/claude/stream?prompt=x&", ""), 401, id="no task"),
        pytest.param(None, ("/claude/stream?prompt=x&", "fix/1-1"), 403, id="no job that was not made with it"),
    ],
)
async def test_a_ticket_that_is_over_opens_nothing_else(
    door: Door, place: Served, job: str | None, asked: tuple[str, str], status: int
) -> None:
    for name in ("fix", "other"):
        await make(door, place, name)
    path, last = asked
    answer = await door.ask("GET", f"{path}ticket={expired(job)}", headers={"Last-Event-ID": last})
    assert (answer.status, place.cluster.made("agentjobs")) == (status, ["fix", "other"])


async def test_a_ticket_opens_nothing_but_streams(door: Door, place: Served) -> None:
    await finished(door, place)
    text = (await ticket(door, place, job_id="fix")).body["ticket"]
    for method, path in (("GET", "/v1/jobs/fix"), ("GET", "/claude/jobs/fix"), ("DELETE", "/v1/jobs/fix")):
        assert (await door.ask(method, f"{path}?ticket={text}")).status == 401


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        pytest.param("ci", {"job_id": "gone"}, 404, id="for a job that is not there"),
        pytest.param("ci", {"job_id": 7}, 400, id="for a number"),
        pytest.param("ci", {"prompt": "x", "continue": True}, 422, id="to go on with a conversation"),
        pytest.param("ci", {"job_id": "fix", "continue": True}, 422, id="to go on with the conversation of a job"),
        pytest.param("ci", {"job_id": "fix", "prompt": "x"}, 422, id="for a job that is there and a task"),
        pytest.param("stranger", {"job_id": "fix"}, 404, id="for a job of another namespace"),
        pytest.param("reader", {"prompt": "x"}, 403, id="for a task of somebody who may only read"),
    ],
)
async def test_no_ticket_is_given(door: Door, place: Served, key: str, body: Object, status: int) -> None:
    await make(door, place)
    keys = {
        "ci": place.key(),
        "reader": place.key("reader", Role.READ),
        "stranger": place.key("stranger", namespace="other"),
    }
    assert (await door.ask("POST", "/v1/tickets", keys[key], json=body)).status == status


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
