"""How the API server says no: a `Status` object and an HTTP status."""

from typing import Any

Object = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - as in: the refusal of a request
    """An answer that is an error."""

    def __init__(self, code: int, reason: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.retry_after = code, reason, message, retry_after

    def body(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": {"retryAfterSeconds": self.retry_after} if self.retry_after else {},
            "code": self.code,
        }


def not_found(plural: str, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{plural} "{name}" not found')


def already_exists(plural: str, name: str) -> Refusal:
    return Refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')


def modified(plural: str, name: str) -> Refusal:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return Refusal(409, "Conflict", f'Operation cannot be fulfilled on {plural} "{name}": {why}')


def wrong_uid(wanted: str, found: str) -> Refusal:
    why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    return Refusal(409, "Conflict", why)


def expired() -> Refusal:
    return Refusal(410, "Expired", "The provided resource version or continue token is too old")


def invalid(kind: str, name: str, why: str) -> Refusal:
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {why}')
