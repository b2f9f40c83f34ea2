"""How often the kernel has killed a process of this container for want of memory."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
COUNTERS = ("memory.events", "memory/memory.oom_control")
"""Where cgroup v2 and v1 keep the counter, as a line `oom_kill N`, in a container's own view."""


def oom_kills(cgroup: Path = CGROUP) -> int:
    """The container's count since its start; 0 where it cannot be read."""
    for counter in COUNTERS:
        try:
            lines = (cgroup / counter).read_text().splitlines()
        except OSError:
            continue
        for name, _, value in (line.partition(" ") for line in lines):
            if name == "oom_kill" and value.isdecimal():
                return int(value)
    return 0
