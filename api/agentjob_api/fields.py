"""Field types that several parts of the spec share."""

from typing import Annotated, Any

from pydantic import Field

from agentjob_api.model import Resource

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Word = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=4096)]
EnvName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Quantity = (
    Annotated[int, Field(ge=0)]
    | Annotated[str, Field(pattern=r"^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([numk]|[KMGTPE]i|[MGTPE]|[eE][-+]?[0-9]+)?$")]
)
"""An amount as Kubernetes writes it, such as 500m or 2Gi, and none of ours may be negative."""
FreeForm = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class KeyRef(Resource):
    """One key of a ConfigMap or Secret in the job's namespace."""

    name: ObjectName
    """Name of the ConfigMap or Secret."""
    key: DataKey
    """Key within its data."""
