"""Following a job's logs against a scripted API server: every line once and in order, and nothing runs hot."""

import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_jobs import FAILED, agent_job
from agentjob_api.lines import Line, envelope, parse
from agentjob_api.names import Key
from agentjob_api.notices import Notice, notice
from agentjob_gateway.cache import JobCache
from agentjob_gateway.follow import LOOK_SECONDS, Counts, Follower, Pace
from agentjob_gateway.known import Known
from agentjob_gateway.reading import HASTE_SECONDS, HASTY_RATE, MOST_SEARCHES, End, Gap, Next, next_step
from agentjob_gateway.sse import OPEN, Position
from agentjob_kube.backoff import Backoff
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, Forbidden, Invalid, NotFound, ServerError, TooManyRequests, Unreachable
from agentjob_kube.transport import Request

Object = dict[str, Any]
Answer = Sequence[bytes | list[bytes] | ApiError] | ApiError
"""Lines that come one by one, or together."""
Step = Callable[[JobCache], None]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIX = Key("agents", "fix")
TEXT = b"unable to retrieve container logs for containerd://abc"
GONE, WAITING = NotFound('pods "fix-1" not found', status=404), Invalid("is waiting to start", status=400)
KUBELET = NotFound("the server could not find the requested resource ( pods/log fix-1)", status=404)
DOWN, REFUSED = Unreachable("reset"), ServerError("no kubelet", status=500)


def said(seq: int, attempt: int = 1, message: object = None) -> bytes:
    """A line, a second after the one before."""
    body = json.dumps({"type": "assistant"} if message is None else message, separators=(",", ":")).encode()
    return envelope(seq, attempt, NOON + timedelta(seconds=seq)) + body + b"}"


def last(seq: int, attempt: int = 1) -> bytes:
    """A runner's last line."""
    return said(seq, attempt, notice(Notice.OUTCOME, outcome={"reason": "Completed"}))


def running(attempts: int = 1, *, over: bool = False, never: bool = False) -> Object:
    """The status of a job that works; `over`: at its latest attempt no more; `never`: that has not started."""
    start = {} if never else {"startTime": "2026-11-22T12:00:00Z"}
    found: list[Object] = [{"number": number, "pod": f"fix-{number}", **start} for number in range(1, attempts + 1)]
    if over:
        found[-1]["completionTime"] = "2026-11-22T12:01:00Z"
    return {"phase": "Running", "attemptCount": attempts, "attempts": found}


def ended(attempts: int = 1, **how: Any) -> Object:
    return running(attempts, over=True, **how) | {"phase": "Succeeded"}


def is_now(status: Object) -> Step:
    """The cache hears of it."""
    return lambda cache: cache.put(agent_job(status=status, version=100 + len(json.dumps(status))))


def is_deleted(cache: JobCache) -> None:
    cache.drop(agent_job(version=1_000))


def nothing(_: JobCache) -> None:
    pass


