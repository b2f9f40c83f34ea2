"""What is done about Pods when the API server answers otherwise than was expected."""

import json
import logging
from typing import Any

import pytest

from acted import AWAY, CONFLICT, NOT_FOUND, Answers, act, as_sent, known
from agentjob_api.names import Key
from agentjob_api.reasons import Reason
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
)
from agentjob_operator import rules
from agentjob_operator.decide import decide
from agentjob_operator.pod import STOP_ANNOTATION, PodView
from agentjob_operator.store import Store
from agentjob_operator.world import Action, CreatePod, DeleteOrphan, DeletePod, ReadOutcome, StopPod
from worlds import KEY, UID, at, between, job, lost, pod, refusal, running, world


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


def is_known(store: Store) -> bool:
    return bool(store.pods(KEY))


THE_POD = pod(agent=running())
ANOTHER = body(uid="another", resourceVersion="300")
TOLD = body(resourceVersion="300", annotations={STOP_ANNOTATION: "2026-11-22T10:00:05Z"})


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


@pytest.mark.parametrize(
    ("answers", "logged"),
    [
        pytest.param({"PATCH": TOLD}, ["Agent told to stop"], id="one that was"),
        pytest.param({"PATCH": NOT_FOUND}, [], id="none whose Pod is gone"),
        pytest.param({"PATCH": CONFLICT, "GET": ANOTHER}, [], id="none where another Pod has the name"),
    ],
)
async def test_the_log_tells_of_an_agent_that_was_told_to_stop(
    answers: dict[str, dict[str, Any] | ApiError], logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "agentjob_operator"):
        await act(Answers(**answers), StopPod(THE_POD))

    assert caplog.messages == logged


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


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param({"labels": {"agentjob.dev/job": "fix", "agentjob.dev/attempt": "1"}}, id="as another attempt"),
        pytest.param({"labels": {"agentjob.dev/job": "fix", "agentjob.dev/attempt": "x"}}, id="as no attempt"),
        pytest.param({"labels": {"agentjob.dev/job": "other"}}, id="as another job's"),
        pytest.param({"labels": {}}, id="as nobody's"),
        pytest.param({"ownerReferences": []}, id="without its owner"),
        pytest.param({"uid": "told-to-be-gone"}, id="though it was told to be gone"),
    ],
)
async def test_a_pod_is_not_made_again_at_once_that_is_there(meta: dict[str, Any]) -> None:
    failed = job(between(Reason.AGENT_ERROR, end=-60))
    store = Store()
    store.put_job(failed)
    store.drop_pod(pod(uid="told-to-be-gone"))
    there = {**body(name="fix-2", **meta), "status": {"phase": "Failed"}}
    assert CreatePod(2) in decide(world(failed)).actions

    await act(Answers(POST=AlreadyExists("fix-2", status=409), GET=there), CreatePod(2), store=store, of=failed)

    found = world(failed, *store.pods(KEY), refusal=store.refusal(KEY), now=at(6))
    assert CreatePod(2) not in decide(found).actions


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
