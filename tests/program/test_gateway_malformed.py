"""Requests that no client in its right mind sends: each is refused in words, and none is a fault of the gateway's."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from agentjob_gateway.doors import bytes_of
from agentjob_gateway.errors import BadRequest, Problem
from agentjob_program.logs import JsonFormatter
from mcp_place import listening
from operated import until
from served import Door, Served, served

Object = dict[str, Any]

SECRET = "aj_abcdefgh_n0body-is-to-read-this"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door().start()


async def sent(port: int, text: bytes) -> bytes:
    """What comes back until the gateway hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def written(caplog: pytest.LogCaptureFixture) -> str:
    """The log as it would stand on stdout."""
    return "\n".join(JsonFormatter().format(record) for record in caplog.records)


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param(
            f"GET /v1/jobs HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r \r\n\r\n", id="a stray CR in a header"
        ),
        pytest.param(f"GET /claude/stream?prompt=a {SECRET} HTTP/1.1\r\n\r\n", id="a space in the address"),
        pytest.param(f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n", id="a header that is none"),
        pytest.param(
            f"POST /claude HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n", id="a body in pieces of no size"
        ),
        pytest.param(f"{SECRET} / HTTP/1.1\r\n\r\n", id="a method that is none"),
    ],
)
@pytest.mark.parametrize("which", ["port", "metrics_port"])
async def test_nothing_of_a_request_that_cannot_be_parsed_is_logged(
    door: Door, caplog: pytest.LogCaptureFixture, request_line: str, which: str
) -> None:
    caplog.set_level(logging.DEBUG)
    await sent(getattr(door.settings, which), request_line.encode())
    assert SECRET not in written(caplog)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def asked(door: Door, key: str, request: bytes, body: bytes = b"") -> tuple[int, Object]:
    """The status and the body of the answer to a request line, and headers after it, as they stand."""
    head = b"%b\r\nHost: door\r\nConnection: close\r\nContent-Length: %d\r\nAuthorization: Bearer %b\r\n\r\n"
    answer = await sent(door.settings.port, head % (request, len(body), key.encode()) + body)
    head, _, found = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), orjson.loads(found)


JSON = b"\r\nContent-Type: application/json"
LONG = b"x" * 100_000


@pytest.mark.parametrize(
    ("request_line", "body"),
    [
        pytest.param(b"GET /v1/jobs/%2E HTTP/1.1", b"", id="the folder of all jobs"),
        pytest.param(b"GET /v1/jobs/%2E%2E HTTP/1.1", b"", id="the folder above"),
        pytest.param(b"GET /v1/jobs/fix%2Fstatus HTTP/1.1", b"", id="a part of a job"),
        pytest.param(b"GET /v1/jobs/%FF HTTP/1.1", b"", id="a byte that is no text"),
        pytest.param(b"GET /v1/jobs/FIX HTTP/1.1", b"", id="capitals"),
        pytest.param(b"POST /v1/jobs/%2E/cancel HTTP/1.1", b"", id="to be cancelled"),
        pytest.param(b"DELETE /v1/jobs/%2E HTTP/1.1", b"", id="to be deleted"),
        pytest.param(b"GET /v1/jobs/%2E/events HTTP/1.1", b"", id="to be watched"),
        pytest.param(b"GET /claude/jobs/%2E HTTP/1.1", b"", id="to be polled"),
        pytest.param(b"GET /claude/stream?job_id=. HTTP/1.1", b"", id="in a query"),
        pytest.param(b"GET /claude/stream?job_id=%FF HTTP/1.1", b"", id="a byte that is no text in a query"),
        pytest.param(b"GET /claude/stream HTTP/1.1\r\nLast-Event-ID: ./1-1", b"", id="in the id of an event"),
        pytest.param(b"GET /claude/stream HTTP/1.1\r\nLast-Event-ID: \xff/1-1", b"", id="a byte in the id of an event"),
        pytest.param(b"POST /v1/tickets HTTP/1.1" + JSON, b'{"job_id": "."}', id="in the body for a ticket"),
        pytest.param(b"POST /v1/tickets HTTP/1.1" + JSON, b'{"job_id": "%b"}' % LONG, id="100 KB for a ticket"),
    ],
)
async def test_what_no_job_can_be_called_is_missing_and_not_asked_for(
    door: Door, place: Served, request_line: bytes, body: bytes
) -> None:
    def seen() -> int:
        return len([found for found in place.cluster.requests() if found.verb != "watch"])

    before = seen()
    status, problem = await asked(door, place.key(), request_line, body)
    assert (status, "there is no job" in problem["detail"]) == (404, True)
    assert len(problem["detail"]) < 200
    assert seen() == before


