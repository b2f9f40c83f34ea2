"""What Debian gives: programs that this machine lacks, and root file systems for images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.kind.command import SYSTEM_PATH, Program
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS

SUITE = "bookworm"
"""Not newer: its systemd 252 still starts on control groups of version 1, which later ones refuse. Its Python is 3.11."""

UNREAD = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
"""Left out of root file systems."""

PROGRAMS = {
    "docker": "docker.io", "dockerd": "docker.io", "runc": "runc", "tini": "tini", "jq": "jq", "ip": "iproute2",
    "iptables": "iptables", "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}  # fmt: skip
"""What a private engine and its images need, and the package it comes in. A path stands for itself."""


def can_install() -> bool:
    """Whether packages can be installed here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure_programs() -> None:
    """Install what is missing of PROGRAMS; services that come along are not started."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None and not Path(program).is_file()]
    if not missing:
        return
    packages = list(dict.fromkeys(missing))
    with STEPS.step(f"Install {', '.join(packages)}"):
        apt = Program(environment={"DEBIAN_FRONTEND": "noninteractive", "POLICYRCD": "/bin/false"})
        apt.run("apt-get", "update", "--quiet", timeout=300)
        apt.run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages, timeout=600)


def write_root(target: Path, packages: Sequence[str]) -> None:
    """Write a minimal root file system with these packages to `target`, a tar file."""
    if not can_install():
        raise ClusterError(
            "No registry gives the image, and it can only be built as root on Debian (mmdebstrap).\n"
            "Run this where a registry can be reached, or as root on Debian."
        )
    ensure_programs()
    options = [f"--dpkgopt=path-exclude={path}" for path in UNREAD]
    Program().run(
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}", *options, SUITE, target,
        timeout=600,
    )  # fmt: skip
