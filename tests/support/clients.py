"""kubectl and helm as `make cluster` leaves them, pointed at its cluster and at nothing else."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from agentjob_api.crd import custom_resource_definition

CLUSTER = Path(__file__).parents[2] / ".cluster"
CHART = Path(__file__).parents[2] / "charts/agentjob"
KUBE_VERSION = "1.36.0"
"""What `helm template` is told the cluster to be: it asks none."""


@dataclass(frozen=True)
class Answer:
    """How a program ended."""

    exit_code: int
    output: str
    error: str

    def expect_success(self) -> str:
        """The output of a program that must not fail."""
        assert self.exit_code == 0, self.error
        return self.output


def kubectl(*arguments: str, stdin: object = None) -> Answer:
    """Run kubectl; what it reads is given as JSON-ready data."""
    return _run("kubectl", *arguments, stdin=stdin)


@contextmanager
def cluster_namespace(prefix: str) -> Iterator[str]:
    """A namespace of its own, on a cluster that knows AgentJobs, while the block runs.

    Their definition belongs to the whole cluster and may be somebody's: it is brought up to date and left there.
    """
    how = ("--server-side", "--force-conflicts", "--field-manager=contract")
    kubectl("apply", *how, "--filename=-", stdin=custom_resource_definition()).expect_success()
    # It has no conditions at first, and kubectl takes that for an error.
    for each in ("jsonpath={.status.acceptedNames.kind}=AgentJob", "condition=Established"):
        kubectl("wait", "crd/agentjobs.agentjob.dev", f"--for={each}", "--timeout=30s").expect_success()
    name = f"{prefix}-{token_hex(3)}"
    kubectl("create", "namespace", name).expect_success()
    # Pods are admitted only once the namespace's own service account is there.
    kubectl("wait", "serviceaccount/default", "-n", name, "--for=create", "--timeout=30s").expect_success()
    yield name
    kubectl("delete", "namespace", name, "--wait=false").expect_success()


def render(values: Mapping[str, Any], *arguments: str, release: str = "release", namespace: str = "system") -> Answer:
    """What Helm makes of the chart with these values, as this release in this namespace; no cluster is asked."""
    return _run(
        "helm", "template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBE_VERSION,
        "--values", "-", *arguments, stdin=values,
    )  # fmt: skip


def _run(program: str, *arguments: str, stdin: object) -> Answer:
    path = CLUSTER / "bin" / program
    assert path.exists(), f"{path} is not there: run `make cluster`"
    done = subprocess.run(
        (path, *arguments),
        env={**os.environ, "KUBECONFIG": str(CLUSTER / "kubeconfig")},
        input=json.dumps(stdin),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
