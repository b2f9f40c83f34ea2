"""The workspace's own settings: what is broken is a warning, what is missing is nothing."""

import os
from pathlib import Path
from typing import Any

import pytest

from agentjob_runner import project
from agentjob_runner.project import Project


@pytest.mark.parametrize(
    ("mcp_json", "servers"),
    [
        pytest.param('{"mcpServers": {"db": {"command": "db"}}}', {"db": {"command": "db"}}, id="servers"),
        pytest.param('\ufeff{"mcpServers": {"db": {}}}', {"db": {}}, id="after a byte order mark"),
        pytest.param("{}", {}, id="no servers"),
        pytest.param('{"mcpServers": null}', {}, id="null"),
    ],
)
def test_the_servers_of_mcp_json(tmp_path: Path, mcp_json: str, servers: dict[str, Any]) -> None:
    (tmp_path / ".mcp.json").write_text(mcp_json)

    assert project.read(tmp_path) == Project(servers, "", ())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b'{"mcpServers": {', "not JSON: ", id="JSON that breaks off"),
        pytest.param(b"", "not JSON: ", id="an empty file"),
        pytest.param(b"[" * 100_000, "not JSON: ", id="JSON that is nested without end"),
        pytest.param(b"[]", "must be an object, found a list", id="a list"),
        pytest.param(b'{"mcpServers": [1]}', "mcpServers must be an object, found a list", id="a list of servers"),
        pytest.param(b'{"mcpServers": "db"}', "mcpServers must be an object, found a string", id="servers as a string"),
        pytest.param(b'{"mcpServers": 4.5}', "mcpServers must be an object, found a number", id="servers as a number"),
        pytest.param(b"\xff\xfe", "not UTF-8 at byte 0", id="bytes that are no text"),
        pytest.param(b" " * (project.MAX_FILE + 1), f"larger than {project.MAX_FILE} bytes", id="a very large file"),
    ],
)
def test_a_broken_mcp_json_is_a_warning(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / ".mcp.json").write_bytes(content)

    found = project.read(tmp_path)

    assert found.mcp_servers == {}
    [warning] = found.warnings
    assert warning.startswith(f".mcp.json: {why}")
    assert warning.endswith("; the agent goes on without its MCP servers")


def test_claude_md_is_read(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_text("Be brief, ä.\n")

    assert project.read(tmp_path) == Project({}, "Be brief, ä.\n", ())


def test_a_broken_claude_md_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_bytes(b"caf\xe9")

    assert project.read(tmp_path) == Project({}, "", ("CLAUDE.md: not UTF-8 at byte 3; the agent goes on without it",))


def test_what_is_missing_is_not_spoken_of(tmp_path: Path) -> None:
    assert project.read(tmp_path) == Project({}, "", ())


def test_neither_a_directory_nor_a_pipe_nor_a_dead_end_holds_the_runner_up(tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").mkdir()
    os.mkfifo(tmp_path / "CLAUDE.md")

    assert [warning.partition(";")[0] for warning in project.read(tmp_path).warnings] == [
        ".mcp.json: not a regular file",
        "CLAUDE.md: not a regular file",
    ]

    (tmp_path / "CLAUDE.md").unlink()
    (tmp_path / "CLAUDE.md").symlink_to("CLAUDE.md")
    assert project.read(tmp_path).warnings[1].startswith("CLAUDE.md: Too many levels of symbolic links")
