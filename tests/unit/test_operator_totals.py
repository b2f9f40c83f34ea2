"""What several attempts took together: exact, never less than before, and never more than the status holds."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agentjob_api.status import MAX_MODELS, Dollars, ModelUsage, Usage
from agentjob_operator import totals

AMOUNT = TypeAdapter(Dollars)
USUAL = st.decimals(0, 10_000, places=8).map(lambda amount: format(amount, "f"))
ANY = st.from_regex(r"[0-9]{1,32}(\.[0-9]{1,30})?", fullmatch=True).filter(lambda text: len(text) <= 32)


@pytest.mark.parametrize(
    ("total", "more", "both"),
    [
        pytest.param(None, "0.0127", "0.0127", id="the first amount is the sum"),
        pytest.param("0.1", "0.2", "0.3", id="tenths add up to tenths"),
        pytest.param("0", "0.00000001", "0.00000001", id="a small amount is written out"),
        pytest.param("0.10", "0", "0.10", id="nothing changes nothing"),
        pytest.param("9" * 32, "1", "9" * 32, id="more than there is room for is all that there is room for"),
        pytest.param("9" * 31, "0.5", "9" * 31, id="what does not fit behind the point is left out, and the point"),
    ],
)
def test_dollars_add_up(total: str | None, more: str, both: str) -> None:
    assert totals.dollars(total, more) == both


@given(st.lists(USUAL, min_size=1, max_size=20))
def test_what_jobs_cost_adds_up_exactly(amounts: list[str]) -> None:
    total = None
    for amount in amounts:
        total = totals.dollars(total, amount)

    assert total is not None
    assert Decimal(total) == sum(map(Decimal, amounts))


@given(ANY, ANY)
def test_a_sum_is_an_amount_and_no_less_than_its_parts(one: str, other: str) -> None:
    both = AMOUNT.validate_python(totals.dollars(one, other))

    assert Decimal(both) >= max(Decimal(one), Decimal(other)) or set(both) == {"9"}


def used(tokens: int, **models: int) -> Usage:
    """So many tokens written, and of these so many by each model, for a cent each."""
    parts = {name: ModelUsage(output_tokens=each, cost_usd=f"{each / 100:.2f}") for name, each in models.items()}
    return Usage(output_tokens=tokens, by_model=parts)


def test_tokens_and_dollars_add_up_by_model() -> None:
    both = totals.usage(used(7, opus=5, haiku=2), used(4, opus=1, sonnet=3))

    assert both == used(11, opus=6, haiku=2, sonnet=3)


def test_the_first_usage_is_the_sum() -> None:
    assert totals.usage(None, used(7, opus=7)) == used(7, opus=7)


def test_models_that_were_there_stay_when_there_are_too_many() -> None:
    many = used(MAX_MODELS, **{f"model-{number}": 1 for number in range(MAX_MODELS)})

    both = totals.usage(many, used(2, another=1, **{"model-0": 1}))

    assert both.by_model.keys() == many.by_model.keys()
    assert (both.output_tokens, both.by_model["model-0"].output_tokens) == (MAX_MODELS + 2, 2)


def test_tokens_stay_numbers_that_survive_json() -> None:
    most = Usage(input_tokens=2**53 - 1)

    assert totals.usage(most, most) == most
