"""API writes per job, counted at the API server itself (`apiserver_request_total`). Pure but for the reading."""

import re
from collections import Counter

WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
OPERATORS = {("POST", "pods", ""), ("PATCH", "pods", ""), ("DELETE", "pods", "")} | {
    (verb, "agentjobs", "status") for verb in WRITES - {"APPLY"}
}
"""Writes that only the operator makes on a cluster where nothing else runs: (verb, resource, subresource). An applied
status is the gateway's, once for each job: that its lines are kept."""

_SAMPLE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Write = tuple[str, str, str]


def counted(metrics: str) -> Counter[Write]:
    """Writes so far by (verb, resource, subresource), from the text of the API server's /metrics."""
    totals: Counter[Write] = Counter()
    for labels, value in _SAMPLE.findall(metrics):
        label = dict(_LABEL.findall(labels))
        write = (label.get("verb", ""), label.get("resource", ""), label.get("subresource", ""))
        if write in OPERATORS:
            totals[write] += int(float(value))
    return totals
