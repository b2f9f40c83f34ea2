"""The kind cluster: nodes made, found healthy, loaded with images and taken away."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.kind import node_image
from deploy.kind.checkout import Checkout
from deploy.kind.command import Program
from deploy.kind.engine import Engine
from deploy.kind.errors import ClusterError, CommandFailed
from deploy.kind.steps import STEPS
from deploy.kind.transfer import pour

CREATE_SECONDS = 300
READY_SECONDS = 120
"""For the nodes, the default ServiceAccount and CoreDNS, each."""
LOAD_SECONDS = 600
PUBLISHED = (30080, 30081)
"""Ports of the control plane's that are reached on 127.0.0.1, for Services that take them as their nodePorts: the
first for people, the second for tests."""
ANSWER_SECONDS = 20
"""For the API server of a cluster that was made earlier; after a restart of its engine it needs as long."""


@dataclass(frozen=True)
class Nodes:
    """The cluster of a checkout, in an engine."""

    checkout: Checkout
    engine: Engine

    def names(self) -> list[str]:
        """The containers of all nodes, the control plane's first."""
        label = f"label=io.x-k8s.kind.cluster={self.checkout.cluster}"
        return sorted(self.engine.docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split())

    def are_up(self, image: str, count: int | None) -> bool:
        """Whether the cluster is there as wanted and answers; `count` None takes any number of nodes."""
        names = self.names()
        if not names or not self.checkout.kubeconfig.exists() or count not in {None, len(names)}:
            return False
        return self.images() == {image} and all(map(self.published, PUBLISHED)) and self._answers()

    def images(self) -> set[str]:
        """What the nodes, at least one, are made from."""
        return set(self.engine.docker("inspect", "--format", "{{.Config.Image}}", *self.names()).split())

    def published(self, port: int) -> str:
        """HOST:PORT of this machine that leads to a port of the control plane's; "" when none does."""
        told = self.engine.docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", self.names()[0])
        return first_binding(json.loads(told), port)

    def create(self, image: str, count: int) -> None:
        """Make the cluster in place of what is there; its kubeconfig gets its name when everything is ready."""
        self.delete()
        unfinished = self.checkout.kubeconfig.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with STEPS.step(f"Create the cluster {self.checkout.cluster}, {count} node{'s' if count > 1 else ''}"):
            self._ensure_network()
            wanted = configuration(count, own_image=node_image.is_own(image))
            self._kind("create", "cluster", "--image", image, "--kubeconfig", unfinished, "--config=-", stdin=wanted)
            self._kubectl(unfinished, "wait", "--for=condition=Ready", "node", "--all", f"--timeout={READY_SECONDS}s")
        with STEPS.step("Wait for its first ServiceAccount and for CoreDNS"):
            self._wait_for_account(unfinished)
            dns = ["--namespace=kube-system", "deployment/coredns", f"--timeout={READY_SECONDS}s"]
            self._kubectl(unfinished, "rollout", "status", *dns)
        unfinished.rename(self.checkout.kubeconfig)

    def delete(self) -> None:
        """Take nodes, volumes, kubeconfig and the network that no other cluster uses away, as far as they are there."""
        self.checkout.kubeconfig.unlink(missing_ok=True)
        names = self.names()
        if names:
            with STEPS.step(f"Delete the cluster {self.checkout.cluster}"):
                self.engine.docker("rm", "--force", "--volumes", *names, timeout=120)
        users = self.engine.docker("ps", "--all", "--quiet", "--filter", f"network={self.checkout.name}").split()
        if self._has_network() and not users:
            self.engine.docker("network", "rm", self.checkout.name)

    def load(self, images: list[str]) -> None:
        """Have these images of the engine in every node; a node that lacks any gets all that some node lacks."""
        wanted = {image: self._image_id(image) for image in images}
        lacking = {name: lacks(wanted, self._images(name)) for name in self.names()}
        missing = [image for image in wanted if any(image in each for each in lacking.values())]
        if missing:
            with STEPS.step(f"Load {', '.join(missing)}"):
                self._send(missing, [name for name, some in lacking.items() if some])

    def _kind(self, *words: str | Path, stdin: str) -> None:
        network = {"KIND_EXPERIMENTAL_DOCKER_NETWORK": self.checkout.name}
        program = Program(environment={**self.engine.environment, **network})
        name = ["--name", self.checkout.cluster]
        program.run(self.checkout.binaries / "kind", *words, *name, timeout=CREATE_SECONDS, stdin=stdin)

    def _kubectl(self, kubeconfig: Path, *words: str) -> str:
        program = self.checkout.binaries / "kubectl"
        return Program().run(program, "--kubeconfig", kubeconfig, *words, timeout=READY_SECONDS + 10)

    def _answers(self) -> bool:
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            try:
                self._kubectl(self.checkout.kubeconfig, "get", "--raw=/readyz", "--request-timeout=5s")
            except CommandFailed:
                time.sleep(0.5)
            else:
                return True
        return False

    def _wait_for_account(self, kubeconfig: Path) -> None:
        """Without it no Pod can be made in the default namespace; it comes a second or two after the node."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._kubectl(kubeconfig, "get", "serviceaccount", "default", "--ignore-not-found", "--output=name"):
            if time.monotonic() > deadline:
                raise ClusterError(f"The namespace default has no ServiceAccount after {READY_SECONDS} s")
            time.sleep(0.2)

    def _has_network(self) -> bool:
        return bool(self.engine.docker("network", "ls", "--quiet", "--filter", f"name=^{self.checkout.name}$").split())

    def _ensure_network(self) -> None:
        """The network of all nodes. In a private engine its bridge has our name, by which leftovers.py tells it."""
        if self._has_network():
            return
        bridge = ["--opt", f"com.docker.network.bridge.name={self.checkout.bridge}"] if self.engine.private else []
        self.engine.docker("network", "create", "--driver=bridge", *bridge, self.checkout.name)

    def _image_id(self, image: str) -> str:
        return self.engine.docker("image", "inspect", "--format", "{{.Id}}", image).strip()

    def _images(self, node: str) -> dict[str, str]:
        """The ids of a node's images by full name."""
        listed = json.loads(self.engine.docker("exec", node, "crictl", "images", "--output=json"))
        return {name: image["id"] for image in listed["images"] for name in image["repoTags"] or ()}

    def _send(self, images: list[str], nodes: list[str]) -> None:
        """Out of the engine in one piece, so that layers which images share go once, and into all nodes at once."""
        docker = self.engine.client
        take = ["ctr", "--namespace=k8s.io", "images", "import", "--all-platforms", "--digests", "-"]
        into = [[docker, "exec", "--interactive", "--privileged", node, *take] for node in nodes]
        pour([docker, "save", *images], into, self.engine.program.variables(), LOAD_SECONDS)


