"""Watch a job work: server-sent events, for `fetch` and curl, and for a browser's EventSource, which can only GET."""

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, Final

from aiohttp import web

from agentjob_api.names import Key
from agentjob_gateway import audit, sse
from agentjob_gateway.audit import Deed
from agentjob_gateway.caller import Verb
from agentjob_gateway.doors import CALLER, CHANGED, DOORS, REQUEST, TICKET, body_of, key_of, namespace_of
from agentjob_gateway.errors import BadRequest, Missing, NotAcceptable, NotAllowed, Unprocessable
from agentjob_gateway.reader import Streaming
from agentjob_gateway.rest import answer, check_begins, claude_spec, claude_submission
from agentjob_gateway.submission import Submission, checked_key
from agentjob_gateway.tickets import BACK_SECONDS, COOKIE, SECONDS, Ticket

Object = dict[str, Any]

LAST: Final = "Last-Event-ID"
TICKET_GIVEN: Final = "ticket"
"""What the audit calls it."""


async def post_stream(request: web.Request) -> web.StreamResponse:
    """`POST /claude/stream`: make a job and watch it.

    A client that comes back finds its job by the id of the last event it has got: no second job.
    """
    return await _opened(request, _made)


async def get_stream(request: web.Request) -> web.StreamResponse:
    """`GET /claude/stream`: watch a job, or make one first.

    A client that comes back finds its job by the id of the last event it has got, or by its ticket: no second job.
    """
    return await _opened(request, _job_of)


