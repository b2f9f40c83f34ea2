"""How much one caller may take: requests by the minute, and streams at once. Pure: time is a parameter.

Each replica counts for itself.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from agentjob_gateway.caller import Caller
from agentjob_gateway.errors import RETRY_SECONDS, TooMany

MAX_CALLERS: Final = 10_000
"""Callers that are remembered; who is forgotten starts with a full bucket."""
_MARGIN: Final = 1e-6
"""Seconds of grace, so that whoever waits exactly as long as told is not refused for a rounding error."""


def take(full_at: float, per_minute: int, now: float) -> float:
    """Takes one token out of a bucket of `per_minute` tokens that fills at as many a minute.

    A bucket is one number: the time, in seconds, at which it is full again. Each token taken puts that off by the time
    that a token takes to come; more than a whole bucket's worth ahead of now, and there is none left.

    Raises:
        TooMany: the bucket is empty; `retry_after` is the time until it is not.
    """
    later = max(full_at, now) + 60 / per_minute
    wait = later - now - 60
    if wait > _MARGIN:
        raise TooMany(f"more than {per_minute} requests a minute; come back in {wait:.1f} s", retry_after=wait)
    return later


class Rates:
    """How fast each caller sends requests."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: Caller, now: float) -> None:
        """Counts a request at a time in seconds, of any clock that never goes back.

        Raises:
            TooMany: the caller has made as many as they may.
        """
        name = caller.name
        full_at = self._full_at.setdefault(name, now)
        self._full_at.move_to_end(name)
        if len(self._full_at) > MAX_CALLERS:
            self._full_at.popitem(last=False)
        self._full_at[name] = take(full_at, caller.limits.requests_per_minute, now)


class Streams:
    """Streams that each caller holds open."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def open(self, caller: Caller) -> Callable[[], None]:
        """Counts a stream as open until what it gives is called.

        Raises:
            TooMany: the caller has as many open as they may.
        """
        name, most = caller.name, caller.limits.streams
        if self._held[name] >= most:
            raise TooMany(f"{most} streams are open, and no more may be; close one", retry_after=RETRY_SECONDS)
        self._held[name] += 1
        return partial(self._close, name)

    def _close(self, name: str) -> None:
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]
