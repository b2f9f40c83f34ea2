"""What an installation decides for all its jobs."""

import os
import socket
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from agentjob_api.fields import KeyRef, ObjectName, Word
from agentjob_api.runner import EnvVar, Resources
from agentjob_program.settings import Section, ServerSettings


class PullPolicy(StrEnum):
    """When the kubelet pulls the runner image."""

    ALWAYS = "Always"
    """For every Pod."""
    IF_NOT_PRESENT = "IfNotPresent"
    """When the node does not have it."""
    NEVER = "Never"
    """Not at all: the image is put on the nodes by other means."""


class RunnerSettings(Section):
    """What a runner Pod gets where its job says nothing else."""

    image: Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
    """The runner image."""
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    """When the kubelet pulls it."""
    resources: Resources = Resources(
        limits={"cpu": "2", "memory": "2Gi", "ephemeral-storage": "10Gi"},
        requests={"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "512Mi"},
    )
    """Defaults by name. A limit of ephemeral-storage that is less than the Pod's volumes may hold is raised to that."""
    model: Word | None = None
    """Model of a job that names none; without it, Claude Code's own default."""
    model_base_url: Annotated[str | None, Field(alias="modelBaseURL", pattern=r"^https?://\S+$")] = None
    """Where the model is reached, as ANTHROPIC_BASE_URL; without it, Anthropic's API."""
    model_api_key_secret: KeyRef | None = None
    """Key of a Secret in each job's namespace, as ANTHROPIC_API_KEY."""
    env: list[EnvVar] = []
    """Environment of every agent; a variable of the same name in a job wins."""
    unreachable_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] = 300
    """How long a Pod bears that its node is not heard of, or says that it is not well, where its job does not say."""


Slots = Annotated[int, Field(ge=0, le=1_000_000)]
"""Jobs that may run at the same time; of 0, none starts."""


class NamespaceLimits(Section):
    """What one namespace may take of the installation."""

    running: Slots | None = None
    """Its jobs that run at the same time; without it, what any namespace may have."""
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Its part where several want more than there is: twice the weight, twice the jobs."""


class LimitsSettings(Section):
    """How many jobs run at the same time; the others wait."""

    running: Slots | None = None
    """Over all namespaces; without it, any number."""
    running_per_namespace: Slots | None = None
    """In each namespace that has no limit of its own; without it, any number."""
    namespaces: dict[ObjectName, NamespaceLimits] = {}
    """What is not as by default, by namespace."""

    def of(self, namespace: str) -> int | None:
        """How many jobs of a namespace may run; None for any number."""
        own = self.namespaces.get(namespace, _USUAL).running
        return self.running_per_namespace if own is None else own

    def weight(self, namespace: str) -> int:
        """What a namespace's share is in proportion to."""
        return self.namespaces.get(namespace, _USUAL).weight


_USUAL: Final = NamespaceLimits()


class LeaseSettings(Section):
    """The Lease by which several operators agree on the one that acts."""

    namespace: ObjectName
    """Its namespace."""
    name: ObjectName
    """Its name."""
    seconds: Annotated[float, Field(gt=0, le=600)] = 15
    """Seconds after which another one takes it whose holder has vanished; two thirds of it after its last renewal, its
    holder stops acting."""


class Settings(ServerSettings):
    """The operator's configuration."""

    namespaces: Annotated[list[ObjectName], Field(min_length=1)]
    """Namespaces whose AgentJobs are served."""
    runner: RunnerSettings
    """The runner Pods."""
    limits: LimitsSettings = LimitsSettings()
    """How many jobs run at the same time."""
    pod_ttl_seconds: Annotated[int, Field(alias="podTTLSeconds", ge=0)] = 600
    """Seconds a finished Pod is kept, and its log with it."""
    archives: bool = False
    """Whether a gateway archives logs, so that a finished Pod is kept until the condition Archived is on its job; for
    an hour longer at most."""
    lease: LeaseSettings | None = None
    """By what several operators agree on the one that acts; without it, there is no other one."""
    pod_name: str = Field(default_factory=lambda: os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}")
    """Who holds the Lease; without it, what POD_NAME in the environment says."""
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """Jobs that are reconciled at the same time: a quarter at most are such that failed before, and half such that get
    their Pods."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of /metrics, /healthz and /readyz; 0 takes any that is free."""
    resync_seconds: Annotated[float, Field(gt=0)] = 300
    """Seconds between two LISTs of all jobs and Pods, which find what the watches have missed."""