async def get_events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs/{id}/events`."""
    return await _opened(request, _named)


async def _made(request: web.Request) -> Object:
    """The job that `POST /claude/stream` makes, or has made for a client that comes back."""
    if name := sse.job_of(request.headers.get(LAST, "")):
        return await _found(request, name)
    return await _begun(request, claude_submission(request, await body_of(request)))


async def _named(request: web.Request) -> Object:
    """The job whose id is in the path."""
    return await request.app[DOORS].jobs.find(await key_of(request))


async def _job_of(request: web.Request) -> Object:
    """The job that `GET /claude/stream` is about."""
    check_begins(request.query.get("continue", "false") != "false")
    if "job_id" in request.query and "prompt" in request.query:
        raise BadRequest("prompt: expected nothing beside job_id; a job keeps the task that it was made with")
    ticket = request.get(TICKET)
    name = request.query.get("job_id") or sse.job_of(request.headers.get(LAST, "")) or (ticket and ticket.job)
    if name:
        return await _found(request, name)
    prompt = request.query.get("prompt")
    if not prompt:
        raise BadRequest("prompt: expected a prompt, or the job_id of a job, in the query")
    key = ticket.idempotency_key if ticket else checked_key(request.headers.get("Idempotency-Key"))
    submission = Submission(spec={"prompt": prompt}, idempotency_key=key, request=request[REQUEST])
    return await _begun(request, submission)


async def _begun(request: web.Request, submission: Submission) -> Object:
    """The job of a submission, which is not made where it could not be watched: its client would not hear its id."""
    doors, caller, namespace = request.app[DOORS], request[CALLER], await namespace_of(request, Verb.SUBMIT)
    with nullcontext() if doors.jobs.knows(caller, namespace, submission) else doors.hub.room():
        made = await doors.jobs.submit(caller, namespace, submission)
    request[CHANGED] = True
    return made.job


async def _found(request: web.Request, name: str) -> Object:
    """The job of a name, where the caller may see jobs."""
    namespace = await namespace_of(request, Verb.GET)
    return await request.app[DOORS].jobs.find(Key(namespace, name))


async def _watched(request: web.Request, job: Object) -> web.StreamResponse:
    """The stream of a job, from where the client left off; 204, which ends an EventSource, when it has seen all."""
    _check_ticket(request, job)
    name, last = job["metadata"]["name"], request.headers.get(LAST)
    try:
        after = sse.parse_id(last, name) if last else sse.START
    except ValueError as error:
        raise BadRequest(f"{LAST}: {error}") from error
    if after == sse.END:
        return web.Response(status=204)
    return await request.app[DOORS].hub.stream(request, job, after)


async def post_ticket(request: web.Request) -> web.Response:
    """`POST /v1/tickets`: leave for one job, that is there or is made now or later; as text, and as a cookie."""
    request.app[DOORS].tickets.check_key()  # before a job is made whose id would not be told
    body = await body_of(request) if request.can_read_body else {}
    namespace, job = await _ticketed(request, body)
    text = _signed(request, namespace, job)
    name = job and job["metadata"]["name"]
    response = answer({"ticket": text, "job_id": name, "expires_in": SECONDS}, 201)
    over_tls = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    kept = SECONDS + BACK_SECONDS
    response.set_cookie(COOKIE, text, max_age=kept, httponly=True, samesite="Strict", secure=over_tls, path="/")
    return response


async def _ticketed(request: web.Request, body: Object) -> tuple[str, Object | None]:
    """The namespace of a ticket, and its job unless that is still to be made."""
    jobs, name = request.app[DOORS].jobs, body.pop("job_id", None)
    if name is not None and not (isinstance(name, str) and name):
        raise BadRequest("job_id: expected the id of a job, or nothing")
    spec = claude_spec(body)
    if name is not None and spec:
        raise Unprocessable(f"{min(spec)}: expected nothing beside job_id; a task has no job yet")
    namespace = await namespace_of(request, Verb.GET if name else Verb.SUBMIT)
    if name is not None:
        return namespace, await jobs.find(Key(namespace, name))
    if not spec:
        return namespace, None
    made = Submission(
        spec=spec,
        idempotency_key=checked_key(request.headers.get("Idempotency-Key")),
        request=request[REQUEST],
    )
    return namespace, (await jobs.submit(request[CALLER], namespace, made)).job


def _signed(request: web.Request, namespace: str, job: Object | None) -> str:
    """A ticket as text."""
    caller, expires = request[CALLER], int(time.time()) + SECONDS
    name, uid = (job["metadata"]["name"], job["metadata"]["uid"]) if job else (None, None)
    nonce = secrets.token_hex(8)
    ticket = Ticket(caller=caller, expires=expires, nonce=nonce, namespace=namespace, job=name, uid=uid)
    deed = Deed(caller=caller, what=TICKET_GIVEN, namespace=namespace, job=name, request=request[REQUEST])
    with audit.change(deed) as change:
        change.uid = uid
        return request.app[DOORS].tickets.sign(ticket)


def _check_ticket(request: web.Request, job: Object) -> None:
    """Holds a ticket to its one job: the one it names, or the one that was made with it."""
    ticket, name = request.get(TICKET), job["metadata"]["name"]
    if ticket is None or ticket.is_for(job):
        return
    if ticket.job == name:
        raise Missing(f"the job {name!r} that the ticket is for is gone; another one has its name now")
    raise NotAllowed("the ticket is for another job")


async def _opened(request: web.Request, find: Callable[[web.Request], Awaitable[Object]]) -> web.StreamResponse:
    """The stream of the job that is found, as one of the caller's. What can be refused is before a job is made.

    Raises:
        NotAcceptable: the client does not take server-sent events.
        BadRequest: it says that it comes back, and not from where.
        TooMany: the caller has as many streams open as they may.
    """
    accepted, last = request.headers.get("Accept", "*/*"), request.headers.get(LAST)
    if not any(kind in accepted for kind in ("text/event-stream", "text/*", "*/*")):
        raise NotAcceptable(f"Accept: only text/event-stream is served here, found {accepted[:100]!r}")
    if last and not sse.job_of(last):
        raise BadRequest(f"{LAST}: expected the id of an event such as fix/1-17, found {last[:100]!r}")
    close = request.app[DOORS].streams.open(request[CALLER])
    response: web.StreamResponse | None = None
    try:
        response = await _watched(request, await find(request))
        return response
    finally:
        if isinstance(response, Streaming):
            response.when_over(close)
        else:
            close()
