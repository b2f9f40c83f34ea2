"""Who may act: what a Lease says, and what a candidate does about it on a clock of its own."""

import time
from collections import deque
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from agentjob_api.names import Key
from agentjob_kube.client import Client
from agentjob_kube.errors import AlreadyExists, ApiError, Conflict, NotFound, ServerError, Unreachable
from agentjob_kube.transport import Request
from agentjob_operator.leader import Candidate, Fenced, LeaseLostError, elapsed
from agentjob_operator.lease import Lease, Terms, given_back, is_free, spec, view

Object = dict[str, Any]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TERMS = Terms(duration=15)
KEY = Key("system", "agentjob")
GONE, CHANGED = NotFound("no", status=404), Conflict("changed", status=409)


def lease(holder: str = "other", duration: float = 15, version: str = "7", transitions: int = 3) -> Lease:
    return Lease(version=version, holder=holder, duration=duration, acquired="before", transitions=transitions)


def body(holder: str = "other", version: str = "7", duration: int = 15) -> bytes:
    given = {"holderIdentity": holder, "leaseDurationSeconds": duration, "acquireTime": "before"}
    return orjson.dumps({"metadata": {"resourceVersion": version}, "spec": given})


@pytest.mark.parametrize(
    ("found", "unchanged", "free"),
    [
        pytest.param(lease(), 0.0, False, id="somebody has it"),
        pytest.param(lease(), 14.9, False, id="and has not renewed it for a while"),
        pytest.param(lease(), 15.0, True, id="and has not renewed it for as long as it is for"),
        pytest.param(lease(duration=60), 30.0, False, id="whose own time for it is longer than ours"),
        pytest.param(lease(""), 0.0, True, id="it was given back"),
        pytest.param(lease("own"), 0.0, True, id="it is ours, from before this process"),
        pytest.param(lease(duration=0), 0.0, True, id="it was made by hand and says nothing"),
    ],
)
def test_when_a_lease_may_be_taken(found: Lease, unchanged: float, free: bool) -> None:
    assert is_free(found, "own", unchanged) is free


@pytest.mark.parametrize(
    ("before", "acquired", "transitions"),
    [
        pytest.param(None, "2026-11-22T12:00:00.000000Z", 0, id="the first time"),
        pytest.param(lease("own"), "before", 3, id="renewed"),
        pytest.param(lease(), "2026-11-22T12:00:00.000000Z", 4, id="taken over"),
        pytest.param(lease(""), "2026-11-22T12:00:00.000000Z", 4, id="taken after it was given back"),
    ],
)
def test_what_is_written(before: Lease | None, acquired: str, transitions: int) -> None:
    assert spec("own", TERMS, NOON, before) == {
        "holderIdentity": "own",
        "leaseDurationSeconds": 15,
        "acquireTime": acquired,
        "renewTime": "2026-11-22T12:00:00.000000Z",
        "leaseTransitions": transitions,
    }


def test_what_is_given_back_is_free_at_once() -> None:
    again = {"metadata": {"resourceVersion": "8"}, "spec": given_back(lease("own"), NOON)}
    assert is_free(view(again), "other", 0.0)


def test_who_holds_it_stops_well_before_another_one_may_begin() -> None:
    assert TERMS.patience + 4 <= TERMS.duration
    assert TERMS.renewal * 4 < TERMS.patience


class Script:
    """A transport that gives its answers in order, and keeps the requests."""

    def __init__(self, *answers: bytes | ApiError) -> None:
        self.answers = deque(answers)
        self.asked: list[str] = []

    async def send(self, request: Request) -> bytes:
        self.asked.append(request.method)
        answer = self.answers.popleft()
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def lines(self, _: Request) -> AsyncGenerator[list[bytes], None]:
        raise NotImplementedError


class Play:
    """A candidate on a clock that is set by hand."""

    def __init__(self, *answers: bytes | ApiError) -> None:
        self.script = Script(*answers)
        self.seconds = 100.0
        self.candidate = Candidate(
            client=Client(self.script),
            key=KEY,
            identity="own",
            terms=TERMS,
            now=lambda: NOON + timedelta(minutes=5),
            clock=lambda: self.seconds,
        )

    async def tries(self, after: float = 0.0) -> bool:
        self.seconds += after
        return await self.candidate.tries()


async def test_a_lease_that_is_not_there_is_made() -> None:
    play = Play(GONE, body("own"))
    assert await play.tries()
    assert (play.script.asked, play.candidate.holds()) == (["GET", "POST"], True)


async def test_who_makes_it_a_moment_later_waits() -> None:
    play = Play(GONE, AlreadyExists("there", status=409))
    assert not await play.tries()
    assert not play.candidate.holds()


async def test_one_that_was_deleted_has_a_holder_who_may_not_know_of_it() -> None:
    play = Play(body(), GONE, GONE, body("own"))
    assert [await play.tries(after) for after in (0, 14, 2)] == [False, False, True]


async def test_a_lease_that_is_renewed_is_not_taken_however_long_that_goes_on() -> None:
    play = Play(*(body(version=str(version)) for version in range(20)))
    assert [await play.tries(14) for _ in range(20)] == [False] * 20


async def test_a_lease_that_is_renewed_no_more_is_taken_by_our_own_clock() -> None:
    """Its times are those of another clock, five minutes off, and not looked at."""
    play = Play(body(), body(), body(), body("own", "8"))
    assert [await play.tries(after) for after in (0, 14, 1)] == [False, False, True]
    assert play.script.asked[-1] == "PATCH"


async def test_of_two_that_take_it_one_does() -> None:
    play = Play(body(""), CHANGED)
    assert not await play.tries()
    assert not play.candidate.holds()


async def test_while_nobody_answers_nobody_begins() -> None:
    play = Play(Unreachable("reset"), ServerError("no", status=500))
    assert [await play.tries(20) for _ in range(2)] == [False, False]


async def test_what_was_renewed_holds_from_when_that_was_begun() -> None:
    play = Play(body(""), body("own"))
    await play.tries()
    play.seconds += TERMS.patience - 0.1
    assert play.candidate.holds()
    play.seconds += 0.2
    assert not play.candidate.holds()


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        pytest.param([CHANGED, body("thief")], "taken by thief", id="another one has it"),
        pytest.param([CHANGED, body("")], "taken by nobody", id="somebody has taken it away"),
        pytest.param([Unreachable("reset")], "could not be renewed for 10 s", id="nobody has answered for too long"),
        pytest.param([GONE], "could not be renewed for 10 s", id="it has been gone for too long"),
    ],
)
async def test_who_no_longer_holds_it_ends(answers: list[bytes | ApiError], why: str) -> None:
    play = Play(body(""), body("own"), *answers)
    await play.tries()
    play.seconds += 10.1
    with pytest.raises(LeaseLostError, match=why):
        await play.candidate._renew()


async def test_a_renewal_of_ours_whose_answer_did_not_come_is_ours() -> None:
    play = Play(body(""), body("own"), Unreachable("cut off"), CHANGED, body("own", "9"), body("own", "10"))
    await play.tries()
    for _ in range(3):
        play.seconds += 2
        await play.candidate._renew()
    assert play.script.asked == ["GET", "PATCH", "PATCH", "PATCH", "GET", "PATCH"]


async def test_it_is_given_back_at_the_end_if_it_is_ours() -> None:
    play = Play(body(""), body("own"), body("", "9"))
    await play.tries()
    await play.candidate.give_back()
    await play.candidate.give_back()
    assert play.script.asked == ["GET", "PATCH", "PATCH"]
    assert not play.candidate.holds()


async def test_since_when_it_is_ours_is_told_by_the_clock_of_those_who_list() -> None:
    play = Play(body(""), body("own"))
    began = time.monotonic()
    await play.tries()
    assert began <= play.candidate.since <= time.monotonic()


def test_its_clock_goes_on_while_the_machine_is_suspended_where_there_is_such_a_clock() -> None:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    began = time.clock_gettime(clock)
    assert began <= elapsed() <= time.clock_gettime(clock)


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([CHANGED, body("own", "9"), body("", "10")], ["PATCH", "GET", "PATCH"], id="and is still ours"),
        pytest.param([CHANGED, body("other", "9")], ["PATCH", "GET"], id="and is another one's"),
        pytest.param([CHANGED, GONE], ["PATCH", "GET"], id="and is gone"),
        pytest.param([CHANGED, body("own", "9"), CHANGED], ["PATCH", "GET", "PATCH"], id="and changes again"),
    ],
)
async def test_it_is_given_back_though_a_renewal_was_broken_off(
    answers: list[bytes | ApiError], asked: list[str]
) -> None:
    """It has changed since it was seen."""
    play = Play(body(""), body("own"), *answers)
    await play.tries()
    await play.candidate.give_back()
    assert play.script.asked == ["GET", "PATCH", *asked]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_who_was_stopped_in_mid_work_writes_nothing_afterwards(method: str) -> None:
    play, script = Play(body(""), body("own")), Script(b"{}", b"{}", b"{}")
    await play.tries()
    fenced = Fenced(script, play.candidate.holds)
    assert await fenced.send(Request(method=method, path="/x")) == b"{}"
    play.seconds += 60
    with pytest.raises(Unreachable, match="not sent"):
        await fenced.send(Request(method=method, path="/x"))
    assert await fenced.send(Request(path="/x")) == b"{}"
    assert script.asked == [method, "GET"]
