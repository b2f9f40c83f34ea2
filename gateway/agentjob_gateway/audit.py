"""The audit: one line for each request that changes something, and for each tool that an agent has used.

Its lines stand beside the log's and can be told from them by `"audit":`. They hold no prompt and no credential, and of
a tool's input only a digest. `python -m agentjob_gateway.audit verify` checks that none is missing or altered.
"""

import argparse
import asyncio
import logging
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from agentjob_api.lines import Line
from agentjob_gateway.audit_lines import Chain, Chains, Checked, Entry, Kind, Verdict, stamp
from agentjob_gateway.audit_tools import Agent, Tools
from agentjob_gateway.caller import Caller
from agentjob_gateway.errors import Problem

LONGEST: Final = 64 * 1024
"""Bytes of a log's line that may be one of the audit's: those are shorter by far."""
_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_ABOUT: Final = "Checks that no line of the audit is missing, altered, put in, or out of its order."
_EPILOG: Final = """\
examples:
  kubectl logs --namespace agentjob --prefix --selector app.kubernetes.io/component=gateway --tail=-1 \\
    | python -m agentjob_gateway.audit verify
  python -m agentjob_gateway.audit verify gateway-1.log gateway-2.log

Logs of several replicas may be mixed, with lines that are not the audit's among them and a prefix before each line; the
lines of one replica have to be in their order. One row is printed for each chain, which is one run of one replica:

  whole           from its first line to its last, nothing is missing
  open end        nothing is missing up to the last line that was found; the replica still runs, was killed, or the
                  end of its log was cut off, which nothing in a log can tell
  BROKEN at N     up to line N - 1 nothing is missing, and then comes what is said

exit code: 0 when every chain is whole or has an open end, 1 when one is broken, 2 when nothing could be checked
"""
log = logging.getLogger("agentjob_gateway.audit")


class _Book(logging.StreamHandler[TextIO]):
    """Writes what it is told as one chain."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._chain = Chain(secrets.token_hex(16))

    def format(self, record: logging.LogRecord) -> str:
        """The next line."""
        return self._chain.link(record.__dict__["entry"])


@contextmanager
def written(stream: TextIO, writer: str) -> Iterator[None]:
    """Writes the audit of this process to a stream while the block runs, as one chain from its first line to its last.

    `writer` is the name of the Pod.
    """
    book = _Book(stream)
    log.addHandler(book)
    log.setLevel(logging.INFO)  # whatever the log's own level is
    log.propagate = False
    try:
        _tell({"audit": Kind.BEGIN, "when": _now(), "writer": writer, "version": version("agentjob")})
        yield
    finally:
        _tell({"audit": Kind.END, "when": _now()})
        log.removeHandler(book)
        log.setLevel(logging.NOTSET)
        log.propagate = True


class Audit:
    """What agents do, told as their lines are read: of each job on the one replica that reads all of them."""

    def __init__(self) -> None:
        self._tools = Tools()

    def line(self, namespace: str, job: str, uid: str, line: Line) -> None:
        """Takes the next line of a job; lines of one job have to come in their order.

        It costs next to nothing where the line does not speak of a tool, and raises nothing whatever the line holds.
        A use is told when its answer comes, or its attempt ends. A line that is read again is told again.
        """
        for entry in self._tools.take(Agent(namespace, job, uid), line):
            _tell(entry)

    def ended(self, uid: str) -> None:
        """No more lines of a job will come here: it has ended, or another replica reads on.

        To be called once for each job that lines were taken of, or what is remembered of it stays. Uses that wait for
        an answer are told as `unanswered`; another replica that gets the answer tells that, under the same id.
        """
        for entry in self._tools.end(uid):
            _tell(entry)


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A request that changes something, or would."""

    caller: Caller | None
    """None where nobody has proven to be somebody."""
    what: str
    """A `Verb`, `ticket`, or `mcp` for what did not get through the MCP door."""
    namespace: str | None
    job: str | None
    request: str
    """The request's id."""


