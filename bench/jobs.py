"""What AgentJob adds to a bare Pod and to Claude Code."""

import asyncio
import json
import random
from pathlib import Path
from statistics import median

from agentjob_api import names
from agentjob_kube.client import Client, Object
from agentjob_kube.connect import connect
from agentjob_kube.wire import HttpTransport
from bench.figures import Comparison, Measurement, Row
from bench.picture import picture
from bench.timeline import Timeline, run_job, run_pod
from bench.writes import counted
from deploy.kind.steps import STEPS
from deploy.stack import ROOT, Stack

NAMESPACE = "agentjob-bench"
PROMPT = "[script: say-hello]"
PICTURE = ROOT / "docs" / "one-jobs-seconds.svg"


def compare(stack: Stack, pairs: int) -> tuple[list[Row], dict[str, object]]:
    """All rows of the table, and the median seconds of each span of a job, which are drawn as well."""
    with STEPS.step("chart and scripted model"):
        stack.delete_namespace(NAMESPACE)  # of a run that was cut off
        stack.ensure_namespace(NAMESPACE)
        stack.install("agentjob-bench", NAMESPACE, stack.install_scripted_model(NAMESPACE))
    rows, spans = asyncio.run(measure(stack, pairs))
    stack.delete_namespace(NAMESPACE)
    PICTURE.write_text(picture(spans, "One job, from create to Complete"))
    print(f"\nPicture: {PICTURE.relative_to(ROOT)}")
    return rows, {"spans": spans}


async def measure(stack: Stack, pairs: int) -> tuple[list[Row], dict[str, float]]:
    """All rows of the table, and the median seconds of each span of a job."""
    connection = await connect(lambda *_: None, Path(stack.environment["KUBECONFIG"]))
    async with connection.session() as session:
        client = Client(HttpTransport(session, connection.server))
        with STEPS.step("a job to warm up"):
            await run_job(client, NAMESPACE, job("warm"))
            twin = bare(stack.get("pod", NAMESPACE, names.pod_name("warm", 1)))
        with STEPS.step(f"cold starts, {pairs} pairs"):
            before = counted(stack.kubectl("get", "--raw", "/metrics"))
            ours, theirs = await cold_starts(client, twin, pairs)
            after = counted(stack.kubectl("get", "--raw", "/metrics"))
    with STEPS.step(f"first messages, {pairs} pairs"):
        first = first_messages(stack, twin, pairs)
    writes = (after - before).total() - pairs  # the bare Pods are ours, not the operator's
    spans = [timeline.spans() for timeline in ours]
    rows: list[Row] = [
        Comparison(
            name="create → agent's first line",
            ours=tuple(timeline.between("created", "first line") for timeline in ours),
            theirs=tuple(timeline.between("created", "first line") for timeline in theirs),
            against="bare Pod, same image and command",
            unit="s",
            goal=1.10,
        ),
        Comparison(
            name="start → Claude Code's first message",
            ours=tuple(first["runner"]),
            theirs=tuple(first["claude"]),
            against="`claude -p`, same image",
            unit="s",
            goal=1.5,
        ),
        Measurement(
            name="agent's end → Complete",
            values=tuple(timeline.between("outcome", "complete") for timeline in ours),
            unit="s",
            goal=0.9,
        ),
        Measurement(
            name="API writes per job, before its Pod is deleted", values=(writes / pairs,), unit="writes", goal=3
        ),
    ]
    return rows, {name: median(span[name] for span in spans) for name in spans[0]}


async def cold_starts(client: Client, twin: Object, pairs: int) -> tuple[list[Timeline], list[Timeline]]:
    """Jobs and bare Pods in turn, each at a random phase of the kubelet's one-second ticks."""
    ours, theirs = [], []
    for number in range(pairs):
        await asyncio.sleep(random.random())
        ours.append(await run_job(client, NAMESPACE, job(f"job-{number}")))
        await asyncio.sleep(random.random())
        body = {**twin, "metadata": {**twin["metadata"], "name": f"bare-{number}"}}
        theirs.append(await run_pod(client, NAMESPACE, body))
    return ours, theirs


def job(name: str) -> Object:
    """A job whose agent says one sentence."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"prompt": PROMPT, "activeDeadlineSeconds": 120},
    }


def bare(pod: Object) -> Object:
    """A Pod with the same containers as a job's, which no operator watches: only its owner is missing."""
    spec = {
        key: value for key, value in pod["spec"].items() if key not in {"nodeName", "serviceAccountName", "tolerations"}
    }
    annotations = {names.ANNOTATION_HANDOVER: pod["metadata"]["annotations"][names.ANNOTATION_HANDOVER]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": annotations}, "spec": spec}


def first_messages(stack: Stack, twin: Object, pairs: int) -> dict[str, list[float]]:
    """What bench/first_message.py measures inside one Pod of the runner image."""
    container = {**twin["spec"]["containers"][0], "command": ["sleep", "3600"], "args": []}
    body = {
        **twin,
        "metadata": {**twin["metadata"], "name": "first-message"},
        "spec": {**twin["spec"], "containers": [container]},
    }
    stack.apply(NAMESPACE, body)
    stack.kubectl("wait", "-n", NAMESPACE, "pod/first-message", "--for=condition=Ready", "--timeout=60s", timeout=70)
    script = (ROOT / "bench" / "first_message.py").read_text()
    said = stack.kubectl(
        "exec",
        "-i",
        "-n",
        NAMESPACE,
        "first-message",
        "--",
        "python3",
        "-",
        str(pairs),
        stdin=script,
        timeout=30 * pairs,
    )
    seconds: dict[str, list[float]] = json.loads(said)
    return seconds
