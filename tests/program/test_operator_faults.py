"""What goes wrong between the operator and the API server costs time, never a job."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentjob_api import lines
from agentjob_api.lines import envelope
from agentjob_api.notices import Notice, notice
from agentjob_api.outcome import Outcome
from agentjob_api.reasons import Reason
from agentjob_kube.resources import PODS
from fake_cluster import Fault
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, Operated, operated, told, until
from worlds import T0

WRITES = ["create pods", "update agentjobs/status", "update agentjobs/status", "delete pods"]
CONFLICT = Refusal(409, "Conflict", "the object has been modified")
FAULTS: dict[str, dict[str, Any]] = {
    "an error 500": {"refusal": Refusal(500, "InternalError", "etcd is away")},
    "too many requests": {"refusal": Refusal(429, "TooManyRequests", "later", retry_after=1)},
    "a conflict": {"refusal": CONFLICT},
    "an answer that is lost": {"how": "cut"},
}


@pytest.fixture
async def op() -> AsyncIterator[Operated]:
    async with operated() as found:
        yield found


async def whole_life(op: Operated) -> dict[str, Any]:
    """A job from its start to its end; the final status, after making sure that there was one Pod only."""
    await op.pod()
    await op.run_agent()
    await op.until_status(phase="Running")
    await op.end_agent(told(text="Done."))
    status = await op.until_status(phase="Succeeded")
    assert op.cluster.made("pods").count("fix-1") == 1
    assert (status["attemptCount"], status["costUSD"], status["result"]["text"]) == (1, "0.0127", "Done.")
    return status


@pytest.mark.parametrize("write", ["create pods", "update agentjobs/status"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_write_that_fails_is_made_up_for(op: Operated, write: str, fault: str) -> None:
    if (write, fault) == ("create pods", "a conflict"):
        fault = "an error 500"  # a creation knows no conflict but AlreadyExists
    verb, resource = write.split()
    op.cluster.fail(Fault(verb, resource, **FAULTS[fault]))

    await op.submit()

    await whole_life(op)


@pytest.mark.parametrize("how", ["hold", "swallow"], ids=["after it was done", "before it was done"])
@pytest.mark.parametrize("lost", range(4), ids=["the Pod's creation", "running", "the end", "the Pod's deletion"])
async def test_an_operator_that_is_killed_in_a_write_goes_on_where_it_was(lost: int, how: Any) -> None:
    async with operated(podTTLSeconds=0) as op:
        verb, resource = WRITES[lost].split()
        op.cluster.fail(Fault(verb, resource, how, skip=WRITES[:lost].count(WRITES[lost])))
        await op.submit()
        if lost == 0:
            await kill_and_start(op)
        await op.run_agent()
        if lost == 1:
            await kill_and_start(op)
        await op.until_status(phase="Running")
        await op.end_agent(told(text="Done."))
        if lost >= 2:
            await kill_and_start(op)
        status = await op.until_status(phase="Succeeded")
        await op.until_no_pod()

        assert (status["attemptCount"], status["costUSD"], status["result"]["text"]) == (1, "0.0127", "Done.")
        assert op.cluster.made("pods") == ["fix-1"]


async def kill_and_start(op: Operated) -> None:
    """Kills the operator in the write that goes wrong, and starts another."""

    async def in_the_write() -> bool:
        return op.cluster.has_failed()

    await until(in_the_write)
    await op.kill()
    op.start()


async def test_an_operator_that_starts_finds_what_happened_without_it(op: Operated) -> None:
    await op.submit("begun")
    await op.pod("begun-1")
    await op.kill()
    await op.submit("new")
    await op.submit("doomed")
    await op.delete("doomed")
    await op.end_agent(told(text="Begun."), name="begun-1")

    op.start()

    assert (await op.until_status("begun", phase="Succeeded"))["result"]["text"] == "Begun."
    await op.pod("new-1")


async def test_a_pod_whose_job_was_deleted_without_an_operator_goes_when_there_is_one(op: Operated) -> None:
    await op.submit()
    await op.pod()
    await op.kill()
    await op.delete()

    op.start()

    await op.until_no_pod()


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(lambda op: op.cluster.cut_watches(), id="every watch is cut"),
        pytest.param(lambda op: op.cluster.fail_watches("pods", 500), id="an error 500 in the Pods' watch"),
        pytest.param(lambda op: op.cluster.fail_watches("pods", 410), id="an error 410 in the Pods' watch"),
        pytest.param(lambda op: op.cluster.fail_watches("agentjobs", 500), id="an error 500, which ends kopf"),
        pytest.param(lambda op: op.cluster.fail_watches("agentjobs", 410), id="an error 410 in the jobs' watch"),
        pytest.param(lambda op: (op.cluster.compact(), op.cluster.cut_watches()), id="the past is forgotten"),
    ],
)
async def test_a_watch_that_breaks_is_taken_up_again(op: Operated, disturb: Any) -> None:
    await op.submit("first")
    await op.pod("first-1")

    disturb(op)

    await op.submit()
    await whole_life(op)
    await op.end_agent(told(), name="first-1")
    await op.until_status("first", phase="Succeeded")


async def test_what_kopf_has_missed_is_found() -> None:
    async with operated(resyncSeconds=0.3) as op:
        await op.submit("old")
        await op.pod("old-1")
        op.cluster.hide("agentjobs")

        await op.submit()
        await op.delete("old")

        await op.pod()
        await op.until_no_pod("old-1")


async def test_an_end_that_the_watch_of_pods_has_not_told_is_found() -> None:
    async with operated(resyncSeconds=0.3) as op:
        await op.submit()
        await op.pod()
        await op.run_agent()
        await op.until_status(phase="Running")
        op.cluster.hide("pods")

        await op.end_agent(told(text="Done."))

        await op.until_status(phase="Succeeded")


async def test_a_job_that_was_deleted_before_kopf_could_see_it_is_found_to_be_gone(op: Operated) -> None:
    await op.kill()
    await op.submit()
    op.cluster.fail(Fault("list", "agentjobs", skip=1))  # the operator's own LIST is the first, kopf's the second
    op.start()
    await op.pod()

    await op.delete()

    await op.until_no_pod()


async def test_a_job_that_somebody_else_changes_at_the_same_time_is_observed_again(op: Operated) -> None:
    async def kopf_watches() -> bool:
        return ("watch", "agentjobs") in [(seen.verb, seen.resource) for seen in op.asked()]

    await op.submit()
    await op.pod()
    await until(kopf_watches)
    op.cluster.hide("agentjobs")
    await op.change(ttlSecondsAfterFinished=99)  # unseen: what the operator knows is behind now

    status = await whole_life(op)

    assert status["observedGeneration"] == 2
    assert 409 in [seen.status for seen in op.asked()]


CUT = told(text="It was", truncated=True)


def log_with(text: str) -> bytes:
    """A log whose last line holds the whole outcome, with another program's words after it."""
    whole = Outcome(reason=Reason.COMPLETED, text=text, num_turns=3, cost_usd="0.0127")
    message = notice(Notice.OUTCOME, outcome=whole.model_dump(mode="json", exclude_none=True))
    line = envelope(9, 1, T0) + json.dumps(message, separators=(",", ":")).encode() + b"}"
    assert lines.parse(line)
    return b"\n".join([b"words of another program", line, b"more of them", b""])


