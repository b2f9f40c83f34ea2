"""What several attempts took together. Sums are exact, never go down, and fit into the status."""

from decimal import Context, Decimal
from typing import Final

from agentjob_api.status import MAX_DOLLARS, MAX_MODELS, ModelUsage, Usage

_MOST: Final = 2**53 - 1
_EXACT: Final = Context(prec=2 * MAX_DOLLARS)
"""Adds any two amounts that a status may hold without rounding."""
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def dollars(total: str | None, more: str) -> str:
    """Both together, as a decimal string; digits that do not fit are left out at its end."""
    if total is None:
        return more
    text = format(_EXACT.add(Decimal(total), Decimal(more)), "f")
    whole = text.partition(".")[0]
    return text[:MAX_DOLLARS].removesuffix(".") if len(whole) <= MAX_DOLLARS else "9" * MAX_DOLLARS


def usage(total: Usage | None, more: Usage) -> Usage:
    """Both together. Of more models than a status holds, those that came last are in the sum of all alone."""
    if total is None:
        return more
    models = dict(total.by_model)
    for name, part in more.by_model.items():
        models[name] = _model(models.get(name, ModelUsage()), part)
    return Usage(**_tokens(total, more), by_model=dict(list(models.items())[:MAX_MODELS]))


def _model(total: ModelUsage, more: ModelUsage) -> ModelUsage:
    return ModelUsage(**_tokens(total, more), cost_usd=dollars(total.cost_usd, more.cost_usd))


def _tokens(total: Usage | ModelUsage, more: Usage | ModelUsage) -> dict[str, int]:
    return {name: min(getattr(total, name) + getattr(more, name), _MOST) for name in _TOKENS}
