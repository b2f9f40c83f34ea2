"""All that is watched in this process, each job through one channel however many watch it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any, Final

from aiohttp import web

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.cache import JobCache, key_of
from agentjob_gateway.channel import BROKEN, TUNING, Channel, Tuning
from agentjob_gateway.entries import item_of
from agentjob_gateway.errors import RETRY_SECONDS, Unavailable
from agentjob_gateway.follow import Counts
from agentjob_gateway.history import ArchiveError, History
from agentjob_gateway.known import Known
from agentjob_gateway.reader import Reader, Streaming, elsewhere
from agentjob_gateway.reading import Gap
from agentjob_gateway.ring import Entry
from agentjob_gateway.sse import END, OPEN, START, Position
from agentjob_kube.client import Client

Object = dict[str, Any]

LEAST_RING_BYTES: Final = 128 * 1024
"""Of each stream so much is kept at hand, however many there are."""
_GOING: Final = "the stream is broken off here; ask again"


class Hub:
    """Streams of jobs. Used from one event loop."""

    def __init__(
        self, client: Client, cache: JobCache, tuning: Tuning = TUNING, history: History | None = None
    ) -> None:
        """`history` has lines that are no longer in the cluster."""
        self.counts = Counts()
        self._history = history
        self._client = client
        self._cache = cache
        self._tuning = tuning
        self._channels: dict[str, Channel] = {}
        """By uid of the job."""
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        """Until when channels are kept that nobody watches, by uid of the job."""
        self._readers: set[Reader] = set()
        self._kept = 0
        """Places that are kept for jobs which are being made."""
        self._is_closing = False
        self._empty = asyncio.Event()

    async def run(self) -> None:
        """Sends heartbeats for ever."""
        while True:
            await asyncio.sleep(self._tuning.heartbeat / 2)
            self.beat()

    def beat(self) -> None:
        """Lets every client hear something that has heard nothing since the beat before."""
        for channel in self._channels.values():
            channel.beat()
        for reader in self._readers:
            reader.beat()

    def lag_seconds(self) -> float:
        """For how long the client that is behind the longest has been so; 0 when all have what there is."""
        now = asyncio.get_running_loop().time()
        return max((now - each.behind_since for each in self._readers if each.behind_since is not None), default=0.0)

    async def lines(
        self, key: Key, uid: str, after: Position, settled: Position = START
    ) -> AsyncGenerator[Line | Gap, None]:
        """Every line of a job after a position, in order, across attempts, as it comes, and gaps where lines are lost.

        `settled`: of what comes up to here, only what is at hand in this process is given, and no gaps.

        Ends when the job has ended, or is gone, and its last line was given.

        Raises:
            Unavailable: too many jobs are watched here, lines cannot be had now, or this gateway is about to stop.
        """
        channel = self._join(key, uid, after)
        try:
            while True:
                async with aclosing(_missed(channel, after, settled)) as batches:
                    async for batch in batches:
                        for entry in batch:
                            yield item_of(entry)
                        after = batch[-1].position
                if self._is_closing or channel.closing is BROKEN:
                    raise Unavailable(_GOING, retry_after=RETRY_SECONDS)
                if channel.closing is not None:
                    return
                await channel.news()
        finally:
            self._leave(uid, channel)

    async def follow(self, key: Key, uid: str) -> None:
        """Keeps the latest lines of a job at hand, until it has ended or is gone, for whoever asks for them next.

        Raises:
            Unavailable: as of `lines`.
        """
        channel = self._join(key, uid, Position(OPEN, 0))
        try:
            while channel.closing is None and not self._is_closing:
                await channel.news()
            if channel.closing is BROKEN:
                raise Unavailable(_GOING, retry_after=RETRY_SECONDS)
        finally:
            self._leave(uid, channel)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts an answer that another door holds open as a stream while the block runs."""
        self.counts.streams += 1
        try:
            yield
        finally:
            self.counts.streams -= 1

    @contextmanager
    def room(self) -> Iterator[None]:
        """Keeps a place while the block makes a job, for whoever watches it as soon as the block is left.

        Raises:
            Unavailable: there is none, or this gateway is about to stop: the job is then not made.
        """
        self._check_open()
        self._make_room()
        self._kept += 1
        try:
            yield
        finally:
            self._kept -= 1

    async def stream(self, request: web.Request, job: Object, after: Position) -> web.StreamResponse:
        """The answer to a request for a job's events after a position: server-sent events, which go on by themselves.

        A client that has all of it gets 204, which keeps an EventSource from asking again. One that comes while this
        gateway is about to stop is sent elsewhere: its job may just have been made, and an error would not name it.

        Raises:
            Unavailable: too many jobs are watched here.
        """
        if after == END:
            return web.Response(status=204)
        if self._is_closing:
            return elsewhere(job["metadata"]["name"], after)
        response, uid = Streaming(), job["metadata"]["uid"]
        channel = self._join(key_of(job), uid, after)
        try:
            await response.prepare(request)
            if (transport := response.taken(request)) is not None:
                response.reader = Reader(channel, after, self.counts, self._tuning)
                self._begin(response.reader, uid, channel)
                response.reader.begin(transport, is_chunked=response.headers.get("Transfer-Encoding") == "chunked")
        except ConnectionError:
            pass  # the client was gone before it had the head of the answer
        finally:
            if response.reader is None:
                self._leave(uid, channel)
        return response

    def _begin(self, reader: Reader, uid: str, channel: Channel) -> None:
        self._readers.add(reader)
        self.counts.streams += 1
        reader.when_over(partial(self._over, reader, uid, channel))

    def _over(self, reader: Reader, uid: str, channel: Channel) -> None:
        self.counts.streams -= 1
        self._readers.discard(reader)
        if not self._readers:
            self._empty.set()
        self._leave(uid, channel)

    async def shutdown(self) -> None:
        """Sends everybody elsewhere, and ends what is left. Nobody is let in any more."""
        self._is_closing = True
        for reader in tuple(self._readers):
            reader.leave()
        if self._readers:
            self._empty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tuning.leave):
                    await self._empty.wait()
        for reader in tuple(self._readers):
            reader.abort()
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        channels = tuple(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.close()

    def _join(self, key: Key, uid: str, after: Position) -> Channel:
        """The channel of a job, which is there until `_leave`, and a while longer."""
        channel = self._channel(key, uid, after)
        channel.users += 1
        return channel

    def _leave(self, uid: str, channel: Channel) -> None:
        channel.users -= 1
        if not channel.users and self._channels.get(uid) is channel:
            loop = asyncio.get_running_loop()
            self._lingering[uid] = loop.call_later(self._tuning.linger, self._expire, uid)

    def _channel(self, key: Key, uid: str, after: Position) -> Channel:
        self._check_open()
        found = self._channels.get(uid)
        if (timer := self._lingering.pop(uid, None)) is not None:
            timer.cancel()
        if found is not None and found.closing is not BROKEN:
            return found
        if found is None:
            self._make_room()
        known = Known(self._cache, key, uid, self._history)
        # Not beyond what there is: the position may be anything that a client has sent.
        start = max(1, min(after.attempt, known.attempts))
        made = Channel(self._client, known, start, self.counts, self._share())
        self._channels[uid] = made
        return made

    def _check_open(self) -> None:
        if self._is_closing:
            raise Unavailable(_GOING, retry_after=RETRY_SECONDS)

    def _share(self) -> Tuning:
        """What one more stream may take: the more there are, the less of each is kept at hand."""
        share = max(LEAST_RING_BYTES, self._tuning.rings_bytes // (len(self._channels) + 1))
        return self._tuning._replace(ring_bytes=min(self._tuning.ring_bytes, share))

    def _make_room(self) -> None:
        """Lets go of a channel that nobody watches, if there are too many."""
        if len(self._channels) + self._kept < self._tuning.channels:
            return
        if not self._lingering:
            why = f"{len(self._channels) + self._kept} jobs are watched here at the moment, and no more can be"
            raise Unavailable(why, retry_after=RETRY_SECONDS)
        uid = next(iter(self._lingering))
        self._lingering[uid].cancel()
        self._expire(uid)

    def _expire(self, uid: str) -> None:
        del self._lingering[uid]
        self._channels.pop(uid).end()


async def _missed(channel: Channel, after: Position, settled: Position) -> AsyncGenerator[Sequence[Entry], None]:
    """What a channel has after a position; that the archive does not answer, in the words of the doors."""
    try:
        async with aclosing(channel.missed(after, settled)) as batches:
            async for batch in batches:
                yield batch
    except ArchiveError as error:
        raise Unavailable(_GOING, retry_after=RETRY_SECONDS) from error
