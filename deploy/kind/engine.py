"""The Docker engine that the cluster runs in: the one that answers, else a private one of this checkout."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.kind import debian, private_engine
from deploy.kind.checkout import Checkout
from deploy.kind.command import Program
from deploy.kind.errors import ClusterError, CommandFailed
from deploy.kind.steps import STEPS

ANSWER_SECONDS = 30
"""For `docker version`. An engine that is there answers in 0.05 s, one on a machine that is overrun takes seconds."""

NO_ENGINE = """\
No Docker engine answers, and none can be started here: that takes root on Debian, with apt-get.
Start Docker (`docker version` must show a server; DOCKER_HOST names another than the default), or run this as root on
Debian, or use a cluster that you have: CLUSTER=current."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Docker engine that answers."""

    host: str | None
    """For DOCKER_HOST; None leaves it to the person's own setting."""
    client: str
    """A docker client that can build."""
    private: bool

    @property
    def program(self) -> Program:
        """Runs docker against this engine."""
        return Program(environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What reaches this engine from any program, and builds with BuildKit there: 20.10 has to be told."""
        return {"DOCKER_BUILDKIT": "1", **({"DOCKER_HOST": self.host} if self.host else {})}

    def docker(self, *words: str | Path, timeout: float = 60) -> str:
        """Standard output of a docker command; raises CommandFailed with docker's words."""
        return self.program.run(self.client, *words, timeout=timeout)

    def has_image(self, name: str) -> bool:
        """Whether the engine has an image under this name."""
        return self.program.succeeds(self.client, "image", "inspect", name, timeout=ANSWER_SECONDS)

    def pulls(self, name: str) -> bool:
        """Whether the image is here or a registry gives it. A private engine is where there is none to ask."""
        if self.has_image(name):
            return True
        if self.private:
            return False
        try:
            with STEPS.step(f"Pull {name.partition('@')[0]}"):
                self.docker("pull", "--quiet", name, timeout=900)
        except CommandFailed as error:
            STEPS.note(f"No registry gives it: {str(error).splitlines()[-1]}")
            return False
        return True


def find(checkout: Checkout) -> Engine | None:
    """The private engine of this checkout if it runs, else the person's own if it answers."""
    private = private_engine.host(checkout)
    if private_engine.is_running(checkout) and _answers(private):
        return Engine(host=private, client=_client(), private=True)
    own = os.environ.get("DOCKER_HOST")
    if own != private and _answers(own):
        return Engine(host=own, client=_client(), private=False)
    return None


def ensure(checkout: Checkout) -> Engine:
    """The engine, started if need be; raises ClusterError where none can be had."""
    found = find(checkout)
    if found is not None:
        return found
    if not debian.can_install():
        raise ClusterError(NO_ENGINE)
    debian.ensure_programs()
    found = find(checkout)  # where there is an init system, Debian starts the engine that it installs
    if found is not None:
        return found
    private_engine.start(checkout)
    return Engine(host=private_engine.host(checkout), client=_client(), private=True)


def _answers(host: str | None) -> bool:
    client = shutil.which("docker")
    environment = {"DOCKER_HOST": host} if host else {}
    return client is not None and Program(environment=environment).succeeds(client, "version", timeout=ANSWER_SECONDS)


def _client() -> str:
    """A docker client that builds with BuildKit: 23 and newer only do with their buildx plugin, 20.10 by itself."""
    on_path = [str(Path(found).resolve()) for found in [shutil.which("docker")] if found]
    candidates = dict.fromkeys([*on_path, "/usr/bin/docker"])
    for client in candidates:
        if _can_build(client):
            return client
    raise ClusterError(
        "A docker client that can build is needed, found: "
        f"{', '.join(candidates) or 'none'}, without the buildx plugin. Install docker-buildx."
    )


def _can_build(client: str) -> bool:
    try:
        version = Program().run(client, "--version", timeout=ANSWER_SECONDS)
    except CommandFailed:
        return False
    return "version 20." in version or Program().succeeds(client, "buildx", "version", timeout=ANSWER_SECONDS)
