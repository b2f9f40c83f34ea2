"""What a stream gets where the cluster has lines no more: those that are kept, and gaps for the others."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_jobs import ENDED, agent_job
from agentjob_api.lines import Line, envelope, parse
from agentjob_api.names import Key
from agentjob_api.notices import Notice, notice
from agentjob_gateway.archive import SECONDS
from agentjob_gateway.cache import JobCache
from agentjob_gateway.follow import Counts, Follower, Pace
from agentjob_gateway.history import ArchiveError, DamagedError
from agentjob_gateway.known import ANSWER_SECONDS, SILENT_SECONDS, Known
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import OPEN, Position
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, NotFound
from agentjob_kube.transport import Request
from timeless import now, run

Object = dict[str, Any]
Answer = list[bytes] | ApiError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIX = Key("agents", "fix")
GONE = NotFound('pods "fix-1" not found', status=404)
STARTED = {"startTime": "2026-11-22T12:00:00Z"}
RUNNING: Object = {"phase": "Running", "attemptCount": 1, "attempts": [{"number": 1, "pod": "fix-1", **STARTED}]}
OVER: Object = {**ENDED, "attempts": [{**ENDED["attempts"][0], **STARTED}]}


def archived(reason: str = "Archived") -> Object:
    condition = {"type": "Archived", "status": "True", "reason": reason}
    return {**OVER, "conditions": [{"type": "Ready", "status": "True", "reason": "Completed"}, condition]}


def said(seq: int, message: object = None) -> bytes:
    body = json.dumps({"type": "assistant"} if message is None else message, separators=(",", ":")).encode()
    return envelope(seq, 1, NOON + timedelta(seconds=seq)) + body + b"}"


def last(seq: int) -> bytes:
    return said(seq, notice(Notice.OUTCOME, outcome={"reason": "Completed"}))


class Memory:
    """A history that fails so many times before it answers, each time after some lines."""

    hangs = False
    """Whether it gives no answer at all, until its own time is over."""

    def __init__(self, kept: Sequence[bytes] = (), fails: int = 0, after: int = 0, *, damaged: bool = False) -> None:
        self.asked: list[int] = []
        """After which seq lines were asked for."""
        self._kept = kept
        self._fails = fails
        self._after = after
        self._damaged = damaged

    async def last(self, namespace: str, uid: str, attempt: int) -> Line | None:
        assert (namespace, uid, attempt) == ("agents", "uid-fix", 1)
        self._fails -= 1
        if self._fails >= 0:
            raise ArchiveError("no answer")
        return parse(self._kept[-1]) if self._kept else None

    async def lines(self, namespace: str, uid: str, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        assert (namespace, uid, attempt) == ("agents", "uid-fix", 1)
        self.asked.append(after)
        if self.hangs:
            await asyncio.sleep(SECONDS)
            raise ArchiveError("no answer")
        self._fails -= 1
        found = [line for line in map(parse, self._kept) if line is not None and line.seq > after]
        for at, line in enumerate(found):
            if self._fails >= 0 and at == self._after:
                raise ArchiveError("no answer")
            yield line
        if self._fails >= 0:
            raise ArchiveError("no answer")
        if self._damaged:
            raise DamagedError("1.jsonl.zst is damaged")


class Script:
    """A transport that gives its answers in order."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)

    async def send(self, request: Request) -> bytes:
        raise NotImplementedError

    async def lines(self, _: Request) -> AsyncGenerator[list[bytes], None]:
        answer = self.answers.popleft()
        if isinstance(answer, ApiError):
            raise answer
        for line in answer:
            yield [line]


def known(history: Memory | None, status: Object) -> Known:
    cache = JobCache(("agents",))
    cache.replace("agents", (), at=0)
    cache.put(agent_job(status=status))
    return Known(cache, FIX, "uid-fix", history)


def shown(item: Line | Gap) -> str:
    return f"lost {item.first} to {item.last}" if isinstance(item, Gap) else str(item.seq)


async def collect(items: AsyncGenerator[Line | Gap, None]) -> list[str]:
    async with aclosing(items):
        return [shown(item) async for item in items]


