"""The image of the cluster's nodes: kind's own where a registry gives it, else built from Debian and Go modules."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from deploy.kind import debian, golang, root_image
from deploy.kind.cache import Cache, digest
from deploy.kind.checkout import Checkout
from deploy.kind.engine import Engine
from deploy.kind.steps import STEPS

NODE = Path(__file__).parent / "node"
REPOSITORY = "agentjob-node"

PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "iptables", "nftables", "iproute2", "conntrack", "ethtool", "kmod", "mount", "util-linux",
    "procps", "hostname", "e2fsprogs", "libseccomp2", "runc", "containernetworking-plugins", "pigz", "jq",
    "ca-certificates", "curl",
)  # fmt: skip
"""What kind's base image has, as far as it is used here, and runc and the CNI plugins, which kind builds."""

BINARIES = (
    golang.KUBE, golang.KUBEADM, golang.ETCD, golang.NETPOL, golang.PAUSE,
    golang.CONTAINERD, golang.SHIM, golang.CTR, golang.CRICTL, golang.COREDNS,
)  # fmt: skip

ONLY_IN_PODS = {"etcd", "pause", "coredns"}
"""Go into the images that the node carries, not into its own file system."""


def ensure(checkout: Checkout, engine: Engine, stock: str) -> str:
    """Have the image in the engine and return its name: `stock` where it can be pulled, else our own."""
    if engine.pulls(stock):
        return stock
    name = own_name()
    if not engine.has_image(name):
        _build(Cache(checkout.cache), engine, name)
    return name


def own_name() -> str:
    """The name of the image that is built here, with the hash of all that goes into it."""
    return f"{REPOSITORY}:{digest(NODE, debian.SUITE, *PACKAGES, golang.KIND.key, *(binary.key for binary in BINARIES))}"


def _build(cache: Cache, engine: Engine, name: str) -> None:
    binaries = [(binary.name, golang.built(binary, cache)) for binary in BINARIES]
    files = golang.toolchain(cache).module("tools", "sigs.k8s.io/kind") / "images/base/files"
    root = root_image.ensure(cache, engine, f"{REPOSITORY}-root", PACKAGES)
    with STEPS.step("Build the node image"), tempfile.TemporaryDirectory(dir=cache.root, prefix="context.") as context:
        lay_out(Path(context), files, binaries)
        engine.docker(
            "build", "--quiet", "--network=none", "--build-arg", f"ROOT={root}", "--tag", name, context, timeout=600
        )  # fmt: skip


def lay_out(context: Path, files: Path, binaries: list[tuple[str, Path]]) -> None:
    """Put the Dockerfile's context together: kind's files, ours over them, the binaries."""
    own = context / "rootfs"
    for source in sorted(path for path in files.rglob("*") if path.is_file()):
        target = own / source.relative_to(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if target.parent.name == "bin" else 0o644)  # modules carry no modes
    shutil.copytree(NODE, context, dirs_exist_ok=True)
    for name, binary in binaries:
        place = context / "pods" if name in ONLY_IN_PODS else own / "usr/local/bin"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).hardlink_to(binary)
