"""The outcome: it always fits into a termination message, and what is no outcome is told apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api import outcome
from agentjob_api.outcome import MAX_TERMINATION_BYTES, Outcome
from agentjob_api.reasons import Reason
from agentjob_api.status import ModelUsage, Usage

SMALL = Outcome(reason=Reason.COMPLETED, text="42", num_turns=3, cost_usd="0.0127", session_id="s-1", last_seq=9)


def test_an_outcome_that_fits_is_left_alone() -> None:
    assert SMALL.fitted(MAX_TERMINATION_BYTES) == SMALL
    assert outcome.from_termination_message(SMALL.to_json()) == SMALL


@given(text=st.text(min_size=1000, max_size=9000), message=st.text(max_size=9000), models=st.integers(0, 64))
def test_every_outcome_fits_and_keeps_what_counts(text: str, message: str, models: int) -> None:
    usage = Usage(input_tokens=7, by_model={f"claude-model-{n}": ModelUsage(input_tokens=n) for n in range(models)})
    whole = SMALL.model_copy(update={"text": text, "message": message, "usage": usage})

    fitted = whole.fitted(MAX_TERMINATION_BYTES)

    assert len(fitted.to_json().encode()) <= MAX_TERMINATION_BYTES
    assert fitted.truncated == (fitted.text != text)
    assert text.startswith(fitted.text or "")
    kept = {"reason", "num_turns", "cost_usd", "session_id", "last_seq"}
    assert fitted.model_dump(include=kept) == whole.model_dump(include=kept)
    assert fitted.usage.input_tokens == 7


def test_the_answer_is_cut_before_the_usage_by_model_is_given_up() -> None:
    usage = Usage(by_model={"claude-opus": ModelUsage(input_tokens=1)})

    fitted = SMALL.model_copy(update={"text": "x" * 9000, "usage": usage}).fitted(MAX_TERMINATION_BYTES)

    assert fitted.truncated
    assert len(fitted.text or "") > 3500
    assert fitted.usage == usage


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("", id="nothing"),
        pytest.param("Killed", id="words"),
        pytest.param('{"reason":"Completed","text":"cut in the mid', id="JSON that was cut"),
        pytest.param('{"reason":"NoSuchReason"}', id="an unknown reason"),
        pytest.param("[]", id="JSON of another shape"),
    ],
)
def test_what_no_runner_wrote_is_no_outcome(message: str) -> None:
    assert outcome.from_termination_message(message) is None


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            line(type="agentjob", subtype="outcome", outcome=json.loads(SMALL.to_json())),
            SMALL,
            id="the last line of a runner",
        ),
        pytest.param(line(type="agentjob", subtype="warning", text="hm"), None, id="another notice"),
        pytest.param(line(type="result", result="42"), None, id="a message of the CLI"),
        pytest.param(line(type="agentjob", subtype="outcome"), None, id="an outcome notice without an outcome"),
        pytest.param(b"[1]", None, id="JSON that is no object"),
        pytest.param(b"{", None, id="half a message"),
    ],
)
def test_the_last_line_is_recognised(message: bytes, expected: Outcome | None) -> None:
    assert outcome.from_line(message) == expected
