"""An agent's messages as a person reads them in a terminal. Pure: a message in, lines of text out."""

import textwrap
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

RESULT_LINES = 8
"""Lines shown of what a tool gave back."""
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35"}


class Transcript:
    """Renders the messages of one attempt."""

    def __init__(self, *, width: int, coloured: bool) -> None:
        self._width = max(40, width)
        self._coloured = coloured

    def lines(self, message: Message) -> Iterator[str]:
        """The lines to show for one message; none for those that only a program wants."""
        match message:
            case {"type": "agentjob"}:
                yield from self._notice(message)
            case {"type": "system", "subtype": "init"}:
                yield self._paint("dim", f"  model {message.get('model')}, {len(message.get('tools', []))} tools")
            case {"type": "system", "subtype": "api_retry"}:
                wait = message.get("retry_delay_ms", 0) / 1000
                yield self._paint(
                    "yellow", f"  the model's endpoint refused ({message.get('error_status')}), again in {wait:.0f} s"
                )
            case {"type": "assistant", "message": {"content": list(blocks)}}:
                for block in blocks:
                    yield from self._said(block)
            case {"type": "user", "message": {"content": list(blocks)}}:
                for block in blocks:
                    yield from self._tool_result(block)
            case _:
                return

    def _notice(self, message: Message) -> Iterator[str]:
        match message:
            case {"subtype": "warning", "text": str(text)}:
                yield self._paint("yellow", f"! {text}")
            case {"subtype": "stopping"}:
                yield self._paint("yellow", "! stopping")
            case _:
                return

    def _said(self, block: Message) -> Iterator[str]:
        match block:
            case {"type": "text", "text": str(text)}:
                yield from self._wrapped("● ", text, "bold")
            case {"type": "thinking", "thinking": str(text)}:
                yield from self._wrapped("· ", text, "dim")
            case {"type": "tool_use", "name": str(name), "input": dict(arguments)}:
                head = self._paint("blue", f"→ {name}")
                yield f"{head} {self._cut(_gist(arguments), len(name) + 3)}"
            case _:
                return

    def _tool_result(self, block: Message) -> Iterator[str]:
        if block.get("type") != "tool_result":
            return
        colour = "red" if block.get("is_error") else "dim"
        lines = _plain(block.get("content")).strip().splitlines()
        for line in lines[:RESULT_LINES]:
            yield self._paint(colour, "  │ " + self._cut(line, 4))
        if len(lines) > RESULT_LINES:
            yield self._paint(colour, f"  │ … {len(lines) - RESULT_LINES} more lines")

    def _wrapped(self, mark: str, text: str, colour: str) -> Iterator[str]:
        first = mark
        for paragraph in text.strip().splitlines():
            for line in textwrap.wrap(paragraph, self._width - 2) or [""]:
                yield self._paint(colour, first + line)
                first = "  "

    def _cut(self, text: str, taken: int) -> str:
        room = self._width - taken
        return text if len(text) <= room else text[: room - 1] + "…"

    def _paint(self, colour: str, text: str) -> str:
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self._coloured else text


def _gist(arguments: Message) -> str:
    """The argument that says most about a tool call, on one line."""
    for name in ("command", "file_path", "path", "pattern", "url", "description"):
        if isinstance(value := arguments.get(name), str):
            return " ".join(value.split())
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _plain(content: object) -> str:
    """The text of a tool result, which is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(block.get("text", f"[{block.get('type')}]") for block in content if isinstance(block, dict))
    return ""
