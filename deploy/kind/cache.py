"""Artefacts kept by the hash of what they are made from: a changed input makes a new one, and only that one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = ".unfinished"
"""Ends the name of what is being made. A kill leaves it behind; the next maker throws it away."""


def digest(*inputs: str | Path) -> str:
    """Twelve hex digits of a hash over texts, and over files and directories by name and content."""
    whole = hashlib.sha256()
    for part in inputs:
        for label, content in _parts(part):
            whole.update(f"{label}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:12]


def _parts(part: str | Path) -> Iterable[tuple[str, bytes]]:
    if isinstance(part, str):
        return [("", part.encode())]
    if part.is_dir():
        files = sorted(path for path in part.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return [(str(path.relative_to(part)), path.read_bytes()) for path in files]
    return [(part.name, part.read_bytes())]


@dataclass(frozen=True)
class Cache:
    """A directory of artefacts named `<name>-<key>`, each a file or a directory."""

    root: Path

    def find(self, name: str, key: str) -> Path | None:
        """The artefact if it is there; it is whole, because it got its name last."""
        path = self.root / f"{name}-{key}"
        return path if path.exists() else None

    def make(self, name: str, key: str, build: Callable[[Path], None]) -> Path:
        """Let `build` fill the path it is given and keep that as the artefact, in place of older ones of this name."""
        self.root.mkdir(parents=True, exist_ok=True)
        unfinished = self.root / f"{name}{UNFINISHED}"
        remove(unfinished)
        build(unfinished)
        path = self.root / f"{name}-{key}"
        for older in self.root.glob(f"{name}-{'?' * len(key)}"):
            remove(older)
        unfinished.rename(path)
        return path


def remove(path: Path) -> None:
    """Take a file or a directory away, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
