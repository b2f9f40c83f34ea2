"""One at a time: two commands at once would make the same things in the same places."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS

LOCK_SECONDS = 2700
"""The longest that another one may take: everything from nothing, and the project's images after it."""


@contextmanager
def alone(path: Path, waiting: str) -> Iterator[None]:
    """Hold a lock; `waiting` is said when another command has it. Raises ClusterError when it keeps it too long."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        if not _takes(lock):
            STEPS.note(waiting)
            deadline = time.monotonic() + LOCK_SECONDS
            while not _takes(lock):
                if time.monotonic() > deadline:
                    raise ClusterError(f"{path} is still held after {LOCK_SECONDS} s by another command; end that")
                time.sleep(0.2)
        yield


def _takes(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
