"""The archive as the second of two replicas writes to it: what the first has not written in time.

So lines are written whatever becomes of the first, and while one that has just come is not yet where the agent is. Both
find out by what is in the store alone: neither asks the other, and either may be killed at any moment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from agentjob_api.lines import Line
from agentjob_gateway.archive import Archive
from agentjob_gateway.archive_keys import Kept, Part, Spans
from agentjob_gateway.audit import Audit
from agentjob_gateway.cache import key_of
from agentjob_gateway.reading import Gap
from agentjob_gateway.record import ArchiveCounts, Lines, Pace, Record

Object = dict[str, Any]

LOOKS: Final = 2
"""How often it is looked, while a part is waited for, whether it has come."""


class Second:
    """Of one job. What is lost, and when an attempt is over, is for the first to say: it may know more."""

    def __init__(self, archive: Archive, heard: Callable[[Line], None], pace: Pace, *, is_alone: bool = False) -> None:
        """`heard` is told of each line before it is written. A part is waited for as long as the pace says.

        `is_alone`: the first may not have begun, and is not waited for until it writes.
        """
        self._archive = archive
        self._heard = heard
        self._pace = pace
        self._is_alone = is_alone
        """Whether the first has not written what it was waited for: it is not waited for again until it writes."""

    async def kept(self, namespace: str, uid: str) -> dict[int, Kept]:
        """What is kept of the job, by attempt."""
        return await self._archive.kept(namespace, uid)

    async def gaps(self, namespace: str, uid: str, attempt: int) -> tuple[Gap, ...]:
        """The lines of an attempt that are known to be lost."""
        return await self._archive.gaps(namespace, uid, attempt)

    async def write(self, namespace: str, uid: str, part: Part) -> int:
        """Keeps a part unless it comes in time; the bytes that were written. What the first left out does not come."""
        is_passed = False
        for waits in range(0 if self._is_alone else LOOKS, -1, -1):
            found = (await self.kept(namespace, uid)).get(part.attempt, Kept())
            if found.is_sealed or Spans(found.parts).covers(part.span):
                self._is_alone = False
                return 0
            # Beyond what it has not written: it does not have these lines, and will not.
            is_passed = any(span.last > part.span.last for span in found.parts)
            if is_passed or not waits:
                break
            await self._pace.sleep(self._pace.part_seconds / LOOKS)
        self._is_alone = not is_passed
        for line in part.lines():
            self._heard(line)
        return await self._archive.write(namespace, uid, part)

    async def note_gaps(self, namespace: str, uid: str, attempt: int, gaps: Sequence[Gap]) -> None:
        """Does nothing."""

    async def seal(self, namespace: str, uid: str, attempt: int) -> None:
        """Does nothing."""


@dataclass
class Writing:
    """The second writer of one job at work. The audit tells of the lines that it writes, and of no others."""

    record: Record
    audit: Audit
    uid: str

    async def run(self) -> None:
        """Works until the job has ended, or it was handed over; raises Unavailable."""
        try:
            await self.record.run()
        finally:
            self.audit.ended(self.uid)

    def hand_over(self) -> None:
        """Ends it once what was read is written."""
        self.record.hand_over()


@dataclass(frozen=True)
class Seconds:
    """Begins second writers."""

    source: Lines
    archive: Archive
    pace: Pace
    """Of the first ones."""
    counts: ArchiveCounts

    def begin(self, job: Object, *, is_alone: bool) -> Writing:
        """One for a job. It is twice as patient as the first, and waits for the first as long again.

        `is_alone`: the first may not have begun; what comes is written until it has.
        """
        seconds = 2 * self.pace.part_seconds
        pace = self.pace._replace(part_seconds=seconds, last_seconds=self.pace.last_seconds + seconds)
        key, uid, audit = key_of(job), job["metadata"]["uid"], Audit()
        heard = partial(audit.line, key.namespace, key.name, uid)
        shelf = Second(self.archive, heard, pace, is_alone=is_alone)
        return Writing(Record(self.source, shelf, job, self.counts, pace), audit, uid)
