"""What the demo, the end-to-end tests and the benchmarks stand on: a cluster, our images in it, the chart installed.

`python -m deploy.stack images` brings up the cluster, builds the images and loads them.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploy.kind import base_image, binaries, cluster, engine, node_image
from deploy.kind.checkout import Checkout
from deploy.kind.command import Program
from deploy.kind.errors import ClusterError, CommandFailed
from deploy.kind.nodes import PUBLISHED, Nodes
from deploy.kind.steps import STEPS

ROOT = Path(__file__).parent.parent
TARGETS = ("operator", "gateway", "runner", "scripted-model")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Trusted by the builds beside the base image's own, where a company's network signs anew what passes through it."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A cluster that can be used, and our images in it."""

    environment: Mapping[str, str]
    """What docker, kubectl, helm and kind need to find their way: DOCKER_HOST, KUBECONFIG, PATH."""
    images: Mapping[str, str]
    """Image by target; its tag is its content."""
    sealed: bool
    """Whether nothing gets out of the cluster: so it is with nodes that were built here."""
    published: Mapping[int, str]
    """HOST:PORT on this machine by the nodePort that it leads to; none on a cluster that is not of our making."""

    @property
    def program(self) -> Program:
        """Runs docker, kubectl, helm and kind in the project's root."""
        return Program(directory=ROOT, environment=self.environment)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Runs kubectl on the cluster and returns what it printed.

        Raises:
            CommandFailed: kubectl's own words.
        """
        return self.program.run("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """One object as the API server has it.

        Raises:
            CommandFailed: it is not there.
        """
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def control_plane(self) -> str:
        """Name of the node that the API server runs on, with kind also that of its container.

        Raises:
            CommandFailed: the API server does not answer.
        """
        label = "node-role.kubernetes.io/control-plane"
        return self.kubectl("get", "nodes", "-l", label, "-o", "jsonpath={.items[0].metadata.name}")

    def apply(self, namespace: str, *objects: Mapping[str, Any]) -> None:
        """Applies objects to a namespace.

        Raises:
            CommandFailed: kubectl's own words, with the API server's.
        """
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(items))

    def wait(self, namespace: str, what: str, condition: str, seconds: float) -> None:
        """Waits until the API server shows a condition of an object: `jsonpath={.status.phase}=Running`, `delete`.

        Raises:
            CommandFailed: it did not within so many seconds, or the object is not there.
        """
        bound = f"--timeout={seconds:g}s"
        self.kubectl("wait", "-n", namespace, what, f"--for={condition}", bound, timeout=seconds + 10)

    def delete_namespace(self, name: str) -> None:
        """Takes a namespace and all in it away, if it is there."""
        self.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", timeout=130)

    def ensure_namespace(self, name: str) -> None:
        """A namespace that is held to Pod Security `restricted`."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def install(self, release: str, namespace: str, values: Mapping[str, Any]) -> None:
        """Installs the chart, or upgrades it, and waits until operator and gateway are ready.

        Raises:
            CommandFailed: helm's own words.
        """
        if self.sealed:
            self._make_volume(namespace, f"{release}-gateway-archive")
        images = {target: _image_value(self.images[target]) for target in ("operator", "gateway", "runner")}
        # The CRD is the cluster's: whichever release came last brings it up to date.
        options = ("--install", "--take-ownership", "--wait", "--timeout", "2m", "--values", "-")
        self.program.run(
            "helm", "upgrade", release, "charts/agentjob", "--namespace", namespace, *options,
            stdin=json.dumps({"image": images, **values}), timeout=150,
        )  # fmt: skip

    def _make_volume(self, namespace: str, claim: str) -> None:
        """The volume of the gateway's archive: nodes that were built here have nobody who makes volumes."""
        name = f"agentjob-archive-{namespace}"
        if self.kubectl("get", "pvc", "-n", namespace, claim, "--ignore-not-found", "-o", "name").strip():
            return
        # One that was left by a claim that is gone is nobody's for ever.
        self.kubectl("delete", "pv", name, "--ignore-not-found", "--timeout=30s")
        spec = {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
            # The one directory of a node that anybody may write to: of what the kubelet makes, only root may.
            "hostPath": {"path": "/tmp", "type": "Directory"},  # noqa: S108
        }
        self.apply(
            namespace,
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec},
        )

    def install_scripted_model(self, namespace: str) -> dict[str, Any]:
        """Runs the scripted model in a namespace and returns the chart's values that name it and let runners reach it.

        Raises:
            CommandFailed: kubectl's own words.
        """
        manifest = (ROOT / "deploy/scripted-model.yaml").read_text().replace("IMAGE", self.images["scripted-model"])
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
        self.kubectl("rollout", "status", "-n", namespace, "deployment/scripted-model", "--timeout=90s", timeout=100)
        way = {"to": [{"podSelector": {"matchLabels": {"app": "scripted-model"}}}], "ports": [{"port": 8080}]}
        return {
            "model": {
                "baseURL": f"http://scripted-model.{namespace}:8080",
                "apiKeySecret": {"name": "scripted-model", "key": "api-key"},
            },
            "runner": {"networkPolicy": {"egress": [way]}},
        }


