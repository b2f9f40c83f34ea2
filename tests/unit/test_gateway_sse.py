"""Server-sent events: what is written is what a client of the specification reads."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.lines import Line
from agentjob_api.notices import Notice, notice
from agentjob_gateway import sse
from agentjob_gateway.sse import END, START, Position
from event_source import Event, EventSource

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def read(stream: bytes) -> EventSource:
    found = EventSource().read(stream)
    assert found.rest == b"", "an event that is not ended is never dispatched"
    return found


def newlines(text: str) -> str:
    return re.sub("\r\n|\r", "\n", text)


texts = st.text(st.characters(exclude_categories=["Cs"]))
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
frames = st.tuples(texts, st.none() | words, st.none() | words)


@given(st.lists(frames))
def test_any_data_comes_through_whatever_is_in_it(sent: list[tuple[str, str | None, str | None]]) -> None:
    stream = b"".join(sse.frame(data.encode(), event_id=id_, event=event) for data, id_, event in sent)
    found = read(stream).events
    expected, last = [], ""
    for data, id_, event in sent:
        last = id_ if id_ is not None else last
        expected.append(Event(event or "message", newlines(data), last))
    assert found == expected


@given(st.lists(frames))
def test_chunks_can_be_put_together_and_taken_apart(sent: list[tuple[str, str | None, str | None]]) -> None:
    events = [sse.frame(data.encode(), event_id=id_, event=event) for data, id_, event in sent]
    assert sse.unchunked(b"".join(map(sse.chunked, events))) == b"".join(events)


@given(texts)
def test_the_data_of_an_event_can_be_read_back(data: str) -> None:
    event = sse.frame(data.encode(), event_id="fix/1-1", event="agentjob")
    assert sse.data_of(event) == newlines(data).encode()


@pytest.mark.parametrize("part", ["event_id", "event"])
@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"], ids=["a newline", "a carriage return", "NUL"])
def test_what_would_break_an_event_is_refused(part: str, bad: str) -> None:
    with pytest.raises(ValueError, match="expected neither newline nor NUL, found 'a"):
        sse.frame(b"{}", **{part: bad})


def test_a_chunk_has_its_length_in_hexadecimal() -> None:
    assert sse.chunked(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def line(message: object, attempt: int = 1, seq: int = 17) -> Line:
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    return Line(seq, attempt, NOON, truncated=False, message=body)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        pytest.param({"type": "assistant", "text": "Grüße"}, "message", id="the agent's own is what onmessage gets"),
        pytest.param(notice(Notice.START, job="fix", attempt=1), "agentjob", id="a notice has a type of its own"),
        pytest.param({"type": "agentjobs"}, "message", id="another type that begins like it"),
        pytest.param({"a": 1, "type": "agentjob"}, "message", id="one that the runner has not made"),
    ],
)
def test_a_line_is_an_event_with_its_message_as_it_is(message: object, event: str) -> None:
    found = line(message)
    assert read(sse.line("fix", found)).events == [Event(event, found.message.decode(), "fix/1-17")]


def test_lost_lines_are_an_event_that_moves_nobody_on() -> None:
    stream = sse.line("fix", line({})) + sse.gap(2, 18, 20) + sse.gap(2, 18, None)
    first, *gaps = read(stream).events
    assert [json.loads(each.data) for each in gaps] == [
        {"attempt": 2, "from": 18, "to": 20},
        {"attempt": 2, "from": 18, "to": None},
    ]
    assert {(each.type, each.last_event_id) for each in gaps} == {("gap", first.last_event_id)}


def test_a_state_tells_the_phase_and_why() -> None:
    (event,) = read(sse.state("Pending", "ImagePull", "no such image\nr:1")).events
    assert (event.type, event.last_event_id) == ("state", "")
    assert json.loads(event.data) == {"phase": "Pending", "reason": "ImagePull", "message": "no such image\nr:1"}


def test_the_end_is_told_by_its_id() -> None:
    done, failed = read(sse.done("fix") + sse.failed("fix", "10 turns were not enough", "MaxTurns")).events
    assert done == Event("message", "[DONE]", "fix/end")
    assert json.loads(failed.data) == {"error": "10 turns were not enough", "reason": "MaxTurns"}
    assert failed.last_event_id == "fix/end"


def test_a_client_that_comes_back_does_not_forget_where_it_was() -> None:
    found = read(sse.mark("fix", Position(1, 17)) + sse.state("Running", "Running", ""))
    assert [(event.type, event.last_event_id) for event in found.events] == [("state", "fix/1-17")]
    assert found.last_event_id == "fix/1-17"


def test_what_is_no_event_is_not_dispatched() -> None:
    found = read(sse.retry(2_500) + sse.HEARTBEAT)
    assert (found.events, found.retry, found.comments) == ([], 2_500, [""])


@pytest.mark.parametrize("position", [START, Position(1, 1), Position(12, 10**15 - 1), Position(999_999, 3), END])
def test_an_id_leads_back_to_its_position(position: Position) -> None:
    event_id = sse.id_of("fix.all", position)
    assert sse.parse_id(event_id, "fix.all") == position
    assert sse.job_of(event_id) == "fix.all"


def test_positions_are_in_the_order_of_a_stream() -> None:
    assert START < Position(1, 1) < Position(1, 2) < Position(1, sse.OPEN) < Position(2, 1) < Position(999_999, 1) < END


NO_IDS = (
    "", "fix", "fix/", "fix/1", "fix/1-", "fix/0-1", "fix/1-0", "fix/-1-2", "fix/1-2 ", "fix/1-2-3", "/1-2", "fix/END",
    "fix/0-0", "fix/٣-1", "fix/1000000-1", "fix/1-1000000000000000", "a/b/1-2", "fix/1-2\n", "x" * 10_000,
    "fix/\udcff-1",
)  # fmt: skip


@pytest.mark.parametrize("event_id", NO_IDS, ids=ascii)
def test_what_is_no_id_is_refused_and_told(event_id: str) -> None:
    assert sse.job_of(event_id) == ""
    with pytest.raises(ValueError, match=r"expected an id such as fix/1-17, found '") as refused:
        sse.parse_id(event_id, "fix")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("event_id", ["mend/1-17", "mend/end"])
def test_the_id_of_another_job_is_refused(event_id: str) -> None:
    with pytest.raises(ValueError, match="expected the id of an event of the job 'fix', found one of 'mend'"):
        sse.parse_id(event_id, "fix")
