"""What the fault proxy does to requests and watches is what its plan says, and no more."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from agentjob_api.names import Key
from agentjob_kube.client import Client, Happening
from agentjob_kube.errors import (
    AlreadyExists,
    ApiError,
    Gone,
    NoRight,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from agentjob_kube.resources import AGENT_JOBS, PODS
from agentjob_kube.wire import HttpTransport, Patience
from fake_cluster import FakeCluster
from fault_proxy import (
    Doubled,
    ErrorEvent,
    FaultProxy,
    Refused,
    Reset,
    Rule,
    Silence,
    Skipped,
    Slow,
    Stale,
    Stop,
)

PATIENCE = Patience(connect=1.0, request=0.5, idle=0.5)


@dataclass
class Place:
    cluster: FakeCluster
    proxy: FaultProxy
    client: Client
    """Goes through the proxy."""
    direct: Client

    async def create(self, name: str) -> dict[str, Any]:
        return await self.client.create(PODS, "agents", {"metadata": {"name": name}, "spec": {}})

    async def names(self) -> list[str]:
        return [each["metadata"]["name"] async for page in self.client.pages(PODS, "agents") for each in page.items]

    async def watched(self, count: int) -> list[str]:
        """The first events of a watch of Pods, with two Pods made meanwhile by others."""
        found: list[str] = []
        async with aclosing(self.client.watch(PODS, "agents", "", "1")) as events:
            for name in ("a", "b"):
                await self.direct.create(PODS, "agents", {"metadata": {"name": name}, "spec": {}})
            async for event in events:
                found.append(said(event))
                if len(found) == count:
                    break
        return found


def said(event: Happening) -> str:
    return f"{event.type} {event.object['metadata'].get('name', '')}".strip()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with FakeCluster() as cluster:
        async with aiohttp.ClientSession() as session, FaultProxy(cluster.url) as proxy:
            through, past = (HttpTransport(session, url, PATIENCE) for url in (proxy.url, cluster.url))
            yield Place(cluster, proxy, Client(through), Client(past))


async def test_without_a_plan_everything_comes_through_and_is_seen(place: Place) -> None:
    assert (await place.create("a"))["metadata"]["name"] == "a"
    assert await place.names() == ["a"]
    with pytest.raises(AlreadyExists):
        await place.create("a")

    assert [(seen.number, seen.verb, seen.resource, seen.status, seen.name) for seen in place.proxy.seen] == [
        (1, "create", "pods", 201, "a"),
        (2, "list", "pods", 200, ""),
        (3, "create", "pods", 409, ""),
    ]
    assert place.proxy.writes() == ["create pods"]


@pytest.mark.parametrize(
    ("fault", "error", "done"),
    [
        pytest.param(Refused(401), Unauthorized, False, id="an expired token"),
        pytest.param(Refused(403), NoRight, False, id="a right that was revoked"),
        pytest.param(Refused(410), Gone, False, id="an answer 410"),
        pytest.param(Refused(429, retry_after=2), TooManyRequests, False, id="too many requests"),
        pytest.param(Refused(503), ServerError, False, id="an answer 503"),
        pytest.param(Reset(), Unreachable, False, id="a connection that breaks before"),
        pytest.param(Reset(after=True), Unreachable, True, id="a connection that breaks after"),
        pytest.param(Silence(), Unreachable, False, id="silence"),
        pytest.param(Silence(0.05), Unreachable, False, id="silence that ends with a break"),
        pytest.param(Slow(0.6), Unreachable, False, id="slower than anybody waits"),
    ],
)
async def test_one_request_goes_wrong_and_the_next_does_not(
    place: Place, fault: Any, error: type[ApiError], done: bool
) -> None:
    place.proxy.rules.append(Rule("create", "pods", fault))

    with pytest.raises(error) as raised:
        await place.create("a")

    assert await place.names() == (["a"] if done else [])
    assert (await place.create("b"))["metadata"]["name"] == "b"
    assert raised.value.retry_after == (2 if isinstance(fault, Refused) and fault.status == 429 else 0)


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        pytest.param(Rule("write", "*", Refused(500), skip=1, times=2), [2, 3], id="as many as it says"),
        pytest.param(Rule("create", "events", Refused(500), times=math.inf), [], id="those of its resource only"),
        pytest.param(Rule("*", "pods", Refused(500), times=math.inf, seconds=0), [1], id="for as long as it says"),
    ],
)
async def test_a_rule_takes(place: Place, rule: Rule, refused: list[int]) -> None:
    place.proxy.rules.append(rule)
    for number in range(1, 5):
        try:
            await place.create(f"p{number}")
        except ServerError:
            assert number in refused
        else:
            assert number not in refused


@pytest.mark.parametrize(
    ("fault", "events"),
    [
        pytest.param(Doubled(), ["ADDED a", "ADDED a", "ADDED b"], id="told twice"),
        pytest.param(Skipped(), ["ADDED b"], id="not told"),
        pytest.param(Slow(0.1), ["ADDED a", "ADDED b"], id="told late"),
    ],
)
async def test_an_event_is(place: Place, fault: Any, events: list[str]) -> None:
    place.proxy.rules.append(Rule("event", "pods", fault))
    assert await place.watched(len(events)) == events


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(ErrorEvent(410), Gone, id="an error 410 in it"),
        pytest.param(ErrorEvent(429), TooManyRequests, id="an error 429 in it"),
        pytest.param(ErrorEvent(500), ServerError, id="an error 500 in it"),
        pytest.param(Reset(), Unreachable, id="its connection breaking"),
        pytest.param(Silence(), Unreachable, id="nothing coming any more"),
    ],
)
async def test_a_watch_ends_with(place: Place, fault: Any, error: type[ApiError]) -> None:
    place.proxy.rules.append(Rule("event", "pods", fault))
    with pytest.raises(error):
        await place.watched(2)


async def test_an_answer_may_be_as_old_as_the_first(place: Place) -> None:
    assert await place.names() == []
    await place.create("a")
    place.proxy.rules.append(Rule("list", "pods", Stale()))
    assert await place.names() == []
    assert await place.names() == ["a"]


@pytest.mark.parametrize("after", [False, True], ids=["before a write", "after it"])
async def test_who_is_stopped_gets_nothing_through_until_it_goes_on(place: Place, after: bool) -> None:
    place.proxy.rules.append(Rule("write", "*", Stop(after=after), skip=1))
    await place.create("a")

    with pytest.raises(Unreachable):
        await place.create("b")

    assert place.proxy.stopped.is_set()
    with pytest.raises(Unreachable):
        await place.create("c")
    place.proxy.go_on()
    assert await place.names() == (["a", "b"] if after else ["a"])
    assert place.proxy.writes() == ["create pods"] * (2 if after else 1)


async def test_a_watch_of_who_is_stopped_tells_nothing(place: Place) -> None:
    watch = asyncio.create_task(place.watched(2))
    place.proxy.stopped.set()
    with pytest.raises(Unreachable):
        await watch


async def test_an_api_server_that_is_gone_is_a_connection_that_breaks() -> None:
    async with aiohttp.ClientSession() as session, FaultProxy("http://127.0.0.1:1") as proxy:
        with pytest.raises(Unreachable):
            await Client(HttpTransport(session, proxy.url, PATIENCE)).get(AGENT_JOBS, Key("agents", "fix"))
