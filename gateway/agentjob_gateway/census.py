"""How many jobs have not ended, and whose they are: counted as they change, so that nobody looks at all of them."""

from collections import Counter
from typing import Any, NamedTuple

from agentjob_gateway import answers

Object = dict[str, Any]


class Entry(NamedTuple):
    """What is counted of a job that has not ended."""

    namespace: str
    owner: str | None
    is_waiting: bool


class Census:
    """Hears of every change of a job."""

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}
        """By uid."""
        self._waiting: Counter[str] = Counter()
        self._owned: Counter[tuple[str, str | None]] = Counter()

    def heard(self, job: Object, *, is_gone: bool) -> None:
        """Takes a job that is new, or not as it was, or gone."""
        uid, phase = job["metadata"]["uid"], answers.phase(job)
        if (before := self._known.pop(uid, None)) is not None:
            self._count(before, -1)
        if not (is_gone or phase.is_final):
            found = Entry(job["metadata"]["namespace"], answers.submitter(job), phase.is_waiting)
            self._known[uid] = found
            self._count(found, 1)

    def waiting(self, namespace: str) -> int:
        """Jobs whose agents have not started."""
        return self._waiting[namespace]

    def owned(self, namespace: str, name: str) -> int:
        """Jobs of a caller's that have not ended."""
        return self._owned[namespace, name]

    def _count(self, entry: Entry, change: int) -> None:
        if entry.is_waiting:
            self._waiting[entry.namespace] += change
        mine = entry.namespace, entry.owner
        self._owned[mine] += change
        if not self._owned[mine]:
            del self._owned[mine]  # callers come and go
