"""Of several operators, one acts: the one that holds the Lease. The others know all that it knows, and wait."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from agentjob_api.names import Key
from agentjob_kube.client import Client
from agentjob_kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unreachable
from agentjob_kube.resources import LEASES
from agentjob_kube.transport import Request, Transport
from agentjob_operator.lease import Lease, Terms, given_back, is_free, spec, view

Object = dict[str, Any]

LAST_WORD_SECONDS: Final = 2.0
"""How long it may take to give the Lease back at the end."""
log = logging.getLogger(__name__)


def elapsed() -> float:
    """Seconds of a clock that goes on while the machine is suspended, where it has one: `time.monotonic` does not."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LeaseLostError(Exception):
    """Another one may act by now. The process is to end; it starts again as one that waits."""


class Leadership(Protocol):
    """Whether we act."""

    acquired: asyncio.Event
    """Set once we may."""
    since: float
    """From when on, by `time.monotonic`: what another one has done was done before."""

    def holds(self) -> bool:
        """Whether nobody else acts at this moment."""
        ...

    async def run(self) -> None:
        """Works for ever; raises LeaseLostError."""
        ...

    async def tries(self) -> bool:
        """Whether we act, or do from now on."""
        ...

    async def give_back(self) -> None:
        """Lets another one act at once. Nothing of ours may be about to act any more."""
        ...


class Alone:
    """There is no other one."""

    def __init__(self) -> None:
        self.since = float("-inf")
        self.acquired = asyncio.Event()
        self.acquired.set()

    def holds(self) -> bool:
        """Always."""
        return True

    async def run(self) -> None:
        """Nothing is to be done."""
        await asyncio.Event().wait()

    async def tries(self) -> bool:
        """Always."""
        return True

    async def give_back(self) -> None:
        """There is nobody to give it to."""


@dataclass(kw_only=True)
class Candidate:
    """One of several."""

    client: Client
    key: Key
    """Of the Lease."""
    identity: str
    """Ours alone: the name of our Pod."""
    terms: Terms
    now: Callable[[], datetime]
    clock: Callable[[], float] = elapsed
    acquired: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = float("-inf")
    _seen: Lease | None = None
    _since: float = 0.0
    """When it was first seen as it is."""
    _renewed: float = float("-inf")
    """When our last renewal that has held was begun."""

    def holds(self) -> bool:
        """True until so long after the last renewal that another one may take it soon."""
        return self.clock() < self._renewed + self.terms.patience

    async def run(self) -> None:
        """Takes the Lease as soon as it is free, and renews it for ever.

        Raises:
            LeaseLostError: it was taken, or could not be renewed in time.
        """
        while True:
            is_ours = self.acquired.is_set()
            await asyncio.sleep(self.terms.renewal if is_ours else self.terms.look)
            if is_ours:
                await self._renew()
            else:
                await self.tries()

    async def tries(self) -> bool:
        """Takes the Lease if it is free; whether we have it."""
        if self.acquired.is_set():
            return True
        try:
            async with asyncio.timeout(self.terms.patience / 2):
                if not await self._try():
                    return False
        except (ApiError, TimeoutError) as error:
            log.warning("Looking at Lease %s: %s", self.key, str(error) or "no answer in time")
            return False
        self.since = time.monotonic()
        self.acquired.set()
        log.info("Holding Lease %s: this operator acts", self.key)
        return True

    async def _try(self) -> bool:
        began = self.clock()
        try:
            lease = view(await self.client.get(LEASES, self.key))
        except NotFound:
            return await self._create(began)
        if self._seen is None or lease.version != self._seen.version:
            self._seen, self._since = lease, began
        if not is_free(lease, self.identity, self.clock() - self._since):
            return False
        with suppress(Conflict):
            await self._write(lease, spec(self.identity, self.terms, self.now(), lease), began)
            return True
        return False

    async def _create(self, began: float) -> bool:
        """Makes the Lease; one that was there, and was deleted, has a holder that may not know of it yet."""
        if self._seen is not None and began - self._since < self._seen.duration:
            return False
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.key.name},
            "spec": spec(self.identity, self.terms, self.now(), None),
        }
        with suppress(AlreadyExists):
            self._seen, self._renewed = view(await self.client.create(LEASES, self.key.namespace, body)), began
            return True
        return False

    async def _write(self, lease: Lease, wanted: Object, began: float) -> None:
        """Writes unless it has changed, which raises Conflict."""
        patch = {"metadata": {"resourceVersion": lease.version}, "spec": wanted}
        self._seen, self._renewed = view(await self.client.patch(LEASES, self.key, patch)), began

    async def _renew(self) -> None:
        assert self._seen is not None, "what we hold we have seen"
        began = self.clock()
        try:
            async with asyncio.timeout(self.terms.patience / 2):
                await self._write(self._seen, spec(self.identity, self.terms, self.now(), self._seen), began)
        except Conflict:
            await self._look_again()
        except (ApiError, TimeoutError) as error:
            log.warning("Renewing Lease %s: %s", self.key, str(error) or "no answer in time")
        if not self.holds():
            raise LeaseLostError(f"Lease {self.key} could not be renewed for {self.terms.patience:g} s")

    async def _look_again(self) -> None:
        """It has changed: by a renewal of ours whose answer did not come, by a person, or by another operator."""
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(self.terms.patience / 2):
                self._seen = view(await self.client.get(LEASES, self.key))
        if self._seen is not None and self._seen.holder != self.identity:
            raise LeaseLostError(f"Lease {self.key} was taken by {self._seen.holder or 'nobody'}")

    async def give_back(self) -> None:
        """Lets another one act at once. Nothing of ours may be about to act any more."""
        if not self.holds() or self._seen is None:
            return
        lease, self._renewed = self._seen, float("-inf")
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await self._hand_over(lease)
        except (ApiError, TimeoutError) as error:
            log.warning("Giving Lease %s back: %s", self.key, str(error) or "no answer in time")

    async def _hand_over(self, lease: Lease) -> None:
        try:
            await self._empty(lease)
        except Conflict:  # a renewal of ours that was broken off at the end may have held
            found = view(await self.client.get(LEASES, self.key))
            if found.holder == self.identity:
                await self._empty(found)

    async def _empty(self, lease: Lease) -> None:
        patch = {"metadata": {"resourceVersion": lease.version}, "spec": given_back(lease, self.now())}
        await self.client.patch(LEASES, self.key, patch)


class Fenced:
    """A transport that sends what changes something only while we are the one that acts.

    The look is taken as it is sent: one who was stopped in mid-work, or whose machine was suspended, does not write
    afterwards.
    """

    def __init__(self, transport: Transport, holds: Callable[[], bool]) -> None:
        self._transport = transport
        self._holds = holds

    async def send(self, request: Request) -> bytes:
        """As the transport; raises Unreachable when another one may act by now."""
        if request.method != "GET" and not self._holds():
            raise Unreachable(f"{request.method} {request.path}: not sent, another operator may act by now")
        return await self._transport.send(request)

    def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        """As the transport: what is read changes nothing."""
        return self._transport.lines(request)
