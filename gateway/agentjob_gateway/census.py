"""How many jobs have not ended, whose they are, and which submissions they came of.

Counted as they change, so that nobody looks at all of them. What is being made counts already: of many that come at
once, no more are let through than of those that come one after the other.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from agentjob_api import names
from agentjob_api.names import Key
from agentjob_gateway import answers
from agentjob_gateway.cache import key_of

Object = dict[str, Any]


class Entry(NamedTuple):
    """What is counted of a job that has not ended."""

    namespace: str
    owner: str | None
    is_waiting: bool


class Came(NamedTuple):
    """What a submission has come to."""

    uid: str | None
    """None for a job that is being made."""
    name: str


class Census:
    """Hears of every change of a job."""

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}
        """By uid."""
        self._waiting: Counter[str] = Counter()
        self._owned: Counter[tuple[str, str | None]] = Counter()
        self._coming: dict[tuple[Key, str | None], Entry] = {}
        """Jobs that are being made, and by whom."""
        self._submitted: dict[str, Came] = {}
        """By the word of the submission."""

    def heard(self, job: Object, *, is_gone: bool) -> None:
        """Takes a job that is new, or not as it was, or gone."""
        uid, phase = job["metadata"]["uid"], answers.phase(job)
        self._hear_submission(job, uid, is_gone=is_gone)
        if not is_gone:
            self._come(key_of(job), answers.submitter(job))
        if (before := self._known.pop(uid, None)) is not None:
            self._count(before, -1)
        if not (is_gone or phase.is_final):
            found = Entry(job["metadata"]["namespace"], answers.submitter(job), phase.is_waiting)
            self._known[uid] = found
            self._count(found, 1)

    @contextmanager
    def expected(self, job: Object) -> Iterator[None]:
        """Counts a job that the block makes, until it is heard of or was not made. Of one job, it counts once."""
        mine = key_of(job), answers.submitter(job)
        mark, came = _mark(job), Came(None, job["metadata"]["name"])
        entry = Entry(mine[0].namespace, mine[1], is_waiting=True)
        self._submitted.setdefault(mark, came)
        if self._coming.setdefault(mine, entry) is entry:
            self._count(entry, 1)
        try:
            yield
        finally:
            if self._coming.get(mine) is entry:
                self._come(*mine)
            if self._submitted.get(mark) is came:
                del self._submitted[mark]

    def expects(self, key: Key, name: str) -> bool:
        """Whether a caller's job is just being made."""
        return (key, name) in self._coming

    def submitted(self, mark: str) -> str | None:
        """The name of the job that a submission, by its word, has come to or is about to."""
        found = self._submitted.get(mark)
        return found and found.name

    def waiting(self, namespace: str) -> int:
        """Jobs whose agents have not started."""
        return self._waiting[namespace]

    def owned(self, namespace: str, name: str) -> int:
        """Jobs of a caller's that have not ended."""
        return self._owned[namespace, name]

    def _come(self, key: Key, owner: str | None) -> None:
        """Takes back what was counted for a job that is not being made any more."""
        if (entry := self._coming.pop((key, owner), None)) is not None:
            self._count(entry, -1)

    def _hear_submission(self, job: Object, uid: str, *, is_gone: bool) -> None:
        if not (mark := _mark(job)):
            return
        if not is_gone:
            self._submitted[mark] = Came(uid, job["metadata"]["name"])
        elif (found := self._submitted.get(mark)) is not None and found.uid == uid:
            del self._submitted[mark]

    def _count(self, entry: Entry, change: int) -> None:
        if entry.is_waiting:
            self._waiting[entry.namespace] += change
        mine = entry.namespace, entry.owner
        self._owned[mine] += change
        if not self._owned[mine]:
            del self._owned[mine]  # callers come and go


def _mark(job: Object) -> str:
    """The word of the submission that a job came of; "" for one that was made some other way."""
    found: str = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_SUBMISSION, "")
    return found
