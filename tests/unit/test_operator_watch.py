"""How old what an operator knows may be, and when it is no longer ready."""

import asyncio
import time
from collections.abc import AsyncGenerator
from functools import partial

import pytest
import uvloop

from agentjob_kube import resources
from agentjob_kube.client import Client
from agentjob_kube.errors import NoRight
from agentjob_kube.listwatch import ListWatch, Selection
from agentjob_kube.reach import REFUSED_AFTER, Reach
from agentjob_kube.transport import Request
from agentjob_operator.pod import PodView, view
from agentjob_operator.store import Store
from agentjob_operator.watch import MAX_AGE, Watcher
from agentjob_operator.work import WorkQueue

JOBS, PODS, DEAD = MAX_AGE["agentjobs"], MAX_AGE["pods"], REFUSED_AFTER


class Nobody:
    """A transport that is not used."""

    async def send(self, request: Request) -> bytes:
        raise AssertionError(request)

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        yield [await self.send(request)]


CLIENT = Client(Nobody())


def pods(heard: float) -> ListWatch[PodView]:
    """A watch of Pods that last heard something then, by `time.monotonic`."""
    found = ListWatch(CLIENT, Selection(resources.PODS, "a"), view)
    found.heard = heard
    return found


def refuse(reach: Reach, namespace: str, what: str, seconds: float) -> None:
    """This is refused there, since so many seconds."""
    reach.clock = lambda: time.monotonic() - seconds
    reach.failed(namespace, what, NoRight("no right", status=403))
    reach.clock = time.monotonic


def watcher(*, listed: dict[str, float], heard: dict[str, float], refused: dict[str, float] | None = None) -> Watcher:
    """One of two namespaces whose jobs were listed, and of whose Pods something was heard, so many seconds ago.

    LISTs of jobs are refused since so many seconds.
    """
    found = Watcher(client=CLIENT, store=Store(), queue=WorkQueue(1), reach=Reach(namespaces=("a", "b")))
    now = time.monotonic()
    found._jobs_of = {namespace: now - seconds for namespace, seconds in listed.items()}
    found._pods_of = {namespace: now - seconds for namespace, seconds in heard.items()}
    found._watches = {namespace: pods(now - seconds) for namespace, seconds in heard.items()}
    for namespace, seconds in (refused or {}).items():
        refuse(found.reach, namespace, "list agentjobs", seconds)
    return found


def test_the_age_is_that_of_the_namespace_of_which_least_is_known() -> None:
    ages = watcher(listed={"a": 10, "b": 200}, heard={"a": 60, "b": 1}).ages()

    assert {kind: round(age) for kind, age in ages.items()} == {"agentjobs": 200, "pods": 60}


def test_jobs_are_as_old_as_their_watch_is_refused() -> None:
    found = watcher(listed={"a": 10, "b": 20}, heard={"a": 0, "b": 0})
    refuse(found.reach, "b", "watch agentjobs", 700)

    assert round(found.ages()["agentjobs"]) == 700


def test_what_was_never_heard_of_is_as_old_as_the_operator() -> None:
    found = watcher(listed={"a": 10}, heard={})
    found._begun = time.monotonic() - 70

    assert {kind: round(age) for kind, age in found.ages().items()} == {"agentjobs": 70, "pods": 70}


@pytest.mark.parametrize(
    ("listed", "heard", "refused", "is_ready"),
    [
        pytest.param({"a": 0, "b": 0}, {"a": 0, "b": 0}, {}, True, id="once all is listed"),
        pytest.param({"a": 0}, {"a": 0, "b": 0}, {}, False, id="not before all jobs are"),
        pytest.param({"a": 0, "b": 0}, {"a": 0}, {}, False, id="not before all Pods are"),
        pytest.param({"a": 0, "b": JOBS - 60}, {"a": 0, "b": 0}, {}, True, id="while LISTs of jobs may be late"),
        pytest.param({"a": 0, "b": JOBS}, {"a": 0, "b": 0}, {}, False, id="not when they do not come"),
        pytest.param({"a": 0, "b": 0}, {"a": 0, "b": PODS - 60}, {}, True, id="while Pods may be quiet"),
        pytest.param({"a": 0, "b": 0}, {"a": 0, "b": PODS}, {}, False, id="not when nothing comes of them"),
        pytest.param({"a": 0}, {"a": 0}, {"b": DEAD - 1}, False, id="not at once without a namespace that refuses"),
        pytest.param({"a": 0}, {"a": 0}, {"b": DEAD}, True, id="without one that has refused for a minute"),
        pytest.param(
            {"a": 0, "b": JOBS}, {"a": 0, "b": PODS}, {"b": DEAD}, True, id="without one that was known before"
        ),
        pytest.param({}, {}, {"a": DEAD, "b": DEAD}, False, id="not when every one refuses"),
    ],
)
def test_an_operator_is_ready(
    listed: dict[str, float], heard: dict[str, float], refused: dict[str, float], is_ready: bool
) -> None:
    assert watcher(listed=listed, heard=heard, refused=refused).is_ready() == is_ready


async def _all_hear_of_it() -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            found = watcher(listed={}, heard={})
            found.reach.patience = 0.05
            found.answered(resources.AGENT_JOBS, "b", "list", NoRight("no right", status=403))
            tasks.create_task(found.until(partial(found.reach.is_lost, "b")))
            for _ in range(20):  # so that they begin at other parts of a millisecond
                await asyncio.sleep(0)


def test_what_waits_for_a_namespace_that_refuses_is_told_when_its_time_is_over_and_not_at_the_next_list() -> None:
    async def in_time() -> None:
        async with asyncio.timeout(5):
            await _all_hear_of_it()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(in_time())
