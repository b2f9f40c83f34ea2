"""The kinds that are served, and what the API server does to an object of each before it keeps it."""

from dataclasses import dataclass
from typing import Any

from fake_cluster.refusals import Refusal, invalid

Object = dict[str, Any]
UNKNOWN_FIELD = "unheardOf"
"""The one field that strict field validation knows to be unknown: enough to test that it is asked for."""


@dataclass(frozen=True)
class Kind:
    group: str
    version: str
    plural: str
    name: str
    subresources: tuple[str, ...] = ()
    is_review: bool = False
    """A question rather than an object: the whole cluster's, only ever created, and never kept."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


KINDS = (
    Kind("agentjob.dev", "v1alpha1", "agentjobs", "AgentJob", ("status",)),
    Kind("", "v1", "pods", "Pod", ("status", "log")),
    Kind("events.k8s.io", "v1", "events", "Event"),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind("", "v1", "namespaces", "Namespace", ("status",)),
    Kind("", "v1", "secrets", "Secret"),
    Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", is_review=True),
    Kind("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", is_review=True),
)


def prepare(kind: Kind, body: Object, *, strict: bool) -> None:
    """What creation does to an object: its status is not the client's to set."""
    if strict and UNKNOWN_FIELD in body.get("spec", {}):
        raise Refusal(400, "BadRequest", f'{kind.name} in version "{kind.version}" cannot be handled: strict decoding '
                                         f'error: unknown field "spec.{UNKNOWN_FIELD}"')  # fmt: skip
    body.update({"apiVersion": kind.api_version, "kind": kind.name})
    if kind.has_status:
        body["status"] = {"phase": "Pending"}
    body["metadata"]["generation"] = 1


def merged(kind: Kind, old: Object, new: Object, subresource: str) -> Object:
    """What a write to the object, or to its status, makes of it: the other part stays as it was."""
    if subresource == "status":
        return {**old, "status": new.get("status", {})}
    kept = {**new, "status": old.get("status", {})} if kind.has_status else dict(new)
    if kept.get("spec") != old.get("spec"):
        _check_spec(kind, old, kept)
        kept["metadata"] = {**kept["metadata"], "generation": old["metadata"]["generation"] + 1}
    return kept


def _check_spec(kind: Kind, old: Object, new: Object) -> None:
    """Of a Pod's spec, only the deadline may change here, and only to become shorter."""
    if kind.plural != "pods":
        return
    name, deadline = old["metadata"]["name"], "activeDeadlineSeconds"
    if {**old["spec"], deadline: None} != {**new["spec"], deadline: None}:
        raise invalid("Pod", name, "spec: Forbidden: pod updates may not change fields other than ...")
    before, after = old["spec"].get(deadline), new["spec"].get(deadline)
    if after is None or (before is not None and after > before):
        raise invalid("Pod", name, f"spec.{deadline}: Invalid value: must be less than or equal to previous value")


def grace(kind: Kind, item: Object, asked: int | None) -> int:
    """Seconds until a deleted object may go; 0 when there is nothing to wait for."""
    ended = item.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    if kind.plural != "pods" or ended or not item["spec"].get("nodeName"):
        return 0
    return int(item["spec"].get("terminationGracePeriodSeconds", 30)) if asked is None else asked
