"""One client's writer against a connection and a channel of the test's: when it works, waits, and ends."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from agentjob_gateway.channel import TUNING, Channel
from agentjob_gateway.follow import Counts
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.reader import LAST_CHUNK, RETRY, Reader
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import START, Position
from operated import until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINE, STATE, CLOSING = b"[line]", b"[state]", b"[end]"
QUICK = TUNING._replace(drain=0.02)


class Connection(asyncio.Transport):
    """Tells its protocol that it is lost, once it is closed, as an event loop does."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.was_aborted = False
        self.is_stuck = False
        """Whether the client reads nothing any more."""
        self._protocol: asyncio.BaseProtocol | None = None
        self._is_closing = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self._is_closing = True
        if not self.is_stuck:
            self.lose()

    def abort(self) -> None:
        self.was_aborted = self._is_closing = True
        self.lose()

    def lose(self) -> None:
        self._is_closing = True
        assert isinstance(self._protocol, asyncio.Protocol)
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Script:
    """A channel whose reader is let do, when it has all there is, what the test says."""

    job = "fix"
    state = STATE

    def __init__(self, *steps: Callable[[Reader], None], fails: bool = False) -> None:
        self.closing: bytes | None = None
        self.attached: list[Reader] = []
        self.lines: list[Entry] = []
        self._steps = list(steps)
        self._fails = fails

    async def told(self, after: Position) -> AsyncGenerator[Sequence[Entry], None]:
        if self._fails:
            raise ArchiveError("no answer")
        found = [entry for entry in self.lines if entry.position > after]
        if found:
            yield found

    def attach(self, reader: Reader) -> None:
        self.attached.append(reader)
        if self._steps:
            self._steps.pop(0)(reader)

    def detach(self, reader: Reader) -> None:
        if reader in self.attached:
            self.attached.remove(reader)

    def say(self, seq: int) -> None:
        self.lines.append(Entry(Position(1, seq), seq, NOON, False, LINE))


class Place:
    def __init__(self, channel: Script) -> None:
        self.channel = channel
        self.connection = Connection()
        self.counts = Counts()
        self.reader = Reader(cast("Channel", channel), START, self.counts, QUICK)
        self.ended = 0
        self.reader.when_over(self._over)

    def _over(self) -> None:
        self.ended += 1

    def begin(self) -> None:
        self.reader.begin(self.connection, is_chunked=True)

    async def until_end(self) -> None:
        async def is_over() -> bool:
            return self.ended > 0

        await until(is_over)

    def body(self) -> bytes:
        """What was written after the first state."""
        return self.connection.written.partition(STATE)[2]


def soon(do: Callable[[Reader], None]) -> Callable[[Reader], None]:
    """In the moment after: the reader has nothing to do then, and its task has not yet been told to have ended."""

    def later(reader: Reader) -> None:
        asyncio.get_running_loop().call_soon(do, reader)

    return later


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda do: do, id="while it is attached"),
        pytest.param(soon, id="in the moment after"),
        pytest.param(lambda do: soon(soon(do)), id="a moment later"),
    ],
)
async def test_it_looks_at_the_channel_whenever_it_is_woken(
    when: Callable[[Callable[[Reader], None]], Callable[[Reader], None]],
) -> None:
    channel = Script()

    def end(reader: Reader) -> None:
        channel.say(1)
        channel.closing = CLOSING
        reader.wake()

    channel._steps = [when(end)]
    place = Place(channel)
    place.begin()
    await place.until_end()
    assert place.body() == LINE + CLOSING + LAST_CHUNK
    assert (place.ended, place.counts.dropped, channel.attached) == (1, 0, [])


async def test_when_the_archive_does_not_answer_the_body_ends_without_a_closing_event() -> None:
    place = Place(Script(fails=True))
    place.begin()
    await place.until_end()
    assert place.body() == LAST_CHUNK


async def test_a_client_that_goes_ends_it_wherever_it_is() -> None:
    place = Place(Script())
    place.begin()
    place.reader.pause_writing()
    place.connection.lose()
    await place.until_end()
    place.reader.wake()
    await asyncio.sleep(0)
    assert (place.ended, place.channel.attached, place.counts.dropped) == (1, [], 0)


async def test_a_client_that_was_gone_before_it_began_ends_it_at_once() -> None:
    place = Place(Script())
    place.connection._is_closing = True
    place.begin()
    assert place.ended == 1
    place.reader.connection_lost(None)
    assert place.ended == 1


@pytest.mark.parametrize("at_the_end", [False, True], ids=["in the middle", "at the end"])
async def test_a_client_that_does_not_read_is_hung_up_on(at_the_end: bool) -> None:
    channel = Script()
    place = Place(channel)
    if at_the_end:
        channel.closing = CLOSING
        place.connection.is_stuck = True
    place.begin()
    if not at_the_end:
        place.reader.pause_writing()
    await place.until_end()
    assert (place.connection.was_aborted, place.counts.dropped) == (True, 1)


async def test_what_is_to_be_done_at_the_end_is_done_at_once_when_it_was() -> None:
    channel = Script()
    channel.closing = CLOSING
    place = Place(channel)
    place.begin()
    await place.until_end()
    place.reader.when_over(place._over)
    assert place.ended == 2


async def test_clients_that_are_cut_off_together_do_not_come_back_together() -> None:
    places = [Place(Script()) for _ in range(50)]
    for place in places:
        place.begin()
    told = [int(found[1]) for place in places if (found := re.search(rb"retry: ([0-9]+)\n", place.connection.written))]
    assert len(told) == 50
    assert RETRY[0] <= min(told) < max(told) <= RETRY[1]
    for place in places:
        place.connection.lose()
        await place.until_end()
