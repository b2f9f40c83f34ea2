"""What is done about a job when the API server answers otherwise than was expected."""

import json
from typing import Any

import pytest

from acted import AWAY, CONFLICT, NOT_FOUND, Answers, act, actor, as_sent, known
from agentjob_api.names import Key
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason
from agentjob_kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    ServerError,
    TooManyRequests,
    Unreachable,
    refused,
)
from agentjob_operator.failing import StatusNotKeptError, after, condition, said
from agentjob_operator.store import Store
from agentjob_operator.world import CreatePod, Decision, DeleteJob, RecordEvent
from worlds import KEY, UID, at, between, job, world


async def write(answers: Answers, store: Store | None = None) -> Store:
    """The store after the status was written as Running."""
    store = store or known()
    status = job().status.model_copy(update={"phase": Phase.RUNNING, "pod_name": "fix-1"})
    await actor(answers, store).act(world(job()), Decision(status=status, actions=(CreatePod(1),)))
    return store


async def test_nothing_is_done_after_a_status_that_was_refused() -> None:
    answers = Answers(PUT=CONFLICT, GET=as_sent(job(), resourceVersion="150", generation=2))

    store = await write(answers)

    assert [request.method for request in answers.requests] == ["PUT", "GET"]
    assert store.jobs[KEY].metadata.generation == 2


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(as_sent(job()), id="as it was"),
        pytest.param(as_sent(job(), resourceVersion="90"), id="as it was before"),
        pytest.param({**as_sent(job()), "spec": {"prompt": 7}}, id="in a way that cannot be understood"),
    ],
)
async def test_a_conflict_after_which_the_job_reads_is_tried_again_later_and_not_at_once(read: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match="another one"):
        await write(Answers(PUT=CONFLICT, GET=read))


async def test_a_conflict_with_what_the_watch_has_brought_meanwhile_is_decided_on_at_once() -> None:
    store = known()
    store.put_job(job(meta={"resourceVersion": "150"}))

    await write(Answers(PUT=CONFLICT, GET=as_sent(job(), resourceVersion="150")), store)


SAYS = condition(after(None, job(), AWAY, at(1)), 1)
SAID = job({"phase": "Pending", "observedGeneration": 0, "conditions": [SAYS.model_dump()]})
INVALID = Invalid("conditions[0].type: Unsupported value", status=422)
NO_ANSWER = Unreachable("no answer in time")


@pytest.mark.parametrize(
    ("answers", "done", "asked"),
    [
        pytest.param({"PUT": as_sent(SAID, resourceVersion="150")}, True, ["PUT"], id="in its status"),
        pytest.param({"PUT": INVALID}, True, ["PUT", "POST"], id="in an Event, where that is refused"),
        pytest.param({"PUT": AWAY}, True, ["PUT", "POST"], id="in an Event, where that fails"),
        pytest.param(
            {"PUT": as_sent(job(), resourceVersion="150")}, True, ["PUT", "POST"],
            id="in an Event, where it is not kept",
        ),
        pytest.param(
            {"PUT": CONFLICT, "GET": as_sent(job())}, True, ["PUT", "GET", "POST"],
            id="in an Event, where it conflicts with nothing",
        ),
        pytest.param(
            {"PUT": CONFLICT, "GET": as_sent(job(), resourceVersion="150")}, False, ["PUT", "GET"],
            id="later, where the job has changed",
        ),
        pytest.param({"PUT": INVALID, "POST": AWAY}, False, ["PUT", "POST"], id="later, where no Event is taken"),
    ],
)  # fmt: skip
async def test_a_job_says_what_is_the_matter(
    answers: dict[str, dict[str, Any] | ApiError], done: bool, asked: list[str]
) -> None:
    sent = Answers(**answers)

    assert await actor(sent, known()).say(KEY, SAYS) == done

    assert [request.method for request in sent.requests] == asked


async def test_of_a_job_that_cannot_be_read_an_event_says_it() -> None:
    sent, store = Answers(), known()
    store.take_job(KEY, {"metadata": job().metadata.model_dump(), "spec": {"prompt": 7}})

    assert await actor(sent, store).say(KEY, SAYS)

    [event] = [json.loads(request.body or b"") for request in sent.requests]
    assert (event["kind"], event["regarding"]["uid"]) == ("Event", UID)


