"""What holds of every route there is: who is let in, how far, how often and with how much, and what is answered."""

import gzip
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from agent_jobs import ENDED
from agentjob_gateway import routes
from agentjob_gateway.caller import Role
from agentjob_gateway.openapi import document
from agentjob_gateway.tickets import COOKIE
from fake_cluster.server import Seen
from served import NAMESPACE, Answer, Door, Served, served
from streamed import make

Object = dict[str, Any]

OTHER = "other"


@dataclass(frozen=True)
class Asked:
    """A request that a route takes."""

    method: str
    path: str
    body: Object | None = None

    def given(self) -> Object:
        return {} if self.body is None else {"json": self.body}


TASK: Object = {"prompt": "x"}
ASKED = {
    "POST /claude": Asked("POST", "/claude", TASK),
    "GET /claude/jobs/{id}": Asked("GET", "/claude/jobs/fix"),
    "POST /claude/stream": Asked("POST", "/claude/stream", TASK),
    "GET /claude/stream": Asked("GET", "/claude/stream?prompt=x"),
    "POST /v1/jobs": Asked("POST", "/v1/jobs", {"spec": TASK}),
    "GET /v1/jobs": Asked("GET", "/v1/jobs"),
    "GET /v1/jobs/{id}": Asked("GET", "/v1/jobs/fix"),
    "DELETE /v1/jobs/{id}": Asked("DELETE", "/v1/jobs/fix"),
    "POST /v1/jobs/{id}/cancel": Asked("POST", "/v1/jobs/fix/cancel"),
    "GET /v1/jobs/{id}/events": Asked("GET", "/v1/jobs/fix/events"),
    "POST /v1/tickets": Asked("POST", "/v1/tickets", TASK),
    "POST /mcp": Asked("POST", "/mcp", {"jsonrpc": "2.0", "method": "ping", "id": 1}),
}
"""A request for each route that is not open to all."""
DESCRIBED = {f"{route.method} {route.path}": route for route in (*routes.CLAUDE, *routes.V1)}
TICKETS = {name for name, route in DESCRIBED.items() if route.takes_ticket}


def test_a_request_is_here_for_every_route() -> None:
    assert ASKED.keys() == {*DESCRIBED, "POST /mcp"}


CHANGING = {name for name, route in DESCRIBED.items() if route.changes}
WITH_BODY = {name for name, asked in ASKED.items() if asked.body is not None}
OF_A_JOB = {name for name in ASKED if "{id}" in name}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        found.key("reader", Role.READ)
        found.key("stranger", Role.ADMIN, OTHER)
        found.key("slow", requestsPerMinute=1)
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    """Doors to a cluster with the job `fix`."""
    found = await place.door(namespaces=[NAMESPACE, OTHER]).start()
    await make(found, place)
    return found


def changes(place: Served) -> list[Seen]:
    """What the gateway has asked the cluster to change, but the making of the job `fix`."""
    asked = [seen for seen in place.cluster.requests() if seen.agent == "agentjob"]
    return [seen for seen in asked if seen.verb in {"create", "patch", "delete"}][1:]


async def ask(door: Door, asked: Asked, key: str | None = None, **given: Any) -> Answer:
    return await door.ask(asked.method, asked.path, key, **asked.given(), **given)


async def test_nobody_is_let_in_without_a_credential(door: Door, place: Served) -> None:
    answers = {name: await ask(door, asked) for name, asked in ASKED.items()}
    told = {name: (found.status, found.body["error"]) for name, found in answers.items()}
    assert told == dict.fromkeys(ASKED, (401, "Unauthorized"))
    assert {found.headers["WWW-Authenticate"] for found in answers.values()} == {'Bearer realm="agentjob"'}
    assert changes(place) == []


@pytest.mark.parametrize("is_cookie", [pytest.param(False, id="in the address"), pytest.param(True, id="as a cookie")])
async def test_a_ticket_opens_streams_and_nothing_else(door: Door, place: Served, *, is_cookie: bool) -> None:
    text = (await door.ask("POST", "/v1/tickets", place.key(), json={"job_id": "fix"})).body["ticket"]
    door.session.cookie_jar.clear()
    with_it: Object = {"cookies": {COOKIE: text}} if is_cookie else {"params": {"ticket": text}}
    closed = ASKED.keys() - TICKETS
    assert {name: (await ask(door, ASKED[name], **with_it)).status for name in closed} == dict.fromkeys(closed, 401)
    assert changes(place) == []


