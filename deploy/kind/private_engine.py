"""A Docker engine of the checkout's own, for machines that have none.

It lives in namespaces of its own for processes and mounts, so that it leaves no mount on the machine and everything in
it ends with its first process, however that ends. It touches neither iptables nor Docker's usual bridge: nodes need no
way out, their ports are published by docker-proxy, and images are built with `--network=host`. All its state is in
`.cluster/engine`; its processes are known by the checkout's name among their arguments.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from deploy.kind import leftovers
from deploy.kind.cache import remove
from deploy.kind.checkout import Checkout
from deploy.kind.command import Program, tail
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS

SCRIPT = Path(__file__).parent / "engine.sh"
RUNTIME = Path(__file__).parent / "runc-without-sysresource.sh"
START_SECONDS = 60
"""It answers after 0.3 s; on a machine that is overrun, after seconds."""
STOP_SECONDS = 20
SOCKET_BYTES = 107
"""The kernel's limit for the path of a Unix socket."""
CAP_SYS_RESOURCE = 24
"""Its bit in the kernel's capability sets (linux/capability.h)."""
MODULES = Path("/lib/modules")
"""Every node mounts it; Docker makes it where the machine has none."""


def host(checkout: Checkout) -> str:
    """Its DOCKER_HOST."""
    return f"unix://{checkout.engine / 'docker.sock'}"


def is_running(checkout: Checkout) -> bool:
    """Whether its processes are there; they may not answer yet."""
    return _supervisor(checkout) is not None


def start(checkout: Checkout) -> None:
    """Start it, with debian.PROGRAMS at hand, and wait until it answers. Raises ClusterError where it does not."""
    _refuse_long_path(checkout)
    with STEPS.step("Start a private Docker engine"):
        stop(checkout)
        leftovers.sweep()
        if not _launch(checkout):
            STEPS.note("It does not start on what it has; starting with nothing")
            stop(checkout)
            remove(checkout.engine / "data")
            if not _launch(checkout):
                raise ClusterError(f"The private Docker engine does not start:\n{_log_tail(checkout)}")


def stop(checkout: Checkout) -> None:
    """End it with all that runs in it, if it runs, and take away what it left outside of `.cluster/`."""
    running = _supervisor(checkout)
    if running is not None:
        _ask_to_end(running)
        if not leftovers.wait_until_gone(running, STOP_SECONDS):
            leftovers.kill(running)
    leftovers.clean(checkout.ident)
    (checkout.engine / "docker.sock").unlink(missing_ok=True)
    made_modules = checkout.engine / "made-modules"
    if made_modules.exists():
        _remove_if_empty(MODULES)
        made_modules.unlink()


def _supervisor(checkout: Checkout) -> leftovers.Supervisor | None:
    return next((one for one in leftovers.supervisors() if one.ident == checkout.ident), None)


def _launch(checkout: Checkout) -> bool:
    """Start its processes in a session of their own, so that they outlive this one; whether it then answers."""
    checkout.engine.mkdir(parents=True, exist_ok=True)
    if not MODULES.exists():
        (checkout.engine / "made-modules").touch()
    namespaces = ["--mount", "--propagation=private", "--pid", "--mount-proc", "--fork", "--kill-child"]
    arguments = [f"/{checkout.name}", str(checkout.engine), *([] if _may_raise_limits() else [str(RUNTIME)])]
    with _log(checkout).open("wb") as log:
        supervisor = subprocess.Popen(
            ["unshare", *namespaces, str(SCRIPT), *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=Program().variables(), start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    docker = Program(environment={"DOCKER_HOST": host(checkout)})
    while time.monotonic() < deadline and supervisor.poll() is None:
        if docker.succeeds("docker", "version", timeout=5):
            _forget_containers(docker)
            return True
        time.sleep(0.1)
    return False


def _forget_containers(docker: Program) -> None:
    """What ran when the engine was killed does not come back: its network may be another engine's by now."""
    left = docker.run("docker", "ps", "--all", "--quiet", timeout=30).split()
    if left:
        docker.run("docker", "rm", "--force", "--volumes", *left, timeout=120)
    docker.run("docker", "network", "prune", "--force", timeout=30)


def _ask_to_end(running: leftovers.Supervisor) -> None:
    """SIGTERM to the engine's first process; its supervisor takes no such signal and ends after it."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    with suppress(OSError):  # it ended by itself
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGTERM)


def _may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text()
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> CAP_SYS_RESOURCE & 1)


def _refuse_long_path(checkout: Checkout) -> None:
    socket = checkout.engine / "docker.sock"
    if len(os.fsencode(socket)) > SOCKET_BYTES:
        raise ClusterError(
            f"{socket}: the path of a socket may have {SOCKET_BYTES} bytes, this one has {len(os.fsencode(socket))}. "
            "Move the checkout to a shorter path, or start a Docker engine yourself."
        )


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _log(checkout: Checkout) -> Path:
    return checkout.engine / "log"


def _log_tail(checkout: Checkout) -> str:
    return tail(_log(checkout).read_bytes())
