"""Artefacts kept by the hash of what they are made from: a changed input makes a new one, and only that one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY_DIGITS = 12


def digest(*inputs: str | Path) -> str:
    """Twelve hex digits of a hash over texts, and over files and directories by name, mode and content."""
    whole = hashlib.sha256()
    for part in inputs:
        for label, content in _parts(part):
            whole.update(f"{label}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:KEY_DIGITS]


def _parts(part: str | Path) -> Iterable[tuple[str, bytes]]:
    if isinstance(part, str):
        return [("", part.encode())]
    files = sorted(path for path in part.rglob("*") if path.is_file()) if part.is_dir() else [part]
    return [(f"{path.relative_to(part.parent)} {path.stat().st_mode & 0o100:o}", path.read_bytes()) for path in files]


@dataclass(frozen=True)
class Cache:
    """A directory of artefacts named `<name>-<key>`, each a file or a directory. One process at a time uses it."""

    root: Path

    def find(self, name: str, key: str) -> Path | None:
        """The artefact if it is there; then it is whole, because it got its name last."""
        path = self.root / f"{name}-{key}"
        return path if path.exists() else None

    def make(self, name: str, key: str, build: Callable[[Path], None]) -> Path:
        """Let `build` write the path it is given, and keep that as the artefact in place of older ones of this name."""
        with self.scratch(name) as directory:
            build(directory / name)
            for older in self.root.glob(f"{name}-{'?' * KEY_DIGITS}"):
                remove(older)
            return (directory / name).rename(self.root / f"{name}-{key}")

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty directory to work in, gone afterwards. What a killed process left in it is gone before."""
        directory = self.root / f"{name}.unfinished"
        remove(directory)
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            remove(directory)


def remove(path: Path) -> None:
    """Take a file or a directory away, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
