"""What the SDK imports and a runner never uses: left out, because it takes longer to import than Claude Code to start.

`import claude_agent_sdk` takes 1.2 s, all but 0.07 s of it for `mcp` and `jsonschema`; Claude Code's first message is
there after 0.33 s. Both serve MCP servers that run inside the SDK's own process. A runner has none: its MCP servers are
programs and addresses that Claude Code connects to by itself.
"""

import sys
from types import ModuleType

UNUSED = (
    "jsonschema",
    "mcp",
    "mcp.server",
    "mcp.shared",
    "mcp.shared.memory",
    "mcp.shared.message",
    "mcp.types",
    "opentelemetry",
)
"""The modules. The SDK names and derives from what they hold; it does without opentelemetry where that fails."""


class _Placeholder:
    """Stands for a class of a module that was left out: it may be named and derived from."""

    def __init_subclass__(cls, **_: object) -> None:
        pass

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError(f"{type(self).__name__} belongs to a module that the runner leaves out (absent.py)")


class _Module(ModuleType):
    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (_Placeholder,), {})


def leave_out() -> None:
    """Put placeholders for these modules into this process, before the SDK is imported."""
    sys.modules.update({name: _Module(name) for name in UNUSED})
