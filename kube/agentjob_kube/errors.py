"""What can go wrong when the API server is asked.

ApiError
 ├── Unreachable            no answer: refused, reset, cut off in the middle, or not in time
 └── Refused                an answer of status 400 or more
      ├── Invalid           400, 413, 422   the request can never succeed as it is
      ├── Unauthorized      401
      ├── Forbidden         403             an admission rule or quota said no, with whatever status
      │    └── NoRight                      whoever asks has no right to it
      ├── NotFound          404
      ├── Conflict          409             the object has changed since it was read, or is another one
      │    └── AlreadyExists
      ├── Gone              410             this resourceVersion or continue token is no longer kept
      ├── TooManyRequests   429
      └── ServerError       500 and more        or a page where the API server itself would have spoken of an object
"""

import re

import orjson


class ApiError(Exception):
    """A request failed.

    retry_after: the least time to wait before the next one, in seconds. may_be_done: whether a write may have been done
    all the same.
    """

    retry_after: float = 0.0
    may_be_done: bool = False


class Unreachable(ApiError):  # noqa: N818 - the tree reads as what was answered
    """The API server gave no answer, or not the whole of it."""

    may_be_done = True


class Refused(ApiError):  # noqa: N818
    """The API server answered with an error.

    status: the HTTP status. reason: Kubernetes' own word for it, such as "AlreadyExists". The text of the exception is
    the API server's message.
    """

    def __init__(self, message: str, *, status: int, reason: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Invalid(Refused):
    """The request can never succeed as it is. An admission rule that says so may be another in a minute: Forbidden."""


class Unauthorized(Refused):
    """The credential is missing, wrong or expired."""


class Forbidden(Refused):
    """An admission rule or quota said no, and may not the next time; or whoever asks has no right to it."""


class NoRight(Forbidden):
    """Whoever asks has no right to it, or not yet: an API server that starts knows nobody's."""


class NotFound(Refused):
    """There is no such object, or no such resource."""


class Conflict(Refused):
    """The object has changed since it was read, or another one has its name."""


class AlreadyExists(Conflict):
    """An object of this name exists."""


class Gone(Refused):
    """The resourceVersion or continue token is no longer kept: list again."""


class TooManyRequests(Refused):
    """The API server asks to come back later."""


class ServerError(Refused):
    """The API server, or something between, failed."""


_BY_STATUS: dict[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}
_OF_OBJECT = {400, 404, 409, 413, 422}
"""What is said of an object or of what is to become one. By a page, as proxies and paths that are not served have it
("404 page not found"), nothing is: no job is gone for it, and none can never succeed."""
_NO_RIGHT = re.compile(r'(\S+ ("[^"]*" )?is )?forbidden: User ".*" cannot ', re.DOTALL)
"""Only in words is an authorizer's refusal told from others
(https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go)."""
_ADMISSION = re.compile(r'\S+ "[^"]*" is forbidden: |admission webhook "[^"]*" denied the request')
"""How an answer begins that comes from admission, whatever its status. A ValidatingAdmissionPolicy denies with 422 if
it names no reason; a webhook with what it likes, and where it names nothing, with 400 in older releases
(https://github.com/kubernetes/kubernetes/blob/3d7848758c5f/staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go).
What a validation says begins otherwise: Pod "a" is invalid."""
_ETCD_IS_SILENT = re.compile(r"etcdserver: request timed out|rpc error: ")
"""How an answer begins that says that etcd gave none."""
LONGEST_WAIT = 50.0
"""Seconds for which an answer may ask to wait. A page of a proxy's under maintenance asks for an hour, an admission
webhook for what it likes: it may be over sooner, and what waits is to be tried once a minute, spread as it is."""
MAX_PLAIN = 500
"""Characters kept of an answer that is not Kubernetes' own, such as a proxy's page."""


def refused(status: int, body: bytes, retry_after: str | None = None) -> Refused:
    """The error for an answer: its HTTP status, its body (a `Status` object, or anything), its Retry-After header."""
    answer = _status_object(body)
    message = str(answer.get("message") or body[:MAX_PLAIN].decode(errors="replace") or f"HTTP status {status}")
    reason = str(answer.get("reason") or "")
    details = answer.get("details")
    seconds = _seconds(retry_after) or _seconds(details.get("retryAfterSeconds") if isinstance(details, dict) else None)
    is_status = answer.get("kind") == "Status"
    error = _kind(status, reason, message, is_status=is_status)(
        message, status=status, reason=reason, retry_after=seconds
    )
    error.may_be_done = status >= 500 and (not is_status or status == 504 or bool(_ETCD_IS_SILENT.match(message)))
    return error


def _kind(status: int, reason: str, message: str, *, is_status: bool) -> type[Refused]:
    if status == 403 and _NO_RIGHT.match(message):
        return NoRight
    if status >= 500 or (status in _OF_OBJECT and not is_status):
        return ServerError
    if status in {*_OF_OBJECT, 410} and _ADMISSION.match(message):
        return Forbidden
    if reason == "AlreadyExists":
        return AlreadyExists
    return _BY_STATUS.get(status, Refused)


def _status_object(body: bytes) -> dict[str, object]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _seconds(value: object) -> float:
    """A Retry-After in seconds; 0 when there is none, or it is a date (the API server sends seconds)."""
    text = str(value)
    return min(float(text), LONGEST_WAIT) if text.isdecimal() else 0.0
