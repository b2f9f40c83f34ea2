"""The demo's gateway: a key for it, where it is reached, and what to try with both."""

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deploy.kind.checkout import Checkout
from deploy.kind.errors import ClusterError
from deploy.kind.nodes import PUBLISHED
from deploy.kind.steps import STEPS
from deploy.stack import ROOT, Stack

PORT = PUBLISHED[0]
FORWARDED = 8080
"""The port of this machine that is led to the gateway of a cluster which publishes none here."""
KEYS = "agentjob-keys"
"""The Secret."""
NAME = "demo"
READY_SECONDS = 120
"""How long a key may take to reach the gateway's Pods."""


def file() -> Path:
    """Where GATEWAY and KEY are kept, for shells to read."""
    return Checkout(ROOT).state / "demo.env"


def values(stack: Stack) -> dict[str, Any]:
    """The chart's values that publish the gateway on this machine, where that can be."""
    return {"service": {"type": "NodePort", "nodePort": PORT}} if PORT in stack.published else {}


def ensure_key(stack: Stack, namespace: str) -> None:
    """A key that the gateway takes, in the file; the one from before, if it still is one.

    Raises:
        ClusterError: the Secret cannot be read or written.
    """
    before = _kept("KEY")
    is_there = stack.kubectl("get", "secret", KEYS, "-n", namespace, "--ignore-not-found", "--output=name")
    known = _keys(stack, namespace, "list") if is_there else ""
    if before and before.split("_")[1] in known:
        return
    if f" {NAME} " in known:
        _keys(stack, namespace, "revoke", NAME)
    key = _keys(stack, namespace, "create", NAME, "--namespace", namespace, "--role", "admin").strip()
    _keep(KEY=key, GATEWAY="")


def open_door(stack: Stack, namespace: str) -> None:
    """Leaves the gateway's address on this machine in the file, once it takes the key if that can be seen from here.

    Raises:
        ClusterError: it does not take the key in time.
    """
    key, place = _kept("KEY"), stack.published.get(PORT)
    # A change of the Pods makes the kubelet look at their Secrets at once instead of within two minutes.
    pods = ("pods", "-l", "app.kubernetes.io/component=gateway", "-n", namespace)
    stack.kubectl("annotate", *pods, "--overwrite", f"agentjob.dev/keys-changed={time.time():.0f}")
    if place is not None:
        with STEPS.step("gateway takes the key"):
            _wait(place, key)
    _keep(KEY=key, GATEWAY=f"http://{place or f'127.0.0.1:{FORWARDED}'}")


def _wait(place: str, key: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while (why := _refusal(place, key)) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"The gateway at {place} does not take the demo's key after {READY_SECONDS} s: {why}")
        time.sleep(0.2)


def commands(stack: Stack, namespace: str, job: str) -> str:
    """What to try with the gateway, to be pasted."""
    way = "" if PORT in stack.published else WAY.format(namespace=namespace, port=FORWARDED)
    return way + COMMANDS.format(file=file().relative_to(ROOT), job=job)


WAY = """
The gateway has no port of this machine. In another terminal, left open for what follows:
  kubectl port-forward -n {namespace} service/agentjob-gateway {port}:80
"""
COMMANDS = """
The same job through the gateway, with curl, as server-sent events, and by MCP:
  source {file}
  curl -sS "$GATEWAY/claude/jobs/{job}" -H "Authorization: Bearer $KEY"
  curl -sSN "$GATEWAY/v1/jobs/{job}/events" -H "Authorization: Bearer $KEY"
  curl -sS "$GATEWAY/mcp" -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    -H 'Accept: application/json, text/event-stream' -d '{{"jsonrpc": "2.0", "id": 1, "method": "tools/call",
      "params": {{"name": "get_claude_agent_job", "arguments": {{"job_id": "{job}"}}}}}}'

And another one, watched from its start:
  curl -sSN "$GATEWAY/claude/stream" -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    -d '{{"prompt": "Analyze the files that are here."}}'

Claude Code, started in this folder after `source {file}`, has the cluster's agents as tools (.mcp.json).
"""


def _refusal(place: str, key: str) -> str | None:
    """Why the gateway does not answer with the key as it should; None when it does."""
    connection = http.client.HTTPConnection(place, timeout=5)
    try:
        connection.request("GET", "/v1/jobs?limit=1", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return None if answer.status == http.HTTPStatus.OK else answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def _keys(stack: Stack, namespace: str, *words: str) -> str:
    """What `python -m agentjob_gateway.keys` prints."""
    command = (sys.executable, "-m", "agentjob_gateway.keys", *words, "--secret", f"{namespace}/{KEYS}")
    done = subprocess.run(
        command, cwd=ROOT, env=stack.program.variables(), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise ClusterError(done.stderr.strip())
    return done.stdout


def _kept(name: str) -> str:
    """A variable from the file; "" when it is not there."""
    try:
        lines = file().read_text().splitlines()
    except FileNotFoundError:
        return ""
    found = dict(line.removeprefix("export ").partition("=")[::2] for line in lines)
    return found.get(name, "")


def _keep(**variables: str) -> None:
    """Writes the file anew, for its owner alone to read."""
    text = "".join(f"export {name}={value}\n" for name, value in variables.items())
    descriptor = os.open(file(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as written:  # noqa: PTH123 - by its descriptor
        written.write(text)
