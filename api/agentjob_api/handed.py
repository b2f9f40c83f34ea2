"""The handover as a runner reads it: the same JSON as in `handover.py`, typed without pydantic.

Until it has read this file a runner cannot start Claude Code, which takes 0.33 s to its first message; importing
pydantic and building its models takes 0.27 s. The operator has validated the job and writes every default out, so
there is nothing left to check or to fill in here. A test holds the two descriptions together.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict, cast

from agentjob_api.names import secret_header_variable


class Header(TypedDict):
    """An HTTP header whose value is a secret."""

    name: str
    secretKeyRef: dict[str, str]


class Server(TypedDict):
    """An MCP server."""

    type: str
    url: NotRequired[str]
    command: NotRequired[str]
    args: list[str]
    headers: dict[str, str]
    headersFrom: list[Header]
    env: dict[str, str]


class Agent(TypedDict):
    """How Claude Code is run."""

    model: NotRequired[str]
    fallbackModel: NotRequired[str]
    maxTurns: NotRequired[int]
    appendSystemPrompt: NotRequired[str]
    permissionMode: str
    allowedTools: list[str]
    disallowedTools: list[str]
    settingSources: list[str]
    mcpServers: dict[str, Server]
    includePartialMessages: bool


class Git(TypedDict):
    """A repository to clone."""

    url: str
    ref: NotRequired[str]
    depth: NotRequired[int]
    secretRef: NotRequired[str]


class Handed(TypedDict):
    """All that a runner is told; the fields are explained in `handover.py` and `spec.py`."""

    namespace: str
    job: str
    uid: str
    attempt: int
    prompt: NotRequired[str]
    agent: Agent
    git: NotRequired[Git]
    files: dict[str, str]


class SecretHeader(NamedTuple):
    """One secret HTTP header of an MCP server and the variable that holds its value."""

    server: str
    header: str
    variable: str


def read(path: Path) -> Handed:
    """Reads the handover.

    Raises:
        OSError: there is no such file.
        ValueError: it is not JSON.
    """
    return cast("Handed", json.loads(path.read_bytes()))


def secret_headers(agent: Agent) -> Iterator[SecretHeader]:
    """The secret headers of all MCP servers, as `handover.secret_headers` names them."""
    for s, (server, spec) in enumerate(sorted(agent["mcpServers"].items())):
        for h, header in enumerate(spec["headersFrom"]):
            yield SecretHeader(server, header["name"], secret_header_variable(s, h))
