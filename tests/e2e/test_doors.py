"""The doors from outside: curl, a browser, MCP clients and Claude Code, with real agents behind them."""

import json
import subprocess
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from deploy.kind.errors import CommandFailed
from tests.e2e.conftest import NAMESPACE, RELEASE, Gateway, Job, Jobs

pytestmark = pytest.mark.cluster
Object = dict[str, Any]


def curl(gateway: Gateway, path: str, *options: str, seconds: float = 60) -> Object:
    """What curl prints, as JSON."""
    command = ("curl", "-sS", f"{gateway.url}{path}", "-H", f"Authorization: Bearer {gateway.key}", *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    found: Object = json.loads(done.stdout)
    return found


def sent(body: Object) -> tuple[str, ...]:
    return ("-X", "POST", "-H", "Content-Type: application/json", "-d", json.dumps(body))


def events(gateway: Gateway, path: str, *options: str, seconds: float = 60) -> list[Object]:
    """The events of a stream until it ends: id, event and data of each."""
    command = ("curl", "-sSN", f"{gateway.url}{path}", "-H", f"Authorization: Bearer {gateway.key}", *options)
    done = subprocess.run(command, capture_output=True, timeout=seconds, check=True)
    found = [event(block) for block in done.stdout.decode().split("\n\n")]
    return [each for each in found if "data" in each]


def event(block: str) -> Object:
    fields = [line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith("retry")]
    return {name: value for name, value in fields if name in {"id", "event", "data"}}


def test_submit_and_poll_with_curl(gateway: Gateway) -> None:
    prompt = "Analyze TypeScript files and generate dependency graph"
    accepted = curl(gateway, "/claude", *sent({"prompt": prompt}))
    assert accepted == {"job_id": accepted["job_id"], "status": "pending"}

    polled = curl(gateway, f"/claude/jobs/{accepted['job_id']}?wait=60", seconds=90)
    assert polled["status"] == "completed"
    assert polled["result"].keys() == {"output", "usage", "cost_usd"}
    assert polled["result"]["output"].startswith("Analyzed the workspace.")
    assert polled["result"]["usage"]["input_tokens"] > 0
    assert polled["result"]["cost_usd"] > 0


def test_submit_and_watch_with_curl(gateway: Gateway) -> None:
    found = events(gateway, "/claude/stream", *sent({"prompt": "[script: many-turns 3]"}))
    messages = [json.loads(each["data"]) for each in found if "event" not in each and each["data"] != "[DONE]"]
    assert [message["type"] for message in messages][:1] == ["system"]
    assert messages[-1]["result"] == "Done after 3 turns."
    assert messages[-1]["total_cost_usd"] > 0
    assert found[-1]["data"] == "[DONE]"
    numbers = [int(each["id"].rpartition("-")[2]) for each in found[:-1] if "id" in each]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_stream_goes_on_where_its_client_was_cut_off(gateway: Gateway, jobs: Jobs) -> None:
    job = jobs.submit("watched-again", "[script: many-turns 3]")
    job.finished()
    path = f"/v1/jobs/{job.name}/events"
    whole = events(gateway, path)
    ids = [each["id"] for each in whole if "id" in each]
    rest = events(gateway, path, "-H", f"Last-Event-ID: {ids[4]}")
    assert [each["id"] for each in rest if "id" in each] == ids[5:]
    command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{gateway.url}{path}")
    headers = ("-H", f"Authorization: Bearer {gateway.key}", "-H", f"Last-Event-ID: {ids[-1]}")
    assert subprocess.run((*command, *headers), capture_output=True, timeout=30, check=True).stdout == b"204"


def test_a_job_made_with_kubectl_is_watched_like_any_other(gateway: Gateway, jobs: Jobs) -> None:
    job = jobs.submit("by-hand", "[script: say-hello]")
    found = events(gateway, f"/v1/jobs/{job.name}/events")
    states = [json.loads(each["data"])["phase"] for each in found if each.get("event") == "state"]
    assert states[-1] == "Succeeded"
    assert [each["data"] for each in found if "event" not in each][-1] == "[DONE]"
    assert [json.loads(line.message) for line in job.lines()] == [
        json.loads(each["data"]) for each in found if "id" in each and each["data"] != "[DONE]"
    ]


def test_a_job_that_fails_ends_its_stream_with_the_reason(gateway: Gateway) -> None:
    found = events(gateway, "/claude/stream", *sent({"prompt": "[script: billing]"}))
    last = json.loads(found[-1]["data"])
    assert last["reason"] == "BudgetExceeded"
    assert last["error"]


def test_a_job_is_cancelled_through_the_door(gateway: Gateway, jobs: Jobs) -> None:
    made = curl(gateway, "/v1/jobs", *sent({"name": "stop-me", "spec": {"prompt": "[script: endless]"}}))
    job = Job(jobs.stack, made["id"])
    job.wait("jsonpath={.status.phase}=Running")
    job.wait_for_tool()
    curl(gateway, "/v1/jobs/stop-me/cancel", "-X", "POST")
    polled = curl(gateway, "/claude/jobs/stop-me?wait=60", seconds=90)
    assert (polled["status"], job.status["phase"]) == ("failed", "Cancelled")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"prompt": ""}, id="an empty prompt"),
        pytest.param({}, id="no prompt"),
        pytest.param({"prompt": 7}, id="a number for a prompt"),
        pytest.param({"prompt": "x", "unheardOf": True}, id="a field that does not exist"),
        pytest.param({"prompt": "x", "agent": {"maxTurns": 0}}, id="no turns at all"),
        pytest.param({"prompt": "x", "workspace": {"git": {"url": "ftp://x"}}}, id="no address for git"),
    ],
)
def test_a_wrong_spec_is_refused_in_the_api_servers_own_words(gateway: Gateway, jobs: Jobs, spec: Object) -> None:
    refused = curl(gateway, "/v1/jobs", *sent({"name": "wrong", "spec": spec}))
    assert refused["status"] == 422
    body = {"apiVersion": "agentjob.dev/v1alpha1", "kind": "AgentJob", "metadata": {"name": "wrong"}, "spec": spec}
    with pytest.raises(CommandFailed) as said:
        jobs.stack.program.run(
            "kubectl", "create", "-n", NAMESPACE, "--validate=strict", "-f", "-", stdin=json.dumps(body), timeout=30
        )
    fields = {word.rstrip(":") for word in refused["detail"].split() if word.startswith(("spec", '"spec'))}
    assert fields
    assert all(field in str(said.value) for field in fields)


