"""The replicas of the gateway that are ready, and which of them each job is for."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

from agentjob_api.names import Key
from agentjob_gateway import share
from agentjob_kube.client import Client
from agentjob_kube.listwatch import Changed, ListWatch, Removed, Replaced, Selection
from agentjob_kube.resources import ENDPOINT_SLICES

Object = dict[str, Any]
Slice = tuple[str, frozenset[str]]
"""An EndpointSlice: its name, and the Pods in it that are ready."""
ALONE_SECONDS: Final = 600.0
"""So long after the last other replica was ready it may still come back, with lines that we do not have."""


class Peers:
    """Without a name of our own there is one replica alone, and everything is for it."""

    def __init__(self, own: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.joined = asyncio.Event()
        """Set once we are one of them."""
        self.listeners: list[Callable[[], None]] = []
        """Told when a replica has come or gone; they neither raise nor wait."""
        self._own = own
        self._clock = clock
        self._together = float("-inf")
        """Until when there was another one, as far as it is gone."""
        self._ready: frozenset[str] = frozenset()
        self._slices: dict[str, frozenset[str]] = {}
        if own is None:
            self.joined.set()

    def owns(self, uid: str) -> bool:
        """Whether a job is for us. For a moment two replicas may think so, or none."""
        return self._own is None or share.owner(uid, self._ready) == self._own

    def inherits(self, uid: str) -> bool:
        """Whether a job is for us when the one that it is for goes."""
        return self._own is not None and share.heir(uid, self._ready) == self._own

    def is_alone(self) -> bool:
        """Whether there is no other replica, and has not been for a while."""
        if self._own is None:
            return True
        is_known = self.joined.is_set() and not self._has_others()
        return is_known and self._clock() - self._together >= ALONE_SECONDS

    def _has_others(self) -> bool:
        return bool(self._ready - {self._own})

    def replace(self, slices: dict[str, frozenset[str]]) -> None:
        """Takes the ready Pods of all EndpointSlices."""
        self._slices = slices
        ready = frozenset[str]().union(*slices.values())
        if ready == self._ready:
            return
        if self._has_others():
            self._together = self._clock()
        self._ready = ready
        if self._own in ready:
            self.joined.set()
        for listener in self.listeners:
            listener()

    async def run(self, client: Client, service: Key) -> None:
        """Keeps this true for ever, after the EndpointSlices of a Service."""
        selector = f"kubernetes.io/service-name={service.name}"
        watch = ListWatch(client, Selection(ENDPOINT_SLICES, service.namespace, selector), _seen)
        async with aclosing(watch.deltas()) as deltas:
            async for delta in deltas:
                match delta:
                    case Replaced(slices, _):
                        self.replace(dict(slices))
                    case Changed((name, ready)):
                        self.replace({**self._slices, name: ready})
                    case Removed((gone, _)):
                        self.replace({name: ready for name, ready in self._slices.items() if name != gone})


def _seen(endpoint_slice: Object) -> Slice:
    return endpoint_slice["metadata"]["name"], share.ready(endpoint_slice)
