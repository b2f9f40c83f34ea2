"""The Messages API over HTTP, and `/scripted/…` for tests that watch it from outside its process."""

import json
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from scripted_model.delivery import deliver, describe
from scripted_model.faults import Fault, Refuse
from scripted_model.judge import Case, ViolationError, check_headers, conversation_of, judge, parse
from scripted_model.records import Recorded, Records, fingerprinted
from scripted_model.replies import Reply
from scripted_model.requests import CountTokensRequest
from scripted_model.scripts import Library
from scripted_model.sse import error

LARGEST_BODY = 32 * 1024 * 1024
"""What the real API takes, too (https://docs.anthropic.com/en/api/overview)."""
PLACES = 10_000
"""For so many places in conversations the server remembers how many faults it has played; the oldest are forgotten."""
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")

Handler = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


class ScriptedModel:
    """The model: its scripts, what it was asked, and its place in conversations that it interrupts with faults."""

    def __init__(self, library: Library, log: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.library = library
        self.records = Records()
        self.url = ""
        self._log = log or (lambda _: None)
        self._asked: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    @property
    def requests(self) -> list[Recorded]:
        """The requests for a message, oldest first."""
        return [record for record in self.records if record.path.partition("?")[0] == "/v1/messages"]

    @property
    def violations(self) -> list[str]:
        """What was wrong with requests, of any kind, oldest first; a test should see none."""
        return [f"{record.method} {record.path}: {record.violation}" for record in self.records if record.violation]

    def app(self) -> web.Application:
        """Build the server."""
        app = web.Application(client_max_size=LARGEST_BODY)
        app.add_routes(
            [
                web.post("/v1/messages", self._guarded(self._messages)),
                web.post("/v1/messages/count_tokens", self._guarded(self._count_tokens)),
                web.get("/v1/models", self._guarded(self._models)),
                web.get("/v1/models/{id}", self._guarded(self._model)),
                web.get("/api/hello", self._hello),
                web.get("/scripted/requests", self._scripted_requests),
                web.delete("/scripted/requests", self._forget),
                web.get("/scripted/violations", self._scripted_violations),
                web.route("*", "/{anything:.*}", self._guarded(self._nothing_here)),
            ]
        )
        return app

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Hand on the body; answer violations in the API's error shape, and record them."""

        async def guarded(http: web.Request) -> web.StreamResponse:
            raw = b""
            try:
                raw = await http.read()
                return await handler(http, raw)
            except ViolationError as wrong:
                return self._refuse(http, raw, wrong)
            except web.HTTPRequestEntityTooLarge:
                words = f"body: larger than {LARGEST_BODY} bytes"
                return self._refuse(http, raw, ViolationError(413, "request_too_large", words))

        return guarded

    def _refuse(self, http: web.Request, raw: bytes, wrong: ViolationError) -> web.Response:
        record = self._record(http, raw, status=wrong.status, violation=wrong.message)
        headers = {"request-id": record.id}
        return web.json_response(error(wrong.kind, wrong.message), status=wrong.status, headers=headers)

    async def _messages(self, http: web.Request, raw: bytes) -> web.StreamResponse:
        case = judge(http.headers, raw, self.library)
        step = self._step(case, conversation_of(http.headers))
        record = self._record(
            http,
            raw,
            script=case.scene.script,
            turn=case.scene.turn,
            status=step.status if isinstance(step, Refuse) else 200,
            fault="" if isinstance(step, Reply) else describe(step),
        )
        return await deliver(http, case, step, record.id)

    def _step(self, case: Case, conversation: str) -> Reply | Fault:
        if len(case.scene.steps) == 1:
            return case.scene.step(0)
        place = (conversation, case.scene.tool_id(0), len(case.request.messages))
        asked_before = self._asked.pop(place, 0)
        self._asked[place] = asked_before + 1
        while len(self._asked) > PLACES:
            self._asked.popitem(last=False)
        return case.scene.step(asked_before)

    def _record(self, http: web.Request, raw: bytes, **facts: Any) -> Recorded:
        record = Recorded(
            id=f"req_{uuid.uuid4().hex[:24]}",
            time=datetime.now(UTC),
            method=http.method,
            path=http.path_qs,
            headers=fingerprinted(http.headers),
            conversation=conversation_of(http.headers),
            raw=raw,
            **facts,
        )
        self.records.add(record)
        self._log(record.as_log())
        return record

    async def _count_tokens(self, http: web.Request, raw: bytes) -> web.StreamResponse:
        check_headers(http.headers)
        parse(CountTokensRequest, http.headers, raw)
        self._record(http, raw, status=200)
        return web.json_response({"input_tokens": 1 + len(raw) // 4})

    async def _models(self, http: web.Request, raw: bytes) -> web.StreamResponse:
        self._record(http, raw, status=200)
        data = [_model(name) for name in MODELS]
        return web.json_response({"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})

    async def _model(self, http: web.Request, raw: bytes) -> web.StreamResponse:
        self._record(http, raw, status=200)
        return web.json_response(_model(http.match_info["id"]))

    async def _nothing_here(self, http: web.Request, _: bytes) -> web.StreamResponse:
        raise ViolationError(404, "not_found_error", f"{http.method} {http.path} is nothing that the Messages API has")

    async def _hello(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "hello"})

    async def _scripted_requests(self, http: web.Request) -> web.StreamResponse:
        wanted = [
            record
            for record in self.requests
            if all(
                getattr(record, name) == http.query[name] for name in ("conversation", "script") if name in http.query
            )
        ]
        rows = ",".join(json.dumps(record.as_json()) for record in wanted)  # One body in memory at a time.
        return web.Response(text=f"[{rows}]", content_type="application/json")

    async def _forget(self, _: web.Request) -> web.StreamResponse:
        self.records.clear()
        return web.Response(status=204)

    async def _scripted_violations(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.violations)


def _model(name: str) -> dict[str, str]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
