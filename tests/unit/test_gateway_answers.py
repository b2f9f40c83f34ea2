"""What the doors say about a job, for each way it may stand."""

from typing import Any

import orjson
import pytest

from agent_jobs import ENDED, FAILED, agent_job
from agentjob_api.names import ANNOTATION_SUBMITTED_BY
from agentjob_gateway import answers, shapes

Object = dict[str, Any]

USAGE = {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0}
RESULT = {"output": "Mended.", "usage": USAGE, "cost_usd": 0.0127}
CREATED = {"job_id": "fix", "created_at": "2026-11-22T10:00:00Z"}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        pytest.param({}, CREATED | {"status": "pending"}, id="a job nobody has looked at"),
        pytest.param(
            {"phase": "Queued", "queue": {"position": 3, "reason": "NamespaceFull"}},
            CREATED | {"status": "pending"},
            id="a job that waits for room",
        ),
        pytest.param(
            {"phase": "Running", "startTime": "2026-11-22T10:00:05Z"},
            CREATED | {"status": "in_progress", "started_at": "2026-11-22T10:00:05Z"},
            id="an agent at work",
        ),
        pytest.param(
            ENDED,
            CREATED
            | {"status": "completed", "started_at": "2026-11-22T10:00:05Z", "completed_at": "2026-11-22T10:01:00Z"}
            | {"result": RESULT},
            id="an agent that has answered",
        ),
        pytest.param(
            FAILED,
            CREATED
            | {"status": "failed", "completed_at": "2026-11-22T10:01:00Z"}
            | {"error": "Reached maximum number of turns (3)."},
            id="a failure",
        ),
        pytest.param(
            FAILED | {"phase": "Cancelled", "failure": {"reason": "Cancelled", "message": ""}},
            CREATED | {"status": "failed", "completed_at": "2026-11-22T10:01:00Z", "error": "Cancelled"},
            id="a failure without words is named by its reason",
        ),
        pytest.param(
            FAILED | {"result": {"text": ""}},
            CREATED
            | {"status": "failed", "completed_at": "2026-11-22T10:01:00Z"}
            | {"error": "Reached maximum number of turns (3)."}
            | {"result": {"output": "", "usage": dict.fromkeys(USAGE, 0), "cost_usd": 0.0}},
            id="a failure that has cost nothing that is known",
        ),
    ],
)
def test_a_poll_says_where_the_job_stands(status: Object, answer: Object) -> None:
    job = agent_job(status=status) | {"status": status}
    assert answers.poll(job) == answer
    shapes.Poll.model_validate(answer)


def test_a_resource_is_shown_with_who_has_made_it() -> None:
    job = agent_job(annotations={ANNOTATION_SUBMITTED_BY: "key:ci"}, labels={"team": "shop"})
    shown = answers.resource(job)
    assert (shown["id"], shown["submittedBy"], shown["labels"]) == ("fix", "key:ci", {"team": "shop"})
    assert (shown["spec"], shown["status"]) == (job["spec"], job["status"])
    shapes.Job.model_validate(shown)


def test_a_resource_made_with_kubectl_is_nobodys() -> None:
    assert answers.resource(agent_job())["submittedBy"] is None


JOB_BYTES = len(orjson.dumps(answers.resource(agent_job("job-0"))))


@pytest.mark.parametrize(
    ("most_bytes", "there", "shown"),
    [
        pytest.param(3 * JOB_BYTES, 3, 3, id="all, where they fit exactly"),
        pytest.param(3 * JOB_BYTES - 1, 3, 2, id="one less, where they do not"),
        pytest.param(0, 3, 1, id="one at least"),
        pytest.param(JOB_BYTES, 0, 0, id="none, where there are none"),
    ],
)
def test_a_page_has_as_many_jobs_as_it_may_take(most_bytes: int, there: int, shown: int) -> None:
    jobs = [agent_job(f"job-{number}") for number in range(there)]
    page = orjson.loads(orjson.dumps(answers.page(jobs, most_bytes)))
    assert page == [answers.resource(job) for job in jobs[:shown]]
