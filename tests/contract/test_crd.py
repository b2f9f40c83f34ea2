"""What the real API server says to AgentJobs by this checkout's definition, in a namespace that no operator serves."""

import json
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import pytest

from clients import Answer, cluster_namespace, kubectl

pytestmark = pytest.mark.cluster
Object = dict[str, Any]
FORM = ("--output=json", "--filename=-")


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace of our own on a cluster that knows this checkout's definition."""
    with cluster_namespace("crd") as name:
        yield name


def job(name: str, spec: Object) -> Object:
    return {"apiVersion": "agentjob.dev/v1alpha1", "kind": "AgentJob", "metadata": {"name": name}, "spec": spec}


def offered(namespace: str, spec: Object, name: str = "offered") -> Answer:
    """What the API server says to a new job; it is not kept."""
    return kubectl("create", "-n", namespace, "--dry-run=server", *FORM, stdin=job(name, spec))


PROMPT = {"prompt": "Say hello."}
KEY = {"name": "texts", "key": "prompt"}


def workspace(**fields: Any) -> Object:
    return {**PROMPT, "workspace": fields}


def server(**fields: Any) -> Object:
    return {**PROMPT, "agent": {"mcpServers": {"tools": fields}}}


def runner(**fields: Any) -> Object:
    return {**PROMPT, "runner": fields}


