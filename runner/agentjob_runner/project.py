"""What the workspace says about how Claude Code is to be run there: `.mcp.json` and `CLAUDE.md` at its root."""

import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

MAX_FILE = 1024 * 1024
"""Bytes of `.mcp.json` or `CLAUDE.md`; Claude Code itself calls a CLAUDE.md of 40,000 characters too large."""


class Project(NamedTuple):
    """The workspace's own settings, and what was wrong with them."""

    mcp_servers: dict[str, Any]
    """The servers of `.mcp.json` by name, as they stand there; Claude Code judges each."""
    claude_md: str
    """The text of `CLAUDE.md`."""
    warnings: tuple[str, ...]


class _UnreadableError(Exception):
    """A file that is there cannot be used; the message says why."""


def read(workspace: Path) -> Project:
    """Reads both files. What is broken is a warning and counts as missing; what is missing is nothing to speak of."""
    warnings: list[str] = []
    servers: dict[str, Any] = {}
    claude_md = ""
    try:
        servers = _mcp_servers(_text(workspace / ".mcp.json"))
    except _UnreadableError as error:
        warnings.append(f".mcp.json: {error}; the agent goes on without its MCP servers")
    try:
        claude_md = _text(workspace / "CLAUDE.md") or ""
    except _UnreadableError as error:
        warnings.append(f"CLAUDE.md: {error}; the agent goes on without it")
    return Project(servers, claude_md, tuple(warnings))


def _mcp_servers(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"not JSON: {error}") from error
    if not isinstance(config, dict):
        raise _UnreadableError(f"must be an object, found {_kind(config)}")
    servers = config.get("mcpServers") or {}
    if not isinstance(servers, dict):
        raise _UnreadableError(f"mcpServers must be an object, found {_kind(servers)}")
    return servers


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _text(path: Path) -> str | None:
    """A file's text; None when there is no file. Waits for nobody, whatever kind of file it is."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _UnreadableError(error.strerror) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _UnreadableError("not a regular file")
    with os.fdopen(file, "rb") as opened:
        content = opened.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise _UnreadableError(f"larger than {MAX_FILE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"not UTF-8 at byte {error.start}") from error