async def test_who_may_only_read_changes_nothing(door: Door, place: Served) -> None:
    answers = {name: await ask(door, ASKED[name], place.key("reader", Role.READ)) for name in CHANGING}
    told = {name: (found.status, found.body["detail"][:18]) for name, found in answers.items()}
    assert told == dict.fromkeys(CHANGING, (403, "key:reader may not"))
    assert changes(place) == []


async def test_a_job_of_another_namespace_cannot_be_told_from_one_that_never_was(door: Door, place: Served) -> None:
    stranger, watch = place.key("stranger", Role.ADMIN, OTHER), Asked("GET", "/claude/stream?job_id=fix")
    for asked in (*(ASKED[name] for name in OF_A_JOB), watch):
        there = await ask(door, asked, stranger)
        never = await ask(door, Asked(asked.method, asked.path.replace("fix", "never-was")), stranger)
        assert (there.status, never.status) == (404, 404), asked
        assert there.body["detail"] == never.body["detail"].replace("never-was", "fix"), asked
    assert changes(place) == []


async def test_every_request_counts_among_those_of_its_key(door: Door, place: Served) -> None:
    key = place.key("slow")
    assert (await door.ask("GET", "/v1/jobs", key)).status == 200
    answers = {name: await ask(door, asked, key) for name, asked in ASKED.items()}
    told = {name: (found.status, found.body["detail"][:32]) for name, found in answers.items()}
    assert told == dict.fromkeys(ASKED, (429, "more than 1 requests a minute; c"))
    assert all(1 <= int(found.headers["Retry-After"]) <= 60 for found in answers.values())
    assert changes(place) == []


LARGE: Final = b'{"prompt": "%b"}' % (b"x" * 2_000_000)
JSON: Final = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(LARGE, {}, id="as it is"),
        pytest.param(gzip.compress(LARGE), {"Content-Encoding": "gzip"}, id="packed"),
    ],
)
async def test_no_body_is_larger_than_the_settings_allow(
    door: Door, place: Served, body: bytes, headers: dict[str, str]
) -> None:
    given = {"headers": JSON | headers}
    answers = {
        name: await door.ask("POST", ASKED[name].path, place.key(), data=io.BytesIO(body), **given)
        for name in WITH_BODY
    }
    told = {name: (found.status, found.body["detail"]) for name, found in answers.items()}
    assert told == dict.fromkeys(WITH_BODY, (413, "the body is larger than 1048576 bytes"))
    assert changes(place) == []


async def test_every_route_answers_as_it_is_described(door: Door, place: Served) -> None:
    await place.set_status("fix", ENDED)
    at_last = ("POST /v1/jobs/{id}/cancel", "DELETE /v1/jobs/{id}")
    headers = {"Authorization": f"Bearer {place.key()}"}
    for name in (*(name for name in DESCRIBED if name not in at_last), *at_last):
        asked, described = ASKED[name], DESCRIBED[name].answers
        async with place.session.request(
            asked.method, door.url + asked.path, headers=headers, **asked.given()
        ) as found:
            assert 200 <= found.status < 300, name
            shape = described[found.status]
            if isinstance(shape, str):
                is_stream = shape.startswith("Server-sent events")
                assert (found.content_type == "text/event-stream") == is_stream, name
            else:
                assert found.content_type == "application/json", name
                shape.model_validate(await found.json())


async def test_a_body_may_be_left_out_where_it_is_described_so(door: Door, place: Served) -> None:
    paths = document(DESCRIBED.values())["paths"]
    needed = {
        name for name in WITH_BODY & DESCRIBED.keys() if paths[ASKED[name].path]["post"]["requestBody"]["required"]
    }
    answers = {name: await door.ask("POST", ASKED[name].path, place.key()) for name in WITH_BODY & DESCRIBED.keys()}
    assert {name for name, found in answers.items() if found.status == 400} == needed
    assert answers["POST /v1/tickets"].status == 201
