"""The audit through doors that are open: who has changed what, who was refused, and nothing that is secret."""

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agentjob_api.lines import Line
from agentjob_gateway import audit
from agentjob_gateway.audit import Audit
from agentjob_gateway.audit_lines import Chains
from agentjob_gateway.caller import Role
from agentjob_gateway.mcp import SESSION
from clients import Answer
from fake_cluster import FakeCluster, Fault
from mcp_place import HEADERS
from operated import free_port, until
from served import NAMESPACE, Door, Served, served

Object = dict[str, Any]

PROMPT = "Mend the tests; the password is hunter2."
TASK = {"prompt": PROMPT}


@pytest.fixture
def book() -> Iterator[io.StringIO]:
    """What the audit has written."""
    found = io.StringIO()
    with audit.written(found, "gateway-1"):
        yield found


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        for role in Role:
            found.key(f"a-{role}", role)
        found.key("eager", requestsPerMinute=1)
        found.key("one", concurrentJobs=1)
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door().start()


def lines(book: io.StringIO) -> list[Object]:
    """What was told between the first line and the last."""
    found = [json.loads(line) for line in book.getvalue().splitlines()]
    return [line for line in found if line["audit"] not in {"begin", "end"}]


def told(book: io.StringIO) -> list[tuple[object, ...]]:
    """Who, what, job, status and verdict of each line."""
    return [tuple(line[name] for name in ("who", "what", "job", "status", "verdict")) for line in lines(book)]


async def make(door: Door, place: Served, *names: str) -> None:
    for name in names:
        answer = await door.ask("POST", "/v1/jobs", place.key(), json={"name": name, "spec": TASK})
        assert answer.status == 201


# What is changed


async def test_each_change_is_told_with_who_what_job_and_request(door: Door, place: Served, book: io.StringIO) -> None:
    await door.ask(
        "POST", "/v1/jobs", place.key(), json={"name": "fix", "spec": TASK}, headers={"X-Request-Id": "trace-1"}
    )
    uid = (await place.job("fix"))["metadata"]["uid"]
    await door.ask("POST", "/v1/jobs/fix/cancel", place.key("a-admin", Role.ADMIN))
    await door.ask("POST", "/v1/jobs/fix/cancel", place.key())
    await door.ask("POST", "/v1/tickets", place.key(), json={"job_id": "fix"})
    await door.ask("DELETE", "/v1/jobs/fix", place.key())
    assert told(book) == [
        ("key:ci", "create", "fix", None, "accepted"),
        ("key:a-admin", "patch", "fix", None, "accepted"),
        ("key:ci", "patch", "fix", None, "unchanged"),
        ("key:ci", "ticket", "fix", None, "accepted"),
        ("key:ci", "delete", "fix", None, "accepted"),
    ]
    assert {(line["namespace"], line["uid"]) for line in lines(book)} == {(NAMESPACE, uid)}
    assert lines(book)[0]["request"] == "trace-1"


async def test_a_submission_that_is_repeated_changes_nothing(door: Door, place: Served, book: io.StringIO) -> None:
    for _ in range(2):
        await door.ask("POST", "/claude", place.key(), json=TASK, headers={"Idempotency-Key": "once"})
    assert [line["verdict"] for line in lines(book)] == ["accepted", "unchanged"]
    assert len({line["uid"] for line in lines(book)}) == 1


async def test_a_job_that_is_made_by_a_ticket_is_told_of_its_owner(
    door: Door, place: Served, book: io.StringIO
) -> None:
    ticket = (await door.ask("POST", "/v1/tickets", place.key())).body["ticket"]
    made = await door.ask("POST", "/v1/tickets", place.key(), json=TASK)
    assert told(book) == [
        ("key:ci", "ticket", None, None, "accepted"),
        ("key:ci", "create", made.body["job_id"], None, "accepted"),
        ("key:ci", "ticket", made.body["job_id"], None, "accepted"),
    ]
    async with door.session.get(f"{door.url}/claude/stream", params={"ticket": ticket, "prompt": PROMPT}) as stream:
        assert stream.status == 200
        assert told(book)[3][:2] == ("key:ci", "create"), "told when it is done, not when the stream ends"
    assert ticket not in book.getvalue()
    assert made.body["ticket"] not in book.getvalue()


async def test_reading_is_not_told(door: Door, place: Served, book: io.StringIO) -> None:
    await make(door, place, "fix")
    before = len(lines(book))
    for path in ("/v1/jobs", "/v1/jobs/fix", "/claude/jobs/fix", "/v1/jobs/none", "/claude/stream?job_id=none", "/no"):
        await door.ask("GET", path, place.key())
        await door.ask("GET", path)
    await door.ask("PUT", "/v1/jobs", place.key())
    assert len(lines(book)) == before


