"""The past of a stream: read once for all that want it together, and no faster than the first of them reads."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from agentjob_gateway.history import ArchiveError
from agentjob_gateway.past import KEPT, NEAR, Pasts
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import Position
from operated import until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(seq: int) -> Position:
    return Position(1, seq)


class Log:
    """Batches of two lines each, of which some are given before it fails."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.asked: list[tuple[int, int]] = []
        self.given = 0
        self.closed = 0
        self._fails_after = fails_after

    async def read(self, after: Position, until: Position) -> AsyncGenerator[Sequence[Entry], None]:
        self.asked.append((after.seq, until.seq))
        try:
            for seq in range(after.seq + 1, until.seq + 1, 2):
                if self._fails_after is not None and seq > self._fails_after:
                    raise ArchiveError("no answer")
                self.given = seq + 1
                yield [Entry(at(each), each, NOON, False, b"x") for each in (seq, seq + 1)]
                await asyncio.sleep(0)
        finally:
            self.closed += 1


class Reader:
    """Somebody who takes what there is when the test says so."""

    def __init__(self, pasts: Pasts, after: int, until: int) -> None:
        self.seqs: list[int] = []
        self._found = pasts.between(at(after), at(until))

    async def take(self) -> None:
        self.seqs += [entry.position.seq for entry in await anext(self._found)]

    async def all(self) -> list[int]:
        async with aclosing(self._found):
            async for batch in self._found:
                self.seqs += [entry.position.seq for entry in batch]
        return self.seqs

    async def leave(self) -> None:
        await self._found.aclose()


def numbers(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


async def settled(log: Log, closed: int) -> None:
    async def is_closed() -> bool:
        return log.closed >= closed

    await until(is_closed)


async def test_however_many_want_it_it_is_read_once() -> None:
    log = Log()
    pasts = Pasts(log.read)
    readers = [Reader(pasts, 0, 100) for _ in range(50)]
    assert await asyncio.gather(*(each.all() for each in readers)) == [numbers(1, 100)] * 50
    await settled(log, 1)
    assert log.asked == [(0, 100)]


@pytest.mark.parametrize(
    ("after", "asked"),
    [
        pytest.param(0, [(0, 4_000)], id="where it begins"),
        pytest.param(3, [(0, 4_000)], id="in the middle of what was read"),
        pytest.param(NEAR, [(0, 4_000)], id="soon after it"),
        pytest.param(3_000, [(0, 4_000), (3_000, 4_000)], id="far after it"),
    ],
)
async def test_who_comes_later_gets_what_is_being_read_if_it_is_near(after: int, asked: list[tuple[int, int]]) -> None:
    log = Log()
    pasts = Pasts(log.read)
    first, second = Reader(pasts, 0, 4_000), Reader(pasts, after, 4_000)
    await first.take()
    await second.take()
    assert log.asked == asked
    assert await second.all() == numbers(after + 1, 4_000)
    assert await first.all() == numbers(1, 4_000)


async def test_nothing_is_read_that_nobody_waits_for() -> None:
    log = Log()
    reader = Reader(Pasts(log.read), 0, 100)
    await reader.take()
    for _ in range(100):
        await asyncio.sleep(0)
    assert (reader.seqs, log.given) == ([1, 2], 2)
    await reader.leave()
    await settled(log, 1)


async def test_who_is_too_far_behind_the_first_has_it_read_for_them_alone() -> None:
    log = Log()
    pasts = Pasts(log.read)
    first, slow = Reader(pasts, 0, 100), Reader(pasts, 0, 100)
    await first.take()
    await slow.take()
    for _ in range(KEPT):
        await first.take()
    await slow.take()
    assert log.asked == [(0, 100)]
    for _ in range(KEPT + 1):
        await first.take()
    assert await slow.all() == numbers(1, 100)
    assert await first.all() == numbers(1, 100)
    assert log.asked[0] == (0, 100)
    assert len(log.asked) == 2


async def test_who_wants_more_than_is_being_read_has_the_rest_read_after_it() -> None:
    log = Log()
    pasts = Pasts(log.read)
    first, later = Reader(pasts, 0, 10), Reader(pasts, 0, 20)
    await first.take()
    await later.take()
    assert (await first.all(), await later.all()) == (numbers(1, 10), numbers(1, 20))
    assert log.asked == [(0, 10), (10, 20)]


async def test_when_it_cannot_be_read_all_are_told_after_what_there_was() -> None:
    log = Log(fails_after=4)
    pasts = Pasts(log.read)
    readers = [Reader(pasts, 0, 10) for _ in range(3)]
    found = await asyncio.gather(*(each.all() for each in readers), return_exceptions=True)
    assert [type(each) for each in found] == [ArchiveError] * 3
    assert [each.seqs for each in readers] == [[1, 2, 3, 4]] * 3
    assert len(log.asked) == 1


async def test_when_all_have_gone_nothing_is_read_on() -> None:
    log = Log()
    pasts = Pasts(log.read)
    readers = [Reader(pasts, 0, 10) for _ in range(3)]
    for each in readers:
        await each.take()
    for each in readers:
        await each.leave()
    await settled(log, 1)
    assert await Reader(pasts, 0, 10).all() == numbers(1, 10)
    assert len(log.asked) == 2


async def test_that_one_goes_disturbs_no_other() -> None:
    log = Log()
    pasts = Pasts(log.read)
    first, second = Reader(pasts, 0, 10), Reader(pasts, 0, 10)
    await first.take()
    waiting = asyncio.ensure_future(first.take())
    await second.take()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await second.all() == numbers(1, 10)
    assert log.asked == [(0, 10)]
