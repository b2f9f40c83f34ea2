"""The runner's stdout: numbered lines and nothing else. The only place that writes there."""

import os
import sys
from datetime import UTC, datetime
from typing import Any

from agentjob_api.lines import MAX_LINE, envelope
from agentjob_api.notices import Notice, notice
from agentjob_runner import truncate

MAX_MESSAGE = MAX_LINE - 128
"""Bytes of a line that its message may take; the envelope takes 107 at most."""


class Lines:
    """Prints messages as lines of one attempt, each written whole before `print` returns."""

    def __init__(self, attempt: int, out: int) -> None:
        """`out` is the file descriptor to write to."""
        self._attempt = attempt
        self._out = out
        self.seq = 0
        """Number of the last line; 0 before the first."""

    @classmethod
    def on_stdout(cls, attempt: int) -> "Lines":
        """Take stdout over: whatever this process or a child of it prints from now on goes to stderr."""
        out = os.dup(sys.stdout.fileno())  # not inherited by children
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return cls(attempt, out)

    def print(self, message: dict[str, Any]) -> None:
        """Print a message; one that is too large is cut, and marked so."""
        body = truncate.encoded(message)
        cut = len(body) > MAX_MESSAGE
        if cut:
            body = truncate.fitted(message, MAX_MESSAGE)
        self.seq += 1
        head = envelope(self.seq, self._attempt, datetime.now(UTC), truncated=cut)
        self._write(head + body + b"}\n")

    def notify(self, kind: Notice, **fields: object) -> None:
        """Print a message of our own."""
        self.print(notice(kind, **fields))

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._out, rest) :]
