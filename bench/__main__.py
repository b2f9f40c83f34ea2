"""`make bench`: what AgentJob costs, on the real cluster, measured side by side in one run.

jobs    what it adds to a bare Pod and to Claude Code; draws the picture of a job's second in docs/, too
doors   what the gateway adds to the API server

Each prints a Markdown table and writes its figures to bench/results/. Without a word, both.
"""

import argparse
import sys

from bench import doors, jobs
from bench.report import report
from deploy.kind.errors import ClusterError
from deploy.stack import kind_stack


def main() -> int:
    """Runs all comparisons; 0 when they could be run, whatever came out."""
    arguments = given()
    try:
        stack = kind_stack()
        if arguments.what in (None, "jobs"):
            report(stack, "jobs", *jobs.compare(stack, arguments.pairs or 10))
        if arguments.what in (None, "doors"):
            sizes = doors.Sizes(pairs=arguments.pairs or 3, readers=arguments.readers, lines=arguments.lines)
            report(stack, "doors", *doors.compare(stack, sizes, arguments.only))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def given() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", nargs="?", choices=["jobs", "doors"], help="default: both")
    add("--pairs", type=int, help="pairs of each comparison, at least 3 (default: 10 of jobs, 3 of doors)")
    add("--readers", type=int, default=1_000, help="doors: clients that watch one job (default: %(default)s)")
    add("--lines", type=int, default=100_000, help="doors: lines that are audited (default: %(default)s)")
    add("--only", choices=list(doors.PARTS), nargs="+", default=list(doors.PARTS), help="doors: parts to run")
    arguments = parser.parse_args()
    if arguments.pairs is not None and arguments.pairs < 3:
        parser.error(f"--pairs: found {arguments.pairs}, expected at least 3: fewer give no range")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