async def test_nobody_is_told_of_pods_whose_job_is_gone() -> None:
    sent = Answers()

    assert not await actor(sent, Store()).say(KEY, SAYS)

    assert sent.requests == []


@pytest.mark.parametrize("error", [NO_ANSWER, TooManyRequests("later", status=429)], ids=["no answer", "too many"])
async def test_an_api_server_that_is_not_well_is_not_asked_for_an_event_as_well(error: ApiError) -> None:
    sent = Answers(PUT=error)

    with pytest.raises(type(error)):
        await actor(sent, known()).say(KEY, SAYS)

    assert [request.method for request in sent.requests] == ["PUT"]


async def test_an_error_names_what_was_tried() -> None:
    error = ServerError("no", status=500)
    with pytest.raises(ServerError):
        await act(Answers(POST=error), CreatePod(1))

    assert said(error) == "making its Pod, no."


async def test_a_job_that_is_gone_when_its_status_is_written_is_forgotten() -> None:
    store = await write(Answers(PUT=NOT_FOUND, GET=NOT_FOUND))

    assert KEY not in store.jobs


async def test_a_status_that_is_not_kept_as_it_was_written_is_not_written_for_ever() -> None:
    pruned = as_sent(job(), resourceVersion="150")

    with pytest.raises(StatusNotKeptError, match=r"ns/fix: .* bring the CustomResourceDefinition up"):
        await write(Answers(PUT=pruned))


ENDED = between(Reason.AGENT_ERROR)


@pytest.mark.parametrize(
    ("kept", "times"),
    [
        pytest.param({}, None, id="not at all, where none is kept"),
        pytest.param({**ENDED, "conditions": []}, 1.0, id="once, where something else is not kept"),
    ],
)
async def test_an_end_that_is_written_again_and_again_is_counted(kept: dict[str, Any], times: float | None) -> None:
    store = known()
    writer = actor(Answers(PUT=as_sent(job(kept), resourceVersion="150")), store)

    for _ in range(2):
        with pytest.raises(StatusNotKeptError):
            await writer.act(world(store.jobs[KEY]), Decision(status=job(ENDED).status))

    of = {"namespace": "ns", "reason": "AgentError"}
    assert writer.metrics.registry.get_sample_value("agentjob_attempts_total", of) == times


@pytest.mark.parametrize("error", [Forbidden("no", status=403), AWAY])
async def test_an_event_that_is_refused_is_let_go(error: ApiError) -> None:
    await act(Answers(POST=error), RecordEvent("ImagePull", "none"))


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        pytest.param({"DELETE": {"kind": "Status"}}, [], id="it is gone"),
        pytest.param({"DELETE": NOT_FOUND}, [], id="it was gone"),
        pytest.param({"DELETE": CONFLICT, "GET": NOT_FOUND}, [], id="it has gone meanwhile"),
        pytest.param(
            {"DELETE": CONFLICT, "GET": as_sent(job(), uid="another", resourceVersion="150")}, ["another"],
            id="another one has its name",
        ),
        pytest.param(
            {"DELETE": as_sent(job(), resourceVersion="150", deletionTimestamp="2026-11-22T10:01:00Z")}, [UID],
            id="a finalizer holds it",
        ),
    ],
)  # fmt: skip
async def test_a_job_whose_time_is_over_is_deleted(
    answers: dict[str, dict[str, Any] | ApiError], known: list[str]
) -> None:
    store = await act(Answers(**answers), DeleteJob())

    assert [each.metadata.uid for each in store.jobs.values()] == known


@pytest.mark.parametrize("version", ["100", "150"], ids=["as it was", "otherwise"])
async def test_a_job_that_is_there_after_a_conflict_is_deleted_later_and_not_forgotten(version: str) -> None:
    store = known()

    with pytest.raises(Conflict, match="another one"):
        await act(Answers(DELETE=CONFLICT, GET=as_sent(job(), resourceVersion=version)), DeleteJob(), store=store)

    assert store.jobs[KEY].metadata.resource_version == version


@pytest.mark.parametrize("status", [404, 409])
async def test_a_job_that_a_webhook_does_not_let_go_stays_known(status: int) -> None:
    store = known()
    why = json.dumps({"kind": "Status", "message": 'admission webhook "keep.example.com" denied the request: not yet'})

    with pytest.raises(Forbidden):
        await act(Answers(DELETE=refused(status, why.encode())), DeleteJob(), store=store)

    assert Key("ns", "fix") in store.jobs
