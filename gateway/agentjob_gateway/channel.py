"""One job's stream in this process: read from the cluster once, and handed to everybody who watches."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple, NoReturn, Protocol

from agentjob_api.lines import Line
from agentjob_gateway import sse, standing
from agentjob_gateway.elsewhere import Elsewhere
from agentjob_gateway.entries import clipped, entry_of
from agentjob_gateway.follow import LOOK_SECONDS, PACE, Counts, Follower, Pace
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.keeper import MOST
from agentjob_gateway.known import Known
from agentjob_gateway.past import Pasts, batched
from agentjob_gateway.reading import Gap
from agentjob_gateway.ring import MAX_BYTES, MAX_ENTRIES, Entry, Ring
from agentjob_gateway.sse import Position
from agentjob_kube.client import Client

FOR_CLIENTS: Final = 500
"""Jobs that can be watched beside all that the archive follows."""
FIRST: Final = Position(1, 0)
"""Before the first line of the first attempt."""
HEARTBEAT: Final = sse.chunked(sse.HEARTBEAT)
BROKEN: Final = sse.chunked(sse.retry(2_000))
"""What ends a stream that has broken, by a defect of ours or of the archive: whoever watches comes back to another."""
log = logging.getLogger(__name__)


class Tuning(NamedTuple):
    """What a stream may take: bytes, entries and seconds."""

    channels: int = 2 * MOST + FOR_CLIENTS
    """Jobs that are followed at once, for clients and for the archive: of that our own, and those we stand by for."""
    ring_bytes: int = MAX_BYTES
    rings_bytes: int = 16 * MAX_BYTES
    """Of all while they are few; of each that comes when there are many, the less: all keep 410 MiB at most."""
    ring_entries: int = MAX_ENTRIES
    linger: float = 10.0
    """How long a job's stream is kept when nobody watches: who was cut off comes back."""
    heartbeat: float = 15.0
    """How long a client hears nothing at most."""
    drain: float = 30.0
    """How long a client may take to read what was written for it."""
    leave: float = 5.0
    """How long all may take to go when they are sent elsewhere."""
    buffer_bytes: int = 256 * 1024
    """What is written for a client beyond what it has read, before it is waited for."""
    elsewhere: float = 13.0
    """How long lines that are lost here are waited for: another replica may have them, and writes what it has within
    10 s of usual ones and one more for the store (see second.py). The last second is for the last look."""
    is_alone: Callable[[], bool] = lambda: False
    """Whether there is no other replica."""
    pace: Pace = PACE


TUNING: Final = Tuning()


class Reader(Protocol):
    """A client that is up to date: what comes is written for it at once."""

    position: Position
    """How far it has the lines."""
    state: bytes
    """The last state it was told."""

    def deliver(self, chunks: bytes) -> bool:
        """Writes; false when it cannot keep up, and is to be left alone."""
        ...

    def wake(self) -> None:
        """Lets it look at the channel by itself: it fell behind, or this is the end."""
        ...


