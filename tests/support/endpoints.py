"""EndpointSlices, as the cluster writes them for a Service."""

from typing import Any

Object = dict[str, Any]


def endpoint_slice(name: str, service: str, *pods: str) -> Object:
    """One with these Pods, all of them ready."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"targetRef": {"kind": "Pod", "name": pod}, "conditions": {"ready": True}} for pod in pods],
    }
