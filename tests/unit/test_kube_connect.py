"""Connections that break in every way there is, and credentials that change, against servers on loopback."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from agentjob_api.names import Key
from agentjob_kube import connect as connecting
from agentjob_kube.client import Client
from agentjob_kube.connect import COMPLAINT_SECONDS, Complaint, ConnectError, Connection
from agentjob_kube.errors import Forbidden, Unauthorized, Unreachable
from agentjob_kube.resources import PODS
from agentjob_kube.transport import Request
from agentjob_kube.wire import PATIENCE, HttpTransport, Patience

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHORT = Patience(connect=1.0, request=1.0, idle=1.0)
"""For what never comes."""


async def nobody() -> None:
    return None


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything with this handler."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(
    server: str, seen: list[tuple[str, str]] | None = None, patience: Patience = PATIENCE
) -> AsyncIterator[HttpTransport]:
    """A transport to that server; `seen` gets what is counted."""

    def observe(verb: str, code: str) -> None:
        if seen is not None:
            seen.append((verb, code))

    connection = Connection(server=server, authorization=nobody, observe=observe)
    async with connection.session() as session:
        yield HttpTransport(session, server, patience)


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"half":\n')
    assert request.transport is not None
    request.transport.abort()
    return response


async def half_open(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"type":"ADDED"}\n')
    await asyncio.sleep(3600)
    return response


async def page_of_a_proxy(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>Please log in</html>")


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(silent, id="silence"),
        pytest.param(cut, id="an answer that is cut off"),
        pytest.param(page_of_a_proxy, id="an answer that is not the API server's"),
    ],
)
async def test_what_is_no_answer_is_unreachable(handler: Handler) -> None:
    async with serving(handler) as server, connected(server, patience=SHORT) as transport:
        with pytest.raises(Unreachable):
            await Client(transport).get(PODS, Key("ns", "pod"))


async def test_nobody_there_is_unreachable_and_says_what_was_asked() -> None:
    seen: list[tuple[str, str]] = []
    async with connected("http://127.0.0.1:1", seen) as transport:
        with pytest.raises(Unreachable, match=r"GET /api/v1/namespaces/ns/pods/pod: .*Connect"):
            await Client(transport).get(PODS, Key("ns", "pod"))

    assert seen == [("get", "none")]


@pytest.mark.parametrize(
    ("handler", "lines"),
    [
        pytest.param(cut, [b'{"half":'], id="a stream that is cut off"),
        pytest.param(half_open, [b'{"type":"ADDED"}'], id="a stream whose other end has vanished"),
        pytest.param(silent, [], id="a stream that never begins"),
    ],
)
async def test_a_stream_that_breaks_is_unreachable_after_what_came(handler: Handler, lines: list[bytes]) -> None:
    got: list[bytes] = []

    async def follow(transport: HttpTransport) -> None:
        async for each in transport.lines(Request(path="/x", query={"watch": "true"})):
            got.extend(each)

    async with serving(handler) as server, connected(server, patience=SHORT) as transport:
        with pytest.raises(Unreachable):
            await follow(transport)

    assert got == lines


async def without_newline(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(9):
        await response.write(b"x" * 1024 * 1024)
    await response.write(b"\nnext\n")
    return response


async def test_a_log_goes_on_after_text_without_a_newline() -> None:
    async with serving(without_newline) as server, connected(server) as transport:
        log = Client(transport).log_lines(Key("ns", "pod"), "agent", follow=True)
        assert [line[:10] async for lines in log for line in lines] == [b"x" * 10, b"next"]


async def test_an_event_without_a_newline_is_no_answer() -> None:
    async with serving(without_newline) as server, connected(server) as transport:
        events = Client(transport).watch(PODS, "ns", "", "1")
        with pytest.raises(Unreachable, match="found a longer one"):
            await anext(events)


async def test_every_request_is_counted_by_verb_and_status() -> None:
    seen: list[tuple[str, str]] = []

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "message": "not you"}, status=403)

    async with serving(refuse) as server, connected(server, seen) as transport:
        with pytest.raises(Forbidden, match="not you"):
            await Client(transport).create(PODS, "ns", {})

    assert seen == [("create", "403")]


async def test_a_credential_is_asked_for_before_each_request() -> None:
    tokens = iter(["Bearer one", "Bearer two"])
    got: list[str | None] = []

    async def token() -> str:
        return next(tokens)

    async def note(request: web.Request) -> web.StreamResponse:
        got.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with serving(note) as server:
        connection = Connection(server=server, authorization=token, observe=lambda *_: None)
        async with connection.session() as session:
            for _ in range(2):
                await HttpTransport(session, server).send(Request(path="/x"))

    assert got == ["Bearer one", "Bearer two"]


def kubeconfig(path: Path, server: str = "https://127.0.0.1:6443", **user: object) -> Path:
    path.write_text(
        json.dumps(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


async def test_a_kubeconfig_says_where_and_who(tmp_path: Path) -> None:
    connection = await connecting.connect(lambda *_: None, kubeconfig(tmp_path / "config", token="t0ken"))

    assert connection.server == "https://127.0.0.1:6443"
    assert await connection.authorization() == "Bearer t0ken"
    assert connection.tls is not None
    assert connection.tls.verify_mode is ssl.CERT_NONE


async def test_a_kubeconfig_may_log_in_with_a_password(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", username="me", password="secret")

    connection = await connecting.connect(lambda *_: None, path)

    assert await connection.authorization() == "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize(
    ("later", "then"),
    [
        pytest.param("second", [200, 401, 200], id="another one is there: it is sent"),
        pytest.param("first", [200, 401], id="it is the same: it is not sent again"),
        pytest.param("", [200, 401], id="nothing is there at this moment: the old one stays"),
    ],
)
async def test_a_token_that_was_refused_is_read_from_its_file_again(
    tmp_path: Path, later: str, then: list[int]
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    accepted, statuses = "Bearer first", list[int]()

    async def refuse_others(request: web.Request) -> web.StreamResponse:
        assert await request.read() == b"{}"
        statuses.append(200 if request.headers["Authorization"] == accepted else 401)
        return web.json_response({"kind": "Status"}, status=statuses[-1])

    async with serving(refuse_others) as server:
        path = kubeconfig(tmp_path / "config", server, tokenFile=str(token))
        connection = await connecting.connect(lambda *_: None, path)
        async with connection.session() as session:
            async with session.post(server, data=b"{}"):
                token.write_text(later)
                accepted = "Bearer second"
            async with session.post(server, data=b"{}") as response:
                assert response.status == then[-1]

    assert statuses == then


async def test_a_credential_is_not_read_twice_in_a_moment(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    connection = await connecting.connect(lambda *_: None, kubeconfig(tmp_path / "config", tokenFile=str(token)))
    await connection.renew()
    token.write_text("second")

    await connection.renew()

    assert await connection.authorization() == "Bearer first"


async def test_a_credential_that_is_refused_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    now = 1000.0
    complaint = Complaint(lambda: now)

    async def asked(server: str) -> int:
        """How many lines there are after two more requests."""
        connection = Connection(server=server, authorization=nobody, observe=lambda *_: None, complaint=complaint)
        async with connection.session() as session:
            for _ in range(2):
                with pytest.raises(Unauthorized):
                    await HttpTransport(session, server).send(Request(path="/version"))
        return sum("refuses this program's credential" in record.getMessage() for record in caplog.records)

    async with serving(refuse) as server:
        assert await asked(server) == 1
        now += COMPLAINT_SECONDS
        assert await asked(server) == 2


async def test_without_a_kubeconfig_the_error_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="name a kubeconfig in KUBECONFIG"):
        await connecting.connect(lambda *_: None, tmp_path / "nothing")
