"""API writes per job, counted at the API server itself (`apiserver_request_total`). Pure but for the reading."""

import re
from collections import Counter
from typing import Final

Write = tuple[str, str, str]
"""Verb, resource, subresource."""

WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
OPERATORS: Final[frozenset[Write]] = frozenset(
    {("POST", "pods", ""), ("PATCH", "pods", ""), ("DELETE", "pods", "")}
    | {(verb, "agentjobs", "status") for verb in WRITES - {"APPLY"}}
)
"""Writes that only the operator makes on a cluster where nothing else runs: (verb, resource, subresource). An applied
status is the gateway's, once for each job: that its lines are kept."""
BY_JOB_CONTROLLER: Final[frozenset[Write]] = frozenset(
    {("POST", "pods", ""), ("PATCH", "pods", ""), ("DELETE", "pods", "")}
    | {(verb, "jobs", part) for verb in WRITES - {"POST", "DELETE"} for part in ("", "status")}
)
"""Those of the controller of batch/v1 Jobs where nothing else runs. Its Events, two for each Job, are not among them:
who has written an Event is not counted."""

_SAMPLE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def counted(metrics: str, these: frozenset[Write] = OPERATORS) -> Counter[Write]:
    """Writes so far, from the text of the API server's /metrics."""
    totals: Counter[Write] = Counter()
    for labels, value in _SAMPLE.findall(metrics):
        label = dict(_LABEL.findall(labels))
        write = (label.get("verb", ""), label.get("resource", ""), label.get("subresource", ""))
        if write in these:
            totals[write] += int(float(value))
    return totals
