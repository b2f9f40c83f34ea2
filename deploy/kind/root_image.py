"""Images that are a Debian root file system, made without a registry."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.kind import debian
from deploy.kind.cache import Cache, digest
from deploy.kind.engine import Engine
from deploy.kind.steps import STEPS


def name_of(repository: str, packages: Sequence[str]) -> str:
    """The image's name, with the hash of what it is made from."""
    return f"{repository}:{digest(debian.SUITE, *debian.UNREAD, *packages)}"


def ensure(cache: Cache, engine: Engine, repository: str, packages: Sequence[str]) -> str:
    """Have a root with these packages in the engine and return the image's name."""
    name = name_of(repository, packages)
    if engine.has_image(name):
        return name
    with STEPS.step(f"Debian {debian.SUITE} for {repository}"), cache.scratch(repository) as directory:
        tar = directory / "root.tar"
        debian.write_root(tar, packages)
        engine.docker("import", tar, name, timeout=300)
    return name
