"""What every door has at hand, and how it reads a request."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from agentjob_api.names import Key
from agentjob_gateway.caller import Caller, Verb
from agentjob_gateway.errors import BadRequest, TooLarge
from agentjob_gateway.hub import Hub
from agentjob_gateway.jobs import Jobs
from agentjob_gateway.limits import Streams
from agentjob_gateway.tickets import Ticket, Tickets

Object = dict[str, Any]

MAX_WAIT: Final = 60.0
"""Seconds that a poll may wait: proxies hang up after about as long."""
BODY_SECONDS: Final = 30.0
"""How long a client may take to send a body."""


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The parts behind the doors."""

    jobs: Jobs
    hub: Hub
    streams: Streams
    tickets: Tickets


DOORS: Final = web.AppKey("doors", Doors)
CALLER: Final = web.RequestKey("caller", Caller)
TICKET: Final = web.RequestKey("ticket", Ticket)
REQUEST: Final = web.RequestKey("request", str)
"""The id of a request, as it stands in the log, in the answer and on the job."""
NAMESPACE: Final = web.RequestKey("namespace", str)
"""Where a request works, once that is known."""
CHANGED: Final = web.RequestKey("changed", bool)
"""Set when a request has made its job: whatever it is answered after that, it was not refused."""


async def bytes_of(request: web.Request, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body of a request.

    Raises:
        BadRequest: its end does not come within these seconds, or not as HTTP has it.
        TooLarge: it is larger than the settings allow.
    """
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"the body is larger than {request.client_max_size} bytes") from error
    except TimeoutError as error:
        raise BadRequest(f"the body: its end did not come within {seconds:g} s") from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise BadRequest("the body: its end did not come, or not as HTTP has it") from error


async def body_of(request: web.Request) -> Object:
    """A request's body, which is a JSON object.

    Raises:
        BadRequest: it is not, not in UTF-8, or not there in time.
        TooLarge: it is larger than the settings allow.
    """
    if request.content_type != "application/json":
        raise BadRequest(f"Content-Type: expected application/json, found {request.content_type}")
    try:
        found = orjson.loads(await bytes_of(request))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest(f"the body: expected a JSON object, found {_kind(found)}")
    return found


async def namespace_of(request: web.Request, verb: Verb) -> str:
    """The namespace in which a request works; raises NotAllowed or BadRequest."""
    ticket = request.get(TICKET)
    asked = ticket.namespace if ticket is not None else request.query.get("namespace")
    request[NAMESPACE] = await request.app[DOORS].jobs.namespace(request[CALLER], asked, verb)
    return request[NAMESPACE]


async def key_of(request: web.Request, verb: Verb = Verb.GET) -> Key:
    """The job that a request's path names; raises NotAllowed or BadRequest."""
    return Key(await namespace_of(request, verb), request.match_info["id"])


def seconds_of(request: web.Request) -> float:
    """How long a poll may wait: `?wait=` in seconds, at most MAX_WAIT.

    Raises:
        BadRequest: it is no number of seconds.
    """
    text = request.query.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise BadRequest(f"wait: expected 0 to {MAX_WAIT:g} seconds, found {text[:20]!r}")
    return seconds


def _kind(value: object) -> str:
    """What JSON calls a value."""
    kinds = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