# What is refused


@pytest.mark.parametrize(
    ("asked", "key", "given", "line"),
    [
        pytest.param("POST /claude", None, {"json": TASK}, (None, "create", None, 401), id="nobody submits"),
        pytest.param("POST /claude/stream", "bad", {"json": TASK}, (None, "create", None, 401), id="a key of nobody's"),
        pytest.param(
            "GET /claude/stream?prompt=hunter2", None, {}, (None, "create", None, 401), id="nobody submits by GET"
        ),
        pytest.param("DELETE /v1/jobs/fix", None, {}, (None, "delete", "fix", 401), id="nobody deletes"),
        pytest.param(
            "DELETE /v1/jobs/aj_hunter2", None, {}, (None, "delete", None, 401), id="what cannot be a job's name"
        ),
        pytest.param("POST /mcp", None, {"json": {}}, (None, "mcp", None, 401), id="nobody calls a tool"),
        pytest.param(
            "POST /claude", "a-read", {"json": TASK}, ("key:a-read", "create", None, 403), id="who only reads submits"
        ),
        pytest.param(
            "POST /v1/jobs/fix/cancel", "a-submit", {}, ("key:a-submit", "patch", "fix", 403), id="another's job"
        ),
        pytest.param(
            "POST /v1/tickets?namespace=other",
            "ci",
            {},
            ("key:ci", "ticket", None, 403),
            id="a ticket for another namespace",
        ),
        pytest.param("DELETE /v1/jobs/none", "ci", {}, ("key:ci", "delete", "none", 404), id="a job that is not there"),
        pytest.param(
            "POST /v1/jobs",
            "ci",
            {"json": {"name": "fix", "spec": {"prompt": "x"}}},
            ("key:ci", "create", None, 409),
            id="a name that is taken",
        ),
        pytest.param(
            "POST /claude",
            "ci",
            {"json": {**TASK, "unheardOf": PROMPT}},
            ("key:ci", "create", None, 422),
            id="a field that the cluster does not know",
        ),
        pytest.param(
            "POST /claude", "ci", {"json": {**TASK, "continue": True}}, ("key:ci", "create", None, 422), id="no sense"
        ),
        pytest.param("POST /claude", "ci", {"data": PROMPT}, ("key:ci", "create", None, 400), id="no JSON"),
    ],
)
async def test_a_change_that_is_refused_is_told(
    *,
    door: Door,
    place: Served,
    book: io.StringIO,
    asked: str,
    key: str | None,
    given: Object,
    line: tuple[object, ...],
) -> None:
    await make(door, place, "fix")
    keys = {"ci": place.key(), "bad": "aj_00000000_hunter2", None: None}
    keys |= {f"a-{role}": place.key(f"a-{role}", role) for role in Role}
    method, path = asked.split()
    answer = await door.ask(method, path, keys[key], **given)
    *_, last = lines(book)
    assert told(book)[1:] == [(*line, "refused")]
    assert (answer.status, answer.headers["X-Request-Id"]) == (last["status"], last["request"])


async def test_limits_that_are_reached_are_told(door: Door, place: Served, book: io.StringIO) -> None:
    eager, one = place.key("eager"), place.key("one")
    for key in (eager, eager, one, one):
        await door.ask("POST", "/claude", key, json=TASK)
    assert [(line["who"], line["status"], line["verdict"]) for line in lines(book)] == [
        ("key:eager", None, "accepted"),
        ("key:eager", 429, "refused"),
        ("key:one", None, "accepted"),
        ("key:one", 429, "refused"),
    ]


async def test_a_stream_that_is_one_too_many_is_told_as_refused(place: Served, book: io.StringIO) -> None:
    key = place.key("watcher", streams=1)
    door = await place.door().start()
    headers = {"Authorization": f"Bearer {key}"}
    async with door.session.post(f"{door.url}/claude/stream", json=TASK, headers=headers):
        second = await door.ask("POST", "/claude/stream", key, json=TASK)
    assert (second.status, [line["verdict"] for line in lines(book)]) == (429, ["accepted", "refused"])


async def test_a_change_that_may_be_done_all_the_same_is_told_as_failed(
    door: Door, place: Served, book: io.StringIO
) -> None:
    for _ in range(3):
        place.cluster.fail(Fault("create", "agentjobs"))
    await door.ask("POST", "/claude", place.key(), json=TASK)
    assert told(book) == [("key:ci", "create", None, 503, "failed")]


