"""What a client asks for, as the AgentJob that is made of it. Pure.

A job made here can be told from any other: it carries a word for the submission (a digest of the Idempotency-Key, or
one of its own) and a digest of what was asked for. So a repetition finds its job again, wherever and however often it
comes in, and a key that is used for something else is noticed; nothing else has to be remembered.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from agentjob_api import names
from agentjob_gateway.caller import Caller
from agentjob_gateway.errors import BadRequest, Clash, Unprocessable

Object = dict[str, Any]
_SORTED: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
MAX_IDEMPOTENCY_KEY = 255
MARGIN = 16
"""Levels that are kept free of the 254 that orjson writes, for what is put around a field of a spec."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job to be made."""

    spec: Object
    """As in the resource; the API server checks it."""
    name: str | None = None
    """The job's name; without one it gets one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    """What the client calls this submission; repeated with the same word it makes no second job."""
    request: str
    """Id of the request."""

    def digest(self) -> str:
        """A digest of what is asked for, whatever the order of its fields."""
        asked = {"name": self.name, "labels": dict(self.labels), "spec": self.spec}
        return hashlib.sha256(_SORTED.encode(asked).encode()).hexdigest()[:32]


def checked_key(key: str | None) -> str | None:
    """An Idempotency-Key as it came.

    Raises:
        BadRequest: it is empty, too long, or not printable ASCII.
    """
    if key is not None and not (0 < len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable()):
        raise BadRequest(f"Idempotency-Key: expected 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters")
    return key


def manifest(submission: Submission, caller: Caller, namespace: str, word: str) -> Object:
    """The AgentJob to create. `word` is random: it names what has no name and no Idempotency-Key of its own.

    Raises:
        Unprocessable: a field of its spec cannot be sent to the cluster, nor in an answer.
    """
    _check_spec(submission.spec)
    key = submission.idempotency_key
    mark = word if key is None else mark_of(caller, namespace, key)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": submission.name or f"job-{mark[:20]}",
            "namespace": namespace,
            "labels": dict(submission.labels),
            "annotations": {
                names.ANNOTATION_SUBMITTED_BY: caller.name,
                names.ANNOTATION_REQUEST: submission.request,
                names.ANNOTATION_SUBMISSION: mark,
                names.ANNOTATION_DIGEST: submission.digest(),
            },
        },
        "spec": submission.spec,
    }


def _check_spec(spec: Object) -> None:
    """Holds a spec to what can be written as JSON here: what was read was bound by another parser's limits, or none."""
    for name, value in spec.items():
        around = value
        for _ in range(MARGIN):
            around = [around]
        try:
            orjson.dumps({name: around})
        except TypeError as error:
            raise Unprocessable(f"spec.{name[:60]}: it cannot be passed on as JSON: {error}") from error


def mark_of(caller: Caller, namespace: str, key: str) -> str:
    """A caller's Idempotency-Key in a namespace as 32 hexadecimal digits."""
    return hashlib.sha256(f"{caller.name}\0{namespace}\0{key}".encode()).hexdigest()[:32]


def check_same(found: Object, wanted: Object) -> None:
    """Holds a job that is there against the one that was to be made.

    Raises:
        Clash: it is somebody else's, or another submission's.
        Unprocessable: the same Idempotency-Key was used for something else.
    """
    name = wanted["metadata"]["name"]
    there: Mapping[str, str] = found["metadata"].get("annotations") or {}
    ours: Mapping[str, str] = wanted["metadata"]["annotations"]
    if any(there.get(mark) != ours[mark] for mark in (names.ANNOTATION_SUBMITTED_BY, names.ANNOTATION_SUBMISSION)):
        raise Clash(f"name: there is a job {name!r} already; choose another name, or leave it out")
    if there.get(names.ANNOTATION_DIGEST) != ours[names.ANNOTATION_DIGEST]:
        raise _used(name)


def check_name(wanted: Object, known: str | None) -> None:
    """Holds a job that was to be made against the name under which its Idempotency-Key is known, if it is.

    Raises:
        Unprocessable: that is another name.
    """
    if known not in (None, wanted["metadata"]["name"]):
        raise _used(known)


def _used(name: str | None) -> Unprocessable:
    return Unprocessable(
        f"Idempotency-Key: it was used for job {name!r} with another body; repeat that body, or use another key"
    )