GIT = "https://example.test/project.git"
ONE_PROMPT = "spec: Invalid value: spec takes exactly one of prompt and promptFrom"
ONE_SOURCE = "spec.promptFrom: Invalid value: promptFrom takes exactly one of configMapKeyRef and secretKeyRef"
PATHS = "spec.workspace.files: Invalid value: paths must be relative, without empty, . or .. parts"
SERVER = "spec.agent.mcpServers[tools]: Invalid value: a stdio server takes command and no url, an http or sse server"
REFUSED = [
    pytest.param({"prompt": ""}, "spec.prompt in body should be at least 1 chars long", id="an empty prompt"),
    pytest.param(
        {"prompt": "x" * 300 * 1024}, "spec.prompt: Too long: may not be more than 131072", id="a prompt of 300 KiB"
    ),
    pytest.param({**PROMPT, "promptFrom": {"configMapKeyRef": KEY}}, ONE_PROMPT, id="both prompt and promptFrom"),
    pytest.param({}, ONE_PROMPT, id="no prompt at all"),
    pytest.param({"promptFrom": {"configMapKeyRef": KEY, "secretKeyRef": KEY}}, ONE_SOURCE, id="two prompt sources"),
    pytest.param({"promptFrom": {}}, ONE_SOURCE, id="a prompt from nowhere"),
    pytest.param({"promptFrom": {"secretKeyRef": {"name": "a"}}}, "secretKeyRef.key: Required", id="half a reference"),
    pytest.param(
        {**PROMPT, "agent": {"maxTurns": 10_001}},
        "spec.agent.maxTurns in body should be less than or equal to 10000",
        id="too many turns",
    ),
    pytest.param(
        {**PROMPT, "agent": {"maxTurns": 0}},
        "spec.agent.maxTurns in body should be greater than or equal to 1",
        id="no turns",
    ),
    pytest.param(
        {**PROMPT, "agent": {"permissionMode": "yolo"}},
        'spec.agent.permissionMode: Unsupported value: "yolo": supported values: "bypassPermissions"',
        id="no such permission mode",
    ),
    pytest.param(
        {**PROMPT, "agent": {"settingSources": ["local"]}},
        'spec.agent.settingSources[0]: Unsupported value: "local": supported values: "user", "project"',
        id="no such setting source",
    ),
    pytest.param(server(type="stdio", url="http://x"), SERVER, id="a stdio server with a url"),
    pytest.param(server(type="stdio"), SERVER, id="a stdio server without a command"),
    pytest.param(server(type="http", command="x"), SERVER, id="an http server with a command"),
    pytest.param(server(type="http", url="file:///x"), "mcpServers.tools.url in body should match", id="a file's url"),
    pytest.param(
        workspace(git={"url": "git@example.test:a/b"}),
        "spec.workspace.git.url: Forbidden: must be an http:// or https:// address",
        id="a git URL for ssh",
    ),
    pytest.param(
        workspace(git={"url": GIT, "ref": "--upload-pack=x"}),
        'spec.workspace.git.ref: Invalid value: "--upload-pack=x": must be a branch, tag or commit',
        id="a git ref that is an option",
    ),
    pytest.param(workspace(git={"url": GIT, "ref": "a b"}), "git.ref: Invalid value", id="a git ref with a blank"),
    pytest.param(workspace(git={"url": GIT, "ref": ""}), "git.ref: Invalid value", id="an empty git ref"),
    pytest.param(workspace(git={"url": GIT, "depth": 0}), "git.depth in body should be greater", id="no history"),
    pytest.param(
        workspace(git={"url": GIT}, claimName="claim"),
        "spec.workspace: Invalid value: workspace takes at most one of git and claimName",
        id="git into a claim",
    ),
    *(
        pytest.param(workspace(files={path: "x"}), PATHS, id=f"a file at {path!r}")
        for path in ("../x", "a/../../x", "/etc/x", "", ".", "a//b", "a/", "a/./b", "a\nb", "é" * 128)
    ),
    pytest.param(
        workspace(files={"a": "x" * 65_537}), "spec.workspace.files.a: Too long", id="a file of more than 64 KiB"
    ),
    pytest.param(
        workspace(files={f"f{number}": "" for number in range(65)}),
        "spec.workspace.files: Too many: 65: must have at most 64 items",
        id="too many files",
    ),
    pytest.param(workspace(sizeLimit="big"), "spec.workspace.sizeLimit in body should match", id="a size in words"),
    pytest.param(workspace(sizeLimit="1.2.3"), "spec.workspace.sizeLimit in body should match", id="a size like 1.2.3"),
    pytest.param(workspace(sizeLimit=-1), "should be greater than or equal to 0", id="a negative size"),
    pytest.param(
        runner(resources={"limits": {"cpu": 1.5}}),
        "spec.runner.resources.limits.cpu in body must be of type integer,string",
        id="a limit with a decimal point and no quotes",
    ),
    pytest.param(
        runner(env=[{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": KEY}}]),
        "spec.runner.env[0]: Invalid value: an env entry takes exactly one of value and valueFrom",
        id="a variable with two values",
    ),
    pytest.param(runner(env=[{"name": "A-B", "value": ""}]), "env[0].name in body should match", id="no variable name"),
    pytest.param(runner(envFrom=[{}]), "spec.runner.envFrom[0]: Invalid value: an envFrom entry", id="envFrom nothing"),
    pytest.param(
        runner(tolerations=[{"operator": "Sometimes"}]),
        'spec.runner.tolerations[0].operator: Unsupported value: "Sometimes": supported values: "Exists", "Equal"',
        id="no such toleration",
    ),
    pytest.param(
        runner(labels={"agentjob.dev/job": "other"}),
        "spec.runner.labels takes no key that begins with agentjob.dev/",
        id="a label of the operator's own",
    ),
    pytest.param(
        runner(annotations={"agentjob.dev/stop-asked": "2020-01-01T00:00:00Z"}),
        "spec.runner.annotations takes no key that begins with agentjob.dev/",
        id="an annotation of the operator's own",
    ),
    pytest.param(
        {**PROMPT, "activeDeadlineSeconds": 0},
        "spec.activeDeadlineSeconds in body should be greater than or equal to 1",
        id="a deadline of no seconds",
    ),
    pytest.param(
        {**PROMPT, "backoffLimit": 101},
        "spec.backoffLimit in body should be less than or equal to 100",
        id="more attempts than anybody may need",
    ),
    pytest.param(
        {**PROMPT, "ttlSecondsAfterFinished": -1},
        "spec.ttlSecondsAfterFinished in body should be greater than or equal to 0",
        id="a negative time to live",
    ),
    pytest.param({**PROMPT, "promt": "x"}, 'strict decoding error: unknown field "spec.promt"', id="a misspelt field"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED)
def test_a_wrong_spec_is_refused_with_the_field_and_the_rule(namespace: str, spec: Object, message: str) -> None:
    answer = offered(namespace, spec)
    assert answer.exit_code != 0
    assert message in answer.error


def test_a_credential_in_a_git_url_is_refused_and_not_repeated(namespace: str) -> None:
    answer = offered(namespace, workspace(git={"url": "https://me:hunter2@example.test/project.git"}))
    assert "spec.workspace.git.url: Forbidden: must not carry a credential: keep it in a Secret" in answer.error
    assert "hunter2" not in answer.error


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        pytest.param("a" * 57, True, id="a name of 57 characters"),
        pytest.param("a" * 58, False, id="a name that leaves no room for the attempt's number"),
        pytest.param("a.b", False, id="a name with a dot"),
    ],
)
def test_a_name_must_fit_its_pods(namespace: str, name: str, taken: bool) -> None:
    answer = offered(namespace, PROMPT, name)
    assert (answer.exit_code == 0) == taken
    assert (
        taken or f'metadata.name: Invalid value: "{name}": must be at most 57 characters, without dots' in answer.error
    )


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"promptFrom": {"configMapKeyRef": KEY}}, id="a prompt from a ConfigMap"),
        pytest.param({"prompt": "€" * 131_072}, id="the longest prompt, counted in characters"),
        pytest.param(
            workspace(git={"url": f"{GIT}?at=me@home", "ref": "release/1.0"}), id="an @ that is no credential"
        ),
        pytest.param(workspace(files={"a/.b/..c/d..": "", ".mcp.json": "{}"}), id="dots that lead nowhere"),
        pytest.param(workspace(files={"a" * 255: "x" * 65_536}), id="the longest path and the largest file"),
        pytest.param(runner(resources={"limits": {"cpu": 2, "memory": "1.5Gi"}}), id="a limit as number and as text"),
        pytest.param(server(type="stdio", command="tool"), id="a stdio server"),
        pytest.param(server(type="http", url="https://x/mcp"), id="an http server"),
    ],
)
def test_what_is_allowed_is_taken(namespace: str, spec: Object) -> None:
    offered(namespace, spec).expect_success()


