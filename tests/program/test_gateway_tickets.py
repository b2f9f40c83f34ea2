"""Tickets: they open streams to clients that cannot send a header."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.errors import Unauthenticated
from agentjob_gateway.tickets import COOKIE, SECONDS, Ticket, Tickets
from event_source import EventSource
from fake_cluster import Fault
from operated import until
from served import NAMESPACE, SIGNING_KEY, Answer, Door, Served, served
from streamed import WHOLE, finish, finished, ids, make, small

Object = dict[str, Any]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        found.key("reader", Role.READ)
        found.key("stranger", namespace="other")
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door(namespaces=[NAMESPACE, "other"]).start()


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


async def test_a_ticket_opens_no_later_job_of_the_same_name(door: Door, place: Served) -> None:
    await finished(door, place)
    text = (await ticket(door, place, job_id="fix")).body["ticket"]
    old = await place.job("fix")
    assert (await door.ask("DELETE", "/v1/jobs/fix", place.key())).status == 204
    stranger = place.key("somebody-else")
    body = {"name": "fix", "spec": {"prompt": "Somebody else's."}}

    async def is_made() -> bool:
        return (await door.ask("POST", "/v1/jobs", stranger, json=body)).status == 201

    await until(is_made)
    assert (await place.job("fix"))["metadata"]["uid"] != old["metadata"]["uid"]
    for path in ("/v1/jobs/fix/events?", "/claude/stream?job_id=fix&", "/claude/stream?"):
        for last in ("", "fix/1-1", "fix/start"):
            url, headers = f"{door.url}{path}ticket={text}", {"Last-Event-ID": last}
            async with door.session.get(url, headers=headers) as answer:
                assert answer.status == 404
                assert "is gone" in (await answer.json(content_type=None))["detail"]


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


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [
        pytest.param({"X-Forwarded-Proto": "https"}, True, id="behind a proxy that speaks TLS"),
        pytest.param({"X-Forwarded-Proto": "http"}, False, id="behind one that does not"),
        pytest.param({}, False, id="without one"),
    ],
)
async def test_a_cookie_that_came_over_tls_goes_nowhere_without(
    door: Door, place: Served, headers: dict[str, str], *, is_secure: bool
) -> None:
    given = await door.ask("POST", "/v1/tickets", place.key(), json={}, headers=headers)
    assert ("Secure" in given.headers["Set-Cookie"].split("; ")) == is_secure


async def test_a_ticket_is_over_when_its_answer_says(door: Door, place: Served) -> None:
    await make(door, place)
    given = (await ticket(door, place, job_id="fix")).body
    asked_at, signer = datetime.now(UTC), Tickets(lambda: SIGNING_KEY)
    assert given["expires_in"] == SECONDS == 300
    signer.check(given["ticket"], asked_at + timedelta(seconds=SECONDS - 30))
    with pytest.raises(Unauthenticated, match="the ticket is over"):
        signer.check(given["ticket"], asked_at + timedelta(seconds=SECONDS))


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


def signed(job: str | None, seconds: int) -> str:
    """A ticket that is over in so many seconds, as earlier releases have given them: without the job's uid."""
    limits = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
    caller = Caller(name="key:ci", limits=limits, role=Role.SUBMIT, namespace=NAMESPACE)
    given = Ticket(caller=caller, expires=int(time.time()) + seconds, nonce="n-1", namespace=NAMESPACE, job=job)
    return Tickets(lambda: SIGNING_KEY).sign(given)


def expired(job: str | None) -> str:
    """A ticket that was over a minute ago."""
    return signed(job, -60)


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


BASIC = "Basic aGk6dGhlcmU="


@pytest.mark.parametrize("is_cookie", [pytest.param(False, id="in the address"), pytest.param(True, id="as a cookie")])
@pytest.mark.parametrize(
    ("header", "answered"),
    [
        pytest.param(BASIC, 200, id="what a proxy has asked for is not ours"),
        pytest.param("Bearer aj_abcdefgh_wrong", 401, id="a key goes before a ticket, also a wrong one"),
        pytest.param("Bearer ", 401, id="so does an empty one"),
    ],
)
async def test_beside_a_ticket_a_header_counts_where_it_is_a_key(
    door: Door, place: Served, header: str, answered: int, *, is_cookie: bool
) -> None:
    await finished(door, place)
    text = (await ticket(door, place, job_id="fix")).body["ticket"]
    door.session.cookie_jar.clear()
    path, cookies = ("/claude/stream", {COOKIE: text}) if is_cookie else (f"/claude/stream?ticket={text}", {})
    answer = await door.ask("GET", path, headers={"Authorization": header}, cookies=cookies)
    assert answer.status == answered


