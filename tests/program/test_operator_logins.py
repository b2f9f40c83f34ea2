"""kopf's sessions, while its credential is refused and once it is taken."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

import aiohttp
import pytest

from agentjob_kube.backoff import WATCH
from agentjob_kube.errors import ApiError, NoRight
from agentjob_kube.resources import AGENT_JOBS
from agentjob_operator.handlers import BRIEF_SECONDS, Login
from fake_cluster import FakeCluster, Fault
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, connection


class Logins:
    """What a login is given, and what becomes of it."""

    def __init__(self, server: str, sessions: AsyncExitStack) -> None:
        self.server = server
        self.slept: list[float] = []
        self.listed = 0
        self.watched: list[ApiError | None] = []
        self.now = 0.0
        self.login = Login(
            connection=connection(server, lambda _verb, _code: None),
            sessions=sessions,
            listed=self._listed,
            watches=self.watched.append,
            sleep=self._sleep,
            clock=lambda: self.now,
        )

    async def open(self) -> aiohttp.ClientSession:
        return (await self.login.log_in()).aiohttp_session

    async def list(self) -> int:
        """The status of a LIST of jobs."""
        session = await self.open()
        async with session.get(self.server + AGENT_JOBS.path(NAMESPACE)) as response:
            return response.status

    async def watch(self, session: aiohttp.ClientSession) -> None:
        """Begins a watch of jobs, and ends it at once."""
        url = self.server + AGENT_JOBS.path(NAMESPACE)
        async with session.get(url, params={"watch": "true", "timeoutSeconds": "1"}):
            pass

    def _listed(self) -> None:
        self.listed += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@asynccontextmanager
async def logins(server: str = "http://127.0.0.1:1") -> AsyncIterator[Logins]:
    async with AsyncExitStack() as sessions:
        yield Logins(server, sessions)


async def test_the_first_is_there_at_once_and_each_one_after_it_later() -> None:
    async with logins() as found:
        await found.open()
        assert found.slept == []
        for _ in range(12):
            await found.open()
    assert found.slept[0] <= WATCH.first
    assert WATCH.most / 2 <= found.slept[-1] <= WATCH.most


async def test_one_that_has_held_for_a_while_begins_anew() -> None:
    async with logins() as found:
        for _ in range(12):
            await found.open()
        found.now += 60
        await found.open()
    assert found.slept[-1] <= WATCH.first


async def test_one_is_open_at_a_time_and_none_in_the_end() -> None:
    async with logins() as found:
        opened = [await found.open() for _ in range(3)]
        assert [session.closed for session in opened] == [True, True, False]
    assert opened[-1].closed


@pytest.mark.parametrize(
    ("refusal", "listed"),
    [
        pytest.param(None, 1, id="once kopf has listed them"),
        pytest.param(Refusal(401, "Unauthorized", "who?"), 0, id="not where it was refused"),
    ],
)
async def test_the_jobs_are_listed(refusal: Refusal | None, listed: int) -> None:
    with FakeCluster() as cluster:
        if refusal is not None:
            cluster.fail(Fault("list", "agentjobs", refusal=refusal))
        async with logins(cluster.url) as found:
            assert await found.list() == (refusal.code if refusal else HTTPStatus.OK)
    assert found.listed == listed


NO_RIGHT = Refusal(403, "Forbidden", 'agentjobs is forbidden: User "us" cannot watch resource "agentjobs"')


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        pytest.param(None, type(None), id="that it is allowed"),
        pytest.param(NO_RIGHT, NoRight, id="that there is no right to it"),
    ],
)
async def test_of_a_watch_is_told(refusal: Refusal | None, said: type) -> None:
    with FakeCluster() as cluster:
        if refusal is not None:
            cluster.fail(Fault("watch", "agentjobs", refusal=refusal))
        async with logins(cluster.url) as found:
            await found.watch(await found.open())
    assert [type(each) for each in found.watched] == [said]


@pytest.mark.parametrize(
    ("lasts", "pauses"),
    [
        pytest.param(0.0, 11, id="later and later where it ends at once"),
        pytest.param(BRIEF_SECONDS, 0, id="at once where it has lasted"),
    ],
)
async def test_a_watch_that_has_ended_is_begun_again(lasts: float, pauses: int) -> None:
    with FakeCluster() as cluster:
        async with logins(cluster.url) as found:
            session = await found.open()
            for _ in range(12):
                await found.watch(session)
                found.now += lasts
    assert len(found.slept) == pauses
    if pauses:
        assert found.slept[0] <= WATCH.first
        assert WATCH.most / 2 <= found.slept[-1] <= WATCH.most
