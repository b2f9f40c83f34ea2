"""The audit's lines: a chain of hashes, as it is written and as it is checked. Pure.

    {"audit":"begin","chain":"4b…","n":1,"previous":"00…","version":"0.1.0","when":"…","writer":"gateway-1","hash":"91…"}
    {"audit":"request","chain":"4b…","job":"job-1",…,"n":2,"previous":"91…",…,"who":"key:ci","hash":"77…"}

`hash` is the SHA-256 of the line without it, in canonical form: UTF-8, keys sorted, no white space. `previous` is the
hash of the line before, `n` counts from 1, `chain` is a random word of the process that writes. So whatever is altered,
taken out, put in or put elsewhere does not fit any more; only what was cut off at the end cannot be told from a process
that was killed, which leaves no `end`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

Entry = dict[str, object]
"""What one line tells: `audit`, which is its Kind, and the members of that kind."""

FIRST: Final = "0" * 64
"""What the first line has for the hash of the one before."""
MAX_CHAINS: Final = 100_000
"""Chains that are checked together: what is kept of each is less than a kilobyte."""
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_MARK: Final = b'"audit":'
_CHAIN: Final = re.compile(r"[0-9a-f]{32}")
_MAX_N: Final = 10**15
_MAX_SHOWN: Final = 100


class Kind(StrEnum):
    """What a line is about."""

    BEGIN = "begin"
    """The first line of a chain: `writer` (the Pod's name) and `version`."""
    REQUEST = "request"
    """A request that changes something, or would have."""
    TOOL = "tool"
    """A tool that an agent has used."""
    END = "end"
    """The last line of a chain."""


class Verdict(StrEnum):
    """What came of it."""

    ACCEPTED = "accepted"
    """A request: done."""
    UNCHANGED = "unchanged"
    """A request: what it asks for was so already, as when it is repeated with its Idempotency-Key."""
    REFUSED = "refused"
    """A request: nothing was done; `status` says why."""
    FAILED = "failed"
    """A request: the cluster, or this gateway, did not get to its end; it may be done all the same."""
    OK = "ok"
    """A tool: it has answered."""
    ERROR = "error"
    """A tool: it has failed, or was stopped, or there is none of that name."""
    DENIED = "denied"
    """A tool: a permission rule, mode or hook has not let it run."""
    UNANSWERED = "unanswered"
    """A tool: no answer came while its lines were read here."""
    UNREADABLE = "unreadable"
    """A line that may speak of tools, and is no JSON."""


def stamp(time: datetime) -> str:
    """A time as it stands in a line: in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical(value: object) -> bytes:
    """JSON that is the same for the same value; lone surrogates are the escapes they came as."""
    return _CANONICAL.encode(value).encode("utf-8", "backslashreplace")


def sha256(data: bytes) -> str:
    """The digest in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class Chain:
    """The lines of one process, each tied to the one before."""

    def __init__(self, word: str) -> None:
        """`word`: 32 random hexadecimal digits."""
        self._word = word
        self._n = 0
        self._previous = FIRST

    def link(self, entry: Entry) -> str:
        """The next line without its newline: in canonical form, and then its hash."""
        self._n += 1
        line = canonical({**entry, "chain": self._word, "n": self._n, "previous": self._previous})
        self._previous = sha256(line)
        return f'{line[:-1].decode()},"hash":"{self._previous}"}}'


class _Line(NamedTuple):
    """A line that was read."""

    kind: str
    chain: str
    n: int
    previous: str
    hash: str
    is_sound: bool
    """Whether its hash is its own."""
    when: str
    writer: str


@dataclass
class Checked:
    """A chain, as far as it was read."""

    chain: str
    writer: str = "?"
    lines: int = 0
    begin: str = "-"
    """When the first line was written."""
    last: str = "-"
    """When the last line was written that fits."""
    fault: str | None = None
    """Where it is broken, and why."""
    is_ended: bool = False
    _n: int = 0
    _hash: str = FIRST

    @property
    def verdict(self) -> str:
        """`whole`, `open end`, or `BROKEN at <n>: <why>`."""
        if self.fault is not None:
            return f"BROKEN at {self.fault}"
        return "whole" if self.is_ended else "open end"

    def take(self, line: _Line) -> None:
        """Sees the next line; after a fault, only counts."""
        self.lines += 1
        if self.fault is None and (fault := self._fault(line)) is not None:
            self.fault = fault
        if self.fault is None:
            self._n, self._hash, self.last = line.n, line.hash, line.when
            self.is_ended = line.kind == Kind.END
            if line.kind == Kind.BEGIN:
                self.writer, self.begin = line.writer, line.when

    def _fault(self, line: _Line) -> str | None:
        """What is wrong where line `due` has to be."""
        due = self._n + 1
        if not line.is_sound:
            return f"{due}: the line was altered"
        if self.is_ended:
            return f"{due}: a line comes after the last"
        if line.n < due:
            return f"{due}: line {line.n} comes again"
        if line.n > due:
            return f"{due}: line {line.n} comes instead"
        if line.previous != self._hash:
            return f"{due}: the line does not follow the one before"
        if (due == 1) != (line.kind == Kind.BEGIN):
            return f"{due}: the first line, and only that, says who writes"
        return None


class Chains:
    """Checks the lines of any number of chains, as they come among others."""

    def __init__(self) -> None:
        self._chains: dict[str, Checked] = {}
        self.unreadable = 0
        """Lines that look like the audit's, and are no JSON."""

    def take(self, text: bytes) -> None:
        """Sees one line of a log; what is not the audit's is passed over.

        Raises:
            OverflowError: there are more than MAX_CHAINS.
        """
        try:
            line = _read(text)
        except (ValueError, RecursionError):
            self.unreadable += 1
            return
        if line is None:
            return
        if (found := self._chains.get(line.chain)) is None:
            if len(self._chains) >= MAX_CHAINS:
                raise OverflowError(f"there are more than {MAX_CHAINS} chains; give fewer logs at a time")
            found = self._chains[line.chain] = Checked(line.chain)
        found.take(line)

    def found(self) -> list[Checked]:
        """All chains, in the order of their first lines."""
        return list(self._chains.values())


def _read(text: bytes) -> _Line | None:
    """A line of the audit's, whatever stands before it; None for any other.

    Raises:
        ValueError, RecursionError: it cannot be read.
    """
    if _MARK not in text:
        return None
    found = json.loads(text[text.find(b"{") :], object_pairs_hook=_once)
    match found:
        case {"audit": str(kind), "chain": str(chain), "n": int(n), "previous": str(previous), "hash": str(told)} if (
            _CHAIN.fullmatch(chain) and 0 < n < _MAX_N
        ):
            is_sound = sha256(canonical({name: found[name] for name in found if name != "hash"})) == told
            return _Line(kind, chain, n, previous, told, is_sound, _shown(found, "when"), _shown(found, "writer"))
        case _:
            return None


def _once(members: Iterable[tuple[str, Any]]) -> Mapping[str, Any]:
    """An object whose members are named once: readers of JSON do not agree on which of two counts."""
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise ValueError(f"{name!r} comes twice")
        found[name] = value
    return found


def _shown(line: Mapping[str, Any], name: str) -> str:
    """A member as it may be shown on a terminal."""
    text = line.get(name)
    return text if isinstance(text, str) and text.isprintable() and len(text) <= _MAX_SHOWN else "?"
