"""The resource's schema: what the API server needs that JSON Schema does not give, and what we promise about it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from agentjob_api.crd import custom_resource_definition, structural
from agentjob_api.fields import FreeForm, Quantity
from agentjob_api.model import Resource, Rule, checked
from agentjob_api.spec import MUTABLE

Schema = dict[str, Any]


class Colour(StrEnum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Inner(Resource):
    """An inner thing."""

    deep_name: str = "x"


class Outer(Resource):
    """All that our types are made of."""

    plain: str
    """A string."""
    optional: int | None = None
    always: bool = False
    zero: int = 0
    one_word: Literal["only"] = "only"
    colour: Colour = Colour.RED
    empty_list: list[str] = []
    filled_list: Annotated[list[str], Field(max_length=3)] = ["a"]
    empty_map: dict[str, Annotated[str, Field(max_length=5)]] = {}
    inner: Inner = Inner()
    """This one in particular."""
    absent_inner: Inner | None = None
    many: list[Inner] = []
    amount: Quantity = "1"
    free: FreeForm = {}
    ruled: Annotated[str, Field(json_schema_extra=checked(Rule("self != ''", "must not be empty")))] = "x"
    in_dollars: Annotated[str | None, Field(alias="inUSD", max_length=9)] = None


INNER = {"type": "object", "properties": {"deepName": {"type": "string", "default": "x"}}}
QUANTITY = r"^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([numk]|[KMGTPE]i|[MGTPE]|[eE][-+]?[0-9]+)?$"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param("plain", {"type": "string", "description": "A string."}, id="a docstring is the description"),
        pytest.param("optional", {"type": "integer"}, id="a field that may be absent is not nullable"),
        pytest.param("always", {"type": "boolean", "default": False}, id="a false default stays"),
        pytest.param("zero", {"type": "integer", "default": 0}, id="a zero default stays"),
        pytest.param(
            "oneWord", {"type": "string", "enum": ["only"], "default": "only"}, id="a constant is an enum of one"
        ),
        pytest.param(
            "colour",
            {"type": "string", "description": "A colour.", "enum": ["red", "blue"], "default": "red"},
            id="an enum is inlined",
        ),
        pytest.param("emptyList", {"type": "array", "items": {"type": "string"}}, id="an empty default goes"),
        pytest.param(
            "filledList",
            {"type": "array", "items": {"type": "string"}, "maxItems": 3, "default": ["a"]},
            id="a default that says something stays",
        ),
        pytest.param(
            "emptyMap",
            {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}},
            id="a map keeps the schema of its values",
        ),
        pytest.param(
            "inner",
            {**INNER, "description": "This one in particular.", "default": {}},
            id="an object's default is empty, and its field's own docstring wins",
        ),
        pytest.param(
            "absentInner",
            {**INNER, "description": "An inner thing."},
            id="an object that may be absent gets no default",
        ),
        pytest.param(
            "many",
            {"type": "array", "items": {**INNER, "description": "An inner thing."}},
            id="a list's items are inlined",
        ),
        pytest.param(
            "amount",
            {"x-kubernetes-int-or-string": True, "minimum": 0, "pattern": QUANTITY, "default": "1"},
            id="a number or string is int-or-string, with the bounds of both",
        ),
        pytest.param(
            "free",
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            id="a free form keeps what it does not know",
        ),
        pytest.param(
            "ruled",
            {
                "type": "string",
                "default": "x",
                "x-kubernetes-validations": [
                    {"rule": "self != ''", "message": "must not be empty", "reason": "FieldValueInvalid"}
                ],
            },
            id="a rule stands at its field",
        ),
        pytest.param("inUSD", {"type": "string", "maxLength": 9}, id="an abbreviation is written as it is spoken"),
    ],
)
def test_a_type_becomes_structural_schema(field: str, expected: Schema) -> None:
    assert structural(Outer)["properties"][field] == expected


def test_what_has_no_default_is_required() -> None:
    assert structural(Outer)["required"] == ["plain"]


def test_the_rules_of_a_type_stand_on_its_object() -> None:
    class Pair(Resource):
        left: str | None = None
        right: str | None = None
        rules: ClassVar = (Rule("has(self.left) != has(self.right)", "one of both"),)

    assert structural(Pair)["x-kubernetes-validations"] == [
        {"rule": "has(self.left) != has(self.right)", "message": "one of both", "reason": "FieldValueInvalid"}
    ]


def test_a_union_that_no_structural_schema_covers_is_refused_when_the_crd_is_made() -> None:
    class Mixed(Resource):
        either: float | str

    with pytest.raises(TypeError, match=r"union other than `X \| None` and `int \| str`"):
        structural(Mixed)


def version() -> Schema:
    versions: list[Schema] = custom_resource_definition()["spec"]["versions"]
    return versions[0]


def spec() -> Schema:
    schema: Schema = version()["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def nodes(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """All schemas at and below one, each with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if key in node:
            yield from nodes(node[key], path + mark)


ALL = dict(nodes(version()["schema"]["openAPIV3Schema"], ""))


@pytest.mark.parametrize("path", ALL)
def test_no_keyword_is_left_that_the_api_server_refuses_or_drops(path: str) -> None:
    assert not ALL[path].keys() & {"$ref", "$defs", "anyOf", "oneOf", "const", "title", "nullable", "exclusiveMinimum"}


FIELDS = [path for path in ALL if path.startswith((".spec", ".status")) and not path.endswith(("[]", ".*"))]


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_says_what_it_means(path: str) -> None:
    assert ALL[path].get("description"), f"write a docstring under {path}"


def is_bounded(schema: Schema) -> bool:
    """Whether a value of this schema, not counting what is below it, has a limit to its size."""
    if "enum" in schema or "x-kubernetes-int-or-string" in schema or "x-kubernetes-preserve-unknown-fields" in schema:
        return True
    match schema["type"]:
        case "string":
            return "maxLength" in schema or schema.get("format") == "date-time"
        case "integer":
            return {"minimum", "maximum"} <= schema.keys()
        case "array":
            return "maxItems" in schema
        case "object":
            return "maxProperties" in schema or "properties" in schema
        case _:
            return str(schema["type"]) == "boolean"


@pytest.mark.parametrize("path", [path for path in ALL if path.startswith(".spec")])
def test_everything_a_person_may_write_is_bounded(path: str) -> None:
    assert is_bounded(ALL[path]), f"{path} has no bound: {ALL[path]}"


def test_exactly_the_mutable_fields_may_change() -> None:
    message = "{} is immutable: delete the job and create it again"
    for name, field in spec()["properties"].items():
        messages = [rule["message"] for rule in field.get("x-kubernetes-validations", [])]
        assert (message.format(name) in messages) == (name not in MUTABLE), name


def test_an_immutable_field_that_may_be_absent_can_neither_come_nor_go() -> None:
    rules = {rule["rule"] for rule in spec()["x-kubernetes-validations"]}
    absent = [name for name, field in spec()["properties"].items() if "default" not in field and name not in MUTABLE]
    assert absent == ["prompt", "promptFrom"]
    assert {f"has(self.{name}) == has(oldSelf.{name})" for name in absent} <= rules


def test_every_mutable_field_exists() -> None:
    assert spec()["properties"].keys() >= MUTABLE


@pytest.mark.parametrize("column", version()["additionalPrinterColumns"], ids=lambda column: column["name"])
def test_every_printer_column_shows_a_field_that_exists(column: Schema) -> None:
    path = column["jsonPath"].partition("[")[0]
    assert path in ALL or path == ".metadata.creationTimestamp"
