"""What a gateway shows of itself: /metrics, /healthz and /readyz."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from agentjob_gateway.reader import LAST_CHUNK
from fake_cluster import Fault
from operated import until
from served import Door, Served, served
from streamed import make


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        found.key("slow", requestsPerMinute=1)
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door().start()


async def shown(door: Door, name: str, **labels: str) -> float:
    """The value of a sample; nan where there is none."""
    async with door.session.get(f"{door.metrics}/metrics") as response:
        text = await response.text()
    samples = [sample for family in families(text) for sample in family.samples]
    found = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
    return found[0] if found else float("nan")


async def until_shown(door: Door, value: float, name: str, **labels: str) -> None:
    async def is_shown() -> bool:
        return await shown(door, name, **labels) == value

    await until(is_shown)


@pytest.mark.parametrize(
    ("asked", "key", "counted"),
    [
        pytest.param("GET /v1/jobs", "ci", ("/v1/jobs", "200"), id="an answer"),
        pytest.param("GET /v1/jobs/never-was", "ci", ("/v1/jobs/{id}", "404"), id="a job that is not there"),
        pytest.param("GET /claude/jobs/x?wait=z", "ci", ("/claude/jobs/{id}", "400"), id="what makes no sense"),
        pytest.param("GET /v1/jobs", None, ("/v1/jobs", "401"), id="somebody who is not known"),
        pytest.param("GET /v1/jobs", "slow", ("/v1/jobs", "429"), id="one request too many"),
        pytest.param("PUT /v1/jobs", "ci", ("none", "405"), id="another method"),
        pytest.param("GET /of/a/client/s/choice", "ci", ("none", "404"), id="a path that leads nowhere"),
    ],
)
async def test_requests_are_counted_by_route_and_status(
    door: Door, place: Served, asked: str, key: str | None, counted: tuple[str, str]
) -> None:
    (method, path), (route, status) = asked.split(), counted
    if key == "slow":
        await door.ask("GET", "/v1/jobs", place.key(key))
    await door.ask(method, path, key and place.key(key))
    labels = {"method": method, "route": route, "status": status}
    await until_shown(door, 1, "agentjob_gateway_requests_total", **labels)
    await until_shown(door, 2 if key == "slow" else 1, "agentjob_gateway_request_seconds_count", route=route)


async def test_a_request_takes_as_long_as_its_answer(door: Door, place: Served) -> None:
    await make(door, place)
    await door.ask("GET", "/claude/jobs/fix?wait=0.3", place.key())
    route = {"route": "/claude/jobs/{id}"}
    await until_shown(door, 1, "agentjob_gateway_request_seconds_count", **route)
    assert await shown(door, "agentjob_gateway_request_seconds_sum", **route) >= 0.3
    assert await shown(door, "agentjob_gateway_request_seconds_bucket", le="0.25", **route) == 0


async def test_streams_logs_and_bytes_are_counted(door: Door, place: Served) -> None:
    await make(door, place)
    await place.agents.start()
    place.agents.say(1, 2)
    request = f"GET /v1/jobs/fix/events HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer {place.key()}\r\n\r\n".encode()
    clients = [await asyncio.open_connection("127.0.0.1", door.settings.port) for _ in range(3)]
    for _, writer in clients:
        writer.write(request)
    await until_shown(door, 3, "agentjob_gateway_streams")
    await until_shown(door, 1, "agentjob_gateway_follows")
    await until_shown(door, 2, "agentjob_gateway_log_lines_total")
    await place.agents.finish(3)
    bodies = [(await reader.read()).partition(b"\r\n\r\n")[2] for reader, _ in clients]
    for _, writer in clients:
        writer.close()
    await until_shown(door, 0, "agentjob_gateway_streams")
    await until_shown(door, 0, "agentjob_gateway_follows")
    sent = sum(len(body.removesuffix(LAST_CHUNK)) for body in bodies)
    assert sent > 0
    assert await shown(door, "agentjob_gateway_stream_bytes_total") == sent
    assert await shown(door, "agentjob_gateway_stream_lag_seconds") == 0


async def test_jobs_and_how_old_what_is_known_of_them_is(door: Door, place: Served) -> None:
    for name in "abc":
        await make(door, place, name)
    assert await shown(door, "agentjob_gateway_jobs") == 3
    assert 0 < await shown(door, "agentjob_gateway_cache_age_seconds") < 30
    assert await shown(door, "agentjob_gateway_api_requests_total", verb="create", code="201") == 3


async def test_a_gateway_is_alive_at_once_and_ready_when_it_knows_the_jobs(place: Served) -> None:
    place.cluster.fail(Fault("list", "agentjobs", forever=True))
    door = place.door()
    starting = asyncio.create_task(door.start())

    async def probed() -> list[int] | None:
        try:
            answers = [await place.session.get(f"{door.metrics}/{path}") for path in ("healthz", "readyz")]
        except aiohttp.ClientConnectionError:
            return None
        return [answer.status for answer in answers]

    assert await until(probed) == [200, 503]
    assert not starting.done()
    place.cluster.mend()
    await starting
    assert await probed() == [200, 200]
