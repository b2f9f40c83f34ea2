"""The operator as a process of its own: how it starts, what it serves, how it ends, and what it asks for."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from agentjob_operator.access import ACCESS
from fake_cluster import FakeCluster, Fault
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, Operated, free_port, operated, told, until


def kubeconfig(path: Path, server: str) -> Path:
    path.write_text(
        json.dumps(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "s3cret-t0ken"}}],
            }
        )
    )
    return path


@asynccontextmanager
async def process(tmp_path: Path, server: str, **settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m agentjob_operator`, ended with the block at the latest."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"namespaces": [NAMESPACE], "runner": {"image": "r:1"}, "port": 0, **settings}))
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "agentjob_operator", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"KUBECONFIG": str(kubeconfig(tmp_path / "kubeconfig", server)), "HOME": str(tmp_path)},
    )
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.wait()


async def fetch(url: str) -> tuple[int, str]:
    """Status and text of an answer; 0 while nobody listens."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectionError:
        return 0, ""


async def until_answer(url: str, status: int) -> str:
    async def look() -> str | None:
        found, text = await fetch(url)
        return text if found == status else None

    found: str = await until(look)
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_quickly_and_cleanly_when_it_is_told_to(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with FakeCluster() as cluster:
        async with process(tmp_path, cluster.url, port=port) as running:
            await until_answer(f"http://127.0.0.1:{port}/readyz", 200)
            running.send_signal(number)
            async with asyncio.timeout(3):
                output, errors = await running.communicate()

    assert (running.returncode, errors) == (0, b"")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["message"] for line in lines if line["logger"].startswith("agentjob")] == [
        f"Started, serving AgentJobs in {NAMESPACE}",
        "Stopped",
    ]
    assert b"s3cret-t0ken" not in output


async def test_it_is_healthy_but_not_ready_while_the_cluster_is_away(tmp_path: Path) -> None:
    port = free_port()
    async with process(tmp_path, f"http://127.0.0.1:{free_port()}", port=port):
        await until_answer(f"http://127.0.0.1:{port}/healthz", 200)
        assert "not been listed" in await until_answer(f"http://127.0.0.1:{port}/readyz", 503)
        found = await until_answer(f"http://127.0.0.1:{port}/metrics", 200)

    assert 'agentjob_api_requests_total{code="none",verb="list"}' in found


async def test_a_configuration_that_is_wrong_ends_it_with_the_field_and_no_traceback(tmp_path: Path) -> None:
    async with process(tmp_path, "http://127.0.0.1:1", workers="many") as running:
        _, errors = await running.communicate()

    assert running.returncode == 2
    assert b"config.json: workers: Input should be a valid integer" in errors
    assert b"Traceback" not in errors


async def test_its_metrics_tell_of_jobs_and_requests() -> None:
    port = free_port()
    async with operated(port=port) as op:
        await op.submit()
        await op.end_agent(told())
        await op.until_status(phase="Succeeded")
        _, text = await fetch(f"http://127.0.0.1:{port}/metrics")

    assert f'agentjob_jobs{{namespace="{NAMESPACE}",phase="Succeeded"}} 1.0' in text
    assert f'agentjob_attempts_total{{namespace="{NAMESPACE}",reason="Completed"}} 1.0' in text
    assert 'agentjob_api_requests_total{code="201",verb="create"} 1.0' in text
    assert 'agentjob_api_requests_total{code="200",verb="update"} 1.0' in text


async def tour(op: Operated) -> None:
    """Everything the operator ever does."""
    await op.submit("talks", ttlSecondsAfterFinished=1)
    await op.end_agent(told(text="Cut", truncated=True), name="talks-1")
    await op.until_no_pod("talks-1")
    await op.submit("stopped")
    await op.run_agent("stopped-1")
    await op.change("stopped", cancel=True)
    await op.pod("stopped-1", generation=2)
    await op.submit("fails", backoffLimit=0)
    await op.end_agent(code=1, name="fails-1")
    await op.until_status("fails", phase="Failed")
    await op.submit("deleted")
    await op.pod("deleted-1")
    await op.delete("deleted")
    await op.until_no_pod("deleted-1")
    taken = Refusal(409, "AlreadyExists", 'pods "taken-1" already exists')
    op.cluster.fail(Fault("create", "pods", refusal=taken))
    await op.submit("taken")
    await op.pod("taken-1")


async def test_it_asks_for_what_its_role_allows_and_for_all_of_it() -> None:
    async with operated() as op:
        await tour(op)
        asked = {(seen.group, seen.resource, seen.verb) for seen in op.asked()}

    assert asked == {(access.group, access.resource, verb) for access in ACCESS for verb in access.verbs}


def test_its_role_reaches_no_secret() -> None:
    assert not {access.resource for access in ACCESS} & {"secrets", "configmaps", "serviceaccounts/token"}
