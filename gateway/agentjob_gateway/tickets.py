"""Tickets: short-lived leave for one job, for clients that cannot send a header, as a browser's EventSource. Pure.

A ticket says who it was given to, until when and for which job, and is signed with a key that all replicas share. Who
reads the address that carries it may watch one job, which is begun within a few minutes and gone on with for a day.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from agentjob_api import names
from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.errors import Unauthenticated, Unavailable
from agentjob_gateway.submission import mark_of

SECONDS: Final = 300
"""How long a ticket opens a stream. A stream that is open stays so."""
BACK_SECONDS: Final = 24 * 60 * 60
"""For how long after that a client may come back to its stream: a browser asks with the same address or cookie."""
KEY_SECONDS: Final = 60.0
"""Within about so long the kubelet brings a key that was added."""
COOKIE: Final = "agentjob_ticket"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """Leave for one job."""

    caller: Caller
    expires: int
    """Seconds since 1970."""
    nonce: str
    """Its own word."""
    namespace: str
    job: str | None
    """Name of the job; None for one that is still to be made."""
    uid: str | None = None
    """Of the job that it names; None in tickets of earlier releases, which open whatever job has the name."""

    @property
    def idempotency_key(self) -> str:
        """Of the job that is made with it: however often it is used, there is one."""
        return f"ticket {self.nonce}"

    def is_for(self, job: Mapping[str, Any]) -> bool:
        """Whether a job is the one it names, or the one that was made with it."""
        if self.job is not None:
            meta = job["metadata"]
            return bool(meta["name"] == self.job and self.uid in {None, meta["uid"]})
        mark = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_SUBMISSION)
        return bool(mark == mark_of(self.caller, self.namespace, self.idempotency_key))


@dataclass(frozen=True)
class Tickets:
    """Signs and checks."""

    key: Callable[[], bytes | None]
    """The key that all replicas share; None when there is none yet."""

    def sign(self, ticket: Ticket) -> str:
        """A ticket as text for an address.

        Raises:
            Unavailable: no key is there to sign with.
        """
        found = asdict(ticket)
        if not ticket.caller.extra:
            del found["caller"]["extra"]  # an address is to be short
        if ticket.uid is None:
            del found["uid"]
        body = _encoded(orjson.dumps(found))
        return f"{body}.{_encoded(self._mac(body))}"

    def check(self, text: str, now: datetime, back_to: str = "") -> Ticket:
        """The ticket in a text. `back_to` is the job of which its client has had events; "" for one that begins.

        With a ticket that is over, a client may only come back. Whether the job is that of a ticket which names none
        is for the caller to check, by `is_for`.

        Raises:
            Unauthenticated: it was not signed here, was changed, or is over.
        """
        body, _, mac = text.partition(".")
        try:
            given = _decoded(mac)
        except (binascii.Error, ValueError):
            given = b""
        if not hmac.compare_digest(given, self._mac(body)):
            raise Unauthenticated("the ticket is not valid")
        ticket = _read(orjson.loads(_decoded(body)))
        comes_back = back_to != "" and ticket.job in (None, back_to)
        if now.timestamp() >= ticket.expires + (BACK_SECONDS if comes_back else 0):
            raise Unauthenticated("the ticket is over: ask for another one at /v1/tickets")
        return ticket

    def check_key(self) -> bytes:
        """The key that signs.

        Raises:
            Unavailable: there is none.
        """
        if (key := self.key()) is None:
            raise Unavailable(
                "no tickets can be given yet: the entry tickets.key, 32 random bytes as base64, is missing beside the"
                " API keys; `python -m agentjob_gateway.keys create` adds it",
                retry_after=KEY_SECONDS,
            )
        return key

    def _mac(self, body: str) -> bytes:
        # A cookie's bytes that are no UTF-8 come as surrogates.
        return hmac.digest(self.check_key(), body.encode(errors="surrogateescape"), hashlib.sha256)


def _read(found: dict[str, Any]) -> Ticket:
    """What `sign` has written: it is signed, so it is in shape."""
    caller = dict(found.pop("caller"))
    role = caller.pop("role")
    return Ticket(
        caller=Caller(
            **caller
            | {
                "limits": Limits(**caller.pop("limits")),
                "groups": tuple(caller.pop("groups")),
                "extra": tuple((name, tuple(values)) for name, values in caller.pop("extra", ())),
                "role": None if role is None else Role(role),
            }
        ),
        **found,
    )


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
