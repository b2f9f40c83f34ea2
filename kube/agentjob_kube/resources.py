"""Which kinds of objects there are and where the API server keeps them."""

from dataclasses import dataclass
from urllib.parse import quote

from agentjob_api import names


@dataclass(frozen=True)
class ResourceType:
    """A kind: its API group ("" is the core group), version, and plural name."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Path of the collection in a namespace, of one object in it, or of a subresource of that.

        A kind that is the whole cluster's has the namespace "".
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = ("namespaces" if namespace else "", namespace, self.plural, name, subresource)
        return root + "".join(f"/{quote(part, safe='')}" for part in parts if part)


AGENT_JOBS = ResourceType(names.GROUP, names.VERSION, names.PLURAL)
PODS = ResourceType("", "v1", "pods")
EVENTS = ResourceType("events.k8s.io", "v1", "events")
ENDPOINT_SLICES = ResourceType("discovery.k8s.io", "v1", "endpointslices")
LEASES = ResourceType("coordination.k8s.io", "v1", "leases")
SECRETS = ResourceType("", "v1", "secrets")
TOKEN_REVIEWS = ResourceType("authentication.k8s.io", "v1", "tokenreviews")
SUBJECT_ACCESS_REVIEWS = ResourceType("authorization.k8s.io", "v1", "subjectaccessreviews")
