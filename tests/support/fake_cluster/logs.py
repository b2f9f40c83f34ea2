"""pods/log: what a test put there, as the kubelet would give it."""

from collections.abc import Mapping
from typing import Any

from fake_cluster.refusals import Refusal

Object = dict[str, Any]


class Logs:
    def __init__(self) -> None:
        self._by_pod: dict[tuple[str, str], bytes] = {}

    def write(self, namespace: str, pod: str, content: bytes) -> None:
        self._by_pod[namespace, pod] = content

    def read(self, pod: Object, query: Mapping[str, str]) -> bytes:
        """The last `tailLines` lines, and of these the first `limitBytes` bytes."""
        name = pod["metadata"]["name"]
        if not pod.get("status", {}).get("containerStatuses"):
            why = f'container "{query["container"]}" in pod "{name}" is waiting to start: ContainerCreating'
            raise Refusal(400, "BadRequest", why)
        lines = self._by_pod.get((pod["metadata"]["namespace"], name), b"").splitlines(keepends=True)
        tail = b"".join(lines[-int(query.get("tailLines", len(lines) or 1)) :])
        return tail[: int(query.get("limitBytes", len(tail)))]
