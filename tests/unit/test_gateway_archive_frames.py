"""Frames that are put one behind the other: what goes in comes out, and what is damaged takes no other with it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_api.lines import Line, parse
from agentjob_gateway.archive_frames import MAGIC, MAX_FRAME, Unpacker
from agentjob_gateway.archive_keys import Part, text

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def line(seq: int, size: int = 0) -> Line:
    return Line(seq, 1, NOON + timedelta(seconds=seq), False, b'{"type":"assistant","text":"%b"}' % (b"x" * size))


def part(*lines: Line) -> Part:
    found = Part(lines[0])
    for each in lines[1:]:
        assert found.take(each)
    return found


def frame(*seqs: int) -> bytes:
    return part(*(line(seq) for seq in seqs)).packed()


ONE, TWO, THREE = frame(1, 2), frame(3, 4), frame(5, 6)


def read(content: bytes, piece: int = 64 * 1024) -> tuple[list[int], str | None]:
    """The lines that are found, and what is wrong."""
    unpacker = Unpacker()
    texts = [each for at in range(0, len(content), piece) for each in unpacker.feed(content[at : at + piece])]
    texts += unpacker.end()
    found = [parse(each) for each in texts]
    assert None not in found
    return [each.seq for each in found if each is not None], unpacker.fault


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 50))
def test_parts_one_behind_the_other_are_read_in_pieces_of_any_size(lengths: list[int], piece: int) -> None:
    seqs = iter(range(1, 100))
    parts = [part(*(line(next(seqs)) for _ in range(length))) for length in lengths]
    content = b"".join(each.packed() for each in parts)
    unpacker = Unpacker()
    found = [each for at in range(0, len(content), piece) for each in unpacker.feed(content[at : at + piece])]
    assert b"".join(each + b"\n" for each in found) == b"".join(text(line(seq)) for seq in range(1, sum(lengths) + 1))
    assert (list(unpacker.end()), unpacker.fault) == ([], None)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :]


@pytest.mark.parametrize("piece", [1, 7, 64 * 1024])
@pytest.mark.parametrize(
    ("content", "seqs", "fault"),
    [
        pytest.param(b"", [], "it is empty", id="empty"),
        pytest.param(b"no such thing", [], "Unknown frame", id="something else"),
        pytest.param(b"\0" * 300, [], "Unknown frame", id="zeros"),
        pytest.param(ONE[:-1], [], "cut off", id="one frame that is cut off"),
        pytest.param(ONE + TWO + THREE[:-9], [1, 2, 3, 4], "cut off", id="the last frame is cut off"),
        pytest.param(ONE + TWO[:-9] + THREE, [1, 2, 5, 6], "", id="one in the middle is cut off"),
        pytest.param(ONE[:9] + TWO + THREE, [3, 4, 5, 6], "", id="the first one is cut off"),
        pytest.param(ONE + flipped(TWO, 0) + THREE, [1, 2, 5, 6], "Unknown frame", id="a frame does not begin as one"),
        pytest.param(ONE + flipped(TWO, 20) + THREE, [1, 2, 5, 6], "", id="a frame is damaged inside"),
        pytest.param(ONE + flipped(TWO, -1 % len(TWO)) + THREE, [1, 2, 5, 6], "checksum", id="a checksum is wrong"),
        pytest.param(ONE + b"rubbish" + THREE, [1, 2, 5, 6], "Unknown frame", id="rubbish between two frames"),
        pytest.param(ONE + THREE + b"\0", [1, 2, 5, 6], "", id="rubbish at the end"),
        pytest.param(MAGIC * 50 + TWO, [3, 4], "", id="beginnings of frames and no more"),
    ],
)
def test_of_what_is_damaged_the_rest_is_read(content: bytes, piece: int, seqs: list[int], fault: str) -> None:
    found, said = read(content, piece)
    assert found == seqs
    assert said is not None
    assert fault in said


@given(st.integers(0, len(ONE + TWO + THREE) - 1), st.integers(0, 120), st.binary(max_size=40), st.integers(1, 300))
def test_whatever_is_put_in_place_of_some_bytes_other_frames_are_read(
    at: int, length: int, other: bytes, piece: int
) -> None:
    content = ONE + TWO + THREE
    damaged = content[:at] + other + content[at + length :]
    frames, begin = {(1, 2): ONE, (3, 4): TWO, (5, 6): THREE}, 0
    sound: list[int] = []
    for seqs, each in frames.items():
        if begin + len(each) <= at or begin >= at + length:
            sound += seqs
        begin += len(each)
    found, fault = read(damaged, piece)
    assert set(sound) <= set(found)
    assert found == sorted(found)
    assert damaged != content or fault is None


def test_a_frame_without_an_end_is_left_out() -> None:
    unpacker = Unpacker()
    endless = MAGIC + b"\x00\x58" + (b"\x00\x00\x10" + b"x" * (128 * 1024)) * (MAX_FRAME // (128 * 1024) + 1)
    assert list(unpacker.feed(endless)) == []
    assert [*unpacker.feed(ONE), *unpacker.end()] != []
    assert unpacker.fault is not None


def test_one_frame_at_a_time_is_unpacked_however_small_its_pieces() -> None:
    """A megabyte of one letter is a hundred bytes: who reads must not get all frames of a piece at once."""
    content = b"".join(part(line(seq, size=100_000)).packed() for seq in range(1, 200))
    assert len(content) < 64 * 1024
    unpacked = Unpacker().feed(content)
    assert len(next(unpacked)) < 101_000
