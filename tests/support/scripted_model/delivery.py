"""Bring a reply, or a fault, to the client."""

import asyncio

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
    headers = {"request-id": request_id}
    streams = case.request.stream
    match step:
        case Reply():
            await asyncio.sleep(step.wait)
            envelope = _envelope(case, step, request_id)
            return await _stream(http, step, envelope) if streams else _whole(step, envelope, headers)
        case Refuse():
            return _refuse(step, headers)
        case Cut():
            envelope = _envelope(case, step.reply, request_id)
            return await _stream(http, step.reply, envelope, cut_after=step.after) if streams else _hang_up(http)
        case Break():
            if not streams:
                return web.json_response(error(step.kind, step.message), status=step.status, headers=headers)
            return await _break_off(http, step, _envelope(case, step.reply, request_id))


def _envelope(case: Case, said: Reply, request_id: str) -> Envelope:
    return Envelope(
        message_id=request_id.replace("req_", "msg_"),
        model=case.request.model,
        usage=said.usage or usual_usage(said, case.scene.turn),
        tool_ids=tuple(case.scene.tool_id(position) for position in range(len(said.calls))),
    )


def _whole(said: Reply, envelope: Envelope, headers: dict[str, str]) -> web.Response:
    return web.json_response(message(said, envelope), headers=headers)


def _refuse(fault: Refuse, headers: dict[str, str]) -> web.Response:
    if fault.retry_after is not None:
        headers |= {"retry-after": str(fault.retry_after)}
    return web.json_response(error(fault.kind, fault.message), status=fault.status, headers=headers)


async def _stream(
    http: web.Request, said: Reply, envelope: Envelope, *, cut_after: EventName | None = None
) -> web.StreamResponse:
    response = _event_stream(envelope)
    try:
        await response.prepare(http)
        for event in events(said, envelope):
            await response.write(event.encode())
            if event.name == cut_after:
                return _hang_up(http, response)
            if said.pace:
                await asyncio.sleep(said.pace)
        await response.write_eof()
    except ClientConnectionResetError:
        pass  # The client has heard enough, as after an interrupt.
    return response


async def _break_off(http: web.Request, fault: Break, envelope: Envelope) -> web.StreamResponse:
    response = _event_stream(envelope)
    await response.prepare(http)
    await response.write(next(events(fault.reply, envelope)).encode())
    await response.write(Event(error(fault.kind, fault.message)).encode())
    await response.write_eof()
    return response


def _event_stream(envelope: Envelope) -> web.StreamResponse:
    return web.StreamResponse(
        headers={
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "request-id": envelope.message_id.replace("msg_", "req_"),
        }
    )


def _hang_up(http: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if http.transport is not None:
        http.transport.close()
    return response or web.Response()