# The MCP door


async def call(door: Door, key: str, tool: str, **arguments: Any) -> Object:
    """The result of a tool."""
    headers = {**HEADERS, "MCP-Protocol-Version": "2025-06-18", SESSION: "0" * 32}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = await door.ask("POST", "/mcp", key, json=message, headers=headers)
    [data] = [line for line in answer.body.splitlines() if line.startswith("data: ")]
    found: Object = json.loads(data.removeprefix("data: "))["result"]
    return found


async def test_tools_that_change_something_are_told_as_any_other_request(
    door: Door, place: Served, book: io.StringIO
) -> None:
    key, reader = place.key(), place.key("a-read", Role.READ)
    made = await call(door, key, "submit_claude_agent", **TASK)
    job = made["structuredContent"]["job_id"]
    await call(door, key, "get_claude_agent_job", job_id=job)
    await call(door, reader, "cancel_claude_agent_job", job_id=job)
    await call(door, key, "cancel_claude_agent_job", job_id=job)
    await call(door, reader, "run_claude_agent", **TASK)
    await call(door, key, "submit_claude_agent", **TASK, spec={"prompt": PROMPT})
    await call(door, key, "get_claude_agent_job", job_id="none")
    assert told(book) == [
        ("key:ci", "create", job, None, "accepted"),
        ("key:a-read", "patch", job, 403, "refused"),
        ("key:ci", "patch", job, None, "accepted"),
        ("key:a-read", "create", None, 403, "refused"),
        ("key:ci", "create", None, 400, "refused"),
    ]
    assert len({line["request"] for line in lines(book)}) == 5
    assert (await place.job(job))["metadata"]["annotations"]["agentjob.dev/request"] == lines(book)[0]["request"]


async def test_a_call_that_is_hung_up_while_its_job_is_made_is_told_as_failed_and_its_cancellation_after_that(
    door: Door, place: Served, book: io.StringIO
) -> None:
    place.cluster.fail(Fault("create", "agentjobs", how="hold"))
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "run_claude_agent", "arguments": TASK, "_meta": meta}
    headers = {**HEADERS, "MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": "run_claude_agent"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    asked = asyncio.create_task(door.ask("POST", "/mcp", place.key(), json=message, headers=headers))

    async def made() -> str | None:
        jobs = (await door.ask("GET", "/v1/jobs", place.key())).body["items"]
        return jobs[0]["id"] if jobs else None

    job = await until(made)
    asked.cancel()

    async def both() -> bool:
        return len(lines(book)) == 2

    await until(both)
    assert told(book) == [("key:ci", "create", job, None, "failed"), ("key:ci", "patch", job, None, "accepted")]


# Tools that agents use


def spoken(seq: int, message: Object) -> Line:
    return Line(seq, 1, datetime.now(UTC), False, json.dumps(message, separators=(",", ":")).encode())


def test_what_agents_use_is_told_by_whoever_reads_their_lines(book: io.StringIO) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "echo hunter2"}}
    answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "hunter2"}
    found = Audit()
    found.line("agents", "by-hand", "uid-1", spoken(1, {"type": "assistant", "message": {"content": [block]}}))
    found.line("agents", "by-hand", "uid-1", spoken(2, {"type": "user", "message": {"content": [answer]}}))
    found.line("agents", "by-hand", "uid-1", spoken(3, {"type": "assistant", "message": {"content": [block]}}))
    found.ended("uid-1")
    found.ended("uid-1")
    assert [(line["who"], line["what"], line["seq"], line["verdict"]) for line in lines(book)] == [
        ("agent", "Bash", 1, "ok"),
        ("agent", "Bash", 3, "unanswered"),
    ]
    assert "hunter2" not in book.getvalue()


# The whole


