"""The objects in which a job's lines are kept: their names, what the names tell, and what is in them. Pure.

    v1/<namespace>/<uid>/<attempt>/<first seq>-<last seq>.jsonl.zst    a part: lines without a gap between them
    v1/<namespace>/<uid>/<attempt>.jsonl.zst                           sealed: all lines of an attempt that is over
    v1/<namespace>/<uid>/<attempt>.gaps                                the lines that are lost, where any are

A part's name says which lines are in it, so it can be written twice, by anybody, and is the same each time; parts that
overlap harm nobody, because a reader leaves out what it has by seq. Each part is one zstd frame. Frames one after
another are a zstd file, so that sealing an attempt is putting its parts one behind the other.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson
import zstandard

from agentjob_api.lines import Line, envelope, parse
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import OPEN

PART_BYTES: Final = 256 * 1024
"""Of lines, before compression: a part that has so many is written at once."""
_NAME: Final = re.compile(r"([1-9][0-9]{0,5})(?:(\.jsonl\.zst)|(\.gaps)|/([0-9]{15})-([0-9]{15})\.jsonl\.zst)")


class Span(NamedTuple):
    """Lines of an attempt, from one seq to another."""

    first: int
    last: int


def span_of(gap: Gap) -> Span:
    """The lines of a gap; it is open where nobody knows how many there are."""
    return Span(gap.first, OPEN if gap.last is None else gap.last)


class Spans:
    """Which lines of an attempt are there. Spans are disjoint, and there is a gap between any two."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = []
        for span in spans:
            self.add(span)

    @property
    def reach(self) -> int:
        """Up to which seq there is every line."""
        return self._spans[0].last if self._spans and self._spans[0].first == 1 else 0

    def add(self, span: Span) -> None:
        """Takes lines that may be there already."""
        touching = [each for each in self._spans if each.first <= span.last + 1 and span.first <= each.last + 1]
        whole = Span(min(each.first for each in (span, *touching)), max(each.last for each in (span, *touching)))
        self._spans = sorted([*(each for each in self._spans if each not in touching), whole])

    def holes(self) -> list[Span]:
        """What is missing before the last line that is there."""
        ends = [0, *(each.last for each in self._spans)]
        return [
            Span(end + 1, each.first - 1) for end, each in zip(ends, self._spans, strict=False) if each.first > end + 1
        ]

    def covers(self, span: Span) -> bool:
        """Whether all these lines are there."""
        at = bisect_right(self._spans, span.first, key=lambda each: each.first) - 1
        return at >= 0 and span.last <= self._spans[at].last


@dataclass
class Kept:
    """What is kept of one attempt."""

    is_sealed: bool = False
    has_gaps: bool = False
    """Whether lines of it are known to be lost."""
    parts: tuple[Span, ...] = ()
    """In the order of their lines."""


def job_prefix(namespace: str, uid: str) -> str:
    """What the names of all objects of a job begin with."""
    return f"v1/{namespace}/{uid}"


def sealed_name(namespace: str, uid: str, attempt: int) -> str:
    """The object with all lines of an attempt."""
    return f"{job_prefix(namespace, uid)}/{attempt}.jsonl.zst"


def gaps_name(namespace: str, uid: str, attempt: int) -> str:
    """The object that says which lines of an attempt are lost."""
    return f"{job_prefix(namespace, uid)}/{attempt}.gaps"


def part_name(namespace: str, uid: str, attempt: int, span: Span) -> str:
    """The object with some lines of an attempt."""
    return f"{job_prefix(namespace, uid)}/{attempt}/{span.first:015d}-{span.last:015d}.jsonl.zst"


def kept(names: Iterable[str]) -> dict[int, Kept]:
    """What is kept of a job, by attempt, after the names of its objects below its prefix. Other names are left out."""
    found: dict[int, Kept] = {}
    for name in sorted(names):
        if (parsed := _NAME.fullmatch(name)) is None:
            continue
        attempt, is_sealed, has_gaps, first, last = parsed.groups()
        of = found.setdefault(int(attempt), Kept())
        of.is_sealed = of.is_sealed or bool(is_sealed)
        of.has_gaps = of.has_gaps or bool(has_gaps)
        if first is not None:
            of.parts = (*of.parts, Span(int(first), int(last)))
    return found


def text(line: Line) -> bytes:
    """A line as its runner has printed it, newline included."""
    head = envelope(line.seq, line.attempt, line.time, truncated=line.truncated)
    return b"%b%b}\n" % (head, line.message)


def gaps_text(gaps: Iterable[Gap]) -> bytes:
    """Lost lines of an attempt, as they are kept."""
    return orjson.dumps([{"from": gap.first, "to": gap.last} for gap in gaps])


def gaps(attempt: int, content: bytes) -> tuple[Gap, ...]:
    """What `gaps_text` has made; nothing where it is damaged, so that those lines are looked for once more."""
    try:
        return tuple(Gap(attempt, int(each["from"]), each["to"] and int(each["to"])) for each in orjson.loads(content))
    except (ValueError, TypeError, LookupError):
        return ()


def lost(attempt: int, parts: Sequence[Span], noted: Iterable[Gap]) -> tuple[Gap, ...]:
    """The lines of an attempt that are in none of its parts, and what is noted as lost of those after them."""
    end = max(span.last for span in parts)
    holes = (Gap(attempt, *span) for span in Spans(parts).holes())
    after = (gap._replace(first=max(gap.first, end + 1)) for gap in noted if gap.last is None or gap.last > end)
    return (*holes, *after)


class Part:
    """Lines of an attempt without a gap between them, on their way into the store."""

    def __init__(self, line: Line) -> None:
        self.attempt = line.attempt
        self.span = Span(line.seq, line.seq)
        self._texts = [text(line)]
        self.size = len(self._texts[0])
        """Bytes of its lines."""

    def take(self, line: Line) -> bool:
        """Takes the next line; false when it belongs into another part."""
        if (line.attempt, line.seq) != (self.attempt, self.span.last + 1) or self.size >= PART_BYTES:
            return False
        self._texts.append(text(line))
        self.span = Span(self.span.first, line.seq)
        self.size += len(self._texts[-1])
        return True

    def lines(self) -> list[Line]:
        """Its lines."""
        return [line for line in map(parse, self._texts) if line is not None]

    def packed(self) -> bytes:
        """Its lines as one zstd frame."""
        return zstandard.ZstdCompressor(write_checksum=True).compress(b"".join(self._texts))
