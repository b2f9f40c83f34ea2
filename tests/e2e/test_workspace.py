"""What the agent finds in its working directory: a repository behind a password, files laid over it, a claim."""

import pytest

from deploy.stack import ROOT
from tests.e2e.conftest import NAMESPACE, Jobs

pytestmark = pytest.mark.cluster

CREDENTIAL = {"username": "robot", "password": "hunter2-token"}
SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.fixture(scope="module")
def repository(jobs: Jobs) -> str:
    """The URL of a repository whose branch main has the files first, v1 and main, for whoever knows the password."""
    script = (ROOT / "tests/support/git_over_http.py").read_text()
    container = {
        "name": "git",
        "image": jobs.stack.images["runner"],
        "command": ["python3", "/srv/git_over_http.py", ":".join(CREDENTIAL.values())],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "script", "mountPath": "/srv"}],
        "securityContext": SECURITY,
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "script", "configMap": {"name": "git"}}],
        "terminationGracePeriodSeconds": 1,
    }
    jobs.stack.apply(
        NAMESPACE,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "robot"}, "stringData": CREDENTIAL},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "git"}, "data": {"git_over_http.py": script}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "git", "labels": {"app": "git"}}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "git"},
            "spec": {"selector": {"app": "git"}, "ports": [{"port": 8080}]},
        },
    )
    jobs.kubectl("wait", "pod/git", "--for=condition=Ready", "--timeout=60s", timeout=70)
    return f"http://git.{NAMESPACE}:8080/project"


def files_seen(jobs: Jobs, name: str, **workspace: object) -> set[str]:
    """The files that the agent finds."""
    status = jobs.submit(name, "[script: list-files]", workspace=workspace).finished()
    assert status["phase"] == "Succeeded", status
    return set(status["result"]["text"].split())


def test_a_repository_is_cloned_with_a_credential_that_the_agent_never_sees(jobs: Jobs, repository: str) -> None:
    seen = files_seen(jobs, "cloned", git={"url": repository, "ref": "feature", "depth": 1, "secretRef": "robot"})

    assert {"./first", "./v1", "./feature"} <= seen
    pod = jobs.stack.get("pod", NAMESPACE, "cloned-1")
    assert "robot" in str(pod["spec"]["initContainers"])
    assert "robot" not in str(pod["spec"]["containers"])
    said = jobs.submit("cloned-env", "[script: read-env]", workspace={"git": {"url": repository, "secretRef": "robot"}})
    assert CREDENTIAL["password"] not in said.finished()["result"]["text"]


def test_files_are_laid_over_what_was_cloned(jobs: Jobs, repository: str) -> None:
    git = {"url": repository, "secretRef": "robot"}

    assert {"./main", "./docs/input.txt"} <= files_seen(jobs, "laid-over", git=git, files={"docs/input.txt": "hello"})


def test_a_wrong_password_is_told_and_not_shown(jobs: Jobs, repository: str) -> None:
    wrong = {"username": "robot", "password": "open-sesame"}
    jobs.stack.apply(
        NAMESPACE, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"}, "stringData": wrong}
    )
    git = {"url": repository, "secretRef": "wrong"}
    job = jobs.submit("wrong-password", "[script: say-hello]", workspace={"git": git}, backoffLimit=0)

    failure = job.finished()["failure"]

    assert failure["reason"] == "WorkspaceError"
    assert "Authentication failed" in failure["message"]
    assert "open-sesame" not in str(job.object)


def test_an_agent_works_in_a_claim_that_outlives_it(jobs: Jobs) -> None:
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "agentjob-e2e"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"namespace": NAMESPACE, "name": "shared"},
            "hostPath": {"path": "/tmp", "type": "Directory"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    jobs.stack.apply(NAMESPACE, volume, claim)

    files_seen(jobs, "claim-writer", claimName="shared", files={"left-by-the-first": "hello"})

    assert "./left-by-the-first" in files_seen(jobs, "claim-reader", claimName="shared")
    jobs.kubectl("delete", "pvc/shared", "pv/agentjob-e2e", "--wait=false")
