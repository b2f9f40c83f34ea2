"""The lines a runner prints: one numbered envelope around each message, which a reader can cut out without parsing.

    {"seq":17,"attempt":1,"time":"2026-11-22T10:00:00.123Z","message":{…the CLI's own JSON…}}

A line whose message had to be shortened carries `"truncated":true` before `"message"`. `seq` counts from 1 without gaps
within an attempt. Whatever is not such a line (another program's output in the same container log) is to be skipped and
counted by the reader.
"""

import re
from datetime import datetime
from typing import NamedTuple

MAX_LINE = 128 * 1024
"""UTF-8 bytes of one line, envelope and newline included: the kubelet keeps 10 MiB of log per container."""

_ENVELOPE = re.compile(
    rb'\{"seq":([1-9][0-9]{0,14}),"attempt":([1-9][0-9]{0,5}),'
    rb'"time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z)",(?:"truncated":(true),)?"message":(\{.*\})\}\n?',
    re.DOTALL,
)


class Line(NamedTuple):
    """One line as it was read."""

    seq: int
    attempt: int
    time: datetime
    truncated: bool
    message: bytes
    """The message's JSON, cut out byte for byte."""


def envelope(seq: int, attempt: int, time: datetime, *, truncated: bool = False) -> bytes:
    """What stands before the message's JSON in a line; `}` and a newline follow it. `time` must be in UTC."""
    stamp = time.isoformat(timespec="milliseconds")[:23] + "Z"
    cut = '"truncated":true,' if truncated else ""
    return f'{{"seq":{seq},"attempt":{attempt},"time":"{stamp}",{cut}"message":'.encode()


def parse(line: bytes) -> Line | None:
    """Reads one line, with or without its newline; None when it is not one of ours."""
    found = _ENVELOPE.fullmatch(line)
    if found is None:
        return None
    seq, attempt, time, truncated, message = found.groups()
    try:
        stamp = datetime.fromisoformat(time.decode())
    except ValueError:
        return None
    return Line(int(seq), int(attempt), stamp, truncated is not None, message)
