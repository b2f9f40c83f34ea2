"""Names, phases, reasons and the handover: the tables that operator and runner share."""

import pytest

from agentjob_api import handover, names
from agentjob_api.handover import Handover, HandoverTooLargeError, secret_headers
from agentjob_api.phases import ALLOWED, Phase
from agentjob_api.reasons import RETRY_CLASS, Reason, RetryClass
from agentjob_api.spec import AgentSpec

HANDOVER = Handover(namespace="team", job="fix", uid="u-1", attempt=1, prompt="Fix it.", agent=AgentSpec(max_turns=3))


def test_every_phase_has_its_ways_on_and_final_ones_have_none() -> None:
    assert set(ALLOWED) == set(Phase)
    assert {phase for phase in Phase if phase.is_final} == {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


def test_every_final_phase_can_be_reached_from_every_other() -> None:
    final = {phase for phase in Phase if phase.is_final}
    assert all(ALLOWED[phase] >= final for phase in Phase if not phase.is_final)


def test_every_reason_says_what_another_attempt_could_change() -> None:
    assert set(RETRY_CLASS) == set(Reason)
    assert {reason for reason in Reason if reason.retry_class is RetryClass.FREE} == {
        Reason.EVICTED,
        Reason.NODE_LOST,
        Reason.PREEMPTED,
    }


def test_the_longest_name_of_a_job_leaves_room_for_its_attempts() -> None:
    assert len(names.pod_name("j" * names.MAX_JOB_NAME, 99_999)) == 63


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        pytest.param("fix", True, id="a word"),
        pytest.param("7", True, id="a digit"),
        pytest.param("j" * names.MAX_JOB_NAME, True, id="the longest"),
        pytest.param("j" * (names.MAX_JOB_NAME + 1), False, id="one longer"),
        pytest.param("", False, id="nothing"),
        pytest.param(".", False, id="the folder itself"),
        pytest.param("..", False, id="the folder above"),
        pytest.param("fix/status", False, id="a part of a job"),
        pytest.param("fix\n", False, id="a newline at its end"),
        pytest.param("Fix", False, id="a capital"),
        pytest.param("-fix", False, id="a dash at its beginning"),
        pytest.param("\udcff", False, id="a byte that is no text"),
    ],
)
def test_what_a_job_may_be_called(text: str, is_one: bool) -> None:
    assert names.is_job_name(text) == is_one


def test_a_handover_reads_back_as_it_was_written() -> None:
    assert Handover.model_validate_json(HANDOVER.to_annotation()) == HANDOVER


def test_a_handover_that_cannot_fit_says_what_to_do() -> None:
    large = HANDOVER.model_copy(update={"files": {"a.txt": "ä" * 65_536, "b.txt": "ä" * 65_536}})

    with pytest.raises(HandoverTooLargeError, match=r"workspace\.files are \d+ bytes .*promptFrom"):
        large.to_annotation()
    assert handover.MAX_HANDOVER_BYTES < 256 * 1024


def test_both_sides_derive_the_same_variables_for_secret_headers() -> None:
    ref = {"name": "tokens", "key": "search"}
    agent = AgentSpec.model_validate(
        {
            "mcpServers": {
                "zoo": {
                    "type": "http",
                    "url": "http://zoo/mcp",
                    "headersFrom": [{"name": "X-Key", "secretKeyRef": ref}],
                },
                "art": {
                    "type": "http",
                    "url": "http://art/mcp",
                    "headersFrom": [
                        {"name": "Authorization", "secretKeyRef": ref},
                        {"name": "X-Team", "secretKeyRef": ref},
                    ],
                },
            }
        }
    )

    found = [(header.server, header.header, header.variable) for header in secret_headers(agent)]

    assert found == [
        ("art", "Authorization", "AGENTJOB_MCP_0_0"),
        ("art", "X-Team", "AGENTJOB_MCP_0_1"),
        ("zoo", "X-Key", "AGENTJOB_MCP_1_0"),
    ]
