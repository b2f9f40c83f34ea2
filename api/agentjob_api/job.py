"""The resource as a whole."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from agentjob_api.model import Resource
from agentjob_api.names import API_VERSION, KIND, Key
from agentjob_api.spec import AgentJobSpec
from agentjob_api.status import AgentJobStatus


class Metadata(Resource):
    """What AgentJob reads of an object's metadata."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str
    creation_timestamp: datetime
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}


class AgentJob(Resource):
    """Runs one Claude agent on one task, in a sandboxed Pod."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: AgentJobSpec
    status: Annotated[AgentJobStatus, Field(default_factory=AgentJobStatus)]

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.metadata.namespace, self.metadata.name)
