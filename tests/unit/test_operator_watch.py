"""How old what an operator knows may be, and when it is no longer ready."""

import time
from collections.abc import AsyncGenerator

import pytest

from agentjob_kube import resources
from agentjob_kube.client import Client
from agentjob_kube.listwatch import ListWatch, Selection
from agentjob_kube.transport import Request
from agentjob_operator.pod import PodView, view
from agentjob_operator.store import Store
from agentjob_operator.watch import MAX_AGE, Watcher
from agentjob_operator.work import WorkQueue

JOBS, PODS = MAX_AGE["agentjobs"], MAX_AGE["pods"]


class Nobody:
    """A transport that is not used."""

    async def send(self, request: Request) -> bytes:
        raise AssertionError(request)

    async def lines(self, request: Request) -> AsyncGenerator[bytes, None]:
        yield await self.send(request)


CLIENT = Client(Nobody())


def pods(heard: float) -> ListWatch[PodView]:
    """A watch of Pods that last heard something then, by `time.monotonic`."""
    found = ListWatch(CLIENT, Selection(resources.PODS, "a"), view)
    found.heard = heard
    return found


def watcher(*, listed: dict[str, float], heard: dict[str, float], synced: bool = True) -> Watcher:
    """One of two namespaces whose jobs were listed, and of whose Pods something was heard, so many seconds ago."""
    found = Watcher(client=CLIENT, store=Store(), queue=WorkQueue(1), namespaces=("a", "b"))
    now = time.monotonic()
    found._jobs_of = {namespace: now - seconds for namespace, seconds in listed.items()}
    found._watches = {namespace: pods(now - seconds) for namespace, seconds in heard.items()}
    if synced:
        found.synced.set()
    return found


def test_the_age_is_that_of_the_namespace_of_which_least_is_known() -> None:
    ages = watcher(listed={"a": 10, "b": 200}, heard={"a": 60, "b": 1}).ages()

    assert {kind: round(age) for kind, age in ages.items()} == {"agentjobs": 200, "pods": 60}


def test_what_was_never_heard_of_is_as_old_as_the_operator() -> None:
    found = watcher(listed={"a": 10}, heard={})
    found._begun = time.monotonic() - 70

    assert {kind: round(age) for kind, age in found.ages().items()} == {"agentjobs": 70, "pods": 70}


@pytest.mark.parametrize(
    ("listed", "heard", "synced", "is_ready"),
    [
        pytest.param(0, 0, True, True, id="once all is listed"),
        pytest.param(0, 0, False, False, id="not before"),
        pytest.param(JOBS - 60, 0, True, True, id="while LISTs of jobs may be late"),
        pytest.param(JOBS, 0, True, False, id="not when they do not come"),
        pytest.param(0, PODS - 60, True, True, id="while Pods may be quiet"),
        pytest.param(0, PODS, True, False, id="not when nothing comes of them"),
    ],
)
def test_an_operator_is_ready(listed: float, heard: float, synced: bool, is_ready: bool) -> None:
    found = watcher(listed={"a": 0, "b": listed}, heard={"a": 0, "b": heard}, synced=synced)

    assert found.is_ready() == is_ready
