"""The outcome, left where the kubelet and the readers of the log find it."""

import json
import sys
from pathlib import Path

from agentjob_api.lines import MAX_LINE
from agentjob_api.notices import Notice
from agentjob_api.outcome import MAX_TERMINATION_BYTES
from agentjob_api.reasons import Reason
from agentjob_runner.ending import Ending
from agentjob_runner.lines import Lines
from agentjob_runner.outcome import outcome

MAX_OUTCOME = MAX_LINE - 512
"""Bytes of the outcome in the last line; envelope and notice take the rest."""


def leave(ending: Ending, lines: Lines | None, termination_log: Path) -> int:
    """Leave the outcome as the container's termination message and print it as the last line; returns the exit code.

    The last line holds the text as far as a line can. Outside of a Pod there may be nobody to read the other.
    """
    last = outcome(ending)
    if lines is not None:
        last = last.model_copy(update={"last_seq": lines.seq + 1})
    try:
        termination_log.write_text(last.fitted(MAX_TERMINATION_BYTES).to_json(), "utf-8")
    except OSError as error:
        sys.stderr.write(f"no termination message: {termination_log}: {error.strerror}\n")
    if lines is not None:
        lines.notify(Notice.OUTCOME, outcome=json.loads(last.fitted(MAX_OUTCOME).to_json()))
    return 0 if last.reason is Reason.COMPLETED else 1
