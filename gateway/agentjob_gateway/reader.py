"""One client that watches: the body of the answer to its request, from the first event to the last.

aiohttp reads the request and writes the answer's head. From then on the connection is the reader's: aiohttp would keep
some ten KB for each request that is being answered, wake a task for each write, make the head of each chunk anew for
each client, and wait without limit for one that does not read. This is the only file that looks behind it.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from aiohttp import web

from agentjob_gateway import sse
from agentjob_gateway.channel import HEARTBEAT, Channel, Tuning
from agentjob_gateway.follow import Counts
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.sse import Position

RETRY: Final = (2_000, 5_000)
"""Milliseconds before a client that was cut off comes back: between these, so that not all come at once."""
RETRY_ELSEWHERE: Final = (500, 2_000)
"""Milliseconds before a client comes back that is sent to another gateway."""
RETRY_LATER: Final = (10_000, 30_000)
"""And before one that there was no room for. Each time is a request of the key that its ticket was given for."""
LAST_CHUNK: Final = b"0\r\n\r\n"
log = logging.getLogger(__name__)


class StalledError(Exception):
    """The client does not read what is written for it."""


class Streaming(web.StreamResponse):
    """The head of a stream's answer. Its body goes on when aiohttp has long done with it."""

    def __init__(self) -> None:
        super().__init__(headers=sse.HEADERS)
        self.force_close()
        self.reader: Reader | None = None
        """Who writes the body; None where the client was gone before that."""

    def taken(self, request: web.Request) -> asyncio.Transport | None:
        """The connection, once the head is written: for us alone from now on. None when the client is gone.

        aiohttp is told that it is lost, and lets go of all that it keeps for it.
        """
        transport, protocol = request.transport, request.protocol
        if transport is not None:
            protocol.transport = None
            protocol.connection_lost(None)
        return transport

    def when_over(self, do: Callable[[], None]) -> None:
        """Does something once the body has ended, however it does."""
        if self.reader is None:
            do()
        else:
            self.reader.when_over(do)

    async def write_eof(self, data: bytes = b"") -> None:
        """Does nothing: the body has not ended."""


def elsewhere(job: str, position: Position) -> web.Response:
    """The answer to a client that is to watch a job at another gateway: a stream that says which, and is over.

    Anything but 200, and an EventSource would not come back at all.
    """
    return _over(sse.mark(job, position), RETRY_ELSEWHERE)


def later(where: bytes) -> web.Response:
    """The same for one that cannot watch now. `where`: the mark of where it is, if it has a job already."""
    return _over(where, RETRY_LATER)


def _over(where: bytes, retry: tuple[int, int]) -> web.Response:
    response = web.Response(body=where + sse.retry(_between(retry)), headers=sse.HEADERS)
    response.force_close()
    return response


