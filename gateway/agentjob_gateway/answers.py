"""What the doors say about a job. Pure: an AgentJob as the API server has it in, JSON-ready data out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agentjob_api import names
from agentjob_api.phases import Phase
from agentjob_api.status import ConditionType

Object = dict[str, Any]

WORDS: Final[Mapping[Phase, str]] = {
    Phase.PENDING: "pending",
    Phase.QUEUED: "pending",
    Phase.RUNNING: "in_progress",
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "failed",
}
"""A phase in the words of `/claude`."""
_USAGE: Final = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_input_tokens": "cacheReadInputTokens",
    "cache_creation_input_tokens": "cacheCreationInputTokens",
}
"""Tokens as the Messages API names them, and as status does."""


def phase(job: Object) -> Phase:
    """Where a job stands."""
    return Phase(job["status"].get("phase", Phase.PENDING))


def archival(job: Object) -> str | None:
    """The reason of its condition Archived; None while it is not there."""
    conditions: Sequence[Mapping[str, str]] = job["status"].get("conditions") or ()
    return next((each["reason"] for each in conditions if each["type"] == ConditionType.ARCHIVED), None)


def poll(job: Object) -> Object:
    """The answer of `GET /claude/jobs/{id}`: what is not there yet is left out."""
    meta, status = job["metadata"], job["status"]
    found = {
        "job_id": meta["name"],
        "status": WORDS[phase(job)],
        "result": result(job),
        "error": failure(job),
        "created_at": meta["creationTimestamp"],
        "started_at": status.get("startTime"),
        "completed_at": status.get("completionTime"),
    }
    return {name: value for name, value in found.items() if value is not None}


def submitted(job: Object) -> Object:
    """The answer of `POST /claude`."""
    return {"job_id": job["metadata"]["name"], "status": WORDS[phase(job)]}


def result(job: Object) -> Object | None:
    """The agent's answer with what it took; None when it gave none."""
    status = job["status"]
    if (found := status.get("result")) is None:
        return None
    usage: Mapping[str, int] = status.get("usage") or {}
    return {
        "output": found["text"],
        "usage": {name: usage.get(field, 0) for name, field in _USAGE.items()},
        "cost_usd": float(status.get("costUSD") or 0),
    }


def failure(job: Object) -> str | None:
    """Why a job did not succeed, in a sentence; None when it has not failed."""
    found: Mapping[str, str] | None = job["status"].get("failure")
    return None if found is None else found["message"] or found["reason"]


def submitter(job: Object) -> str | None:
    """The caller that has made a job; None where it was not made through the doors."""
    found: str | None = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_SUBMITTED_BY)
    return found


def resource(job: Object) -> Object:
    """A job of `/v1`: the resource, with what only its writers need left out."""
    meta = job["metadata"]
    return {
        "id": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
        "createdAt": meta["creationTimestamp"],
        "labels": meta.get("labels") or {},
        "submittedBy": submitter(job),
        "spec": job["spec"],
        "status": job["status"],
    }


def page(jobs: Sequence[Object], most_bytes: int) -> list[orjson.Fragment]:
    """The first of these jobs as `/v1` tells of them, in JSON: as many as take so many bytes, and one at least."""
    found: list[orjson.Fragment] = []
    room = most_bytes
    for job in jobs:
        text = orjson.dumps(resource(job))
        room -= len(text)
        if found and room < 0:
            break
        found.append(orjson.Fragment(text))
    return found
