"""What an installation decides for its gateway."""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from agentjob_api.fields import ObjectName
from agentjob_program.settings import Section, ServerSettings


class LimitSettings(Section):
    """What one caller may take, where its key says nothing else. Each replica counts requests and streams by itself."""

    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """Requests a minute, in bursts of at most as many."""
    concurrent_jobs: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Jobs of the caller's that have not ended."""
    streams: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Streams that the caller holds open, calls of run_claude_agent among them."""


class ArchiveSettings(Section):
    """Where jobs' lines are kept. Credentials of a cloud are taken from the environment."""

    url: Annotated[str, Field(pattern=r"^(file:///|memory:///$|(s3|gs|az)://[^/@?\s])[^@?\s]*$")]
    """As file:///directory, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix. All replicas have the same
    one, and no other installation has it: what belongs to no job that is served here is deleted."""
    part_seconds: Annotated[float, Field(gt=0, le=600)] = 5
    """Seconds after which a line is written at the latest."""


class PeerSettings(Section):
    """How the replicas of this gateway find each other: by the Service whose Pods they are."""

    namespace: ObjectName
    """Its namespace."""
    service: ObjectName
    """Its name."""


class Settings(ServerSettings):
    """The gateway's configuration."""

    namespaces: Annotated[list[ObjectName], Field(min_length=1)]
    """Namespaces whose AgentJobs are served."""
    keys_directory: Path | None = None
    """Where the Secret with the API keys' hashes is mounted; without it, no API key is known."""
    kubernetes_tokens: bool = False
    """Whether Kubernetes bearer tokens are accepted, with the rights that their users have in the cluster."""
    limits: LimitSettings = LimitSettings()
    """What one caller may take."""
    queue_depth: Annotated[int, Field(ge=1)] = 1_000
    """Jobs of a namespace that may wait for their agents to start before no more are taken."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=8 * 1024 * 1024)] = 1024 * 1024
    """Bytes of a request's body."""
    cors_origins: list[Annotated[str, Field(pattern=r"^https?://[^/\s]+$")]] = []
    """Origins of web pages that may read answers."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of the doors; 0 takes any that is free."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    """Port of /metrics, /healthz and /readyz; 0 takes any that is free."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 10
    """Seconds between being told to stop and hanging up, in which clients are led elsewhere."""
    archive: ArchiveSettings | None = None
    """Where jobs' lines are kept; without it, they are lost with their Pods."""
    peers: PeerSettings | None = None
    """How the replicas share the jobs that are to be read to their ends; without it, this one reads all of them."""
    pod_name: str | None = Field(default_factory=lambda: os.environ.get("POD_NAME"))
    """Name of this Pod; without it, what POD_NAME in the environment says."""

    @model_validator(mode="after")
    def _knows_itself(self) -> Self:
        if self.peers is not None and self.pod_name is None:
            raise ValueError("peers: name this Pod in podName, or in POD_NAME in the environment")
        return self
