"""The chart as Helm renders it: its objects, and values of which each is another than by default."""

from typing import Any

import yaml

from clients import render

Object = dict[str, Any]

EVERYTHING: Object = {
    "jobNamespaces": ["team-a", "team-b"],
    "model": {
        "default": "claude-x",
        "baseURL": "http://proxy.models:8080",
        "apiKeySecret": {"name": "anthropic", "key": "token"},
    },
    "image": {
        "operator": {"repository": "registry.local/op", "tag": "1", "pullPolicy": "Always"},
        "gateway": {"repository": "registry.local/gate", "tag": "3", "pullPolicy": "Always"},
        "runner": {"repository": "registry.local/run", "tag": "2", "pullPolicy": "Never"},
        "pullSecrets": ["pull"],
    },
    "runner": {
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "1.5", "memory": "3Gi"}},
        "env": [
            {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "git"}}},
        ],
        "unreachableSeconds": 60,
        "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}]},
    },
    "limits": {"running": 30, "runningPerNamespace": 10, "namespaces": {"team-b": {"running": 20, "weight": 3}}},
    "podTTLSeconds": 2_592_000,
    "workers": 4,
    "logLevel": "debug",
    "operator": {
        "replicas": 3,
        "leaseSeconds": 30,
        "resources": {"requests": {"cpu": "1"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "networkPolicy": {"apiServerPorts": [8443]},
    },
    "gateway": {
        "enabled": True,
        "replicas": 3,
        "keysSecret": "keyring",
        "kubernetesTokens": True,
        "limits": {"requestsPerMinute": 60, "concurrentJobs": 5, "streams": 10},
        "queueDepth": 2_000_000,
        "maxBodyBytes": 8_388_608,
        "corsOrigins": ["https://pages.example.com"],
        "drainSeconds": 25,
        "resources": {"requests": {"cpu": "1"}},
        "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/lines"},
        "podLabels": {"azure.workload.identity/use": "true"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "service": {"type": "NodePort", "nodePort": 30123},
        "podDisruptionBudget": {"enabled": True, "minAvailable": 2},
        "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 9, "targetCPUUtilization": 50},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "agents.example.com",
            "tlsSecret": "certificate",
            "annotations": {"cert-manager.io/cluster-issuer": "ours"},
        },
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "edge"}], "hostnames": ["agents.example.com"]},
        "networkPolicy": {
            "enabled": True,
            "from": [{"podSelector": {"matchLabels": {"app": "bot"}}}],
            "egress": [{"ports": [{"protocol": "TCP", "port": 9000}]}],
        },
    },
    "archive": {
        "enabled": True,
        "url": "s3://lines/agentjob",
        "secretName": "cloud",
        "partSeconds": 2.5,
        "claim": {"existingClaim": "ours", "size": "1Ti", "storageClassName": "fast", "accessMode": "ReadWriteMany"},
    },
    "metrics": {
        "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "crd": {"install": True},
}


def merged(values: Object, path: str, value: object) -> Object:
    """The values with another one at a dotted path."""
    name, _, rest = path.partition(".")
    return {**values, name: merged(values.get(name, {}), rest, value) if rest else value}


def objects(values: Object) -> list[Object]:
    """All that is installed with these values."""
    return [found for found in yaml.safe_load_all(render(values).expect_success()) if found]


def of_kind(kind: str, values: Object) -> list[Object]:
    return [found for found in objects(values) if found["kind"] == kind]


def one(kind: str, values: Object, name: str = "release-agentjob") -> Object:
    """The object of a kind that has this name; the gateway's are release-agentjob-gateway."""
    [found] = [found for found in of_kind(kind, values) if found["metadata"]["name"] == name]
    return found
