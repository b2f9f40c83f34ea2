"""A web page watches an agent with EventSource, through a site of somebody's before the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from browser import page_open
from tests.e2e.conftest import Gateway, Jobs

pytestmark = pytest.mark.cluster
Object = dict[str, Any]

PAGE = """<!doctype html><title>Watch</title><script>
const told = [];
const source = new EventSource('/claude/stream%s');
source.onmessage = ({data}) => {
  if (data === '[DONE]') {
    source.close();
    fetch('/told', {method: 'POST', body: JSON.stringify(told)});
    return;
  }
  const message = JSON.parse(data);
  if (message.type === 'assistant') told.push(['assistant', message.message.content]);
  if (message.type === 'result') told.push(['result', message.result, message.total_cost_usd]);
};
</script>"""


@dataclass
class Site:
    """Serves the page, with a ticket for one job, and hands `/claude/stream` on to the gateway."""

    gateway: Gateway
    session: aiohttp.ClientSession
    prompt: str
    is_cookie: bool
    """Whether the ticket is a cookie; it stands in the stream's address otherwise."""
    cut_after: list[int]
    """After so many bytes the first streams break off, one after another."""
    asked: list[str | None] = field(default_factory=list)
    """The Last-Event-ID of each request for the stream."""
    told: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/", self.page), web.get("/claude/stream", self.stream), web.post("/told", self.tell)])
        return app

    async def page(self, _: web.Request) -> web.Response:
        """The site has a key; the page gets a ticket."""
        key = {"Authorization": f"Bearer {self.gateway.key}"}
        body = {"prompt": self.prompt}
        async with self.session.post(f"{self.gateway.url}/v1/tickets", json=body, headers=key) as answer:
            assert answer.status == 201, await answer.text()
            cookie, ticket = answer.headers["Set-Cookie"], (await answer.json())["ticket"]
        response = web.Response(text=PAGE % ("" if self.is_cookie else f"?ticket={ticket}"), content_type="text/html")
        if self.is_cookie:
            response.headers["Set-Cookie"] = cookie
        return response

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Last-Event-ID"))
        room = self.cut_after.pop(0) if self.cut_after else None
        passed = {
            name: request.headers[name] for name in ("Cookie", "Last-Event-ID", "Accept") if name in request.headers
        }
        async with self.session.get(self.gateway.url + request.path_qs, headers=passed) as answer:
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
            )
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece if room is None else piece[:room])
                if room is not None and (room := room - len(piece)) <= 0:
                    assert request.transport is not None
                    request.transport.abort()
                    break
            return response

    async def tell(self, request: web.Request) -> web.Response:
        self.told.set_result(await request.json())
        return web.Response()


@asynccontextmanager
async def site(
    gateway: Gateway, prompt: str, *, is_cookie: bool, cut_after: list[int]
) -> AsyncIterator[tuple[Site, str]]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        found = Site(gateway, session, prompt, is_cookie, cut_after)
        runner = web.AppRunner(found.app(), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield found, f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("is_cookie", [True, False], ids=["with a cookie", "with a ticket in the address"])
@pytest.mark.parametrize("cut_after", [[], [900, 3000]], ids=["in one go", "though it is cut off twice"])
async def test_a_page_sees_every_message_once(
    gateway: Gateway, jobs: Jobs, tmp_path: Path, is_cookie: bool, cut_after: list[int]
) -> None:
    before, requests = jobs.count(), len(cut_after) + 1
    where = site(gateway, "[script: many-turns 3]", is_cookie=is_cookie, cut_after=cut_after)
    async with where as (found, url), page_open(url, tmp_path):
        async with asyncio.timeout(90):
            told = await found.told
    texts = [block["text"] for kind, *rest in told if kind == "assistant" for block in rest[0] if "text" in block]
    assert texts == ["Turn 1.", "Turn 2.", "Turn 3.", "Done after 3 turns."]
    assert [(kind, rest[0]) for kind, *rest in told if kind == "result"] == [("result", "Done after 3 turns.")]
    assert told[-1][2] > 0
    assert len(found.asked) == requests
    assert jobs.count() == before + 1
