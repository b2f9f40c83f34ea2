"""What is being done, shown with the time it takes: a line per finished step, live on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

QUIET_SECONDS = 2.0
"""A step shows itself once it takes longer than this; most are over before."""

WIDTH = 78
"""Columns of a line on a terminal, so that a finished line covers the live one."""


@dataclass(frozen=True)
class Steps:
    """Shows steps on `out`."""

    out: TextIO

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time the block and say so when it is over, also when it failed."""
        begin = time.monotonic()
        over = threading.Event()
        live = threading.Thread(target=self._live, args=(what, begin, over), daemon=True)
        live.start()
        outcome = "failed"
        try:
            yield
            outcome = ""
        finally:
            over.set()
            live.join()
            self._show(line(what, time.monotonic() - begin, outcome), end="\n")

    def note(self, text: str) -> None:
        """Say something that took no time."""
        self._show(f"{'':10}{text}", end="\n")

    def _live(self, what: str, begin: float, over: threading.Event) -> None:
        if not self.out.isatty():
            return
        pause = QUIET_SECONDS
        while not over.wait(pause):
            self._show(line(what, time.monotonic() - begin, "…")[:WIDTH], end="")
            pause = 0.5

    def _show(self, text: str, end: str) -> None:
        if self.out.isatty():
            text = f"\r{text:<{WIDTH}}"
        self.out.write(text + end)
        self.out.flush()


STEPS = Steps(sys.stderr)
"""Beside the answers on standard output, which are for programs."""


def line(what: str, seconds: float, outcome: str) -> str:
    """A step as it is shown: `  12.3 s  Build kube  failed`."""
    return f"{seconds:6.1f} s  {what}  {outcome}".rstrip()
