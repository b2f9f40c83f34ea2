"""The scripted model over HTTP: answers, faults, records, and the program itself."""

import asyncio
import io
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import scripted_model
from scripted_model import Plot, ScriptedModel, Task, script
from scripted_model.records import KEPT_BYTES, KEPT_REQUESTS, Recorded, Records
from scripted_model.replies import Usage, reply, text
from scripted_model.server import LARGEST_BODY

SESSION = "8434f419-b456-41a1-9768-44e97ff53b8f"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "x-api-key": "sk-very-secret",
    "x-claude-code-session-id": SESSION,
}
SUPPORT = Path(__file__).parents[1] / "support"


@script()
def bill(_: Task) -> Plot:
    """Answer with figures of its own."""
    yield reply(text("That will be all."), usage=Usage(input_tokens=7, output_tokens=8))


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with scripted_model.running(bill) as running:
        yield running


@pytest.fixture
async def http(model: ScriptedModel) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(model.url, headers=HEADERS) as session:
        yield session


def request(prompt: str, *, stream: bool = False, **more: object) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    return body | more


async def ask(http: aiohttp.ClientSession, prompt: str, **more: Any) -> tuple[int, Any]:
    async with http.post("/v1/messages?beta=true", json=request(prompt, **more)) as response:
        return response.status, await response.json()


async def stream(http: aiohttp.ClientSession, prompt: str) -> list[str]:
    """The names of a stream's events, in order; raises aiohttp.ClientPayloadError if it is cut."""
    async with http.post("/v1/messages", json=request(prompt, stream=True)) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        lines = [line.decode().strip() async for line in response.content]
    return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


async def test_a_whole_answer(http: aiohttp.ClientSession) -> None:
    status, answer = await ask(http, "[script: bill]")
    assert status == 200
    assert answer["content"] == [{"type": "text", "text": "That will be all."}]
    assert answer["stop_reason"] == "end_turn"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (7, 8)


async def test_a_streamed_answer(http: aiohttp.ClientSession) -> None:
    names = await stream(http, "[script: say-hello]")
    assert list(dict.fromkeys(names)) == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("prompt", "seconds"),
    [
        pytest.param("[script: slow-answer 0.2]", 0.2, id="before the first word"),
        pytest.param("[script: slow-answer 0 0.03]", 0.03 * 8, id="between the events of its stream"),
    ],
)
async def test_an_answer_that_takes_its_time(http: aiohttp.ClientSession, prompt: str, seconds: float) -> None:
    started = time.monotonic()
    assert len(await stream(http, prompt)) >= 8
    assert time.monotonic() - started >= seconds


@pytest.mark.parametrize(
    ("prompt", "statuses", "kind"),
    [
        pytest.param("[script: overloaded]", [529] * 3, "overloaded_error", id="529 for ever"),
        pytest.param("[script: overloaded 2]", [529, 529, 200], "overloaded_error", id="529 twice"),
        pytest.param("[script: server-error 1]", [500, 200], "api_error", id="500 once"),
        pytest.param("[script: bad-key]", [401, 401], "authentication_error", id="401"),
        pytest.param("[script: billing]", [402, 402], "billing_error", id="402"),
        pytest.param("[script: bad-request]", [400], "invalid_request_error", id="400"),
        pytest.param("[script: rate-limited 61 always]", [429, 429], "rate_limit_error", id="429"),
        pytest.param("[script: broken-stream 1]", [529, 200], "overloaded_error", id="529 for a broken stream"),
    ],
)
async def test_refusals_come_as_often_as_the_prompt_says(
    http: aiohttp.ClientSession, model: ScriptedModel, prompt: str, statuses: list[int], kind: str
) -> None:
    answers = [await ask(http, prompt) for _ in statuses]
    assert [status for status, _ in answers] == statuses
    assert answers[0][1]["error"]["type"] == kind
    assert model.violations == []


