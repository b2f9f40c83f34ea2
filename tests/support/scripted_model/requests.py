"""The body of a request, exactly: every field that the API documents and Claude Code sends, and no other."""

import json
from typing import Annotated, Any, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import Discriminator, Field, StringConstraints, Tag, ValidationError, model_validator

from scripted_model.blocks import CacheControl, Content, Strict, TextBlock, ToolName


class Metadata(Strict):
    """Who is asking. Claude Code puts JSON into `user_id`; its session is what keeps conversations apart."""

    user_id: str

    @property
    def session(self) -> str:
        """The client's session."""
        return str(json.loads(self.user_id)["session_id"])

    @model_validator(mode="after")
    def _names_a_session(self) -> Self:
        try:
            UUID(self.session)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError("user_id must be a JSON object with device_id and session_id (a UUID)") from error
        if not json.loads(self.user_id).get("device_id"):
            raise ValueError("user_id must be a JSON object with device_id and session_id (a UUID)")
        return self


class OutputConfig(Strict):
    """How much effort, and in which format."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: dict[str, Any] | None = None


class Message(Strict):
    """One turn. A `system` turn stands after a user's and carries the client's own words."""

    role: Literal["user", "assistant", "system"]
    content: Content
    output_config: OutputConfig | None = None


class Tool(Strict):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: str = ""
    input_schema: dict[str, Any]
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _takes_an_object(self) -> Self:
        if self.input_schema.get("type") != "object":
            raise ValueError(f"input_schema.type of {self.name} must be 'object'")
        return self


class ToolChoice(Strict):
    """Whether a tool must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingEnabled(Strict):
    """Thinking with a budget of tokens."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024)]
    display: Literal["summarized", "omitted", "updates"] | None = None


class ThinkingAdaptive(Strict):
    """Thinking as the model sees fit."""

    type: Literal["adaptive"]
    display: Literal["summarized", "omitted", "updates"] | None = None


class ThinkingDisabled(Strict):
    """No thinking."""

    type: Literal["disabled"]


class ContextManagement(Strict):
    """What the provider may drop from a long conversation."""

    edits: list[dict[str, Any]]


def _shape(value: object) -> str:
    return "words" if isinstance(value, str) else "blocks"


System: TypeAlias = Annotated[
    Annotated[str, Tag("words")] | Annotated[list[TextBlock], Tag("blocks")], Discriminator(_shape)
]


class CountTokensRequest(Strict):
    """POST /v1/messages/count_tokens."""

    model: Annotated[str, StringConstraints(min_length=1)]
    messages: Annotated[list[Message], Field(min_length=1)]
    system: System | None = None
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    thinking: Annotated[ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | None, Field(discriminator="type")] = (
        None
    )
    context_management: ContextManagement | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountTokensRequest):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Field(ge=1)]
    metadata: Metadata | None = None
    stream: bool = False
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


def sentence(error: ValidationError) -> str:
    """Say what is wrong with a body: the place, what was found there in kind, and the rule. Never the value itself."""
    first, *others = error.errors(include_url=False, include_input=False)
    place = ".".join(str(part) for part in first["loc"] if part not in ("words", "blocks")) or "body"
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {first['msg']}{more}"
