"""Kubernetes users at the gate: known and allowed by the cluster's word, also when that comes late or not at all."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agentjob_gateway.caller import Caller, Limits, Verb
from agentjob_gateway.errors import Unauthenticated, Unavailable
from agentjob_gateway.gate import Authenticator, Gate, KeyDirectory
from agentjob_gateway.keyring import not_valid
from agentjob_gateway.tokens import NO_SECONDS, YES_SECONDS, Reviews, Tokens
from agentjob_kube.client import Client
from agentjob_kube.wire import HttpTransport
from fake_cluster import FakeCluster, Fault
from fake_cluster.refusals import Refusal
from worlds import T0

LIMITS = Limits(requests_per_minute=600, concurrent_jobs=50, streams=100)
TURNED_AWAY = not_valid().detail
BOT = "system:serviceaccount:team-a:bot"


class Place:
    """A gate on a fake cluster, and a time that a test moves."""

    def __init__(self, cluster: FakeCluster, client: Client, mount: Path) -> None:
        self.cluster = cluster
        self.now = 1000.0
        self.reviews = Reviews(client)
        tokens = Tokens(self.reviews, LIMITS, self.clock)
        self.authenticator = Authenticator(keys=KeyDirectory(mount), tokens=tokens, limits=LIMITS, clock=lambda: T0)
        self.gate = Gate(self.reviews, self.clock)

    def clock(self) -> float:
        return self.now

    def asked(self) -> list[str]:
        """What the cluster was asked, in order."""
        return [f"{seen.verb} {seen.resource}" for seen in self.cluster.requests()]

    async def who(self, token: str) -> str:
        """The name of who comes with a token, or what they are told."""
        try:
            return (await self.authenticator.caller(token)).name
        except Unauthenticated as problem:
            return problem.detail


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    with FakeCluster() as cluster:
        async with aiohttp.ClientSession() as session:
            yield Place(cluster, Client(HttpTransport(session, cluster.url)), tmp_path)


def jane(groups: tuple[str, ...] = ("devs",), uid: str = "u-1") -> Caller:
    return Caller(name="user:jane", limits=LIMITS, groups=groups, username="jane", uid=uid)


async def test_a_token_is_whoever_the_cluster_says(place: Place) -> None:
    place.cluster.know_token("t0ken", "jane", ("devs",), "u-1")
    place.cluster.know_token("b0t", BOT)

    assert await place.authenticator.caller("t0ken") == jane()
    bot = await place.authenticator.caller("b0t")
    assert (bot.name, bot.namespace, bot.role) == (f"user:{BOT}", "team-a", None)


@pytest.mark.parametrize(
    ("token", "asks"),
    [
        pytest.param("wr0ng", ["create tokenreviews"], id="a token of nobody's"),
        pytest.param("", [], id="nothing"),
        pytest.param("two words", [], id="two words"),
        pytest.param("\udcff", [], id="bytes that are no text"),
        pytest.param("tökén", [], id="letters that no token has"),
        pytest.param("aj_abcdefgh_secret", [], id="an API key that is not known"),
    ],
)
async def test_whatever_else_is_turned_away_with_the_same_words(place: Place, token: str, asks: list[str]) -> None:
    assert await place.who(token) == TURNED_AWAY
    assert place.asked() == asks


async def test_a_token_is_asked_about_once_however_many_come_with_it(place: Place) -> None:
    place.cluster.know_token("t0ken", "jane")

    found = await asyncio.gather(*(place.authenticator.caller("t0ken") for _ in range(50)))
    place.now += YES_SECONDS - 0.1
    await place.authenticator.caller("t0ken")

    assert len(set(found)) == 1
    assert place.asked() == ["create tokenreviews"]


async def test_a_token_that_was_taken_back_is_refused_seconds_later(place: Place) -> None:
    place.cluster.know_token("t0ken", "jane")
    await place.authenticator.caller("t0ken")
    place.cluster.forget_token("t0ken")
    assert await place.who("t0ken") == "user:jane"

    place.now += YES_SECONDS

    assert await place.who("t0ken") == TURNED_AWAY


async def test_a_token_that_holds_only_now_is_taken_seconds_later(place: Place) -> None:
    assert await place.who("t0ken") == TURNED_AWAY
    place.cluster.know_token("t0ken", "jane")
    assert await place.who("t0ken") == TURNED_AWAY

    place.now += NO_SECONDS

    assert await place.who("t0ken") == "user:jane"


@pytest.mark.parametrize(
    ("rights", "verb", "namespace", "allowed"),
    [
        pytest.param([("jane", "get", "agents")], Verb.GET, "agents", True, id="a right of the user's"),
        pytest.param([("devs", "create", "agents")], Verb.SUBMIT, "agents", True, id="a right of a group of theirs"),
        pytest.param([("jane", "patch", "agents")], Verb.CANCEL, "agents", True, id="to cancel is to patch"),
        pytest.param([("jane", "get", "agents")], Verb.LIST, "agents", False, id="another verb"),
        pytest.param([("jane", "get", "agents")], Verb.GET, "other", False, id="another namespace"),
        pytest.param([("joe", "get", "agents")], Verb.GET, "agents", False, id="another user"),
        pytest.param([], Verb.GET, "agents", False, id="no right at all"),
    ],
)
async def test_a_user_may_do_what_the_cluster_allows(
    place: Place, rights: list[tuple[str, str, str]], verb: Verb, namespace: str, allowed: bool
) -> None:
    for right in rights:
        place.cluster.allow(*right)

    assert await place.gate.allows(jane(), verb, namespace) is allowed
    assert await place.gate.allows(jane(), verb, namespace, is_own=True) is allowed
    assert place.asked() == ["create subjectaccessreviews"]


async def test_a_right_is_asked_for_again_seconds_later(place: Place) -> None:
    assert not await place.gate.allows(jane(), Verb.GET, "agents")
    place.cluster.allow("jane", "get", "agents")
    assert not await place.gate.allows(jane(), Verb.GET, "agents")

    place.now += NO_SECONDS

    assert await place.gate.allows(jane(), Verb.GET, "agents")


@pytest.mark.parametrize("other", [jane(groups=()), jane(uid="u-2")], ids=["other groups", "another of that name"])
async def test_an_answer_is_for_one_user_with_their_groups(place: Place, other: Caller) -> None:
    place.cluster.allow("devs", "get", "agents")
    await place.gate.allows(jane(), Verb.GET, "agents")

    assert await place.gate.allows(other, Verb.GET, "agents") is ("devs" in other.groups)
    assert place.asked() == ["create subjectaccessreviews"] * 2


async def test_a_token_of_a_narrow_scope_opens_no_more_than_that(place: Place) -> None:
    for verb in (Verb.GET, Verb.SUBMIT):
        place.cluster.allow("jane", verb, "agents")
    place.cluster.know_token("wide", "jane")
    place.cluster.know_token("narrow", "jane", scopes=("get",))
    wide, narrow = [await place.authenticator.caller(token) for token in ("wide", "narrow")]

    assert [await place.gate.allows(wide, verb, "agents") for verb in (Verb.GET, Verb.SUBMIT)] == [True, True]
    assert [await place.gate.allows(narrow, verb, "agents") for verb in (Verb.GET, Verb.SUBMIT)] == [True, False]


FAULTS: dict[str, dict[str, Any]] = {
    "an error 500": {},
    "no answer": {"how": "cut"},
    "too many requests": {"refusal": Refusal(429, "TooManyRequests", "later", retry_after=7)},
    "our own credential expired": {"refusal": Refusal(401, "Unauthorized", "Unauthorized")},
    "no such API": {"refusal": Refusal(404, "NotFound", "the server could not find the requested resource")},
    "a body it does not take": {"refusal": Refusal(422, "Invalid", "spec: Invalid value")},
    "no right to ask": {"refusal": Refusal(403, "Forbidden", "system:serviceaccount:x:y cannot create tokenreviews")},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("review", ["tokenreviews", "subjectaccessreviews"])
async def test_a_cluster_that_cannot_be_asked_is_no_no(place: Place, fault: str, review: str) -> None:
    place.cluster.know_token("t0ken", "jane")
    place.cluster.allow("jane", "get", "agents")
    place.cluster.fail(Fault("create", review, **FAULTS[fault]))

    async def ask() -> bool:
        if review == "tokenreviews":
            return (await place.authenticator.caller("t0ken")).username == "jane"
        return await place.gate.allows(jane(), Verb.GET, "agents")

    with pytest.raises(Unavailable) as refused:
        await ask()

    assert refused.value.retry_after == (7 if fault == "too many requests" else 2)
    assert await ask()


async def test_a_gateway_without_the_right_to_ask_says_so_once_until_it_has_it(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.cluster.know_token("t0ken", "jane")
    for _ in range(3):
        place.cluster.fail(Fault("create", "tokenreviews", **FAULTS["no right to ask"]))
    why = "the gateway may not create tokenreviews.authentication.k8s.io; bind it to ClusterRole system:auth-delegator"
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            await place.authenticator.caller("t0ken")
        assert refused.value.detail == why

    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING]
    said = "system:serviceaccount:x:y cannot create tokenreviews"
    assert told == [("ERROR", f"Kubernetes users are turned away: {why} ({said})")]


async def test_no_token_reaches_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    place.cluster.know_token("s3cret-t0ken", "jane")
    await place.authenticator.caller("s3cret-t0ken")
    assert await place.who("s3cret-wr0ng") == TURNED_AWAY
    assert await place.who("aj_s3cret00_s3cret") == TURNED_AWAY
    for fault in FAULTS.values():
        place.cluster.fail(Fault("create", "tokenreviews", **fault))
        with pytest.raises(Unavailable) as refused:
            await place.authenticator.caller("s3cret-0ther")
        assert "s3cret" not in f"{refused.value} {refused.value.__cause__}"

    assert "s3cret" not in caplog.text
