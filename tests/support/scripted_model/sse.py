"""A reply as the Messages API puts it on the wire: one JSON message, or server-sent events. Pure.

https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scripted_model.replies import Block, Reply, Text, Thinking, ToolCall, Usage

SMALLEST_CHUNK = 24
"""Characters of a delta in an ordinary answer."""
MOST_CHUNKS = 200
"""A block comes in no more deltas than this, however large it is."""


@dataclass(frozen=True)
class Event:
    """One server-sent event; `data` is a JSON object whose `type` is the event's name."""

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The event's name."""
        return str(self.data["type"])

    def encode(self) -> bytes:
        """Frame it; JSON keeps it on one line."""
        return f"event: {self.name}\ndata: {json.dumps(self.data)}\n\n".encode()


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What surrounds a reply's content on the wire."""

    message_id: str
    model: str
    usage: Usage
    tool_ids: tuple[str, ...]
    """One for each tool call, in order."""


def message(said: Reply, envelope: Envelope) -> dict[str, Any]:
    """Give the whole reply as one JSON object."""
    ids = iter(envelope.tool_ids)
    content = [_whole(block, ids) for block in said.content]
    return _frame(envelope, content, said.stop, asdict(envelope.usage))


def events(said: Reply, envelope: Envelope) -> Iterator[Event]:
    """Give the reply as the events of a stream, in order."""
    ids = iter(envelope.tool_ids)
    at_first: dict[str, int] = asdict(envelope.usage) | {"output_tokens": 1}
    yield Event({"type": "message_start", "message": _frame(envelope, [], None, at_first)})
    yield Event({"type": "ping"})
    for index, block in enumerate(said.content):
        yield Event({"type": "content_block_start", "index": index, "content_block": _empty(block, ids)})
        for delta in _deltas(block):
            yield Event({"type": "content_block_delta", "index": index, "delta": delta})
        yield Event({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": said.stop, "stop_sequence": None}
    yield Event({"type": "message_delta", "delta": stop, "usage": asdict(envelope.usage)})
    yield Event({"type": "message_stop"})


def error(kind: str, words: str) -> dict[str, Any]:
    """Give an error in the API's shape; as an event it ends a stream."""
    return {"type": "error", "error": {"type": kind, "message": words}}


def _frame(
    envelope: Envelope, content: list[dict[str, Any]], stop: str | None, usage: dict[str, int]
) -> dict[str, Any]:
    return {
        "id": envelope.message_id,
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _whole(block: Block, ids: Iterator[str]) -> dict[str, Any]:
    match block:
        case Text(words):
            return {"type": "text", "text": words}
        case Thinking(words):
            return {"type": "thinking", "thinking": words, "signature": block.signature}
        case ToolCall(name, arguments):
            return {"type": "tool_use", "id": next(ids), "name": name, "input": dict(arguments)}


def _empty(block: Block, ids: Iterator[str]) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case ToolCall(name, _):
            return {"type": "tool_use", "id": next(ids), "name": name, "input": {}}


def _deltas(block: Block) -> Iterator[dict[str, str]]:
    match block:
        case Text(words):
            for chunk in chunks(words):
                yield {"type": "text_delta", "text": chunk}
        case Thinking(words):
            for chunk in chunks(words):
                yield {"type": "thinking_delta", "thinking": chunk}
            yield {"type": "signature_delta", "signature": block.signature}
        case ToolCall(_, arguments):
            for chunk in chunks(json.dumps(arguments)):
                yield {"type": "input_json_delta", "partial_json": chunk}


def chunks(words: str) -> Iterator[str]:
    """Cut words into pieces of at least SMALLEST_CHUNK characters, at most MOST_CHUNKS of them."""
    size = max(SMALLEST_CHUNK, -(-len(words) // MOST_CHUNKS))
    for start in range(0, len(words), size):
        yield words[start : start + size]