class Script:
    """A transport that gives its answers in order, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = deque(answers)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> bytes:
        raise NotImplementedError

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        self.requests.append(request)
        answer = self._answers.popleft() if self._answers else EndOfScriptError()
        for each in [answer] if isinstance(answer, Exception) else answer:
            if isinstance(each, Exception):
                raise each
            yield [each] if isinstance(each, bytes) else each

    def asked(self) -> list[str]:
        """What was asked: whether to follow or to read, which Pod, and since when."""
        return [
            f"{'follow' if 'follow' in request.query else 'read'} {request.path.split('/')[-2]}"
            + (f" since {request.query['sinceTime'][14:19]}" if "sinceTime" in request.query else "")
            for request in self.requests
        ]


class EndOfScriptError(Exception):
    """The script is over."""


MOST_WAITS = 1_000


class Play:
    """What a script leads to. Each wait takes its time on the clock, and lets the next thing happen."""

    def __init__(self, *answers: Answer, before: Object | None = None, then: list[Step] | None = None) -> None:
        self.script = Script(*answers)
        self.cache = JobCache(("agents",))
        self.cache.replace("agents", (), at=0)
        is_now(before or running())(self.cache)
        self.waits: list[float] = []
        self.found: list[str] = []
        self.counts = Counts()
        self._then = deque(then or [])

    async def run(self, attempt: int = 1, last: Line | None = None) -> "Play":
        try:
            async with aclosing(self.follower().items(attempt, last)) as items:
                async for found in items:
                    self.found += [shown(item) for item in ((found,) if isinstance(found, Gap) else found)]
            self.found.append("end")
        except EndOfScriptError:
            pass
        return self

    def follower(self) -> Follower:
        pace = Pace(Backoff(first=0.1, most=5.0), self._wait, lambda: sum(self.waits))
        return Follower(Client(self.script), Known(self.cache, FIX, "uid-fix"), self.counts, pace)

    async def _wait(self, _: Known, seconds: float) -> None:
        if len(self.waits) == MOST_WAITS:
            raise EndOfScriptError
        self.waits.append(seconds)
        step = self._then.popleft() if self._then else nothing
        step(self.cache)


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        pytest.param([[[said(1), said(2)], last(3)]], [["1-1", "1-2"], ["1-3"]], id="lines"),
        pytest.param([[[TEXT, said(1), TEXT, said(2)], last(3)]], [["1-1", "1-2"], ["1-3"]], id="not the text between"),
        pytest.param([[[TEXT], [said(1), last(2)]]], [["1-1", "1-2"]], id="nothing of what is only text"),
        pytest.param([[[said(1), last(2), TEXT]]], [["1-1", "1-2"]], id="nothing after the last line"),
        pytest.param(
            [[[said(1), said(2), said(5)]], [[said(1), said(2), said(5), last(6)]]],
            [["1-1", "1-2"], "1: lost 3 to 4", ["1-5", "1-6"]],
            id="what is lost apart",
        ),
    ],
)
async def test_lines_that_come_together_are_given_together(answers: list[Answer], found: list[str | list[str]]) -> None:
    play = Play(*answers, then=[is_now(ended())])
    async with aclosing(play.follower().items(1)) as items:
        assert [shown(each) if isinstance(each, Gap) else [*map(shown, each)] async for each in items] == found


def shown(item: Line | Gap) -> str:
    if isinstance(item, Gap):
        return f"{item.attempt}: lost {item.first} to {item.last}"
    return f"{item.attempt}-{item.seq}"


async def played(*answers: Answer, **given: Any) -> Play:
    return await Play(*answers, **given).run()


async def test_a_log_is_followed_to_the_runners_last_line() -> None:
    play = await played([said(1), said(2), last(3)], then=[is_now(ended())])

    assert play.found == ["1-1", "1-2", "1-3", "end"]
    assert play.script.asked() == ["follow fix-1"]
    assert (play.counts.follows, play.counts.skipped) == (0, 0)


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param([], id="it ends cleanly"),
        pytest.param([DOWN], id="it is cut off"),
        pytest.param([b'{"seq":3,"attem'], id="it ends in the middle of a line"),
        pytest.param([said(2), said(1)], id="lines come twice"),
        pytest.param([TEXT], id="there is an error's text in it"),
        pytest.param([said(3, attempt=2)], id="there is a line of another attempt in it"),
    ],
)
async def test_a_log_that_breaks_off_is_read_on(breaks: list[bytes | ApiError]) -> None:
    play = await played([said(1), said(2), *breaks], [said(1), said(2), last(3)], then=[nothing, is_now(ended())])

    assert play.found == ["1-1", "1-2", "1-3", "end"]
    assert play.script.asked() == ["follow fix-1", "follow fix-1 since 00:00"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([], id="the Pod is not scheduled"),
        pytest.param(WAITING, id="the container waits"),
        pytest.param(GONE, id="the Pod is not there"),
        pytest.param(KUBELET, id="the kubelet does not know the Pod"),
        pytest.param([TEXT], id="an error's text with status 200"),
        pytest.param(REFUSED, id="the kubelet is away"),
        pytest.param(DOWN, id="the API server is away"),
        pytest.param(Forbidden("not yet", status=403), id="the right to it is not there yet"),
    ],
)
async def test_a_log_that_cannot_be_read_is_read_later(answer: Answer) -> None:
    play = await played(*[answer] * 30, [last(1)], then=[*[nothing] * 30, is_now(ended())])

    assert play.found == ["1-1", "end"]


async def test_reading_in_vain_is_done_more_and_more_seldom_until_a_line_comes() -> None:
    play = await played([said(1)], *[DOWN] * 9, [said(2)], [last(3)], then=[*[nothing] * 11, is_now(ended())])

    assert play.waits[0] <= 0.1
    assert 2.5 <= play.waits[9] <= 5.0
    assert play.waits[10] <= 0.1


async def test_a_log_that_grows_fast_is_read_on_without_delay_for_a_while() -> None:
    """It may be turned over before that, and what nobody has read by then is gone."""
    big = said(1, message={"type": "assistant", "text": "x" * int(HASTY_RATE)})
    play = await played([big], *[DOWN] * 150, [last(2)], then=[*[nothing] * 150, is_now(ended())])

    hasty = [wait for at, wait in enumerate(play.waits) if sum(play.waits[:at]) < HASTE_SECONDS]
    assert play.found == ["1-1", "1-2", "end"]
    assert len(hasty) > 45
    assert max(hasty) <= 0.1
    assert play.waits[len(hasty)] >= 2.5


BIG = said(1, message={"type": "assistant", "text": "x" * int(2 * HASTY_RATE)})


@pytest.mark.parametrize(
    "again",
    [
        pytest.param([BIG], id="known lines again"),
        pytest.param([said(1), b"x" * len(BIG)], id="text beside known lines"),
        pytest.param([b"x" * len(BIG)], id="text alone"),
    ],
)
async def test_a_log_that_gives_nothing_new_does_not_grow_fast(again: list[bytes]) -> None:
    """As of a container that has ended while the operator, which would say so, is away."""
    play = await played(*[again] * 150, [last(2)], then=[*[nothing] * 149, is_now(ended())])

    assert max(play.waits) >= 2.5


async def test_the_api_server_is_given_the_time_that_it_asks_for() -> None:
    play = await played(TooManyRequests("later", status=429, retry_after=45.0), [last(1)], then=[is_now(ended())])

    assert play.waits[0] == 45.0


async def test_text_between_lines_is_skipped_and_counted() -> None:
    play = await played([b"npm WARN", said(1), b"\xff\xfe", b"{}", last(2)], then=[is_now(ended())])

    assert (play.found, play.counts.skipped) == (["1-1", "1-2", "end"], 3)


async def test_lines_that_are_missing_are_looked_for_in_the_whole_log() -> None:
    whole = [said(seq) for seq in range(1, 7)]
    play = await played([said(1), said(2)], [said(2), said(6)], [*whole, last(7)], then=[nothing, is_now(ended())])

    assert play.found == [f"1-{seq}" for seq in range(1, 8)] + ["end"]
    assert play.script.asked() == ["follow fix-1", "follow fix-1 since 00:00", "follow fix-1"]
    assert len(play.waits) == 2


async def test_lines_that_are_in_the_log_no_more_are_told_as_lost() -> None:
    rotated: Answer = [said(5), last(6)]
    play = await played([said(1)], rotated, rotated, then=[nothing, is_now(ended())])

    assert play.found == ["1-1", "1: lost 2 to 4", "1-5", "1-6", "end"]


async def test_what_the_whole_log_has_not_is_not_looked_for_again() -> None:
    play = await played([said(3), last(4)], then=[is_now(ended())])

    assert play.found == ["1: lost 1 to 2", "1-3", "1-4", "end"]
    assert play.script.asked() == ["follow fix-1"]


async def test_a_log_full_of_holes_is_searched_so_often_and_no_more() -> None:
    holes: Answer = [said(seq) for seq in range(1, 81, 2)]
    play = await played(*[holes] * 40)

    searches = play.script.asked()[: len(play.script.asked()) - len(play.waits)]
    assert len(searches) == MOST_SEARCHES + 1
    assert play.found[:4] == ["1-1", "1: lost 2 to 2", "1-3", "1: lost 4 to 4"]
    assert len(play.found) == 79


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(running(over=True), id="the attempt has ended"),
        pytest.param(running(2), id="there is a later attempt"),
        pytest.param(ended(), id="the job has succeeded"),
        pytest.param(FAILED | {"attemptCount": 1}, id="the job has failed"),
    ],
)
async def test_after_its_end_a_log_is_read_once_more_as_a_whole(status: Object) -> None:
    play = await played([said(1)], [said(1), said(2)], then=[is_now(status)])

    assert play.found[:2] == ["1-1", "1-2"]
    assert play.script.asked()[:2] == ["follow fix-1", "read fix-1"]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        pytest.param([GONE], ["1: lost 1 to None"], id="the Pod is gone"),
        pytest.param([[TEXT]] * 40, ["1: lost 1 to None"], id="there is nothing but an error's text"),
        pytest.param([WAITING] * 40, ["1: lost 1 to None"], id="its container is no more"),
        pytest.param([KUBELET] * 40, ["1: lost 1 to None"], id="its kubelet does not know the Pod"),
        pytest.param([REFUSED] * 40, ["1: lost 1 to None"], id="its node is gone"),
        pytest.param([DOWN] * 300, ["1: lost 1 to None"], id="the API server does not come back"),
        pytest.param([[TEXT], [DOWN], KUBELET, WAITING, [said(1)]], ["1-1"], id="there are lines after all"),
        pytest.param([[]], [], id="there is nothing in it"),
    ],
)
async def test_of_a_finished_job_there_is_what_can_be_had(answers: list[Answer], told: list[str]) -> None:
    play = await played(*answers, before=ended())

    assert play.found == [*told, "end"]
    assert sum(play.waits) < 700


async def test_of_an_attempt_that_never_started_no_log_is_asked_for() -> None:
    play = await played(before=ended(never=True))

    assert (play.found, play.script.requests) == (["end"], [])


async def test_a_job_that_ended_without_an_attempt_has_no_lines() -> None:
    play = await played(before=FAILED)

    assert (play.found, play.script.requests) == (["end"], [])


async def test_all_attempts_follow_one_another() -> None:
    later = [is_now(running(1, over=True)), is_now(running(2)), is_now(ended(2))]
    play = await played([said(1), last(2)], [said(1, 2), last(2, 2)], before=running(), then=later)

    assert play.found == ["1-1", "1-2", "2-1", "2-2", "end"]
    assert play.waits == [LOOK_SECONDS] * 3


async def test_a_job_can_be_followed_from_a_later_attempt_on() -> None:
    play = await Play([last(1, 2)], [last(1, 3)], before=ended(3)).run(attempt=2)

    assert play.found == ["2-1", "3-1", "end"]


@pytest.mark.parametrize(
    ("kept", "answers", "found", "asked"),
    [
        pytest.param(
            said(70), [[said(68), said(70), said(71), last(72)]], ["1-71", "1-72"], ["follow fix-1 since 01:08"],
            id="what follows it is there",
        ),
        pytest.param(
            said(70), [[said(75)], [said(n) for n in range(60, 76)]], [f"1-{n}" for n in range(71, 76)],
            ["follow fix-1 since 01:08", "follow fix-1"], id="lines are missing, and are in the whole log",
        ),
        pytest.param(
            said(70), [[said(75)], [said(75)]], ["1: lost 71 to 74", "1-75"],
            ["follow fix-1 since 01:08", "follow fix-1"], id="lines are missing, and are not in the log any more",
        ),
        pytest.param(last(70), [], [], [], id="it is the runner's last"),
    ],
)  # fmt: skip
async def test_after_a_line_that_is_kept_the_log_is_read_from_its_time_on(
    kept: bytes, answers: list[Answer], found: list[str], asked: list[str]
) -> None:
    play = await Play(*answers, then=[is_now(ended())]).run(last=parse(kept))

    assert [each for each in play.found if each != "end"] == found
    assert play.script.asked()[: len(asked)] == asked


async def test_the_attempts_after_that_are_read_from_their_beginnings() -> None:
    later = [is_now(running(1, over=True)), is_now(running(2)), is_now(ended(2))]
    play = await Play([last(4)], [last(1, 2)], then=later).run(last=parse(said(3)))

    assert play.found == ["1-4", "2-1", "end"]
    assert play.script.asked() == ["follow fix-1 since 00:01", "follow fix-2"]


async def test_attempts_that_the_status_no_longer_shows_are_there_all_the_same() -> None:
    status = ended(14)
    status["attempts"] = status["attempts"][-10:]
    logs: list[Answer] = [[last(1, number)] for number in range(3, 15)]
    play = await Play(*logs, before=status).run(attempt=3)

    assert play.found == [*(f"{number}-1" for number in range(3, 15)), "end"]
    assert play.script.asked()[0] == "read fix-3"


async def test_a_log_is_not_asked_for_before_there_is_an_attempt() -> None:
    play = await played([last(1)], before={"phase": "Pending"}, then=[nothing, is_now(running()), is_now(ended())])

    assert play.found == ["1-1", "end"]
    assert play.waits == [LOOK_SECONDS] * 3


@pytest.mark.parametrize(
    ("answers", "then", "found"),
    [
        pytest.param([], [is_deleted], ["end"], id="before it began"),
        pytest.param([[said(1)], [said(1), said(2)]], [is_deleted], ["1-1", "1-2", "end"], id="in the middle"),
        pytest.param([[said(1)], GONE], [is_deleted], ["1-1", "1: lost 2 to None", "end"], id="with its Pod"),
        pytest.param([[last(1)]], [is_deleted], ["1-1", "end"], id="after its last line"),
    ],
)
async def test_a_job_that_is_deleted_has_no_more(answers: list[Answer], then: list[Step], found: list[str]) -> None:
    before = running() if answers else {"phase": "Pending"}
    assert (await played(*answers, before=before, then=then)).found == found


async def test_a_job_of_the_same_name_is_not_taken_for_it() -> None:
    def is_another(cache: JobCache) -> None:
        cache.put(agent_job(status=running(2), version=2_000, uid="uid-other"))

    play = await played([last(1)], [last(1, 2)], then=[is_another])

    assert play.found == ["1-1", "end"]


async def test_before_all_jobs_are_listed_one_that_is_not_known_may_be_there() -> None:
    cache = JobCache(("agents",))
    known = Known(cache, FIX, "uid-fix")
    assert not known.is_gone
    is_now(running())(cache)
    assert (known.is_gone, known.attempts) == (False, 1)
    is_deleted(cache)
    assert known.is_gone


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("has_ended", [False, True], ids=["while it runs", "after its end"])
def test_what_is_done_after_a_log_was_read(end: End, has_ended: bool) -> None:
    soon = next_step(end, has_ended=has_ended, seconds=1.0)
    late = next_step(end, has_ended=has_ended, seconds=1_000.0)
    always = {End.COMPLETE: Next.DONE, End.MISSING: Next.AT_ONCE}
    afterwards = {
        End.EOF: (Next.DONE, Next.DONE),
        End.GONE: (Next.LOST, Next.LOST),
        End.NOT_STARTED: (Next.LATER, Next.LOST),
        End.TEXT: (Next.LATER, Next.LOST),
        End.REFUSED: (Next.LATER, Next.LOST),
        End.UNREACHABLE: (Next.LATER, Next.LOST),
    }
    while_it_runs = always.get(end, Next.LATER)
    expected = afterwards.get(end, (while_it_runs,) * 2) if has_ended else (while_it_runs,) * 2
    assert (soon, late) == expected


@pytest.mark.parametrize(
    ("answers", "after", "until", "found"),
    [
        pytest.param([[said(n) for n in range(1, 9)]], (1, 2), (1, 4), ["1-3", "1-4"], id="a part"),
        pytest.param([[said(1), last(2)], [said(1, 2)]], (1, 0), (2, 1), ["1-1", "1-2", "2-1"], id="two attempts"),
        pytest.param([[said(1), last(2)]], (1, 1), (2, 0), ["1-2"], id="up to the start of an attempt"),
        pytest.param([], (1, 4), (1, 4), [], id="nothing"),
        pytest.param([[said(5), said(6)]], (1, 1), (1, 6), ["1: lost 2 to 4", "1-5", "1-6"], id="a rotated log"),
        pytest.param([[said(9)]], (1, 1), (1, 6), ["1: lost 2 to 6"], id="a log rotated beyond it"),
        pytest.param([[said(1), said(2)]], (1, 1), (1, 6), ["1-2", "1: lost 3 to 6"], id="a log that is cut short"),
        pytest.param([[TEXT, said(1)]], (1, 0), (1, 1), ["1-1"], id="text between lines"),
        pytest.param([GONE], (1, 1), (1, 6), ["1: lost 2 to 6"], id="a Pod that is gone"),
        pytest.param([WAITING] * 40, (1, 1), (1, 6), ["1: lost 2 to 6"], id="a container that is no more"),
        pytest.param([KUBELET, [TEXT], [said(2)]], (1, 1), (1, 2), ["1-2"], id="a kubelet that starts anew"),
        pytest.param([[said(1), DOWN], [said(1), said(2)]], (1, 0), (1, 2), ["1-1", "1-2"], id="a log that is cut"),
        pytest.param([GONE, [said(1, 2)]], (1, 1), (2, 1), ["1: lost 2 to None", "2-1"], id="the Pod before is gone"),
        pytest.param([[said(1), last(2)], [said(1, 2)]], (1, 2), (2, 1), ["2-1"], id="all of the attempt is known"),
        pytest.param([GONE], (1, 1), (1, OPEN), ["1: lost 2 to None"], id="up to an end that nobody knows"),
    ],
)
async def test_what_is_past_is_read_from_the_log(
    answers: list[Answer], after: tuple[int, int], until: tuple[int, int], found: list[str]
) -> None:
    play = Play(*answers, before=ended(2))
    past = play.follower().past(Position(*after), Position(*until))
    assert [shown(item) async for item in past] == found
    assert {asked.split()[0] for asked in play.script.asked()} <= {"read"}
    assert sum(play.waits) < 70
