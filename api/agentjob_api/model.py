"""The base of every type of the resource: camelCase outside, immutable inside, its CEL rules beside its fields."""

from typing import Any, ClassVar, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, JsonValue
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

_NOT_KEPT: Final[set[str]] = set()


class Rule(NamedTuple):
    """One validation rule that the API server evaluates (CEL), with the sentence a person gets when it fails."""

    rule: str
    message: str
    reason: str = "FieldValueInvalid"

    def as_schema(self) -> dict[str, str]:
        """The rule as an item of `x-kubernetes-validations`."""
        return self._asdict()


def checked(*rules: Rule) -> dict[str, JsonValue]:
    """What a field's `json_schema_extra` is to be, so that the API server applies these rules to the field itself."""
    return {"x-kubernetes-validations": [dict(rule.as_schema()) for rule in rules]}


class Resource(BaseModel):
    """A part of the resource.

    Unknown fields are ignored here, because the API server has already refused or pruned them, and because an older
    program must be able to read what a newer one wrote. Errors name fields, and not what is in them, which may be a
    prompt.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules over several fields of this type."""

    def model_post_init(self, _context: object, /) -> None:
        """Forgets which fields were given: nobody asks, and these sets are half of the memory that a job takes."""
        object.__setattr__(self, "__pydantic_fields_set__", _NOT_KEPT)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        if cls.rules:
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = [rule.as_schema() for rule in cls.rules]
        return schema
