"""CPU of the control plane's parts, as the node that they run on counts it."""

from collections.abc import Mapping
from typing import Final

from deploy.stack import Stack

PARTS: Final = ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler")
HERTZ: Final = 100
"""Of the kernel's count, on every Linux that Kubernetes runs on."""


def spent(stack: Stack, node: str) -> dict[str, float]:
    """Seconds that each part has spent since it began."""
    each = 'echo $part $(cut -d" " -f14,15 /proc/$(pgrep -o -f "^$part ")/stat)'
    script = f"for part in {' '.join(PARTS)}; do {each}; done"
    lines = stack.program.run("docker", "exec", node, "bash", "-c", script, timeout=30).splitlines()
    return {part: (int(user) + int(system)) / HERTZ for part, user, system in map(str.split, lines)}


def for_each(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    """Milliseconds for each of so many jobs, by part."""
    return {part: (after[part] - before[part]) * 1_000 / count for part in after}
