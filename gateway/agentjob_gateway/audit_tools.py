"""Which tools an agent has used, as its messages go by. Pure.

A use and its answer are blocks of two messages, of the types `assistant` and `user`, with one id:

    {"type":"tool_use","id":"toolu_1","name":"Bash","input":{…}}
    {"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":…}

Whether it was let run stands beside the answer, in the message's `tool_result_meta`:

    [{"id":"toolu_1","permission_decision":{"decision":"reject",…}}]
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from agentjob_api.lines import Line
from agentjob_api.notices import TYPE, Notice
from agentjob_gateway.audit_lines import Entry, Kind, Verdict, canonical, sha256, stamp

Object = dict[str, Any]

AGENT: Final = "agent"
"""Who uses tools."""
MAX_OPEN: Final = 1_000
"""Tools of one job without an answer that are remembered."""
MAX_WORD: Final = 128
"""Characters of a tool's name, and of the id of its use, that are told."""
_SPEAK_OF_TOOLS: Final = (b'"tool_use"', b'"tool_result"', b'"agentjob"')
"""Only messages with one of these are parsed. None of them can stand in a text, where quotes are escaped."""


class Agent(NamedTuple):
    """Whose tools."""

    namespace: str
    job: str
    uid: str


@dataclass(frozen=True, kw_only=True)
class Use:
    """One use of a tool."""

    agent: Agent
    attempt: int
    seq: int
    """Of the line with the use; of the one with the answer, where only that is known."""
    when: datetime
    truncated: bool = False
    """Whether the runner had to cut the line: digest and size are then of what is left of the input."""
    tool: str | None = None
    """None where only the answer is known."""
    id: str | None = None
    parent: str | None = None
    """Id of the use of the tool by which a subagent was called that uses this one."""
    digest: str | None = None
    """SHA-256 of the canonical JSON of the input."""
    size: int | None = None
    """Bytes of it."""

    def entry(self, verdict: Verdict) -> Entry:
        """What the audit's line tells."""
        return {
            "audit": Kind.TOOL,
            "when": stamp(self.when),
            "who": AGENT,
            "what": self.tool,
            **self.agent._asdict(),
            "attempt": self.attempt,
            "seq": self.seq,
            "use": self.id,
            "parent": self.parent,
            "digest": self.digest,
            "size": self.size,
            "truncated": self.truncated,
            "verdict": verdict,
        }


class Tools:
    """The uses that wait for their answers: of each job that is followed, until `end`."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Use]] = {}
        """By the job's uid and the id of the use; all of a job's are of one attempt."""

    def take(self, agent: Agent, line: Line) -> list[Entry]:
        """What there is to tell after the next line of a job."""
        told = self._of_earlier_attempts(agent.uid, line.attempt)
        if any(word in line.message for word in _SPEAK_OF_TOOLS):
            try:
                told += self._read(agent, line)
            except (ValueError, RecursionError):
                told.append(_unreadable(agent, line))
        return told

    def end(self, uid: str) -> list[Entry]:
        """What there is to tell of a job of which no more lines will come."""
        return [use.entry(Verdict.UNANSWERED) for use in self._open.pop(uid, {}).values()]

    def _of_earlier_attempts(self, uid: str, attempt: int) -> list[Entry]:
        found = next(iter(self._open.get(uid, {}).values()), None)
        return self.end(uid) if found is not None and found.attempt != attempt else []

    def _read(self, agent: Agent, line: Line) -> list[Entry]:
        message = json.loads(line.message)
        match message:
            case {"type": "assistant", "message": {"content": [*blocks]}}:
                parent = _word(message.get("parent_tool_use_id"))
                uses = [_use(agent, line, block, parent) for block in _of_type(blocks, "tool_use")]
                return [entry for use in uses for entry in self._used(use)]
            case {"type": "user", "message": {"content": [*blocks]}}:
                denied = _denied(message.get("tool_result_meta"))
                return [self._answered(agent, line, block, denied) for block in _of_type(blocks, "tool_result")]
            case {"type": kind, "subtype": Notice.OUTCOME} if kind == TYPE:
                return self.end(agent.uid)
            case _:
                return []

    def _used(self, use: Use) -> list[Entry]:
        """Remembers a use; tells of what has to be forgotten for it."""
        waiting = self._open.setdefault(use.agent.uid, {})
        key = use.id or ""
        first = key if key in waiting else next(iter(waiting)) if len(waiting) >= MAX_OPEN else None
        forgotten = [] if first is None else [waiting.pop(first).entry(Verdict.UNANSWERED)]
        waiting[key] = use
        return forgotten

    def _answered(self, agent: Agent, line: Line, block: Object, denied: frozenset[str]) -> Entry:
        key = _word(block.get("tool_use_id"))
        use = self._open.get(agent.uid, {}).pop(key or "", None)
        if use is None:  # read from the middle on
            use = Use(agent=agent, attempt=line.attempt, seq=line.seq, when=line.time, id=key)
        if key in denied:
            return use.entry(Verdict.DENIED)
        return use.entry(Verdict.ERROR if block.get("is_error") else Verdict.OK)


def _use(agent: Agent, line: Line, block: Object, parent: str | None) -> Use:
    given = canonical(block.get("input"))
    return Use(
        agent=agent,
        attempt=line.attempt,
        seq=line.seq,
        when=line.time,
        truncated=line.truncated,
        tool=_word(block.get("name")),
        id=_word(block.get("id")),
        parent=parent,
        digest=sha256(given),
        size=len(given),
    )


def _unreadable(agent: Agent, line: Line) -> Entry:
    found = Use(
        agent=agent,
        attempt=line.attempt,
        seq=line.seq,
        when=line.time,
        truncated=line.truncated,
        digest=sha256(line.message),
        size=len(line.message),
    )
    return found.entry(Verdict.UNREADABLE)


def _of_type(blocks: Iterable[object], kind: str) -> list[Object]:
    return [block for block in blocks if isinstance(block, dict) and block.get("type") == kind]


def _denied(meta: object) -> frozenset[str]:
    """Ids of the uses that were not let run."""
    found = set()
    for item in meta if isinstance(meta, list) else []:
        match item:
            case {"id": str(use), "permission_decision": {"decision": "reject"}}:
                found.add(use[:MAX_WORD])
            case _:
                pass
    return frozenset(found)


def _word(value: object) -> str | None:
    return value[:MAX_WORD] if isinstance(value, str) else None
