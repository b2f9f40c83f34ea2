"""How far behind the logs a process is that reads them: how late their lines come. Pure."""

from bisect import bisect_left
from datetime import datetime
from itertools import accumulate
from typing import Final

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
"""Seconds. A line takes some ten milliseconds through kubelet and API server; one that breaks off may take minutes."""


class Lag:
    """A histogram of the seconds from when lines were said to when they were here."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Of all together."""
        self._counts = [0] * (len(BOUNDS) + 1)

    def came(self, said: datetime, now: datetime) -> None:
        """Takes a line. The clock of its node may be ahead of ours: it is late by nothing then."""
        seconds = max(0.0, (now - said).total_seconds())
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """How many were late by no more than each of the bounds, and how many there are: as Prometheus has them."""
        return list(zip((*map(str, BOUNDS), "+Inf"), accumulate(self._counts), strict=True))
