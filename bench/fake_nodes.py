"""Nodes that are none: Pods run there within milliseconds, so that what is measured is who makes them.

On one of them they end at once, with the outcome that a runner would leave; on the other they run until deleted.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from agentjob_api.outcome import Outcome
from agentjob_api.reasons import Reason
from deploy.kind import golang
from deploy.kind.cache import Cache
from deploy.kind.checkout import Checkout
from deploy.stack import ROOT, Stack

Object = dict[str, Any]

ENDS: Final = "agentjob-bench-ends"
"""The node where Pods end at once."""
STAYS: Final = "agentjob-bench-stays"
"""The node where they run on."""
FAKE: Final = {"key": "agentjob-bench", "value": "fake", "effect": "NoSchedule"}
"""The taint that keeps all other Pods away, and the annotation by which the nodes are kwok's."""
ROOM: Final = {"cpu": "100k", "memory": "100Ti", "ephemeral-storage": "1Pi", "pods": "1M"}
_OUTCOME = Outcome(reason=Reason.COMPLETED, text="Done.", num_turns=1, cost_usd="0.01", session_id="s-1").to_json()
_RUNNING = """
{{ $now := Now }}
conditions:
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Ready}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: ContainersReady}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
phase: Running
startTime: {{ $now | Quote }}
"""
_ENDED = """
{{ $now := Now }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  restartCount: 0
  state:
    terminated:
      {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}, message: OUTCOME}
{{ end }}
phase: Succeeded
""".replace("OUTCOME", json.dumps(_OUTCOME))


def place(node: str) -> Object:
    """What a Pod, or spec.runner, says so that it goes to one of these nodes."""
    toleration = {"key": FAKE["key"], "operator": "Exists", "effect": FAKE["effect"]}
    return {"nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": [toleration]}


def stages() -> list[Object]:
    """What becomes of Pods there."""
    stays = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    waits, runs = ({"key": ".status.phase", "operator": "In", "values": [each]} for each in ("Pending", "Running"))
    here = {"key": ".spec.nodeName", "operator": "In", "values": [ENDS]}
    return [
        _stage("pod-runs", [stays, waits], {"statusTemplate": _RUNNING}),
        _stage("pod-ends", [stays, runs, here], {"statusTemplate": _ENDED}),
        _stage("pod-goes", [{**stays, "operator": "Exists"}], {"delete": True}),
    ]


def _stage(name: str, found: list[Object], then: Object) -> Object:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": found},
            "next": then,
        },
    }


def _node(name: str) -> Object:
    labels = {"kubernetes.io/hostname": name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {FAKE["key"]: FAKE["value"]}},
        "spec": {"taints": [FAKE]},
        "status": {"allocatable": ROOM, "capacity": ROOM},
    }


@contextmanager
def fake_nodes(stack: Stack, kubeconfig: Path) -> Iterator[None]:
    """Both nodes, ready while the block runs. kwok, which plays the kubelet, is whom the kubeconfig names."""
    cache = Cache(Checkout(ROOT).cache)
    program = golang.built(golang.KWOK, cache)
    source = golang.toolchain(cache).module("kwok", "sigs.k8s.io/kwok")
    initialize = yaml.safe_load((source / "kustomize/stage/node/fast/node-initialize.yaml").read_text())
    nodes = [_node(name) for name in (ENDS, STAYS)]
    with TemporaryDirectory() as directory:
        config = Path(directory, "kwok.yaml")
        config.write_text(yaml.safe_dump_all([initialize, *stages()]))
        stack.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        command = (
            *(("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()),  # it ends with this process
            program,
            f"--kubeconfig={kubeconfig}",
            f"--config={config}",
            f"--manage-nodes-with-annotation-selector={FAKE['key']}={FAKE['value']}",
            "--node-lease-duration-seconds=40",
            "--node-ip=127.0.0.1",
            "--v=ERROR",
        )
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                ready = ("--for=condition=Ready", "--timeout=60s")
                stack.kubectl("wait", f"node/{ENDS}", f"node/{STAYS}", *ready, timeout=70)
                yield
            finally:
                process.terminate()
                process.wait(20)
                stack.kubectl("delete", "node", ENDS, STAYS, "--ignore-not-found")