def test_what_is_left_out_is_filled_in(namespace: str) -> None:
    created = json.loads(offered(namespace, PROMPT).expect_success())
    assert created["spec"] == {
        **PROMPT,
        "agent": {
            "permissionMode": "bypassPermissions",
            "settingSources": ["user", "project"],
            "includePartialMessages": False,
        },
        "workspace": {"sizeLimit": "5Gi"},
        "runner": {"resources": {}},
        "activeDeadlineSeconds": 1800,
        "backoffLimit": 2,
        "ttlSecondsAfterFinished": 30 * 86_400,
        "priority": 0,
        "suspend": False,
        "cancel": False,
    }


def test_an_explicit_null_is_as_good_as_nothing(namespace: str) -> None:
    created = json.loads(offered(namespace, {**PROMPT, "promptFrom": None, "suspend": None}).expect_success())
    assert "promptFrom" not in created["spec"]
    assert created["spec"]["suspend"] is False


FULL = {
    **PROMPT,
    "suspend": True,
    "agent": {"model": "claude-x"},
    "workspace": {"git": {"url": GIT}},
    "runner": {"affinity": {"nodeAffinity": {"any": [{"thing": 1}]}}, "resources": {"limits": {"cpu": 2}}},
}


@pytest.fixture
def kept(namespace: str) -> Iterator[str]:
    """The name of a job that is kept for one test."""
    name = f"kept-{token_hex(3)}"
    kubectl("create", "-n", namespace, "--filename=-", stdin=job(name, FULL)).expect_success()
    yield name
    kubectl("delete", "agentjob", name, "-n", namespace).expect_success()


def patched(namespace: str, name: str, patch: Object, *arguments: str) -> Answer:
    """What the API server says to a merge patch."""
    return kubectl("patch", "agentjob", name, "-n", namespace, "--type=merge", "-p", json.dumps(patch), *arguments)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"prompt": "Say goodbye."}, "spec.prompt", id="another prompt"),
        pytest.param({"prompt": None, "promptFrom": {"configMapKeyRef": KEY}}, "spec", id="the prompt's source"),
        pytest.param({"agent": {"model": "claude-y"}}, "spec.agent", id="another model"),
        pytest.param({"agent": {"model": None}}, "spec.agent", id="no model"),
        pytest.param({"agent": {"maxTurns": 3}}, "spec.agent", id="a limit that was not there"),
        pytest.param({"agent": None}, "spec.agent", id="no agent's options"),
        pytest.param({"workspace": {"files": {"a": "b"}}}, "spec.workspace", id="another file"),
        pytest.param({"runner": {"affinity": {"nodeAffinity": {"any": []}}}}, "spec.runner", id="within a free form"),
        pytest.param({"runner": {"affinity": {"podAffinity": {}}}}, "spec.runner", id="more in a free form"),
        pytest.param({"runner": {"resources": {"limits": {"cpu": 3}}}}, "spec.runner", id="another limit"),
        pytest.param({"activeDeadlineSeconds": 5}, "spec.activeDeadlineSeconds", id="another deadline"),
        pytest.param({"backoffLimit": 5}, "spec.backoffLimit", id="more attempts"),
    ],
)
def test_what_was_asked_for_cannot_be_changed(namespace: str, kept: str, change: Object, field: str) -> None:
    answer = patched(namespace, kept, {"spec": change})
    assert answer.exit_code != 0
    assert f"{field}: Forbidden: " in answer.error
    assert "is immutable: delete the job and create it again" in answer.error


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"suspend": False}, id="suspend"),
        pytest.param({"cancel": True}, id="cancel"),
        pytest.param({"ttlSecondsAfterFinished": 60}, id="the time to live"),
        pytest.param({"ttlSecondsAfterFailed": 60}, id="a time to live that was not there"),
    ],
)
def test_what_steers_a_job_may_change(namespace: str, kept: str, change: Object) -> None:
    changed = json.loads(patched(namespace, kept, {"spec": change}, "--output=json").expect_success())
    assert changed["spec"] == {**changed["spec"], **change}
    assert changed["metadata"]["generation"] == 2


