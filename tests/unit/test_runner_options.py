"""The job's and the workspace's settings become options of Claude Code."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from claude_agent_sdk import ClaudeAgentOptions

from agentjob_api import handed, handover
from agentjob_api.handed import Agent
from agentjob_api.handover import Handover
from agentjob_api.spec import AgentSpec
from agentjob_runner import options
from agentjob_runner.project import Project

NOTHING = Project({}, "", ())
TOKENS = {"name": "tokens", "key": "k"}


def agent(**fields: Any) -> Agent:
    """`spec.agent` as a runner gets it: through the operator's types and the annotation's JSON."""
    job = Handover(namespace="n", job="j", uid="u", attempt=1, agent=AgentSpec.model_validate(fields))
    return cast("handed.Handed", json.loads(job.to_annotation()))["agent"]


def built(environment: dict[str, str] | None = None, **fields: Any) -> ClaudeAgentOptions:
    return options.options(agent(**fields), Path("/w"), environment or {}, Path("/in/mcp"), Path("/in/append"))


def test_a_job_that_sets_nothing_runs_as_a_project_with_every_tool() -> None:
    found = built()

    assert found.cwd == Path("/w")
    assert found.permission_mode == "bypassPermissions"
    assert found.setting_sources == ["user", "project"]
    assert found.system_prompt == {"type": "preset", "preset": "claude_code"}
    assert found.extra_args == {"append-system-prompt-file": "/in/append"}
    assert found.mcp_servers == Path("/in/mcp")
    assert (found.model, found.fallback_model, found.max_turns) == (None, None, None)
    assert (found.allowed_tools, found.disallowed_tools) == ([], [])
    assert found.include_partial_messages is False
    assert found.max_buffer_size == 20 * 1024 * 1024
    assert found.strict_mcp_config is False


@pytest.mark.parametrize(
    ("field", "value", "option", "expected"),
    [
        pytest.param("model", "claude-opus-5-5", "model", "claude-opus-5-5", id="the model"),
        pytest.param("fallbackModel", "haiku", "fallback_model", "haiku", id="the model to fall back to"),
        pytest.param("maxTurns", 7, "max_turns", 7, id="the turns"),
        pytest.param("permissionMode", "plan", "permission_mode", "plan", id="the permission mode"),
        pytest.param("allowedTools", ["Read"], "allowed_tools", ["Read"], id="tools that need no permission"),
        pytest.param("disallowedTools", ["Bash"], "disallowed_tools", ["Bash"], id="tools that are taken away"),
        pytest.param("settingSources", ["user"], "setting_sources", ["user"], id="where settings come from"),
        pytest.param("settingSources", [], "setting_sources", [], id="no settings from anywhere"),
        pytest.param("includePartialMessages", True, "include_partial_messages", True, id="partial messages"),
    ],
)
def test_each_setting_becomes_its_option(field: str, value: Any, option: str, expected: object) -> None:
    assert getattr(built(**{field: value}), option) == expected


@pytest.mark.parametrize(
    ("environment", "retries"),
    [
        pytest.param({}, "4", id="four retries"),
        pytest.param({"CLAUDE_CODE_MAX_RETRIES": "0"}, "0", id="or what the job says"),
    ],
)
def test_the_environment_keeps_the_cli_to_its_work(environment: dict[str, str], retries: str) -> None:
    assert built(environment).env == {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
        "CLAUDE_CODE_MAX_RETRIES": retries,
    }


@pytest.mark.parametrize(
    ("claude_md", "own", "appended"),
    [
        pytest.param("", None, "", id="nothing"),
        pytest.param("Be brief.\n", None, "Be brief.", id="CLAUDE.md"),
        pytest.param("", "Be bold.", "Be bold.", id="the job's text"),
        pytest.param("Be brief.\n", "Be bold.\n", "Be brief.\n\nBe bold.", id="CLAUDE.md, then the job's text"),
        pytest.param(" \n", "Be bold.", "Be bold.", id="an empty CLAUDE.md is none"),
    ],
)
def test_what_is_appended_to_the_system_prompt(claude_md: str, own: str | None, appended: str) -> None:
    fields = {} if own is None else {"appendSystemPrompt": own}

    assert options.inputs(agent(**fields), Project({}, claude_md, ()), {}).append_system_prompt == appended


HTTP = {"type": "http", "url": "http://search/mcp"}


@pytest.mark.parametrize(
    ("project", "job", "merged"),
    [
        pytest.param({}, {}, {}, id="none"),
        pytest.param({"db": {"command": "db"}}, {}, {"db": {"command": "db"}}, id="the workspace's, as they stand"),
        pytest.param({}, {"s": HTTP}, {"s": HTTP | {"headers": {}}}, id="the job's"),
        pytest.param(
            {"s": {"command": "old"}, "t": {"command": "kept"}},
            {"s": HTTP},
            {"s": HTTP | {"headers": {}}, "t": {"command": "kept"}},
            id="both, the job's wins over one of the same name",
        ),
        pytest.param(
            {},
            {"p": {"type": "stdio", "command": "/bin/mcp", "args": ["-v"], "env": {"A": "b"}}},
            {"p": {"type": "stdio", "command": "/bin/mcp", "args": ["-v"], "env": {"A": "b"}}},
            id="a program",
        ),
    ],
)
def test_mcp_servers_of_workspace_and_job(project: dict[str, Any], job: dict[str, Any], merged: dict[str, Any]) -> None:
    found = options.inputs(agent(mcpServers=job), Project(project, "", ()), {})

    assert found.mcp_config == {"mcpServers": merged}


TWO_SECRETS = {
    "zoo": HTTP
    | {
        "headers": {"X-Team": "a"},
        "headersFrom": [{"name": "X-Key", "secretKeyRef": TOKENS}, {"name": "X-Team", "secretKeyRef": TOKENS}],
    },
    "art": {"type": "sse", "url": "http://art", "headersFrom": [{"name": "Authorization", "secretKeyRef": TOKENS}]},
}


def test_secret_headers_come_from_the_variables_that_the_operator_set() -> None:
    spec = AgentSpec.model_validate({"mcpServers": TWO_SECRETS})
    environment = {header.variable: f"secret of {header.header}" for header in handover.secret_headers(spec)}

    servers = options.inputs(agent(mcpServers=TWO_SECRETS), NOTHING, environment).mcp_config["mcpServers"]

    assert servers["art"]["headers"] == {"Authorization": "secret of Authorization"}
    assert servers["zoo"]["headers"] == {"X-Team": "secret of X-Team", "X-Key": "secret of X-Key"}


def test_what_the_agents_environment_must_not_hold_is_named() -> None:
    ours = ["NODE_OPTIONS", "VSCODE_INSPECTOR_OPTIONS", "AGENTJOB_PROMPT"]
    secrets = ["AGENTJOB_MCP_0_0", "AGENTJOB_MCP_1_0", "AGENTJOB_MCP_1_1"]
    kubelets = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT_HTTPS", "KUBERNETES_PORT_443_TCP"]
    theirs = ["PATH", "HOME", "ANTHROPIC_API_KEY", "KUBERNETES_NAMESPACE", "NODE_OPTIONS_OF_MINE"]
    environment = dict.fromkeys([*ours, *secrets, *kubelets, *theirs], "x")

    assert options.withheld(agent(mcpServers=TWO_SECRETS), environment) == [*ours, *secrets, *kubelets]
