"""What the first process of a Pod takes, as JSON: run in the Pod, `python -c SOURCE [JOBS]`.

With JOBS, first waits until an operator has looked at so many jobs and has none left to look at; `reconciled` is how
long after the process's start that was.
"""

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

WITHIN = 120.0
PROC = Path("/proc/1")


def taken() -> dict[str, Any]:
    """Bytes, seconds of CPU, and numbers of open files and threads."""
    status = dict(line.split(":", 1) for line in (PROC / "status").read_text().splitlines())
    ticks = os.sysconf("SC_CLK_TCK")
    stat = (PROC / "stat").read_text().rpartition(")")[2].split()
    age = float(Path("/proc/uptime").read_text().split()[0]) - int(stat[19]) / ticks
    return {
        "resident": int(status["VmRSS"].split()[0]) * 1024,
        "peak": int(status["VmHWM"].split()[0]) * 1024,
        "cpu": (int(stat[11]) + int(stat[12])) / ticks,
        "files": len(list((PROC / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "age": age,
    }


def is_reconciled(jobs: int) -> bool:
    """Whether the operator has looked at so many, and has none left."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (OSError, urllib.error.URLError):  # it does not listen yet
        return False
    looked, left = (
        float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("agentjob_reconcile_seconds_count", "agentjob_queue_depth")
    )
    return looked >= jobs and left == 0


def main() -> None:
    """Prints one line."""
    found: dict[str, Any] = {}
    if len(sys.argv) > 1:
        end = time.monotonic() + WITHIN
        while not is_reconciled(int(sys.argv[1])):
            if time.monotonic() > end:
                sys.exit(f"not reconciled within {WITHIN:g} s")
            time.sleep(0.05)
        found["reconciled"] = taken()["age"]
    print(json.dumps(taken() | found))


main()
