"""What a kubelet and a scheduler write into a Pod's status, and one that lets every Pod end at once."""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

from fake_cluster.etcd import Change, Etcd

Object = dict[str, Any]


def stamp(time: dt.datetime) -> str:
    """A time as Kubernetes writes it: UTC, whole seconds."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str, at: dt.datetime, reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": stamp(at)}


def unschedulable(at: dt.datetime, message: str) -> Object:
    """The scheduler found no node."""
    return {"phase": "Pending", "conditions": [condition("PodScheduled", "False", at, "Unschedulable", message)]}


def started(at: dt.datetime, agent: Object, phase: str = "Running", workspace: Object | None = None) -> Object:
    """A Pod that a kubelet has taken, with the state of its container and of its init container."""
    status: Object = {
        "phase": phase,
        "startTime": stamp(at),
        "conditions": [condition("PodScheduled", "True", at)],
        "containerStatuses": [{"name": "agent", "state": agent, "restartCount": 0}],
    }
    if workspace is not None:
        status["initContainerStatuses"] = [{"name": "workspace", "state": workspace, "restartCount": 0}]
    return status


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def running(at: dt.datetime) -> Object:
    return {"running": {"startedAt": stamp(at)}}


def terminated(
    start: dt.datetime | None, end: dt.datetime, message: str = "", exit_code: int = 0, reason: str = ""
) -> Object:
    state = {
        "exitCode": exit_code,
        "reason": reason or ("Error" if exit_code else "Completed"),
        "message": message,
        "finishedAt": stamp(end),
    }
    return {"terminated": state | ({"startedAt": stamp(start)} if start else {})}


class Lasting:
    """Lets every Pod run for a moment, and counts how many work at the same time, from their making to their ends.

    Use: `lasting = Lasting(0.02, message); cluster.on_change(lasting.on)`.
    """

    def __init__(self, seconds: float, message: str) -> None:
        self._seconds = seconds
        self._message = message
        self._working: set[str] = set()
        self.most = 0

    def on(self, etcd: Etcd) -> Callable[[Change], None]:
        """The listener for a cluster."""

        def seen(change: Change) -> None:
            if change.kind.plural == "pods" and change.old is None:
                self._working.add(change.last["metadata"]["name"])
                self.most = max(self.most, len(self._working))
                asyncio.get_running_loop().call_later(self._seconds, self._end, etcd, change)

        return seen

    def _end(self, etcd: Etcd, change: Change) -> None:
        now, name = dt.datetime.now(dt.UTC), change.last["metadata"]["name"]
        pod = etcd.get(change.kind, change.namespace, name)
        self._working.remove(name)
        status = started(now, terminated(now, now, self._message))
        etcd.replace(change.kind, change.namespace, {**pod, "status": status}, "status")


class Instant:
    """Lets every Pod run and end within one turn of the loop: the cluster is then as fast as its API server.

    Use: `cluster.on_change(Instant.leaving(message))`.
    """

    def __init__(self, etcd: Etcd, message: str) -> None:
        self._etcd = etcd
        self._message = message

    @classmethod
    def leaving(cls, message: str) -> Callable[[Etcd], Callable[[Change], None]]:
        """A kubelet whose containers all leave this termination message."""
        return lambda etcd: cls(etcd, message).seen

    def seen(self, change: Change) -> None:
        if change.kind.plural == "pods" and change.old is None:
            asyncio.get_running_loop().call_soon(self._run, change)

    def _run(self, change: Change) -> None:
        assert change.new is not None
        now = dt.datetime.now(dt.UTC)
        ways = (("Running", running(now)), ("Succeeded", terminated(now, now, self._message)))
        for phase, state in ways:
            pod = self._etcd.get(change.kind, change.namespace, change.new["metadata"]["name"])
            self._etcd.replace(change.kind, change.namespace, {**pod, "status": started(now, state, phase)}, "status")
