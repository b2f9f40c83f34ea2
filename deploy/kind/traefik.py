"""Traefik, a proxy that is an Ingress controller, to test the gateway behind one.

It is what its Go modules hold but for one package: lego's clients of 220 DNS providers, which prove to certificate
authorities whose a name is. They are most of what there would be to fetch and to build, and nothing here asks for one.

`python -m deploy.kind.traefik` builds it, for minutes when nothing is cached.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.kind import golang, lock
from deploy.kind.cache import Cache, digest
from deploy.kind.checkout import Checkout
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS

TRAEFIK: Final = golang.Built(name="traefik", module="traefik", package="github.com/traefik/traefik/v3/cmd/traefik")
LEGO: Final = "github.com/go-acme/lego/v5"
GATEWAY_API: Final = "sigs.k8s.io/gateway-api"
LEFT_OUT: Final = {"cmd", "e2e", "providers"}
"""Of lego: its own programs, and the clients."""


def ensure(checkout: Checkout) -> Path:
    """The executable, out of the checkout's cache or built.

    Raises:
        ClusterError: what failed, in its own words.
    """
    with lock.alone(checkout.state / "lock", "Waiting for another command on this checkout"):
        return _built(Cache(checkout.cache))


def _built(cache: Cache) -> Path:
    key = digest(TRAEFIK.sources)
    found = cache.find(TRAEFIK.name, key)
    if found is not None:
        return found
    go = golang.toolchain(cache)
    with STEPS.step(f"Build {TRAEFIK.name}"), cache.scratch(f"{TRAEFIK.name}-sources") as root:
        sources = root / TRAEFIK.module
        shutil.copytree(TRAEFIK.sources, sources)
        lay_out_lego(go.module(TRAEFIK.module, LEGO), sources)
        return cache.make(TRAEFIK.name, key, lambda target: go.build(replace(TRAEFIK, root=root), target))


def lay_out_lego(lego: Path, sources: Path) -> None:
    """Put what is built of `lego`, a directory, beside the go.mod in `sources`, and have the go.mod take it there."""
    for source in sorted(path for path in lego.rglob("*") if path.is_file()):
        place = source.relative_to(lego)
        if place.parts[0] in LEFT_OUT:
            continue
        target = sources / "lego" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    shutil.copytree(sources / "dns", sources / "lego/providers/dns")
    with (sources / "go.mod").open("a") as written:
        written.write(f"\nreplace {LEGO} => ./lego\n")


def gateway_api(checkout: Checkout) -> Path:
    """The directory with the definitions of the Gateway API, of the version that Traefik is built for."""
    return golang.toolchain(Cache(checkout.cache)).module(TRAEFIK.module, GATEWAY_API) / "config/crd/standard"


def main() -> int:
    """Builds it, or says what went wrong."""
    try:
        print(ensure(Checkout(Path(__file__).parents[2])))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