@pytest.mark.parametrize(
    ("text", "answer", "truncated"),
    [
        pytest.param("It was 42 all along.", "It was 42 all along.", False, id="that did not fit"),
        pytest.param("x" * 40_000, "x" * 32_768, True, id="that does not fit into the status either"),
    ],
)
async def test_an_answer_is_read_from_the_log(op: Operated, text: str, answer: str, truncated: bool) -> None:
    await op.submit()
    await op.pod()
    op.cluster.write_log(NAMESPACE, "fix-1", log_with(text))

    await op.end_agent(CUT)

    result = (await op.until_status(phase="Succeeded"))["result"]
    assert (result["text"], result["truncated"]) == (answer, truncated)


@pytest.mark.parametrize("log", [b"", b"no line of ours\n"], ids=["an empty log", "a log without an outcome"])
async def test_without_the_log_the_cut_answer_has_to_do(op: Operated, log: bytes) -> None:
    await op.submit()
    await op.pod()
    op.cluster.write_log(NAMESPACE, "fix-1", log)

    await op.end_agent(CUT)

    result = (await op.until_status(phase="Succeeded"))["result"]
    assert (result["text"], result["truncated"]) == ("It was", True)


async def test_a_log_that_cannot_be_read_at_once_is_read_again(op: Operated) -> None:
    op.cluster.fail(Fault("get", "pods/log", refusal=Refusal(500, "InternalError", "kubelet is away")))
    await op.submit()
    await op.pod()
    op.cluster.write_log(NAMESPACE, "fix-1", log_with("It was 42."))

    await op.end_agent(CUT)

    assert (await op.until_status(phase="Succeeded"))["result"]["text"] == "It was 42."


async def test_an_event_that_cannot_be_recorded_holds_nothing_up(op: Operated) -> None:
    op.cluster.fail(Fault("create", "events", refusal=Refusal(403, "Forbidden", "no Events here")))
    await op.submit(backoffLimit=0)

    await op.end_agent(code=1)

    await op.until_status(phase="Failed")


async def test_a_job_that_cannot_be_acted_on_does_not_hold_up_the_others() -> None:
    async with operated(workers=1) as op:
        for _ in range(3):
            op.cluster.fail(Fault("create", "pods", refusal=Refusal(500, "InternalError", "away")))
        await op.submit("unlucky")
        await op.submit()

        await op.pod()
        await op.pod("unlucky-1")


async def test_no_other_pod_is_made_while_one_lingers(op: Operated) -> None:
    await op.submit()
    await op.bind()
    await op.run_agent()
    await op.until_status(phase="Running")
    await op.delete()
    await op.submit()
    await op.pod(deletionGracePeriodSeconds=30)

    await op.kill()
    op.start()
    await op.submit("other")
    await op.pod("other-1")

    assert [item["metadata"]["name"] for item in await op.items(PODS)] == ["fix-1", "other-1"]


async def test_somebodys_pod_with_labels_and_annotations_of_ours_stops_nothing(op: Operated) -> None:
    meta = {
        "name": "strange",
        "labels": {"agentjob.dev/job": "fix", "agentjob.dev/attempt": "1"},
        "annotations": {"agentjob.dev/stop-asked": "x"},
    }
    await op.client.create(PODS, NAMESPACE, {"metadata": meta, "spec": {"containers": []}})
    await op.submit(runner={"annotations": {"agentjob.dev/stop-asked": "2020-01-01T00:00:00Z"}})
    await op.run_agent()
    await op.until_status(phase="Running")
    await op.end_agent(told(text="All tests pass."))

    status = await op.until_status(phase="Succeeded")

    assert status["attemptCount"] == 1
