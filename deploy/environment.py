"""`python3 -m deploy.environment`: the Python environment in .venv, the packages as pinned, this project editable.

Run before anything is installed, so it needs Python alone. A half-made environment is made again.
"""

from __future__ import annotations

import sys
import venv
from pathlib import Path

from deploy.kind.command import Program
from deploy.kind.errors import ClusterError
from deploy.kind.lock import alone
from deploy.kind.steps import STEPS

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv"
READY = VENV / ".ready"
MADE_FROM = (ROOT / "requirements.txt", ROOT / "pyproject.toml")
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
MINUTES = 15


def main() -> int:
    """Makes it, unless another command has just done so; 0 when it is there."""
    try:
        with alone(ROOT / ".venv.lock", "Waiting for another command that makes .venv"):
            if not is_ready():
                make()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def is_ready() -> bool:
    """Whether it is there, and newer than what it is made from."""
    return READY.exists() and all(path.stat().st_mtime <= READY.stat().st_mtime for path in MADE_FROM)


def make() -> None:
    """Makes it anew. Raises ClusterError with pip's own words."""
    python = Program(directory=ROOT)
    with STEPS.step("Python environment in .venv"):
        venv.create(VENV, clear=True, with_pip=True, symlinks=True)
        requirements = ("--require-hashes", "--requirement", "requirements.txt")
        python.run(VENV / "bin/python", *PIP, *requirements, timeout=MINUTES * 60)
        python.run(VENV / "bin/python", *PIP, "--no-build-isolation", "--no-deps", "--editable", ".", timeout=120)
    READY.touch()


if __name__ == "__main__":
    sys.exit(main())
