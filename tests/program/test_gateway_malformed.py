"""Requests that no client in its right mind sends: each is refused in words, and none is a fault of the gateway's."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentjob_program.logs import JsonFormatter
from served import Door, Served, served

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
