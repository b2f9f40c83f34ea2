"""The Pod of an attempt, composed of small parts; it fits Pod Security `restricted`."""

from datetime import UTC, datetime, timedelta
from typing import Any

from agentjob_api import names
from agentjob_api.handover import Handover, secret_headers
from agentjob_api.job import AgentJob, Metadata
from agentjob_api.runner import EnvVar, Toleration
from agentjob_api.spec import AgentSpec
from agentjob_operator import rules
from agentjob_operator.pod import STOP_ANNOTATION, PodView
from agentjob_operator.quantity import amount
from agentjob_operator.settings import RunnerSettings
from agentjob_operator.status import bounded
from agentjob_operator.world import RecordEvent

Object = dict[str, Any]

USER = 10001
"""Of the runner image; also the group of its volumes."""
HOME_SIZE = TMP_SIZE = "1Gi"
LOG_SIZE = "128Mi"
"""What the kubelet may keep of a container's log counts as the Pod's storage: 5 files of 10 MiB, and some slack."""
CONTROLLER = "agentjob-operator"
MAX_NOTE = 1024
"""Bytes of an Event's note that the API server takes."""
STORAGE = "ephemeral-storage"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pod(job: AgentJob, attempt: int, settings: RunnerSettings) -> Object:
    """The Pod of an attempt.

    Raises:
        HandoverTooLargeError: the job does not fit into a Pod's annotation.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(job, attempt, settings),
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": job.spec.active_deadline_seconds,
            "terminationGracePeriodSeconds": int(rules.GRACE.total_seconds()),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _POD_SECURITY,
            **_placement(job),
            "tolerations": _tolerations(job.spec.runner.tolerations, settings.unreachable_seconds),
            "initContainers": [_workspace_container(job, settings)] if job.spec.workspace.git else [],
            "containers": [_agent_container(job, settings)],
            "volumes": _volumes(job),
        },
    }


def owned_by(job: AgentJob) -> Object:
    """The reference that makes a Pod this job's: the garbage collector follows it too."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
    }


def _metadata(job: AgentJob, attempt: int, settings: RunnerSettings) -> Object:
    ours = {
        names.LABEL_JOB: job.metadata.name,
        names.LABEL_ATTEMPT: str(attempt),
        "app.kubernetes.io/managed-by": CONTROLLER,
    }
    handover = {names.ANNOTATION_HANDOVER: _handover(job, attempt, settings).to_annotation()}
    return {
        "name": names.pod_name(job.metadata.name, attempt),
        "namespace": job.metadata.namespace,
        "labels": {**_theirs(job.spec.runner.labels), **ours},
        "annotations": {**_theirs(job.spec.runner.annotations), **handover},
        "ownerReferences": [owned_by(job)],
    }


def _theirs(pairs: dict[str, str]) -> dict[str, str]:
    """A user's labels or annotations without keys of ours, by which a Pod would pass for what it is not.

    The definition of AgentJob refuses them; one that is older than this operator may not.
    """
    return {key: value for key, value in pairs.items() if not key.startswith(names.OWN_PREFIX)}


def _handover(job: AgentJob, attempt: int, settings: RunnerSettings) -> Handover:
    agent = job.spec.agent
    return Handover(
        namespace=job.metadata.namespace,
        job=job.metadata.name,
        uid=job.metadata.uid,
        attempt=attempt,
        prompt=job.spec.prompt,
        agent=agent.model_copy(update={"model": agent.model or settings.model}),
        git=job.spec.workspace.git,
        files=job.spec.workspace.files,
    )


def _placement(job: AgentJob) -> Object:
    """What `spec.runner` says about where the Pod goes, in the same words."""
    fields = {
        "node_selector",
        "affinity",
        "runtime_class_name",
        "priority_class_name",
        "image_pull_secrets",
    }
    return job.spec.runner.model_dump(mode="json", include=fields, exclude_none=True, exclude_defaults=True)


def _tolerations(own: list[Toleration], seconds: int) -> list[Object]:
    """A job's own; and how long it bears that its node is lost, unless it says so itself, for ever or not.

    Without these, the API server would add the same for its own default, 300 s mostly (DefaultTolerationSeconds).
    """
    spoken_of = {each.key or None for each in own if each.effect in {None, "NoExecute"}}
    added = [] if None in spoken_of else [key for key in _LOST if key not in spoken_of]
    common = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
    return [
        *(each.model_dump(mode="json", exclude_none=True) for each in own),
        *({"key": key, **common} for key in added),
    ]


def _agent_container(job: AgentJob, settings: RunnerSettings) -> Object:
    """The container in which the agent works."""
    sources = [source.model_dump(mode="json", exclude_none=True) for source in job.spec.runner.env_from]
    return _container(job, settings) | {"name": names.AGENT_CONTAINER, "env": _env(job, settings), "envFrom": sources}


