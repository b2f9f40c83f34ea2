"""An HTTP proxy between one operator and an API server, through which requests go wrong as a plan says.

It sees every request, so an operator can be stopped before or after any of its writes without knowing of it. It passes
on whatever credential it is given, and stands on loopback, before a fake cluster or a real one.
"""

from fault_proxy.plan import (
    WRITES,
    Doubled,
    ErrorEvent,
    Refused,
    Reset,
    Rule,
    Silence,
    Skipped,
    Slow,
    Stale,
    Stop,
    lasted,
)
from fault_proxy.proxy import FaultProxy, Seen

__all__ = [
    "WRITES",
    "Doubled",
    "ErrorEvent",
    "FaultProxy",
    "Refused",
    "Reset",
    "Rule",
    "Seen",
    "Silence",
    "Skipped",
    "Slow",
    "Stale",
    "Stop",
    "lasted",
]
