"""Names that more than one program must spell alike: the resource's group, labels, paths and environment variables."""

import re
from typing import NamedTuple

GROUP = "agentjob.dev"
OWN_PREFIX = f"{GROUP}/"
"""Of the keys of all labels and annotations of ours."""
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AgentJob"
PLURAL = "agentjobs"
SINGULAR = "agentjob"
SHORT_NAME = "aj"
CATEGORY = "agents"

LABEL_JOB = f"{GROUP}/job"
"""On a runner Pod: the name of its job. Pods are watched by the presence of this label."""
LABEL_ATTEMPT = f"{GROUP}/attempt"
"""On a runner Pod: the number of its attempt, to select and show Pods by; the operator goes by the Pod's name."""
ANNOTATION_HANDOVER = f"{GROUP}/handover"
"""On a runner Pod: the handover as JSON (see `handover.py`)."""

ANNOTATION_SUBMITTED_BY = f"{GROUP}/submitted-by"
"""On a job that came through the gateway: who sent it, `key:<name>` or `user:<username>`."""
ANNOTATION_REQUEST = f"{GROUP}/request"
"""On a job that came through the gateway: the id of the request that made it."""
ANNOTATION_SUBMISSION = f"{GROUP}/submission"
"""On a job that came through the gateway: a digest of its Idempotency-Key, or a word of its own."""
ANNOTATION_DIGEST = f"{GROUP}/digest"
"""On a job that came through the gateway: a digest of what was asked for."""

AGENT_CONTAINER = "agent"
"""The container of a runner Pod in which the agent works."""
WORKSPACE_CONTAINER = "workspace"
"""The init container of a runner Pod that lays out the workspace."""

WORKSPACE = "/workspace"
"""The agent's working directory: where `.mcp.json` and `CLAUDE.md` are looked up."""
HOME = "/home/agent"
TMP = "/tmp"  # noqa: S108 - a mount of the Pod's own
HANDOVER_DIR = "/etc/agentjob"
HANDOVER_FILE = f"{HANDOVER_DIR}/handover.json"
TERMINATION_LOG = "/dev/termination-log"
"""Where the kubelet picks up a container's termination message (its default path)."""

ENV_PROMPT = "AGENTJOB_PROMPT"
"""Holds the prompt when `spec.promptFrom` names a ConfigMap or Secret."""
ENV_GIT_PREFIX = "AGENTJOB_GIT_"
"""The keys `username` and `password` of `spec.workspace.git.secretRef` reach the init container under this prefix."""

MAX_JOB_NAME = 57
"""Longest name of a job, in characters: `<job>-<attempt>` must be a label value and a host name, 63 at most."""
JOB_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
"""What every object's name looks like, as a regular expression; of jobs, the CRD refuses those with dots."""


class Key(NamedTuple):
    """One object of a namespaced kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def is_job_name(text: str) -> bool:
    """Whether a job may be called so. What may not is no part of a path: `.` and `..` lead to other objects."""
    return len(text) <= MAX_JOB_NAME and re.fullmatch(JOB_NAME, text) is not None


def pod_name(job: str, attempt: int) -> str:
    """Name of the Pod of one attempt: the same whenever it is asked for, so that creating it twice cannot make two."""
    return f"{job}-{attempt}"


def of_pod(name: str) -> tuple[str, int]:
    """The job and the attempt whose Pod is called so; attempt 0 where there is none."""
    job, _, attempt = name.rpartition("-")
    return job, int(attempt) if attempt.isdecimal() else 0


def secret_header_variable(server: int, header: int) -> str:
    """Name of the variable with a secret header of an MCP server, both counted from 0, the servers by name."""
    return f"AGENTJOB_MCP_{server}_{header}"
