"""A job about which nothing can be done says so on itself after some minutes, and the others are not held up by it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentjob_kube.resources import AGENT_JOBS, EVENTS
from agentjob_operator.failing import STUCK_AFTER
from agentjob_operator.pod import STOP_ANNOTATION
from fake_cluster import Fault
from fake_cluster.kubelet import Instant
from fake_cluster.refusals import Refusal
from operated import Operated, operated, told, until

WEBHOOK = Refusal(500, "InternalError", 'failed calling webhook "pods.example.com": deadline exceeded')
FOREVER = "9999-12-31T23:59:59Z"
MINUTES = STUCK_AFTER.total_seconds()
STUCK = "ReconcileFailure"


@pytest.fixture
async def op() -> AsyncIterator[Operated]:
    async with operated() as found:
        yield found


def no_pod(name: str = "fix", **fields: Any) -> Fault:
    """The Pods of this job cannot be made."""
    return Fault("create", "pods", **{"refusal": WEBHOOK, "name": f"{name}-", "forever": True, **fields})


async def condition(op: Operated, name: str = "fix") -> dict[str, Any] | None:
    """What the job says about that nothing could be done about it."""
    found = (await op.status(name)).get("conditions", ())
    return next((each for each in found if each["type"] == STUCK), None)


class Failures:
    """Looks that failed: each is logged in the turn of the loop in which it is taken down."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self._log = log

    def __len__(self) -> int:
        return self._log.text.count("Not done")

    async def until(self, times: int) -> None:
        async def are_so_many() -> bool:
            return len(self) >= times

        await until(are_so_many)


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> Failures:
    return Failures(caplog)


async def until_stuck(op: Operated, name: str = "fix") -> dict[str, Any]:
    found: dict[str, Any] = await until(lambda: condition(op, name))
    return found


async def until_free(op: Operated, name: str = "fix") -> None:
    async def is_free() -> bool:
        return await condition(op, name) is None

    await until(is_free)


async def test_a_job_whose_pod_cannot_be_made_says_so_once_and_goes_on_when_it_can(
    op: Operated, failures: Failures
) -> None:
    op.cluster.fail(no_pod())
    await op.submit()
    await failures.until(2)
    assert await condition(op) is None

    await op.later(MINUTES)
    said = await until_stuck(op)
    await op.later(60)
    await failures.until(len(failures) + 2)

    assert (said["status"], said["reason"]) == ("True", "ApiServerRefuses")
    assert 'making its Pod, failed calling webhook "pods.example.com"' in said["message"]
    assert op.writes() == ["update agentjobs/status"]
    op.cluster.mend()
    await op.later(60)
    await op.pod()
    await until_free(op)
    assert op.writes() == ["update agentjobs/status", "create pods", "update agentjobs/status"]


async def test_a_job_on_which_the_operator_itself_fails_says_so(op: Operated, failures: Failures) -> None:
    await op.submit(suspend=True)
    await op.until_ready_says("Suspended")
    [body] = await op.items(AGENT_JOBS)
    status = {**body["status"], "phase": "Succeeded", "completionTime": FOREVER}
    await op.client.replace_status(AGENT_JOBS, {**body, "status": status})
    await failures.until(1)

    await op.later(MINUTES)

    said = await until_stuck(op)
    assert said["reason"] == "OperatorDefect"
    assert "OverflowError" in said["message"]
    assert (await op.status())["phase"] == "Succeeded"


async def test_a_conflict_that_never_ends_is_tried_ever_later_and_told_of(op: Operated, failures: Failures) -> None:
    conflict = Refusal(409, "Conflict", "the object has been modified")
    op.cluster.fail(Fault("update", "agentjobs/status", refusal=conflict, forever=True))
    await op.submit(suspend=True)
    await failures.until(4)

    writes = [seen for seen in op.asked() if (seen.verb, seen.resource) == ("update", "agentjobs/status")]
    assert len(writes) <= len(failures) + 1
    await op.later(MINUTES)
    [event] = await until(lambda: op.items(EVENTS))
    assert "writing its status, the object has been modified" in event["note"]


async def test_a_stop_that_a_webhook_takes_from_the_pod_is_tried_ever_later_and_told_of(
    op: Operated, failures: Failures
) -> None:
    op.cluster.strip("pods", STOP_ANNOTATION)
    await op.submit()
    await op.run_agent()
    await op.until_status(phase="Running")
    await op.change(cancel=True)
    await failures.until(2)
    await op.later(MINUTES)

    said = await until_stuck(op)

    assert "telling its agent to stop, Pod agents/fix-1: the API server did not keep" in said["message"]
    assert op.writes().count("patch pods") <= 8
    await op.end_agent(told())
    await op.until_status(phase="Succeeded")
    await until_free(op)


