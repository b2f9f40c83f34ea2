"""An agent that tests its walls: what it can see, reach, use up and leave behind."""

from typing import Literal

from scripted_model.replies import bash, reply, text
from scripted_model.scripts import Plot, Task, script

HOG = """\
import sys
blocks = []
while len(blocks) < int(sys.argv[1]):
    blocks.append(bytes(1) * 2**20)
print("allocated", len(blocks), "MiB")
"""

OFFERS = {
    "hog": "",
    "cli": "echo 1000 > /proc/$PPID/oom_score_adj\n",
    "runner": "echo 1000 > /proc/$(grep PPid: /proc/$PPID/status | tr -dc 0-9)/oom_score_adj\n",
}
"""Who is offered to the kernel, which kills the highest score first. Anybody may raise that of their own processes."""


@script()
def read_env(_: Task) -> Plot:
    """Print the environment that the agent's commands see."""
    heard = yield [bash("env | sort")]
    yield [text(heard.text)]


@script()
def network_probe(_: Task, *targets: str) -> Plot:
    """Try a TCP connection to each HOST:PORT and say which open."""
    probes = [_probe(*target.rsplit(":", 1)) for target in targets]
    heard = yield [bash("\n".join(probes))]
    yield [text(heard.text)]


def _probe(host: str, port: str) -> str:
    connect = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null"
    return f"if {connect}; then echo {host}:{port} open; else echo {host}:{port} closed; fi"


@script()
def memory_hog(_: Task, mebibytes: int = 1_000_000, victim: Literal["hog", "cli", "runner"] = "hog") -> Plot:
    """Allocate memory until the kernel kills somebody: the command itself, the CLI, or the process that drives it."""
    heard = yield [text("I need a lot of memory."), bash(f"{OFFERS[victim]}python3 -c '{HOG}' {mebibytes}")]
    yield [text(f"The command came back: {heard.text}")]


@script()
def fill_disk(_: Task, mebibytes: int = 8_192, linger: float = 120.0, path: str = "filler") -> Plot:
    """Write a large file, then stay for a while to see who minds."""
    heard = yield [bash(f"fallocate -l {mebibytes}M {path} && du -m {path}; echo status $?")]
    yield reply(text(f"Written: {heard.text}"), wait=linger)


@script()
def background_child(_: Task, seconds: float = 3_600.0) -> Plot:
    """Leave a process behind that has detached itself from everything."""
    heard = yield [bash(f"setsid nohup sleep {seconds:g} >/dev/null 2>&1 & echo child $!")]
    yield [text(f"I left something running: {heard.text}")]


@script()
def kill_cli(_: Task, signal: str = "KILL") -> Plot:
    """Kill the process that runs the agent's commands, once this very call is in its transcript.

    Claude Code writes the transcript a moment after the fact: killed before, the conversation goes on without the call.
    """
    kill = f"kill -{signal} $PPID"
    written = f"grep -qsF '{kill}' ~/.claude/projects/*/*.jsonl"
    yield [
        text("Goodbye."),
        bash(f"until {written} || ((++n > 100)); do sleep 0.05; done; {kill}; sleep 1; echo alive"),
    ]
    yield [text("I am still here.")]
