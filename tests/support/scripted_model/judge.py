"""Is this a request that the real API would take, and which scene does it ask for? Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from scripted_model.replay import Scene, play
from scripted_model.requests import CountTokensRequest, MessagesRequest, sentence
from scripted_model.rules import broken_header_rules, broken_rules, has_credentials
from scripted_model.scripts import BrokenScriptError, Library, UnknownScriptError

SESSION_HEADER = "x-claude-code-session-id"
AGENT_HEADER = "x-claude-code-agent-id"

Body = TypeVar("Body", bound=CountTokensRequest)


class ViolationError(Exception):
    """The request is refused, and a test that caused it should fail; the message says what is wrong with it."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Case:
    """A request that is in order, and what is due."""

    request: MessagesRequest
    scene: Scene


def judge(headers: Mapping[str, str], raw: bytes, library: Library) -> Case:
    """Take a request or raise ViolationError; `headers` must find names in any case."""
    check_headers(headers)
    request = parse(MessagesRequest, headers, raw)
    if request.metadata and request.metadata.session != headers.get(SESSION_HEADER, request.metadata.session):
        raise _invalid(f"metadata.user_id: its session_id is not that of the header {SESSION_HEADER}")
    try:
        return Case(request, play(request, library))
    except (UnknownScriptError, BrokenScriptError) as error:
        raise _invalid(str(error)) from error


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ViolationError for a request without credentials or of another version of the API."""
    if not has_credentials(headers):
        raise ViolationError(
            401, "authentication_error", "expected a key in x-api-key or Authorization: Bearer, found neither"
        )
    for wrong in broken_header_rules(headers):
        raise _invalid(wrong)


def parse(kind: type[Body], headers: Mapping[str, str], raw: bytes) -> Body:
    """Read a body of this type and hold it against the rules, or raise ViolationError."""
    try:
        request = kind.model_validate_json(raw)
    except ValidationError as error:
        raise _invalid(sentence(error)) from error
    for wrong in broken_rules(request, headers.get("anthropic-beta", "")):
        raise _invalid(wrong)
    return request


def conversation_of(headers: Mapping[str, str]) -> str:
    """Name the conversation by Claude Code's headers: the session, and the subagent in it; others have no name."""
    session, agent = headers.get(SESSION_HEADER, ""), headers.get(AGENT_HEADER)
    return f"{session}/{agent}" if agent else session


def _invalid(message: str) -> ViolationError:
    return ViolationError(400, "invalid_request_error", message)
