"""Which jobs are to be looked at: now, those of each lane in the order in which they came up, and later, at a time."""

import asyncio
import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Container
from datetime import datetime
from enum import StrEnum
from typing import Final

from agentjob_api.names import Key

SLACK: Final = 1_000
"""Times that are no longer wanted and may stay in the heap of alarms."""
LOOK_SECONDS: Final = 10.0
"""From one look at the clock to the next, at most. It is not the one by which the process waits: it may be set forward,
and goes on while the machine is suspended."""


class Lane(StrEnum):
    """What is known of a look before it is taken, and so how long it may take. In the order of service."""

    AGAIN = "again"
    """The one before has failed, or it is a start in a namespace where the last one has."""
    START = "start"
    """The job has a slot and is to get its Pod: that takes as long as admission webhooks do."""
    OTHER = "other"
    """Anything else."""


class WorkQueue:
    """Keys, each once: what comes up while it is worked on comes again afterwards.

    So no two workers ever hold the same key, and a thousand events about one job are one look at it.

    Of the workers, a quarter at most is at looks again and half at starts: however long those hang, and however many
    there are, a quarter is left for all others, as far as there are four.
    """

    def __init__(self, workers: int, waited: Callable[[Lane, float], None] = lambda _lane, _seconds: None) -> None:
        """Calls `waited` with the lane of each key that is taken, and with the seconds for which it has waited."""
        self.failing: Container[Key] = ()
        """Whose last look has failed."""
        self.lane: Callable[[Key], Lane] = lambda _: Lane.OTHER
        """Of any other."""
        self.accepts: Callable[[Key], bool] = lambda _: True
        """Whether a key is to be looked at by this process. What is not is forgotten: there may be no end of it."""
        self._most = {Lane.AGAIN: max(1, workers // 4), Lane.START: max(1, workers // 2), Lane.OTHER: workers}
        self._waited = waited
        self._lines: dict[Lane, deque[Key]] = {lane: deque() for lane in Lane}
        self._queued: dict[Key, tuple[Lane, float]] = {}
        """Keys that wait: where, and since when. One may also be in a line where it is not any more: there it is
        passed over."""
        self._held: dict[Key, Lane] = {}
        self._busy: Counter[Lane] = Counter()
        """How many of each lane are held."""
        self._again: set[Key] = set()
        """Keys that came up while they were held."""
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, key: Key) -> None:
        """Asks for a look at a job; one that waits already, and belongs into another lane by now, gets there."""
        if key in self._held:
            self._again.add(key)
            return
        if not self.accepts(key):
            self._queued.pop(key, None)
            return
        lane = self._lane(key)
        before, since = self._queued.get(key, (None, time.monotonic()))
        if lane is not before:
            self._queued[key] = lane, since
            self._lines[lane].append(key)
            self._news.set()

    async def take(self) -> Key:
        """The next key, which the caller holds until `done`."""
        while (key := self._next()) is None:
            self._news.clear()
            await self._news.wait()
        lane, since = self._queued.pop(key)
        self._held[key] = lane
        self._busy[lane] += 1
        self._waited(lane, time.monotonic() - since)
        return key

    def done(self, key: Key) -> None:
        """Gives a key back."""
        self._busy[self._held.pop(key)] -= 1
        self._news.set()
        if key in self._again:
            self._again.remove(key)
            self.add(key)

    def _lane(self, key: Key) -> Lane:
        return Lane.AGAIN if key in self.failing else self.lane(key)

    def _next(self) -> Key | None:
        """The key whose turn it is; those that belong into another lane by now wait there, or are forgotten."""
        while (key := self._first()) is not None and not self._belongs(key):
            self.add(key)
        return key

    def _belongs(self, key: Key) -> bool:
        return self.accepts(key) and self._lane(key) is self._queued[key][0]

    def _first(self) -> Key | None:
        for lane, line in self._lines.items():
            while line and self._busy[lane] < self._most[lane]:
                key = line.popleft()
                if key in self._queued and self._queued[key][0] is lane:
                    return key
        return None


class Alarms:
    """Rings for a key at a time: one time for each key, the last one set."""

    def __init__(self, ring: Callable[[Key], None], clock: Callable[[], datetime], look: float = LOOK_SECONDS) -> None:
        self._ring = ring
        self._clock = clock
        self._look = look
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
            seconds = None if due is None else min(max(0.0, (due - self._clock()).total_seconds()), self._look)
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue
