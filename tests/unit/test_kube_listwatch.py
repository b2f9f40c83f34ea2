"""List and watch against a scripted transport: whatever the API server does, nothing is missed and nothing runs hot."""

import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, Gone, NoRight, ServerError, TooManyRequests, Unreachable
from agentjob_kube.listwatch import SILENT_SECONDS, Changed, Delta, ListWatch, Removed, Replaced, Selection
from agentjob_kube.resources import PODS
from agentjob_kube.transport import Request

Answer = list[object] | ApiError


class Script:
    """A transport that gives its answers in order, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = deque(answers)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> bytes:
        (page,) = self._next(request)
        return json.dumps(page).encode()

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        for line in self._next(request):
            if isinstance(line, ApiError):
                raise line
            yield [line if isinstance(line, bytes) else json.dumps(line).encode()]

    def _next(self, request: Request) -> list[object]:
        self.requests.append(request)
        if not self._answers:
            raise EndOfScriptError
        answer = self._answers.popleft()
        if isinstance(answer, ApiError):
            raise answer
        return answer


class EndOfScriptError(Exception):
    """The script is over."""


NO_RIGHT = NoRight("no right", status=403)
UNREADABLE = {"66", "67"}
"""Versions of objects that cannot be read."""


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def page(version: int, *names: str, token: str = "") -> Answer:
    return [{"metadata": {"resourceVersion": str(version), "continue": token}, "items": [item(n, 1) for n in names]}]


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": item(name, version)}


def error(code: int, reason: str) -> dict[str, Any]:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": reason, "message": "as told"}}


async def play(*answers: Answer, lasts: float = 0.0) -> tuple[list[Delta[str]], list[Request], list[float]]:
    """The deltas, the requests and the pauses that a script leads to. A pause lasts so many seconds."""
    script, pauses, told = Script(*answers), list[float](), list[Delta[str]]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        listwatch.heard -= lasts

    def view(body: dict[str, Any]) -> str:
        name, version = body["metadata"]["name"], body["metadata"]["resourceVersion"]
        if version in UNREADABLE:
            raise ValueError("as told")
        return str(name)

    listwatch = ListWatch(Client(script), Selection(PODS, "ns", "agentjob.dev/job"), view, sleep)

    async def follow() -> None:
        async with aclosing(listwatch.deltas()) as deltas:
            async for delta in deltas:
                told.append(delta)

    with pytest.raises(EndOfScriptError):
        await follow()
    return told, script.requests, pauses


def asked(requests: list[Request]) -> list[str]:
    """What was asked: a list, or a watch since a version."""
    return [f"watch {r.query['resourceVersion']}" if "watch" in r.query else "list" for r in requests]


async def test_a_list_of_several_pages_is_one_replacement() -> None:
    told, requests, _ = await play(page(5, "a", token="more"), page(5, "b"), [event("ADDED", "c", 6)])

    assert told == [Replaced(("a", "b"), "5"), Changed("c")]
    assert [request.query.get("continue") for request in requests[:2]] == [None, "more"]
    assert all(request.query["labelSelector"] == "agentjob.dev/job" for request in requests)
    assert asked(requests) == ["list", "list", "watch 5", "watch 6"]


async def test_every_kind_of_event_becomes_its_delta() -> None:
    told, _, _ = await play(
        page(1), [event("ADDED", "a", 2), event("MODIFIED", "a", 3), event("DELETED", "a", 4), event("BOOKMARK", "", 9)]
    )

    assert told == [Replaced((), "1"), Changed("a"), Changed("a"), Removed("a")]


async def test_an_object_that_cannot_be_read_is_left_out_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    listed: Answer = [{"metadata": {"resourceVersion": "68"}, "items": [item("a", 1), item("bad", 66)]}]

    told, requests, _ = await play(listed, [event("MODIFIED", "bad", 67), event("ADDED", "c", 70)])

    assert told == [Replaced(("a",), "68", frozenset({"uid-bad"})), Changed("c")]
    assert asked(requests) == ["list", "watch 68", "watch 70"]
    assert [(record.message, record.exc_info is not None) for record in caplog.records] == [
        ("Left out, cannot be read: bad of pods in ns", True)
    ]


async def test_an_object_that_can_be_read_again_is_there_again_and_its_next_defect_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    happenings: Answer = [event("ADDED", "bad", 66), event("MODIFIED", "bad", 68), event("MODIFIED", "bad", 67)]

    told, _, _ = await play(page(1), happenings)

    assert told == [Replaced((), "1"), Changed("bad")]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("ending", "then"),
    [
        pytest.param([], "watch 7", id="a clean end"),
        pytest.param([event("BOOKMARK", "", 9)], "watch 9", id="a clean end after a bookmark"),
        pytest.param([Unreachable("reset")], "watch 7", id="a broken connection"),
        pytest.param([Unreachable("silent for 90 s")], "watch 7", id="a connection that fell silent"),
        pytest.param([error(500, "InternalError")], "watch 7", id="an error 500 in the stream"),
        pytest.param([error(429, "TooManyRequests")], "watch 7", id="an error 429 in the stream"),
        pytest.param([b'{"type":"ADD'], "watch 7", id="a line that was cut"),
        pytest.param([b"[]"], "watch 7", id="a line of another shape"),
        pytest.param([error(410, "Expired")], "list", id="an error 410 in the stream"),
    ],
)
async def test_a_watch_that_ends_goes_on_where_it_stopped_or_starts_anew(ending: list[object], then: str) -> None:
    told, requests, pauses = await play(page(5), [event("ADDED", "a", 7), *ending])

    assert told == [Replaced((), "5"), Changed("a")]
    assert asked(requests) == ["list", "watch 5", then]
    assert len(pauses) == 1


@pytest.mark.parametrize(
    ("refusal", "then"),
    [
        pytest.param(Gone("too old", status=410), "list", id="410 starts anew"),
        pytest.param(ServerError("down", status=503), "watch 5", id="503 does not"),
        pytest.param(Unreachable("refused"), "watch 5", id="no answer does not"),
    ],
)
async def test_a_watch_that_is_refused(refusal: ApiError, then: str) -> None:
    _, requests, _ = await play(page(5, "a"), refusal)

    assert asked(requests) == ["list", "watch 5", then]


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        pytest.param([[], []], ["290", "290", "290"], id="is long"),
        pytest.param([NO_RIGHT, [], []], ["290", "5", "290", "290"], id="is short after one that was refused"),
        pytest.param([NO_RIGHT, NO_RIGHT, []], ["290", "5", "5", "290"], id="is short while it is refused"),
        pytest.param(
            [NO_RIGHT, Unreachable("reset"), []], ["290", "5", "5", "290"], id="is short until it is answered"
        ),
        pytest.param([NO_RIGHT, [event("ADDED", "a", 7)]], ["290", "5", "290"], id="is long once it has told anything"),
        pytest.param([Unreachable("reset")], ["290", "290"], id="is long after one that was not answered"),
    ],
)
async def test_a_watch_that_has_nothing_to_tell_shows_soon_that_it_is_allowed_again_because_it(
    answers: list[Answer], seconds: list[str]
) -> None:
    _, requests, _ = await play(page(5), *answers)

    assert [request.query["timeoutSeconds"] for request in requests if "watch" in request.query] == seconds


async def test_what_went_missing_is_not_in_the_next_replacement() -> None:
    told, _, _ = await play(page(5, "a", "b"), [error(410, "Expired")], page(90, "b"), [])

    assert told == [Replaced(("a", "b"), "5"), Replaced(("b",), "90")]


async def test_a_list_whose_token_expired_is_started_again() -> None:
    told, requests, _ = await play(page(5, "a", token="more"), Gone("expired", status=410), page(8, "a", "b"), [])

    assert told == [Replaced(("a", "b"), "8")]
    assert [request.query.get("continue") for request in requests[:3]] == [None, "more", None]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(ServerError("no watches here", status=500), id="fails"),
        pytest.param(Unreachable("silent for 90 s"), id="falls silent"),
        pytest.param([], id="ends without a word"),
    ],
)
async def test_all_is_listed_now_and_then_while_every_watch(ending: Answer) -> None:
    watches = [ending] * 3

    told, requests, _ = await play(page(5, "a"), *watches, page(9, "b"), *watches, page(12), lasts=SILENT_SECONDS / 2)

    assert asked(requests) == ["list", *["watch 5"] * 3, "list", *["watch 9"] * 3, "list", "watch 12"]
    assert told == [Replaced(("a",), "5"), Replaced(("b",), "9"), Replaced((), "12")]


async def test_a_watch_that_tells_something_now_and_then_goes_on_where_it_stopped() -> None:
    tells: list[Answer] = [[event("BOOKMARK", "", version), Unreachable("reset")] for version in range(6, 10)]

    _, requests, _ = await play(page(5), *tells, lasts=SILENT_SECONDS)

    assert asked(requests) == ["list", *(f"watch {version}" for version in range(5, 10))]


async def test_failures_in_a_row_are_waited_out_longer_and_longer() -> None:
    failures = [Unreachable("down")] * 12

    _, _, pauses = await play(*failures)

    assert len(pauses) == 12
    assert pauses[0] <= 0.2
    assert 2.5 <= pauses[-1] <= 5.0


async def test_all_is_listed_at_once_when_the_api_server_is_back_and_knows_no_more_what_was() -> None:
    down, too_old = Unreachable("down"), Gone("too old", status=410)

    told, requests, pauses = await play(page(1, "a"), *[down] * 8, too_old, page(9, "b"), [event("ADDED", "c", 10)])

    assert asked(requests) == ["list", *["watch 1"] * 9, "list", "watch 9", "watch 10"]
    assert told == [Replaced(("a",), "1"), Replaced(("b",), "9"), Changed("c")]
    assert pauses[7] > 2.0
    assert pauses[8] <= 0.2


async def test_a_server_that_finds_everything_too_old_is_asked_less_and_less() -> None:
    too_old = Gone("too old", status=410)

    _, _, pauses = await play(*[page(1), too_old] * 8)

    assert pauses[7] > 2.0


async def test_a_watch_that_tells_something_ends_the_row_of_failures() -> None:
    down = Unreachable("down")

    _, _, pauses = await play(page(1), down, down, down, down, down, [event("ADDED", "a", 2)])

    assert pauses[4] > 1.0
    assert pauses[5] <= 0.2


async def test_a_watch_that_ends_without_a_word_again_and_again_does_not_run_hot() -> None:
    _, _, pauses = await play(page(1), [], [], [], [], [], [], [])

    assert sum(pauses) > 8.0  # half of 0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 5 + 5, at the least


async def test_the_server_is_given_the_time_that_it_asks_for() -> None:
    _, _, pauses = await play(TooManyRequests("later", status=429, retry_after=45.0))

    assert pauses == [45.0]
