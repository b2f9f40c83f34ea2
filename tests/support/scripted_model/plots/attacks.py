"""An agent that tests its walls: what it can see, reach, use up and leave behind."""

from scripted_model.replies import bash, reply, text
from scripted_model.scripts import Plot, Task, script

HOG = """\
import sys
blocks = []
while len(blocks) < int(sys.argv[1]):
    blocks.append(bytes(1) * 2**20)
print("allocated", len(blocks), "MiB")
"""

OFFER_EVERYONE = """\
for process in /proc/[0-9]*; do
    [ $process = /proc/$$ ] || echo 1000 > $process/oom_score_adj
done 2>/dev/null
"""
"""Any process may raise the score of its own user's processes; the kernel kills the highest first."""


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
def memory_hog(_: Task, mebibytes: int = 1_000_000, victim: str = "hog") -> Plot:
    """Allocate memory; with `everyone`, let the kernel's killer take the agent's other processes first."""
    command = f"exec python3 -c '{HOG}' {mebibytes}"
    if victim == "everyone":
        command = f"{OFFER_EVERYONE}\n{command}"
    heard = yield [text("I need a lot of memory."), bash(command)]
    yield [text(f"The command came back: {heard.text}")]


@script()
def fill_disk(_: Task, mebibytes: int = 8_192, path: str = "filler") -> Plot:
    """Write a large file, then wait for what happens."""
    heard = yield [bash(f"fallocate -l {mebibytes}M {path} && du -m {path}; echo status $?")]
    yield reply(text(f"Written: {heard.text}"), wait=0 if mebibytes < 1_024 else 120)


@script()
def background_child(_: Task, seconds: float = 3_600.0) -> Plot:
    """Leave a process behind that has detached itself from everything."""
    heard = yield [bash(f"setsid nohup sleep {seconds:g} >/dev/null 2>&1 & echo child $!")]
    yield [text(f"I left something running: {heard.text}")]


@script()
def kill_cli(_: Task, signal: str = "KILL") -> Plot:
    """Kill the process that runs the agent's commands."""
    yield [text("Goodbye."), bash(f"kill -{signal} $PPID; sleep 1; echo still here")]
    yield [text("I am still here.")]
