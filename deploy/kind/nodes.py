"""The kind cluster: nodes made, found healthy, loaded with images and taken away."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.kind.checkout import Checkout
from deploy.kind.command import Program
from deploy.kind.engine import Engine
from deploy.kind.errors import ClusterError, CommandFailed
from deploy.kind.steps import STEPS

CREATE_SECONDS = 300
READY_SECONDS = 120
"""For the node, the default ServiceAccount and CoreDNS, each."""
ANSWER_SECONDS = 20
"""For the API server of a cluster that was made earlier; after a restart of the engine it needs this long."""


@dataclass(frozen=True)
class Nodes:
    """The cluster of a checkout, in an engine."""

    checkout: Checkout
    engine: Engine

    def names(self) -> list[str]:
        """The containers of all nodes, the control plane's first."""
        label = f"label=io.x-k8s.kind.cluster={self.checkout.name}"
        return sorted(self.engine.docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split())

    def are_up(self, image: str, count: int | None) -> bool:
        """Whether the cluster is there as wanted and answers; `count` None takes any number of nodes."""
        names = self.names()
        if not names or not self.checkout.kubeconfig.exists() or count not in (None, len(names)):
            return False
        made_from = self.engine.docker("inspect", "--format", "{{.Config.Image}}", *names).split()
        return set(made_from) == {image} and self._answers()

    def create(self, image: str, count: int) -> None:
        """Make the cluster in place of what is there; its kubeconfig gets its name when everything is ready."""
        self.delete()
        unfinished = self.checkout.kubeconfig.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with STEPS.step(f"Create the cluster {self.checkout.name}, {count} node{'s' if count > 1 else ''}"):
            self._make_network()
            self._kind("create", "cluster", "--image", image, "--kubeconfig", unfinished, "--config", "-", stdin=configuration(count))
            self._kubectl(unfinished, "wait", "--for=condition=Ready", "node", "--all", f"--timeout={READY_SECONDS}s")
        with STEPS.step("Wait for its first ServiceAccount and for CoreDNS"):
            self._wait_for_account(unfinished)
            self._kubectl(
                unfinished, "rollout", "status", "--namespace=kube-system", "deployment/coredns", f"--timeout={READY_SECONDS}s"
            )  # fmt: skip
        unfinished.rename(self.checkout.kubeconfig)

    def delete(self) -> None:
        """Take nodes, volumes, network and kubeconfig away, as far as they are there."""
        self.checkout.kubeconfig.unlink(missing_ok=True)
        names = self.names()
        networks = self.engine.docker("network", "ls", "--quiet", "--filter", f"name=^{self.checkout.name}$").split()
        if names or networks:
            with STEPS.step(f"Delete the cluster {self.checkout.name}"):
                if names:
                    self.engine.docker("rm", "--force", "--volumes", *names, timeout=120)
                if networks:
                    self.engine.docker("network", "rm", *networks)

    def load(self, images: list[str]) -> None:
        """Have these images of the engine in every node."""
        for image in images:
            wanted = self.engine.docker("image", "inspect", "--format", "{{.Id}}", image).strip()
            lacking = [name for name in self.names() if self._image_id(name, image) != wanted]
            if lacking:
                with STEPS.step(f"Load {image}"):
                    for name in lacking:
                        self._send(image, name)

    def _kind(self, *words: str | Path, stdin: str) -> None:
        network = {"KIND_EXPERIMENTAL_DOCKER_NETWORK": self.checkout.name}
        kind = Program(environment={**self.engine.environment, **network})
        kind.run(self.checkout.binaries / "kind", *words, "--name", self.checkout.name, timeout=CREATE_SECONDS, stdin=stdin)

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

    def _make_network(self) -> None:
        """A network of the cluster's own. In a private engine its bridge is named, so that it can be told (leftovers.py)."""
        bridge = ["--opt", f"com.docker.network.bridge.name={self.checkout.bridge}"] if self.engine.private else []
        self.engine.docker("network", "create", "--driver=bridge", *bridge, self.checkout.name)

    def _image_id(self, node: str, image: str) -> str | None:
        try:
            found = self.engine.docker("exec", node, "crictl", "inspecti", "--output=json", image)
        except CommandFailed:
            return None
        identity: str = json.loads(found)["status"]["id"]
        return identity

    def _send(self, image: str, node: str) -> None:
        """`docker save` into the node's containerd."""
        importing = ["ctr", "--namespace=k8s.io", "images", "import", "--all-platforms", "--digests", "--snapshotter=overlayfs", "-"]
        variables = self.engine.program.variables()
        with subprocess.Popen([self.engine.client, "save", image], stdout=subprocess.PIPE, env=variables) as save:
            try:
                self.engine.program.run(
                    self.engine.client, "exec", "--interactive", "--privileged", node, *importing, timeout=300, stdin=save.stdout
                )  # fmt: skip
            finally:
                save.kill()


def configuration(count: int) -> str:
    """kind's own, in JSON: one control plane, the others workers."""
    roles = ["control-plane"] + ["worker"] * (count - 1)
    return json.dumps(
        {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": role} for role in roles]}
    )  # fmt: skip