class Reader(asyncio.Protocol):
    """Writes a job's stream to one client: straight to its connection while it keeps up, at its own pace otherwise.

    While it keeps up there is no task: the channel writes.
    """

    # There may be very many, and most of them idle.
    __slots__ = (
        "_at_end",
        "_channel",
        "_counts",
        "_drained_again",
        "_is_chunked",
        "_is_leaving",
        "_is_paused",
        "_is_silent",
        "_is_woken",
        "_task",
        "_transport",
        "_tuning",
        "behind_since",
        "position",
        "state",
    )

    def __init__(self, channel: Channel, after: Position, counts: Counts, tuning: Tuning) -> None:
        self.position = after
        """How far the client has the lines."""
        self.state = b""
        """The last state it was told."""
        self.behind_since: float | None = None
        """Since when it has not got all there is, on the event loop's clock."""
        self._channel = channel
        self._counts = counts
        self._tuning = tuning
        self._at_end: tuple[Callable[[], None], ...] | None = ()
        """What is done at the end; None once it was."""
        self._task: asyncio.Task[None] | None = None
        """Writes what the channel does not."""
        self._drained_again: asyncio.Future[None] | None = None
        self._is_leaving = self._is_paused = self._is_silent = self._is_woken = False

    def begin(self, transport: asyncio.Transport, *, is_chunked: bool) -> None:
        """Writes from now on. `is_chunked`: HTTP/1.1 is spoken; a body of HTTP/1.0 goes to the connection's end."""
        self._transport = transport
        self._is_chunked = is_chunked
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=self._tuning.buffer_bytes)
        if transport.is_closing():
            self.connection_lost(None)
            return
        if not transport.is_reading():
            transport.resume_reading()  # or it would never be heard that the client goes
        self._write(sse.chunked(sse.mark(self._channel.job, self.position)))
        self._write(_retry(RETRY))
        self._tell_state()
        self._start()

    def when_over(self, do: Callable[[], None]) -> None:
        """Does something once nothing more is written."""
        if self._at_end is None:
            do()
        else:
            self._at_end = (*self._at_end, do)

    def _start(self) -> None:
        self._task = asyncio.create_task(self._work())
        self._task.add_done_callback(self._worked)

    async def _work(self) -> None:
        """Writes until the channel can do it alone, or the stream is over."""
        try:
            await self._write_all()
        except ConnectionError:
            pass  # `connection_lost` is about to be called
        except StalledError:
            self._counts.dropped += 1
            self._transport.abort()
        finally:
            self._task = None  # at once: it may be woken before its end has gone round

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Writing a stream", exc_info=error)
            self._transport.abort()

    async def _write_all(self) -> None:
        try:
            self._channel.detach(self)
            while not await self._catch_up():
                self._is_woken = False
                self._channel.attach(self)
                if not self._is_woken:
                    return
                self._channel.detach(self)
        except ArchiveError as error:
            # Without a closing event: the client comes back, and goes on where it was.
            log.warning("A stream is broken off: %s", error)
        await self._end()

    async def _catch_up(self) -> bool:
        """Writes what the client has not got yet. True when that was the end."""
        self.behind_since = asyncio.get_running_loop().time()
        await self._drained()
        async with aclosing(self._channel.told(self.position)) as batches:
            async for batch in batches:
                if self._is_leaving:
                    break
                self._write(b"".join([entry.chunk for entry in batch]))
                self.position = batch[-1].position
                await self._drained()
        if self._is_leaving:
            self._write(_retry(RETRY_ELSEWHERE))
            return True
        self._tell_state()
        self.behind_since = None
        if self._channel.closing is not None:
            self._write(self._channel.closing)
        return self._channel.closing is not None

    def deliver(self, chunks: bytes) -> bool:
        """Writes; false when so much is not yet read that the client is to be waited for."""
        if not self._transport.is_closing():  # uvloop raises then; `connection_lost` is about to be called
            self._transport.write(chunks if self._is_chunked else sse.unchunked(chunks))
        return not self._is_paused

    def beat(self) -> None:
        """Called now and then: a client that waits for what is past hears something, too."""
        if self.behind_since is not None and self._is_silent and not self._is_paused:
            self.deliver(HEARTBEAT)
        self._is_silent = True

    def wake(self) -> None:
        """Lets it look at the channel by itself."""
        self._is_woken = True
        if self._task is None and self._at_end is not None:
            self._start()

    def leave(self) -> None:
        """Ends the stream, and sends the client elsewhere."""
        self._is_leaving = True
        self.wake()

    def abort(self) -> None:
        """Hangs up."""
        self._transport.abort()

    def _write(self, chunks: bytes) -> None:
        self._is_silent = False
        self._counts.bytes += len(chunks)
        self.deliver(chunks)

    def _tell_state(self) -> None:
        if self._channel.state != self.state:
            self.state = self._channel.state
            self._write(self.state)

    async def _drained(self) -> None:
        """Returns when the client has read most of what was written for it.

        Raises:
            StalledError: it has not, for a long time.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if not self._is_paused:
            return
        self._drained_again = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._tuning.drain):
                await self._drained_again
        except TimeoutError:
            raise StalledError from None
        finally:
            self._drained_again = None

    async def _end(self) -> None:
        """Writes the end of the body, and hangs up once the client has read it."""
        if self._is_chunked and not self._transport.is_closing():
            self._transport.write(LAST_CHUNK)
        self._transport.close()
        await asyncio.sleep(self._tuning.drain)  # `connection_lost` ends it
        raise StalledError

    # What the connection calls

    def pause_writing(self) -> None:
        """The client does not read so fast."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """It has read most of it."""
        self._is_paused = False
        if self._drained_again is not None and not self._drained_again.done():
            self._drained_again.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        """The client is gone, or we have hung up."""
        self._channel.detach(self)
        self.behind_since = None
        if self._task is not None:
            self._task.cancel()
        ends, self._at_end = self._at_end or (), None
        for do in ends:
            do()


def _retry(between: tuple[int, int]) -> bytes:
    return sse.chunked(sse.retry(_between(between)))


def _between(ends: tuple[int, int]) -> int:
    return random.randint(*ends)  # noqa: S311 - no secret
