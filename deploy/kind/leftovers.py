"""What private engines leave on the machine when they are killed: network bridges and control groups.

Both carry the ident of the checkout whose engine made them, so what belongs to no living engine can be told and taken
away; nothing needs to be remembered in files. Mounts and processes cannot be left over (private_engine.py).
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.kind.checkout import BRIDGE_PREFIX, PREFIX, ident_of
from deploy.kind.command import Program
from deploy.kind.steps import STEPS

CONTROL_GROUPS = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")
EMPTY_SECONDS = 5
"""For a control group to lose its last process after the kill."""


@dataclass(frozen=True)
class Supervisor:
    """The process that a private engine lives and dies with."""

    pid: int
    ident: str
    directory: Path
    """The engine's own; gone when the checkout was deleted under it."""


def supervisors() -> list[Supervisor]:
    """Of all checkouts' private engines on this machine."""
    if not PROCESSES.is_dir():  # no Linux, no private engine
        return []
    found = (supervisor(int(path.name), _arguments(path)) for path in PROCESSES.iterdir() if path.name.isdigit())
    return [one for one in found if one is not None]


def supervisor(pid: int, arguments: list[str]) -> Supervisor | None:
    """An engine's supervisor, if the command line is `unshare … engine.sh /agentjob-<ident> <directory> …`."""
    if not arguments or Path(arguments[0]).name != "unshare":
        return None
    for script, group, directory in zip(arguments, arguments[1:], arguments[2:], strict=False):
        ident = ident_of(group.removeprefix("/"))
        if script.endswith("/engine.sh") and ident is not None:
            return Supervisor(pid, ident, Path(directory))
    return None


def _arguments(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:  # it ended meanwhile
        return []


def sweep() -> None:
    """Take away what dead engines left, and engines whose checkout was deleted: nobody can reach those any more."""
    left = _left_idents()  # before looking who lives: what an engine makes that starts meanwhile is not among it
    living = set()
    for engine in supervisors():
        if engine.directory.is_dir():
            living.add(engine.ident)
        else:
            STEPS.note(f"Ending the Docker engine of a deleted checkout ({engine.directory})")
            kill(engine)
    for ident in sorted(left - living):
        clean(ident)


def kill(engine: Supervisor) -> None:
    """End an engine and all that runs in it, at once."""
    os.kill(engine.pid, signal.SIGKILL)
    wait_until_gone(engine, seconds=EMPTY_SECONDS)


def wait_until_gone(engine: Supervisor, seconds: float) -> bool:
    """Whether the engine's supervisor ended within so many seconds."""
    deadline = time.monotonic() + seconds
    while engine in supervisors():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def clean(ident: str) -> None:
    """Take away the bridge and the control groups of a checkout whose engine does not run."""
    if (Path("/sys/class/net") / f"{BRIDGE_PREFIX}{ident}").exists():
        Program().run("ip", "link", "delete", f"{BRIDGE_PREFIX}{ident}", timeout=10)
    for group in _groups(f"{PREFIX}{ident}"):
        _remove_group(group)


def _left_idents() -> set[str]:
    bridges = Path("/sys/class/net").glob(f"{BRIDGE_PREFIX}*")
    return {ident for path in [*bridges, *_groups(f"{PREFIX}*")] if (ident := ident_of(path.name)) is not None}


def _groups(pattern: str) -> list[Path]:
    """Control groups by name: one per controller in version 1, one in all in version 2."""
    return [*CONTROL_GROUPS.glob(pattern), *CONTROL_GROUPS.glob(f"*/{pattern}")]


def _remove_group(group: Path) -> None:
    deadline = time.monotonic() + EMPTY_SECONDS
    for directory, _, _ in os.walk(group, topdown=False):
        while True:
            try:
                Path(directory).rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    STEPS.note(f"{directory} could not be removed: a process is still in it")
                    return
                time.sleep(0.05)
