"""What the model says in one turn: blocks, how it stops, what it is billed as, and how fast it comes.

Plots are written with the small builders below:

    yield [text("I'll run the tests first."), bash("python3 -m unittest -v")]
    yield reply(text("A long answer, cut off he"), stop="max_tokens")
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None
StopReason: TypeAlias = Literal["end_turn", "tool_use", "max_tokens", "refusal"]

USAGE_CEILING = 50_000
"""No default figure grows beyond this, so that a long script never makes the client compact its conversation."""


@dataclass(frozen=True)
class Text:
    """Words for the user."""

    text: str


@dataclass(frozen=True)
class Thinking:
    """Reasoning before the answer; it comes back in the next request and must come back unchanged."""

    thinking: str

    @property
    def signature(self) -> str:
        """What proves that a thinking block was said by this model and not altered since."""
        return base64.b64encode(hashlib.sha256(b"scripted:" + self.thinking.encode()).digest()).decode()


@dataclass(frozen=True)
class ToolCall:
    """A tool to be run by the client, with its arguments."""

    name: str
    arguments: Mapping[str, JSON]


Block: TypeAlias = Text | Thinking | ToolCall


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens, as the Messages API bills them."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One assistant message."""

    content: tuple[Block, ...]
    stop: StopReason
    usage: Usage | None = None
    """None: `usual_usage` of its place in the conversation."""
    wait: float = 0.0
    """Seconds before the first byte."""
    pace: float = 0.0
    """Seconds between two chunks of a stream."""

    @property
    def text(self) -> str:
        """All its words, without the thinking."""
        return "".join(block.text for block in self.content if isinstance(block, Text))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools it calls, in order."""
        return tuple(block for block in self.content if isinstance(block, ToolCall))


def reply(
    *content: Block,
    stop: StopReason | None = None,
    usage: Usage | None = None,
    wait: float = 0.0,
    pace: float = 0.0,
) -> Reply:
    """Build a reply; it stops with `tool_use` if it calls a tool and with `end_turn` if not, unless told otherwise."""
    calls_tools = any(isinstance(block, ToolCall) for block in content)
    return Reply(
        content=content,
        stop=stop or ("tool_use" if calls_tools else "end_turn"),
        usage=usage,
        wait=wait,
        pace=pace,
    )


def text(words: str) -> Text:
    """Words for the user."""
    return Text(words)


def thinking(words: str) -> Thinking:
    """Reasoning before the answer."""
    return Thinking(words)


def tool(name: str, **arguments: JSON) -> ToolCall:
    """Call any tool by its name."""
    return ToolCall(name, arguments)


def bash(command: str, *, timeout: float | None = None) -> ToolCall:
    """Run a shell command with Claude Code's Bash tool; `timeout` in seconds (its own default is 120, at most 600)."""
    if timeout is None:
        return tool("Bash", command=command)
    return tool("Bash", command=command, timeout=int(timeout * 1000))


def read(path: str) -> ToolCall:
    """Read a file with Claude Code's Read tool; the result has numbered lines (`Answer.without_line_numbers`)."""
    return tool("Read", file_path=path)


def write(path: str, content: str) -> ToolCall:
    """Write a whole file with Claude Code's Write tool."""
    return tool("Write", file_path=path, content=content)


def edit(path: str, old: str, new: str) -> ToolCall:
    """Replace one passage of a file with Claude Code's Edit tool; the file must have been read before."""
    return tool("Edit", file_path=path, old_string=old, new_string=new)


def usual_usage(said: Reply, turn: int) -> Usage:
    """Bill a reply without figures of its own.

    The figures depend on the reply and its place (`turn`, from 0) and on nothing else, so that a test can state the
    sum: 10 fresh tokens, 500 written to the cache, all earlier ones read from it, a token out for every four
    characters. Each is at most `USAGE_CEILING`.
    """
    characters = sum(_length(block) for block in said.content)
    return Usage(
        input_tokens=10,
        cache_creation_input_tokens=500,
        cache_read_input_tokens=min(2_000 + 500 * turn, USAGE_CEILING),
        output_tokens=min(1 + characters // 4, USAGE_CEILING),
    )


def _length(block: Block) -> int:
    match block:
        case Text(words) | Thinking(words):
            return len(words)
        case ToolCall(name, arguments):
            return len(name) + sum(len(key) + len(str(value)) for key, value in arguments.items())