def test_an_agent_delegates_to_another_through_mcp(gateway: Gateway, jobs: Jobs) -> None:
    """Claude Code in the cluster has the gateway as an MCP server, with a key that comes from a Secret."""
    header = {"authorization": f"Bearer {gateway.key}"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "delegate"}, "stringData": header}
    jobs.stack.apply(NAMESPACE, secret)
    source = {"name": "Authorization", "secretKeyRef": {"name": "delegate", "key": "authorization"}}
    server = {"type": "http", "url": f"http://{RELEASE}-gateway.{NAMESPACE}/mcp", "headersFrom": [source]}
    job = jobs.submit(
        "delegates",
        "[script: use-mcp mcp__agentjob__run_claude_agent 'prompt=Analyze the files that are here']",
        agent={"mcpServers": {"agentjob": server}},
    )
    text = job.finished(120)["result"]["text"]
    answer = json.loads(text[text.index("{") :])
    assert answer["result"].startswith("Analyzed the workspace.")
    assert answer["cost_usd"] > 0
    assert answer["usage"]["input_tokens"] > 0


async def test_the_mcp_packages_client_runs_an_agent(gateway: Gateway) -> None:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {gateway.key}"}, timeout=90)
    async with http, Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http)) as client:
        result = await client.call_tool("run_claude_agent", {"prompt": "[script: say-hello]"})
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["result"] == "Hello from the scripted model."
