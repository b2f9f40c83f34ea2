"""What the chart offers after an installation: `helm test`, and the commands of its notes, pasted as they stand."""

import json

import pytest

from tests.e2e.conftest import NAMESPACE, RELEASE, Gateway, Jobs

pytestmark = pytest.mark.cluster
SHELL = ("bash", "-euc")


def test_helm_test_finds_operator_and_gateway_well(jobs: Jobs) -> None:
    report = jobs.stack.program.run("helm", "test", RELEASE, "--namespace", NAMESPACE, "--logs", timeout=90)
    assert "Phase:          Succeeded" in report
    for path in ("8080/metrics", "8081/readyz", "/v1/jobs"):
        assert f"{path} answers as it should" in report


@pytest.fixture
def notes(jobs: Jobs) -> str:
    return jobs.stack.program.run("helm", "get", "notes", RELEASE, "--namespace", NAMESPACE, timeout=30)


def commands(notes: str, heading: str) -> str:
    """The indented lines under one heading of the notes. The scripted model plays what their prompt names."""
    _, _, below = notes.partition(f"\n{heading}\n\n")
    block, _, _ = below.partition("\n\n")
    assert block.startswith("    "), f"no commands under {heading!r}"
    return block.replace("Say hello in one sentence.", "[script: say-hello]")


def test_the_first_agent_of_the_notes_answers(jobs: Jobs, notes: str) -> None:
    first = commands(notes, "Run a first agent and read its answer:")
    quoted = first.replace("[script: say-hello]", '"[script: say-hello]"')  # YAML would take it for a list
    answer = jobs.stack.program.run(*SHELL, quoted, timeout=100).splitlines()[-1]
    assert answer == jobs.kubectl("get", "agentjob/hello", "--output=jsonpath={.status.result.text}")
    assert answer
    shown = jobs.stack.program.run(*SHELL, commands(notes, "See all jobs, and what the operator is doing:"), timeout=30)
    assert "hello" in shown
    assert "Job is Succeeded" in shown
    jobs.kubectl("delete", "agentjob/hello", "--timeout=60s", timeout=70)


MAKE_A_KEY = (
    "Make an API key for the gateway. It is shown this once; the last line lets the kubelet bring it at once instead of"
    " within two minutes:"
)
KNOWN = 'curl --silent --fail --retry 30 --retry-delay 1 --retry-all-errors -H "Authorization: Bearer $KEY" {}/v1/jobs'


def test_the_key_of_the_notes_opens_the_gateway_and_curl_gets_an_answer(
    jobs: Jobs, gateway: Gateway, notes: str
) -> None:
    ask = commands(notes, "Submit a task with curl, and poll until there is an answer:")
    port = commands(notes, "Open a way to the gateway, in another terminal:").split()[-1].partition(":")[0]
    here = ask.replace(f"http://localhost:{port}", gateway.url)
    assert here != ask
    # Whoever opens another terminal first takes longer than the kubelet.
    script = "\n".join((commands(notes, MAKE_A_KEY), f"{KNOWN.format(gateway.url)} > /dev/null", here))
    answer = json.loads(jobs.stack.program.run(*SHELL, script, timeout=100).splitlines()[-1])
    assert answer["status"] == "completed"
    assert answer["result"]["output"]
    submitter = "jsonpath={.metadata.annotations.agentjob\\.dev/submitted-by}"
    assert jobs.kubectl("get", f"agentjob/{answer['job_id']}", f"--output={submitter}") == "key:first"
    jobs.kubectl("delete", f"agentjob/{answer['job_id']}", "--timeout=60s", timeout=70)
