"""What an installation decides for its gateway."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from agentjob_api.fields import ObjectName
from agentjob_program.settings import Section, ServerSettings


class LimitSettings(Section):
    """What one caller may take, where its key says nothing else. Each replica counts requests and streams by itself."""

    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """Requests a minute, in bursts of at most as many."""
    concurrent_jobs: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Jobs of the caller's that have not ended."""
    streams: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Streams that the caller holds open."""


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
