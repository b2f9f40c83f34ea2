"""The CustomResourceDefinition, generated from the types: `python -m agentjob_api.crd` prints it as JSON.

The API server takes a *structural* schema, which is narrower than JSON Schema. What has to be rewritten, with the
refusal each rewrite avoids, is listed in docs/decisions/0005-crd-from-types.md.
"""

import json
import sys
from typing import Any

from agentjob_api import names
from agentjob_api.job import AgentJob
from agentjob_api.model import Resource, Rule, checked
from agentjob_api.spec import MUTABLE, AgentJobSpec
from agentjob_api.status import AgentJobStatus

Schema = dict[str, Any]

_COLUMNS = (
    ("Phase", "string", ".status.phase", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Turns", "integer", ".status.result.numTurns", 0),
    ("Cost", "string", ".status.costUSD", 0),
    ("Attempts", "integer", ".status.attemptCount", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Queue", "integer", ".status.queue.position", 1),
    ("Model", "string", ".spec.agent.model", 1),
    ("Pod", "string", ".status.podName", 1),
    ("Session", "string", ".status.session.id", 1),
)
_NAME_RULE = Rule(
    f"size(self) <= {names.MAX_JOB_NAME} && !self.contains('.')",
    f"must be at most {names.MAX_JOB_NAME} characters, without dots: Pods are named after the job",
)


def custom_resource_definition() -> Schema:
    """The whole CustomResourceDefinition as JSON-ready data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [_version()],
        },
    }


def _version() -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".status.phase"}],
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in _COLUMNS
        ],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": AgentJob.__doc__,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object", "properties": {"name": {"type": "string", **checked(_NAME_RULE)}}},
                    "spec": _with_immutable_fields(structural(AgentJobSpec)),
                    # A job is Pending, and its observedGeneration 0, before the operator has written anything.
                    "status": {**structural(AgentJobStatus), "default": {}},
                },
            }
        },
    }


def structural(model: type[Resource]) -> Schema:
    """The structural schema of one of the resource's types."""
    schema = model.model_json_schema(by_alias=True)
    return _rewrite(schema, schema.get("$defs", {}))


def _rewrite(node: Schema, defs: Schema) -> Schema:
    """One node of a JSON Schema, and all below it, as structural schema."""
    if "$ref" in node:
        target = defs[node["$ref"].rpartition("/")[2]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _rewrite({**target, **beside}, defs)
    if "anyOf" in node:
        return _rewrite(_fold_any_of(node), defs)
    rewritten = {key: value for key, value in node.items() if key not in {"title", "$defs", "additionalProperties"}}
    if "const" in rewritten:
        rewritten["enum"] = [rewritten.pop("const")]
    if "default" in rewritten:
        rewritten |= _default(rewritten.pop("default"), node)
    if "properties" in node:
        rewritten["properties"] = {name: _rewrite(child, defs) for name, child in node["properties"].items()}
    if "items" in node:
        rewritten["items"] = _rewrite(node["items"], defs)
    if isinstance(values := node.get("additionalProperties"), dict):
        rewritten["additionalProperties"] = _rewrite(values, defs)
    return rewritten


def _default(value: object, node: Schema) -> Schema:
    """A node's default, or nothing: properties bring their own defaults, and empty is as good as absent."""
    if value is not None and "properties" in node:
        return {"default": {}}
    return {} if value in (None, [], {}) else {"default": value}


def _fold_any_of(node: Schema) -> Schema:
    """`anyOf` folded away: [X, null] is X, and [integer, string] is int-or-string. Nothing else occurs in our types."""
    beside = {key: value for key, value in node.items() if key != "anyOf"}
    options = [option for option in node["anyOf"] if option.get("type") != "null"]
    if len(options) == 1:
        return {**options[0], **beside}
    if {option.get("type") for option in options} == {"integer", "string"}:
        bounds = {key: option[key] for option in options for key in ("minimum", "pattern") if key in option}
        return {"x-kubernetes-int-or-string": True, **bounds, **beside}
    raise TypeError(f"no structural schema for {node!r}: a union other than `X | None` and `int | str`")


def _with_immutable_fields(spec: Schema) -> Schema:
    """The spec's schema with a transition rule for each field that must not change.

    `self == oldSelf` on a field is not evaluated where the field comes or goes, so each field that may be absent has a
    rule on the whole spec besides.
    """
    rules: list[Schema] = spec.setdefault("x-kubernetes-validations", [])
    for name, field in spec["properties"].items():
        if name in MUTABLE:
            continue
        message = f"{name} is immutable: delete the job and create it again"
        rule = Rule("self == oldSelf", message, "FieldValueForbidden")
        field["x-kubernetes-validations"] = [*field.get("x-kubernetes-validations", []), rule.as_schema()]
        if "default" not in field:
            presence = Rule(f"has(self.{name}) == has(oldSelf.{name})", message, "FieldValueForbidden")
            rules.append(presence.as_schema())
    return spec


if __name__ == "__main__":
    json.dump(custom_resource_definition(), sys.stdout, indent=2)
    sys.stdout.write("\n")
