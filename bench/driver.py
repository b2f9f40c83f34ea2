"""Who measures: a client with a service account of its own, at the API server's own address.

An administrator's certificate is let past the API server's priorities and limits, and past the look at what it may do;
and what kind publishes goes through a process of Docker's that copies every byte.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from deploy.stack import Stack

DRIVER: Final = "driver"


def admit(stack: Stack, namespace: str, rules: Iterable[dict[str, Any]]) -> None:
    """Makes the service account, with a Role of these rules."""
    about = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": DRIVER}}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": DRIVER}
    subject = {"kind": "ServiceAccount", "name": DRIVER, "namespace": namespace}
    stack.apply(
        namespace,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DRIVER}},
        {**about, "kind": "Role", "rules": list(rules)},
        {**about, "kind": "RoleBinding", "roleRef": role, "subjects": [subject]},
    )


def driver(stack: Stack, namespace: str, path: Path) -> Path:
    """Writes a kubeconfig of the service account, for four hours."""
    token = stack.kubectl("create", "token", DRIVER, "-n", namespace, "--duration=4h").strip()
    return kubeconfig(stack, path, token)


def kubeconfig(stack: Stack, path: Path, token: str = "") -> Path:
    """Writes a kubeconfig with the API server's own address, for whom a token names, or else for the administrator."""
    given = json.loads(stack.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    slices = ("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes", "-o", "json")
    (found, *_) = json.loads(stack.kubectl("get", *slices))["items"]
    address, port = found["endpoints"][0]["addresses"][0], found["ports"][0]["port"]
    given["clusters"][0]["cluster"]["server"] = f"https://{address}:{port}"
    if token:
        given["users"][0]["user"] = {"token": token}
    path.write_text(json.dumps(given))
    path.chmod(0o600)
    return path