def _image_value(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}


def kind_stack(beside: str = "", nodes: int | None = None) -> Stack:
    """A kind cluster of this checkout with today's images in it; brings up and builds what is missing.

    Args:
        beside: one of checkout.BESIDE; without it, the usual one.
        nodes: how many it is to have; without it, any number, and one if it is made.

    Raises:
        ClusterError: what failed, in its own words.
    """
    checkout = Checkout(ROOT, beside)
    with cluster.alone(checkout):
        cluster.up(checkout, nodes)
        docker = engine.ensure(checkout)
        base = base_image.ensure(checkout, docker)
        images = {target: _build(target, base, docker) for target in TARGETS}
        made = Nodes(checkout, docker)
        made.load(list(images.values()))
        sealed = any(map(node_image.is_own, made.images()))
        published = {port: made.published(port) for port in PUBLISHED}
    environment = cluster.environment(checkout, docker)
    return Stack(environment=environment, images=images, sealed=sealed, published=published)


def current_stack() -> Stack:
    """The cluster that kubectl is set to, after the person has said yes, with today's images in REGISTRY.

    Raises:
        ClusterError: there is no such context, no registry to push to, or the answer was no.
    """
    checkout = Checkout(ROOT)
    try:
        context = Program().run("kubectl", "config", "current-context", timeout=30).strip()
    except CommandFailed as error:
        raise ClusterError(
            "CLUSTER=current: set kubectl to a context first (kubectl config use-context NAME)"
        ) from error
    registry = os.environ.get("REGISTRY")
    if not registry:
        raise ClusterError(
            f"REGISTRY is not set: name the host/path from which {context!r} can pull the images pushed to it"
        )
    _ask(f"Install the demo into the context {context!r}, and push its images to {registry}?")
    with cluster.alone(checkout):
        docker = engine.ensure(checkout)
        binaries.install(checkout, docker)
        base = base_image.ensure(checkout, docker)
        images = {target: f"{registry}/{_build(target, base, docker)}" for target in TARGETS}
        for image in images.values():
            with STEPS.step(f"Push {image}"):
                docker.docker("tag", image.removeprefix(f"{registry}/"), image)
                docker.docker("push", "--quiet", image, timeout=900)
    own = {name: value for name, value in cluster.environment(checkout, docker).items() if name != "KUBECONFIG"}
    return Stack(environment=own, images=images, sealed=False, published={})


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise ClusterError(f"{question} Nobody can be asked here: run it in a terminal.")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise ClusterError("Nothing was done.")


def _build(target: str, base: str, docker: engine.Engine) -> str:
    """Builds one target of deploy/Dockerfile and returns the image's name, whose tag is the hash of its content."""
    secret = ("--secret", f"id=ca,src={CERTIFICATES}") if CERTIFICATES.exists() else ()
    given = ("--build-arg", f"BASE={base}", "--build-arg", f"VERSION={version('agentjob')}", *secret)
    options = ("--target", target, *given, "--network=host", "--file")
    with STEPS.step(f"Build the image {target}"):
        digest = docker.docker("build", "--quiet", *options, ROOT / "deploy/Dockerfile", ROOT, timeout=900).strip()
        image = f"agentjob-{target}:{digest.removeprefix('sha256:')[:12]}"
        docker.docker("tag", digest, image)
    return image


def main() -> int:
    """Builds and loads, or says what went wrong."""
    parser = argparse.ArgumentParser(description="Bring up the cluster, build the images and load them.")
    parser.add_argument("command", choices=["images"])
    parser.parse_args()
    try:
        for image in kind_stack().images.values():
            print(image)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
