"""The archive's objects: what their names tell, and that what goes in comes out byte for byte."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.lines import Line, envelope, parse
from agentjob_gateway.archive_keys import PART_BYTES, Kept, Part, Span, Spans, gaps, kept, lost, part_name, text
from agentjob_gateway.reading import Gap

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPANS = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: Span(pair[0], sum(pair)))


def line(seq: int, attempt: int = 1, size: int = 0) -> Line:
    return Line(seq, attempt, NOON + timedelta(seconds=seq), False, b'{"type":"assistant","text":"%b"}' % (b"x" * size))


def part(*lines: Line) -> Part:
    found = Part(lines[0])
    for each in lines[1:]:
        assert found.take(each)
    return found


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("message", [b"{}", b'{"a":"\\u2028 \xc3\xa9"}', b'{"a":{"b":[1, 2]} }'])
def test_a_line_is_kept_as_its_runner_has_printed_it(message: bytes, truncated: bool) -> None:
    printed = envelope(17, 3, NOON + timedelta(milliseconds=7), truncated=truncated) + message + b"}\n"
    read = parse(printed)
    assert read is not None
    assert text(read) == printed


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[1]", b"{}", b'[{"from":1}]', b'[{"from":"a","to":2}]', b"\xff"], ids=repr
)
def test_what_is_damaged_names_no_lost_lines(content: bytes) -> None:
    assert gaps(1, content) == ()


@pytest.mark.parametrize(
    ("parts", "noted", "found"),
    [
        pytest.param([(1, 5), (4, 9)], [], [], id="all is there"),
        pytest.param([(1, 2), (5, 6), (9, 9)], [], [(3, 4), (7, 8)], id="what nobody has noted is missing"),
        pytest.param([(3, 4)], [(1, 2)], [(1, 2)], id="what is noted is missing, from the first line on"),
        pytest.param([(1, 2), (3, 6)], [(3, 6)], [], id="what was lost here was written by another one"),
        pytest.param([(1, 2), (4, 6)], [(2, 4)], [(3, 3)], id="some of it was"),
        pytest.param([(1, 2)], [(3, 4), (5, None)], [(3, 4), (5, None)], id="the last ones are lost"),
        pytest.param([(1, 4)], [(3, None)], [(5, None)], id="what was written of the last ones is not"),
        pytest.param([(1, 4)], [(3, 8)], [(5, 8)], id="nor of those whose number is known"),
    ],
)
def test_lost_is_what_is_in_no_part(
    parts: list[tuple[int, int]], noted: list[tuple[int, int | None]], found: list[tuple[int, int | None]]
) -> None:
    spans = [Span(*each) for each in parts]
    assert lost(7, spans, [Gap(7, *each) for each in noted]) == tuple(Gap(7, *each) for each in found)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(
            ["1/000000000000008-000000000000012.jsonl.zst", "1/000000000000001-000000000000007.jsonl.zst"],
            {1: Kept(parts=(Span(1, 7), Span(8, 12)))},
            id="parts, in the order of their lines",
        ),
        pytest.param(
            ["1.jsonl.zst", "1.gaps", "2/000000000000001-000000000000002.jsonl.zst"],
            {1: Kept(is_sealed=True, has_gaps=True), 2: Kept(parts=(Span(1, 2),))},
            id="a sealed attempt with gaps, and another one",
        ),
        pytest.param(
            ["1.jsonl.zst", "1/000000000000001-000000000000002.jsonl.zst"],
            {1: Kept(is_sealed=True, parts=(Span(1, 2),))},
            id="a part that has outlived its sealing",
        ),
        pytest.param(["0.jsonl.zst", "1.jsonl", "x/y", "1/2-3.jsonl.zst", "01.gaps"], {}, id="objects of others"),
    ],
)
def test_names_tell_what_is_kept(names: list[str], found: dict[int, Kept]) -> None:
    assert kept(names) == found


def test_a_name_sorts_as_its_lines_do() -> None:
    names = [part_name("ns", "uid", 1, Span(first, first + 1)) for first in (999_999_999_999_999, 2, 10)]
    assert sorted(names) == [names[1], names[2], names[0]]


@given(st.lists(SPANS, max_size=8))
def test_spans_know_which_lines_are_there(spans: list[Span]) -> None:
    there = {seq for span in spans for seq in range(span.first, span.last + 1)}
    found = Spans(spans)
    assert [seq for seq in range(1, 80) if found.covers(Span(seq, seq))] == sorted(there)
    assert found.reach == next(seq for seq in range(80) if seq + 1 not in there)
    for span in spans:
        assert found.covers(span)
    assert not found.covers(Span(1, 10**15))
    holes = [seq for hole in found.holes() for seq in range(hole.first, hole.last + 1)]
    assert holes == [seq for seq in range(1, max(there, default=0)) if seq not in there]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(line(6), id="one after a gap"),
        pytest.param(line(3), id="one again"),
        pytest.param(line(4, attempt=2), id="one of another attempt"),
    ],
)
def test_a_part_has_no_gap(other: Line) -> None:
    assert not part(line(3)).take(other)


def test_a_part_is_full_in_time() -> None:
    big = part(line(1, size=PART_BYTES))
    assert not big.take(line(2))
    assert big.size < PART_BYTES + 200
