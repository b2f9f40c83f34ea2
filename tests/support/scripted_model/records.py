"""What was asked of the model: the last requests, within bounds, without anybody's key."""

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SECRET_HEADER = re.compile(r"authorization|cookie|key|token|secret", re.IGNORECASE)

KEPT_REQUESTS = 1_000
KEPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One request and what became of it."""

    id: str
    """As the client got it in the header `request-id`."""
    time: datetime
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case; a secret's value is only a fingerprint."""
    raw: bytes
    conversation: str = ""
    """The session's id, followed by `/` and the agent's id in a subagent."""
    script: str = ""
    turn: int = 0
    status: int
    fault: str = ""
    """The fault that was played, such as `529` or `cut after message_start`."""
    violation: str = ""
    """What was wrong with the request; empty if nothing."""

    @property
    def body(self) -> Any:
        """The JSON that was sent; None if there was none or it was not JSON."""
        try:
            return json.loads(self.raw)
        except ValueError:
            return None

    def as_json(self) -> dict[str, Any]:
        """Give all of it as a JSON object."""
        return self.as_log() | {"headers": dict(self.headers), "body": self.body}

    def as_log(self) -> dict[str, Any]:
        """Give what may be logged: nothing that a person or the model said."""
        return {
            "time": self.time.isoformat(timespec="milliseconds"),
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "conversation": self.conversation,
            "script": self.script,
            "turn": self.turn,
            "status": self.status,
            "fault": self.fault,
            "violation": self.violation,
            "bytes": len(self.raw),
        }


class Records:
    """The last requests: at most KEPT_REQUESTS of them and KEPT_BYTES of bodies, the oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: deque[Recorded] = deque()
        self._bytes = 0

    def add(self, record: Recorded) -> None:
        """Keep one more."""
        self._kept.append(record)
        self._bytes += len(record.raw)
        while len(self._kept) > KEPT_REQUESTS or (self._bytes > KEPT_BYTES and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft().raw)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._bytes = 0

    def __iter__(self) -> Iterator[Recorded]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)


def fingerprinted(headers: Mapping[str, str]) -> dict[str, str]:
    """Copy headers, names in lower case, so that equal secrets look equal and none can be read."""
    return {
        name.lower(): _fingerprint(value) if SECRET_HEADER.search(name) else value for name, value in headers.items()
    }


def _fingerprint(value: str) -> str:
    scheme, space, secret = value.rpartition(" ")
    return f"{scheme}{space}sha256:{hashlib.sha256(secret.encode()).hexdigest()[:12]}"
