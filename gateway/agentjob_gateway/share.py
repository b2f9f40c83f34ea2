"""Which of several replicas does what only one is to do: rendezvous hashing. Pure.

Each replica finds out by itself, from the same names. When one goes, only what was its own moves; when one comes, only
what becomes its own does (https://en.wikipedia.org/wiki/Rendezvous_hashing).
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

Object = dict[str, Any]


def owner(uid: str, replicas: Iterable[str]) -> str | None:
    """The replica that something is for; None when there are none."""
    return max(replicas, key=lambda name: (_score(uid, name), name), default=None)


def heir(uid: str, replicas: Iterable[str]) -> str | None:
    """The one that it is for when its owner goes; None when there is no other one."""
    replicas = set(replicas)
    return owner(uid, replicas - {owner(uid, replicas)})


def _score(uid: str, replica: str) -> bytes:
    return blake2b(f"{replica}/{uid}".encode(), digest_size=8).digest()


def ready(endpoint_slice: Object) -> frozenset[str]:
    """The names of the Pods in an EndpointSlice that are ready to serve; one that is about to go is not."""
    endpoints = endpoint_slice.get("endpoints") or ()
    return frozenset(
        each["targetRef"]["name"]
        for each in endpoints
        if each.get("targetRef", {}).get("kind") == "Pod" and each.get("conditions", {}).get("ready", True)
    )
