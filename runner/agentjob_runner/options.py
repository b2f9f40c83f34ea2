"""How Claude Code is run: the job's and the workspace's settings as options of the SDK. Pure.

The workspace is treated as a project. Its `.mcp.json` gives MCP servers, and the job's win over those of the same name.
Its `CLAUDE.md` is appended to the system prompt of the `claude_code` preset, then comes the job's own text. With the
setting source `project` Claude Code itself

- connects the servers of `.mcp.json` too: one of a name that it was given in options is not connected twice;
- puts `CLAUDE.md` into the first message of the conversation as well. That is not prevented. It is where `@imports` are
  followed and what subagents see, who do not get the system prompt; a setting that excludes the file
  (`claudeMdExcludes`) takes both away. The price is the file's tokens once more, and from the second request on they
  come from the cache.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from claude_agent_sdk import ClaudeAgentOptions, PermissionMode, SettingSource

from agentjob_api import names
from agentjob_api.handed import Agent, Server, secret_headers
from agentjob_runner.project import Project

MAX_BUFFER = 20 * 1024 * 1024
"""Bytes of one message of the CLI. The SDK's own limit of 1 MiB ends the job at the first Edit of a 3 MB file."""
MAX_RETRIES = "4"
"""How often the CLI repeats a request that failed, unless the job's environment says otherwise. Four rides out 8 s of
429, 5xx or a refused connection. The CLI's default of 10 holds a Pod for three minutes before it says why it fails."""
DEBUGGER = ("NODE_OPTIONS", "VSCODE_INSPECTOR_OPTIONS")
"""Variables of a debugger that may be around the runner and must not reach the CLI."""
CLUSTER = ("KUBERNETES_SERVICE_", "KUBERNETES_PORT")
"""How the variables begin that the kubelet sets in every container: where an API server is that no agent may reach."""


class Inputs(NamedTuple):
    """What Claude Code is given in files, because it is too large for an argument or none of `ps`'s business."""

    mcp_config: dict[str, Any]
    append_system_prompt: str


def withheld(agent: Agent, environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that are taken out of the agent's environment.

    Secrets among them are kept from what an agent prints without a second thought (`env`), not from one that looks for
    them: it runs as the same user as the process that uses them.
    """
    ours = {*DEBUGGER, names.ENV_PROMPT, *(secret.variable for secret in secret_headers(agent))}
    return [name for name in environment if name in ours or name.startswith(CLUSTER)]


def added(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are put into the agent's environment."""
    return {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",  # agent.py waits for them
        "CLAUDE_CODE_MAX_RETRIES": environment.get("CLAUDE_CODE_MAX_RETRIES", MAX_RETRIES),
    }


def inputs(agent: Agent, project: Project, environment: Mapping[str, str]) -> Inputs:
    """What goes into the CLI's input files. `environment` must still hold the secret headers."""
    secrets: dict[str, dict[str, str]] = {name: {} for name in agent["mcpServers"]}
    for secret in secret_headers(agent):
        secrets[secret.server][secret.header] = environment[secret.variable]
    servers = {name: _server(server, secrets[name]) for name, server in agent["mcpServers"].items()}
    texts = [text.strip() for text in (project.claude_md, agent.get("appendSystemPrompt", ""))]
    return Inputs({"mcpServers": project.mcp_servers | servers}, "\n\n".join(filter(None, texts)))


def _server(server: Server, secret: dict[str, str]) -> dict[str, Any]:
    """One of the job's MCP servers as `.mcp.json` would have it."""
    if server["type"] == "stdio":
        return {"type": "stdio", "command": server.get("command"), "args": server["args"], "env": server["env"]}
    return {"type": server["type"], "url": server.get("url"), "headers": server["headers"] | secret}


def options(
    agent: Agent, workspace: Path, environment: Mapping[str, str], mcp_config: Path, append_system_prompt: Path
) -> ClaudeAgentOptions:
    """The SDK's options. The last two are the paths of the input files."""
    return ClaudeAgentOptions(
        cwd=workspace,
        env=added(environment),
        setting_sources=cast("list[SettingSource]", agent["settingSources"]),
        system_prompt={"type": "preset", "preset": "claude_code"},
        extra_args={"append-system-prompt-file": str(append_system_prompt)},
        mcp_servers=mcp_config,
        permission_mode=cast("PermissionMode", agent["permissionMode"]),
        allowed_tools=agent["allowedTools"],
        disallowed_tools=agent["disallowedTools"],
        model=agent.get("model"),
        fallback_model=agent.get("fallbackModel"),
        max_turns=agent.get("maxTurns"),
        include_partial_messages=agent["includePartialMessages"],
        max_buffer_size=MAX_BUFFER,
    )
