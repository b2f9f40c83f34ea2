"""What a platform team decides while agents are to work: a policy that lets none start, a namespace that it deletes."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from agentjob_api.names import API_VERSION, KIND, LABEL_JOB
from deploy.kind.errors import CommandFailed
from tests.e2e.conftest import NAMESPACE, RELEASE, Jobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
Object = dict[str, Any]

HELLO: Final = "[script: say-hello]"
DENIED: Final = "policy-denied"
"""The one job whose Pods the policy denies."""
POLICY: Final = "agentjob-e2e-no-agents"
"""Of the whole cluster: the policy, and what binds it to the namespace of the tests."""
WHY: Final = "Agents are not let in before Monday."
POLICY_SECONDS: Final = 30.0
"""In which the API server goes by a policy that was made."""
TRIED_SECONDS: Final = 120.0
"""In which a Pod that was refused is tried again, which is every 30 s, and its agent has worked."""
TEAM: Final = "agentjob-e2e-team"
TAKEN_UP_SECONDS: Final = 180.0
"""In which operators that were killed are there again, have the Lease, and have waited a minute for a namespace that is
gone; and an agent has worked."""


def policy() -> tuple[Object, Object]:
    """A policy that denies the Pods of the one job, and its binding."""
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": POLICY}}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    chosen = {
        "resourceRules": [pods],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "objectSelector": {"matchLabels": {LABEL_JOB: DENIED}},
    }
    rules = {
        "failurePolicy": "Fail",
        "matchConstraints": chosen,
        "validations": [{"expression": "false", "message": WHY}],
    }
    binding = {"policyName": POLICY, "validationActions": ["Deny"]}
    return (
        {**kind, "kind": "ValidatingAdmissionPolicy", "spec": rules},
        {**kind, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    )


def harmless_pod() -> str:
    """A Pod like those of the job, as far as policies are concerned."""
    safe = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "none", "image": "none", "securityContext": safe}],
    }
    meta = {"name": "policy-probe", "namespace": NAMESPACE, "labels": {LABEL_JOB: DENIED}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


def is_denied(jobs: Jobs) -> bool:
    """Whether the API server goes by the policy. No Pod is made."""
    try:
        jobs.stack.kubectl("create", "--dry-run=server", "-f", "-", stdin=harmless_pod())
    except CommandFailed as error:
        if WHY in str(error):
            return True
        raise
    return False


def forget_policy(jobs: Jobs) -> None:
    both = (f"validatingadmissionpolicybinding/{POLICY}", f"validatingadmissionpolicy/{POLICY}")
    jobs.stack.kubectl("delete", *both, "--ignore-not-found", "--timeout=30s", timeout=40)


@pytest.fixture
def no_agents(jobs: Jobs) -> Iterator[Jobs]:
    """An API server that denies the Pods of the job."""
    try:
        jobs.stack.apply(NAMESPACE, *policy())
        deadline = time.monotonic() + POLICY_SECONDS
        while not is_denied(jobs):
            assert time.monotonic() < deadline, f"the policy does not hold within {POLICY_SECONDS} s"
        yield jobs
    finally:
        forget_policy(jobs)


def test_a_job_whose_pod_a_policy_denies_says_so_and_runs_once_the_policy_is_gone(no_agents: Jobs) -> None:
    job = no_agents.submit(DENIED, HELLO)

    job.wait_until_ready_says("PodRefused")

    assert job.status["phase"] == "Pending"
    message = job.condition("Stalled")["message"]
    assert WHY in message
    assert f"ValidatingAdmissionPolicy '{POLICY}'" in message
    with pytest.raises(CommandFailed, match="NotFound"):
        _ = job.pod

    forget_policy(no_agents)

    status = job.finished(TRIED_SECONDS)
    assert (status["phase"], status["attemptCount"], status["failedCount"]) == ("Succeeded", 1, 0)
    assert "Stalled" not in {each["type"] for each in status["conditions"]}


def serve(jobs: Jobs, *namespaces: str) -> None:
    """Upgrade the installation to these namespaces, with nothing else changed."""
    given = ("--reuse-values", "--set", f"jobNamespaces={{{','.join(namespaces)}}}", "--wait", "--timeout=3m")
    jobs.stack.program.run("helm", "upgrade", RELEASE, "charts/agentjob", "-n", NAMESPACE, *given, timeout=200)


@pytest.fixture
def team(jobs: Jobs) -> Iterator[str]:
    """A namespace of a team's."""
    jobs.stack.delete_namespace(TEAM)  # of a run that was cut off
    jobs.stack.ensure_namespace(TEAM)
    yield TEAM
    jobs.stack.delete_namespace(TEAM)


@pytest.fixture
def shared(jobs: Jobs, team: str) -> Iterator[Jobs]:
    """An installation that serves the team's namespace as well."""
    try:
        serve(jobs, NAMESPACE, team)
        yield jobs
    finally:
        serve(jobs, NAMESPACE)


def test_operators_that_start_while_one_of_their_namespaces_is_gone_run_the_jobs_of_another(
    shared: Jobs, team: str
) -> None:
    there = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "there"}}
    shared.stack.apply(team, {**there, "spec": {"prompt": HELLO, "suspend": True}})
    shared.stack.wait(team, "agentjob/there", 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}=Suspended', 60)

    shared.stack.delete_namespace(team)
    operators = ("-l", "app.kubernetes.io/component=operator")
    shared.kubectl("delete", "pod", *operators, "--grace-period=0", "--force", "--wait=false")
    job = shared.submit("namespace-gone", HELLO)

    status = job.finished(TAKEN_UP_SECONDS)
    assert (status["phase"], status["attemptCount"]) == ("Succeeded", 1)
    shared.kubectl("rollout", "status", f"deployment/{RELEASE}", "--timeout=120s", timeout=130)
