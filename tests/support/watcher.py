"""A client that watches a job until it was told the end, however often it is cut off."""

import asyncio
from typing import Final

import aiohttp

from event_source import Event, EventSource

AGAIN_SECONDS: Final = 0.1
"""How long it waits before it comes back: a browser waits a few seconds."""


class Watcher:
    """An EventSource: comes back with the last id it has got until it is told that this was all."""

    def __init__(self, url: str, key: str, *, few: int = 5, **headers: str) -> None:
        """`url` is that of the job's events, `key` an API key; `headers` are sent beside it."""
        self.events: list[Event] = []
        self.connections = 0
        """How often it was let in."""
        self.heartbeats = 0
        """Comments, which it hears when there is nothing else."""
        self.few = asyncio.Event()
        """Set once it has `few` lines: there is something to lose."""
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", **headers}
        self._enough = few

    def __str__(self) -> str:
        last = self.events[-1].last_event_id if self.events else "none"
        return f"{len(self.events)} events, last {last}; {self.heartbeats} heartbeats; {self.connections} connections"

    async def watch(self, within: float) -> None:
        """Returns at the end of the stream; raises TimeoutError after so many seconds."""
        last = ""
        async with asyncio.timeout(within), aiohttp.ClientSession(headers=self._headers) as session:
            while not self.is_done():
                source = EventSource(last_event_id=last)
                try:
                    await self._read(session, source)
                except aiohttp.ClientError:
                    await asyncio.sleep(AGAIN_SECONDS)
                last = source.last_event_id

    async def _read(self, session: aiohttp.ClientSession, source: EventSource) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        headers = {"Last-Event-ID": source.last_event_id}
        async with session.get(self._url, headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            self.connections += 1
            async for piece in answer.content.iter_any():
                events, comments = len(source.events), len(source.comments)
                source.read(piece)
                self.events += source.events[events:]
                self.heartbeats += len(source.comments) - comments
                if not self.few.is_set() and len(self.numbers()) >= self._enough:
                    self.few.set()

    def is_done(self) -> bool:
        """Whether the last event is one that ends a stream."""
        return bool(self.events) and self.events[-1].last_event_id.endswith("/end")

    def numbers(self, attempt: int = 1) -> list[int]:
        """The seqs of an attempt's lines that it has got."""
        ids = [event.last_event_id for event in self.events if event.type in {"message", "agentjob"}]
        found = (each.rpartition("/")[2].split("-") for each in ids if not each.endswith("/end"))
        return [int(seq) for number, seq in found if int(number) == attempt]

    def gaps(self) -> list[str]:
        """What it was told of lines that are lost."""
        return [event.data for event in self.events if event.type == "gap"]
