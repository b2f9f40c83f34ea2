"""Which kinds of objects there are and where the API server keeps them."""

from dataclasses import dataclass
from urllib.parse import quote

from agentjob_api import names


@dataclass(frozen=True)
class ResourceType:
    """A namespaced kind: its API group ("" is the core group), version, and plural name."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Path of the collection in a namespace, of one object in it, or of a subresource of that."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = ("namespaces", namespace, self.plural, name, subresource)
        return root + "".join(f"/{quote(part, safe='')}" for part in parts if part)


AGENT_JOBS = ResourceType(names.GROUP, names.VERSION, names.PLURAL)
PODS = ResourceType("", "v1", "pods")
EVENTS = ResourceType("events.k8s.io", "v1", "events")
