"""One client that watches: the answer to its request, from the first event to the last.

This is the only file that looks behind aiohttp's `StreamResponse.write`, which wakes a task for each write, makes the
head of each chunk anew for each client, and waits without limit for one that does not read.
"""

import asyncio
import logging
import random
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
log = logging.getLogger(__name__)


class StalledError(Exception):
    """The client does not read what is written for it."""


class Reader:
    """Writes a job's stream to one client: straight to its connection while it keeps up, at its own pace otherwise."""

    # There may be very many, and most of them idle.
    __slots__ = (
        "_counts",
        "_is_chunked",
        "_is_leaving",
        "_is_silent",
        "_protocol",
        "_response",
        "_transport",
        "_tuning",
        "_woken",
        "_writer",
        "behind_since",
        "position",
        "state",
    )

    def __init__(
        self, request: web.Request, response: web.StreamResponse, after: Position, counts: Counts, tuning: Tuning
    ) -> None:
        """The response is prepared, and nothing of its body written."""
        assert request.transport is not None, "the connection was there when the response was prepared"
        self.position = after
        """How far the client has the lines."""
        self.state = b""
        """The last state it was told."""
        self.behind_since: float | None = None
        """Since when it has not got all there is, on the event loop's clock."""
        self._counts = counts
        self._tuning = tuning
        self._transport = request.transport
        self._response = response
        self._protocol = request.protocol
        self._writer = request.writer
        self._is_chunked = response.headers.get("Transfer-Encoding") == "chunked"
        """Whether HTTP/1.1 is spoken: a body of HTTP/1.0 goes to the connection's end."""
        self._is_leaving = False
        self._is_silent = False
        self._woken: asyncio.Future[None] | None = None

    async def run(self, channel: Channel) -> None:
        """Writes until the job's stream is over, the client has gone, or it is told to leave."""
        self._transport.set_write_buffer_limits(high=self._tuning.buffer_bytes)
        try:
            async with asyncio.timeout(None) as connected:
                self._transport.set_protocol(_Tap(self._protocol, connected))
                try:
                    await self._write_all(channel)
                finally:
                    self._transport.set_protocol(self._protocol)
        except (ConnectionError, TimeoutError):
            pass  # the client is gone; a TimeoutError is how `connected` ends
        except StalledError:
            self._counts.dropped += 1
            self._transport.abort()

    async def _write_all(self, channel: Channel) -> None:
        if self.position != sse.START:
            self._write(sse.chunked(sse.mark(channel.job, self.position)))
        self._write(_retry(RETRY))
        self._tell_state(channel)
        try:
            while not await self._catch_up(channel):
                await self._listen(channel)
        except ArchiveError as error:
            # Without a closing event: the client comes back, and goes on where it was.
            log.warning("A stream is broken off: %s", error)
        await self._end()

    async def _catch_up(self, channel: Channel) -> bool:
        """Writes what the client has not got yet. True when that was the end."""
        self.behind_since = asyncio.get_running_loop().time()
        await self._drained()
        async with aclosing(channel.missed(self.position)) as batches:
            async for batch in batches:
                if self._is_leaving:
                    break
                self._write(b"".join([entry.chunk for entry in batch]))
                self.position = batch[-1].position
                await self._drained()
        if self._is_leaving:
            self._write(_retry(RETRY_ELSEWHERE))
            return True
        self._tell_state(channel)
        self.behind_since = None
        if channel.closing is not None:
            self._write(channel.closing)
        return channel.closing is not None

    async def _listen(self, channel: Channel) -> None:
        """Lets the channel write, until it wakes us."""
        self._woken = asyncio.get_running_loop().create_future()
        channel.attach(self)
        try:
            await self._woken
        finally:
            channel.detach(self)

    def deliver(self, chunks: bytes) -> bool:
        """Writes; false when so much is not yet read that the client is to be waited for."""
        if not self._transport.is_closing():  # uvloop raises then; `run` is about to hear of it
            # Past the response's writer, which then knows nothing of these bytes: all it would do is to count them.
            self._transport.write(chunks if self._is_chunked else sse.unchunked(chunks))
        return not self._protocol.writing_paused

    def beat(self) -> None:
        """Called now and then: a client that waits for what is past hears something, too."""
        if self.behind_since is not None and self._is_silent and not self._protocol.writing_paused:
            self.deliver(HEARTBEAT)
        self._is_silent = True

    def wake(self) -> None:
        """Ends `_listen`."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def leave(self) -> None:
        """Ends the stream, and sends the client elsewhere."""
        self._is_leaving = True
        self._response.force_close()
        self.wake()

    def _write(self, chunks: bytes) -> None:
        self._is_silent = False
        self._counts.bytes += len(chunks)
        self.deliver(chunks)

    def _tell_state(self, channel: Channel) -> None:
        if channel.state != self.state:
            self.state = channel.state
            self._write(channel.state)

    async def _drained(self) -> None:
        """Returns when the client has read most of what was written for it.

        Raises:
            StalledError: it has not, for a long time.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if not self._protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(self._tuning.drain):
                await self._writer.drain()
        except TimeoutError:
            raise StalledError from None

    async def _end(self) -> None:
        """Writes the end of the body."""
        try:
            async with asyncio.timeout(self._tuning.drain):
                await self._writer.write_eof()
        except TimeoutError:
            raise StalledError from None


def _retry(between: tuple[int, int]) -> bytes:
    return sse.chunked(sse.retry(random.randint(*between)))  # noqa: S311 - no secret


class _Tap(asyncio.Protocol):
    """Stands between a connection and aiohttp, which does not tell a handler that its client goes; passes all on."""

    __slots__ = ("_connected", "_inner")

    def __init__(self, inner: asyncio.Protocol, connected: asyncio.Timeout) -> None:
        self._inner = inner
        self._connected = connected

    def connection_lost(self, exc: Exception | None) -> None:
        self._connected.reschedule(0)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
