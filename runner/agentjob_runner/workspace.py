"""The small files of `spec.workspace.files`, laid into the workspace.

The runner itself lays them at its start, whatever else fills the workspace: a repository that the init container has
cloned, a claim, or nothing. So there is one way for them, and a job without git starts without an init container.

A path cannot lead out of the workspace. A repository or a claim may hold symbolic links to anywhere, and the runner
could write where they lead: none is followed.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from agentjob_api.reasons import Reason
from agentjob_runner.ending import GiveUpError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def lay(files: Mapping[str, str], workspace: Path) -> None:
    """Write the files, over what is there; a symbolic link in a file's place is replaced.

    Raises:
        GiveUpError: one could not be written.
    """
    for path, text in files.items():
        try:
            _write(workspace, path.split("/"), text.encode("utf-8", "replace"))
        except OSError as error:
            why = "a symbolic link is on its way" if isinstance(error, NotADirectoryError) else error.strerror
            raise GiveUpError(
                Reason.WORKSPACE_ERROR, f"spec.workspace.files: cannot write {path!r} into the workspace: {why}"
            ) from error


def _write(workspace: Path, parts: list[str], content: bytes) -> None:
    if not {"", ".", ".."}.isdisjoint(parts):
        raise PermissionError(0, "a path must be relative, without empty, . or .. parts")
    directory = os.open(workspace, _DIRECTORY)
    try:
        for name in parts[:-1]:
            directory = _entered(directory, name)
        with suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=directory)
        with os.fdopen(os.open(parts[-1], _NEW_FILE, 0o644, dir_fd=directory), "wb") as file:
            file.write(content)
    finally:
        os.close(directory)


def _entered(directory: int, name: str) -> int:
    """Open a directory inside another, made if it is not there, and close the other."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=directory)
    inner = os.open(name, _DIRECTORY, dir_fd=directory)
    os.close(directory)
    return inner
