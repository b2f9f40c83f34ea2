"""What a client may be told that is no answer, as RFC 9457 has it. Pure.

Problem
 ├── BadRequest         400   the request cannot be read
 ├── Unauthenticated    401   no credential, or none that holds
 ├── NotAllowed         403   the credential does not go so far
 ├── Missing            404   no such job, or not one of the caller's
 ├── NotAcceptable      406   the answer cannot be given in the form that was asked for
 ├── Clash              409   there is one already
 ├── TooLarge           413   the body is larger than is taken
 ├── Unprocessable      422   the request was read and makes no sense
 ├── TooMany            429   a limit of the caller's is reached
 └── Unavailable        503   the cluster cannot be asked at the moment
"""

import math
from collections.abc import Mapping
from typing import Any

from agentjob_kube import errors as kube

RETRY_SECONDS = 2
"""When to come back, where nobody knows better."""


class Problem(Exception):  # noqa: N818 - the tree reads as what was answered
    """An answer that is an error. `retry_after` is in seconds; `more` is put beside the standard members."""

    status = 500
    title = "Internal Server Error"

    def __init__(self, detail: str, *, retry_after: float | None = None, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.more = dict(more or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """The answer's body: the members of RFC 9457, `error` with the same words, and the request's id."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "error": self.detail,
            "request_id": request_id,
            **self.more,
        }

    def headers(self) -> dict[str, str]:
        """Headers that belong to it."""
        return {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


class BadRequest(Problem):
    """The request cannot be read."""

    status = 400
    title = "Bad Request"


class Unauthenticated(Problem):
    """No credential, or none that holds; `error` is the one word that clients look for."""

    status = 401
    title = "Unauthorized"

    def body(self, request_id: str) -> dict[str, Any]:
        """As always, with `error` short."""
        return super().body(request_id) | {"error": self.title}

    def headers(self) -> dict[str, str]:
        """Says how to authenticate (RFC 9110, 11.6.1)."""
        return super().headers() | {"WWW-Authenticate": 'Bearer realm="agentjob"'}


class NotAllowed(Problem):
    """The credential does not go so far."""

    status = 403
    title = "Forbidden"


class Missing(Problem):
    """No such job, or not one of the caller's: which of both is not told."""

    status = 404
    title = "Not Found"


class NotAcceptable(Problem):
    """The answer cannot be given in the form that was asked for."""

    status = 406
    title = "Not Acceptable"


class Clash(Problem):
    """There is one already."""

    status = 409
    title = "Conflict"


class TooLarge(Problem):
    """The body is larger than is taken."""

    status = 413
    title = "Content Too Large"


class Unprocessable(Problem):
    """The request was read and makes no sense."""

    status = 422
    title = "Unprocessable Content"


class TooMany(Problem):
    """A limit of the caller's is reached."""

    status = 429
    title = "Too Many Requests"


class Unavailable(Problem):
    """The cluster cannot be asked at the moment."""

    status = 503
    title = "Service Unavailable"


def of(error: kube.ApiError) -> Problem:
    """What the API server's error means to a client: the API server's own words where the client can act on them."""
    match error:
        case kube.Invalid():
            return Unprocessable(str(error))
        case kube.NotFound():
            return Missing(str(error))
        case kube.AlreadyExists():
            return Clash(str(error))
        case kube.Conflict():
            return Clash(f"{error}; read it again and repeat")
        case kube.Forbidden() if not isinstance(error, kube.NoRight):
            return NotAllowed(str(error))
        case _:
            return Unavailable(_why(error), retry_after=error.retry_after or RETRY_SECONDS)


def _why(error: kube.ApiError) -> str:
    """What keeps the gateway from asking the cluster, which is nothing that its client can mend."""
    match error:
        case kube.TooManyRequests():
            return "the cluster is busy"
        case kube.NoRight():
            return "the cluster does not let the gateway do this now"
        case kube.Unauthorized():
            return "the cluster does not take the gateway's own credential now"
        case _:
            return "the cluster cannot be reached"
