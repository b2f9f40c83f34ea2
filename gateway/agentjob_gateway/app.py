"""The doors as one application: routes, and what every request goes through before it reaches one."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple, Protocol

from aiohttp import web

from agentjob_api import names
from agentjob_gateway import audit, sse
from agentjob_gateway.audit import Deed
from agentjob_gateway.caller import Caller
from agentjob_gateway.doors import CALLER, CHANGED, DOORS, NAMESPACE, REQUEST, TICKET, Doors
from agentjob_gateway.errors import Problem, Unauthenticated, Unavailable
from agentjob_gateway.limits import Rates
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.reader import Streaming, later
from agentjob_gateway.rest import answer
from agentjob_gateway.routes import Route
from agentjob_gateway.tickets import COOKIE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SENT: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Protocol-Version",
    "Mcp-Session-Id",
    "X-Request-Id",
)
"""Headers that a web page of another origin may send."""
log = logging.getLogger(__name__)
requests = logging.getLogger("agentjob_gateway.requests")


class Authenticator(Protocol):
    """Knows callers by their credentials."""

    async def caller(self, credential: str) -> Caller:
        """Whose credential it is; raises Unauthenticated."""
        ...

    def check_known(self, caller: Caller) -> None:
        """Whether the caller of a ticket would be let in still; raises Unauthenticated."""
        ...


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """What every request goes through."""

    authenticator: Authenticator
    rates: Rates
    metrics: Metrics
    cors_origins: frozenset[str] = frozenset()


def application(doors: Doors, entrance: Entrance, routes: Sequence[Route], max_body_bytes: int) -> web.Application:
    """The application with these routes."""
    open_to_all = {(route.method, route.path) for route in routes if route.is_open}
    with_ticket = {(route.method, route.path) for route in routes if route.takes_ticket}
    changes = {(route.method, route.path): route.changes for route in routes}

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _observed(request, handler, entrance, changes.get((request.method, _route(request))))

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = (request.method, _route(request))
        if request.match_info.http_exception is None and route not in open_to_all:
            caller = await _caller(request, entrance.authenticator, takes_ticket=route in with_ticket)
            request[CALLER] = caller
            entrance.rates.take(caller, time.monotonic())
        return await handler(request)

    async def sign(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Request-Id"] = request.get(REQUEST, "")
        response.headers.update(_cors(request, entrance.cors_origins))

    app = web.Application(middlewares=[observe, admit], client_max_size=max_body_bytes)
    app.on_response_prepare.append(sign)
    app[DOORS] = doors
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)
    return app


async def _observed(
    request: web.Request, handler: Handler, entrance: Entrance, change: str | None
) -> web.StreamResponse:
    """Names the request, turns whatever goes wrong into one shape, and tells of it in log, metrics and audit.

    `change` is what the audit calls a request of this route.
    """
    started = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    if (preflight := _preflight(request, entrance.cors_origins)) is not None:
        return preflight
    found = await _tried(request, handler)
    status = found.status
    if isinstance(found, Problem):
        _audit(request, found, change)
        found = _later(request) if _gives_up(request, found) else _problem(request, found)
    tell = _teller(request, status, started, entrance.metrics)
    if isinstance(found, Streaming):
        found.when_over(tell)
    else:
        asyncio.get_running_loop().call_soon(tell)  # the answer is written first: nobody is to wait for a log
    return found


async def _tried(request: web.Request, handler: Handler) -> web.StreamResponse | Problem:
    try:
        return await handler(request)
    except Problem as problem:
        return problem
    except web.HTTPException as found:
        return _Plain(found)
    except Exception:  # the outermost frame of a request: a defect of ours, not of the client's
        log.exception("A request failed", extra={"request": request[REQUEST], "route": _route(request)})
        return Problem("something went wrong here; the request's id finds it in the log")


def _audit(request: web.Request, problem: Problem, change: str | None) -> None:
    """Tells of a change that was refused; whoever makes one tells of it at once."""
    # A GET changes something only where it comes with a task.
    if change is None or CHANGED in request or (request.method == "GET" and "prompt" not in request.query):
        return
    caller = request.get(CALLER)
    at_home = caller.namespace if caller else None
    deed = Deed(
        caller=caller,
        what=change,
        namespace=request.get(NAMESPACE) or request.query.get("namespace") or at_home,
        job=request.match_info.get("id"),
        request=request[REQUEST],
    )
    audit.refused(deed, problem)


class _Plain(Problem):
    """What aiohttp itself refuses: no such route, another method, a body that is too large."""

    def __init__(self, found: web.HTTPException) -> None:
        super().__init__(found.text or found.reason)
        self.status, self.title = found.status, found.reason
        self._allow = found.headers.get("Allow")

    def headers(self) -> dict[str, str]:
        """With the methods that would have been right."""
        return super().headers() | ({"Allow": self._allow} if self._allow else {})


def _problem(request: web.Request, problem: Problem) -> web.Response:
    response = answer(problem.body(request[REQUEST]), problem.status, problem.headers())
    response.content_type = "application/problem+json"
    return response


def _gives_up(request: web.Request, problem: Problem) -> bool:
    """Whether a client would never come back, at what it should come back after: an EventSource, with its ticket.

    Whoever sends a key can read a status.
    """
    is_source = "text/event-stream" in request.headers.get("Accept", "")
    return is_source and TICKET in request and isinstance(problem, Unavailable)


def _later(request: web.Request) -> web.Response:
    """Has an EventSource come back to where it is. With the same ticket it makes no second job, nor one too late."""
    last, job = request.headers.get("Last-Event-ID", ""), request[TICKET].job
    if names.is_job_name(name := sse.job_of(last)):
        return later(sse.mark(name, sse.parse_id(last, name)))
    return later(sse.mark(job, sse.START) if job else b"")


class _Answered(NamedTuple):
    """What is told of a request: never the address itself, whose query may hold a prompt or a ticket."""

    request: str
    method: str
    route: str
    status: int
    caller: str | None


def _teller(request: web.Request, status: int, started: float, metrics: Metrics) -> Callable[[], None]:
    """What tells of a request in log and metrics at its answer's end. It does not keep the request."""
    caller = request.get(CALLER)
    found = _Answered(request[REQUEST], request.method, _route(request), status, caller.name if caller else None)
    return partial(_tell, found, started, metrics)


