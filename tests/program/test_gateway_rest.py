"""Submit, poll, list, cancel and delete, through doors that are open, to a cluster that may not answer."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent_jobs import ENDED, FAILED
from agentjob_gateway import shapes
from agentjob_gateway.caller import Role
from agentjob_gateway.rest import MAX_PAGE_MIB
from agentjob_kube.resources import AGENT_JOBS
from agentjob_program.logs import JsonFormatter
from fake_cluster import Fault
from fake_cluster.refusals import Refusal
from operated import until
from served import NAMESPACE, Door, Served, served, submit

Object = dict[str, Any]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        for role in Role:
            found.key(f"a-{role}", role)
        found.key()
        found.key("stranger", namespace="other")
        found.key("eager", requestsPerMinute=3)
        yield found


@pytest.fixture
async def door(place: Served) -> Door:
    return await place.door().start()


def requests(place: Served, verb: str) -> int:
    """How often the gateway asked the cluster for jobs with this verb."""
    return sum(seen.verb == verb and seen.resource == "agentjobs" for seen in ours(place))


def ours(place: Served) -> list[Any]:
    return [seen for seen in place.cluster.requests() if seen.agent == "agentjob"]


# /claude


async def test_a_task_is_accepted_and_can_be_polled(door: Door, place: Served) -> None:
    accepted = await submit(door, place, {"prompt": "Mend the tests.", "agent": {"maxTurns": 3}})
    assert (accepted.status, accepted.body) == (202, {"job_id": accepted.body["job_id"], "status": "pending"})
    assert accepted.headers["Location"] == f"/claude/jobs/{accepted.body['job_id']}"
    job = await place.job(accepted.body["job_id"])
    assert job["spec"] == {"prompt": "Mend the tests.", "agent": {"maxTurns": 3}}

    polled = await door.ask("GET", accepted.headers["Location"], place.key())
    assert (polled.status, polled.body["status"]) == (200, "pending")


async def test_a_poll_waits_for_the_end_and_costs_the_cluster_nothing(door: Door, place: Served) -> None:
    path = (await submit(door, place)).headers["Location"]
    before = len(ours(place))
    waiting = asyncio.create_task(door.ask("GET", f"{path}?wait=30", place.key()))
    await place.set_status(path.rpartition("/")[2], {"phase": "Running"})
    await place.set_status(path.rpartition("/")[2], ENDED)
    polled = await waiting
    assert polled.body["result"]["output"] == "Mended."
    assert len(ours(place)) == before
    shapes.Poll.model_validate(polled.body)


async def test_a_poll_that_waited_in_vain_says_where_the_job_stands(door: Door, place: Served) -> None:
    path = (await submit(door, place)).headers["Location"]
    assert (await door.ask("GET", f"{path}?wait=0.05", place.key())).body["status"] == "pending"


async def test_a_failed_job_says_why(door: Door, place: Served) -> None:
    path = (await submit(door, place)).headers["Location"]
    await place.set_status(path.rpartition("/")[2], FAILED)
    polled = await door.ask("GET", f"{path}?wait=30", place.key())
    assert (polled.body["status"], polled.body["error"]) == ("failed", "Reached maximum number of turns (3).")


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        pytest.param({"data": b"{"}, 400, "Content-Type: expected application/json", id="no content type"),
        pytest.param(
            {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "the body is no JSON", id="no JSON"
        ),
        pytest.param({"json": ["prompt"]}, 400, "expected a JSON object, found an array", id="an array"),
        pytest.param({"data": b"null", "headers": {"Content-Type": "application/json"}}, 400, "found null", id="null"),
        pytest.param({"json": {"prompt": "x", "unheardOf": 1}}, 422, 'unknown field "spec.unheardOf"', id="a field"),
        pytest.param({"json": {"prompt": "x", "continue": True}}, 422, "continue: earlier", id="a conversation"),
        pytest.param(
            {"data": io.BytesIO(b"x" * 2_000_000), "headers": {"Content-Type": "application/json"}},
            413,
            "larger than 1048576 bytes",
            id="2 MB",
        ),
        pytest.param(
            {"json": {"prompt": "x"}, "headers": {"Idempotency-Key": "x" * 256}},
            400,
            "Idempotency-Key",
            id="a long key",
        ),
    ],
)
async def test_what_cannot_be_a_task_is_refused_in_words(
    door: Door, place: Served, given: Object, status: int, words: str
) -> None:
    answer = await door.ask("POST", "/claude", place.key(), **given)
    assert answer.status == status
    assert words in answer.body["detail"]
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    shapes.ProblemBody.model_validate(answer.body)
    assert place.cluster.made("agentjobs") == []


async def test_who_does_not_want_to_continue_may_say_so(door: Door, place: Served) -> None:
    assert (await submit(door, place, {"prompt": "x", "continue": False})).status == 202


# /v1


async def test_a_job_is_made_with_a_name_labels_and_a_whole_spec(door: Door, place: Served) -> None:
    body = {"name": "fix", "labels": {"team": "shop"}, "spec": {"prompt": "x", "workspace": {"files": {"a": "b"}}}}
    made = await door.ask("POST", "/v1/jobs", place.key(), json=body)
    assert (made.status, made.headers["Location"], made.body["submittedBy"]) == (201, "/v1/jobs/fix", "key:ci")
    assert (await door.ask("GET", "/v1/jobs/fix", place.key())).body == made.body
    shapes.Job.model_validate(made.body)
    taken = await door.ask("POST", "/v1/jobs", place.key(), json=body)
    assert (taken.status, "there is a job 'fix' already" in taken.body["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"spec": {}, "sepc": {}}, "sepc: unknown field", id="a misspelt field"),
        pytest.param({"name": 5, "spec": {}}, "name: expected a string", id="a number for a name"),
        pytest.param({"name": "", "spec": {}}, "name: expected a string that is not empty", id="an empty name"),
        pytest.param(
            {"labels": {"a": 1}, "spec": {}}, "labels: expected an object of strings", id="a number in labels"
        ),
        pytest.param({"labels": ["a"], "spec": {}}, "labels: expected an object of strings", id="a list of labels"),
        pytest.param({"labels": [], "spec": {}}, "labels: expected an object of strings", id="an empty list of labels"),
        pytest.param({"labels": False, "spec": {}}, "labels: expected an object of strings", id="no for labels"),
        pytest.param({"labels": 0, "spec": {}}, "labels: expected an object of strings", id="zero for labels"),
        pytest.param({}, "spec: expected an object", id="no spec"),
    ],
)
async def test_what_cannot_be_a_job_is_refused_in_words(door: Door, place: Served, body: Object, words: str) -> None:
    answer = await door.ask("POST", "/v1/jobs", place.key(), json=body)
    assert (answer.status, words in answer.body["detail"]) == (422, True)


async def make(door: Door, place: Served, *names: str, **labels: str) -> None:
    for name in names:
        body = {"name": name, "labels": labels, "spec": {"prompt": "x"}}
        assert (await door.ask("POST", "/v1/jobs", place.key(), json=body)).status == 201


async def test_jobs_are_listed_in_pages(door: Door, place: Served) -> None:
    await make(door, place, *(f"job-{number}" for number in range(5)))
    found, query = [], "limit=2"
    while query:
        page = (await door.ask("GET", f"/v1/jobs?{query}", place.key())).body
        found.append([job["id"] for job in page["items"]])
        query = f"limit=2&cursor={page['next']}" if "next" in page else ""
    assert [len(page) for page in found] == [2, 2, 1]
    assert sorted(name for page in found for name in page) == [f"job-{number}" for number in range(5)]


async def test_a_page_of_large_jobs_ends_early(door: Door, place: Served) -> None:
    text = "x" * (MAX_PAGE_MIB * 2**20 // 5 + 1)
    for name in "abcdef":
        await make(door, place, name)
        await place.set_status(name, {"phase": "Succeeded", "result": {"text": text, "truncated": False}})
    later = await place.door().start()
    first = (await later.ask("GET", "/v1/jobs", place.key())).body
    second = (await later.ask("GET", f"/v1/jobs?cursor={first['next']}", place.key())).body
    assert [[job["id"] for job in page["items"]] for page in (first, second)] == [["f", "e", "d", "c"], ["b", "a"]]
    assert "next" not in second


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("", {"a", "b", "c"}, id="all"),
        pytest.param("phase=Running", {"b"}, id="those in a phase"),
        pytest.param("label=team=shop", {"a", "b"}, id="those with a label"),
        pytest.param("label=team=shop&phase=Pending", {"a"}, id="those with both"),
        pytest.param("label=team=shop&label=x=y", set(), id="labels add up"),
        pytest.param("label=team=bank&label=team=shop", set(), id="also where no job can have both"),
    ],
)
async def test_a_list_may_be_narrowed(door: Door, place: Served, query: str, names: set[str]) -> None:
    await make(door, place, "a", "b", team="shop")
    await make(door, place, "c", team="bank")
    await place.set_status("b", {"phase": "Running"})

    async def listed() -> bool:
        page = await door.ask("GET", f"/v1/jobs?{query}", place.key())
        return {job["id"] for job in page.body["items"]} == names

    await until(listed)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("/v1/jobs?limit=0", "limit: expected 1 to 500, found '0'", id="a page of nothing"),
        pytest.param("/v1/jobs?limit=501", "limit: expected", id="a page too large"),
        pytest.param("/v1/jobs?limit=²", "limit: expected", id="a digit that is none"),
        pytest.param("/v1/jobs?phase=Done", "phase: expected one of Pending", id="no phase"),
        pytest.param("/v1/jobs?label=team", "label: expected NAME=VALUE", id="half a label"),
        pytest.param("/v1/jobs?cursor=x", "cursor: expected the `next`", id="no cursor"),
        pytest.param("/v1/jobs?cursor=bnVsbA==", "cursor: expected the `next`", id="a cursor of something else"),
        pytest.param("/v1/jobs/fix?wait=soon", "wait: expected 0 to 60 seconds", id="no number of seconds"),
        pytest.param("/v1/jobs/fix?wait=nan", "wait: expected 0 to 60 seconds", id="not a number"),
        pytest.param("/v1/jobs/fix?wait=3600", "wait: expected 0 to 60 seconds", id="an hour"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_in_words(
    door: Door, place: Served, path: str, words: str
) -> None:
    answer = await door.ask("GET", path, place.key())
    assert (answer.status, words in answer.body["detail"]) == (400, True)


async def test_a_job_is_cancelled_as_gitops_would(door: Door, place: Served) -> None:
    await make(door, place, "fix")
    answer = await door.ask("POST", "/v1/jobs/fix/cancel", place.key())
    assert (answer.status, answer.body["spec"]["cancel"]) == (202, True)
    assert (await place.job("fix"))["spec"]["cancel"] is True
    patches = requests(place, "patch")
    assert (await door.ask("POST", "/v1/jobs/fix/cancel", place.key())).status == 202
    assert requests(place, "patch") == patches


async def test_a_job_that_is_deleted_is_gone_at_once(door: Door, place: Served) -> None:
    await make(door, place, "fix")
    assert (await door.ask("DELETE", "/v1/jobs/fix", place.key())).status == 204
    assert (await door.ask("GET", "/v1/jobs/fix", place.key())).status == 404


async def test_a_job_made_with_kubectl_is_seen_like_any_other(door: Door, place: Served) -> None:
    await place.client.create(AGENT_JOBS, NAMESPACE, {"metadata": {"name": "by-hand"}, "spec": {"prompt": "x"}})
    polled = await door.ask("GET", "/claude/jobs/by-hand", place.key())
    assert (polled.status, polled.body["status"]) == (200, "pending")


# Who may do what


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        pytest.param({}, "expected Bearer and an API key, found nothing", id="nothing"),
        pytest.param({"Authorization": "Basic eDp5"}, "expected Bearer and a credential", id="a password"),
        pytest.param({"Authorization": "Bearer"}, "expected Bearer and a credential", id="Bearer alone"),
        pytest.param({"Authorization": "Bearer nonsense"}, "not valid", id="nonsense"),
        pytest.param({"Authorization": "Bearer aj_00000000_x"}, "not valid", id="a key that nobody made"),
    ],
)
@pytest.mark.parametrize("path", ["/claude", "/claude/jobs/fix", "/v1/jobs", "/v1/jobs/fix"])
async def test_who_is_not_known_is_told_so(door: Door, path: str, headers: Object, words: str) -> None:
    method = "POST" if path == "/claude" else "GET"
    answer = await door.ask(method, path, headers=headers)
    assert (answer.status, answer.body["error"]) == (401, "Unauthorized")
    assert words in answer.body["detail"]


async def test_a_key_sees_the_jobs_of_its_own_namespace_alone(place: Served) -> None:
    door = await place.door(namespaces=[NAMESPACE, "other"]).start()
    await make(door, place, "fix")
    stranger = place.key("stranger", namespace="other")
    missing = await door.ask("GET", "/v1/jobs/fix", stranger)
    never = await door.ask("GET", "/v1/jobs/never-was", stranger)
    assert (missing.status, never.status) == (404, 404)
    reaching = await door.ask("GET", f"/v1/jobs/fix?namespace={NAMESPACE}", stranger)
    assert (reaching.status, "may not get" in reaching.body["detail"]) == (403, True)


@pytest.mark.parametrize(
    ("role", "asked", "status"),
    [
        pytest.param(Role.READ, "GET /v1/jobs/fix", 200, id="who reads sees it"),
        pytest.param(Role.READ, "POST /v1/jobs", 403, id="who reads makes none"),
        pytest.param(Role.READ, "POST /v1/jobs/fix/cancel", 403, id="who reads stops none"),
        pytest.param(Role.SUBMIT, "POST /v1/jobs/fix/cancel", 403, id="who submits stops no other's"),
        pytest.param(Role.SUBMIT, "DELETE /v1/jobs/fix", 403, id="who submits deletes no other's"),
        pytest.param(Role.ADMIN, "POST /v1/jobs/fix/cancel", 202, id="who administers stops it"),
        pytest.param(Role.ADMIN, "DELETE /v1/jobs/fix", 204, id="who administers deletes it"),
    ],
)
async def test_a_key_goes_as_far_as_its_role(door: Door, place: Served, role: Role, asked: str, status: int) -> None:
    await make(door, place, "fix")
    method, path = asked.split()
    body = {"json": {"spec": {"prompt": "x"}}} if method == "POST" else {}
    assert (await door.ask(method, path, place.key(f"a-{role}", role), **body)).status == status


async def test_who_asks_too_often_is_told_when_to_come_back(door: Door, place: Served) -> None:
    key = place.key("eager")
    answers = [await door.ask("GET", "/v1/jobs", key) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert (await door.ask("GET", "/v1/jobs", place.key())).status == 200


async def test_no_more_is_taken_than_may_wait(place: Served) -> None:
    door = await place.door(queueDepth=2).start()
    await make(door, place, "a", "b")
    full = await submit(door, place)
    assert (full.status, "2 jobs wait" in full.body["detail"]) == (429, True)
    await place.set_status("a", ENDED)

    async def taken() -> bool:
        return (await submit(door, place)).status == 202

    await until(taken)


# The cluster does not answer


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        pytest.param(
            Refusal(403, "Forbidden", "exceeded quota: agents"), 403, "exceeded quota: agents", id="a quota says no"
        ),
        pytest.param(
            Refusal(403, "Forbidden", 'jobs is forbidden: User "us" cannot create resource "jobs"', 9),
            503,
            "does not let the gateway",
            id="it has just started and knows nobody",
        ),
        pytest.param(
            Refusal(401, "Unauthorized", "Unauthorized", 9), 503, "gateway's own credential", id="it knows us no more"
        ),
        pytest.param(Refusal(422, "Invalid", "spec.prompt: too long"), 422, "spec.prompt: too long", id="a rule"),
        pytest.param(Refusal(429, "TooManyRequests", "slow down", 9), 503, "the cluster is busy", id="it is busy"),
    ],
)
async def test_what_the_cluster_refuses_is_told(
    door: Door, place: Served, fault: Refusal, status: int, words: str
) -> None:
    place.cluster.fail(Fault("create", "agentjobs", refusal=fault))
    answer = await submit(door, place)
    assert (answer.status, words in answer.body["detail"]) == (status, True)
    assert answer.headers.get("Retry-After") == ("9" if status == 503 else None)


async def test_a_gateway_that_is_stopping_says_so_to_who_asks_whether_it_is_ready(place: Served) -> None:
    door = await place.door(drainSeconds=0.2).start()
    door.stopped.set()
    async with place.session.get(f"{door.metrics}/readyz") as response:
        assert (response.status, "told to stop" in await response.text()) == (503, True)


async def test_a_cluster_that_fails_again_and_again_is_not_there_for_now(door: Door, place: Served) -> None:
    for _ in range(3):
        place.cluster.fail(Fault("create", "agentjobs"))
    answer = await submit(door, place)
    assert (answer.status, int(answer.headers["Retry-After"]) >= 1) == (503, True)
    assert (await submit(door, place)).status == 202


# What is the same for all


async def test_a_request_is_known_by_its_id_everywhere(door: Door, place: Served) -> None:
    answer = await submit(door, place, headers={"X-Request-Id": "trace-1"})
    assert answer.headers["X-Request-Id"] == "trace-1"
    job = await place.job(answer.body["job_id"])
    assert job["metadata"]["annotations"]["agentjob.dev/request"] == "trace-1"
    assert (await submit(door, place, headers={"X-Request-Id": "no good"})).headers["X-Request-Id"] != "no good"


async def test_pages_of_other_origins_may_read_where_the_settings_say_so(place: Served) -> None:
    door = await place.door(corsOrigins=["https://ops.example"]).start()
    asks = {"Origin": "https://ops.example", "Access-Control-Request-Method": "POST"}
    preflight = await door.ask("OPTIONS", "/claude", headers=asks)
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://ops.example"
    listed = await door.ask("GET", "/v1/jobs", place.key(), headers={"Origin": "https://ops.example"})
    assert listed.headers["Access-Control-Allow-Origin"] == "https://ops.example"
    other = await door.ask("GET", "/v1/jobs", place.key(), headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


async def test_another_method_is_told_which_would_do(door: Door, place: Served) -> None:
    answer = await door.ask("PUT", "/v1/jobs", place.key())
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST")


async def test_the_log_tells_who_did_what_and_neither_key_nor_prompt(
    door: Door, place: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await submit(door, place, {"prompt": "a secret task"})
    [line] = [record for record in caplog.records if record.name == "agentjob_gateway.requests"]
    facts = (line.caller, line.method, line.route, line.status)  # type: ignore[attr-defined]  # given as `extra`
    assert facts == ("key:ci", "POST", "/claude", 202)
    written = json.loads(JsonFormatter().format(line))
    assert (written["caller"], written["route"], written["status"]) == ("key:ci", "/claude", 202)
    assert written["request"]
    whole = "".join(str(record.__dict__) for record in caplog.records)
    assert place.key() not in whole
    assert "a secret task" not in whole
