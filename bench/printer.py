"""In a Pod of the operator's image: prints numbered lines as a runner does, the nanosecond of each in its message.

Arguments: how many lines, how many of them a second, bytes of a line. The runner's last line comes after them.
"""

import json
import sys
import time
from datetime import UTC, datetime

from agentjob_api.lines import envelope
from agentjob_api.notices import Notice, notice

BURST_SECONDS = 0.02
"""Lines that are due within such a time are written at once."""


def line(seq: int, message: bytes) -> bytes:
    """A line with its envelope."""
    return envelope(seq, 1, datetime.now(UTC)) + message + b"}\n"


def main() -> None:
    lines, rate, size = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    out, seq, begun = sys.stdout.buffer, 0, time.monotonic()
    pad = b"x" * max(0, size - 140)
    while seq < lines:
        due = min(lines, 1 + int((time.monotonic() - begun) * rate))
        while seq < due:
            seq += 1
            out.write(line(seq, b'{"type":"assistant","at":%d,"pad":"%b"}' % (time.time_ns(), pad)))
        out.flush()
        time.sleep(max(BURST_SECONDS, begun + seq / rate - time.monotonic()))
    outcome = notice(Notice.OUTCOME, outcome={"reason": "Completed", "lastSeq": seq + 1})
    out.write(line(seq + 1, json.dumps(outcome, separators=(",", ":")).encode()))
    out.flush()


main()
