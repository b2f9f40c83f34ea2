"""The ring: the latest entries, found by position, and never a hole that is not told."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_gateway.ring import Entry, Ring
from agentjob_gateway.sse import OPEN, Position

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def entry(attempt: int, seq: int, size: int = 10) -> Entry:
    return Entry(Position(attempt, seq), seq, NOON, truncated=False, chunk=b"x" * size)


def filled(*positions: tuple[int, int], start: int = 1, max_bytes: int = 1_000, max_entries: int = 100) -> Ring:
    ring = Ring(Position(start, 0), max_bytes, max_entries)
    for attempt, seq in positions:
        ring.append(entry(attempt, seq))
    return ring


def after(ring: Ring, attempt: int, seq: int, limit: int = 10_000) -> list[tuple[int, int]] | None:
    found = ring.after(Position(attempt, seq), limit)
    return None if found is None else [(each.position.attempt, each.position.seq) for each in found]


TWO = ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2))


@pytest.mark.parametrize(
    ("position", "found"),
    [
        pytest.param((1, 0), list(TWO), id="from the start"),
        pytest.param((1, 1), list(TWO[1:]), id="after an entry"),
        pytest.param((1, 3), list(TWO[3:]), id="after the last of an attempt"),
        pytest.param((1, 99), list(TWO[3:]), id="beyond the last of an attempt"),
        pytest.param((2, 0), list(TWO[3:]), id="from the start of an attempt"),
        pytest.param((2, 2), [], id="after all"),
        pytest.param((7, 7), [], id="beyond all"),
    ],
)
def test_entries_are_found_by_position(position: tuple[int, int], found: list[tuple[int, int]]) -> None:
    assert after(filled(*TWO), *position) == found


@pytest.mark.parametrize(
    ("position", "found"),
    [
        pytest.param((1, 0), None, id="the start was dropped"),
        pytest.param((1, 2), None, id="so was a part"),
        pytest.param((1, 3), [(2, 1), (2, 2)], id="all that was dropped is known"),
    ],
)
def test_what_was_dropped_is_told(position: tuple[int, int], found: list[tuple[int, int]] | None) -> None:
    assert after(filled(*TWO, max_bytes=20), *position) == found
    assert after(filled(*TWO, max_entries=2), *position) == found


def test_a_ring_begins_where_it_was_told_to() -> None:
    ring = filled(start=3)
    assert (after(ring, 3, 0), after(ring, 2, 9)) == ([], None)


def test_a_ring_may_begin_later_than_it_was_told_to_while_nothing_is_in_it() -> None:
    ring = filled(start=1)
    ring.begin(Position(1, 4))
    assert (after(ring, 1, 0), after(ring, 1, 4), ring.last) == (None, [], Position(1, 4))
    ring.append(entry(1, 5))
    assert (after(ring, 1, 3), after(ring, 1, 4)) == (None, [(1, 5)])
    with pytest.raises(AssertionError, match="without entries"):
        ring.begin(Position(1, 6))


def test_entries_are_handed_out_some_at_a_time() -> None:
    ring = filled(*TWO)
    assert after(ring, 1, 0, limit=25) == [(1, 1), (1, 2), (1, 3)]
    assert after(ring, 1, 3, limit=1) == [(2, 1)]


def test_the_latest_entry_is_kept_whatever_its_size() -> None:
    ring = filled((1, 1), (1, 2))
    ring.append(entry(1, 3, size=5_000))
    assert (after(ring, 1, 2), after(ring, 1, 1), ring.size) == ([(1, 3)], None, 5_000)


def test_lines_that_are_lost_end_an_attempt() -> None:
    ring = filled((1, 1), (1, OPEN), (2, 1))
    assert after(ring, 1, 1) == [(1, OPEN), (2, 1)]
    assert after(ring, 1, 5_000) == [(1, OPEN), (2, 1)]


def test_entries_come_in_order() -> None:
    ring = filled((1, 2))
    with pytest.raises(AssertionError, match="expected an entry after"):
        ring.append(entry(1, 2))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.integers(20, 200), st.integers(1, 10))
def test_who_looks_after_each_portion_misses_nothing(sizes: list[int], most: int, count: int) -> None:
    ring, entries = Ring(Position(1, 0), most, count), [entry(1, seq, size) for seq, size in enumerate(sizes, 1)]
    found: list[Entry] = []
    for portion in ring.portions(entries):
        before = ring.last
        for each in portion:
            ring.append(each)
        found += ring.after(before, 10**9) or []
    assert found == entries


def test_what_there_is_room_for_is_one_portion() -> None:
    entries = [entry(1, seq, size=250) for seq in range(1, 5)]
    assert list(filled(max_bytes=1_000).portions(entries)) == [entries]


steps = st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=300)


@given(steps, st.integers(20, 400), st.integers(1, 40))
def test_it_holds_its_bounds_and_tells_the_truth(sizes: list[tuple[int, bool]], most: int, count: int) -> None:
    ring, given_, attempt, seq = Ring(Position(1, 0), most, count), [], 1, 0
    for size, is_new_attempt in sizes:
        attempt, seq = (attempt + 1, 1) if is_new_attempt else (attempt, seq + 1)
        given_.append(entry(attempt, seq, size))
        ring.append(given_[-1])
        assert ring.size <= max(most, size)
        assert len(ring) <= count
        assert ring.last == given_[-1].position
        kept = ring.after(ring.floor, 10**9)
        assert kept == given_[-len(ring) :]
        assert ring.size == sum(len(each.chunk) for each in kept)
    for each in given_:
        expected = [other for other in given_ if other.position > each.position]
        found = ring.after(each.position, 10**9)
        assert found == (None if each.position < ring.floor else expected)
