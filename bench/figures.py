"""Figures of a comparison, and how they are shown. Pure."""

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
    goal: float
    """The ratio of the medians to reach, at most."""

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
            f"≤ {self.goal:.2f}",
            verdict(self.ratio <= self.goal),
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One thing measured by itself, held to a bound."""

    name: str
    values: tuple[float, ...]
    unit: str
    goal: float
    """The median to reach, at most."""

    def row(self) -> tuple[str, ...]:
        """A row of the table."""
        middle = median(self.values)
        return (
            self.name,
            shown(self.values, self.unit),
            "",
            "",
            f"≤ {self.goal:g} {self.unit}",
            verdict(middle <= self.goal),
        )


HEADS = ("what", "AgentJob", "compared with", "ratio (range)", "goal", "")


def shown(values: Sequence[float], unit: str) -> str:
    """Median and range."""
    low, high = min(values), max(values)
    spread = f" ({low:.2f}–{high:.2f})" if low != high else ""
    return f"{median(values):.2f} {unit}{spread}"


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