def _workspace_container(job: AgentJob, settings: RunnerSettings) -> Object:
    """The container that clones the repository; the credential for it is in no other."""
    git = job.spec.workspace.git
    secret = git.secret_ref if git else None
    return _container(job, settings) | {
        "name": names.WORKSPACE_CONTAINER,
        "args": ["workspace"],
        "env": _plain(settings.env),
        "envFrom": [{"prefix": names.ENV_GIT_PREFIX, "secretRef": {"name": secret}}] if secret else [],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _container(job: AgentJob, settings: RunnerSettings) -> Object:
    """What both containers share."""
    return {
        "image": job.spec.runner.image or settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "workingDir": names.WORKSPACE,
        "resources": _resources(job, settings),
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": _MOUNTS,
    }


def _env(job: AgentJob, settings: RunnerSettings) -> list[Object]:
    """The agent's environment: of two variables of the same name, the later one holds."""
    variables = (
        {"name": "HOME", "value": names.HOME},
        *_model(settings),
        *_plain(settings.env),
        *_plain(job.spec.runner.env),
        *_prompt(job),
        *_secret_headers(job.spec.agent),
    )
    return list({variable["name"]: variable for variable in variables}.values())


def _plain(variables: list[EnvVar]) -> list[Object]:
    return [variable.model_dump(mode="json", exclude_none=True) for variable in variables]


def _model(settings: RunnerSettings) -> list[Object]:
    """Where the model is, and the key for it."""
    found: list[Object] = []
    if settings.model_base_url:
        found.append({"name": "ANTHROPIC_BASE_URL", "value": settings.model_base_url})
    if (key := settings.model_api_key_secret) is not None:
        found.append(_secret_variable("ANTHROPIC_API_KEY", key.name, key.key))
    return found


def _prompt(job: AgentJob) -> list[Object]:
    if (source := job.spec.prompt_from) is None:
        return []
    return [{"name": names.ENV_PROMPT, "valueFrom": source.model_dump(mode="json", exclude_none=True)}]


def _secret_headers(agent: AgentSpec) -> list[Object]:
    return [_secret_variable(header.variable, header.ref.name, header.ref.key) for header in secret_headers(agent)]


def _secret_variable(variable: str, secret: str, key: str) -> Object:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(job: AgentJob, settings: RunnerSettings) -> Object:
    """The job's figures over the installation's; a default request never exceeds the limit that holds."""
    wanted, default = job.spec.runner.resources, settings.resources
    limits = {**default.limits, **wanted.limits}
    if STORAGE not in wanted.limits and STORAGE in limits:
        limits[STORAGE] = max(limits[STORAGE], _storage(job), key=amount)
    requests = {name: min(value, limits.get(name, value), key=amount) for name, value in default.requests.items()}
    return {"limits": limits, "requests": {**requests, **wanted.requests}}


def _storage(job: AgentJob) -> int:
    """Bytes that the Pod's own volumes and its log may take."""
    volumes = [volume["emptyDir"]["sizeLimit"] for volume in _volumes(job) if "emptyDir" in volume]
    return int(sum(map(amount, (*volumes, LOG_SIZE))))


def _volumes(job: AgentJob) -> list[Object]:
    workspace = job.spec.workspace
    claim = {"persistentVolumeClaim": {"claimName": workspace.claim_name}}
    handover = {"fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_HANDOVER}']"}}
    file_name = names.HANDOVER_FILE.removeprefix(f"{names.HANDOVER_DIR}/")
    return [
        {"name": "workspace", **(claim if workspace.claim_name else _directory(workspace.size_limit))},
        {"name": "home", **_directory(HOME_SIZE)},
        {"name": "tmp", **_directory(TMP_SIZE)},
        {"name": "handover", "downwardAPI": {"items": [{"path": file_name, **handover}]}},
    ]


def _directory(size: int | str) -> Object:
    return {"emptyDir": {"sizeLimit": size}}


_MOUNTS: list[Object] = [
    {"name": "workspace", "mountPath": names.WORKSPACE},
    {"name": "home", "mountPath": names.HOME},
    {"name": "tmp", "mountPath": names.TMP},
    {"name": "handover", "mountPath": names.HANDOVER_DIR, "readOnly": True},
]
_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""The taints of a node whose kubelet says that it is not well, or is not heard of."""
_POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def stop(pod: PodView, now: datetime) -> Object:
    """What a Pod is patched with to end its time; only this one."""
    return {
        "metadata": {"uid": pod.uid, "annotations": {STOP_ANNOTATION: now.strftime("%Y-%m-%dT%H:%M:%SZ")}},
        "spec": {"activeDeadlineSeconds": 1},
    }


def event(about: Metadata, warning: RecordEvent, now: datetime) -> Object:
    """A warning about a job as an Event, named after the job and the time as all Events are."""
    microseconds = (now - _EPOCH) // timedelta(microseconds=1)
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name}.{microseconds:x}", "namespace": about.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning",
        "reason": warning.reason,
        "note": bounded(warning.message, MAX_NOTE),
        "action": "Reconcile",
        "reportingController": CONTROLLER,
        "reportingInstance": CONTROLLER,
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
    }
