"""Bring a reply, or a fault, to the client."""

import asyncio
from collections.abc import Iterable, Iterator

from aiohttp import ClientConnectionResetError, web

from scripted_model.faults import Break, Cut, EventName, Fault, Refuse
from scripted_model.judge import Case
from scripted_model.replies import Reply, usual_usage
from scripted_model.sse import Envelope, Event, error, events, message


def describe(fault: Fault) -> str:
    """Name a fault in a record."""
    match fault:
        case Refuse():
            return str(fault.status)
        case Cut():
            return f"cut after {fault.after}"
        case Break():
            return f"broken off with {fault.kind}"


async def deliver(http: web.Request, case: Case, step: Reply | Fault, request_id: str) -> web.StreamResponse:
    """Answer the request with what is due."""
    if isinstance(step, Refuse):
        return _refuse(step, request_id)
    if isinstance(step, Reply):
        await asyncio.sleep(step.wait)
    if not case.request.stream:
        return _whole(http, case, step, request_id)
    response = web.StreamResponse(headers=_headers(request_id) | {"content-type": "text/event-stream; charset=utf-8"})
    try:
        await response.prepare(http)
        await _write(response, _due(case, step, request_id), pace=step.pace if isinstance(step, Reply) else 0)
    except ClientConnectionResetError:
        pass  # The client has heard enough, as after an interrupt.
    else:
        if isinstance(step, Cut):
            _hang_up(http)
    return response


def _refuse(fault: Refuse | Break, request_id: str) -> web.Response:
    headers = _headers(request_id)
    if isinstance(fault, Refuse) and fault.retry_after is not None:
        headers["retry-after"] = str(fault.retry_after)
    return web.json_response(error(fault.kind, fault.message), status=fault.status, headers=headers)


def _whole(http: web.Request, case: Case, step: Reply | Cut | Break, request_id: str) -> web.Response:
    match step:
        case Reply():
            return web.json_response(message(step, _envelope(case, step, request_id)), headers=_headers(request_id))
        case Break():
            return _refuse(step, request_id)
        case Cut():
            _hang_up(http)
            return web.Response()


def _due(case: Case, step: Reply | Cut | Break, request_id: str) -> Iterator[Event]:
    match step:
        case Reply():
            yield from events(step, _envelope(case, step, request_id))
        case Cut():
            yield from _until(step.after, events(step.reply, _envelope(case, step.reply, request_id)))
        case Break():
            yield from _until("message_start", events(step.reply, _envelope(case, step.reply, request_id)))
            yield Event(error(step.kind, step.message))


def _until(last: EventName, stream: Iterable[Event]) -> Iterator[Event]:
    for event in stream:
        yield event
        if event.name == last:
            return


async def _write(response: web.StreamResponse, stream: Iterable[Event], *, pace: float) -> None:
    for event in stream:
        await response.write(event.encode())
        if pace:
            await asyncio.sleep(pace)


def _envelope(case: Case, said: Reply, request_id: str) -> Envelope:
    return Envelope(
        message_id=request_id.replace("req_", "msg_"),
        model=case.request.model,
        usage=said.usage or usual_usage(said, case.scene.turn),
        tool_ids=tuple(case.scene.tool_id(position) for position in range(len(said.calls))),
    )


def _headers(request_id: str) -> dict[str, str]:
    return {"request-id": request_id, "cache-control": "no-cache"}


def _hang_up(http: web.Request) -> None:
    if http.transport is not None:
        http.transport.close()
