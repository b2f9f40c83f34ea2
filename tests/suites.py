"""Runs the suites one after another and reports how each went: `python -m tests.suites all`, or the names of some.

Every suite that can run is run, also after one has failed; a suite that needs the cluster brings it up first.
Exit code 0 only when all passed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
BIN = Path(sys.executable).parent
Command = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Commands that belong together; the first that fails ends the suite."""

    name: str
    about: str
    commands: tuple[Command, ...]
    minutes: float
    """Time after which the suite counts as hung and is ended."""
    afterwards: tuple[Command, ...] = ()
    """Commands that are run in any case."""


def pytest(*arguments: str) -> Command:
    return (PYTHON, "-m", "pytest", "-q", *arguments)


SUITES = (
    Suite(
        name="check",
        about="the gates",
        minutes=5,
        commands=(
            (str(BIN / "ruff"), "format", "--check", "-q", "."),
            (str(BIN / "ruff"), "check", "-q", "."),
            (str(BIN / "mypy"),),
            (str(BIN / "lint-imports"), "--no-cache"),
            (str(BIN / "vulture"),),
            (str(BIN / "deptry"), "."),
            (PYTHON, "docs/generate.py", "--check"),
            pytest("tests/unit/test_shape.py"),
        ),
    ),
    Suite(name="unit", about="decisions as tables", minutes=5, commands=(pytest("tests/unit"),)),
    Suite(
        name="program",
        about="each program on fakes, with the real CLI",
        minutes=20,
        commands=(pytest("tests/program"),),
    ),
    Suite(
        name="faults",
        about="a fault of each kind: chaos in short",
        minutes=10,
        commands=(pytest("tests/chaos", "-m", "not long and not cluster"),),
    ),
    Suite(
        name="cluster",
        about="the cluster, its images and the chart, set up",
        minutes=30,
        commands=(("python3", "deploy/kind/cluster.py", "up"), (PYTHON, "-m", "deploy.stack", "images")),
    ),
    Suite(
        name="contract",
        about="what fakes and the real API server share",
        minutes=10,
        commands=(pytest("tests/contract"),),
    ),
    Suite(
        name="e2e",
        about="whole jobs on the real cluster",
        minutes=45,
        commands=(
            (PYTHON, "-m", "tests.support.browser"),
            (PYTHON, "-m", "deploy.kind.traefik"),
            pytest("tests/e2e"),
        ),
    ),
)
CHAOS = Suite(
    name="chaos",
    about="every fault, also of the real cluster; prints its results, docs/reliability.md",
    minutes=90,
    commands=(pytest("tests/chaos", "--record=all"),),
    afterwards=((PYTHON, "docs/generate.py"), ("cat", "docs/reliability.md")),
)
"""Not among all: it takes longer than all others together, and `faults` is the short of it."""
NEEDS_CLUSTER = {"contract", "e2e", "chaos"}


def run(suite: Suite) -> bool:
    """Runs one suite with its output passed through; whether it passed."""
    passed = _run(suite)
    for command in suite.afterwards:
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    return passed


def _run(suite: Suite) -> bool:
    deadline = time.monotonic() + suite.minutes * 60
    for command in suite.commands:
        print(f"\n\033[1m{suite.name}\033[0m: {' '.join(command)}", flush=True)
        try:
            done = subprocess.run(command, cwd=ROOT, check=False, timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{suite.name}: not finished after {suite.minutes} minutes", flush=True)
            return False
        if done.returncode != 0:
            return False
    return True


def chosen(names: Sequence[str]) -> list[Suite]:
    """The suites of these names in their order, with what they need."""
    wanted = {suite.name for suite in SUITES} if "all" in names else set(names)
    if wanted & NEEDS_CLUSTER:
        wanted.add("cluster")
    return [suite for suite in (*SUITES, CHAOS) if suite.name in wanted]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", nargs="+", choices=["all", *(suite.name for suite in (*SUITES, CHAOS))])
    report = []
    for suite in chosen(parser.parse_args().suite):
        started = time.monotonic()
        passed = run(suite)
        report.append((suite, passed, time.monotonic() - started))
    print()
    for suite, passed, seconds in report:
        print(f"{suite.name:10} {'passed' if passed else 'FAILED'} {seconds:7.1f} s   {suite.about}")
    failed = sum(not passed for _, passed, _ in report)
    print(f"suites: {len(report) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
