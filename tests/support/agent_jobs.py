"""AgentJobs as the API server sends them, for tests of what the gateway makes of them."""

from typing import Any

from agentjob_api import names

Object = dict[str, Any]

ENDED: Object = {
    "phase": "Succeeded",
    "startTime": "2026-11-22T10:00:05Z",
    "completionTime": "2026-11-22T10:01:00Z",
    "attemptCount": 1,
    "attempts": [{"number": 1, "pod": "fix-1", "completionTime": "2026-11-22T10:01:00Z", "reason": "Completed"}],
    "result": {"text": "Mended.", "numTurns": 3},
    "usage": {"inputTokens": 7, "outputTokens": 5, "cacheReadInputTokens": 100},
    "costUSD": "0.0127",
}
FAILED: Object = {
    "phase": "Failed",
    "completionTime": "2026-11-22T10:01:00Z",
    "failure": {"reason": "MaxTurns", "message": "Reached maximum number of turns (3).", "retryable": False},
}


def agent_job(name: str = "fix", status: Object | None = None, version: int = 5, **meta: Any) -> Object:
    """A job in the namespace `agents`; without a status it waits."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": "agents",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-22T10:00:00Z",
            **meta,
        },
        "spec": {"prompt": "Mend the tests."},
        "status": status or {"phase": "Pending"},
    }
