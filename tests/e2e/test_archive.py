"""What is left of a job when its Pod is gone: its lines, and who has done what."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.conftest import Gateway, Job, Jobs
from tests.e2e.test_doors import curl, events, sent

pytestmark = pytest.mark.cluster
Object = dict[str, Any]


def test_a_jobs_stream_is_the_same_after_its_pod_is_gone(gateway: Gateway, jobs: Jobs) -> None:
    job = jobs.submit("kept", "[script: many-turns 20]")
    job.wait("condition=Archived", 90)
    assert job.condition("Archived")["reason"] == "Archived"
    path = f"/v1/jobs/{job.name}/events"
    before = events(gateway, path)
    assert before[-1]["data"] == "[DONE]"
    job.kubectl("delete", "pod", f"{job.name}-1", "--timeout=60s", timeout=70)

    assert events(gateway, path) == before
    ids = [each["id"] for each in before if "id" in each]
    rest = events(gateway, path, "-H", f"Last-Event-ID: {ids[7]}")
    assert [each["id"] for each in rest if "id" in each] == ids[8:]


def test_what_is_kept_goes_with_its_job(gateway: Gateway, jobs: Jobs) -> None:
    job = jobs.submit("not-kept", "[script: many-turns 1]")
    job.wait("condition=Archived", 90)
    job.delete()
    again = jobs.submit("not-kept", suspend=True, prompt="[script: many-turns 1]")
    assert "Archived" not in {each["type"] for each in again.status.get("conditions", [])}
    again.delete()


def audited(jobs: Jobs) -> bytes:
    """The logs of all gateways that run."""
    some = ("-l", "app.kubernetes.io/component=gateway", "--prefix", "--tail=-1")
    return jobs.kubectl("logs", *some).encode()


def verify(log: bytes) -> subprocess.CompletedProcess[bytes]:
    command = (sys.executable, "-m", "agentjob_gateway.audit", "verify")
    return subprocess.run(command, input=log, capture_output=True, timeout=60, check=False)


def told(log: bytes) -> list[Object]:
    """The audit's lines."""
    found = [line[line.index(b"{") :] for line in log.splitlines() if b'"audit":' in line]
    return [json.loads(line) for line in found]


@pytest.fixture(scope="module")
def finished(jobs: Jobs) -> Job:
    """A job made with kubectl, whose agent has used a tool, and that is read to its end."""
    job = jobs.submit("made-by-hand", "[script: many-turns 3]")
    job.wait("condition=Archived", 90)
    return job


def test_who_has_done_what_is_told_by_one_chain_for_each_gateway(gateway: Gateway, jobs: Jobs, finished: Job) -> None:
    made = curl(gateway, "/claude", *sent({"prompt": "[script: many-turns 1]"}))["job_id"]
    Job(jobs.stack, made).finished()
    log = audited(jobs)
    checked = verify(log)
    assert checked.returncode == 0, checked.stdout.decode()
    assert b"open end" in checked.stdout

    [request] = [line for line in told(log) if line["audit"] == "request" and line["job"] == made]
    assert (request["who"], request["what"], request["verdict"]) == ("key:e2e", "create", "accepted")
    tools = [line for line in told(log) if line["audit"] == "tool" and line["job"] == finished.name]
    uses = [block for message in finished.messages() for block in blocks(message) if block["type"] == "tool_use"]
    assert [(line["use"], line["what"], line["verdict"]) for line in tools] == [
        (use["id"], use["name"], "ok") for use in uses
    ]
    assert uses
    assert gateway.key.encode() not in log


def test_an_audit_that_was_tampered_with_is_told_apart(jobs: Jobs, finished: Job) -> None:
    log = audited(jobs)
    victim = next(line for line in log.splitlines() if b'"audit":"tool"' in line and finished.name.encode() in line)
    for forged in (log.replace(victim + b"\n", b""), log.replace(victim, victim.replace(b'"ok"', b'"denied"'))):
        checked = verify(forged)
        assert (checked.returncode, b"BROKEN" in checked.stdout) == (1, True)


def blocks(message: Object) -> list[Object]:
    """What a message of the agent is made of."""
    content = message.get("message", {}).get("content", [])
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
