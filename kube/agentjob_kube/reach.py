"""Which of the namespaces can be read, by what the API server answers to LISTs and watches of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agentjob_kube.errors import ApiError, NoRight, NotFound

REFUSED_AFTER: Final = 60.0
"""Seconds for which a namespace is refused until nothing waits for it any more: it was deleted, or our Role there was.
An API server that starts refuses for some seconds what it allows then."""


@dataclass(kw_only=True)
class Reach:
    """What is said of a namespace is of one namespace alone only where another one can be read."""

    namespaces: tuple[str, ...]
    patience: float = REFUSED_AFTER
    """Seconds."""
    clock: Callable[[], float] = time.monotonic
    _refused: dict[str, dict[str, float]] = field(default_factory=dict)
    """By namespace, since when what is refused there: "list pods". Until an answer comes."""
    _failing: dict[str, dict[str, float]] = field(default_factory=dict)
    """By namespace, since when LISTs there have failed, for whatever reason."""

    def readable(self) -> tuple[str, ...]:
        """The namespaces that can be read, as far as is known; all of them where none can."""
        return tuple(each for each in self.namespaces if not self.missing(each)) or self.namespaces

    def is_lost(self, namespace: str) -> bool:
        """Whether a namespace is refused, and another one can be read."""
        return bool(self.refused(namespace)) and namespace not in self.readable()

    def refused(self, namespace: str) -> list[str]:
        """What is refused in a namespace for so long that it is not waited for."""
        return self._for_long(self._refused, namespace)

    def missing(self, namespace: str) -> list[str]:
        """What is refused in a namespace, or fails there, for so long that it is not waited for."""
        return sorted({*self.refused(namespace), *self._for_long(self._failing, namespace)})

    def refused_since(self, namespace: str, what: str) -> float | None:
        """Since when something is refused, by the clock."""
        return self._refused.get(namespace, {}).get(what)

    def failed(self, namespace: str, what: str, error: ApiError) -> bool:
        """Notes an answer; whether it is the first of its kind.

        A watch that fails without being refused is none: it goes on from where it was, and the LISTs show the rest.
        """
        known = [self._refused] * isinstance(error, NoRight | NotFound) + [self._failing] * what.startswith("list ")
        since = [times.setdefault(namespace, {}) for times in known]
        is_first = any(what not in times for times in since)
        for times in since:
            times.setdefault(what, self.clock())
        return is_first

    def came(self, namespace: str, what: str) -> bool:
        """Notes that something has come; whether it has failed before.

        What has failed everywhere ends everywhere, but not at the same moment: others have as much time from now on.
        Not those that were missing before: these have failed by themselves.
        """
        was_refused = self._refused.get(namespace, {}).pop(what, None) is not None
        since = self._failing.get(namespace, {}).pop(what, None)
        if since is not None:
            self._failing = {where: self._put_off(times, since) for where, times in self._failing.items()}
        return was_refused or since is not None

    def _put_off(self, times: dict[str, float], since: float) -> dict[str, float]:
        """Times of what fails, from now on unless it was missing when something else began to fail."""
        now, missing = self.clock(), since - self.patience
        return {what: time if time <= missing else now for what, time in times.items()}

    def _for_long(self, times: dict[str, dict[str, float]], namespace: str) -> list[str]:
        limit = self.clock() - self.patience
        return sorted(what for what, since in times.get(namespace, {}).items() if since <= limit)
