"""What Debian gives: programs that this machine lacks, and root file systems for images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.kind.command import Program, search_path
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS

SUITE = "bookworm"
"""Its Python is 3.11, and its systemd 252 still starts on control groups of version 1, which later ones refuse."""

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


def ensure_programs(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install what is missing of these programs, each with the package it comes in."""
    packages = list(dict.fromkeys(package for program, package in programs.items() if not _is_here(program)))
    if not packages:
        return
    with STEPS.step(f"Install {', '.join(packages)}"):
        apt = Program(environment={"DEBIAN_FRONTEND": "noninteractive"})
        apt.run("dpkg", "--configure", "-a", timeout=300)  # what an earlier one, killed half-way, left to do
        apt.run("apt-get", "update", "--quiet", timeout=300)
        options = ["--yes", "--quiet", "--no-install-recommends", "--option=DPkg::Lock::Timeout=120"]
        apt.run("apt-get", "install", *options, *packages, timeout=600)


def _is_here(program: str) -> bool:
    return shutil.which(program, path=search_path()) is not None or Path(program).is_file()


def write_root(target: Path, packages: Sequence[str]) -> None:
    """Write a minimal root file system with these packages to `target`, a tar file; works in the directory it is in."""
    if not can_install():
        raise ClusterError(
            "No registry gives the image, and only root on Debian can make it (with mmdebstrap).\n"
            "Run this where a registry can be reached, or as root on Debian."
        )
    ensure_programs()
    alone = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]  # killed, it leaves nothing running
    options = [f"--include={','.join(packages)}", *(f"--dpkgopt=path-exclude={path}" for path in UNREAD)]
    Program(environment={"TMPDIR": str(target.parent)}).run(
        *alone, "mmdebstrap", "--quiet", "--variant=minbase", *options, SUITE, target, timeout=600
    )  # fmt: skip
