"""One job on its way into the archive: followed to its end, written part by part, sealed.

What was written says how far it came. So a record that is broken off anywhere is begun again by anybody, and goes on at
the first line that is not kept.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.archive_keys import PART_BYTES, Kept, Part, Span, Spans, span_of
from agentjob_gateway.cache import key_of
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import OPEN, START, Position
from agentjob_kube.backoff import Backoff

Object = dict[str, Any]
T = TypeVar("T")

PENDING_BYTES: Final = 2 * PART_BYTES
"""Of lines that are not written yet: beyond, no more are read. They wait in the log."""
log = logging.getLogger(__name__)


class Pace(NamedTuple):
    """How a job is written."""

    part_seconds: float = 5.0
    """How long a line is held back at most."""
    last_seconds: float = 10.0
    """How long it may take to write what was read, when another replica goes on."""
    again: Backoff = Backoff(first=0.5, most=30.0)
    """Between two tries of what the store did not do."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


PACE: Final = Pace()


class Lines(Protocol):
    """Where a job's lines come from."""

    def lines(self, key: Key, uid: str, after: Position, settled: Position = START) -> AsyncGenerator[Line | Gap, None]:
        """Every line after a position, and gaps where lines are lost, to the job's end; raises Unavailable.

        `settled`: up to here nothing is looked for that is not at hand.
        """
        ...


class Shelf(Protocol):
    """Where they are kept; every method raises ArchiveError. See archive.py."""

    async def kept(self, namespace: str, uid: str) -> dict[int, Kept]:
        """What is kept of a job, by attempt."""
        ...

    async def gaps(self, namespace: str, uid: str, attempt: int) -> tuple[Gap, ...]:
        """The lines of an attempt that are known to be lost."""
        ...

    async def write(self, namespace: str, uid: str, part: Part) -> int:
        """Keeps a part; the bytes that were written, 0 where they were there."""
        ...

    async def note_gaps(self, namespace: str, uid: str, attempt: int, gaps: Sequence[Gap]) -> None:
        """Keeps that lines are lost, in place of what was said about it before."""
        ...

    async def seal(self, namespace: str, uid: str, attempt: int) -> None:
        """Makes one object of an attempt that is over."""
        ...


@dataclass
class ArchiveCounts:
    """What the archive of a process comes to."""

    kept: int = 0
    """Jobs that are being followed for it."""
    waiting: int = 0
    """Jobs that wait for their turn."""
    held: int = 0
    """Jobs whose latest lines are at hand, should another replica go."""
    lines: int = 0
    """Lines written."""
    bytes: int = 0
    """Bytes written, compressed."""
    failures: int = 0
    """Times that the store did not do what it was asked."""


class Step(NamedTuple):
    """What is to be done next with the store."""

    do: Callable[[], Awaitable[object]]
    size: int = 0
    """Bytes of lines that are written then."""


