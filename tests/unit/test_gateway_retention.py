"""What is left of jobs that are gone is swept, and nothing of a job that may only not be known."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import obstore.store
import pytest

from agent_jobs import agent_job
from agentjob_api.lines import Line
from agentjob_gateway.archive import Archive
from agentjob_gateway.archive_keys import Part
from agentjob_gateway.cache import STALE_SECONDS, JobCache
from agentjob_gateway.peers import Peers
from agentjob_gateway.retention import TIMES, YOUNG, Retention
from agentjob_kube.errors import NoRight

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NS, OTHER, UID = "agents", "others", "uid-fix"
OLD = YOUNG + timedelta(minutes=1)


class Cache(JobCache):
    """One whose API server was heard of when a test says."""

    silence = 0.0

    def age(self, namespaces: Iterable[str] | None = None) -> float:  # noqa: ARG002 - everywhere the same
        return self.silence


class Place:
    """An archive with a line of the job `fix`, and what happens while it is waited for a second look."""

    def __init__(self, age: timedelta = OLD) -> None:
        self.cache = Cache((NS, OTHER))
        self.cache.replace(NS, (), at=0)
        self.cache.replace(OTHER, (), at=0)
        self.archive = Archive(obstore.store.MemoryStore())
        self.waits: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.retention = Retention(
            archive=self.archive,
            cache=self.cache,
            peers=Peers(),
            clock=lambda: datetime.now(UTC) + age,
            sleep=self._wait,
        )

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.meanwhile()

    async def sweep(self) -> bool:
        await self.archive.write(NS, UID, Part(Line(1, 1, NOON, False, b"{}")))
        return await self.retention.sweep()

    async def is_kept(self) -> bool:
        return await self.archive.kept(NS, UID) != {}

    def learn(self) -> None:
        self.cache.put(agent_job())

    def hear_nothing(self) -> None:
        self.cache.silence = STALE_SECONDS

    def lose(self, *namespaces: str) -> None:
        """These namespaces cannot be read any more, by default one of the two."""
        self.cache.reach.patience = 0.0
        for namespace in namespaces or (NS,):
            self.cache.reach.failed(namespace, "watch agentjobs", NoRight("no right", status=403))


@pytest.mark.parametrize(
    ("age", "is_known", "silence", "is_done", "is_kept"),
    [
        pytest.param(OLD, False, 0.0, True, False, id="what is left of a job that is gone goes"),
        pytest.param(OLD, True, 0.0, True, True, id="of a job that is there everything stays"),
        pytest.param(YOUNG / 2, False, 0.0, True, True, id="of a job that may be new everything stays"),
        pytest.param(OLD, False, STALE_SECONDS - 1, True, False, id="a short silence of the API server is nothing"),
        pytest.param(OLD, False, STALE_SECONDS, False, True, id="after a long one jobs may be there unknown"),
    ],
)
async def test_what_a_sweep_takes(age: timedelta, is_known: bool, silence: float, is_done: bool, is_kept: bool) -> None:
    place = Place(age)
    place.cache.silence = silence
    if is_known:
        place.learn()

    assert await place.sweep() is is_done
    assert await place.is_kept() is is_kept


@pytest.mark.parametrize(
    ("happens", "is_done"),
    [
        pytest.param(Place.learn, True, id="a job becomes known as the API server comes back"),
        pytest.param(Place.hear_nothing, False, id="the API server falls silent"),
        pytest.param(Place.lose, False, id="its namespace cannot be read any more"),
    ],
)
async def test_what_no_job_is_known_of_is_looked_at_twice(happens: Callable[[Place], None], is_done: bool) -> None:
    place = Place()
    place.meanwhile = lambda: happens(place)

    assert await place.sweep() is is_done
    assert place.waits == [TIMES.settle_seconds]
    assert await place.is_kept()


async def test_in_a_namespace_that_cannot_be_read_everything_stays_and_the_others_are_swept() -> None:
    place = Place()
    place.lose()

    assert await place.sweep()
    assert await place.is_kept()


async def test_where_no_namespace_can_be_read_everything_stays() -> None:
    place = Place()
    place.lose(NS, OTHER)

    assert not await place.sweep()
    assert await place.is_kept()


async def test_in_a_namespace_whose_jobs_were_never_listed_everything_stays_and_the_others_are_swept() -> None:
    place = Place()
    place.cache._listed.discard(NS)
    await place.archive.write(OTHER, UID, Part(Line(1, 1, NOON, False, b"{}")))

    assert await place.sweep()
    assert await place.is_kept()
    assert await place.archive.kept(OTHER, UID) == {}
