"""What the operator hands to a runner: the job as JSON in a Pod annotation, which the kubelet projects as a file.

Secrets never pass through it: the runner finds them in environment variables that the kubelet fills, under names that
both sides derive here.
"""

from typing import NamedTuple

from agentjob_api.fields import KeyRef
from agentjob_api.model import Resource
from agentjob_api.names import secret_header_variable
from agentjob_api.spec import AgentSpec, GitSource

MAX_HANDOVER_BYTES = 240 * 1024
"""UTF-8 bytes of the JSON. A Pod takes 256 KiB of annotations in all; the rest is for `spec.runner.annotations`."""


class HandoverTooLargeError(ValueError):
    """The job does not fit into its Pod's annotation."""


class Handover(Resource):
    """All that a runner is told."""

    namespace: str
    job: str
    uid: str
    attempt: int
    prompt: str | None = None
    """None when the environment variable AGENTJOB_PROMPT holds it."""
    agent: AgentSpec
    git: GitSource | None = None
    files: dict[str, str] = {}

    def to_annotation(self) -> str:
        """The JSON for the annotation, defaults written out: a runner reads it without these types (`handed.py`).

        Raises:
            HandoverTooLargeError: it would be larger than MAX_HANDOVER_BYTES.
        """
        text = self.model_dump_json(exclude_none=True)
        size = len(text.encode())
        if size > MAX_HANDOVER_BYTES:
            raise HandoverTooLargeError(
                f"spec.prompt, spec.agent and spec.workspace.files are {size} bytes of JSON together, at most"
                f" {MAX_HANDOVER_BYTES} fit: move the prompt into a ConfigMap (promptFrom) or the files into git"
            )
        return text


class SecretHeader(NamedTuple):
    """One secret HTTP header of an MCP server and the variable in which the runner finds its value."""

    server: str
    header: str
    variable: str
    ref: KeyRef


def secret_headers(agent: AgentSpec) -> tuple[SecretHeader, ...]:
    """The secret headers of all MCP servers, in an order that both sides share."""
    return tuple(
        SecretHeader(server, source.name, secret_header_variable(s, h), source.secret_key_ref)
        for s, (server, spec) in enumerate(sorted(agent.mcp_servers.items()))
        for h, source in enumerate(spec.headers_from)
    )
