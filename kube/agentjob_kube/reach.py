"""Which of the namespaces can be read, by what the API server answers to LISTs and watches of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from agentjob_kube.errors import ApiError, NoRight, NotFound

REFUSED_AFTER: Final = 60.0
"""Seconds for which a namespace is refused until nothing waits for it any more: it was deleted, or our Role there was.
An API server that starts refuses for some seconds what it allows then."""


@dataclass
class Failure:
    """Something that is refused, or fails."""

    began: float
    counts: float
    """From when on it counts: from its begin, or from the end of what may have been its cause."""


@dataclass(kw_only=True)
class Reach:
    """What is said of a namespace is of one namespace alone only where another one can be read."""

    namespaces: tuple[str, ...]
    patience: float = REFUSED_AFTER
    """Seconds."""
    clock: Callable[[], float] = time.monotonic
    _refused: dict[str, dict[str, Failure]] = field(default_factory=dict)
    """By namespace, what is refused there: "list pods". Until an answer comes."""
    _failing: dict[str, dict[str, Failure]] = field(default_factory=dict)
    """By namespace, the LISTs there that have failed, for whatever reason."""

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
        failure = self._refused.get(namespace, {}).get(what)
        return None if failure is None else failure.began

    def failed(self, namespace: str, what: str, error: ApiError) -> bool:
        """Notes an answer; whether it is the first of its kind.

        A watch that fails without being refused is none: it goes on from where it was, and the LISTs show the rest.
        """
        known = [self._refused] * isinstance(error, NoRight | NotFound) + [self._failing] * what.startswith("list ")
        now = self.clock()
        news = [there for each in known if what not in (there := each.setdefault(namespace, {}))]
        for there in news:
            there[what] = Failure(now, now)
        return bool(news)

    def came(self, namespace: str, what: str) -> bool:
        """Notes that something has come; whether it has failed before.

        What has failed everywhere ends everywhere, but not at the same moment: others have as much time from now on.
        Not one that had failed for so long before: that has a cause of its own, and is not waited for again and again.
        """
        failing_everywhere = all(self._of(each) for each in self.namespaces)
        popped = (each.get(namespace, {}).pop(what, None) for each in (self._refused, self._failing))
        over = [failure for failure in popped if failure is not None]
        if over and failing_everywhere:
            began = min(failure.began for failure in over)
            for failure in chain.from_iterable(map(self._of, self.namespaces)):
                if began < failure.began + self.patience:
                    failure.counts = self.clock()
        return bool(over)

    def _of(self, namespace: str) -> list[Failure]:
        return [failure for each in (self._refused, self._failing) for failure in each.get(namespace, {}).values()]

    def _for_long(self, failures: dict[str, dict[str, Failure]], namespace: str) -> list[str]:
        limit = self.clock() - self.patience
        return sorted(what for what, failure in failures.get(namespace, {}).items() if failure.counts <= limit)