@dataclass
class Change:
    """What a deed has come to."""

    uid: str | None = None
    """Of the job."""
    was_needed: bool = True
    """False where all was so already."""


@contextmanager
def change(deed: Deed) -> Iterator[Change]:
    """Tells of a deed once the block, which does it, has ended well, or has been cut off.

    It is told in the next turn of the loop: an answer that is ready in this one is on its way then, and did not wait
    for whoever reads the audit. A Problem passes: whoever answers with it tells of it, by `refused`.
    """
    made = Change()
    try:
        yield made
    except asyncio.CancelledError:  # the client has hung up, and nobody will know whether it was done
        _tell_of(deed, made, Verdict.FAILED)
        raise
    verdict = Verdict.ACCEPTED if made.was_needed else Verdict.UNCHANGED
    asyncio.get_running_loop().call_soon(_tell_of, deed, made, verdict)


def refused(deed: Deed, problem: Problem) -> None:
    """Tells of a deed that was answered with a Problem."""
    verdict = Verdict.REFUSED if problem.status < 500 else Verdict.FAILED
    _tell_of(deed, Change(), verdict, problem.status)


def _tell_of(deed: Deed, made: Change, verdict: Verdict, status: int | None = None) -> None:
    """Never with the Problem's words, which may hold what was sent."""
    _tell(
        {
            "audit": Kind.REQUEST,
            "when": _now(),
            "who": deed.caller.name if deed.caller else None,
            "what": deed.what,
            "namespace": _named(deed.namespace),
            "job": _named(deed.job),
            "uid": made.uid,
            "request": deed.request,
            "status": status,
            "verdict": verdict,
        }
    )


def _named(text: str | None) -> str | None:
    """A name that an object can have; a client may have put anything in its place."""
    return text if text is not None and _NAME.fullmatch(text) else None


def _tell(entry: Entry) -> None:
    log.info("Audited", extra={"entry": entry})


def _now() -> str:
    return stamp(datetime.now(UTC))


# python -m agentjob_gateway.audit


def table(found: Sequence[Checked], unreadable: int) -> str:
    """The chains, one a line, and how many lines could not be read at all."""
    rows = [("CHAIN", "WRITER", "LINES", "FROM", "TO", "VERDICT")]
    rows += [(one.chain, one.writer, str(one.lines), one.begin, one.last, one.verdict) for one in found]
    if unreadable:
        rows.append(("?", "?", str(unreadable), "-", "-", "BROKEN: what looks like the audit cannot be read"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _check(files: Sequence[Path]) -> Chains:
    chains = Chains()
    if not files:
        _check_one(sys.stdin.buffer, chains)
    for path in files:
        with path.open("rb") as stream:
            _check_one(stream, chains)
    return chains


def _check_one(stream: BinaryIO, chains: Chains) -> None:
    for text in _lines(stream):
        chains.take(text)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines that are short enough."""
    while line := stream.readline(LONGEST):
        if len(line) < LONGEST or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(LONGEST)) and not rest.endswith(b"\n"):
            pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agentjob_gateway.audit", description="The gateway's audit.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    verify = commands.add_parser(
        "verify",
        help="check that no line is missing, altered, put in, or out of its order",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("files", metavar="FILE", nargs="*", type=Path, help="a log; without any, stdin is read")
    return parser


def main() -> int:
    """Carries out the command; the exit code is told in its help."""
    arguments = _parser().parse_args()
    try:
        chains = _check(arguments.files)
    except (OSError, OverflowError) as error:
        print(error, file=sys.stderr)
        return 2
    found = chains.found()
    if not found and not chains.unreadable:
        print("there is no line of the audit in what was given: are these logs of the gateway?", file=sys.stderr)
        return 2
    print(table(found, chains.unreadable))
    return 1 if chains.unreadable or any(one.fault for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