def first_binding(ports: Mapping[str, list[dict[str, str]] | None], port: int) -> str:
    """HOST:PORT at which a container's TCP port is published, by the engine's list of its ports; "" when it is not."""
    found = ports.get(f"{port}/tcp")
    return f"{found[0]['HostIp']}:{found[0]['HostPort']}" if found else ""


def lacks(wanted: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Which of the images, by short name and id, a node does not have; it knows them by full name."""
    return [image for image, identity in wanted.items() if present.get(full_name(image)) != identity]


def full_name(image: str) -> str:
    """An image's name as containerd keeps it: `operator:1` is `docker.io/library/operator:1`."""
    first, slash, _ = image.partition("/")
    if not slash:
        return f"docker.io/library/{image}"
    has_host = "." in first or ":" in first or first == "localhost"
    return image if has_host else f"docker.io/{image}"


def configuration(count: int, *, own_image: bool) -> str:
    """What kind is to make, in JSON: one control plane, the others workers.

    Our own image brings changes to what kubeadm writes, in /kind/patches.
    """
    ports = [{"containerPort": port, "hostPort": 0, "listenAddress": "127.0.0.1"} for port in PUBLISHED]
    patch = {"kind": "InitConfiguration", "patches": {"directory": "/kind/patches"}}
    cluster = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane", "extraPortMappings": ports}, *[{"role": "worker"}] * (count - 1)],
        "kubeadmConfigPatches": [json.dumps(patch)] if own_image else [],
    }
    return json.dumps(cluster)
