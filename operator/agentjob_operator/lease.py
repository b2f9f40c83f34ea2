"""What a Lease says of who may act, and what is written into it. Pure.

As Kubernetes' own controllers do it (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection), no clock is compared
with another machine's: a Lease is over when it was seen not to change for as long as it is for.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Times of a Lease, in seconds, all of them from one: how long nobody acts after its holder has vanished."""

    duration: float
    """From the last change that was seen to when somebody else may take it."""

    @property
    def patience(self) -> float:
        """From the last renewal to when its holder stops acting: well before anybody else may begin."""
        return self.duration * 2 / 3

    @property
    def renewal(self) -> float:
        """From one renewal to the next."""
        return self.duration * 2 / 15

    @property
    def look(self) -> float:
        """From one look of those that wait to the next."""
        return self.duration / 15


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A Lease as it was read."""

    version: str
    """Its resourceVersion."""
    holder: str
    """"" when it was given back."""
    duration: float
    """Seconds for which its holder has it."""
    acquired: str | None = None
    """When, by the holder's clock."""
    transitions: int = 0


def view(body: Object) -> Lease:
    """A Lease of the API server's; what is missing in it is as after its making by hand."""
    spec = body.get("spec") or {}
    return Lease(
        version=body["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        duration=float(spec.get("leaseDurationSeconds") or 0),
        acquired=spec.get("acquireTime"),
        transitions=int(spec.get("leaseTransitions") or 0),
    )


def is_free(lease: Lease, own: str, unchanged: float) -> bool:
    """Whether it may be taken.

    `own`: our identity. Who finds it in a Lease after a start was the last in its Pod, and that one has ended.
    `unchanged`: for how many seconds it was seen not to change.
    """
    return lease.holder in ("", own) or unchanged >= lease.duration


def spec(own: str, terms: Terms, now: datetime, before: Lease | None) -> Object:
    """What is written to take a Lease, or to renew it."""
    renews = before is not None and before.holder == own
    return {
        "holderIdentity": own,
        "leaseDurationSeconds": max(1, round(terms.duration)),
        "acquireTime": before.acquired if before is not None and renews and before.acquired else stamp(now),
        "renewTime": stamp(now),
        "leaseTransitions": (before.transitions + (not renews)) if before is not None else 0,
    }


def given_back(lease: Lease, now: datetime) -> Object:
    """What is written so that another one need not wait."""
    return {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp(now), "acquireTime": lease.acquired}


def stamp(time: datetime) -> str:
    """A time as a Lease has it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