class Channel:
    """Reads on until it is ended, or the job's last line is there. Everything happens in one event loop."""

    def __init__(self, client: Client, known: Known, start: int, counts: Counts, tuning: Tuning = TUNING) -> None:
        """`start` is the attempt from which on the job is followed."""
        self.job = known.key.name
        """Its name."""
        self.users = 0
        """How many watch."""
        self.closing: bytes | None = None
        """The last chunk, once every line is there."""
        self.ring = Ring(Position(start, 0), tuning.ring_bytes, tuning.ring_entries)
        self._known = known
        self._counts = counts
        self._live: set[Reader] = set()
        self._ahead: set[Reader] = set()
        """Readers that have more than the ring: what comes first is nothing new to them."""
        self._is_silent = False
        self._since = datetime.now(UTC)
        self._news = asyncio.Event()
        self._standing, self.state = standing.state(known.job)
        self._follower: Final = partial(Follower, client, known, counts, tuning.pace)
        self._pasts = Pasts(self._past)
        self._elsewhere = Elsewhere(known, tuning.pace, tuning.elsewhere, tuning.is_alone)
        self._tasks = [asyncio.create_task(self._follow(start)), asyncio.create_task(self._watch())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def end(self) -> None:
        """Lets go of the cluster."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Ends it, and returns when nothing is left of it."""
        self.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tell_news()

    async def _follow(self, start: int) -> bytes:
        """Takes everything up to the job's end; the last chunk."""
        last = await self._known.last(start)
        if last is not None:
            self._begin(Position(start, last.seq))
        follower = self._follower()
        async with aclosing(follower.items(start, last)) as items:
            async for found in items:
                if isinstance(found, Gap):
                    self._leave_out(found, follower.missed_at)
                else:
                    await self._publish(found)
        self._look()
        return standing.closing(self._known)

    def _begin(self, position: Position) -> None:
        """Begins behind a position. What comes before it is past; whoever waits for it looks there."""
        with self._apart({*self._live, *self._ahead}):
            self.ring.begin(position)
        self._tell_news()

    @contextmanager
    def _apart(self, readers: set[Reader]) -> Iterator[None]:
        """Lets readers look by themselves for what the block puts into the ring."""
        for reader in readers:
            self.detach(reader)
        yield
        for reader in readers:
            reader.wake()

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        """Lets everybody go, whichever task was the first to end, and however it did."""
        if task.cancelled():
            return
        if isinstance(error := task.exception(), ArchiveError):
            log.warning("Following a job: %s", error, extra=self._known.facts)
        elif error is not None:
            log.error("Following a job", exc_info=error, extra=self._known.facts)
        self.closing = self.closing or (BROKEN if error is not None else task.result())
        self.end()
        self._tell_news()
        for reader in (*self._live, *self._ahead):
            reader.wake()

    async def _watch(self) -> NoReturn:
        while True:
            await self._known.change(LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        """Tells everybody when the job's phase has changed, or the reason."""
        stands, state = standing.state(self._known.job)
        if stands == self._standing:
            return
        self._standing, self.state = stands, state
        for reader in (*self._live, *self._ahead):
            reader.state = state
        self._hand_out(state)

    async def _publish(self, lines: Sequence[Line]) -> None:
        """Takes the next lines, and hands them out together at once, or in portions that the ring can keep.

        Whoever reads from there, as the archive does, has its turn after each: who is up to date stays so.
        """
        first, *others = self.ring.portions([entry_of(self.job, line) for line in lines])
        self._put(first)
        for portion in others:
            await asyncio.sleep(0)
            self._put(portion)

    def _put(self, entries: Sequence[Entry]) -> None:
        came = datetime.now(UTC)
        for entry in entries:
            self.ring.append(entry)
        self._hand_out(b"".join([entry.chunk for entry in entries]), self._live)
        self._counts.lines += len(entries)
        said = entries[-1].time
        if said is not None and said >= self._since:  # what was said before cannot be late
            self._counts.lag.came(said, came)
        self._advanced()

    def _leave_out(self, gap: Gap, since: float) -> None:
        """Takes lines that are lost as the next ones. Whoever watches waits for them (see elsewhere.py).

        `since`: when they were found to be missing, on the pace's clock.
        """
        entry = entry_of(self.job, gap)
        self._counts.gaps += 1
        self._elsewhere.miss(entry.position, since)
        with self._apart(set(self._live)):
            self.ring.append(entry)
        self._advanced()

    def _advanced(self) -> None:
        """Tells of what is in the ring those that nothing is handed out to."""
        for reader in [each for each in self._ahead if each.position <= self.ring.last]:
            self._ahead.discard(reader)
            reader.wake()
        self._tell_news()

    def beat(self) -> None:
        """Called now and then: lets those hear something who have heard nothing since the last time."""
        if self._is_silent:
            self._hand_out(HEARTBEAT)
        self._is_silent = True

    def _hand_out(self, chunks: bytes, readers: set[Reader] | None = None) -> None:
        """Writes for these readers, or for all that wait."""
        listening = tuple(readers if readers is not None else self._live | self._ahead)
        self._is_silent = False
        self._counts.bytes += len(chunks) * len(listening)
        for reader in [each for each in listening if not each.deliver(chunks)]:
            self.detach(reader)
            reader.wake()

    def attach(self, reader: Reader) -> None:
        """From now on a reader that has everything gets what comes."""
        (self._live if reader.position <= self.ring.last else self._ahead).add(reader)
        if self.closing is not None:
            reader.wake()

    def detach(self, reader: Reader) -> None:
        """From now on it gets nothing; its position tells how far it came."""
        if reader in self._live:
            self._live.discard(reader)
            reader.position = self.ring.last
        self._ahead.discard(reader)

    async def missed(self, after: Position, settled: Position = FIRST) -> AsyncGenerator[Sequence[Entry], None]:
        """What there is after a position, until there is no more; from history and log what the ring no longer has.

        `settled`: of what comes up to here, only what is in the ring is wanted.

        Raises:
            ArchiveError: the history cannot be read at the moment.
        """
        after = max(after, FIRST)
        while (found := self.ring.after(after)) != []:
            until = self.ring.floor
            if found is None and after < min(settled, until):
                after = min(settled, until)
            elif found is None:
                async with aclosing(self._pasts.between(after, until)) as batches:
                    async for batch in batches:
                        batch[0] = clipped(self.job, batch[0], after)
                        yield batch
                        after = batch[-1].position
                after = until
            else:
                found[0] = clipped(self.job, found[0], after)
                yield found
                after = found[-1].position

    async def told(self, after: Position) -> AsyncGenerator[Sequence[Entry], None]:
        """As `missed`, for clients: a gap is told once it is known that no other replica has kept its lines, either."""
        async with aclosing(self.missed(after)) as batches:
            async for batch in batches:
                async with aclosing(self._elsewhere.filled(batch)) as filled:
                    async for each in filled:
                        yield each

    def _past(self, after: Position, until: Position) -> AsyncGenerator[Sequence[Entry], None]:
        return batched(self.job, self._follower().past(after, until))

    async def news(self) -> None:
        """Returns when there is more, or this is the end."""
        if self.closing is None:
            await self._news.wait()

    def _tell_news(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
