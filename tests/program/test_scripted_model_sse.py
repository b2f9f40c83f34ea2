"""A reply on the wire: the stream adds up to the whole message, whatever the reply."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from scripted_model.replies import Block, Reply, Text, Thinking, ToolCall, Usage, reply, text, usual_usage
from scripted_model.sse import MOST_CHUNKS, Envelope, Event, chunks, error, events, message

words = st.text(min_size=1, max_size=300)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))
blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, words),
    st.builds(Thinking, words),
    st.builds(ToolCall, st.sampled_from(["Bash", "Edit"]), st.dictionaries(words, json_values, max_size=3)),
)
replies = st.lists(blocks, min_size=1, max_size=4).map(lambda content: reply(*content))


def envelope(said: Reply) -> Envelope:
    ids = tuple(f"toolu_{position}" for position in range(len(said.calls)))
    return Envelope(message_id="msg_1", model="m", usage=usual_usage(said, 0), tool_ids=ids)


def put_together(stream: list[dict[str, Any]]) -> dict[str, Any]:
    """Read a stream as a client does, from the API's own description of it."""
    whole: dict[str, Any] = {}
    for event in stream:
        match event:
            case {"type": "message_start", "message": started}:
                whole = started
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(whole["content"])
                whole["content"].append(block | ({"input": ""} if block["type"] == "tool_use" else {}))
            case {"type": "content_block_delta", "delta": delta}:
                add(delta, whole["content"][-1])
            case {"type": "content_block_stop"} if whole["content"][-1]["type"] == "tool_use":
                whole["content"][-1]["input"] = json.loads(whole["content"][-1]["input"])
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                whole |= delta | {"usage": usage}
            case _:
                assert event["type"] in {"ping", "content_block_stop", "message_stop"}
    return whole


def add(delta: dict[str, str], block: dict[str, Any]) -> None:
    fields = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
    target = fields.get(delta["type"], "input")
    [piece] = [value for name, value in delta.items() if name != "type"]
    block[target] += piece


def decode(raw: bytes) -> dict[str, Any]:
    """Read one frame, strictly: one event line, one data line, one empty line."""
    name, data, *rest = raw.decode().split("\n")
    assert rest == ["", ""]
    event: dict[str, Any] = json.loads(data.removeprefix("data: "))
    assert name == f"event: {event['type']}"
    return event


@given(replies)
def test_a_stream_adds_up_to_the_whole_message(said: Reply) -> None:
    stream = [decode(event.encode()) for event in events(said, envelope(said))]
    assert put_together(stream) == json.loads(json.dumps(message(said, envelope(said))))


@given(replies)
def test_a_stream_begins_and_ends_as_clients_expect(said: Reply) -> None:
    names = [event.name for event in events(said, envelope(said))]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    assert names.count("content_block_start") == names.count("content_block_stop") == len(said.content)


@given(st.text(max_size=200))
@example("x" * 1_000_001)
def test_chunks_lose_nothing_and_stay_few(anything: str) -> None:
    pieces = list(chunks(anything))
    assert "".join(pieces) == anything
    assert len(pieces) <= MOST_CHUNKS


def test_a_reply_stops_as_its_content_says() -> None:
    assert reply(text("Bye.")).stop == "end_turn"
    assert reply(text("Wait."), ToolCall("Bash", {})).stop == "tool_use"
    assert reply(text("Cut off"), stop="max_tokens").stop == "max_tokens"


def test_usage_comes_at_the_end_of_the_stream() -> None:
    said = reply(text("Hello."))
    figures = Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=3, cache_creation_input_tokens=4)
    billed = Envelope(message_id="msg_1", model="m", usage=figures, tool_ids=())
    assert message(said, billed)["usage"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 4,
    }
    assert put_together([dict(event.data) for event in events(said, billed)])["usage"]["output_tokens"] == 2


def test_an_error_is_an_event_like_any_other() -> None:
    assert decode(Event(error("overloaded_error", "Overloaded")).encode()) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
    }
