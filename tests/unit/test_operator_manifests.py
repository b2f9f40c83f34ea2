"""The Pod that is made of a job: fit for Pod Security `restricted`, and with every field of `spec` in its place."""

import json
from typing import Any

import pytest

from agentjob_api import names
from agentjob_api.handover import MAX_HANDOVER_BYTES, HandoverTooLargeError
from agentjob_api.spec import MAX_FILE, MAX_PROMPT
from agentjob_operator import manifests
from agentjob_operator.quantity import amount
from agentjob_operator.settings import RunnerSettings
from agentjob_operator.world import RecordEvent
from worlds import at, job

SETTINGS = RunnerSettings.model_validate({"image": "runner:1"})
SECRET = {"name": "s", "key": "k"}
FROM_SECRET = {"secretKeyRef": SECRET}


def pod(settings: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The Pod of a job with these fields of its spec, in an installation with these settings."""
    return manifests.pod(job(**spec), 1, RunnerSettings.model_validate({"image": "runner:1", **(settings or {})}))


def agent(settings: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The agent's container in it."""
    (container,) = pod(settings, **spec)["spec"]["containers"]
    assert container["name"] == "agent"
    return dict(container)


def env(settings: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The agent's environment: values, and where from."""
    variables = agent(settings, **spec)["env"]
    assert len({variable["name"] for variable in variables}) == len(variables)
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def handover(settings: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """What the runner will read."""
    found: dict[str, Any] = json.loads(pod(settings, **spec)["metadata"]["annotations"][names.ANNOTATION_HANDOVER])
    return found


def test_a_pod_is_named_labelled_and_owned_so_that_it_is_made_once() -> None:
    meta = manifests.pod(job(), 2, SETTINGS)["metadata"]

    assert (meta["name"], meta["namespace"]) == ("fix-2", "ns")
    assert (meta["labels"][names.LABEL_JOB], meta["labels"][names.LABEL_ATTEMPT]) == ("fix", "2")
    assert meta["ownerReferences"] == [
        {"apiVersion": "agentjob.dev/v1alpha1", "kind": "AgentJob", "name": "fix", "uid": "job-uid", "controller": True}
    ]


@pytest.mark.parametrize("spec", [{}, {"workspace": {"git": {"url": "https://git.test/x.git"}}}], ids=["plain", "git"])
def test_a_pod_fits_pod_security_restricted(spec: dict[str, Any]) -> None:
    found = pod(**spec)["spec"]
    security = found["securityContext"]

    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(found)
    for container in (*found["containers"], *found["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_a_pod_has_no_credential_for_the_cluster_and_runs_once() -> None:
    found = pod()["spec"]

    assert found["automountServiceAccountToken"] is False
    assert found["enableServiceLinks"] is False
    assert "serviceAccountName" not in found
    assert found["restartPolicy"] == "Never"
    assert found["terminationGracePeriodSeconds"] == 30
    assert found["activeDeadlineSeconds"] == 1800
    assert pod(activeDeadlineSeconds=60)["spec"]["activeDeadlineSeconds"] == 60


def test_only_sized_volumes_can_be_written() -> None:
    volumes = {volume.pop("name"): volume for volume in pod(workspace={"sizeLimit": "20Gi"})["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in agent()["volumeMounts"]}

    assert volumes["workspace"] == {"emptyDir": {"sizeLimit": "20Gi"}}
    assert volumes["home"] == volumes["tmp"] == {"emptyDir": {"sizeLimit": "1Gi"}}
    assert set(mounts) == {"/workspace", "/home/agent", "/tmp", "/etc/agentjob"}
    assert mounts["/etc/agentjob"]["readOnly"] is True


def test_a_claim_takes_the_place_of_the_workspaces_volume() -> None:
    volumes = {volume["name"]: volume for volume in pod(workspace={"claimName": "data"})["spec"]["volumes"]}

    assert volumes["workspace"] == {"name": "workspace", "persistentVolumeClaim": {"claimName": "data"}}


def test_the_handover_is_a_file_made_of_an_annotation() -> None:
    (volume,) = [each for each in pod()["spec"]["volumes"] if each["name"] == "handover"]

    assert volume["downwardAPI"]["items"] == [
        {"path": "handover.json", "fieldRef": {"fieldPath": "metadata.annotations['agentjob.dev/handover']"}}
    ]


def test_the_handover_tells_the_job() -> None:
    git = {"url": "https://git.test/x.git", "ref": "main"}
    found = handover(agent={"maxTurns": 5}, workspace={"git": git, "files": {"a": "b"}})

    assert (found["namespace"], found["job"], found["uid"], found["attempt"]) == ("ns", "fix", "job-uid", 1)
    assert (found["prompt"], found["agent"]["maxTurns"]) == ("Mend the tests.", 5)
    assert (found["git"], found["files"]) == (git, {"a": "b"})


@pytest.mark.parametrize(
    ("installation", "agent", "model"),
    [
        pytest.param("sonnet", {"model": "opus"}, "opus", id="the job's own"),
        pytest.param("sonnet", {}, "sonnet", id="the installation's default"),
        pytest.param(None, {}, None, id="Claude Code's own default"),
    ],
)
def test_the_model_is(installation: str | None, agent: dict[str, str], model: str | None) -> None:
    assert handover({"model": installation}, agent=agent)["agent"].get("model") == model


def test_a_prompt_by_reference_is_a_variable_and_not_in_the_handover() -> None:
    spec = {"prompt": None, "promptFrom": {"configMapKeyRef": SECRET}}

    assert "prompt" not in handover(**spec)
    assert env(**spec)["AGENTJOB_PROMPT"] == {"configMapKeyRef": SECRET}


def test_secret_headers_are_variables() -> None:
    server = {"type": "http", "url": "http://x", "headersFrom": [{"name": "X-Key", "secretKeyRef": SECRET}]}

    found = env(agent={"mcpServers": {"tools": server}})

    assert found[names.secret_header_variable(0, 0)] == FROM_SECRET


def test_the_model_is_reached_as_the_installation_says() -> None:
    found = env({"modelBaseURL": "http://model", "modelApiKeySecret": SECRET})

    assert found["ANTHROPIC_BASE_URL"] == "http://model"
    assert found["ANTHROPIC_API_KEY"] == FROM_SECRET
    assert set(env()) == {"HOME"}


def test_of_two_variables_the_jobs_holds_and_the_contracts_own_cannot_be_taken() -> None:
    installation = {"modelBaseURL": "http://model", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}
    mine = [
        {"name": "A", "value": "2"},
        {"name": "ANTHROPIC_BASE_URL", "value": "http://mine"},
        {"name": "AGENTJOB_PROMPT", "value": "mine"},
        {"name": "C", "valueFrom": FROM_SECRET},
    ]

    found = env(installation, prompt=None, promptFrom=FROM_SECRET, runner={"env": mine})

    assert (found["A"], found["B"], found["C"]) == ("2", "1", FROM_SECRET)
    assert found["ANTHROPIC_BASE_URL"] == "http://mine"
    assert found["AGENTJOB_PROMPT"] == FROM_SECRET


def test_whole_objects_become_environment() -> None:
    sources = [{"prefix": "P_", "secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}]

    assert agent(runner={"envFrom": sources})["envFrom"] == sources


def test_a_repository_is_cloned_by_a_container_of_its_own_which_alone_has_the_credential() -> None:
    git = {"url": "https://git.test/x.git", "secretRef": "robot"}
    found = pod({"env": [{"name": "HTTPS_PROXY", "value": "p"}]}, workspace={"git": git})["spec"]

    (workspace,) = found["initContainers"]
    assert (workspace["name"], workspace["image"], workspace["args"]) == ("workspace", "runner:1", ["workspace"])
    assert workspace["env"] == [{"name": "HTTPS_PROXY", "value": "p"}]
    assert workspace["envFrom"] == [{"prefix": "AGENTJOB_GIT_", "secretRef": {"name": "robot"}}]
    assert "robot" not in json.dumps(found["containers"])


def test_a_job_without_a_repository_has_no_such_container() -> None:
    assert pod(workspace={"files": {"a": "b"}})["spec"]["initContainers"] == []


def test_a_job_may_say_where_its_pod_goes_in_a_pods_own_words() -> None:
    words = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "runtimeClassName": "gvisor",
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "registry"}],
    }

    found = pod(runner=words)["spec"]

    assert {name: found[name] for name in words} == words
    assert set(words) & set(pod()["spec"]) == {"tolerations"}


NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


@pytest.mark.parametrize(
    ("own", "added"),
    [
        pytest.param([], {NOT_READY, UNREACHABLE}, id="a job that says nothing"),
        pytest.param([{"key": "gpu", "operator": "Exists"}], {NOT_READY, UNREACHABLE}, id="one that bears another"),
        pytest.param([{"key": UNREACHABLE, "operator": "Exists"}], {NOT_READY}, id="one that bears it for ever"),
        pytest.param(
            [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}], {NOT_READY},
            id="one that bears it for a while",
        ),
        pytest.param(
            [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}], {NOT_READY, UNREACHABLE},
            id="one that only starts there",
        ),
        pytest.param([{"operator": "Exists", "effect": "NoExecute"}], set(), id="one that bears everything"),
    ],
)  # fmt: skip
def test_a_pod_bears_that_its_node_is_lost_for_a_while_unless_its_job_says_for_how_long(
    own: list[dict[str, Any]], added: set[str]
) -> None:
    found = pod({"unreachableSeconds": 60}, runner={"tolerations": own})["spec"]["tolerations"]

    assert found[: len(own)] == own
    common = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
    assert found[len(own) :] == [{"key": key, **common} for key in sorted(added)]


def test_labels_and_annotations_are_added_and_ours_hold() -> None:
    meta = pod(
        runner={
            "labels": {"team": "a", names.LABEL_JOB: "other"},
            "annotations": {"note": "b", names.ANNOTATION_HANDOVER: "other"},
        }
    )["metadata"]

    assert (meta["labels"]["team"], meta["labels"][names.LABEL_JOB]) == ("a", "fix")
    assert meta["annotations"]["note"] == "b"
    assert meta["annotations"][names.ANNOTATION_HANDOVER] != "other"


def test_keys_that_only_the_operator_may_write_do_not_come_from_a_job() -> None:
    strange = {"agentjob.dev/stop-asked": "2020-01-01T00:00:00Z", "agentjob.dev/any": "x", "not.agentjob.dev/ok": "y"}

    meta = pod(runner={"labels": strange, "annotations": strange})["metadata"]

    ours = {names.LABEL_JOB, names.LABEL_ATTEMPT, "app.kubernetes.io/managed-by"}
    assert set(meta["labels"]) == {*ours, "not.agentjob.dev/ok"}
    assert set(meta["annotations"]) == {names.ANNOTATION_HANDOVER, "not.agentjob.dev/ok"}


@pytest.mark.parametrize(
    ("spec", "image", "policy"),
    [
        pytest.param({}, "runner:1", "IfNotPresent", id="the installation's image"),
        pytest.param({"runner": {"image": "mine:2"}}, "mine:2", "IfNotPresent", id="the job's image"),
    ],
)
def test_the_image_is(spec: dict[str, Any], image: str, policy: str) -> None:
    assert (agent(**spec)["image"], agent(**spec)["imagePullPolicy"]) == (image, policy)


DEFAULTS = {"limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "250m", "memory": "512Mi"}}
VOLUMES = 7 * 2**30 + 128 * 2**20


@pytest.mark.parametrize(
    ("mine", "limits", "requests"),
    [
        pytest.param({}, {"cpu": "2", "memory": "2Gi"}, {"cpu": "250m", "memory": "512Mi"}, id="the defaults"),
        pytest.param(
            {"limits": {"memory": "8Gi"}}, {"cpu": "2", "memory": "8Gi"}, {"cpu": "250m", "memory": "512Mi"},
            id="a limit takes the place of the default of its name",
        ),
        pytest.param(
            {"limits": {"memory": "256Mi", "cpu": "0.1"}}, {"cpu": "0.1", "memory": "256Mi"},
            {"cpu": "0.1", "memory": "256Mi"}, id="a default request never exceeds the limit",
        ),
        pytest.param(
            {"requests": {"cpu": 1}}, {"cpu": "2", "memory": "2Gi"}, {"cpu": 1, "memory": "512Mi"},
            id="a request takes the place of the default of its name",
        ),
        pytest.param(
            {"limits": {"nvidia.com/gpu": 1}}, {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": 1},
            {"cpu": "250m", "memory": "512Mi"}, id="a name without a default is added",
        ),
    ],
)  # fmt: skip
def test_resources_are(mine: dict[str, Any], limits: dict[str, Any], requests: dict[str, Any]) -> None:
    assert agent({"resources": DEFAULTS}, runner={"resources": mine})["resources"] == {
        "limits": limits,
        "requests": requests,
    }


@pytest.mark.parametrize(
    ("default", "spec", "limit"),
    [
        pytest.param("10Gi", {}, "10Gi", id="the default, where the volumes fit into it"),
        pytest.param("1Gi", {}, VOLUMES, id="what the volumes may hold, where that is more"),
        pytest.param("1Gi", {"workspace": {"claimName": "c"}}, VOLUMES - 5 * 2**30, id="a claim takes none of it"),
        pytest.param("1Gi", {"workspace": {"sizeLimit": 0}}, VOLUMES - 5 * 2**30, id="nor does an empty workspace"),
        pytest.param(
            "10Gi", {"runner": {"resources": {"limits": {"ephemeral-storage": "1Gi"}}}}, "1Gi", id="the job's own word"
        ),
    ],
)
def test_a_pod_is_not_evicted_for_filling_its_volumes(default: str, spec: dict[str, Any], limit: object) -> None:
    settings = {"resources": {"limits": {"ephemeral-storage": default}}}

    assert agent(settings, **spec)["resources"]["limits"]["ephemeral-storage"] == limit


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        pytest.param("500m", "0.5", id="thousandths"),
        pytest.param("2Gi", str(2 * 2**30), id="powers of two"),
        pytest.param("2G", "2000000000", id="powers of ten"),
        pytest.param("1e3", "1000", id="an exponent"),
        pytest.param("1.5", "1.5", id="a fraction"),
        pytest.param(3, "3", id="a plain number"),
    ],
)
def test_a_quantity_is_a_number(quantity: int | str, number: str) -> None:
    assert amount(quantity) == amount(number)


@pytest.mark.parametrize("quantity", ["", "Gi", "5x", "1iM"])
def test_what_is_no_quantity_is_said_to_be_none(quantity: str) -> None:
    with pytest.raises(ValueError, match="expected a quantity such as 500m or 2Gi, found"):
        amount(quantity)


def test_a_job_that_does_not_fit_into_an_annotation_is_refused_with_the_way_out() -> None:
    files = {f"file-{number}": "x" * MAX_FILE for number in range(3)}

    with pytest.raises(HandoverTooLargeError, match="promptFrom"):
        pod(prompt="x" * MAX_PROMPT, workspace={"files": files})
    assert len(json.dumps(handover(prompt="x" * MAX_PROMPT))) < MAX_HANDOVER_BYTES


def test_a_warning_is_an_event_about_the_job() -> None:
    event = manifests.event(job().metadata, RecordEvent("ImagePull", "ä" * 2000), at(1.5))

    assert event["type"] == "Warning"
    assert event["reason"] == "ImagePull"
    assert len(event["note"].encode()) == 1024
    assert event["eventTime"] == "2026-11-22T10:00:01.500000Z"
    assert event["regarding"]["uid"] == "job-uid"
    assert event["metadata"]["name"].startswith("fix.")
    assert (
        event["metadata"]["name"] != manifests.event(job().metadata, RecordEvent("x", ""), at(1.6))["metadata"]["name"]
    )
