"""Schemas as tables: one row per field of a resource or value of the chart. JSON Schema in, Markdown out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Field(NamedTuple):
    """One field of a schema."""

    path: str
    """Dotted; `*` stands for any key of a map, `[]` for any item of a list."""
    schema: Schema
    required: bool


def fields(schema: Schema) -> Iterator[Field]:
    """All fields below an object's schema, each before those below it."""
    yield from _below(schema, "")


def _below(schema: Schema, prefix: str) -> Iterator[Field]:
    for name, child in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield Field(path, child, name in schema.get("required", ()))
        yield from _below(child, f"{path}.")
    if isinstance(values := schema.get("additionalProperties"), dict):
        yield from _below(values, f"{prefix}*.")
    if "items" in schema:
        yield from _below(schema["items"], f"{prefix.removesuffix('.')}[].")


def rules(schema: Schema) -> Iterator[tuple[str, str]]:
    """Path and sentence of each validation rule at or below a schema; the path of the schema itself is empty."""
    for path, node in [("", schema), *_nodes(schema)]:
        for rule in node.get("x-kubernetes-validations", ()):
            yield path, rule["message"]


def _nodes(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """All schemas below one, also those of the items of lists and maps, which are no fields of their own."""
    for path, node, _ in fields(schema):
        yield path, node
        for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(inner := node.get(key), dict):
                yield path + mark, inner


def kind(schema: Schema) -> str:
    """A field's type, as a person would write it."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "x-kubernetes-int-or-string" in schema:
        return "quantity"
    match schema.get("type"):
        case "array":
            return f"list of {kind(schema['items'])}"
        case "object" if isinstance(values := schema.get("additionalProperties"), dict):
            return f"map of {kind(values)}"
        case str(name):
            return "time" if schema.get("format") == "date-time" else name
        case [*names]:
            return " or ".join(names)
        case _:
            raise TypeError(f"a schema without a type that can be shown: {schema!r}")


_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
    ("minProperties", "maxProperties", " entries"),
)


def bounds(schema: Schema) -> str:
    """A field's bounds, and those of its items after "each"."""
    if "x-kubernetes-int-or-string" in schema:  # its type, quantity, says it
        return ""
    own = [
        _range(schema.get(low), schema.get(high)) + unit for low, high, unit in _RANGES if {low, high} & schema.keys()
    ]
    if "pattern" in schema:
        own.append(f"`{schema['pattern']}`")
    inner = schema.get("items") or schema.get("additionalProperties")
    if isinstance(inner, dict) and "properties" not in inner and (each := bounds(inner)):
        own.append(f"each {each}")
    return ", ".join(own)


def _range(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return f"≤ {high:,}" if low is None else f"≥ {low:,}"
    return f"{low:,} to {high:,}"


def default(schema: Schema) -> str:
    """A field's default; nothing for an object whose fields bring their own."""
    if "default" not in schema or ("properties" in schema and schema["default"] == {}):
        return ""
    return f"`{json.dumps(schema['default'])}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; pipes and line ends within cells are made harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
