"""What the archive may rely on, whatever store is behind it: memory, a directory, a real S3 server, any you name."""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import S3Store

from agentjob_api.lines import MAX_LINE, Line
from agentjob_gateway.archive import CHUNK, Archive, opened
from agentjob_gateway.archive_keys import Kept, Part, Span
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.reading import Gap
from stores import BUCKET, BUILD_SECONDS, S3, s3

NS, UID = "agents", "5b0e8a3c"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NEEDS_S3 = pytest.mark.timeout(BUILD_SECONDS + 60)
NAMED = os.environ.get("ARCHIVE_URLS", "").split()
"""Buckets and containers to run on as well, as in archive.url; what is said of archive.secretName holds for them."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3")) as found:
        yield found


def connected(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process know of the server, as the chart's Secret does."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["memory", "directory", pytest.param("s3", marks=NEEDS_S3), *NAMED])
async def archive(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Archive]:
    match request.param:
        case "memory":
            found = opened("memory:///")
        case "directory":
            found = opened(f"file://{tmp_path}/deep/down")
        case "s3":
            connected(request.getfixturevalue("server"), monkeypatch)
            found = opened(f"s3://{BUCKET}/{tmp_path.name}/archive")
        case url:
            found = opened(f"{url}/{secrets.token_hex(8)}")
    yield found
    for uid in await found.uids(NS):
        await found.remove(NS, uid)


def line(seq: int, attempt: int = 1, text: bytes = b"") -> Line:
    return Line(seq, attempt, NOON + timedelta(seconds=seq), False, b'{"n":%d,"text":"%b"}' % (seq, text))


def part(first: int, last: int, attempt: int = 1) -> Part:
    found = Part(line(first, attempt))
    for seq in range(first + 1, last + 1):
        assert found.take(line(seq, attempt))
    return found


async def write(archive: Archive, *spans: tuple[int, int], attempt: int = 1, uid: str = UID) -> None:
    for first, last in spans:
        assert await archive.write(NS, uid, part(first, last, attempt)) > 0


async def read(archive: Archive, attempt: int = 1, after: int = 0) -> list[Line]:
    return [each async for each in archive.lines(NS, UID, attempt, after)]


async def test_of_a_job_that_nobody_has_written_there_is_nothing(archive: Archive) -> None:
    assert await archive.kept(NS, UID) == {}
    assert await read(archive) == []
    assert await archive.uids(NS) == []
    assert await archive.newest(NS, UID) is None
    await archive.seal(NS, UID, 1)
    await archive.remove(NS, UID)
    assert await archive.kept(NS, UID) == {}


async def test_what_is_written_is_read_line_by_line(archive: Archive) -> None:
    await write(archive, (1, 3), (4, 4))
    assert await read(archive) == [line(seq) for seq in (1, 2, 3, 4)]
    assert await read(archive, after=2) == [line(3), line(4)]
    assert await read(archive, attempt=2) == []


async def test_sealing_makes_one_object_and_the_parts_go(archive: Archive) -> None:
    await write(archive, (1, 3), (4, 9))
    await write(archive, (1, 2), attempt=2)
    await archive.seal(NS, UID, 1)
    assert await archive.kept(NS, UID) == {1: Kept(is_sealed=True), 2: Kept(parts=(Span(1, 2),))}
    assert await read(archive, after=2) == [line(seq) for seq in range(3, 10)]
    await archive.seal(NS, UID, 1)
    assert await read(archive) == [line(seq) for seq in range(1, 10)]


async def test_what_two_have_written_is_read_once(archive: Archive) -> None:
    await write(archive, (1, 5), (6, 8), (1, 3), (4, 7), (1, 5), (10, 12), (8, 9))
    whole = [line(seq) for seq in range(1, 13)]
    assert await read(archive) == whole
    await archive.seal(NS, UID, 1)
    assert await read(archive) == whole


async def test_a_part_that_comes_after_the_sealing_harms_nothing(archive: Archive) -> None:
    await write(archive, (1, 5))
    await archive.seal(NS, UID, 1)
    await write(archive, (3, 5))
    assert await read(archive) == [line(seq) for seq in range(1, 6)]
    await archive.seal(NS, UID, 1)
    assert await archive.kept(NS, UID) == {1: Kept(is_sealed=True)}
    assert await read(archive) == [line(seq) for seq in range(1, 6)]


async def test_gaps_stay_gaps_and_are_noted(archive: Archive) -> None:
    await write(archive, (3, 4), (8, 8))
    await archive.note_gaps(NS, UID, 1, [Gap(1, 1, 2)])
    await archive.note_gaps(NS, UID, 1, [Gap(1, 1, 2), Gap(1, 5, 7), Gap(1, 9, None)])
    await archive.seal(NS, UID, 1)
    assert await archive.kept(NS, UID) == {1: Kept(is_sealed=True, has_gaps=True)}
    assert await read(archive) == [line(3), line(4), line(8)]


@pytest.mark.parametrize(
    ("spans", "seq"),
    [
        pytest.param([], None, id="nothing is kept"),
        pytest.param([(1, 3)], 3, id="one part"),
        pytest.param([(1, 3), (8, 9)], 9, id="parts with a hole between them"),
        pytest.param([(1, 9), (2, 4)], 9, id="a part within another one"),
    ],
)
async def test_the_last_line_that_is_kept_is_told(
    archive: Archive, spans: list[tuple[int, int]], seq: int | None
) -> None:
    await write(archive, *spans)
    await write(archive, (1, 20), attempt=2)
    assert await archive.last(NS, UID, 1) == (line(seq) if seq else None)


async def test_of_an_attempt_that_is_sealed_no_last_line_is_told(archive: Archive) -> None:
    await write(archive, (1, 3))
    await archive.seal(NS, UID, 1)
    assert await archive.last(NS, UID, 1) is None


async def test_lost_lines_are_told_as_they_were_noted(archive: Archive) -> None:
    gaps = (Gap(1, 2, 5), Gap(1, 9, None))
    await archive.note_gaps(NS, UID, 1, gaps)
    assert await archive.gaps(NS, UID, 1) == gaps


async def test_an_archive_larger_than_one_request_is_sealed_and_read(archive: Archive) -> None:
    """Lines that do not compress: the sealed object is written in several requests, and read in pieces."""
    noise = [bytes(f"{seed:x}" * 8, "ascii") for seed in range(50)]
    size, seq = 0, 0
    while size < CHUNK + 200_000:
        seq += 1
        text = b"".join(noise[(seq * 31 + at * at) % 50] + b"%x" % hash((seq, at)) for at in range(3_000))
        size += await archive.write(NS, UID, Part(line(seq, text=text[: MAX_LINE - 200])))
    await archive.seal(NS, UID, 1)
    assert [each.seq for each in await read(archive)] == list(range(1, seq + 1))


async def test_jobs_are_listed_and_taken_away_one_by_one(archive: Archive) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    await write(archive, (1, 2), uid="one")
    await write(archive, (1, 2), (3, 4), uid="two")
    await archive.seal(NS, "one", 1)
    await archive.note_gaps(NS, "one", 1, [Gap(1, 3, None)])
    assert sorted(await archive.uids(NS)) == ["one", "two"]
    assert await archive.uids("other") == []
    newest = await archive.newest(NS, "two")
    assert newest is not None
    assert began < newest < datetime.now(UTC) + timedelta(seconds=2)
    await archive.remove(NS, "one")
    await archive.remove(NS, "one")
    assert (await archive.uids(NS), await archive.kept(NS, "one")) == (["two"], {})
    assert await archive.kept(NS, "two") == {1: Kept(parts=(Span(1, 2), Span(3, 4)))}


@NEEDS_S3
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        pytest.param("AWS_SECRET_ACCESS_KEY", "not-the-secret", "SignatureDoesNotMatch", id="a wrong key"),
        pytest.param("AWS_ENDPOINT", "http://127.0.0.1:9", "error sending request", id="no server"),
    ],
)
async def test_an_error_has_the_words_of_the_store_and_no_credential(
    server: S3, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, words: str
) -> None:
    connected(server, monkeypatch)
    monkeypatch.setenv(setting, value)
    with pytest.raises(ArchiveError, match=words) as caught:
        await write(opened(f"s3://{BUCKET}/x"), (1, 2))
    assert not re.search(r"not-the-secret|AWS4|StringToSign|Signature=|Credential", str(caught.value))
    assert (len(str(caught.value)) < 500, caught.value.__cause__) == (True, None)


@NEEDS_S3
async def test_a_bucket_that_is_not_there_is_no_empty_archive(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    connected(server, monkeypatch)
    with pytest.raises(ArchiveError, match="NoSuchBucket"):
        await opened("s3://other/x").kept(NS, UID)


async def test_a_store_that_gives_no_answer_is_left_without_a_request_once_it_is_not_waited_for() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def keep_silent(request: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        while await request.read(1024):
            asked.set()
        answer.close()
        left.set()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as silent, asyncio.timeout(10):
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        store = S3Store(BUCKET, endpoint=url, skip_signature=True, client_options={"allow_http": True})
        look = asyncio.ensure_future(anext(Archive(store).lines(NS, UID, 1, 0)))
        await asked.wait()
        look.cancel()
        await left.wait()
    assert look.cancelled()


@pytest.mark.parametrize("url", ["file:///proc/none", "s3:///x", "ftp://there/x"])
def test_where_there_can_be_no_archive_it_is_said_at_once(url: str) -> None:
    with pytest.raises(ArchiveError, match=r"archive\.url"):
        opened(url)
