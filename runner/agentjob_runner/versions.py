"""The versions of what an attempt runs on, found without importing the SDK."""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of Python, of the SDK, and of the Claude Code that comes with it."""
    sdk = find_spec("claude_agent_sdk")
    assert sdk is not None
    assert sdk.origin is not None
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "claude-agent-sdk": version("claude-agent-sdk"),
        "claude-code": (Path(sdk.origin).parent / "_bundled" / "claude.version").read_text().split()[0],
    }
