"""A message made small enough for a line, by cutting its longest strings. Pure.

Cut are the strings above a level that is as high as the limit allows, so that many small ones stay whole beside a large
one. Where that is not enough (a list of very many things), lists and objects lose their tails as well.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

JSON: TypeAlias = dict[str, Any] | list[Any] | str | float | bool | None

LEAST = 256
"""Bytes of JSON down to which strings are cut before lists and objects lose their tails."""
WIDTHS = (None, 1024, 128, 16, 4, 1)
"""How many items lists and objects keep, tried one after the other; None: all."""
DEEPEST = 32
"""Levels that a message which must be cut keeps."""
LONGEST_KEY = 128
"""Characters of an object's key that are kept when objects lose their tails."""


def encoded(value: object) -> bytes:
    """Compact JSON as the CLI writes it: UTF-8, keys in their order, lone surrogates as the escapes they came as."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def fitted(message: dict[str, Any], limit: int) -> bytes:
    """JSON of the message with as much of it as `limit` bytes hold; `limit` must be 32 KiB or more."""
    for width in WIDTHS:
        kept = _narrowed(message, width, DEEPEST)
        sizes = [len(encoded(text)) for text in _strings(kept)]
        frame = len(encoded(kept)) - sum(sizes)
        level = _level(sizes, limit - frame)
        if level >= LEAST:
            return encoded(_lowered(kept, level))
    raise ValueError(f"a message of {len(message)} fields cannot be cut to {limit} bytes")


def _level(sizes: Sequence[int], room: int) -> int:
    """The size to which strings of these sizes are to be cut so that together they take `room` bytes at most."""
    for index, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - index)
        if size > share:
            return share
        room -= size
    return room if room < 0 else max([LEAST, *sizes])


def _narrowed(value: JSON, width: int | None, depth: int) -> JSON:
    """The value without what lies too deep, and with at most `width` items in each list and object."""
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return "…"
    if isinstance(value, list):
        kept = [_narrowed(item, width, depth - 1) for item in value[:width]]
        return kept if len(kept) == len(value) else [*kept, f"… [{len(value) - len(kept)} items cut]"]
    items = list(value.items())[:width]
    longest = None if width is None else LONGEST_KEY
    return {key[:longest]: _narrowed(item, width, depth - 1) for key, item in items}


def _strings(value: JSON) -> Iterator[str]:
    """All strings of a value, those of keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _lowered(value: JSON, level: int) -> JSON:
    """The value with every string cut whose JSON is larger than `level` bytes."""
    if isinstance(value, str):
        return _cut(value, level)
    if isinstance(value, list):
        return [_lowered(item, level) for item in value]
    if isinstance(value, dict):
        return {key: _lowered(item, level) for key, item in value.items()}
    return value


def _cut(text: str, level: int) -> str:
    """The longest beginning of a string, with a note of what is missing, whose JSON takes at most `level` bytes."""
    if len(text) <= level and len(encoded(text)) <= level:
        return text
    low, high = 0, min(len(text), level)
    while low < high:
        middle = (low + high + 1) // 2
        if len(encoded(_noted(text, middle))) <= level:
            low = middle
        else:
            high = middle - 1
    return _noted(text, low)


def _noted(text: str, kept: int) -> str:
    return f"{text[:kept]}… [{len(text) - kept} characters cut]"
