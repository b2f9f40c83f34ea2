"""The audit's lines hold each other, and an agent's messages give one entry for each tool that it has used."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentjob_api.lines import Line
from agentjob_gateway import audit
from agentjob_gateway.audit_lines import MAX_CHAINS, Chain, Chains, Entry, Kind, canonical, stamp
from agentjob_gateway.audit_tools import MAX_OPEN, Agent, Tools

Object = dict[str, Any]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AGENT = Agent("agents", "fix", "uid-fix")


# The chain


def chain(count: int, word: str = "a" * 32, writer: str = "gateway-1", *, is_ended: bool = True) -> list[bytes]:
    """Lines of a chain, with as many between the first and the last."""
    made = Chain(word)
    begin: Entry = {"audit": Kind.BEGIN, "when": stamp(NOON), "writer": writer}
    told: list[Entry] = [
        {"audit": Kind.TOOL, "when": stamp(NOON + timedelta(seconds=number)), "what": "Bäsh", "seq": number}
        for number in range(1, count + 1)
    ]
    end: list[Entry] = [{"audit": Kind.END, "when": stamp(NOON + timedelta(hours=1))}] if is_ended else []
    return [made.link(entry).encode() for entry in (begin, *told, *end)]


def checked(lines: Sequence[bytes]) -> Chains:
    chains = Chains()
    for line in lines:
        chains.take(line)
    return chains


def verdict(lines: Sequence[bytes]) -> str:
    """Of all chains in these lines together."""
    chains = checked(lines)
    if chains.unreadable or any(one.fault for one in chains.found()):
        return "broken"
    return "whole" if all(one.is_ended for one in chains.found()) else "open end"


def sealed(line: Object) -> bytes:
    """A line whose hash is right, as anybody can make one."""
    bare = {name: value for name, value in line.items() if name != "hash"}
    return json.dumps({**bare, "hash": hashlib.sha256(canonical(bare)).hexdigest()}).encode()


def changed(line: bytes, **members: object) -> bytes:
    """A line that tells something else, with a hash that is right."""
    return sealed({**json.loads(line), **members})


FIVE = chain(3)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        pytest.param(FIVE, "whole", id="all lines"),
        pytest.param(chain(3, is_ended=False), "open end", id="all lines so far"),
        pytest.param(FIVE[:2], "open end", id="the end is not there"),
        pytest.param(FIVE[1:], "BROKEN at 1: line 2 comes instead", id="the first is missing"),
        pytest.param(FIVE[:2] + FIVE[3:], "BROKEN at 3: line 4 comes instead", id="one is missing"),
        pytest.param(FIVE[:1] + FIVE[4:], "BROKEN at 2: line 5 comes instead", id="three are missing"),
        pytest.param(FIVE[:2] + FIVE[1:], "BROKEN at 3: line 2 comes again", id="one comes twice"),
        pytest.param([*FIVE, FIVE[-1]], "BROKEN at 6: a line comes after the last", id="so does the last"),
        pytest.param(
            [*FIVE, changed(FIVE[3], n=6, previous=json.loads(FIVE[4])["hash"])],
            "BROKEN at 6: a line comes after the last",
            id="one is added",
        ),
        pytest.param(
            [*FIVE[:2], FIVE[2].replace(b'"seq":2', b'"seq":9'), *FIVE[3:]],
            "BROKEN at 3: the line was altered",
            id="one is altered",
        ),
        pytest.param(
            [*FIVE[:2], changed(FIVE[2], seq=9), *FIVE[3:]],
            "BROKEN at 4: the line does not follow the one before",
            id="one is altered with its hash",
        ),
        pytest.param(
            [changed(FIVE[0], audit="tool"), *FIVE[1:]],
            "BROKEN at 1: the first line, and only that, says who writes",
            id="the first is of another kind",
        ),
        pytest.param([json.dumps(json.loads(line), indent=1).encode() for line in FIVE], "whole", id="laid out anew"),
        pytest.param(
            [b"[pod/gateway-1/gateway] 2026-11-22T12:00:00Z " + line + b"\r\n" for line in FIVE],
            "whole",
            id="each with a prefix",
        ),
    ],
)
def test_a_chain_shows_whether_it_is_whole(lines: list[bytes], found: str) -> None:
    [one] = checked(lines).found()
    assert (one.verdict, one.lines) == (found, len(lines))


@st.composite
def damage(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """A whole chain after one change, and whether its last line was touched."""
    lines = chain(draw(st.integers(0, 5)))
    at = draw(st.integers(0, len(lines) - 1))
    is_last = at == len(lines) - 1
    match draw(st.sampled_from(["delete", "swap", "repeat", "insert", "alter", "forge"])):
        case "delete":
            return lines[:at] + lines[at + 1 :], is_last
        case "swap":
            other = draw(st.integers(0, len(lines) - 1).filter(lambda other: other != at))
            lines[at], lines[other] = lines[other], lines[at]
            return lines, False
        case "repeat":
            return [*lines[:at], draw(st.sampled_from(lines)), *lines[at:]], False
        case "insert":
            before = json.loads(lines[at])
            return [
                *lines[: at + 1],
                changed(lines[at], n=before["n"] + 1, previous=before["hash"]),
                *lines[at + 1 :],
            ], False
        case "forge":
            assume(not is_last)  # whoever may write anything may write another end
            return [*lines[:at], changed(lines[at], when="then"), *lines[at + 1 :]], False
        case _:
            return [*lines[:at], altered(draw, lines[at]), *lines[at + 1 :]], is_last


def altered(draw: st.DrawFn, line: bytes) -> bytes:
    """A line that says something else, or nothing, for one byte."""
    position, value = draw(st.integers(0, len(line) - 1)), draw(st.integers(0, 255))
    found = line[:position] + bytes([value]) + line[position + 1 :]
    assume(meaning(found) != meaning(line))
    return found


def meaning(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return line


@given(damage())
def test_any_single_change_of_a_chain_shows(found: tuple[list[bytes], bool]) -> None:
    lines, is_last_touched = found
    assert verdict(lines) != "whole"
    assert verdict(lines) == "broken" or is_last_touched


@given(st.data(), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_chains_are_told_from_each_other_and_from_other_text(data: st.DataObject, counts: list[int]) -> None:
    chains = [chain(count, word=f"{number:032x}") for number, count in enumerate(counts)]
    others = [b"", b"Traceback:", b'{"level":"info","message":"x"}', b'{"message":"\\"audit\\":"}', b"{", b"\xff\n"]
    mixed: list[bytes] = []
    while any(chains):
        mixed.append(data.draw(st.sampled_from(others)))
        mixed.append(data.draw(st.sampled_from([lines for lines in chains if lines])).pop(0))
    found = checked(mixed)
    assert (found.unreadable, {one.verdict for one in found.found()}) == (0, {"whole"})
    assert sorted(one.lines for one in found.found()) == sorted(count + 2 for count in counts)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(FIVE[1][:-9], id="one that is cut off"),
        pytest.param(FIVE[1].replace(b'"seq":1', b'"seq":9,"seq":1'), id="one with a member that comes twice"),
        pytest.param(b'{"audit":' * 2_000, id="one that is very deep"),
        pytest.param(FIVE[1].replace(b'"seq":1', b'"seq":' + b"1" * 5_000), id="one with a very long number"),
    ],
)
def test_a_line_of_the_audits_that_cannot_be_read_is_counted(line: bytes) -> None:
    assert (checked([line]).unreadable, checked([line]).found()) == (1, [])


def test_what_a_line_holds_cannot_harm_a_terminal() -> None:
    [one] = checked([changed(chain(0)[0], writer="\x1b[2J", when="x" * 1_000)]).found()
    assert (one.writer, one.begin) == ("?", "?")


def test_more_chains_than_can_be_remembered_are_refused() -> None:
    chains = Chains()
    line = chain(0)[0]
    for number in range(MAX_CHAINS):
        chains.take(line.replace(b"a" * 32, b"%032x" % number))
    with pytest.raises(OverflowError, match="more than 100000 chains"):
        chains.take(line)


def test_the_chains_are_printed_as_a_table() -> None:
    found = checked([*chain(2), *chain(9, "b" * 32, "gateway-2")[2:]])
    rows = [row.split(maxsplit=5) for row in audit.table(found.found(), 1).splitlines()]
    assert rows == [
        ["CHAIN", "WRITER", "LINES", "FROM", "TO", "VERDICT"],
        ["a" * 32, "gateway-1", "4", "2026-11-22T12:00:00.000Z", "2026-11-22T13:00:00.000Z", "whole"],
        ["b" * 32, "?", "9", "-", "-", "BROKEN at 1: line 3 comes instead"],
        ["?", "?", "1", "-", "-", "BROKEN: what looks like the audit cannot be read"],
    ]


def test_a_time_is_told_in_utc_to_the_millisecond() -> None:
    somewhere = datetime(2026, 11, 22, 13, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert stamp(somewhere) == "2026-11-22T12:00:00.123Z"


# Tools


def line(seq: int, message: object, attempt: int = 1, *, truncated: bool = False) -> Line:
    body = message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode()
    return Line(seq, attempt, NOON + timedelta(seconds=seq), truncated, body)


def assistant(*blocks: Object, **members: object) -> Object:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": list(blocks), "stop_reason": None}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, **members}


def user(*blocks: Object, **members: object) -> Object:
    return {
        "type": "user",
        "message": {"role": "user", "content": list(blocks)},
        "parent_tool_use_id": None,
        **members,
    }


def use(use_id: str = "toolu_1", name: str = "Bash", **given: object) -> Object:
    return {"type": "tool_use", "id": use_id, "name": name, "input": given or {"command": "ls"}}


def result(use_id: str = "toolu_1", content: object = "README.md", **members: object) -> Object:
    return {"tool_use_id": use_id, "type": "tool_result", "content": content, **members}


def decided(decision: str, use_id: str = "toolu_1", **members: object) -> Object:
    """How Claude Code tells whether a tool was let run."""
    meta = {"id": use_id, "permission_decision": {"decision": decision, "source": "config", "reason_type": "mode"}}
    return {"tool_result_meta": [{**meta, **members}]}


LS = '{"command":"ls"}'
TEXT = {"type": "text", "text": 'I say "tool_use" and "tool_result".'}
NO_SUCH = "<tool_use_error>Error: No such tool available: mcp__it__go</tool_use_error>"
OUTCOME = {"type": "agentjob", "subtype": "outcome", "outcome": {"reason": "Completed"}}
START = {"type": "content_block_start", "index": 1, "content_block": use()}


def told(messages: Sequence[object], tools: Tools | None = None) -> list[tuple[object, ...]]:
    """Seq, tool, id of the use and verdict of all that is told."""
    tools = tools or Tools()
    found = [entry for number, each in enumerate(messages, 1) for entry in tools.take(AGENT, line(number, each))]
    return [(entry["seq"], entry["what"], entry["use"], entry["verdict"]) for entry in found]


@pytest.mark.parametrize(
    ("messages", "entries"),
    [
        pytest.param([assistant(TEXT)], [], id="words only"),
        pytest.param([assistant(use())], [], id="a use that waits for its answer"),
        pytest.param(
            [assistant(use()), user(result(), **decided("accept"))], [(1, "Bash", "toolu_1", "ok")], id="an answer"
        ),
        pytest.param(
            [assistant(use()), user(result(is_error=True, content="Exit code 3"), **decided("accept"))],
            [(1, "Bash", "toolu_1", "error")],
            id="a failure",
        ),
        pytest.param(
            [
                assistant(use(command="curl example.com")),
                {"type": "system", "subtype": "permission_denied", "tool_name": "Bash", "tool_use_id": "toolu_1"},
                user(result(is_error=True), **decided("reject", non_execution_kind="permission-rule")),
            ],
            [(1, "Bash", "toolu_1", "denied")],
            id="a permission that was not given",
        ),
        pytest.param(
            [
                assistant(use()),
                user(
                    result(is_error=True, content="The user doesn't want to proceed with this tool use."),
                    tool_result_meta=[{"id": "toolu_1", "non_execution_kind": "user-rejected"}],
                ),
            ],
            [(1, "Bash", "toolu_1", "error")],
            id="a tool that was stopped while it ran",
        ),
        pytest.param(
            [assistant(use(name="mcp__it__go")), user(result(content=NO_SUCH, is_error=True))],
            [(1, "mcp__it__go", "toolu_1", "error")],
            id="a tool of an MCP server that is not there",
        ),
        pytest.param(
            [
                assistant(TEXT, use("a"), use("b", "Read")),
                user(result("b", content=[TEXT]), result("a", is_error=True), **decided("reject", "a")),
            ],
            [(1, "Read", "b", "ok"), (1, "Bash", "a", "denied")],
            id="several in one message",
        ),
        pytest.param(
            [assistant(use("a")), assistant(use("b", "Read")), user(result("b")), user(result("a"))],
            [(2, "Read", "b", "ok"), (1, "Bash", "a", "ok")],
            id="answers in another order",
        ),
        pytest.param(
            [assistant(use()), OUTCOME, OUTCOME],
            [(1, "Bash", "toolu_1", "unanswered")],
            id="no answer until the attempt's end",
        ),
        pytest.param([user(result())], [(1, None, "toolu_1", "ok")], id="an answer to what was not seen"),
        pytest.param(
            [assistant(use()), assistant(use(name="Read")), user(result())],
            [(1, "Bash", "toolu_1", "unanswered"), (2, "Read", "toolu_1", "ok")],
            id="an id that is used again",
        ),
        pytest.param([{"type": "stream_event", "event": START}], [], id="a part of a message"),
        pytest.param([user(TEXT), {"type": "user", "message": {"content": "text"}}], [], id="words to the agent"),
        pytest.param([b'{"type":"assistant", no JSON "tool_us'], [], id="no JSON, and no word of tools"),
        pytest.param([b'{"type":"assistant","tool_use"}'], [(1, None, None, "unreadable")], id="no JSON"),
        pytest.param([b'{"type":"tool_use"}', b'["tool_use"]'], [], id="JSON of another shape"),
        pytest.param([b'["tool_use",' + b"[" * 50_000], [(1, None, None, "unreadable")], id="JSON that is very deep"),
        pytest.param(
            [assistant({"type": "tool_use", "id": 5, "name": None}), user({"type": "tool_result"})],
            [(1, None, None, "ok")],
            id="a use without a name",
        ),
    ],
)
def test_messages_give_one_entry_for_each_tool(messages: list[object], entries: list[tuple[object, ...]]) -> None:
    assert told(messages) == entries


def test_an_entry_tells_who_used_what_where_and_when_and_of_the_input_only_a_digest() -> None:
    tools = Tools()
    tools.take(AGENT, line(4, assistant(use(), parent_tool_use_id="toolu_0"), attempt=2))
    assert tools.take(AGENT, line(7, user(result()), attempt=2)) == [
        {
            "audit": "tool",
            "when": "2026-11-22T12:00:04.000Z",
            "who": "agent",
            "what": "Bash",
            "namespace": "agents",
            "job": "fix",
            "uid": "uid-fix",
            "attempt": 2,
            "seq": 4,
            "use": "toolu_1",
            "parent": "toolu_0",
            "digest": hashlib.sha256(LS.encode()).hexdigest(),
            "size": len(LS),
            "truncated": False,
            "verdict": "ok",
        }
    ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}', id="keys are sorted"),
        pytest.param({"a": "ä"}, '{"a":"ä"}'.encode(), id="text is UTF-8"),
        pytest.param({"a": "\ud83d"}, b'{"a":"\\ud83d"}', id="half a character stays as it was escaped"),
    ],
)
def test_the_digest_is_of_the_canonical_input(given: Object, text: bytes) -> None:
    tools = Tools()
    tools.take(AGENT, line(1, assistant(use(**given))))
    [entry] = tools.take(AGENT, line(2, user(result())))
    assert (entry["digest"], entry["size"]) == (hashlib.sha256(text).hexdigest(), len(text))


def test_a_line_that_the_runner_had_to_cut_is_told_to_be_so() -> None:
    tools = Tools()
    tools.take(AGENT, line(1, assistant(use(content="All work… [9 characters cut]")), truncated=True))
    [entry] = tools.take(AGENT, line(2, user(result())))
    assert entry["truncated"] is True


def test_the_next_attempt_ends_what_the_one_before_has_left_open() -> None:
    tools = Tools()
    tools.take(AGENT, line(9, assistant(use("a"), use("b")), attempt=1))
    found = tools.take(AGENT, line(1, assistant(use("c")), attempt=2))
    assert [(entry["use"], entry["attempt"], entry["verdict"]) for entry in found] == [
        ("a", 1, "unanswered"),
        ("b", 1, "unanswered"),
    ]
    assert [entry["use"] for entry in tools.end(AGENT.uid)] == ["c"]


def test_jobs_are_told_from_each_other() -> None:
    tools, other = Tools(), Agent("agents", "fix", "uid-2")
    tools.take(AGENT, line(1, assistant(use())))
    tools.take(other, line(1, assistant(use(name="Read"))))
    assert [(entry["uid"], entry["what"]) for entry in tools.take(other, line(2, user(result())))] == [
        ("uid-2", "Read")
    ]
    assert [(entry["uid"], entry["what"]) for entry in tools.end(AGENT.uid)] == [("uid-fix", "Bash")]
    assert tools.end(AGENT.uid) == tools.end(other.uid) == []


def test_a_job_with_very_many_open_uses_has_the_oldest_told_as_unanswered() -> None:
    tools = Tools()
    uses = [assistant(use(f"toolu_{number}")) for number in range(MAX_OPEN + 1)]
    assert told(uses, tools) == [(1, "Bash", "toolu_0", "unanswered")]
    assert len(tools.end(AGENT.uid)) == MAX_OPEN