def _tell(found: _Answered, started: float, metrics: Metrics) -> None:
    seconds = time.perf_counter() - started
    metrics.answered(found.method, found.route, found.status, seconds)
    requests.info("Answered", extra={**found._asdict(), "seconds": round(seconds, 4)})


def _route(request: web.Request) -> str:
    """The route's own path, such as /v1/jobs/{id}."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


async def _caller(request: web.Request, authenticator: Authenticator, *, takes_ticket: bool) -> Caller:
    """Who asks: by the header Authorization or, where a browser cannot send one, by a ticket.

    Beside a ticket, a header of another scheme is for a proxy, which has asked the browser for it.
    """
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    is_bearer = scheme.lower() == "bearer"
    if takes_ticket and not is_bearer and (text := request.query.get("ticket") or request.cookies.get(COOKIE)):
        return _holder(request, authenticator, text)
    if not scheme:
        raise Unauthenticated("Authorization: expected Bearer and an API key, found nothing")
    if not is_bearer or not credential.strip():
        raise Unauthenticated("Authorization: expected Bearer and a credential")
    return await authenticator.caller(credential.strip())


def _holder(request: web.Request, authenticator: Authenticator, text: str) -> Caller:
    """Who was given the ticket in a text."""
    back_to = sse.job_of(request.headers.get("Last-Event-ID", ""))
    ticket = request[TICKET] = request.app[DOORS].tickets.check(text, datetime.now(UTC), back_to)
    authenticator.check_known(ticket.caller)
    return ticket.caller


def _preflight(request: web.Request, origins: frozenset[str]) -> web.Response | None:
    """The answer to a browser that asks what a page of another origin may do; None for any other request."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if not _cors(request, origins):
        return web.Response(status=204)
    allowed = {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Allow-Headers": ", ".join(_SENT),
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=allowed)


def _cors(request: web.Request, origins: frozenset[str]) -> dict[str, str]:
    origin = request.headers.get("Origin", "")
    if origin not in origins:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Location, Mcp-Session-Id, Retry-After, X-Request-Id",
        "Vary": "Origin",
    }
