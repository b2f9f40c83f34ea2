"""Submit, poll, list, cancel, delete: `/claude` for clients that know nothing else, `/v1` with the whole resource."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from agentjob_api.phases import Phase
from agentjob_gateway import answers
from agentjob_gateway.caller import Verb
from agentjob_gateway.doors import CALLER, CHANGED, DOORS, REQUEST, body_of, key_of, namespace_of, seconds_of
from agentjob_gateway.errors import BadRequest, Unprocessable
from agentjob_gateway.jobs import Submitted
from agentjob_gateway.submission import Submission, checked_key

Object = dict[str, Any]

PAGE: Final = 50
MAX_PAGE: Final = 500
MAX_PAGE_MIB: Final = 4
"""What the jobs on a page take at most: each has its prompt and its result."""
_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_JOB_FIELDS: Final = frozenset({"name", "labels", "spec"})


def answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer as JSON."""
    return web.Response(body=orjson.dumps(data), status=status, headers={**_JSON, **(headers or {})})


def claude_spec(body: Object) -> Object:
    """The spec in a body of `/claude`: a prompt, and any other field of the spec beside it.

    Raises:
        Unprocessable: the client wants to go on with a conversation, which is not to be had.
    """
    spec = dict(body)
    check_begins(spec.pop("continue", False))
    return spec


def check_begins(goes_on: object) -> None:
    """Holds a client to beginning anew: `goes_on` is what it says of `continue`.

    Raises:
        Unprocessable: it wants to go on with a conversation, which is not to be had.
    """
    if goes_on not in (False, None):
        raise Unprocessable("continue: earlier conversations cannot be continued here; leave it out, or say false")


async def submit(request: web.Request, submission: Submission) -> Submitted:
    """Makes the job of a submission in the caller's namespace."""
    namespace = await namespace_of(request, Verb.SUBMIT)
    made = await request.app[DOORS].jobs.submit(request[CALLER], namespace, submission)
    request[CHANGED] = True
    return made


def claude_submission(request: web.Request, body: Object) -> Submission:
    """What a body of `/claude` asks for."""
    key = checked_key(request.headers.get("Idempotency-Key"))
    return Submission(spec=claude_spec(body), idempotency_key=key, request=request[REQUEST])


async def post_claude(request: web.Request) -> web.Response:
    """`POST /claude`."""
    job, _ = await submit(request, claude_submission(request, await body_of(request)))
    location = {"Location": f"/claude/jobs/{job['metadata']['name']}"}
    return answer(answers.submitted(job), 202, location)


async def get_claude(request: web.Request) -> web.Response:
    """`GET /claude/jobs/{id}`."""
    return answer(answers.poll(await _polled(request)))


async def post_job(request: web.Request) -> web.Response:
    """`POST /v1/jobs`."""
    body = await body_of(request)
    key = checked_key(request.headers.get("Idempotency-Key"))
    job, is_new = await submit(request, _job_submission(body, key, request[REQUEST]))
    location = {"Location": f"/v1/jobs/{job['metadata']['name']}"}
    return answer(answers.resource(job), 201 if is_new else 200, location)


def _job_submission(body: Object, key: str | None, request: str) -> Submission:
    """What a body of `/v1/jobs` asks for; the spec itself is for the API server to check."""
    if unknown := sorted(body.keys() - _JOB_FIELDS):
        raise Unprocessable(f"{unknown[0]}: unknown field; expected {', '.join(sorted(_JOB_FIELDS))}")
    name, labels, spec = body.get("name"), body.get("labels"), body.get("spec")
    labels = {} if labels is None else labels
    if name is not None and not (isinstance(name, str) and name):
        raise Unprocessable("name: expected a string that is not empty, or nothing")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise Unprocessable("labels: expected an object of strings")
    if not isinstance(spec, dict):
        raise Unprocessable("spec: expected an object with at least a prompt")
    return Submission(spec=spec, name=name, labels=labels, idempotency_key=key, request=request)


async def get_job(request: web.Request) -> web.Response:
    """`GET /v1/jobs/{id}`."""
    return answer(answers.resource(await _polled(request)))


async def _polled(request: web.Request) -> Object:
    return await request.app[DOORS].jobs.ended(await key_of(request), seconds_of(request))


async def list_jobs(request: web.Request) -> web.Response:
    """`GET /v1/jobs`."""
    query = request.query
    phase, limit, after = _phase(query), _limit(query), _cursor(query)
    namespace = await namespace_of(request, Verb.LIST)
    wanted = {_label(text) for text in query.getall("label", [])}  # one name may come twice, and then nothing has both
    found = [
        job
        for job in await request.app[DOORS].jobs.listed(namespace)
        if (phase is None or answers.phase(job) is phase)
        and (after is None or _place(job) < after)
        and wanted <= (job["metadata"].get("labels") or {}).items()
    ]
    items = answers.page(found[:limit], MAX_PAGE_MIB * 2**20)
    more = {"next": _encoded(_place(found[len(items) - 1]))} if len(found) > len(items) else {}
    return answer({"items": items, **more})


Place = tuple[str, str]
"""Where a job stands in a list: creation time and name."""


def _place(job: Object) -> Place:
    return job["metadata"]["creationTimestamp"], job["metadata"]["name"]


def _phase(query: Mapping[str, str]) -> Phase | None:
    if (text := query.get("phase")) is None:
        return None
    if text not in set(Phase):
        raise BadRequest(f"phase: expected one of {', '.join(Phase)}, found {text[:20]!r}")
    return Phase(text)


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(PAGE))
    if not (text.isdecimal() and text.isascii() and len(text) < 6 and 1 <= int(text) <= MAX_PAGE):
        raise BadRequest(f"limit: expected 1 to {MAX_PAGE}, found {text[:20]!r}")
    return int(text)


def _label(text: str) -> Place:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequest(f"label: expected NAME=VALUE, found {text[:60]!r}")
    return name, value


def _encoded(place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _cursor(query: Mapping[str, str]) -> Place | None:
    """Where the page before ended."""
    if (text := query.get("cursor")) is None:
        return None
    try:
        created, name = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        return str(created), str(name)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise BadRequest("cursor: expected the `next` of an earlier answer") from error


async def cancel_job(request: web.Request) -> web.Response:
    """`POST /v1/jobs/{id}/cancel`."""
    key = await key_of(request)
    job = await request.app[DOORS].jobs.cancel(request[CALLER], key, request[REQUEST])
    return answer(answers.resource(job), 202)


async def delete_job(request: web.Request) -> web.Response:
    """`DELETE /v1/jobs/{id}`."""
    await request.app[DOORS].jobs.delete(request[CALLER], await key_of(request), request[REQUEST])
    return web.Response(status=204)
