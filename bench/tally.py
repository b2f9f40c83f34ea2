"""Which of the numbered lines of a log have come, and how often. Pure."""

from collections.abc import Iterable
from typing import NamedTuple


class Verdict(NamedTuple):
    """What became of some lines."""

    lines: int
    """How many there were."""
    lost: int
    """Lines that never came."""
    doubled: int
    """Lines that came once too often, each time counted."""
    silent: int
    """Lost lines of which nobody was told."""


class Tally:
    """Counts lines by seq, of one log whose last seq is known in the end."""

    def __init__(self) -> None:
        self._came: dict[int, int] = {}
        self._told: list[tuple[int, int | None]] = []

    def take(self, seqs: Iterable[int]) -> None:
        """Counts lines."""
        for seq in seqs:
            self._came[seq] = self._came.get(seq, 0) + 1

    def tell(self, first: int, last: int | None) -> None:
        """Notes that lines are said to be lost; `last` None where nobody knows how many."""
        self._told.append((first, last))

    @property
    def came(self) -> int:
        """How many different lines have come."""
        return len(self._came)

    def verdict(self, last: int) -> Verdict:
        """What became of the lines 1 to `last`."""
        lost = [seq for seq in range(1, last + 1) if seq not in self._came]
        told = [seq for seq in lost if any(a <= seq and (b is None or seq <= b) for a, b in self._told)]
        doubled = sum(self._came.values()) - len(self._came)
        return Verdict(last, len(lost), doubled, len(lost) - len(told))


def total(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several logs."""
    return Verdict(*(sum(column) for column in zip(*verdicts, strict=True)))
