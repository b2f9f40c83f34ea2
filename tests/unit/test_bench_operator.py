"""What stands behind the operator's figures: the jobs, the nodes, the limits, and how they are judged."""

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import control_plane, failover, soak
from bench.fake_nodes import ENDS, STAYS, place, stages
from bench.picture import curves
from bench.sides import JOBS, OURS, Seen, job_controller
from bench.writes import BY_JOB_CONTROLLER, counted

TWIN = {
    "metadata": {"name": "warm-0-1", "annotations": {"handover": "{}"}},
    "spec": {
        "restartPolicy": "Never",
        "nodeName": ENDS,
        "serviceAccountName": "default",
        "containers": [{"name": "agent", "image": "runner"}],
        **place(ENDS),
    },
}
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  labels:
    tier: control-plane
spec:
  containers:
  - command:
    - kube-controller-manager
    - --cluster-name=mine
    - --kube-api-qps=200
"""
METRICS = """\
apiserver_request_total{code="201",resource="pods",subresource="",verb="POST"} 3
apiserver_request_total{code="200",resource="pods",subresource="",verb="PATCH"} 3
apiserver_request_total{code="200",resource="pods",subresource="status",verb="PATCH"} 40
apiserver_request_total{code="200",resource="jobs",subresource="status",verb="PUT"} 9
apiserver_request_total{code="201",resource="jobs",subresource="",verb="POST"} 3
apiserver_request_total{code="201",resource="events",subresource="",verb="POST"} 6
"""


def test_a_job_has_the_pod_that_an_agentjob_has() -> None:
    side = job_controller(TWIN)

    job = side.body("burst-0", "burst", STAYS)

    pod = job["spec"]["template"]
    assert side.kind == JOBS
    assert pod["spec"]["containers"] == TWIN["spec"]["containers"]
    assert pod["metadata"]["annotations"] == TWIN["metadata"]["annotations"]
    assert "nodeName" not in pod["spec"]
    assert pod["spec"]["nodeSelector"] == OURS.body("burst-0", "burst", STAYS)["spec"]["runner"]["nodeSelector"]


def test_a_pod_ends_on_one_node_only() -> None:
    ends = {stage["metadata"]["name"]: stage["spec"]["selector"]["matchExpressions"] for stage in stages()}["pod-ends"]

    assert {"key": ".spec.nodeName", "operator": "In", "values": [ENDS]} in ends


def test_writes_of_a_jobs_controller_are_counted_without_its_clients_and_its_nodes() -> None:
    assert counted(METRICS, BY_JOB_CONTROLLER).total() == 3 + 3 + 9


def test_a_span_has_the_jobs_that_came_to_its_end() -> None:
    seen = Seen(sent={"a": 1.0, "b": 2.0}, pod={"a": 1.5})

    assert seen.between(seen.sent, seen.pod) == [pytest.approx(500)]


def test_a_limit_is_set_and_taken_back(tmp_path: Path) -> None:
    manifest = tmp_path / "manifests" / "kube-controller-manager.yaml"
    manifest.parent.mkdir()
    manifest.write_text(MANIFEST)

    def run(script: str) -> list[str]:
        subprocess.run(["bash", "-ec", script.replace("/etc/kubernetes", str(tmp_path))], check=True, timeout=10)
        return manifest.read_text().splitlines()

    name, flags = control_plane.CONTROLLERS, {"--kube-api-qps": 20, "--concurrent-job-syncs": 5}
    changed = run(control_plane._change(name, flags))
    given_back = run(control_plane._give(name))

    command = [line.strip(" -") for line in changed if line.startswith("    - ")]
    assert command == [name, "kube-api-qps=20", "concurrent-job-syncs=5", "cluster-name=mine"]
    uids = [line for line in (*changed, *given_back) if line.startswith("  uid: ")]
    assert len(set(uids)) == 2
    assert [line for line in given_back if line not in uids] == MANIFEST.splitlines()
    assert list(tmp_path.iterdir()) == [manifest.parent]


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        pytest.param(100.0, "reached", id="as at the beginning"),
        pytest.param(120.0, "missed", id="a fifth more"),
    ],
)
def test_memory_is_flat_when_the_last_quarter_is_as_the_first(last: float, verdict: str) -> None:
    def sample(resident: float) -> dict[str, float]:
        return {"resident": resident, "files": 10, "threads": 2, "create → Complete, p50": 50.0}

    warm_up, first, middle = [sample(10.0)] * soak.WARM_MINUTES, [sample(100.0)] * 4, [sample(110.0)] * 8

    rows = soak.rows([*warm_up, *first, *middle, *[sample(last)] * 4])

    assert [row.row()[-1] for row in rows] == [verdict, "reached", "reached", "reached"]


@pytest.mark.parametrize(
    ("killed", "stopped", "changed", "verdicts"),
    [
        pytest.param(16.0, 1.0, 0, ["reached", "reached", "reached"], id="in time, and nothing else happens"),
        pytest.param(21.0, 3.0, 0, ["missed", "missed", "reached"], id="late"),
        pytest.param(16.0, 1.0, 2, ["reached", "reached", "missed"], id="two Pods are made again"),
    ],
)
def test_a_stand_by_is_held_to_a_time_for_each_way_in_which_the_holder_ends(
    killed: float, stopped: float, changed: int, verdicts: list[str]
) -> None:
    turns = {how: [failover.Turn(each, changed)] * 3 for how, each in (("killed", killed), ("stopped", stopped))}

    found = [row.row() for row in failover.rows(turns)]

    assert [row[-1] for row in found] == verdicts
    assert found[0][0] == "stand-by acts after the holder is killed, with 3,000 jobs"
    assert found[1][0] == "stand-by acts after the holder is stopped, with 3,000 jobs"


def test_an_operator_that_is_ended_is_as_the_charts_and_is_not_started_again() -> None:
    container = {"name": "operator", "env": [{"name": "POD_NAME"}]}
    spec = {"containers": [container], "restartPolicy": "Always", "topologySpreadConstraints": [{"maxSkew": 1}]}
    template = {"metadata": {"labels": {"app.kubernetes.io/component": "operator"}}, "spec": spec}

    pod = failover.operator_pod("operator-0", template)

    assert pod["spec"] == {"containers": [container], "restartPolicy": "Never"}
    assert "app.kubernetes.io/component" not in pod["metadata"]["labels"]


def test_curves_are_drawn_to_scale_from_nothing() -> None:
    drawn = ET.fromstring(curves({"AgentJob": {1_000: 20.0, 10_000: 200.0}, "Job": {1_000: 10.0}}, "jobs", "seconds"))

    first, last, other = (
        (float(dot.get("cx", 0)) - 60, 300 - float(dot.get("cy", 0)))
        for dot in drawn.iter("{http://www.w3.org/2000/svg}circle")
    )
    assert list(last) == pytest.approx([10 * first[0], 10 * first[1]], abs=0.6)
    assert list(other) == pytest.approx([first[0], first[1] / 2], abs=0.1)
