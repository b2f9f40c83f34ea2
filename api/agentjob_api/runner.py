"""`spec.runner`: the Pod in which an agent runs, in a Pod's own words."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentjob_api import names
from agentjob_api.fields import EnvName, FreeForm, KeyRef, ObjectName, Quantity
from agentjob_api.model import Resource, Rule, checked


def _not_ours(field: str) -> Rule:
    """Labels and annotations by which the operator knows its Pods, and what it has done to them, are not a user's."""
    return Rule(
        f"self.all(key, !key.startsWith('{names.OWN_PREFIX}'))",
        f"spec.runner.{field} takes no key that begins with {names.OWN_PREFIX}: those are the operator's own",
    )


class EnvVarSource(Resource):
    """Where the value of a variable is kept."""

    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret. The agent can read it."""

    rules: ClassVar = (
        Rule(
            "has(self.configMapKeyRef) != has(self.secretKeyRef)",
            "valueFrom takes exactly one of configMapKeyRef and secretKeyRef",
        ),
    )


class EnvVar(Resource):
    """An environment variable of the agent."""

    name: EnvName
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32_768)] | None = None
    """Its value."""
    value_from: EnvVarSource | None = None
    """Or where that is kept."""

    rules: ClassVar = (
        Rule("has(self.value) != has(self.valueFrom)", "an env entry takes exactly one of value and valueFrom"),
    )


class ObjectRef(Resource):
    """An object in the job's namespace."""

    name: ObjectName
    """Its name."""


class EnvFromSource(Resource):
    """All keys of a ConfigMap or Secret as environment variables."""

    prefix: Annotated[str, Field(max_length=253)] | None = None
    """Put before each name."""
    config_map_ref: ObjectRef | None = None
    """A ConfigMap."""
    secret_ref: ObjectRef | None = None
    """A Secret. The agent can read it."""

    rules: ClassVar = (
        Rule(
            "has(self.configMapRef) != has(self.secretRef)",
            "an envFrom entry takes exactly one of configMapRef and secretRef",
        ),
    )


class Resources(Resource):
    """CPU, memory and disk of the agent's container."""

    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What it may use at most; a name given here replaces the installation's default for it."""
    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What is set aside for it."""


class Toleration(Resource):
    """As in a Pod."""

    key: Annotated[str, Field(max_length=316)] | None = None
    """The taint's key; without it, every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists or Equal (the default)."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; without it, every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """How long a NoExecute taint is borne."""


class RunnerSpec(Resource):
    """The Pod in which the agent runs, where it differs from the installation's defaults."""

    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^\S+$")] | None = None
    """An image made from the runner image, with the tools that the task needs."""
    resources: Resources = Resources()
    """CPU, memory and disk."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = {}
    """Labels of the nodes that may take the Pod."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints that the Pod bears."""
    affinity: FreeForm = {}
    """As in a Pod."""
    runtime_class_name: ObjectName | None = None
    """A stronger sandbox, such as gVisor or Kata."""
    priority_class_name: ObjectName | None = None
    """Priority of the Pod among Pods."""
    image_pull_secrets: Annotated[list[ObjectRef], Field(max_length=16)] = []
    """Credentials for the image's registry."""
    env: Annotated[list[EnvVar], Field(max_length=128)] = []
    """Environment of the agent."""
    env_from: Annotated[list[EnvFromSource], Field(max_length=32)] = []
    """Environment of the agent, whole objects at a time."""
    labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63)]],
        Field(max_length=32, json_schema_extra=checked(_not_ours("labels"))),
    ] = {}
    """Labels of the Pod. Keys that begin with `agentjob.dev/` are the operator's own."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(max_length=32, json_schema_extra=checked(_not_ours("annotations"))),
    ] = {}
    """Annotations of the Pod. Keys that begin with `agentjob.dev/` are the operator's own."""
