"""Which jobs are to be looked at: now, in the order in which they came up, and later, at a time."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from agentjob_api.names import Key

SLACK: Final = 1_000
"""Times that are no longer wanted and may stay in the heap of alarms."""


class WorkQueue:
    """Keys, first in, first out, each once: what comes up while it is worked on comes again afterwards.

    So no two workers ever hold the same key, and a thousand events about one job are one look at it.
    """

    def __init__(self) -> None:
        self._first: deque[Key] = deque()
        self._waiting: deque[Key] = deque()
        self._queued: set[Key] = set()
        """Keys that wait. One that is not here any more may still be in one of the two above, and is passed over."""
        self._held: set[Key] = set()
        self._again: dict[Key, bool] = {}
        """Keys that came up while they were held, and whether they are to come first."""
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, key: Key, *, first: bool = False) -> None:
        """Asks for a look at a job; `first`: before all that were not asked for in this way."""
        if key in self._held:
            self._again[key] = first or self._again.get(key, False)
        elif first or key not in self._queued:
            self._queued.add(key)
            (self._first if first else self._waiting).append(key)
            self._news.set()

    async def take(self) -> Key:
        """The next key, which the caller holds until `done`."""
        while (key := self._next()) is None:
            self._news.clear()
            await self._news.wait()
        self._queued.remove(key)
        self._held.add(key)
        return key

    def done(self, key: Key) -> None:
        """Gives a key back."""
        self._held.remove(key)
        if (first := self._again.pop(key, None)) is not None:
            self.add(key, first=first)

    def _next(self) -> Key | None:
        for keys in (self._first, self._waiting):
            while keys:
                if (key := keys.popleft()) in self._queued:
                    return key
        return None


class Alarms:
    """Rings for a key at a time: one time for each key, the last one set."""

    def __init__(self, ring: Callable[[Key], None], clock: Callable[[], datetime]) -> None:
        self._ring = ring
        self._clock = clock
        self._times: dict[Key, datetime] = {}
        self._heap: list[tuple[datetime, Key]] = []
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._times)

    def set(self, key: Key, time: datetime | None) -> None:
        """Sets the time for a key in place of an earlier one; None for never."""
        if self._times.get(key) == time:
            return
        if time is None:
            del self._times[key]
            return
        self._times[key] = time
        heapq.heappush(self._heap, (time, key))
        if len(self._heap) > 2 * len(self._times) + SLACK:  # mostly times that were set anew, some a month ahead
            self._heap = [(time, key) for key, time in self._times.items()]
            heapq.heapify(self._heap)
        self._changed.set()

    def ring_due(self) -> datetime | None:
        """Rings what is due; the next time to do so, if there is any."""
        now = self._clock()
        while self._heap:
            time, key = self._heap[0]
            if self._times.get(key) != time:  # set anew since
                heapq.heappop(self._heap)
            elif time > now:
                return time
            else:
                heapq.heappop(self._heap)
                del self._times[key]
                self._ring(key)
        return None

    async def run(self) -> None:
        """Rings for ever."""
        while True:
            due = self.ring_due()
            self._changed.clear()
            seconds = None if due is None else max(0.0, (due - self._clock()).total_seconds())
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue
