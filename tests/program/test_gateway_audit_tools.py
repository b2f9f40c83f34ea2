"""The tools that agents use are audited, of every job, read or unread, by one replica."""

import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentjob_api.lines import envelope
from agentjob_gateway import audit
from agentjob_gateway.share import owner
from agentjob_kube.resources import ENDPOINT_SLICES
from endpoints import endpoint_slice
from operated import until
from served import Door, Served, served

Object = dict[str, Any]

HOME = {"namespace": "system", "service": "gateway"}
NAMES = ("gateway-a", "gateway-b")


@pytest.fixture
def book() -> Iterator[io.StringIO]:
    """What the audit has written."""
    found = io.StringIO()
    with audit.written(found, "gateway-1"):
        yield found


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        found.key()
        yield found


def told(book: io.StringIO) -> list[tuple[str, str | None, int, str]]:
    """The job, tool, seq and verdict of each tool that was told."""
    found = [json.loads(line) for line in book.getvalue().splitlines()]
    return [(each["job"], each["what"], each["seq"], each["verdict"]) for each in found if each["audit"] == "tool"]


async def until_told(book: io.StringIO, count: int) -> list[tuple[str, str | None, int, str]]:
    async def there() -> bool:
        return len(told(book)) >= count

    await until(there)
    return told(book)


def message(seq: int, kind: str, block: Object) -> bytes:
    body = json.dumps({"type": kind, "message": {"content": [block]}}, separators=(",", ":")).encode()
    return envelope(seq, 1, datetime.now(UTC)) + body + b"}\n"


def use(seq: int, tool: str = "Bash") -> bytes:
    return message(seq, "assistant", {"type": "tool_use", "id": f"toolu_{tool}", "name": tool, "input": {"path": "x"}})


def answered(seq: int, tool: str = "Bash") -> bytes:
    return message(seq, "user", {"type": "tool_result", "tool_use_id": f"toolu_{tool}", "content": "done"})


async def begin(place: Served, name: str = "by-hand") -> None:
    """A job that nobody has made through a door, at work."""
    await place.agents.submit(name)
    await place.agents.start(name=name)


def settings(tmp_path: Path, *, archives: bool) -> Object:
    return {"archive": {"url": f"file://{tmp_path}/archive", "partSeconds": 0.02}} if archives else {}


def files(tmp_path: Path) -> list[Path]:
    """What is in the archive."""
    return [Path(at) / name for at, _, names in os.walk(tmp_path / "archive") for name in names]


async def replicas(place: Served) -> dict[str, Door]:
    """Two that know each other."""
    body = endpoint_slice("gateway-1", HOME["service"], *NAMES)
    await place.client.create(ENDPOINT_SLICES, HOME["namespace"], body)
    return {name: await place.door(peers=HOME, podName=name).start() for name in NAMES}


@pytest.mark.parametrize("archives", [True, False], ids=["with an archive", "without an archive"])
async def test_a_job_made_by_hand_that_nobody_watches_is_audited(
    place: Served, book: io.StringIO, tmp_path: Path, archives: bool
) -> None:
    await place.door(**settings(tmp_path, archives=archives)).start()
    await begin(place)
    place.agents.print(use(1) + answered(2) + use(3, "Edit"), name="by-hand")
    assert await until_told(book, 1) == [("by-hand", "Bash", 1, "ok")]
    await place.agents.finish(4, name="by-hand")
    assert await until_told(book, 2) == [("by-hand", "Bash", 1, "ok"), ("by-hand", "Edit", 3, "unanswered")]


async def test_what_the_one_that_stands_by_writes_is_told_by_it(
    place: Served, book: io.StringIO, tmp_path: Path
) -> None:
    await begin(place)
    first = owner((await place.job("by-hand"))["metadata"]["uid"], NAMES)
    body = endpoint_slice("gateway-1", HOME["service"], *NAMES)
    await place.client.create(ENDPOINT_SLICES, HOME["namespace"], body)
    [second] = [name for name in NAMES if name != first]
    await place.door(peers=HOME, podName=second, **settings(tmp_path, archives=True)).start()
    place.agents.print(use(1) + answered(2) + use(3, "Edit"), name="by-hand")
    assert await until_told(book, 1) == [("by-hand", "Bash", 1, "ok")]
    await place.agents.finish(4, name="by-hand")
    assert await until_told(book, 2) == [("by-hand", "Bash", 1, "ok"), ("by-hand", "Edit", 3, "unanswered")]


async def test_a_job_that_runs_when_the_gateway_starts_is_audited_from_its_first_line(
    place: Served, book: io.StringIO
) -> None:
    await begin(place)
    place.agents.print(use(1) + answered(2), name="by-hand")
    await place.door().start()
    assert await until_told(book, 1) == [("by-hand", "Bash", 1, "ok")]


async def test_without_an_archive_a_job_that_has_ended_is_not_told_again_at_each_start(
    place: Served, book: io.StringIO
) -> None:
    await begin(place, "first")
    place.agents.print(use(1) + answered(2), name="first")
    door = await place.door().start()
    await until_told(book, 1)
    await place.agents.finish(3, name="first")

    async def is_over() -> bool:
        text = (await door.ask("GET", "/v1/jobs/first", place.key())).body
        return bool(text["status"]["phase"] == "Succeeded")

    await until(is_over)
    await place.door().start()
    await begin(place, "second")
    place.agents.print(use(1) + answered(2), name="second")
    found = await until_told(book, 3)
    assert sorted(found) == [("first", "Bash", 1, "ok"), *[("second", "Bash", 1, "ok")] * 2]


async def test_of_two_replicas_one_tells(place: Served, book: io.StringIO) -> None:
    await replicas(place)
    names = [f"job-{number}" for number in range(6)]
    for name in names:
        await begin(place, name)
        place.agents.print(use(1) + answered(2), name=name)
    await until_told(book, len(names))
    for name in names:
        await place.agents.finish(3, name=name)
    await begin(place, "last")
    place.agents.print(use(1) + answered(2), name="last")
    await until_told(book, len(names) + 1)
    assert sorted(told(book)) == sorted((name, "Bash", 1, "ok") for name in (*names, "last"))
    uids = [(await place.job(name))["metadata"]["uid"] for name in names]
    assert {owner(uid, NAMES) for uid in uids} <= set(NAMES)


async def test_a_use_that_waits_is_told_when_the_gateway_stops(place: Served, book: io.StringIO) -> None:
    door = await place.door().start()
    await begin(place)
    place.agents.print(use(1) + answered(2) + use(3, "Edit"), name="by-hand")
    await until_told(book, 1)
    await door.stop()
    assert told(book)[1:] == [("by-hand", "Edit", 3, "unanswered")]


@pytest.mark.parametrize("archives", [True, False], ids=["with an archive", "without an archive"])
async def test_a_job_that_was_deleted_while_it_ran_is_told_to_its_end(
    place: Served, book: io.StringIO, tmp_path: Path, archives: bool
) -> None:
    await place.door(**settings(tmp_path, archives=archives)).start()
    await begin(place)
    place.agents.print(use(1) + answered(2), name="by-hand")
    await until_told(book, 1)
    await place.agents.delete("by-hand")
    place.agents.print(use(3, "Edit") + answered(4, "Edit") + use(5), name="by-hand")
    await until_told(book, 2)
    await place.agents.remove_pod(name="by-hand")
    assert (await until_told(book, 3))[1:] == [("by-hand", "Edit", 3, "ok"), ("by-hand", "Bash", 5, "unanswered")]

    async def is_empty() -> bool:
        return not files(tmp_path)

    await until(is_empty)
