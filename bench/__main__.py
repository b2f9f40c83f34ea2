"""`make bench`: what AgentJob costs, on the real cluster, measured side by side in one run.

jobs       what it adds to a bare Pod and to Claude Code; draws the picture of a job's second in docs/, too
doors      what the gateway adds to the API server
operator   the operator beside the controller of batch/v1 Jobs, on nodes that are none: many jobs at once, a few a
           second, beside many others, what it takes, and how long nobody acts when it ends
soak       the operator with 5 jobs a second for 20 minutes; only by its name

Each prints a Markdown table and writes its figures to bench/results/. Without a word, all but the last.
"""

import argparse
import sys

from bench import doors, jobs, operators, soak
from bench.report import report
from deploy.kind.errors import ClusterError
from deploy.stack import Stack, kind_stack


def main() -> int:
    """Runs all comparisons; 0 when they could be run, whatever came out."""
    arguments = given()
    try:
        measure(kind_stack(), arguments)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure(stack: Stack, arguments: argparse.Namespace) -> None:
    """What was asked for, one after the other."""
    if arguments.what in (None, "jobs"):
        report(stack, "jobs", *jobs.compare(stack, arguments.pairs or 10))
    if arguments.what in (None, "doors"):
        sizes = doors.Sizes(pairs=arguments.pairs or 3, readers=arguments.readers, lines=arguments.lines)
        report(stack, "doors", *doors.compare(stack, sizes, arguments.only or list(doors.PARTS)))
    if arguments.what in (None, "operator"):
        parts = arguments.only or list(operators.PARTS)
        rows, details = operators.compare(stack, arguments.pairs or 3, arguments.jobs, parts)
        report(stack, "operator", rows, details)
        if details["failed"]:
            raise ClusterError("\n".join(f"{part} was not measured: {why}" for part, why in details["failed"].items()))
    if arguments.what == "soak":
        report(stack, "soak", *soak.compare(stack, arguments.minutes))


def given() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", nargs="?", choices=["jobs", "doors", "operator", "soak"], help="default: all but soak")
    add("--pairs", type=int, help="pairs of each comparison, at least 3 (default: 10 of jobs, else 3)")
    add("--readers", type=int, default=1_000, help="doors: clients that watch one job (default: %(default)s)")
    add("--lines", type=int, default=100_000, help="doors: lines that are audited (default: %(default)s)")
    add("--jobs", type=int, default=1_000, help="operator: jobs at once (default: %(default)s)")
    add("--minutes", type=int, default=20, help="soak: how long (default: %(default)s)")
    parts = {"doors": list(doors.PARTS), "operator": list(operators.PARTS)}
    words = "; ".join(f"of {what} {', '.join(names)}" for what, names in parts.items())
    add("--only", metavar="PART", nargs="+", help=f"parts to run: {words}")
    arguments = parser.parse_args()
    if arguments.pairs is not None and arguments.pairs < 3:
        parser.error(f"--pairs: found {arguments.pairs}, expected at least 3: fewer give no range")
    of = parts.get(arguments.what, [])
    if not set(arguments.only or ()) <= set(of):
        expected = f"parts of what is measured: {' '.join(of)}" if of else "doors or operator before it"
        parser.error(f"--only: found {' '.join(arguments.only)}, expected {expected}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
