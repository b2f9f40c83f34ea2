"""The messages of an attempt, one after the other, come to what its outcome is judged by."""

from typing import Any

import pytest

from agentjob_runner.ending import Ending, Exit
from agentjob_runner.seen import Seen

STOP = "the runner is told to stop"
SAYS: dict[str, Any] = {"type": "assistant", "session_id": "s-1"}
RESULT: dict[str, Any] = {"type": "result", "session_id": "s-1"}
INTERRUPTED: dict[str, Any] = {"type": "user", "session_id": "s-1"}
SUBAGENT_SAYS = SAYS | {"parent_tool_use_id": "toolu_1"}


def task(subtype: str, kind: str = "local_agent", **fields: str) -> dict[str, Any]:
    return {"type": "system", "subtype": subtype, "task_id": "t-1", "task_type": kind, **fields}


def end(*messages: dict[str, Any] | str) -> Ending:
    seen = Seen()
    for message in messages:
        if isinstance(message, str):
            seen.stopped = True
        else:
            seen.take(message)
    return seen.ending(Exit(code=0), finished=True, out_of_memory=False)


@pytest.mark.parametrize(
    ("messages", "cut_off"),
    [
        pytest.param([STOP], True, id="before it began"),
        pytest.param([SAYS, STOP], True, id="in its turn"),
        pytest.param([SAYS, STOP, INTERRUPTED], True, id="in its turn, and it broke off without a result"),
        pytest.param([SAYS, STOP, INTERRUPTED, RESULT], False, id="in its turn, and it left a result"),
        pytest.param([SAYS, RESULT, STOP], False, id="after its answer"),
        pytest.param([SAYS, RESULT, SAYS, STOP], True, id="in the turn after its answer"),
        pytest.param([RESULT, SAYS, RESULT, STOP], False, id="after its second answer"),
        pytest.param([task("task_started"), RESULT, SUBAGENT_SAYS, STOP], False, id="a subagent is no turn of its own"),
        pytest.param(
            [task("task_started"), RESULT, STOP, task("task_notification", status="stopped")],
            True,
            id="a subagent was broken off",
        ),
        pytest.param(
            [task("task_started"), RESULT, STOP, task("task_notification", status="completed")],
            False,
            id="a subagent ended by itself",
        ),
        pytest.param(
            [task("task_started"), task("task_notification", status="stopped"), RESULT, STOP],
            False,
            id="a subagent had been stopped by the agent itself",
        ),
        pytest.param(
            [task("task_started", "local_bash"), RESULT, STOP, task("task_notification", status="stopped")],
            False,
            id="a command in the background was broken off",
        ),
        pytest.param([SAYS], False, id="nobody told it to stop"),
    ],
)
def test_what_was_cut_off_when_the_runner_was_told_to_stop(messages: list[dict[str, Any] | str], cut_off: bool) -> None:
    ending = end(*messages)

    assert ending.cut_off is cut_off
    assert ending.stopped is (STOP in messages)


def test_results_the_session_and_the_last_error_are_kept() -> None:
    first, last = RESULT | {"num_turns": 1}, RESULT | {"num_turns": 2}

    ending = end(SAYS | {"error": "rate_limit"}, first, SAYS | {"error": "server_error"}, SAYS, last)

    assert ending.results == (first, last)
    assert ending.session_id == "s-1"
    assert ending.error == "server_error"


def test_an_error_of_a_subagent_is_not_the_agents() -> None:
    assert end(SUBAGENT_SAYS | {"error": "rate_limit"}, RESULT).error is None