class Play:
    """A follower on a clock that each wait takes on."""

    def __init__(self, history: Memory | None, status: Object, *answers: Answer) -> None:
        self.waits: list[float] = []
        self._known = known(history, status)
        pace = Pace(Backoff(first=1.0, most=20.0), self._wait, lambda: sum(self.waits))
        self.counts = Counts()
        self._follower = Follower(Client(Script(*answers)), self._known, self.counts, pace)

    async def _wait(self, _: Known, seconds: float) -> None:
        self.waits.append(seconds)

    async def run(self) -> list[str]:
        return await collect(self.items())

    async def items(self) -> AsyncGenerator[Line | Gap, None]:
        async with aclosing(self._follower.items(1)) as items:
            async for found in items:
                for item in (found,) if isinstance(found, Gap) else found:
                    yield item

    async def past(self, after: int, until: int) -> list[str]:
        return await collect(self._follower.past(Position(1, after), Position(1, until)))


@pytest.mark.parametrize(
    ("history", "seq"),
    [
        pytest.param(Memory([said(1), said(2)]), 2, id="the last that is kept"),
        pytest.param(Memory(), None, id="none where nothing is kept"),
        pytest.param(Memory([said(1)], fails=1), None, id="none while the history does not answer"),
        pytest.param(None, None, id="none without a history"),
    ],
)
async def test_a_stream_begins_after_the_last_line_that_is_kept(history: Memory | None, seq: int | None) -> None:
    last = await known(history, RUNNING).last(1)
    assert (last and last.seq) == seq


@pytest.mark.parametrize(
    ("gap", "kept", "status", "found"),
    [
        pytest.param((2, 4), [2, 3, 4], RUNNING, ["2", "3", "4"], id="all of it"),
        pytest.param((2, 4), [], RUNNING, ["lost 2 to 4"], id="nothing of it"),
        pytest.param((2, 6), [1, 3, 6, 7], RUNNING, ["lost 2 to 2", "3", "lost 4 to 5", "6"], id="some of it"),
        pytest.param((2, 6), [3], RUNNING, ["lost 2 to 2", "3", "lost 4 to 6"], id="a line in the middle"),
        pytest.param((2, None), [1, 2], OVER, ["2", "lost 3 to None"], id="an end that nobody knows"),
        pytest.param((2, None), [1, 2], archived(), ["2"], id="an end of which all is said to be kept"),
        pytest.param(
            (2, None), [1, 2], archived("ArchivedWithGaps"), ["2", "lost 3 to None"], id="one with lines lost"
        ),
        pytest.param((1, None), [], archived(), ["lost 1 to None"], id="nothing, though all is said to be kept"),
    ],
)
async def test_a_gap_is_filled_from_the_history(
    gap: tuple[int, int | None], kept: list[int], status: Object, found: list[str]
) -> None:
    first, end = gap
    play = Play(Memory([said(seq) for seq in kept]), status, GONE)
    assert await play.past(first - 1, OPEN if end is None else end) == found


async def test_the_runners_last_line_is_the_end_whatever_is_said() -> None:
    assert await Play(Memory([said(2), last(3)]), OVER, GONE).past(1, OPEN) == ["2", "3"]


async def test_without_a_history_a_gap_is_a_gap() -> None:
    assert await Play(None, archived(), GONE).past(1, OPEN) == ["lost 2 to None"]


async def test_a_finished_job_whose_pod_is_gone_is_read_from_the_history() -> None:
    assert await Play(Memory([said(1), said(2), last(3)]), archived(), GONE).run() == ["1", "2", "3"]


async def test_lines_that_were_rotated_away_are_read_from_the_history() -> None:
    history = Memory([said(1), said(2), said(3)])
    assert await Play(history, OVER, [said(3), last(4)]).run() == ["1", "2", "3", "4"]


async def test_a_history_that_does_not_answer_is_asked_again_from_where_it_broke_off() -> None:
    history = Memory([said(1), said(2), said(3), last(4)], fails=3, after=1)
    play = Play(history, archived(), GONE)
    assert await play.run() == ["1", "2", "3", "4"]
    assert history.asked == [0, 1, 2, 3]
    assert len(play.waits) == 2, "the log was asked at once when the history did not answer first"


