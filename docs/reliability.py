"""What came of each fault, as a page: docs/reliability.md, from the results of `make chaos`."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "tests/chaos/results.json"
INTRODUCTION = """# Reliability

What goes wrong, and what comes of it. `make chaos` brings each of these faults about, writes what came of it to
`tests/chaos/results.json`, and this page from that; `make faults`, a part of `make test`, is the short of it.

There is a row only where all went as it should: every Pod was made once and no other, every job that the fault lets
end has ended as it should and for the reason it should, no status takes back what one before has said, and nothing is
left or done afterwards. Where real agents work, jobs have cost what they should. Rows of one table may be of several
sessions.

**undisturbed** is the same life without the fault, in the same session; **afterwards** is how long the slowest run took
beside the fault itself, and **ratio** what that is of the undisturbed time; the goal is 2.

On the kind cluster the operator is a process beside the real API server, with the rights that the chart gives it, and
it is killed by SIGKILL; that fault lasts until the next one has started, 1 to 10 s on two busy CPUs. An agent works
there for 5 s at the least, as briefly as agents do. A run that misses the goal there fails, and gives no row.

On the fake cluster the operator is a task in the test's own process, and a life takes a tenth of a second or so. What
is over the goal there is an operator that waits before it tries again, which it does for whole seconds.
"""
NOT_PROTECTED = """
## Not protected from

An API server that answers a LIST with less than it has acknowledged, to an operator that has just started: a job that
has ended then looks as one that was never begun, and gets a Pod once more, until its last status is heard. Kubernetes
excludes it: a LIST that names no resourceVersion is consistent. One that is stale for an operator that runs already is
above.

Two agents of one job at work at once, where a node is cut off for minutes and works on: Kubernetes gives it up, and the
next attempt starts. [How that is bounded, and who can exclude it](decisions/0019-lost-nodes.md).

An etcd that was restored from a snapshot: resourceVersions of jobs and Pods go back, also with `--bump-revision`, and
operator and gateway hold on to the newer ones that they know, through all watches and LISTs. They take what was
restored for late answers, and writes about it are refused. So start them anew once the API server is back, in the
namespace of each release: `kubectl rollout restart deployment --selector app.kubernetes.io/instance=RELEASE`. From
then on, what was restored is what is true: jobs made after the snapshot are gone, and their Pods with them; what has
ended since may be done once more.
"""
GROUPS = {
    "operator": "The operator is killed, stopped or doubled",
    "requests": "Between the operator and the API server",
    "cluster": "Components of the cluster",
    "nodes": "Nodes, on a cluster that has two to lose",
    "pods": "Pods",
    "jobs": "Jobs",
}
HEAD = """
| fault | shown on | what a user sees | runs | fault, s | undisturbed, s | afterwards, s | ratio |
|---|---|---|---:|---:|---:|---:|---:|
"""


def page() -> str:
    """The text of docs/reliability.md."""
    rows = json.loads(RESULTS.read_text())
    parts = [_part(title, [row for row in rows if row["group"] == group]) for group, title in GROUPS.items()]
    return INTRODUCTION + "".join(parts) + NOT_PROTECTED


def _part(title: str, rows: list[dict[str, Any]]) -> str:
    return f"\n## {title}\n{HEAD}" + "".join(map(_line, rows)) if rows else ""


def _line(row: dict[str, Any]) -> str:
    afterwards = max(0.0, row["seconds"] - row["lasted"])
    lasted = f"{row['lasted']:.0f}" if row["lasted"] else "–"
    figures = f"{row['runs']} | {lasted} | {row['usual']:.1f} | {afterwards:.1f} | {row['late']:.1f}"
    return f"| {row['fault']} | {row['where']} | {row['sees']} | {figures} |\n"
