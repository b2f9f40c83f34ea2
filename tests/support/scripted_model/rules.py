"""What must hold between the parts of a request, beyond the shape of each; each rule yields what is wrong.

The rules are the Messages API's own: turns alternate, a tool call is answered at once and once, thinking comes back
as it was said, a beta field needs its beta header.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from scripted_model.blocks import Block, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, blocks_of
from scripted_model.history import loaded_tools
from scripted_model.replies import Thinking
from scripted_model.requests import CountTokensRequest, Message, MessagesRequest

BETAS = {
    "context_management": "context-management-",
    "thinking.display": "thinking-display-",
    "messages.output_config": "per-turn-control-",
    "tools.defer_loading": "advanced-tool-use-",
}
"""Field → how the name of its beta in the header `anthropic-beta` begins."""

CACHE_MARKS = 4
"""How many `cache_control` marks the API takes in one request."""


def broken_rules(request: CountTokensRequest, betas: str) -> Iterator[str]:
    """Say what is wrong with a request of the right shape; `betas` is its header anthropic-beta."""
    yield from _turns(request.messages)
    yield from _tool_calls(request.messages)
    yield from _tools(request)
    yield from _thinking(request)
    yield from _cache_marks(request)
    yield from _betas(request, betas)


def broken_header_rules(headers: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with a request's headers, apart from its credentials."""
    if headers.get("anthropic-version") != "2023-06-01":
        yield f"anthropic-version: expected 2023-06-01, found {headers.get('anthropic-version')}"
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        yield f"content-type: expected application/json, found {headers.get('content-type')}"


def has_credentials(headers: Mapping[str, str]) -> bool:
    """Tell whether a request carries a key or a token at all; which one is not asked."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return bool(headers.get("x-api-key") or (scheme.lower() == "bearer" and token.strip()))


def _turns(messages: list[Message]) -> Iterator[str]:
    before = "nobody"
    allowed = {"nobody": {"user"}, "user": {"assistant", "system"}, "system": {"assistant"}, "assistant": {"user"}}
    for index, message in enumerate(messages):
        if message.role not in allowed[before]:
            yield f"messages.{index}: a turn of {message.role!r} may not follow {before!r}"
        if message.output_config and message.role != "system":
            yield f"messages.{index}.output_config: only a system turn may carry it"
        before = message.role
    if before == "assistant":
        yield f"messages.{len(messages) - 1}: the last turn must be the user's: prefilled answers are not supported"


def _tool_calls(messages: list[Message]) -> Iterator[str]:
    asked: list[str] = []
    ever: Counter[str] = Counter()
    for index, message in enumerate(messages):
        blocks = blocks_of(message.content)
        yield from _speakers(index, message.role, blocks)
        if message.role == "user":
            yield from _results(index, blocks, asked)
        if message.role != "system":
            asked = [block.id for block in blocks if isinstance(block, ToolUseBlock)]
            ever.update(asked)
    for again in (identity for identity, times in ever.items() if times > 1):
        yield f"messages: tool_use id {again} is used twice"


def _results(index: int, blocks: list[Block], asked: list[str]) -> Iterator[str]:
    results = [block.tool_use_id for block in blocks if isinstance(block, ToolResultBlock)]
    if missing := [identity for identity in asked if identity not in results]:
        yield f"messages.{index}: tool_use ids without tool_result: {', '.join(missing)}"
    for identity, times in Counter(results).items():
        if identity not in asked:
            yield f"messages.{index}: tool_result for {identity}, which the turn before did not call"
        if times > 1:
            yield f"messages.{index}: {times} tool_results for {identity}"
    if any(not isinstance(block, ToolResultBlock) for block in blocks[: len(results)]):
        yield f"messages.{index}: tool_results must come before everything else"


def _speakers(index: int, role: str, blocks: list[Block]) -> Iterator[str]:
    for at, block in enumerate(blocks):
        if isinstance(block, TextBlock):
            continue
        if role == "system" or isinstance(block, ThinkingBlock | ToolUseBlock) != (role == "assistant"):
            yield f"messages.{index}.content.{at}: a {block.type} block may not stand in a turn of {role!r}"


def _tools(request: CountTokensRequest) -> Iterator[str]:
    offered = Counter(tool.name for tool in request.tools)
    for name in (name for name, times in offered.items() if times > 1):
        yield f"tools: {name} is defined twice"
    blocks = [block for message in request.messages for block in blocks_of(message.content)]
    failed = {block.tool_use_id for block in blocks if isinstance(block, ToolResultBlock) and block.is_error}
    for block in blocks:
        if isinstance(block, ToolUseBlock) and block.name not in offered and block.id not in failed:
            yield f"messages: {block.id} is a call of {block.name} that did not fail, but tools does not define it"
    for name in loaded_tools(request.messages) - offered.keys():
        yield f"messages: tool_reference to {name}, which tools does not define"
    if request.tool_choice and request.tool_choice.name and request.tool_choice.name not in offered:
        yield f"tool_choice: {request.tool_choice.name} is not in tools"


def _thinking(request: CountTokensRequest) -> Iterator[str]:
    budget = getattr(request.thinking, "budget_tokens", None)
    if isinstance(request, MessagesRequest) and budget and budget >= request.max_tokens:
        yield f"thinking.budget_tokens: {budget} must be less than max_tokens ({request.max_tokens})"
    for index, message in enumerate(request.messages):
        for at, block in enumerate(blocks_of(message.content)):
            if isinstance(block, ThinkingBlock) and Thinking(block.thinking).signature != block.signature:
                yield f"messages.{index}.content.{at}.signature: the thinking is not what the model said"


def _cache_marks(request: CountTokensRequest) -> Iterator[str]:
    system = request.system if isinstance(request.system, list) else []
    blocks = [block for message in request.messages for block in blocks_of(message.content)]
    marks = sum(bool(getattr(part, "cache_control", None)) for part in [*system, *request.tools, *blocks])
    if marks > CACHE_MARKS:
        yield f"cache_control: {marks} marks, at most {CACHE_MARKS} are allowed"


def _betas(request: CountTokensRequest, betas: str) -> Iterator[str]:
    used = {
        "context_management": request.context_management is not None,
        "thinking.display": getattr(request.thinking, "display", None) == "updates",
        "messages.output_config": any(message.output_config for message in request.messages),
        "tools.defer_loading": any(tool.defer_loading for tool in request.tools),
    }
    names = [name.strip() for name in betas.split(",")]
    for field, prefix in BETAS.items():
        if used[field] and not any(name.startswith(prefix) for name in names):
            yield f"{field}: needs the beta {prefix}… in the header anthropic-beta"
