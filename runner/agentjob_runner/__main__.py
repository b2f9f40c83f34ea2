"""`python -m agentjob_runner` makes one attempt at a job; with the argument `workspace` it clones the job's repository.

Exits with 0 when the outcome's reason is Completed (the repository is cloned), and with 1 otherwise. Imports come late:
the first line is out within 0.1 s, and what takes longer to import comes when Claude Code is at work.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from agentjob_api import handed
from agentjob_api.notices import Notice
from agentjob_api.reasons import Reason
from agentjob_runner import absent
from agentjob_runner.ending import Ending, Exit, GiveUpError
from agentjob_runner.lines import Lines
from agentjob_runner.place import Place
from agentjob_runner.stop import Stop
from agentjob_runner.versions import versions


def main() -> int:
    """Do what the command line says; returns the exit code."""
    task, place = _arguments()
    return clone(place) if task == "workspace" else attempt(place)


def _arguments() -> tuple[str, Place]:
    parser = argparse.ArgumentParser(prog="agentjob_runner", description=__doc__)
    parser.add_argument("task", nargs="?", choices=["attempt", "workspace"], default="attempt")
    for name, default in Place()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, default=default, metavar="PATH")
    given = vars(parser.parse_args())
    return given.pop("task"), Place(**given)


def clone(place: Place) -> int:
    """The init container: the repository into the workspace, if the job has one."""
    from agentjob_runner import git

    try:
        job = handed.read(place.handover)
        if "git" in job:
            git.clone(job["git"], place.workspace, os.environ)
    except Exception as error:  # noqa: BLE001 - the outermost frame
        return _report(_failed(error), None, place)
    return 0


def attempt(place: Place) -> int:
    """The agent's container: every line from `start` to `outcome`."""
    stop, lines = Stop(), None
    try:
        job = handed.read(place.handover)
        lines = Lines.on_stdout(job["attempt"])
        lines.notify(Notice.START, job=job["job"], attempt=job["attempt"], versions=versions())
        ending = _run(job, place, lines, stop)
    except Exception as error:  # noqa: BLE001 - the outermost frame
        ending = _failed(error)
    return _report(ending, lines, place)


def _run(job: handed.Handed, place: Place, lines: Lines, stop: Stop) -> Ending:
    absent.leave_out()
    from agentjob_runner.attempt import Attempt

    return Attempt(job, place, lines).run(stop)


def _failed(error: Exception) -> Ending:
    """How an attempt ended that could not begin, or that the runner itself has spoilt."""
    if isinstance(error, GiveUpError):
        sys.stderr.write(f"{error}\n")
        return Ending(exit=Exit(started=False), failure=(error.reason, str(error)))
    traceback.print_exc()
    words = f"the runner failed: {type(error).__name__}: {error}"
    return Ending(exit=Exit(started=False), failure=(Reason.AGENT_ERROR, words))


def _report(ending: Ending, lines: Lines | None, place: Place) -> int:
    from agentjob_runner import report

    return report.leave(ending, lines, place.termination_log)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to tidy up, and the kubelet waits: Python's own way out takes 0.05 s
