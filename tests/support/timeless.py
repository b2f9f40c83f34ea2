"""An event loop on which waiting takes no time: its clock goes on to whatever is due next when nothing else is to do.

For code that waits for nothing but its own timers: whoever waits for a socket or a thread would be overtaken.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class Loop(asyncio.SelectorEventLoop):
    """Its clock begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self._skip))

    def time(self) -> float:
        return self._now

    def _skip(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.SelectSelector):
    """Takes what is ready, and lets the time pass in which it would have waited for more."""

    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits for what will never be"
        self._skip(max(timeout, 0.0))
        return super().select(0)


def now() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs it on a loop of its own; what it leaves over is cancelled at the end."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main)
