"""A request's messages as a conversation: what was said, and what came back after each reply."""

from dataclasses import dataclass

from scripted_model.blocks import (
    Block,
    DocumentBlock,
    ImageBlock,
    ResultPart,
    TextBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    blocks_of,
)
from scripted_model.requests import Message
from scripted_model.scripts import REMINDER, ToolResult

CLIENTS_OWN_REPLIES = frozenset({"No response requested.", "(no content)"})
"""What Claude Code puts into the model's mouth, such as when it resumes a conversation killed in a tool call."""


@dataclass(frozen=True)
class Heard:
    """Everything that the client said between two replies."""

    results: dict[str, ToolResult]
    """By the id of the tool call."""
    said: str
    """The user's words; what the client adds in `<system-reminder>` is left out."""


@dataclass(frozen=True)
class Spoken:
    """A reply of the model, as the client remembers it."""

    index: int
    """Where it stands in the request's messages."""
    text: str
    calls: tuple[ToolUseBlock, ...]


def conversation(messages: list[Message]) -> tuple[list[Heard], list[Spoken]]:
    """Split messages into turns: what was heard (one more) around what was spoken.

    Replies that Claude Code made up itself are left out, and what stands around them is heard together.
    """
    spoken: list[Spoken] = []
    heard: list[list[Block]] = [[]]
    for index, message in enumerate(messages):
        blocks = blocks_of(message.content)
        if message.role == "user":
            heard[-1].extend(blocks)
        elif message.role == "assistant" and (turn := _spoken(index, blocks)):
            spoken.append(turn)
            heard.append([])
    return [_heard(blocks) for blocks in heard], spoken


def loaded_tools(messages: list[Message]) -> set[str]:
    """Name the tools whose definitions were deferred and have been loaded in the course of the conversation."""
    parts = [part for message in messages for block in blocks_of(message.content) for part in _parts(block)]
    return {part.tool_name for part in parts if isinstance(part, ToolReferenceBlock)}


def _parts(block: Block) -> list[ResultPart]:
    return block.content if isinstance(block, ToolResultBlock) and isinstance(block.content, list) else []


def _spoken(index: int, blocks: list[Block]) -> Spoken | None:
    calls = tuple(block for block in blocks if isinstance(block, ToolUseBlock))
    words = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    if not calls and words.strip() in CLIENTS_OWN_REPLIES:
        return None
    return Spoken(index, words, calls)


def _heard(blocks: list[Block]) -> Heard:
    results = {block.tool_use_id: _result(block) for block in blocks if isinstance(block, ToolResultBlock)}
    words = "\n".join(block.text for block in blocks if isinstance(block, TextBlock))
    return Heard(results, REMINDER.sub("", words).strip())


def _result(block: ToolResultBlock) -> ToolResult:
    words = block.content if isinstance(block.content, str) else "\n".join(_words(part) for part in block.content)
    return ToolResult(words, bool(block.is_error))


def _words(part: ResultPart) -> str:
    match part:
        case TextBlock():
            return part.text
        case ToolReferenceBlock():
            return part.tool_name
        case ImageBlock() | DocumentBlock():
            return f"[{part.type}]"
