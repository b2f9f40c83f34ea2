"""Figures of a comparison, and how they are shown. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two things measured in turn, A B A B …, so that a machine that slows down slows both."""

    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    against: str
    """What theirs is."""
    unit: str
    goal: float | None
    """The ratio of the medians to reach, at most; None where it is only shown."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours by theirs, pair by pair."""
        return tuple(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return median(self.ours) / median(self.theirs)

    def row(self) -> tuple[str, ...]:
        """A row of the table."""
        pairs = f"{min(self.ratios):.2f}–{max(self.ratios):.2f}"
        return (
            self.name,
            shown(self.ours, self.unit),
            f"{self.against}: {shown(self.theirs, self.unit)}",
            f"{self.ratio:.2f} ({pairs}, {len(self.ours)} pairs)",
            f"≤ {self.goal:.2f}" if self.goal is not None else "",
            verdict(self.ratio <= self.goal) if self.goal is not None else "",
        )


@dataclass(frozen=True, kw_only=True)
class Added:
    """What ours takes beyond theirs, which is in it: measured at once, or in turn."""

    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    against: str
    unit: str
    goal: float
    """What the medians may differ by, at most."""

    @property
    def differences(self) -> tuple[float, ...]:
        """Ours less theirs, pair by pair."""
        return tuple(a - b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def added(self) -> float:
        """Of the medians."""
        return median(self.ours) - median(self.theirs)

    def row(self) -> tuple[str, ...]:
        """A row of the table."""
        pairs = f"{min(self.differences):+.2f}–{max(self.differences):+.2f}"
        return (
            self.name,
            shown(self.ours, self.unit),
            f"{self.against}: {shown(self.theirs, self.unit)}",
            f"{self.added:+.2f} {self.unit} ({pairs}, {len(self.ours)} pairs)",
            f"≤ {self.goal:+g} {self.unit}",
            verdict(self.added <= self.goal),
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One thing held to a bound, by itself or with another shown beside it."""

    name: str
    values: tuple[float, ...]
    unit: str
    goal: float
    """The median to reach, at most."""
    theirs: tuple[float, ...] = ()
    """What is shown beside it, measured in turn; the goal does not depend on it."""
    against: str = ""
    """What theirs is."""

    def row(self) -> tuple[str, ...]:
        """A row of the table."""
        middle = median(self.values)
        return (
            self.name,
            shown(self.values, self.unit),
            f"{self.against}: {shown(self.theirs, self.unit)}" if self.theirs else "",
            f"{middle / median(self.theirs):.2f}" if self.theirs and median(self.theirs) else "",
            f"≤ {self.goal:g} {self.unit}",
            verdict(middle <= self.goal),
        )


Row = Comparison | Added | Measurement

HEADS = ("what", "AgentJob", "compared with", "ratio (range)", "goal", "")


def shown(values: Sequence[float], unit: str) -> str:
    """Median and range; what is counted is shown in whole numbers."""
    low, high = min(values), max(values)
    digits = 0 if all(value == int(value) for value in values) else 2
    spread = f" ({low:,.{digits}f}–{high:,.{digits}f})" if low != high else ""
    return f"{median(values):,.{digits}f} {unit}{spread}"


def quantile(values: Sequence[float], part: float) -> float:
    """The least value that so large a part of all does not exceed (nearest rank): 0.5 the median, 0.99 the p99."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def verdict(reached: bool) -> str:
    """A word for a goal."""
    return "reached" if reached else "missed"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that reads well unrendered, too."""
    every = [HEADS, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(HEADS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in every
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
