"""The envelope around each message: what is written can be cut out again, and nothing else is taken for a line."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api import lines

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_999, tzinfo=UTC)

messages = st.dictionaries(
    st.text(),
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)),
    max_size=4,
)


@given(seq=st.integers(1, 10**9), attempt=st.integers(1, 999), truncated=st.booleans(), message=messages)
def test_a_message_is_cut_out_byte_for_byte(
    seq: int, attempt: int, truncated: bool, message: dict[str, object]
) -> None:
    body = json.dumps(message).encode()

    read = lines.parse(lines.envelope(seq, attempt, NOON, truncated=truncated) + body + b"}\n")

    assert read == lines.Line(seq, attempt, NOON.replace(microsecond=123_000), truncated, body)


def test_a_line_is_json_with_its_keys_in_the_promised_order() -> None:
    written = lines.envelope(17, 1, NOON) + b'{"type":"result"}}\n'

    assert list(json.loads(written)) == ["seq", "attempt", "time", "message"]
    assert json.loads(written)["time"] == "2026-11-22T12:00:00.123Z"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"npm WARN deprecated\n", id="another program's output"),
        pytest.param(b'{"level":"info","msg":"hello"}\n', id="another program's JSON"),
        pytest.param(
            b'{"seq":0,"attempt":1,"time":"2026-11-22T12:00:00.000Z","message":{}}\n', id="a seq that is not counted"
        ),
        pytest.param(
            b'{"seq":1,"attempt":1,"time":"2026-11-22T12:00:00.000Z","message":{"a":\n', id="a line that was cut off"
        ),
        pytest.param(
            b'{"seq":1,"attempt":1,"time":"2026-13-42T12:00:00.000Z","message":{}}\n', id="a time that is none"
        ),
        pytest.param(
            b'{"seq":1,"attempt":1,"time":"2026-11-22T12:00:00.000Z","message":7}\n', id="a message that is no object"
        ),
        pytest.param(b"unable to retrieve container logs for containerd://x", id="the API server's own error text"),
    ],
)
def test_what_is_no_line_is_told_apart(line: bytes) -> None:
    assert lines.parse(line) is None
