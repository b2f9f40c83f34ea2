"""What each fault came to: beside the undisturbed life in the same session, to be written down for a table."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MARGIN_SECONDS = 10.0
"""By which a life on the fake cluster, which is a tenth of a second, may take longer than the fault and two undisturbed
lives: an operator's waits are in whole seconds. On the kind cluster, where an agent works for some, there is none."""
FAKE, KIND = "fake cluster", "kind cluster"
Object = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One fault, and what it came to. Every run that is kept has lost nothing and doubled nothing."""

    where: str
    """The cluster."""
    group: str
    """What kind of fault."""
    fault: str
    sees: str
    """What a user sees of it."""
    usual: float
    """Seconds of the undisturbed life, in the same session."""
    seconds: float
    """Seconds with the fault."""
    lasted: float = 0.0
    """Seconds that the fault itself took."""

    @property
    def late(self) -> float:
        """Seconds from the fault's end, as multiples of the undisturbed life."""
        return max(0.0, self.seconds - self.lasted) / self.usual


@dataclass
class Results:
    """All runs of a session: of the same fault, how many there were and the slowest."""

    rows: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    usual: dict[tuple[str, str], float] = field(default_factory=dict)
    """Seconds of undisturbed lives, by where and what they are."""
    costs: dict[tuple[str, str], str] = field(default_factory=dict)
    """What these cost, where a model says so."""

    def add(self, run: Run) -> None:
        """Keeps a run, which was in time."""
        margin = MARGIN_SECONDS if run.where == FAKE else 0.0
        assert run.seconds <= run.lasted + 2 * run.usual + margin
        key = (run.where, run.group, run.fault)
        row = self.rows.setdefault(key, {"runs": 0, "late": -1.0})
        slowest = {**asdict(run), "late": run.late} if run.late > row["late"] else {}
        row |= slowest | {"runs": row["runs"] + 1}

    def write(self, path: Path, *, keeps_others: bool) -> None:
        """Writes the rows. `keeps_others`: those of earlier sessions stay where this one has none."""
        old = json.loads(path.read_text()) if keeps_others and path.exists() else []
        rows = {(row["where"], row["group"], row["fault"]): row for row in old} | self.rows
        kept = [{name: _rounded(value) for name, value in row.items()} for _, row in sorted(rows.items())]
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


@contextmanager
def timed(done: Callable[[float], None]) -> Iterator[None]:
    """Tells how many seconds the block took, unless it fails."""
    began = time.monotonic()
    yield
    done(time.monotonic() - began)
