"""What the chart offers after an installation: `helm test`, and the commands of its notes, pasted as they stand."""

import pytest

from tests.e2e.conftest import NAMESPACE, Jobs

pytestmark = pytest.mark.cluster
RELEASE = "agentjob-e2e"


def test_helm_test_finds_the_operator_well(jobs: Jobs) -> None:
    report = jobs.stack.program.run("helm", "test", RELEASE, "--namespace", NAMESPACE, "--logs", timeout=90)
    assert "Phase:          Succeeded" in report
    assert "/metrics answers as it should" in report


def commands(notes: str, heading: str) -> str:
    """The indented lines under one heading of the notes."""
    _, _, below = notes.partition(f"\n{heading}\n\n")
    block, _, _ = below.partition("\n\n")
    assert block.startswith("    "), f"no commands under {heading!r}"
    return block


def test_the_first_agent_of_the_notes_answers(jobs: Jobs) -> None:
    helm, shell = ("helm", "get", "notes", RELEASE, "--namespace", NAMESPACE), ("bash", "-euc")
    notes = jobs.stack.program.run(*helm, timeout=30)
    first = commands(notes, "Run a first agent and read its answer:")
    # The scripted model plays what the prompt names.
    scripted = first.replace("Say hello in one sentence.", '"[script: say-hello]"')
    answer = jobs.stack.program.run(*shell, scripted, timeout=100).splitlines()[-1]
    assert answer == jobs.kubectl("get", "agentjob/hello", "--output=jsonpath={.status.result.text}")
    assert answer
    shown = jobs.stack.program.run(*shell, commands(notes, "See all jobs, and what the operator is doing:"), timeout=30)
    assert "hello" in shown
    assert "Job is Succeeded" in shown
    jobs.kubectl("delete", "agentjob/hello", "--timeout=60s", timeout=70)
