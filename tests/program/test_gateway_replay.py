"""A finished job's stream after its Pod is gone, through the doors: as it was, from wherever a client left off."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentjob_api.names import Key
from agentjob_gateway.access import ACCESS, HOME_ACCESS
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.serve import serve
from agentjob_gateway.settings import Settings
from agentjob_kube.resources import AGENT_JOBS, ENDPOINT_SLICES, PODS
from endpoints import endpoint_slice
from operated import until
from served import NAMESPACE, Door, Served, served
from watched import Viewer, Watched, numbered

HOME = {"namespace": "system", "service": "gateway"}


@dataclass
class Place:
    """Doors, and at their other side the agent of a job `fix`."""

    served: Served
    at: Watched
    archive: dict[str, Any]

    async def door(self, name: str) -> Door:
        """A replica that archives, and is ready."""
        door = self.served.door(archive=self.archive, peers=HOME, podName=name)
        body = endpoint_slice(f"gateway-{name}", HOME["service"], name)
        await self.served.client.create(ENDPOINT_SLICES, HOME["namespace"], body)
        return await door.start()

    async def run_job(self, lines: int) -> None:
        """Lets a job say so many lines and end, and takes its Pod away once it is archived."""
        await self.at.submit()
        await self.at.start()
        self.at.say(*range(1, lines))
        await self.at.finish(lines)

        async def is_archived() -> bool:
            conditions = (await self.served.job("fix"))["status"]["conditions"]
            return any((each["type"], each["reason"]) == ("Archived", "Archived") for each in conditions)

        await until(is_archived)
        await self.at.remove_pod()

    async def watch(self, door: Door, after: str = "") -> Viewer:
        headers = {"Authorization": f"Bearer {self.served.key()}"}
        headers |= {"Last-Event-ID": f"fix/{after}"} if after else {}
        response = await self.served.session.get(f"{door.url}/v1/jobs/fix/events", headers=headers)
        assert response.status == 200
        return await Viewer(response).until_end()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with served(tmp_path) as found, AsyncExitStack() as stack:
        found.key()
        archive = {"url": f"file://{tmp_path}/archive", "partSeconds": 0.02}
        yield Place(found, Watched(found.cluster, found.session, stack), archive)


async def test_a_stream_is_replayed_after_its_pod_is_gone_by_any_replica(place: Place) -> None:
    first = await place.door("a")
    await place.run_job(40)
    second = await place.door("b")
    for door in (first, second):
        viewer = await place.watch(door)
        assert viewer.lines == numbered(*range(1, 41))
        assert (viewer.of("gap"), viewer.closing and viewer.closing.data) == ([], "[DONE]")


@pytest.mark.parametrize("after", [1, 17, 39, 40])
async def test_a_client_goes_on_where_it_left_off(place: Place, after: int) -> None:
    door = await place.door("a")
    await place.run_job(40)
    viewer = await place.watch(door, f"1-{after}")
    assert viewer.lines == numbered(*range(after + 1, 41))
    assert (viewer.of("gap"), viewer.closing and viewer.closing.data) == ([], "[DONE]")


async def test_what_is_replayed_is_what_was_streamed(place: Place) -> None:
    door = await place.door("a")
    await place.at.submit()
    await place.at.start()
    place.at.say(1, 2, size=3_000)
    live = await place.served.session.get(
        f"{door.url}/v1/jobs/fix/events", headers={"Authorization": f"Bearer {place.served.key()}"}
    )
    seen = Viewer(live)
    await seen.until_lines(2)
    await place.at.finish(3)
    await seen.until_end()
    await place.at.remove_pod()
    again = await place.watch(await place.door("b"))

    def messages(viewer: Viewer) -> list[tuple[str, str, str]]:
        return [
            (each.type, each.data, each.last_event_id) for each in viewer.source.events if each.type != "state"
        ]  # fmt: skip

    assert messages(again) == messages(seen)


async def test_without_an_archive_the_end_of_a_pod_is_the_end_of_its_lines(place: Place) -> None:
    await place.at.submit()
    await place.at.start()
    await place.at.finish(3)
    await place.at.remove_pod()
    door = await place.served.door().start()
    viewer = await place.watch(door)
    assert (viewer.lines, viewer.of("gap")) == ([], [{"attempt": 1, "from": 1, "to": None}])
    assert "Archived" not in str((await place.served.job("fix"))["status"])


async def test_the_gateway_asks_for_no_more_than_its_role_gives(place: Place) -> None:
    await place.door("a")
    await place.run_job(3)
    asked = {
        (seen.group, seen.resource, seen.verb, seen.namespace)
        for seen in place.served.cluster.requests()
        if seen.agent == "agentjob"
    }
    given = {(each.group, each.resource, verb, NAMESPACE) for each in ACCESS for verb in each.verbs}
    at_home = {(each.group, each.resource, verb, HOME["namespace"]) for each in HOME_ACCESS for verb in each.verbs}
    assert asked <= given | at_home
    assert at_home <= asked
    assert ("agentjob.dev", "agentjobs/status", "patch", NAMESPACE) in asked
    assert not [each for each in asked if each[1] == PODS.plural]


async def test_metrics_show_what_the_archive_has_come_to(place: Place) -> None:
    door = await place.door("a")
    await place.run_job(5)
    async with place.served.session.get(f"{door.metrics}/metrics") as response:
        text = await response.text()
    assert "\nagentjob_gateway_archived_lines_total 5.0\n" in text
    assert "\nagentjob_gateway_archiving 0.0\n" in text
    assert "\nagentjob_gateway_archive_failures_total 0.0\n" in text


async def test_a_gateway_whose_archive_cannot_be_does_not_start(place: Place) -> None:
    settings = Settings.model_validate({"namespaces": [NAMESPACE], "archive": {"url": "file:///proc/none"}})
    door = place.served.door()
    with pytest.raises(ArchiveError, match=r"archive\.url file:///proc/none: "):
        await serve(settings, door._connect, door.stopped)


async def test_a_job_whose_lines_are_kept_is_found_by_its_key_alone(place: Place) -> None:
    """Another job of the same name is another one: nothing of the first is told of it."""
    door = await place.door("a")
    await place.run_job(3)
    await place.at.delete()
    await place.at.submit()
    await place.at.set_status({"phase": "Cancelled"})

    async def is_known() -> bool:
        answer = await door.ask("GET", "/v1/jobs/fix", place.served.key())
        return bool(answer.status == 200 and answer.body["status"]["phase"] == "Cancelled")

    await until(is_known)
    viewer = await place.watch(door)
    assert (viewer.lines, viewer.of("gap")) == ([], [])
    assert (await place.served.client.get(AGENT_JOBS, Key(NAMESPACE, "fix")))["status"]["phase"] == "Cancelled"
