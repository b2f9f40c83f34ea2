"""What the demo, the end-to-end tests and the benchmarks stand on: a cluster, our images in it, the chart installed.

`python -m deploy.stack images` brings up the cluster, builds the images and loads them.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.kind.command import Program
from deploy.kind.errors import ClusterError
from deploy.kind.steps import Steps

ROOT = Path(__file__).parent.parent
TARGETS = ("operator", "runner", "scripted-model")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Trusted by the builds beside the base image's own, where a company's network signs anew what passes through it."""
KIND = ("python3", "deploy/kind/cluster.py")
STEPS = Steps(sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A cluster that can be used, and our images in it."""

    environment: Mapping[str, str]
    """What docker, kubectl, helm and kind need to find their way: DOCKER_HOST, KUBECONFIG, PATH."""
    images: Mapping[str, str]
    """Image by target; its tag is its content."""

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

    def apply(self, namespace: str, *objects: Mapping[str, Any]) -> None:
        """Applies objects to a namespace.

        Raises:
            CommandFailed: kubectl's own words, with the API server's.
        """
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(items))

    def ensure_namespace(self, name: str) -> None:
        """A namespace that is held to Pod Security `restricted`."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def install(self, release: str, namespace: str, values: Mapping[str, Any]) -> None:
        """Installs the chart, or upgrades it, and waits until the operator is ready.

        Raises:
            CommandFailed: helm's own words.
        """
        images = {target: _image_value(self.images[target]) for target in ("operator", "runner")}
        # The CRD is the cluster's: whichever release came last brings it up to date.
        options = ("--install", "--take-ownership", "--wait", "--timeout", "2m", "--values", "-")
        self.program.run(
            "helm", "upgrade", release, "charts/agentjob", "--namespace", namespace, *options,
            stdin=json.dumps({"image": images, **values}), timeout=150,
        )  # fmt: skip

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


def kind_stack() -> Stack:
    """The kind cluster of this checkout with today's images in it; brings up and builds what is missing.

    Raises:
        ClusterError: what failed, in its own words.
    """
    plain = Program(directory=ROOT)
    with STEPS.step("cluster"):
        plain.run(*KIND, "up", timeout=1800)
    environment = _exports(plain.run(*KIND, "env", timeout=30))
    docker = Program(directory=ROOT, environment={**environment, "DOCKER_BUILDKIT": "1"})
    base = plain.run(*KIND, "base", timeout=900).strip().splitlines()[-1]
    images = {target: _build(target, base, docker) for target in TARGETS}
    with STEPS.step("images into the cluster"):
        plain.run(*KIND, "load", *images.values(), timeout=300)
    return Stack(environment=environment, images=images)


def _build(target: str, base: str, docker: Program) -> str:
    """Builds one target of deploy/Dockerfile and returns the image's name, whose tag is the hash of its content."""
    secret = ("--secret", f"id=ca,src={CERTIFICATES}") if CERTIFICATES.exists() else ()
    options = ("--target", target, "--build-arg", f"BASE={base}", *secret, "--file", "deploy/Dockerfile")
    with STEPS.step(f"image {target}"):
        digest = docker.run("docker", "build", "--quiet", "--network=host", *options, ".", timeout=900).strip()
        image = f"agentjob-{target}:{digest.removeprefix('sha256:')[:12]}"
        docker.run("docker", "tag", digest, image, timeout=30)
    return image


def _exports(lines: str) -> dict[str, str]:
    """The variables of `export NAME=value` lines."""
    words = [shlex.split(line) for line in lines.splitlines() if line.startswith("export ")]
    return dict(pair.split("=", 1) for _, pair in words)


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
