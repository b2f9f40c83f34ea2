"""The programs that people and tests call: kind, kubectl and helm, in `.cluster/bin`."""

from __future__ import annotations

from pathlib import Path

from deploy.kind import golang
from deploy.kind.cache import Cache
from deploy.kind.checkout import Checkout
from deploy.kind.engine import Engine


def install(checkout: Checkout, engine: Engine) -> None:
    """Have them there, and with them a docker that can build: another one may come first on PATH."""
    checkout.binaries.mkdir(parents=True, exist_ok=True)
    for program in (golang.KIND, golang.KUBECTL, golang.HELM):
        _link(checkout.binaries / program.name, golang.built(program, Cache(checkout.cache)))
    _link(checkout.binaries / "docker", Path(engine.client))


def _link(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target`, at once: who looks meanwhile finds the old or the new one."""
    if link.is_symlink() and link.readlink() == target:
        return
    new = link.with_name(f".{link.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
