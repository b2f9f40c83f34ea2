"""How long to wait before trying again: doubling, bounded, and spread so that many do not come back at once."""

import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Backoff:
    """Seconds before the first repetition, and at most."""

    first: float
    most: float

    def delay(self, failures: int, at_least: float = 0.0) -> float:
        """Seconds to wait after `failures` (1 or more) failures in a row.

        `at_least` is what the server asked for; it is kept to even beyond `most`.
        """
        doubled = min(self.most, self.first * 2.0 ** min(failures - 1, 30))
        return max(at_least, doubled * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


WATCH: Final = Backoff(first=0.2, most=5.0)
"""Of a list and watch that fails. What is missed meanwhile is late, and there are few that ask: so seldom long."""
