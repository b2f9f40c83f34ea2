"""Conversations in which the model uses tools."""

from scripted_model.replies import bash, read, reply, text, tool, write
from scripted_model.scripts import Plot, Task, script

LONGEST_COMMAND = 600.0
"""Seconds that Claude Code's Bash tool gives a command at most."""


@script()
def many_turns(_: Task, turns: int = 5, wait: float = 0.0) -> Plot:
    """Call a tool that many times, so many seconds after one another, then say so."""
    for turn in range(1, turns + 1):
        yield reply(text(f"Turn {turn}."), bash(f"echo turn {turn} of {turns}"), wait=wait)
    yield [text(f"Done after {turns} turns.")]


@script()
def on_cue(_: Task, turns: int = 3) -> Plot:
    """Call a tool that many times, whose n-th call ends once somebody has made the file `go-<n>` in the workspace."""
    for turn in range(1, turns + 1):
        yield [text(f"Turn {turn}."), bash(f"until [ -e go-{turn} ]; do sleep 0.1; done; echo turn {turn}")]
    yield [text(f"Done after {turns} turns.")]


@script()
def endless(_: Task, wait: float = 0.2) -> Plot:
    """Call a tool again and again, until somebody speaks."""
    turn = 0
    while True:
        turn += 1
        heard = yield reply(text(f"Round {turn}."), bash(f"echo round {turn}"), wait=wait)
        if heard.said:
            yield [text(f"I was told to stop in round {turn}.")]
            return


@script()
def slow(_: Task, seconds: float = LONGEST_COMMAND) -> Plot:
    """Run one command that takes long."""
    command = f"echo started; sleep {seconds:g}; echo finished"
    heard = yield [text("This will take a while."), bash(command, timeout=min(seconds + 10, LONGEST_COMMAND))]
    yield [text("I was told to stop." if heard.said else "The long command is done.")]


@script()
def parallel_calls(_: Task, calls: int = 3) -> Plot:
    """Call several tools in one reply and repeat what they said, in order."""
    heard = yield [bash(f"echo answer {call}") for call in range(1, calls + 1)]
    yield [text(", ".join(result.text for result in heard.results))]


@script()
def much_output(_: Task, turns: int = 60, calls: int = 4, kilobytes: int = 25, wait: float = 0.0) -> Plot:
    """Call tools in many turns, some in each, that print so much each: about twice that goes through the log."""
    for turn in range(turns):
        prints = [f"head -c {kilobytes * 1000} /dev/zero | tr '\\0' {call % 10}" for call in range(calls)]
        yield reply(*(bash(f"{each}; echo {turn}") for each in prints), wait=wait)
    yield [text(f"Printed {turns * calls} times.")]


@script()
def big_argument(_: Task, path: str, megabytes: float = 5.0) -> Plot:
    """Write a large file in one tool call."""
    line = "All work and no play makes a large file a dull file.\n"
    heard = yield [write(path, line * int(megabytes * 1_000_000 / len(line)))]
    yield [text(f"Written: {heard.text}")]


@script()
def invalid_utf8(_: Task) -> Plot:
    """Let a command print bytes that are not UTF-8, and read a file of such bytes."""
    yield [bash(r"printf 'before \377\376 after\n'; printf 'caf\351\n' > latin1.txt; pwd")]
    heard = yield [bash("cat latin1.txt"), bash("echo $PWD/latin1.txt")]
    seen = yield [read(heard.results[1].text.strip())]
    yield [text(f"Seen: {seen.text}")]


@script()
def use_mcp(_: Task, name: str, *arguments: str) -> Plot:
    """Call an MCP tool, such as `use-mcp mcp__echo__say words=hello`, and repeat what it said."""
    pairs = [argument.split("=", 1) for argument in arguments]
    heard = yield [tool(name, **dict(pairs))]
    yield [text(f"{name} said: {heard.text}")]


@script()
def subagent(_: Task, other: str = "say-hello") -> Plot:
    """Give a task to a subagent that plays another script, and repeat its report."""
    call = tool("Agent", description="a side task", prompt=f"[script: {other}]", subagent_type="general-purpose")
    heard = yield [text("Somebody else can do this."), call]
    if "launched" in heard.text:
        yield [text("The subagent is at work.")]
    yield [text("The subagent has reported.")]


@script()
def list_files(_: Task) -> Plot:
    """Say which files there are, hidden directories left out."""
    heard = yield [bash("find . -type f -not -path '*/.*' | sort")]
    yield [text(heard.text)]
