"""What a cluster has in front of the chart: Traefik, which serves its Ingress and its HTTPRoute."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from deploy.kind import cluster, engine, traefik
from deploy.kind.checkout import Checkout
from deploy.kind.command import Program
from deploy.kind.nodes import Nodes
from deploy.stack import ROOT, Stack
from proxy import TIMEOUT_SECONDS

Object = dict[str, Any]

NAME: Final = "traefik"
LABELS: Final = {"app": NAME}
CLASSES: Final = {"traefik": "traefik.io/ingress-controller", "nginx": "k8s.io/ingress-nginx"}
"""Classes of Ingress and who serves them: Traefik after its own rules, and Traefik after those of ingress-nginx."""
GATEWAY: Final = "edge"
WITHIN: Final = 60.0
FIELD: Final = ("--server-side", "--force-conflicts", "--field-manager=e2e")


def loaded() -> str:
    """The image of Traefik, in the cluster's nodes."""
    checkout = Checkout(ROOT)
    program = traefik.ensure(checkout)
    image = f"agentjob-{NAME}:{program.name.rpartition('-')[2]}"
    with cluster.alone(checkout), TemporaryDirectory() as context:
        docker = engine.ensure(checkout)
        if not docker.has_image(image):
            shutil.copy(program, Path(context, NAME))
            Path(context, "Dockerfile").write_text(f'FROM scratch\nCOPY {NAME} /\nENTRYPOINT ["/{NAME}"]\n')
            docker.docker("build", "--quiet", "--tag", image, context, timeout=120)
        Nodes(checkout, docker).load([image])
    return image


@contextmanager
def gateway_api(stack: Stack) -> Iterator[None]:
    """The definitions of the Gateway API, in the cluster while the block runs."""
    folder = traefik.gateway_api(Checkout(ROOT))
    files = [str(path) for path in sorted(folder.glob("*.yaml")) if "_vap_" not in path.name]
    named = [f"--filename={path}" for path in files]
    stack.kubectl("apply", *FIELD, *named)
    try:
        stack.kubectl("wait", *named, "--for=condition=Established", f"--timeout={WITHIN:g}s", timeout=WITHIN + 10)
        yield
    finally:
        stack.kubectl("delete", *named, "--ignore-not-found", "--timeout=60s", timeout=70)


@contextmanager
def traefik_in(stack: Stack, namespace: str, port: int) -> Iterator[None]:
    """Traefik in a namespace, at a port of the nodes', while the block runs."""
    image = loaded()
    over_all = json.dumps({"apiVersion": "v1", "kind": "List", "items": of_the_cluster(namespace)})
    try:
        stack.kubectl("apply", "--filename=-", stdin=over_all)
        stack.apply(namespace, *in_the_namespace(namespace, image, port))
        traefik_is_ready(stack, namespace)
        yield
    finally:
        stack.kubectl("delete", "-n", namespace, "service,deployment,gateway", "-l", f"app={NAME}", timeout=90)
        stack.kubectl("delete", "--filename=-", "--ignore-not-found", stdin=over_all)


def traefik_is_ready(stack: Stack, namespace: str) -> None:
    """Waits until the Pod that is wanted serves."""
    stack.kubectl("rollout", "status", "-n", namespace, f"deployment/{NAME}", "--timeout=90s", timeout=100)


def of_the_cluster(namespace: str) -> list[Object]:
    """What belongs to no namespace: classes, and Traefik's rights."""
    rbac, gateways = "rbac.authorization.k8s.io", "gateway.networking.k8s.io"
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": f"agentjob-{NAME}"}
    read = ["get", "list", "watch"]
    rules = [
        {
            "apiGroups": [""],
            "resources": ["namespaces", "services", "secrets", "configmaps", "pods", "nodes"],
            "verbs": read,
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": read},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["update"]},
        {"apiGroups": [gateways], "resources": ["*"], "verbs": [*read, "update"]},
    ]
    named = {"metadata": {"name": role["name"], "labels": LABELS}}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", **named, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", **named, "roleRef": role, "subjects": [subject]},
        *(
            _object("networking.k8s.io/v1", "IngressClass", name, {"controller": controller})
            for name, controller in CLASSES.items()
        ),
        _object(f"{gateways}/v1", "GatewayClass", NAME, {"controllerName": "traefik.io/gateway-controller"}),
    ]


def in_the_namespace(namespace: str, image: str, port: int) -> list[Object]:
    """Traefik itself, its Service, and a Gateway that it serves."""
    # Compresses whatever may be: the answers to polls, but not events, which would be held back for it.
    compress = {"http": {"middlewares": {"compress": {"compress": {"excludedContentTypes": ["text/event-stream"]}}}}}
    door = {"name": "web", "port": 80, "targetPort": 8080, "nodePort": port}
    listener = {"name": "web", "protocol": "HTTP", "port": 8080}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME},
            "data": {"traefik.yaml": yaml.safe_dump(settings(namespace)), "compress.yaml": yaml.safe_dump(compress)},
        },
        _object("apps/v1", "Deployment", NAME, _deployment(image)),
        _object("v1", "Service", NAME, {"type": "NodePort", "selector": LABELS, "ports": [door]}),
        _object(
            "gateway.networking.k8s.io/v1", "Gateway", GATEWAY, {"gatewayClassName": NAME, "listeners": [listener]}
        ),
    ]


def settings(namespace: str) -> Object:
    """Traefik's own configuration: usual but for the timeouts, and for compressing everything."""
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {
            "web": {
                "address": ":8080",
                "transport": {
                    "respondingTimeouts": {"readTimeout": TIMEOUT_SECONDS, "idleTimeout": TIMEOUT_SECONDS},
                },
                "http": {"middlewares": ["compress@file"]},
            },
            "traefik": {"address": ":8081"},
        },
        "ping": {},
        "api": {"insecure": True},
        "providers": {
            "file": {"filename": "/etc/traefik/compress.yaml"},
            "kubernetesIngress": {"namespaces": [namespace]},
            "kubernetesIngressNGINX": {
                "watchNamespace": namespace,
                "httpEntryPoint": "web",
                # What ingress-nginx does unless an Ingress says otherwise, and sooner.
                "proxyBuffering": True,
                "proxyReadTimeout": TIMEOUT_SECONDS,
            },
            "kubernetesGateway": {"namespaces": [namespace]},
        },
    }


def _object(version: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": LABELS}, "spec": spec}


def _deployment(image: str) -> Object:
    container = {
        "name": NAME,
        "image": image,
        "args": ["--configFile=/etc/traefik/traefik.yaml"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": 8081}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/traefik"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "serviceAccountName": NAME,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}, {"name": "tmp", "emptyDir": {}}],
    }
    template = {"metadata": {"labels": LABELS}, "spec": spec}
    return {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template}


def until_reached(url: str, host: str) -> None:
    """Waits for a way in that is open to all: until then, Traefik knows no such place."""
    deadline = time.monotonic() + WITHIN
    while not Program().succeeds("curl", "-sSf", "-H", f"Host: {host}", url, timeout=20):
        assert time.monotonic() < deadline, f"{host} is not reached within {WITHIN} s: {url}"
        time.sleep(0.2)