def posted(path: str, key: str, more: str) -> bytes:
    """The head of a request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}{more}\r\n\r\n".encode()


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged of defects of the gateway's own."""
    return [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info]


@pytest.mark.parametrize("path", ["/claude", "/claude/stream", "/v1/jobs", "/v1/tickets"])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param(("Content-Length: 100", b"{"), id="but the client's hanging up"),
        pytest.param(("Transfer-Encoding: chunked", b"1\r\n{\r\n"), id="but its hanging up between two pieces"),
        pytest.param(("Content-Length: 9\r\nContent-Encoding: gzip", b"no gzip.."), id="but nonsense for gzip"),
    ],
)
async def test_a_body_that_has_no_end_is_the_clients_fault(
    door: Door, place: Served, caplog: pytest.LogCaptureFixture, path: str, given: tuple[str, bytes]
) -> None:
    caplog.set_level(logging.INFO)
    more, body = given
    _, writer = await asyncio.open_connection("127.0.0.1", door.settings.port)
    writer.write(posted(path, place.key(), more) + body)
    await writer.drain()
    writer.write_eof()

    def told() -> list[object]:
        return [record.__dict__["status"] for record in caplog.records if record.name == "agentjob_gateway.requests"]

    async def is_told() -> bool:
        return bool(told())

    await until(is_told)
    writer.close()
    assert told() == [400]
    assert failures(caplog) == []
    assert place.cluster.made("agentjobs") == []


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever() -> None:
    problem: asyncio.Future[Problem] = asyncio.get_running_loop().create_future()

    async def post(request: web.Request) -> web.Response:
        try:
            await bytes_of(request, seconds=0.05)
        except BadRequest as found:
            problem.set_result(found)
        return web.Response()

    async with listening(post) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        writer.write(posted("/mcp", "", "Content-Length: 100") + b"{")
        assert (await problem).detail == "the body: its end did not come within 0.05 s"
        writer.close()


DEEP = b"[" * 300 + b"]" * 300


@pytest.mark.parametrize(
    ("request_line", "body", "answer"),
    [
        pytest.param(
            b"POST /claude HTTP/1.1" + JSON,
            b'{"prompt": "x", "agent": %b}' % DEEP,
            (422, "spec.agent: "),
            id="a field that is nested too deep",
        ),
        pytest.param(
            b"POST /v1/jobs HTTP/1.1" + JSON,
            b'{"spec": {"prompt": "x", "agent": %b}}' % DEEP,
            (422, "spec.agent: "),
            id="a field of a whole spec that is nested too deep",
        ),
        pytest.param(
            b"POST /v1/jobs HTTP/1.1" + JSON,
            b'{"labels": %b, "spec": {"prompt": "x"}}' % DEEP,
            (422, "labels: "),
            id="labels that are nested too deep",
        ),
        pytest.param(
            b"GET /v1/jobs?cursor=%b HTTP/1.1" % base64.urlsafe_b64encode(b"[" * 2_000),
            b"",
            (400, "cursor: "),
            id="a cursor that is nested too deep",
        ),
    ],
)
async def test_what_cannot_be_passed_on_is_refused_in_words(
    door: Door, place: Served, request_line: bytes, body: bytes, answer: tuple[int, str]
) -> None:
    status, problem = await asked(door, place.key(), request_line, body)
    assert (status, problem["detail"][: len(answer[1])]) == answer
    assert place.cluster.made("agentjobs") == []