async def test_a_job_that_a_newer_operator_has_written_is_left_alone_and_told_of_in_an_event(
    op: Operated, failures: Failures
) -> None:
    await op.submit()
    await op.run_agent()
    await op.until_status(phase="Running")
    [body] = await op.items(AGENT_JOBS)
    novel = {"type": "Novel", "status": "True", "reason": "Novel", "lastTransitionTime": body["status"]["startTime"]}
    status = {**body["status"], "conditions": [*body["status"]["conditions"], novel]}
    await op.client.replace_status(AGENT_JOBS, {**body, "status": status})
    await failures.until(1)

    await op.later(MINUTES)
    [event] = await until(lambda: op.items(EVENTS))

    assert event["reason"] == STUCK
    assert "helm upgrade" in event["note"]
    assert (await op.status())["conditions"][-1] == novel
    await op.delete()
    await op.until_no_pod()


async def test_a_job_that_takes_no_status_is_told_of_in_an_event_once(op: Operated, failures: Failures) -> None:
    op.cluster.fail(no_pod())
    op.cluster.fail(Fault("update", "agentjobs/status", refusal=WEBHOOK, forever=True))
    await op.submit()
    await failures.until(2)

    await op.later(MINUTES)
    [event] = await until(lambda: op.items(EVENTS))
    await failures.until(len(failures) + 1)

    assert (event["reason"], event["type"], event["regarding"]["name"]) == (STUCK, "Warning", "fix")
    assert len(await op.items(EVENTS)) == 1
    refused = [seen for seen in op.asked() if (seen.resource, seen.status) == ("agentjobs/status", 500)]
    assert len(refused) == 1


async def test_a_job_that_is_deleted_while_it_is_stuck_leaves_nothing_behind(op: Operated, failures: Failures) -> None:
    op.cluster.fail(no_pod())
    await op.submit()
    await failures.until(1)
    await op.later(MINUTES)
    await until_stuck(op)

    await op.delete()
    op.cluster.mend()
    await op.submit()

    await op.pod()
    assert await condition(op) is None


async def test_another_operator_does_not_say_it_again_and_takes_it_back(op: Operated, failures: Failures) -> None:
    op.cluster.fail(no_pod())
    await op.submit()
    await failures.until(1)
    await op.later(MINUTES)
    await until_stuck(op)
    await op.kill()

    op.start()
    await failures.until(len(failures) + 1)
    await op.later(MINUTES)
    await failures.until(len(failures) + 1)
    assert op.writes() == ["update agentjobs/status"]

    op.cluster.mend()
    await op.later(60)
    await op.pod()
    await until_free(op)


OTHERS = 50


async def all_done(op: Operated, number: int) -> None:
    async def are_done() -> bool:
        items = await op.items(AGENT_JOBS)
        return len([item for item in items if item["status"]["phase"] == "Succeeded"]) == number

    await until(are_done)


@pytest.mark.parametrize(
    ("unlucky", "how"),
    [
        pytest.param(1, "refuse", id="one is refused"),
        pytest.param(1, "swallow", id="one gets no answer"),
        pytest.param(40, "refuse", id="many are refused"),
    ],
)
async def test_others_start_and_end_undisturbed_while(unlucky: int, how: Any) -> None:
    """A request without an answer holds a worker for half a minute: longer than this may take."""
    async with operated(workers=4) as op:
        op.cluster.on_change(Instant.leaving(told(text="Done.")))
        op.cluster.fail(no_pod("unlucky", how=how))
        names = [f"unlucky-{number}" for number in range(unlucky)]
        names += [f"other-{number}" for number in range(OTHERS)]

        await asyncio.gather(*(op.submit(name) for name in names))

        await all_done(op, OTHERS)


async def test_others_end_undisturbed_while_many_starts_get_no_answer() -> None:
    async with operated(workers=4) as op:
        others = [f"other-{number}" for number in range(10)]
        for name in others:
            await op.submit(name)
            await op.run_agent(f"{name}-1")
        op.cluster.fail(no_pod("unlucky", how="swallow"))
        await asyncio.gather(*(op.submit(f"unlucky-{number}") for number in range(40)))
        await until_hangs(op)

        for name in others:
            await op.end_agent(told(text="Done."), name=f"{name}-1")

        await all_done(op, len(others))


async def until_hangs(op: Operated) -> None:
    async def hangs() -> bool:
        return op.cluster.has_failed()

    await until(hangs)
