"""What goes wrong with which requests, as data."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete"})
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True)
class Refused:
    """Answered with an error; nothing is passed on."""

    status: int
    retry_after: int | None = None

    def body(self) -> dict[str, Any]:
        """The answer, in the API server's words."""
        says = 'forbidden: User "operator" cannot do it' if self.status == 403 else "so says the fault proxy"
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": _REASONS[self.status],
            "message": says,
            "code": self.status,
        }


@dataclass(frozen=True)
class Reset:
    """The connection breaks: before the request is passed on, or after it was answered. In a watch: at an event."""

    after: bool = False


@dataclass(frozen=True)
class Silence:
    """Half-open: the connection stands, and nothing comes any more, until it breaks after so many seconds."""

    seconds: float = math.inf


@dataclass(frozen=True)
class Slow:
    """Passed on after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class ErrorEvent:
    """Instead of an event, an ERROR in the stream of a watch, which ends there."""

    status: int


@dataclass(frozen=True)
class Doubled:
    """An event is told twice."""


@dataclass(frozen=True)
class Skipped:
    """An event is not told."""


@dataclass(frozen=True)
class Stale:
    """The answer that the same question got first, once more. What is asked for the first time is passed on."""


@dataclass(frozen=True)
class Stop:
    """Nothing comes through any more: from before the request is passed on, or from when it was answered."""

    after: bool = False


Fault = Refused | Reset | Silence | Slow | ErrorEvent | Doubled | Skipped | Stale | Stop


@dataclass
class Rule:
    """A fault happens to requests of this verb for this resource ("agentjobs/status"): to `times` after `skip` others.

    `verb` is that of a Role; "write" is any that changes something, "event" what comes in the stream of a watch,
    bookmarks left out, and "*" any but an event. `resource` may be "*", for any. In place of `times`, `seconds` says
    how long it lasts from the first one on.
    """

    verb: str
    resource: str
    fault: Fault
    skip: int = 0
    times: float = 1
    seconds: float = math.inf
    begun: float = math.inf
    """When it happened first, by `time.monotonic`."""
    last: float = -math.inf
    """When it happened last."""

    def takes(self, verb: str, resource: str, now: float) -> bool:
        """Whether the fault happens to this request."""
        if not self._fits(verb, resource) or self.times <= 0 or now > self.begun + self.seconds:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        self.begun, self.last = min(self.begun, now), now
        return True

    def _fits(self, verb: str, resource: str) -> bool:
        if self.resource not in {"*", resource}:
            return False
        return self.verb == verb or (verb != "event" and self.verb == "*") or (self.verb == "write" and verb in WRITES)


def lasted(rules: Iterable[Rule]) -> float:
    """How long faults that are to end were there, in seconds, whether or not anything was asked all that time."""
    happened = [rule for rule in rules if rule.begun < math.inf and min(rule.times, rule.seconds) < math.inf]
    ends = [rule.last if rule.times < math.inf else rule.begun + rule.seconds for rule in happened]
    return max(ends) - min(rule.begun for rule in happened) if happened else 0.0
