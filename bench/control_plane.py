"""The limits of the control plane's own clients: as Kubernetes has them by default, or such as hold nobody back.

By default, kube-controller-manager sends 20 requests a second, and kube-scheduler 50: by that alone a Job's controller
makes 3 or 4 Jobs a second. What it can do shows with limits that it does not reach. The nodes that are built here have
others than the default, so both are set.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from deploy.changes import Change, control_plane
from deploy.stack import Stack

Limits = Mapping[str, Mapping[str, int]]
"""Flags with their values, by static Pod. Each has --kube-api-qps."""

CONTROLLERS: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"
DEFAULTS: Final[Limits] = {
    CONTROLLERS: {"--kube-api-qps": 20, "--kube-api-burst": 30, "--concurrent-job-syncs": 5},
    SCHEDULER: {"--kube-api-qps": 50, "--kube-api-burst": 100},
}
RAISED: Final[Limits] = {
    CONTROLLERS: {"--kube-api-qps": 500, "--kube-api-burst": 500, "--concurrent-job-syncs": 20},
    SCHEDULER: {"--kube-api-qps": 500, "--kube-api-burst": 500},
}
LONGEST: Final = 4 * 3600
"""Seconds after which the limits are as they were, whatever has become of whoever changed them."""
_FOLDER = "/etc/kubernetes"
_KUBECTL = f"kubectl --kubeconfig={_FOLDER}/admin.conf -n kube-system"


@asynccontextmanager
async def limited(stack: Stack, limits: Limits) -> AsyncIterator[None]:
    """The control plane of a kind cluster with these limits while the block runs.

    Raises:
        ClusterError: it did not come up with them, or not with its own again.
    """
    async with control_plane(stack).changed(change(limits), LONGEST):
        yield


def change(limits: Limits) -> Change:
    """All manifests first, then the waiting: it is long."""
    begin = [_change(name, flags) for name, flags in limits.items()]
    begin += [_led(name, _has(name, flags)) for name, flags in limits.items()]
    end = [f"if test -e {_kept(name)}; then {_give(name)}; fi" for name in limits]
    end += [_led(name, _has_not(name, flags)) for name, flags in limits.items()]
    return Change("; ".join(begin), "; ".join(end))


def _change(name: str, flags: Mapping[str, int]) -> str:
    """With each new manifest a new uid: the kubelet lets a Pod of one uid wait the longer the more often it ended."""
    out = "; ".join(f"/^    - {flag}=/d" for flag in flags)
    lines = "".join(f"\\n    - {flag}={value}" for flag, value in flags.items())
    edit = f"sed '{out}; s|^    - {name}$|&{lines}|' {_kept(name)} > {_made(name)}"
    return f"cp {_manifest(name)} {_kept(name)}; {edit}; {_with_uid(name)}; mv {_made(name)} {_manifest(name)}"


def _give(name: str) -> str:
    take = f"cp {_kept(name)} {_made(name)}"
    return f"{take}; {_with_uid(name)}; mv {_made(name)} {_manifest(name)}; rm {_kept(name)}"


def _with_uid(name: str) -> str:
    uid = r"/^  uid: /d; s/^metadata:/&\n  uid: $(cat /proc/sys/kernel/random/uuid)/"
    return f'sed -i "{uid}" {_made(name)}'


def _led(name: str, is_it: str) -> str:
    """Waits until the one that is meant leads. The Lease of the one before would hold it up for a quarter minute."""
    holder = f"{_KUBECTL} get lease {name} -o jsonpath={{.spec.holderIdentity}} | grep -q ."
    return f"{_until(is_it)}; {_KUBECTL} delete lease --ignore-not-found {name} >/dev/null; {_until(holder)}"


def _has(name: str, flags: Mapping[str, int]) -> str:
    return f"pgrep -f '^{name} .*--kube-api-qps={flags['--kube-api-qps']} .*' >/dev/null"


def _has_not(name: str, flags: Mapping[str, int]) -> str:
    return f"pgrep -f '^{name} ' >/dev/null && ! {_has(name, flags)}"


def _until(condition: str) -> str:
    """For half a minute at most."""
    return f"for _ in $(seq 150); do if {{ {condition}; }} 2>/dev/null; then break; fi; sleep 0.2; done; {condition}"


def _manifest(name: str) -> str:
    return f"{_FOLDER}/manifests/{name}.yaml"


def _kept(name: str) -> str:
    return f"{_FOLDER}/{name}.as-it-was.yaml"


def _made(name: str) -> str:
    return f"{_FOLDER}/{name}.made.yaml"