async def test_lines_that_are_kept_are_not_told_as_lost_because_the_history_is_down() -> None:
    play = Play(Memory([said(1)], fails=1_000), archived(), GONE)
    with pytest.raises(ArchiveError):
        await play.run()
    assert 60 < sum(play.waits) < 120


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        pytest.param([], ["lost 1 to None"], id="nothing can be read"),
        pytest.param([said(1), said(2)], ["1", "2", "lost 3 to None"], id="the end cannot be read"),
        pytest.param([said(3), last(4)], ["lost 1 to 2", "3", "4"], id="the beginning cannot be read"),
        pytest.param([said(1), last(4)], ["1", "lost 2 to 3", "4"], id="the middle cannot be read"),
    ],
)
async def test_what_is_damaged_in_the_history_is_told_as_lost_and_not_waited_for(
    kept: list[bytes], found: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    play = Play(Memory(kept, damaged=True), archived(), GONE)
    assert await play.run() == found
    assert play.waits == []
    assert play.counts.damaged == 1
    told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert told == ["Lines are lost in the archive: 1.jsonl.zst is damaged"]


async def test_lines_that_are_damaged_in_the_history_are_read_from_the_log_while_it_is_there() -> None:
    history = Memory([said(1)], damaged=True)
    assert await Play(history, archived(), [said(1), said(2), last(3)]).run() == ["1", "2", "3"]


async def test_an_agent_that_works_on_is_not_held_up_by_a_history_that_is_down() -> None:
    play = Play(Memory(fails=1_000), RUNNING, [said(3), said(4)])
    items = play.items()
    async with aclosing(items):
        assert [shown(await anext(items)) for _ in range(3)] == ["lost 1 to 2", "3", "4"]
    assert play.waits == []


def test_an_agent_that_works_on_is_held_up_for_a_moment_by_a_history_that_gives_no_answer_and_not_at_each_gap() -> None:
    async def take() -> None:
        history = Memory([said(seq) for seq in range(1, 8)])
        history.hangs = True
        log = [said(seq) for seq in (3, 5, 7)]
        play = Play(history, RUNNING, log, log, log)
        items = play.items()
        async with aclosing(items):
            assert [shown(await anext(items)) for _ in range(4)] == ["lost 1 to 2", "3", "lost 4 to 4", "5"]
            assert (history.asked, now()) == ([0], ANSWER_SECONDS)
            history.hangs = False
            await asyncio.sleep(SILENT_SECONDS)
            assert [shown(await anext(items)) for _ in range(2)] == ["6", "7"]

    run(take())


@pytest.mark.parametrize(
    ("history", "answers", "until", "found"),
    [
        pytest.param(Memory([said(n) for n in range(1, 7)]), [], 6, ["3", "4", "5", "6"], id="all from the history"),
        pytest.param(
            Memory([said(1), said(2), said(3)]), [[said(n) for n in range(1, 7)]], 6, ["3", "4", "5", "6"],
            id="the latest from the log",
        ),
        pytest.param(
            Memory([said(3), said(5), said(6)]), [[said(n) for n in range(1, 7)]], 6, ["3", "4", "5", "6"],
            id="what the history lacks from the log",
        ),
        pytest.param(
            Memory([said(3), said(5)]), [[said(6)]], 6, ["3", "lost 4 to 4", "5", "6"], id="what both lack is a gap"
        ),
        pytest.param(
            Memory([said(n) for n in range(1, 7)], fails=1), [[said(n) for n in range(1, 7)]], 6,
            ["3", "4", "5", "6"], id="all from the log when the history is down",
        ),
        pytest.param(Memory([said(3), last(4)]), [], OPEN, ["3", "4"], id="to the runner's last line"),
        pytest.param(Memory([said(1), said(2), said(3)]), [GONE], OPEN, ["3"], id="to an end that is kept"),
    ],
)  # fmt: skip
async def test_what_is_past_is_read_from_the_history_first(
    history: Memory, answers: list[Answer], until: int, found: list[str]
) -> None:
    assert await Play(history, archived(), *answers).past(2, until) == found


async def test_a_past_that_neither_gives_at_the_moment_is_not_told_as_lost() -> None:
    play = Play(Memory(fails=1_000), RUNNING, [said(4)])
    with pytest.raises(ArchiveError):
        await play.past(2, 4)
    assert 60 < sum(play.waits) < 120
