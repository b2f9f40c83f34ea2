"""Run a program to its end, for a bounded time, and say what it said when it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.kind.errors import CommandFailed

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian keeps dockerd, runc and iptables, which a person's own PATH may leave out."""

TAIL_LINES = 25
"""As much of a failed program's words as an error carries: a compiler's or apt's reason fits, its progress does not."""

SHOWN = 160
"""Characters of a command line in an error."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to run something: the directory it starts in and what is added to the environment."""

    directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str | Path, timeout: float, stdin: str | None = None) -> str:
        """Standard output of a program that ended well within `timeout` seconds; raises CommandFailed.

        Where the system allows it, the program ends with this one, also when this one is killed: a `kind create` that
        outlived it would clean up after itself in the middle of the next one's work.
        """
        argv = [str(word) for word in words]
        bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        try:
            ended = subprocess.run(
                [*bound, *argv], input=(stdin or "").encode(), capture_output=True, timeout=timeout, check=False,
                env=self.variables(), cwd=self.directory,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise CommandFailed(f"{argv[0]}: not found on PATH") from error
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{shown(argv)}: still running after {timeout:.0f} s\n{tail(error.stderr)}") from error
        if ended.returncode:
            raise CommandFailed(f"{shown(argv)}: exit status {ended.returncode}\n{tail(ended.stderr or ended.stdout)}")
        return ended.stdout.decode(errors="replace")

    def succeeds(self, *words: str | Path, timeout: float) -> bool:
        """Whether the program is there and ended with status 0 in time."""
        try:
            self.run(*words, timeout=timeout)
        except CommandFailed:
            return False
        return True

    def variables(self) -> dict[str, str]:
        """The environment as the program sees it."""
        return {**os.environ, "PATH": search_path(), **self.environment}


def search_path() -> str:
    """PATH, with the places where Debian keeps what only root runs."""
    return f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"


def shown(argv: Sequence[str]) -> str:
    """A command line, cut to what tells it from others."""
    line = " ".join(argv)
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."


def tail(output: bytes | None) -> str:
    """The last lines of what a program said."""
    lines = (output or b"").decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-TAIL_LINES:])
