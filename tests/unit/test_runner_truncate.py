"""A message too large for a line loses the ends of its longest strings, and nothing else if that is enough."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_runner.truncate import encoded, fitted

LIMIT = 32 * 1024

ANY_TEXT = st.text(st.characters(), max_size=40)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int, core: object) -> dict[str, Any]:
    for _ in range(depth):
        core = {"in": core}
    return {"type": "user", "content": core}


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        pytest.param({"b": 1, "a": "x"}, b'{"b":1,"a":"x"}', id="keys stay in their order, without blanks"),
        pytest.param({"a": "äö€😀\u2028"}, '{"a":"äö€😀\u2028"}'.encode(), id="what is not ASCII stays UTF-8"),
        pytest.param({"a": "x\ud83dy"}, b'{"a":"x\\ud83dy"}', id="half a surrogate pair is escaped as it came"),
        pytest.param({"a": '\x00\x1b"\\'}, b'{"a":"\\u0000\\u001b\\"\\\\"}', id="controls and quotes are escaped"),
    ],
)
def test_messages_are_written_as_the_cli_writes_them(message: dict[str, Any], wire: bytes) -> None:
    assert encoded(message) == wire
    assert json.loads(wire) == message


def test_the_longest_string_is_cut_and_the_others_stay_whole() -> None:
    message = {"type": "user", "short": "s" * 9_000, "long": "l" * 5_000_000, "number": 1.5, "list": [None, True]}

    cut = json.loads(fitted(message, LIMIT))

    assert list(cut) == list(message)
    assert {key: cut[key] for key in cut if key != "long"} == {key: message[key] for key in message if key != "long"}
    assert cut["long"].startswith("l" * 22_000)
    kept = cut["long"].count("l")
    assert cut["long"].endswith(f"… [{5_000_000 - kept} characters cut]")


def test_strings_of_one_size_share_the_room() -> None:
    cut = json.loads(fitted({"a": "x" * 50_000, "b": ["y" * 50_000, {"c": "z" * 50_000}]}, LIMIT))

    assert len(cut["a"]) == len(cut["b"][0]) == len(cut["b"][1]["c"]) > 10_000


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"text": "x" * 5_000_000}, id="one string of 5 MB"),
        pytest.param({"text": "\x01" * 1_000_000}, id="characters that take six bytes each"),
        pytest.param({"text": "\ud800" * 1_000_000}, id="half surrogate pairs"),
        pytest.param({"text": "😀" * 1_000_000}, id="characters of four bytes"),
        pytest.param({"list": list(range(1_000_000))}, id="a million numbers"),
        pytest.param({"list": ["word"] * 500_000}, id="half a million words"),
        pytest.param({"list": [{"k": "v", "n": [1, 2]}] * 100_000}, id="a hundred thousand objects"),
        pytest.param({"map": {str(n): n for n in range(200_000)}}, id="an object of very many keys"),
        pytest.param({"k" * 2_000_000: "v"}, id="a key of 2 MB"),
        pytest.param(nested(300, "x" * 100_000), id="a string far inside"),
        pytest.param(nested(300, list(range(100_000))), id="a list far inside"),
    ],
)
def test_every_message_is_made_to_fit_quickly(message: dict[str, Any]) -> None:
    start = time.process_time()
    cut = fitted(message, LIMIT)

    assert len(cut) <= LIMIT
    assert isinstance(json.loads(cut), dict)
    assert time.process_time() - start < 10


def test_a_list_that_was_cut_says_how_much_is_missing() -> None:
    cut = json.loads(fitted({"type": "user", "list": list(range(1_000_000))}, LIMIT))

    assert cut["list"][:3] == [0, 1, 2]
    assert cut["list"][-1] == f"… [{1_000_000 - (len(cut['list']) - 1)} items cut]"


@given(st.dictionaries(ANY_TEXT, ANY_JSON, min_size=1, max_size=4), st.integers(min_value=0, max_value=60_000))
def test_whatever_the_message_the_result_fits_and_is_json(message: dict[str, Any], length: int) -> None:
    cut = fitted({**message, "long": "€" * length}, LIMIT)

    assert len(cut) <= LIMIT
    assert len(encoded({**message, "long": "€" * length})) > LIMIT or json.loads(cut)["long"] == "€" * length