@pytest.mark.parametrize("value", [False, None])
def test_a_cancellation_cannot_be_taken_back(namespace: str, kept: str, value: bool | None) -> None:
    patched(namespace, kept, {"spec": {"cancel": True}}).expect_success()
    answer = patched(namespace, kept, {"spec": {"cancel": value}})
    assert "spec: Forbidden: cancel cannot be taken back" in answer.error


STATUS = {
    "phase": "Running",
    "queue": {"position": 3, "reason": "InstallationFull"},
    "podName": "kept-1",
    "attemptCount": 1,
    "costUSD": "0.12",
    "session": {"id": "0a1b"},
    "result": {"text": "Hello.", "numTurns": 4},
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "Running", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ],
}


def test_a_job_shows_where_it_stands(namespace: str, kept: str) -> None:
    patched(namespace, kept, {"status": STATUS}, "--subresource=status").expect_success()
    head, row = kubectl("get", "aj", kept, "-n", namespace, "--output=wide").expect_success().splitlines()
    shown = dict(zip(head.split(), row.split(), strict=True))
    assert shown.pop("AGE")
    assert shown == {
        "NAME": kept, "PHASE": "Running", "REASON": "Running", "TURNS": "4", "COST": "0.12", "ATTEMPTS": "1",
        "MODEL": "claude-x", "POD": "kept-1", "SESSION": "0a1b", "QUEUE": "3",
    }  # fmt: skip


def test_a_new_job_is_pending_before_anybody_has_written_a_status(namespace: str, kept: str) -> None:
    assert kubectl("get", "aj", kept, "-n", namespace, "--output=jsonpath={.status.phase}").output == "Pending"


def test_jobs_are_found_by_their_phase(namespace: str, kept: str) -> None:
    patched(namespace, kept, {"status": {"phase": "Succeeded"}}, "--subresource=status").expect_success()
    kubectl("create", "-n", namespace, "--filename=-", stdin=job("waiting", PROMPT)).expect_success()
    for phase, names in (("Succeeded", f"agentjob.agentjob.dev/{kept}"), ("Running", "")):
        found = kubectl("get", "aj", "-n", namespace, f"--field-selector=status.phase={phase}", "--output=name")
        assert found.expect_success().strip() == names
    waiting = kubectl("get", "aj", "-n", namespace, "--field-selector=status.phase!=Succeeded", "--output=name")
    assert waiting.output.split() == ["agentjob.agentjob.dev/waiting"]


def test_a_status_is_written_through_its_own_door_alone(namespace: str, kept: str) -> None:
    patched(namespace, kept, {"status": {"phase": "Failed"}}).expect_success()
    assert kubectl("get", "aj", kept, "-n", namespace, "--output=jsonpath={.status.phase}").output == "Pending"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param({"phase": "Lost"}, 'status.phase: Unsupported value: "Lost"', id="no such phase"),
        pytest.param({"costUSD": "-1"}, "status.costUSD", id="a negative cost"),
        pytest.param(
            {"failure": {"reason": "Tired"}}, 'failure.reason: Unsupported value: "Tired"', id="no such reason"
        ),
    ],
)
def test_a_wrong_status_is_refused(namespace: str, kept: str, status: Object, message: str) -> None:
    answer = patched(namespace, kept, {"status": status}, "--subresource=status")
    assert answer.exit_code != 0
    assert message in answer.error


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("agentjob", "Runs one Claude agent on one task", id="the resource"),
        pytest.param("agentjob.spec.cancel", "It cannot be taken back.", id="a field"),
        pytest.param("agentjob.spec.agent.permissionMode", "bypassPermissions", id="an enum's values"),
        pytest.param("agentjob.spec.workspace.sizeLimit", "Size of the emptyDir", id="a quantity"),
        pytest.param("agentjob.status.conditions.reason", "Why, in one word.", id="within a list"),
    ],
)
def test_kubectl_explains_the_fields(namespace: str, path: str, text: str) -> None:
    words = kubectl("explain", path, "--api-version=agentjob.dev/v1alpha1").expect_success().split()
    assert text in " ".join(words)
