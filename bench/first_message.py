"""Inside the runner image: how long until the CLI's first message, through the runner and by `claude -p`, in turn.

Runs in a Pod of the runner image (`python3 - ROUNDS` with this file on stdin), so it imports the standard library only.
Prints one JSON object: {"runner": [seconds…], "claude": [seconds…]}.
"""

import json
import os
import subprocess
import sys
import time

PROMPT = "[script: say-hello]"
RUNNER = ("/opt/agentjob/bin/python", "-I", "-m", "agentjob_runner")
"""As in the image's entrypoint; the handover is that of the job whose Pod this one is the twin of."""
CLAUDE = (
    "claude",
    "-p",
    PROMPT,
    "--output-format",
    "stream-json",
    "--verbose",
    "--permission-mode",
    "bypassPermissions",
)


def seconds_to_first_message(command: tuple[str, ...], mark: bytes) -> float:
    """Starts a program and waits for the first line of its output that holds `mark`."""
    begun = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as program:
        assert program.stdout is not None
        found = next((time.monotonic() - begun for line in program.stdout if mark in line), None)
        program.stdout.read()
    if found is None:
        raise SystemExit(f"{command[0]} ended without a message that holds {mark!r}")
    return found


def main() -> None:
    os.environ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"  # as the runner does
    seconds: dict[str, list[float]] = {"runner": [], "claude": []}
    for _ in range(int(sys.argv[1])):
        seconds["runner"].append(seconds_to_first_message(RUNNER, b'"subtype":"init"'))
        seconds["claude"].append(seconds_to_first_message(CLAUDE, b'"subtype":"init"'))
    print(json.dumps(seconds))


main()
