"""The content blocks that a client may send, exactly; whatever else it sends is refused.

The shapes are those of the Messages API (https://docs.anthropic.com/en/api/messages), without the blocks that only
server-side tools produce: no script says them, so no client can have received them.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag


class Strict(BaseModel):
    """A part of a request: no unknown field, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CacheControl(Strict):
    """Where the provider's prompt cache ends a prefix."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None
    scope: Literal["global"] | None = None


class TextBlock(Strict):
    """Words."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(min_length=1)]
    cache_control: CacheControl | None = None


class Base64Source(Strict):
    """Bytes of an image or a document."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: str


class ImageBlock(Strict):
    """A picture."""

    type: Literal["image"]
    source: Base64Source
    cache_control: CacheControl | None = None


class DocumentBlock(Strict):
    """A PDF."""

    type: Literal["document"]
    source: Base64Source
    title: str | None = None
    cache_control: CacheControl | None = None


class ToolReferenceBlock(Strict):
    """A tool whose definition was deferred and is now wanted."""

    type: Literal["tool_reference"]
    tool_name: str


class ThinkingBlock(Strict):
    """Reasoning that the model said before, sent back."""

    type: Literal["thinking"]
    thinking: str
    signature: Annotated[str, StringConstraints(min_length=1)]


ToolID: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]+$")]
ToolName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]


class ToolUseBlock(Strict):
    """A tool call that the model made before, sent back."""

    type: Literal["tool_use"]
    id: ToolID
    name: ToolName
    input: dict[str, Any]
    cache_control: CacheControl | None = None


ResultPart: TypeAlias = Annotated[
    TextBlock | ImageBlock | DocumentBlock | ToolReferenceBlock, Field(discriminator="type")
]


def _shape(value: object) -> str:
    return "words" if isinstance(value, str) else "blocks"


class ToolResultBlock(Strict):
    """What a tool call came back with."""

    type: Literal["tool_result"]
    tool_use_id: ToolID
    content: Annotated[
        Annotated[str, Tag("words")] | Annotated[list[ResultPart], Tag("blocks")], Discriminator(_shape)
    ] = ""
    is_error: bool | None = None
    cache_control: CacheControl | None = None


Block: TypeAlias = Annotated[
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]

Content: TypeAlias = Annotated[
    Annotated[str, StringConstraints(min_length=1), Tag("words")]
    | Annotated[list[Block], Field(min_length=1), Tag("blocks")],
    Discriminator(_shape),
]


def blocks_of(content: str | list[Block]) -> list[Block]:
    """Give content as blocks; a bare string is one text block."""
    return [TextBlock(type="text", text=content)] if isinstance(content, str) else content
