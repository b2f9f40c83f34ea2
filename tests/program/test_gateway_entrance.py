"""What every request goes through: it is named, pages of other origins may read it, and what is wrong has one shape."""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agentjob_gateway import shapes
from agentjob_gateway.app import Entrance, application
from agentjob_gateway.caller import Limits
from agentjob_gateway.doors import Doors
from agentjob_gateway.gate import Authenticator, KeyDirectory
from agentjob_gateway.limits import Rates
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.routes import Route
from agentjob_gateway.serve import now
from agentjob_program.logs import JsonFormatter
from mcp_place import HEADERS
from operated import until
from served import Door, Served, served
from streamed import finished

Object = dict[str, Any]

PAGE = "https://ops.example"
MADE_BY = "agentjob.dev/request"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door(corsOrigins=[PAGE]).start()


def told(caplog: pytest.LogCaptureFixture) -> list[Object]:
    """What the log says of the requests that were answered."""
    names = [record for record in caplog.records if record.name == "agentjob_gateway.requests"]
    return [json.loads(JsonFormatter().format(record)) for record in names]


# The request's id


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="none"),
        pytest.param({"X-Request-Id": ""}, id="an empty one"),
        pytest.param({"X-Request-Id": "x" * 65}, id="one that is too long"),
        pytest.param({"X-Request-Id": 'a"b'}, id="one with other characters"),
    ],
)
async def test_a_request_that_brings_no_id_gets_one_that_the_log_has(
    door: Door, place: Served, caplog: pytest.LogCaptureFixture, given: dict[str, str]
) -> None:
    caplog.set_level(logging.INFO)
    found = {(await door.ask("GET", "/v1/jobs", place.key(), headers=given)).headers["X-Request-Id"] for _ in range(2)}
    assert len(found - set(given.values())) == 2
    assert {line["request"] for line in told(caplog)} == found


SUBMIT_TOOL = {"name": "submit_claude_agent", "arguments": {"prompt": "x"}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/claude", {"prompt": "x"}, id="submitted"),
        pytest.param("/claude/stream", {"prompt": "x"}, id="submitted and watched"),
        pytest.param("/v1/jobs", {"spec": {"prompt": "x"}}, id="made whole"),
        pytest.param("/v1/tickets", {"prompt": "x"}, id="submitted for a ticket"),
        pytest.param(
            "/mcp", {"jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": SUBMIT_TOOL}, id="handed over by MCP"
        ),
    ],
)
async def test_the_id_of_the_request_that_makes_a_job_is_in_the_answer_and_on_the_job(
    door: Door, place: Served, path: str, body: Object
) -> None:
    headers = HEADERS | {"Authorization": f"Bearer {place.key()}", "X-Request-Id": "trace-1"}
    async with place.session.post(door.url + path, json=body, headers=headers) as answer:
        assert (answer.status < 300, answer.headers["X-Request-Id"]) == (True, "trace-1")

        async def made() -> list[str]:
            return place.cluster.made("agentjobs")

        [name] = await until(made)
    assert (await place.job(name))["metadata"]["annotations"][MADE_BY] == "trace-1"


# Pages of other origins


async def test_a_page_is_told_what_it_may_send_and_read(door: Door) -> None:
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "DELETE"}
    answer = await door.ask("OPTIONS", "/v1/jobs/fix", headers=asks)
    assert answer.status == 204
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == {"GET", "POST", "DELETE"}
    allowed = set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert allowed >= {"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id"}
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


async def test_a_page_of_another_origin_is_told_nothing(door: Door) -> None:
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}
    answer = await door.ask("OPTIONS", "/v1/jobs/fix", headers=asks)
    assert (answer.status, [name for name in answer.headers if name.startswith("Access-Control")]) == (204, [])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/v1/jobs/fix/events", 200, id="a stream"),
        pytest.param("/v1/jobs/never-was", 404, id="a problem"),
        pytest.param("/nowhere", 404, id="a path that leads nowhere"),
    ],
)
async def test_a_page_may_read_whatever_is_answered(door: Door, place: Served, path: str, status: int) -> None:
    await finished(door, place)
    answer = await door.ask("GET", path, place.key(), headers={"Origin": PAGE})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
    assert answer.headers["Vary"] == "Origin"
    shown = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert shown == {"Location", "Mcp-Session-Id", "Retry-After", "X-Request-Id"}


# What is wrong


async def test_a_path_that_leads_nowhere_is_told_in_the_shape_of_all_problems(door: Door) -> None:
    answer = await door.ask("GET", "/nowhere")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json; charset=utf-8")
    assert shapes.ProblemBody.model_validate(answer.body).request_id == answer.headers["X-Request-Id"]


class DefectError(Exception):
    """Of the test's."""


async def fail(_: web.Request) -> web.StreamResponse:
    raise DefectError("in its own words")


async def test_a_defect_is_told_by_the_id_of_its_request_and_to_the_log_alone_in_full(
    place: Served, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
    known = Authenticator(keys=KeyDirectory(place.keys), tokens=None, limits=limits, clock=now)
    route = Route(method="GET", path="/fails", handler=fail, summary="Fails", answers={}, is_open=True)
    entrance = Entrance(authenticator=known, rates=Rates(), metrics=Metrics())
    app = application(cast("Doors", None), entrance, [route], 1024)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/fails", headers={"X-Request-Id": "trace-1"})
        problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["request_id"]) == (500, "trace-1")
    assert problem["detail"] == "something went wrong here; the request's id finds it in the log"
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    written = json.loads(JsonFormatter().format(record))
    assert (record.exc_info[0], written["request"], written["route"]) == (DefectError, "trace-1", "/fails")


# What the log does not tell


async def test_nothing_of_an_address_is_logged(door: Door, place: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ticket = (await door.ask("POST", "/v1/tickets", place.key(), json={})).body["ticket"]
    door.session.cookie_jar.clear()
    async with place.session.get(f"{door.url}/claude/stream?prompt=a+secret+task&ticket={ticket}") as answer:
        assert answer.status == 200
        await answer.content.readline()
    assert (await door.ask("GET", f"/claude/stream?prompt=a+secret+task&ticket={ticket}x")).status == 401
    whole = "\n".join(JsonFormatter().format(record) + str(record.__dict__) for record in caplog.records)
    assert "GET" in whole
    assert ticket not in whole
    assert "secret" not in whole