class Record:
    """Archives one job."""

    def __init__(self, source: Lines, archive: Shelf, job: Object, counts: ArchiveCounts, pace: Pace) -> None:
        self._source = source
        self._archive = archive
        self._key = key_of(job)
        self._job = (self._key.namespace, job["metadata"]["uid"])
        self._counts = counts
        self._pace = pace
        self._kept: dict[int, Kept] = {}
        """What was there at the start."""
        self._noted: dict[int, tuple[Gap, ...]] = {}
        """Which lines were known to be lost at the start, by attempt."""
        self._attempt = 0
        self._there = Spans()
        """Lines of the attempt that were there at the start."""
        self._gaps: list[Gap] = []
        """Of the attempt."""
        self._has_gaps = False
        """Whether lines are lost after all: known once it has ended."""
        self._open: Part | None = None
        """Takes the next line."""
        self._due = 0.0
        """When that is to be written, on the event loop's clock."""
        self._steps: deque[Step] = deque()
        self._pending = 0
        """Bytes of lines that are not written yet."""
        self.has_begun = False
        """Whether lines come."""
        self._is_over = False
        self._leaving = asyncio.Event()
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def hand_over(self) -> None:
        """Ends it once what was read is written: another replica goes on."""
        self._leaving.set()

    async def run(self) -> bool | None:
        """Follows the job to its end and seals every attempt; whether all lines are kept. None when it was handed over.

        Raises:
            Unavailable: the lines cannot be had at the moment.
        """
        self._kept = await self._surely(lambda: self._archive.kept(*self._job))
        for attempt, each in self._kept.items():
            if each.has_gaps and not each.is_sealed:
                self._noted[attempt] = await self._surely(partial(self._archive.gaps, *self._job, attempt))
        follow, write = asyncio.create_task(self._follow()), asyncio.create_task(self._write_all())
        tasks = (follow, write, asyncio.create_task(self._leaving.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if follow.done() or write.done():
                await asyncio.gather(follow, write)
                return not self._has_gaps
            follow.cancel()
            await asyncio.wait([follow])
            await self._write_rest(write)
            return None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write_rest(self, write: asyncio.Task[None]) -> None:
        """Writes what was read. What the store does not take in time is read again by whoever goes on."""
        self._close()
        self._is_over = True
        if self._steps:
            await asyncio.wait([write], timeout=self._pace.last_seconds)

    def _start(self) -> tuple[Position, Position]:
        """Up to where everything is kept, and up to where everything is kept or known to be lost.

        What another replica has lost may be at hand here; it is not looked for in the log, which did not have it.
        """
        begun = [attempt for attempt, each in self._kept.items() if each.parts and not each.is_sealed]
        if begun:
            attempt, spans = min(begun), Spans(self._kept[min(begun)].parts)
            kept = Position(attempt, spans.reach)
            for gap in self._noted.get(attempt, ()):
                spans.add(span_of(gap))
            return kept, Position(attempt, spans.reach)
        sealed = [attempt for attempt, each in self._kept.items() if each.is_sealed]
        start = Position(max(sealed), OPEN) if sealed else START
        return start, start

    async def _follow(self) -> None:
        async with aclosing(self._source.lines(self._key, self._job[1], *self._start())) as items:
            async for item in items:
                self.has_begun = True
                while self._pending >= PENDING_BYTES:
                    self._room.clear()
                    await self._room.wait()
                if item.attempt != self._attempt:
                    self._begin(item.attempt)
                if isinstance(item, Gap):
                    self._take_gap(item)
                else:
                    self._take(item)
        self._close()
        self._do(Step(self._seal_all))
        self._is_over = True

    def _begin(self, attempt: int) -> None:
        self._close()
        if self._attempt:
            before = self._attempt
            self._do(Step(lambda: self._archive.seal(*self._job, before)))
        self._attempt, self._gaps = attempt, list(self._noted.get(attempt, ()))
        kept = self._kept.get(attempt, Kept())
        self._there = Spans([Span(1, OPEN)] if kept.is_sealed else kept.parts)

    def _is_kept(self, span: Span) -> bool:
        return self._there.covers(span)

    def _take(self, line: Line) -> None:
        if self._is_kept(Span(line.seq, line.seq)):
            return
        before = self._open.size if self._open is not None else 0
        if self._open is None or not self._open.take(line):
            self._close()
            self._open, before = Part(line), 0
            self._due = asyncio.get_running_loop().time() + self._pace.part_seconds
            self._news.set()
        self._pending += self._open.size - before

    def _take_gap(self, gap: Gap) -> None:
        if self._is_kept(span_of(gap)) or gap in self._gaps:
            return
        self._close()
        self._gaps.append(gap)
        attempt, gaps = self._attempt, tuple(self._gaps)
        self._do(Step(lambda: self._archive.note_gaps(*self._job, attempt, gaps)))

    def _close(self) -> None:
        """Hands over what there is to be written."""
        part, self._open = self._open, None
        if part is not None:
            self._do(Step(lambda: self._write(part), part.size))

    def _do(self, step: Step) -> None:
        self._steps.append(step)
        self._news.set()

    async def _write_all(self) -> None:
        """Takes the steps, each once the one before is done."""
        while self._steps or not self._is_over:
            await self._next_step()
            while self._steps:
                await self._surely(self._steps[0].do)
                self._pending -= self._steps.popleft().size
                self._room.set()

    async def _next_step(self) -> None:
        """Returns when there is one: lines that have waited long enough are one."""
        while not self._steps:
            self._news.clear()
            try:
                async with asyncio.timeout_at(self._due if self._open is not None else None):
                    await self._news.wait()
            except TimeoutError:
                self._close()

    async def _write(self, part: Part) -> None:
        if size := await self._archive.write(*self._job, part):
            self._counts.bytes += size
            self._counts.lines += part.span.last - part.span.first + 1

    async def _seal_all(self) -> None:
        for attempt, each in (await self._archive.kept(*self._job)).items():
            if each.parts:
                await self._archive.seal(*self._job, attempt)
        self._has_gaps = any(each.has_gaps for each in (await self._archive.kept(*self._job)).values())

    async def _surely(self, do: Callable[[], Awaitable[T]]) -> T:
        """Does something with the store, however often it takes."""
        failures = 0
        while True:
            try:
                return await do()
            except ArchiveError as error:
                failures += 1
                self._counts.failures += 1
                level = logging.DEBUG if failures > 1 else logging.WARNING
                log.log(level, "Archiving: %s", error, extra={"namespace": self._key.namespace, "job": self._key.name})
                await self._pace.sleep(self._pace.again.delay(failures))
