"""The image of the cluster's nodes: kind's own where a registry gives it, else built from Debian and Go modules."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.kind import debian, golang, root_image
from deploy.kind.cache import Cache, digest
from deploy.kind.checkout import Checkout
from deploy.kind.engine import Engine
from deploy.kind.steps import STEPS

STOCK = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
"""What kind 0.33 takes by itself (its pkg/apis/config/defaults/image.go)."""

NODE = Path(__file__).parent / "node"
REPOSITORY = "agentjob-node"

PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "iptables", "nftables", "iproute2", "conntrack", "ethtool", "kmod", "mount",
    "util-linux", "procps", "hostname", "e2fsprogs", "libseccomp2", "runc", "containernetworking-plugins", "pigz", "jq",
    "ca-certificates", "curl",
)  # fmt: skip
"""What kind's base image has, as far as it is used here, and runc and the CNI plugins, which kind builds."""

BINARIES = (
    golang.KUBE, golang.KUBEADM, golang.ETCD, golang.NETPOL, golang.PAUSE,
    golang.CONTAINERD, golang.SHIM, golang.CTR, golang.CRICTL, golang.COREDNS,
)  # fmt: skip

ONLY_IN_PODS = {"etcd", "pause", "coredns"}
"""Go into the images that the node carries, not into its own file system."""


def ensure(checkout: Checkout, engine: Engine) -> str:
    """Have the image in the engine and return its name: kind's where it can be pulled, else our own."""
    name = own_name()
    if engine.has_image(name):  # built when no registry gave kind's; do not ask again
        return name
    if engine.pulls(STOCK):
        return STOCK
    _build(Cache(checkout.cache), engine, name)
    return name


def own_name() -> str:
    """The name of the image that is built here, with the hash of all that goes into it."""
    packages = [debian.SUITE, *debian.UNREAD, *PACKAGES]
    keys = [golang.KIND.key, *(binary.key for binary in BINARIES)]
    return f"{REPOSITORY}:{digest(NODE, *packages, *keys)}"


def is_own(name: str) -> bool:
    """Whether it is an image that is built here."""
    return name.startswith(f"{REPOSITORY}:")


def _build(cache: Cache, engine: Engine, name: str) -> None:
    binaries = {binary.name: golang.built(binary, cache) for binary in BINARIES}
    files = golang.toolchain(cache).module("tools", "sigs.k8s.io/kind") / "images/base/files"
    root = root_image.ensure(cache, engine, f"{REPOSITORY}-root", PACKAGES)
    with STEPS.step("Build the node image"), cache.scratch("context") as context:
        lay_out(context, files, binaries)
        options = ["--network=none", "--build-arg", f"ROOT={root}", "--tag", name]
        engine.docker("build", "--quiet", *options, context, timeout=600)


def lay_out(context: Path, files: Path, binaries: dict[str, Path]) -> None:
    """Put the Dockerfile's context together: kind's files, ours over them, the binaries by name."""
    root = context / "rootfs"
    for source in sorted(path for path in files.rglob("*") if path.is_file()):
        target = root / source.relative_to(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if target.parent.name == "bin" else 0o644)  # modules carry no modes
    shutil.copytree(NODE, context, dirs_exist_ok=True)
    for name, binary in binaries.items():
        place = context / "pods" if name in ONLY_IN_PODS else root / "usr/local/bin"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).hardlink_to(binary)
