"""A kind cluster to try and test on, brought up from whatever the machine has.

    python3 deploy/kind/cluster.py up [--nodes N]    .cluster/kubeconfig and .cluster/bin/{kind,kubectl,helm}
    python3 deploy/kind/cluster.py down [--purge]    leaves only the caches in .cluster/; with --purge not even those
    python3 deploy/kind/cluster.py load IMAGE...     images of the engine into all nodes
    python3 deploy/kind/cluster.py env               `export` lines: eval "$(python3 deploy/kind/cluster.py env)"
    python3 deploy/kind/cluster.py base              the name of the image for `docker build --build-arg BASE=...`

Needs Python 3.11 and nothing else that is not there or installed by it. Environment variables that it reads:

    DOCKER_HOST      the Docker engine to use, as docker reads it; without one, or an answer, a private one is started
    PATH             where docker and go are looked for
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run by its path, before anything is installed
    sys.path[0] = str(ROOT)

from deploy.kind import base_image, binaries, engine, lock, node_image, private_engine
from deploy.kind.cache import remove
from deploy.kind.checkout import BESIDE, Checkout
from deploy.kind.errors import ClusterError
from deploy.kind.nodes import Nodes
from deploy.kind.steps import STEPS


def up(checkout: Checkout, nodes: int | None) -> None:
    """Have a cluster that answers. What is there and as wanted is left alone."""
    running = engine.ensure(checkout)
    binaries.install(checkout, running)
    image = node_image.ensure(checkout, running)
    cluster = Nodes(checkout, running)
    if cluster.are_up(image, nodes):
        STEPS.note(f"The cluster {checkout.cluster} is up")
    else:
        cluster.create(image, nodes or 1)


def down(checkout: Checkout, *, purge: bool) -> None:
    """Take everything away but the caches in `.cluster/`, and those too if asked."""
    running = engine.find(checkout)
    each = [replace(checkout, beside=beside) for beside in (*BESIDE, "")]
    if running is not None:
        for one in each:
            Nodes(one, running).delete()
    private_engine.stop(checkout)
    for one in each:
        one.kubeconfig.unlink(missing_ok=True)
    if purge:
        remove(checkout.state)


def load(checkout: Checkout, images: list[str]) -> None:
    """Have images of the engine in all nodes."""
    Nodes(checkout, _running(checkout)).load(images)


def environment(checkout: Checkout, running: engine.Engine) -> dict[str, str]:
    """What docker, kubectl, helm and kind need to find their way."""
    path = f"{checkout.binaries}:{os.environ.get('PATH', '')}"
    return {**running.environment, "KUBECONFIG": str(checkout.kubeconfig), "PATH": path}


def env(checkout: Checkout) -> None:
    """Print that for a shell."""
    for name, value in environment(checkout, _running(checkout)).items():
        print(f"export {name}={shlex.quote(value)}")


def base(checkout: Checkout) -> None:
    """Print the name of the base image, which is in the engine then."""
    print(base_image.ensure(checkout, engine.ensure(checkout)))


def _running(checkout: Checkout) -> engine.Engine:
    found = engine.find(checkout)
    if found is None:
        raise ClusterError("No Docker engine runs for this checkout. Bring the cluster up first: make cluster")
    return found


def alone(checkout: Checkout) -> AbstractContextManager[None]:
    """Hold the lock of the checkout's cluster."""
    return lock.alone(checkout.state / "lock", "Waiting for another command on this checkout's cluster to end")


def arguments() -> argparse.Namespace:
    """The command line, as the module's first lines show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    upping = commands.add_parser("up")
    upping.add_argument("--nodes", type=int, choices=range(1, 4), help="1 unless a cluster is there already")
    commands.add_parser("down").add_argument("--purge", action="store_true")
    commands.add_parser("load").add_argument("images", nargs="+", metavar="IMAGE")
    commands.add_parser("env")
    commands.add_parser("base")
    return parser.parse_args()


def run(asked: argparse.Namespace, checkout: Checkout) -> None:
    """Do what was asked."""
    if asked.command == "env":  # only looks
        env(checkout)
        return
    actions: dict[str, Callable[[], None]] = {
        "up": lambda: up(checkout, asked.nodes),
        "down": lambda: down(checkout, purge=asked.purge),
        "load": lambda: load(checkout, asked.images),
        "base": lambda: base(checkout),
    }
    with alone(checkout):
        actions[asked.command]()


def main() -> int:
    """Do it, or say in words why it could not be done."""
    try:
        run(arguments(), Checkout(ROOT))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
