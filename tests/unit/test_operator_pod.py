"""What is kept of a Pod, as kubelets and schedulers describe it."""

from typing import Any

import pytest

from agentjob_operator.pod import Note, Running, Terminated, Waiting, view
from worlds import at

OWNER = {"apiVersion": "agentjob.dev/v1alpha1", "kind": "AgentJob", "name": "fix", "uid": "job-uid", "controller": True}


def body(status: dict[str, Any] | None = None, *, spec: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """A Pod as the API server sends it."""
    return {
        "metadata": {
            "namespace": "ns",
            "name": "fix-1",
            "uid": "pod-uid",
            "resourceVersion": "42",
            "creationTimestamp": "2026-11-22T10:00:00Z",
            "labels": {"agentjob.dev/job": "fix", "agentjob.dev/attempt": "1"},
            "ownerReferences": [OWNER],
            **meta,
        },
        "spec": spec or {},
        "status": status or {},
    }


def container(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def agent(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [container("sidecar", running={"startedAt": "x"}), container("agent", **state)]}


TERMINATED = {
    "exitCode": 1,
    "reason": "Error",
    "message": "m",
    "startedAt": "2026-11-22T10:00:01Z",
    "finishedAt": "2026-11-22T10:00:02Z",
}


def test_a_new_pod() -> None:
    found = view(body())

    assert (found.namespace, found.name, found.uid, found.version) == ("ns", "fix-1", "pod-uid", 42)
    assert (found.job, found.owner, found.attempt, found.created) == ("fix", "job-uid", 1, at(0))
    assert (found.phase, found.agent, found.node, found.deleting, found.has_ended) == (
        "Pending",
        None,
        None,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param({"waiting": {"reason": "ErrImagePull", "message": "m"}}, Waiting("ErrImagePull", "m"), id="waits"),
        pytest.param({"waiting": {}}, Waiting(), id="waits without a reason"),
        pytest.param({"running": {"startedAt": "2026-11-22T10:00:01Z"}}, Running(at(1)), id="runs"),
        pytest.param({"terminated": TERMINATED}, Terminated(1, "Error", "m", at(1), at(2)), id="has ended"),
        pytest.param({"terminated": {**TERMINATED, "reason": "ContainerStatusUnknown"}}, None, id="is out of sight"),
        pytest.param({}, None, id="is not spoken of"),
        pytest.param(
            {"terminated": {**TERMINATED, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}},
            Terminated(1, "StartError", "m", None, at(2)),
            id="could not be started, long ago",
        ),
        pytest.param(
            {"terminated": {"exitCode": 1, "startedAt": None, "finishedAt": None}},
            Terminated(1, "", "", None, at(0)),
            id="has ended at no time",
        ),
        pytest.param({"running": {"startedAt": None}}, Running(at(0)), id="runs since no time"),
    ],
)
def test_its_container(state: dict[str, Any], expected: object) -> None:
    assert view(body(agent(**state))).agent == expected
    assert view(body({"initContainerStatuses": [container("workspace", **state)]})).workspace == expected


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        pytest.param({"phase": "Running"}, False, id="not while it runs"),
        pytest.param(agent(terminated=TERMINATED), True, id="with its agent, before its phase says so"),
        pytest.param({"phase": "Failed"}, True, id="with its phase"),
        pytest.param(
            {"initContainerStatuses": [container("workspace", terminated=TERMINATED)]}, True, id="with its workspace"
        ),
        pytest.param(
            {"initContainerStatuses": [container("workspace", terminated={**TERMINATED, "exitCode": 0})]}, False,
            id="not with a workspace that is laid out",
        ),
    ],
)  # fmt: skip
def test_it_has_ended(status: dict[str, Any], ended: bool) -> None:
    assert view(body(status)).has_ended == ended


@pytest.mark.parametrize(
    ("owners", "owner"),
    [
        pytest.param([OWNER], "job-uid", id="a job"),
        pytest.param([{**OWNER, "controller": False}], None, id="not a job that does not control it"),
        pytest.param([{**OWNER, "kind": "Job"}], None, id="not a Job"),
        pytest.param([{**OWNER, "apiVersion": "other.dev/v1"}], None, id="not another group's AgentJob"),
        pytest.param([], None, id="nobody"),
    ],
)
def test_it_belongs_to(owners: list[dict[str, Any]], owner: str | None) -> None:
    assert view(body(ownerReferences=owners)).owner == owner


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        pytest.param({"name": "fix-2"}, ("fix", 2, "job-uid"), id="its name"),
        pytest.param({"name": "fix-1-12"}, ("fix-1", 12, "job-uid"), id="the end of its name"),
        pytest.param(
            {"labels": {"agentjob.dev/job": "other", "agentjob.dev/attempt": "7"}}, ("fix", 1, "job-uid"),
            id="no label that says otherwise",
        ),
        pytest.param({"labels": {"app": "x"}}, ("fix", 1, None), id="but it is nobody's without the label of a job"),
        pytest.param({"name": "fix"}, ("", 0, None), id="but it is nobody's without a number"),
        pytest.param({"name": "fix-0"}, ("fix", 0, None), id="but it is nobody's before the first attempt"),
        pytest.param({"name": "fix-x"}, ("fix", 0, None), id="but it is nobody's under another name"),
    ],
)  # fmt: skip
def test_its_job_and_attempt_are_told_by(meta: dict[str, Any], told: tuple[str, int, str | None]) -> None:
    found = view(body(**meta))

    assert (found.job, found.attempt, found.owner) == told


def test_what_the_cluster_says_of_it() -> None:
    conditions = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"},
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "why"},
    ]
    status = {
        "conditions": conditions,
        "reason": "Evicted",
        "message": "low on memory",
        "startTime": "2026-11-22T10:00:01Z",
    }
    meta = {
        "deletionTimestamp": "2026-11-22T10:00:09Z",
        "deletionGracePeriodSeconds": 30,
        "annotations": {"agentjob.dev/stop-asked": "2026-11-22T10:00:05Z"},
    }

    found = view(body(status, spec={"nodeName": "node-1"}, **meta))

    assert found.unschedulable == "0/1 nodes"
    assert found.disruption == Note("PreemptionByScheduler", "why")
    assert found.end == Note("Evicted", "low on memory")
    assert (found.node, found.started, found.deleting, found.stop_asked) == ("node-1", at(1), True, at(5))
    assert found.gone_by == at(9)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("x", id="no time"),
        pytest.param("", id="empty"),
        pytest.param("2026-11-22T10:00:05", id="without a time zone"),
        pytest.param("2026-11-22", id="only a day"),
        pytest.param("99999-01-01T00:00:00Z", id="beyond all years"),
    ],
)
def test_a_stop_that_was_asked_for_at_no_time_was_not_asked_for(written: str) -> None:
    assert view(body(annotations={"agentjob.dev/stop-asked": written})).stop_asked is None


def test_a_pod_that_was_deleted_by_force_and_is_held_by_somebody_has_no_time_to_be_gone_by() -> None:
    found = view(body(deletionTimestamp="2026-11-22T10:00:09Z", deletionGracePeriodSeconds=0))

    assert (found.deleting, found.gone_by) == (True, None)


def test_a_gated_pod_is_not_one_that_no_node_takes() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}]

    assert view(body({"conditions": conditions})).unschedulable is None
