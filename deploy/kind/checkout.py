"""The names and places that belong to one checkout, so that two on one machine never meet."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

PREFIX = "agentjob-"
"""Starts the name of everything a checkout owns outside its own directory: cluster, Docker network, control group."""

BESIDE = ("nodes",)
"""Clusters that a checkout may have beside the usual one, on the same network: one whose nodes tests take away."""

BRIDGE_PREFIX = "aj-"
"""The same for its network bridge: the kernel cuts interface names at 15 bytes."""


@dataclass(frozen=True)
class Checkout:
    """A working copy of the project at `root`, an absolute path without symbolic links, and one of its clusters."""

    root: Path
    beside: str = ""
    """Which cluster: one of BESIDE; "" for the one that people and tests share."""

    @property
    def ident(self) -> str:
        """Eight hex digits of the path's hash; the same for as long as the checkout stays where it is."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Of its Docker network and its control group."""
        return PREFIX + self.ident

    @property
    def cluster(self) -> str:
        """Of the cluster."""
        return f"{self.name}-{self.beside}" if self.beside else self.name

    @property
    def bridge(self) -> str:
        """Of its Docker network's bridge on the host."""
        return BRIDGE_PREFIX + self.ident

    @property
    def state(self) -> Path:
        """All that is written; git ignores it."""
        return self.root / ".cluster"

    @property
    def kubeconfig(self) -> Path:
        """Is there if and only if the cluster came up."""
        return self.state / (f"{self.beside}.kubeconfig" if self.beside else "kubeconfig")

    @property
    def binaries(self) -> Path:
        """kind, kubectl, helm, and docker where the one first on PATH cannot build."""
        return self.state / "bin"

    @property
    def cache(self) -> Path:
        """What was built, by the hash of its inputs."""
        return self.state / "cache"

    @property
    def engine(self) -> Path:
        """Data, socket and log of a private Docker engine."""
        return self.state / "engine"


def ident_of(name: str) -> str | None:
    """The checkout's ident in the name of a bridge or control group that a checkout made; None for any other."""
    for prefix in (PREFIX, BRIDGE_PREFIX):
        ident = name.removeprefix(prefix)
        if ident != name and len(ident) == 8 and set(ident) <= set("0123456789abcdef"):
            return ident
    return None