@pytest.mark.parametrize("path", ["/claude/stream?job_id=fix", "/claude/stream?ticket=x.y", "/v1/jobs/fix?ticket={}"])
async def test_a_header_for_a_proxy_opens_nothing(door: Door, place: Served, path: str) -> None:
    await finished(door, place)
    text = (await ticket(door, place, job_id="fix")).body["ticket"]
    door.session.cookie_jar.clear()
    answer = await door.ask("GET", path.format(text), headers={"Authorization": BASIC})
    assert answer.status == 401


SOURCE = {"Accept": "text/event-stream"}
"""As an EventSource sends it."""


async def test_an_event_source_that_cannot_be_served_yet_comes_back_and_then_makes_its_job(
    place: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentjob_gateway.requests")
    path, source = f"/claude/stream?prompt=x&ticket={signed(None, 60)}", EventSource()
    async with small(place, channels=0) as full, place.session.get(full.make_url(path), headers=SOURCE) as answer:
        source.read(await answer.read())
    assert (answer.status, answer.content_type, source.events) == (200, "text/event-stream", [])
    assert (10_000 <= (source.retry or 0) <= 30_000, source.last_event_id) == (True, "")
    assert place.cluster.made("agentjobs") == []
    assert [getattr(record, "status", None) for record in caplog.records] == [503]
    async with small(place, channels=1) as client:
        for _ in range(2):
            async with place.session.get(client.make_url(path), headers=SOURCE) as answer:
                assert answer.status == 200
                [name] = place.cluster.made("agentjobs")
                assert await answer.content.readline() == f"id: {name}/start\n".encode()


@pytest.mark.parametrize(
    ("last", "goes_on"),
    [
        pytest.param("", "start", id="from the beginning"),
        pytest.param("1-7", "1-7", id="after the last event it has got"),
        pytest.param("end", "", id="which has seen all is told so"),
    ],
)
async def test_an_event_source_without_room_keeps_its_job_and_its_place(place: Served, last: str, goes_on: str) -> None:
    async with small(place, channels=0) as full:
        name = (await (await full.post("/claude", json={"prompt": "x"})).json())["job_id"]
        url = full.make_url(f"/claude/stream?ticket={signed(name, 60)}")
        headers, source = SOURCE | ({"Last-Event-ID": f"{name}/{last}"} if last else {}), EventSource()
        async with place.session.get(url, headers=headers) as answer:
            source.read(await answer.read())
    assert (answer.status, source.last_event_id) == ((200, f"{name}/{goes_on}") if goes_on else (204, ""))


@pytest.mark.parametrize(
    ("headers", "ticket"),
    [
        pytest.param(SOURCE, "", id="a client with a key"),
        pytest.param(SOURCE, signed(None, 3600), id="a client with a key and a ticket"),
        pytest.param({"Accept": "*/*", "Authorization": BASIC}, signed(None, 3600), id="curl with a ticket"),
    ],
)
async def test_who_can_read_a_status_is_told_when_to_come_back(place: Served, headers: Object, ticket: str) -> None:
    async with small(place, channels=0) as full:
        answer = await full.get("/claude/stream", params={"prompt": "x", "ticket": ticket}, headers=headers)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert place.cluster.made("agentjobs") == []


async def test_an_event_source_that_names_no_job_of_ours_and_cannot_be_served_yet_comes_back(
    door: Door, place: Served, caplog: pytest.LogCaptureFixture
) -> None:
    place.cluster.fail(Fault("create", "subjectaccessreviews", forever=True))
    limits = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
    jane = Caller(name="user:jane", limits=limits, username="jane")
    given = Ticket(caller=jane, expires=int(time.time()) + 60, nonce="n-1", namespace=NAMESPACE, job="fix")
    text = Tickets(lambda: SIGNING_KEY).sign(given)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.settings.port)
    path = f"/claude/stream?namespace={NAMESPACE}&ticket={text}"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: door\r\nAccept: text/event-stream\r\n".encode()
        + b"Last-Event-ID: \xff/1-1\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\n\r\nid: fix/start\n\nretry: " in answer
    assert [record for record in caplog.records if record.exc_info] == []
