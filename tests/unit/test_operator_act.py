"""What is done when the API server answers otherwise than was expected."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_api.phases import Phase
from agentjob_api.reasons import Reason
from agentjob_kube.client import Client
from agentjob_kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NoRight,
    NotFound,
    ServerError,
    TooManyRequests,
    Unreachable,
    refused,
)
from agentjob_kube.transport import Request
from agentjob_operator import rules
from agentjob_operator.act import Actor
from agentjob_operator.failing import StatusNotKeptError, after, condition, said
from agentjob_operator.metrics import Metrics
from agentjob_operator.pod import PodView
from agentjob_operator.settings import RunnerSettings
from agentjob_operator.store import Store
from agentjob_operator.world import (
    Action,
    CreatePod,
    Decision,
    DeleteJob,
    DeleteOrphan,
    DeletePod,
    ReadOutcome,
    RecordEvent,
    StopPod,
)
from worlds import KEY, UID, at, between, job, lost, pod, refusal, running, world

NOT_FOUND = NotFound("gone", status=404)
CONFLICT = Conflict("another one", status=409)
AWAY = ServerError("away", status=503)


class Answers:
    """A transport with one answer for each method; DELETE and PATCH answer as after success where none is given."""

    def __init__(self, **answers: dict[str, Any] | ApiError) -> None:
        self._answers = answers
        self.requests: list[Request] = []

    async def send(self, request: Request) -> bytes:
        self.requests.append(request)
        answer = self._answers.get(request.method, {"kind": "Status"})
        if isinstance(answer, ApiError):
            raise answer
        return json.dumps(answer).encode()

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        yield [await self.send(request)]


def body(**meta: Any) -> dict[str, Any]:
    """A Pod of the job as the API server sends it."""
    owner = {"apiVersion": "agentjob.dev/v1alpha1", "kind": "AgentJob", "uid": UID, "controller": True}
    return {
        "metadata": {
            "namespace": "ns",
            "name": "fix-1",
            "uid": "pod-uid",
            "resourceVersion": "200",
            "creationTimestamp": "2026-11-22T10:00:00Z",
            "labels": {"agentjob.dev/job": "fix", "agentjob.dev/attempt": "1"},
            "ownerReferences": [owner],
            **meta,
        },
        "spec": {},
    }


def known() -> Store:
    """A store that knows the job and its Pod."""
    store = Store()
    store.put_job(job())
    store.put_pod(pod(agent=running()))
    return store


def actor(answers: Answers, store: Store) -> Actor:
    metrics = Metrics(lambda: store.jobs, lambda: 0, lambda: True)
    runner = RunnerSettings.model_validate({"image": "r:1"})
    return Actor(client=Client(answers), store=store, metrics=metrics, runner=runner, clock=lambda: at(5))


async def act(answers: Answers, *actions: Action, store: Store | None = None, of: AgentJob | None = None) -> Store:
    """The store after these actions."""
    store = store or known()
    await actor(answers, store).act(world(of or job()), Decision(actions=actions))
    return store


async def write(answers: Answers, store: Store | None = None) -> Store:
    """The store after the status was written as Running."""
    store = store or known()
    status = job().status.model_copy(update={"phase": Phase.RUNNING, "pod_name": "fix-1"})
    await actor(answers, store).act(world(job()), Decision(status=status, actions=(CreatePod(1),)))
    return store


def as_sent(of: AgentJob, **meta: Any) -> dict[str, Any]:
    """A job as the API server sends it."""
    sent = of.model_dump(mode="json", exclude_none=True)
    return {**sent, "metadata": {**sent["metadata"], **meta}}


def is_known(store: Store) -> bool:
    return bool(store.pods(KEY))


THE_POD = pod(agent=running())
ANOTHER = body(uid="another", resourceVersion="300")


@pytest.mark.parametrize("action", [DeletePod(THE_POD), StopPod(THE_POD)], ids=["delete", "stop"])
async def test_a_pod_that_is_gone_is_forgotten(action: Action) -> None:
    store = await act(Answers(DELETE=NOT_FOUND, PATCH=NOT_FOUND), action)

    assert not is_known(store)


@pytest.mark.parametrize("action", [DeletePod(THE_POD), StopPod(THE_POD)], ids=["delete", "stop"])
@pytest.mark.parametrize("refusal", [CONFLICT, Invalid("metadata.uid: field is immutable", status=422)])
async def test_another_pod_of_that_name_is_kept_in_its_place(action: Action, refusal: ApiError) -> None:
    if isinstance(action, DeletePod):
        refusal = CONFLICT  # a deletion names its precondition
    store = await act(Answers(DELETE=refusal, PATCH=refusal, GET=ANOTHER), action)

    assert [each.uid for each in store.pods(KEY)] == ["another"]


@pytest.mark.parametrize("action", [DeletePod(THE_POD), StopPod(THE_POD)], ids=["delete", "stop"])
async def test_a_pod_that_is_changing_is_tried_again_later_and_not_forgotten(action: Action) -> None:
    store = known()

    with pytest.raises(Conflict, match="ns/fix-1 is changing"):
        await act(Answers(DELETE=CONFLICT, PATCH=CONFLICT, GET=body()), action, store=store)

    assert is_known(store)


async def test_a_deletion_names_the_one_pod_that_is_meant_and_waits_for_nothing() -> None:
    answers = Answers()

    await act(answers, DeletePod(THE_POD))

    (request,) = answers.requests
    assert request.path == "/api/v1/namespaces/ns/pods/fix-1"
    assert json.loads(request.body or b"") == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "pod-uid"},
        "propagationPolicy": "Background",
    }


async def test_a_pod_that_is_on_its_way_out_already_is_deleted_by_force_and_once() -> None:
    answers, store = Answers(), Store()
    store.put_pod(lost())

    await act(answers, DeletePod(lost()), store=store)

    (request,) = answers.requests
    options = json.loads(request.body or b"")
    assert (options["gracePeriodSeconds"], options["preconditions"]) == (0, {"uid": "pod-uid"})
    assert [rules.forced_at(each) for each in store.pods(KEY)] == [None]


async def test_a_pod_that_vanishes_meanwhile_is_forgotten() -> None:
    assert not is_known(await act(Answers(DELETE=CONFLICT, GET=NOT_FOUND), DeletePod(THE_POD)))


async def test_a_pod_we_deleted_is_on_its_way_out_until_the_watch_says_it_is_gone() -> None:
    store = await act(Answers(), DeletePod(THE_POD))

    assert [each.deleting for each in store.pods(KEY)] == [True]


@pytest.mark.parametrize(
    ("answer", "deleted"),
    [
        pytest.param(NOT_FOUND, True, id="its job is gone"),
        pytest.param(as_sent(job(), uid="another"), True, id="another job has the name"),
        pytest.param(as_sent(job()), False, id="not when its job is there after all"),
    ],
)
async def test_an_orphan_is_deleted_when(answer: dict[str, Any] | ApiError, deleted: bool) -> None:
    answers = Answers(GET=answer)

    await act(answers, DeleteOrphan(THE_POD), store=Store())

    assert ("DELETE" in [request.method for request in answers.requests]) == deleted


async def test_a_job_that_turns_out_to_be_there_is_known_from_then_on() -> None:
    store = await act(Answers(GET=as_sent(job())), DeleteOrphan(THE_POD), store=Store())

    assert store.jobs[KEY].metadata.uid == UID


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


@pytest.mark.parametrize(
    ("answer", "for_good"),
    [
        pytest.param(Invalid("spec.affinity: Invalid value", status=422), True, id="for good, where it is invalid"),
        pytest.param(Forbidden("exceeded quota: pods", status=403), False, id="for now, where it is beyond a quota"),
    ],
)
async def test_a_pod_is_refused(answer: ApiError, for_good: bool) -> None:
    store = await act(Answers(POST=answer), CreatePod(1))

    found = store.refusal(KEY)
    assert found is not None
    assert (found.for_good, found.message) == (for_good, str(answer))


@pytest.mark.parametrize(
    ("refused", "where", "seconds"),
    [
        pytest.param(0, "ns", 30, id="soon, where it is the only one"),
        pytest.param(300, "ns", 30, id="as soon where there are some"),
        pytest.param(1_200, "ns", 120, id="so that all together are ten a second"),
        pytest.param(10_000, "ns", 300, id="after five minutes at most"),
        pytest.param(10_000, "elsewhere", 30, id="soon, where they are elsewhere"),
    ],
)
async def test_of_many_pods_that_are_refused_each_is_tried_again(refused: int, where: str, seconds: int) -> None:
    store = known()
    store.refusals[where].update({Key(where, f"other-{number}"): refusal() for number in range(refused)})

    await act(Answers(POST=Forbidden("exceeded quota: pods", status=403)), CreatePod(1), store=store)

    found = store.refusal(KEY)
    assert found is not None
    assert found.until == at(5 + seconds)


async def test_a_right_to_make_pods_that_was_revoked_is_nothing_that_one_job_is_told() -> None:
    store = known()

    with pytest.raises(NoRight):
        await act(Answers(POST=NoRight("no right", status=403)), CreatePod(1), store=store)

    assert store.refused("ns") == 0


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


async def test_a_pod_that_could_not_be_created_is_created_later() -> None:
    with pytest.raises(ServerError):
        await act(Answers(POST=AWAY), CreatePod(1))


@pytest.mark.parametrize(
    ("error", "may_be_there"),
    [
        pytest.param(TooManyRequests("later", status=429), True, id="may be this job's, where it cannot be read"),
        pytest.param(NotFound("gone", status=404), False, id="is not, where it is gone since"),
    ],
)
async def test_a_pod_whose_name_is_taken(error: ApiError, may_be_there: bool) -> None:
    with pytest.raises(type(error)) as raised:
        await act(Answers(POST=AlreadyExists("fix-1", status=409), GET=error), CreatePod(1))

    assert raised.value.may_be_done == may_be_there


async def test_a_job_too_large_for_its_pod_is_refused_without_asking() -> None:
    answers = Answers()
    large = job(prompt="x" * 131_072, workspace={"files": {f"f{n}": "x" * 65_536 for n in range(3)}})

    store = await act(answers, CreatePod(1), of=large)

    assert store.refusals["ns"][KEY].for_good
    assert "promptFrom" in store.refusals["ns"][KEY].message
    assert answers.requests == []


@pytest.mark.parametrize(
    ("error", "of"),
    [(NOT_FOUND, THE_POD), (Invalid("container is waiting", status=400), THE_POD), (AWAY, pod(deleting=True))],
    ids=["gone", "not begun", "not to be read now, and about to go with its Pod"],
)
async def test_a_log_holds_no_outcome_that_is(error: ApiError, of: PodView) -> None:
    store = await act(Answers(GET=error), ReadOutcome(of))

    assert store.read == {"pod-uid": None}


@pytest.mark.parametrize("error", [AWAY, Gone("x", status=410)])
async def test_a_log_that_cannot_be_read_now_may_be_read_later(error: ApiError) -> None:
    store = known()

    with pytest.raises(type(error)):
        await act(Answers(GET=error), ReadOutcome(THE_POD), store=store)

    assert store.read == {}


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
