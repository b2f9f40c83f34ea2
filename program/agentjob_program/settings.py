"""Settings: one JSON file, which the chart writes from its values."""

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class SettingsError(Exception):
    """The configuration cannot be used; the message names each field and what is wrong with it."""


class LogLevel(StrEnum):
    """The least urgent messages that are logged."""

    DEBUG = "debug"
    """Everything, the steps of libraries included."""
    INFO = "info"
    """Each job's start and end."""
    WARNING = "warning"
    """What needs attention."""
    ERROR = "error"
    """What went wrong."""


class Section(BaseModel):
    """A part of the settings: camelCase in the file, and a name that does not exist is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


class ServerSettings(Section):
    """What the settings of every server have."""

    log_level: LogLevel = LogLevel.INFO
    """The least urgent messages that are logged."""


S = TypeVar("S", bound=Section)


def read(path: Path, kind: type[S]) -> S:
    """Reads the configuration file.

    Raises:
        SettingsError: the file cannot be read, is no JSON, or a field in it is wrong.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; name the JSON configuration with --config") from error
    except ValidationError as error:
        # Without the values: a setting may hold what should not be logged.
        found = [f"{_field(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        raise SettingsError("\n".join(f"{path}: {line}" for line in found)) from None


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"