async def test_all_that_was_told_is_one_whole_chain_without_a_secret(place: Served) -> None:
    book, key = io.StringIO(), place.key()
    with audit.written(book, "gateway-1"):
        first, second = await place.door().start(), await place.door().start()
        for door in (first, second):
            await door.ask("POST", "/claude", key, json=TASK)
            await door.ask("POST", "/claude", f"{key}x", json=TASK)
            await door.ask("POST", f"/claude?namespace={key}", key, json=TASK)
            await door.ask("GET", f"/claude/stream?prompt={PROMPT}&ticket={key}")
            await call(door, key, "submit_claude_agent", **TASK)
    chains = Chains()
    for line in book.getvalue().encode().splitlines():
        chains.take(line)
    assert [(one.writer, one.verdict, one.lines) for one in chains.found()] == [("gateway-1", "whole", 12)]
    assert not [word for word in (key, key.rpartition("_")[2], "hunter2", "Mend") if word in book.getvalue()]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="told to stop, it closes its chain"),
        pytest.param(signal.SIGKILL, id="killed, it leaves an open end"),
    ],
)
async def test_a_gateway_writes_its_audit_to_stdout_from_its_start_to_its_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    with FakeCluster() as cluster:
        output = await gateway(tmp_path, cluster, number)
    checked = await verify(
        stdin=b"".join(b"[pod/gateway-1/gateway] " + line for line in output.splitlines(keepends=True))
    )
    chain, writer, count, _, _, verdict = checked.output.splitlines()[1].split(maxsplit=5)
    is_whole = number is signal.SIGTERM
    assert (checked.exit_code, len(chain), writer) == (0, 32, "gateway-1")
    assert (count, verdict) == (("3", "whole") if is_whole else ("2", "open end"))
    assert (b'"Stopped"' in output) is is_whole, "beside the log"


async def gateway(tmp_path: Path, cluster: FakeCluster, number: signal.Signals) -> bytes:
    """What `python -m agentjob_gateway` prints, which is asked once and then ended by a signal."""
    settings = {"namespaces": [NAMESPACE], "port": free_port(), "metricsPort": free_port(), "drainSeconds": 0}
    config, kubeconfig = tmp_path / "config.json", tmp_path / "kubeconfig"
    config.write_text(json.dumps({**settings, "logLevel": "warning" if number is signal.SIGKILL else "info"}))
    context = {"name": "here", "context": {"cluster": "c", "user": "u"}}
    places = {"clusters": [{"name": "c", "cluster": {"server": cluster.url}}], "users": [{"name": "u", "user": {}}]}
    kubeconfig.write_text(json.dumps({"current-context": "here", "contexts": [context], **places}))
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "agentjob_gateway", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path), "POD_NAME": "gateway-1"},
    )
    try:
        await until_refused(f"http://127.0.0.1:{settings['port']}/claude")
        running.send_signal(number)
        async with asyncio.timeout(30):
            output, _ = await running.communicate()
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.wait()
    return output


async def until_refused(url: str) -> None:
    async def is_refused() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.post(url, json=TASK) as response:
                return response.status == 401
        except aiohttp.ClientConnectionError:
            return False

    await until(is_refused)


# python -m agentjob_gateway.audit verify


async def verify(*arguments: str | Path, stdin: bytes = b"") -> Answer:
    """`python -m agentjob_gateway.audit verify`, to its end."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "agentjob_gateway.audit", "verify", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        output, errors = await running.communicate(stdin)
    assert running.returncode is not None
    assert b"Traceback" not in errors
    return Answer(running.returncode, output.decode(), errors.decode())


async def test_logs_that_are_whole_and_one_that_is_not_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / f"gateway-{number}.log" for number in range(2)]
    for path in paths:
        with path.open("w") as stream, audit.written(stream, path.stem):
            Audit().line(
                "agents", "fix", "uid-1", spoken(1, {"type": "user", "message": {"content": [{"type": "tool_result"}]}})
            )
            stream.write("x" * 200_000 + "\n")
    good = await verify(*paths)
    assert (good.exit_code, good.output.count(" whole")) == (0, 2)
    kept = paths[1].read_text().splitlines(keepends=True)
    paths[1].write_text("".join(line for line in kept if '"tool"' not in line))
    bad = await verify(*paths)
    assert (bad.exit_code, bad.output.count(" whole"), "BROKEN at 2: line 3 comes instead" in bad.output) == (
        1,
        1,
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        pytest.param([], b"", 2, "there is no line of the audit", id="nothing"),
        pytest.param([], b'{"level":"info"}\n', 2, "there is no line of the audit", id="another log"),
        pytest.param(["/nowhere/a.log"], b"", 2, "/nowhere/a.log", id="no file"),
        pytest.param(["--all"], b"", 2, "unrecognized arguments: --all", id="an option that is none"),
        pytest.param([], b'{"audit":"tool",', 1, "cannot be read", id="half a line"),
        pytest.param(["--help"], b"", 0, "BROKEN at N", id="help"),
    ],
)
async def test_what_cannot_be_checked_is_told(arguments: list[str], stdin: bytes, code: int, words: str) -> None:
    found = await verify(*arguments, stdin=stdin)
    assert (found.exit_code, words in found.output + found.error) == (code, True)
