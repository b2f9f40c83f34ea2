"""Keeps what was measured, with the machine and the versions it was measured on."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agentjob_runner import versions as runner
from bench.figures import Row, table
from deploy.stack import ROOT, Stack

RESULTS = ROOT / "bench" / "results"


def report(stack: Stack, what: str, rows: Sequence[Row], more: Mapping[str, Any]) -> None:
    """Prints the table, and writes the figures behind it to bench/results/."""
    now = datetime.now(UTC)
    figures: dict[str, Any] = {
        "measured": now.isoformat(timespec="seconds"),
        "what": what,
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()},
        "versions": versions(stack),
        "rows": [vars(row) for row in rows],
        **more,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d-%H%M}-{what}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n" + table([row.row() for row in rows]))
    on = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    print(f"\n{os.cpu_count()} CPUs, kernel {platform.release()}; {on}")
    print(f"Figures: {path.relative_to(ROOT)}")


def versions(stack: Stack) -> dict[str, str]:
    """What was measured, and on what."""
    (node, *_) = json.loads(stack.kubectl("get", "nodes", "-o", "json"))["items"]
    info = node["status"]["nodeInfo"]
    return {
        "Kubernetes": info["kubeletVersion"],
        "container runtime": info["containerRuntimeVersion"],
        **runner.versions(),
    }