async def test_a_refusal_says_when_to_come_back(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/messages", json=request("[script: rate-limited 17]")) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "17")


async def test_faults_are_counted_for_each_conversation(model: ScriptedModel) -> None:
    for session in ("one", "two"):
        async with aiohttp.ClientSession(model.url, headers=HEADERS | {"x-claude-code-session-id": session}) as http:
            assert [(await ask(http, "[script: overloaded 1]"))[0] for _ in range(2)] == [529, 200]


@pytest.mark.parametrize(
    "after",
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"],
)
async def test_a_stream_is_cut_where_the_prompt_says(http: aiohttp.ClientSession, after: str) -> None:
    prompt = f"[script: cut-stream 1 {after}]"
    with pytest.raises(aiohttp.ClientPayloadError):
        await stream(http, prompt)
    assert (await stream(http, prompt))[-1] == "message_stop"


async def test_a_cut_without_streaming_gives_nothing_at_all(http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(http, "[script: cut-stream 1]")
    assert (await ask(http, "[script: cut-stream 1]"))[0] == 200


async def test_a_stream_breaks_off_with_an_error(http: aiohttp.ClientSession) -> None:
    assert await stream(http, "[script: broken-stream]") == ["message_start", "error"]


async def test_a_client_that_hangs_up_disturbs_nobody(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    timeout = aiohttp.ClientTimeout(total=0.1)
    body = request("[script: slow-answer 0.2]", stream=True)
    with pytest.raises(TimeoutError):
        await http.post("/v1/messages", json=body, timeout=timeout)
    assert (await ask(http, "[script: slow-answer 0.3]"))[0] == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_violation_is_answered_and_recorded(http: aiohttp.ClientSession, model: ScriptedModel) -> None:
    status, answer = await ask(http, "[script: say-hello]", surprise=1)
    assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error")
    assert model.violations == ["POST /v1/messages?beta=true: surprise: Extra inputs are not permitted"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/v1/files", 404, id="a route of another API"),
        pytest.param("POST", "/v1/complete", 404, id="a route of an old API"),
        pytest.param("GET", "/v1/messages", 404, id="a wrong method"),
    ],
)
async def test_what_the_api_does_not_have(
    http: aiohttp.ClientSession, model: ScriptedModel, method: str, path: str, status: int
) -> None:
    async with http.request(method, path) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (status, "not_found_error")
    assert len(model.violations) == 1


async def test_a_body_without_end_is_refused(http: aiohttp.ClientSession, model: ScriptedModel) -> None:
    body = io.BytesIO(b" " * (LARGEST_BODY + 1))
    async with http.post("/v1/messages", data=body, headers={"content-type": "application/json"}) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (413, "request_too_large")
    assert f"larger than {LARGEST_BODY} bytes" in model.violations[0]


async def test_the_smaller_routes(http: aiohttp.ClientSession, model: ScriptedModel) -> None:
    count = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
    async with http.post("/v1/messages/count_tokens", json=count) as response:
        assert 100 < (await response.json())["input_tokens"] < 200
    async with http.get("/v1/models") as response:
        first = (await response.json())["data"][0]["id"]
    async with http.get(f"/v1/models/{first}") as response:
        assert (await response.json())["id"] == first
    async with http.head("/api/hello") as response:
        assert response.status == 200
    assert (model.violations, model.requests) == ([], [])


async def test_requests_are_recorded_without_secrets(http: aiohttp.ClientSession, model: ScriptedModel) -> None:
    await ask(http, "[script: many-turns]")
    [recorded] = model.requests
    assert (recorded.script, recorded.turn, recorded.status, recorded.conversation) == ("many-turns", 0, 200, SESSION)
    assert recorded.body["messages"][0]["content"] == "[script: many-turns]"
    assert recorded.headers["x-api-key"].startswith("sha256:")
    assert "sk-very-secret" not in json.dumps(recorded.as_json())
    assert "many-turns]" not in json.dumps(recorded.as_log())


async def test_a_subagent_is_a_conversation_of_its_own(http: aiohttp.ClientSession, model: ScriptedModel) -> None:
    headers = {"x-claude-code-agent-id": "a1"}
    async with http.post("/v1/messages", json=request("[script: say-hello]"), headers=headers):
        assert model.requests[0].conversation == f"{SESSION}/a1"


async def test_records_can_be_read_from_outside(http: aiohttp.ClientSession) -> None:
    await ask(http, "[script: say-hello]")
    await ask(http, "[script: think-then-answer]")
    await ask(http, "[script: nonsense]")
    async with http.get("/scripted/requests", params={"conversation": SESSION}) as response:
        assert [record["script"] for record in await response.json()] == ["say-hello", "think-then-answer", ""]
    async with http.get("/scripted/requests", params={"script": "say-hello"}) as response:
        assert [record["body"]["model"] for record in await response.json()] == ["m"]
    async with http.get("/scripted/violations") as response:
        assert "no script is called 'nonsense'" in (await response.json())[0]
    async with http.delete("/scripted/requests") as response:
        assert response.status == 204
    async with http.get("/scripted/requests") as response:
        assert await response.json() == []


def record_of(size: int) -> Recorded:
    return Recorded(id="r", time=datetime.now(UTC), method="POST", path="/", headers={}, raw=b"x" * size, status=200)


def test_old_records_are_forgotten_by_number() -> None:
    records = Records()
    for _ in range(KEPT_REQUESTS + 5):
        records.add(record_of(1))
    assert len(records) == KEPT_REQUESTS


def test_old_records_are_forgotten_by_size() -> None:
    records = Records()
    for _ in range(5):
        records.add(record_of(KEPT_BYTES // 2))
    assert len(records) == 2


async def test_the_program_serves_logs_and_ends_when_told() -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scripted_model",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        cwd=SUPPORT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    listening = json.loads(await program.stdout.readline())
    host, port = listening["addresses"][0]
    async with aiohttp.ClientSession(f"http://{host}:{port}", headers=HEADERS) as http:
        await ask(http, "[script: say-hello]")
    logged = json.loads(await program.stdout.readline())
    assert (logged["script"], logged["status"], logged["conversation"]) == ("say-hello", 200, SESSION)
    program.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(program.wait(), 10) == 0
