"""`make demo`: a real agent on a real cluster, from nothing to its answer.

`make demo-clean` takes it away again. Environment variables:

    ANTHROPIC_API_KEY    the real model is used; without it, the scripted one
    ANTHROPIC_BASE_URL   where that model is reached, if not at Anthropic
    CLUSTER=current      the context that kubectl is set to instead of a kind cluster, after asking
    REGISTRY             host/path that images are pushed to then
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from agentjob_api import lines
from deploy import demo_door
from deploy.kind.errors import ClusterError
from deploy.kind.steps import STEPS
from deploy.stack import ROOT, Stack, current_stack, kind_stack
from deploy.transcript import Transcript

NAMESPACE = "agentjob-demo"
SAMPLE = "deploy/samples/fix-the-tests.yaml"
JOB = "fix-the-tests"
START_SECONDS = 120
"""How long the agent may take to start: on a slow machine the first Pod waits for its image to be unpacked."""
END_SECONDS = 60
"""How long the status may take once the log has ended."""


def main() -> int:
    """Runs the demo; 0 when the agent has mended the tests."""
    try:
        stack = current_stack() if os.environ.get("CLUSTER") == "current" else kind_stack()
        install(stack)
        apply_sample(stack)
        watch(stack)
        status = finished(stack)
        demo_door.open_door(stack, NAMESPACE)
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    report(status)
    print(next_steps(stack))
    print(demo_door.commands(stack, NAMESPACE, JOB))
    return 0 if status.get("phase") == "Succeeded" else 1


def install(stack: Stack) -> None:
    """Installs the chart, with the model that can be had."""
    key = os.environ.get("ANTHROPIC_API_KEY")
    if key and stack.sealed:
        raise ClusterError(NO_WAY_OUT)
    stack.ensure_namespace(NAMESPACE)
    with STEPS.step("model"):
        model = real_model(stack, key) if key else stack.install_scripted_model(NAMESPACE)
    with STEPS.step("API key for the gateway"):
        demo_door.ensure_key(stack, NAMESPACE)
    with STEPS.step("chart installed, operator and gateway ready"):
        stack.install("agentjob", NAMESPACE, {**model, "gateway": demo_door.values(stack)})
    print(REAL if key else SCRIPTED)


NO_WAY_OUT = """\
ANTHROPIC_API_KEY is set, and the cluster that could be made here has no way out to the real model: its nodes were
built on this machine and are sealed (deploy/kind/README.md). Start Docker where it reaches a registry, or use a
cluster of yours (CLUSTER=current), or see the scripted model: env -u ANTHROPIC_API_KEY make demo"""
REAL = "\nThe model is Anthropic's, paid for with your ANTHROPIC_API_KEY."
SCRIPTED = """
The model is a script, because ANTHROPIC_API_KEY is not set: its answers were written beforehand.
Claude Code, the tools it runs, the Pod and its limits are real."""


def real_model(stack: Stack, key: str) -> dict[str, Any]:
    """Puts the key into a Secret and returns the chart's values that name it."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "anthropic"}, "stringData": {"api-key": key}}
    stack.apply(NAMESPACE, secret)
    model = {"apiKeySecret": {"name": "anthropic", "key": "api-key"}}
    base_url = os.environ.get("ANTHROPIC_BASE_URL")
    return {"model": {**model, "baseURL": base_url} if base_url else model}


def apply_sample(stack: Stack) -> None:
    """Applies the sample; an earlier run of it is taken away first."""
    with STEPS.step(f"kubectl apply -f {SAMPLE}"):
        stack.kubectl("delete", "agentjob", JOB, "-n", NAMESPACE, "--ignore-not-found", "--wait", timeout=60)
        stack.kubectl("apply", "-n", NAMESPACE, "-f", SAMPLE)


def watch(stack: Stack) -> None:
    """Shows the agent's messages as they come, until its log ends."""
    with STEPS.step("agent started"):
        stack.wait(NAMESPACE, f"agentjob/{JOB}", "jsonpath={.status.startTime}", START_SECONDS)
    transcript = Transcript(width=shutil.get_terminal_size((100, 24)).columns, coloured=sys.stdout.isatty())
    print()
    for message in follow(stack):
        for text in transcript.lines(message):
            print(text, flush=True)


def follow(stack: Stack) -> Iterator[dict[str, Any]]:
    """The messages of the sample's agent, from its first."""
    command = ("kubectl", "logs", "-n", NAMESPACE, f"pod/{JOB}-1", "-c", "agent", "--follow")
    with subprocess.Popen(command, cwd=ROOT, env=stack.program.variables(), stdout=subprocess.PIPE) as logs:
        assert logs.stdout is not None
        for raw in logs.stdout:
            line = lines.parse(raw)
            if line is not None:
                yield json.loads(line.message)


def finished(stack: Stack) -> dict[str, Any]:
    """The job's status once it has ended."""
    stack.wait(NAMESPACE, f"agentjob/{JOB}", "jsonpath={.status.completionTime}", END_SECONDS)
    status: dict[str, Any] = stack.get("agentjob", NAMESPACE, JOB)["status"]
    return status


def report(status: Mapping[str, Any]) -> None:
    """The outcome."""
    usage, result = status.get("usage", {}), status.get("result", {})
    tokens = (
        f"{usage.get('inputTokens', 0):,} in, {usage.get('outputTokens', 0):,} out; the cache gave"
        f" {usage.get('cacheReadInputTokens', 0):,} and took {usage.get('cacheCreationInputTokens', 0):,}"
    )
    rows = {
        "phase": status.get("phase"),
        "result": result.get("text") or status.get("failure", {}).get("message"),
        "turns": result.get("numTurns"),
        "tokens": tokens,
        "cost": f"${status.get('costUSD', '0')}",
        "duration": f"{seconds(status):.0f} s",
    }
    print()
    for name, value in rows.items():
        print(f"{name:>8}  {value}")


def seconds(status: Mapping[str, Any]) -> float:
    """From the agent's start to its end; 0 when it never started."""
    if "startTime" not in status:
        return 0.0
    begun, ended = (datetime.fromisoformat(status[name]) for name in ("startTime", "completionTime"))
    return (ended - begun).total_seconds()


def next_steps(stack: Stack) -> str:
    """What to try with kubectl, to be pasted."""
    return NEXT.format(env=ENV, clean="") if stack.published else NEXT.format(env="", clean=" CLUSTER=current")


ENV = """
  eval "$(python3 deploy/kind/cluster.py env)"     # kubectl, helm and docker of this cluster"""
NEXT = f"""
What to try next:{{env}}
  kubectl get agentjobs -n {NAMESPACE} -o wide
  kubectl describe agentjob {JOB} -n {NAMESPACE}
  kubectl logs -n {NAMESPACE} {JOB}-1      # every message, one JSON object a line
  kubectl explain agentjob.spec --recursive
  make demo-clean{{clean:<34}}# take everything away again"""


if __name__ == "__main__":
    sys.exit(main())
