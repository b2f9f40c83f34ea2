"""What is counted, once and without a job's name; and what is logged, as JSON."""

import json
import logging
import sys
from typing import Any

import pytest
from prometheus_client import generate_latest

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_api.reasons import Reason
from agentjob_kube.errors import ServerError
from agentjob_operator.decide import decide
from agentjob_operator.failing import STUCK_AFTER, after
from agentjob_operator.metrics import MAX_MODELS, FailuresByNamespace, Metrics, QueueByNamespace, StoreAge
from agentjob_operator.pod import Waiting
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.slots import Queue, Turn
from agentjob_operator.work import Lane
from agentjob_operator.world import World
from agentjob_program.logs import JsonFormatter
from worlds import RUNNING, at, job, pod, refusal, running, terminated, told, world

USAGE = {"byModel": {"opus": {"inputTokens": 7, "outputTokens": 5, "cacheReadInputTokens": 3, "costUSD": "0.01"}}}


def counted(*looks: World) -> dict[str, float]:
    """The samples after the statuses that these looks lead to were written."""
    metrics = Metrics(dict[Key, AgentJob], lambda: 0, lambda: True)
    for look in looks:
        status = decide(look).status
        assert look.job is not None
        assert status is not None
        metrics.written(look.job, look.job.status, status)
    return samples(metrics)


def samples(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


STARTS = world(job(), pod(agent=running(4)))
ENDS = world(job(RUNNING), pod(agent=terminated(told(usage=USAGE))), now=at(62))


def test_a_start_is_counted_with_the_time_before_it() -> None:
    found = counted(STARTS)

    assert found['agentjob_pending_seconds_sum{namespace="ns"}'] == 4.0
    assert 'agentjob_attempts_total{namespace="ns",reason="Completed"}' not in found


def test_an_end_is_counted_with_its_reason_time_tokens_and_dollars() -> None:
    found = counted(ENDS)

    assert found['agentjob_attempts_total{namespace="ns",reason="Completed"}'] == 1
    assert found['agentjob_running_seconds_sum{namespace="ns"}'] == 60.0
    assert found['agentjob_tokens_total{kind="input",model="opus"}'] == 7
    assert found['agentjob_tokens_total{kind="output",model="opus"}'] == 5
    assert found['agentjob_tokens_total{kind="cache_read",model="opus"}'] == 3
    assert found['agentjob_cost_dollars_total{model="opus"}'] == 0.01
    assert 'agentjob_pending_seconds_count{namespace="ns"}' not in found


def test_models_that_agents_make_up_do_not_take_ever_more_room() -> None:
    def took(model: str) -> World:
        usage = {"byModel": {model: {"inputTokens": 7, "costUSD": "0.5"}}}
        return world(job(RUNNING), pod(agent=terminated(told(usage=usage))), now=at(62))

    found = counted(*(took(f"model-{number}") for number in range(MAX_MODELS + 10)), took("model-0"))

    tokens = {name: value for name, value in found.items() if name.startswith('agentjob_tokens_total{kind="input"')}
    assert len(tokens) == MAX_MODELS + 1
    assert tokens['agentjob_tokens_total{kind="input",model="model-0"}'] == 14
    assert tokens['agentjob_tokens_total{kind="input",model="other"}'] == 70
    assert found['agentjob_cost_dollars_total{model="other"}'] == 5


def test_a_node_whose_clock_is_ahead_takes_nothing_off_what_was_counted() -> None:
    gone = world(job({**RUNNING, "attempts": [{"number": 1, "pod": "fix-1", "startTime": at(300)}]}), now=at(62))

    found = counted(ENDS, gone)

    assert found['agentjob_running_seconds_sum{namespace="ns"}'] == 60.0
    assert found['agentjob_running_seconds_count{namespace="ns"}'] == 2


def test_an_agent_never_seen_running_is_counted_as_started_and_ended() -> None:
    found = counted(world(job(), pod(agent=terminated(told())), now=at(62)))

    assert found['agentjob_pending_seconds_count{namespace="ns"}'] == 1
    assert found['agentjob_running_seconds_count{namespace="ns"}'] == 1


def test_what_a_status_said_before_is_not_counted_again() -> None:
    status = decide(ENDS).status
    assert status is not None
    done = job({**status.model_dump()}, meta={"generation": 2})

    found = counted(ENDS, world(done, now=at(90)))

    assert found['agentjob_attempts_total{namespace="ns",reason="Completed"}'] == 1


@pytest.mark.parametrize("reason", [Reason.RATE_LIMITED, Reason.AGENT_ERROR])
def test_a_failure_is_counted_by_its_reason(reason: Reason) -> None:
    found = counted(world(job(RUNNING), pod(agent=terminated(told(reason), code=1)), now=at(62)))

    assert found[f'agentjob_attempts_total{{namespace="ns",reason="{reason}"}}'] == 1


def test_jobs_are_counted_by_phase_as_they_are_at_that_moment() -> None:
    jobs = {Key("ns", "a"): job(), Key("ns", "b"): job(RUNNING), Key("other", "c"): job(RUNNING)}
    metrics = Metrics(lambda: jobs, lambda: 3, lambda: True)

    assert samples(metrics)['agentjob_jobs{namespace="ns",phase="Running"}'] == 1
    jobs.pop(Key("ns", "b"))
    found = samples(metrics)
    assert 'agentjob_jobs{namespace="ns",phase="Running"}' not in found
    assert found['agentjob_jobs{namespace="other",phase="Running"}'] == 1
    assert found["agentjob_queue_depth"] == 3


def test_jobs_that_wait_for_a_person_are_counted_by_why() -> None:
    refused = decide(world(job(), refusal=refusal())).status
    missing = pod(agent=Waiting("CreateContainerConfigError", 'secret "key" not found'))
    stalled = decide(world(job(), missing, now=at(60))).status
    ended = decide(world(job(RUNNING, backoffLimit=0), pod(agent=terminated(told(Reason.AGENT_ERROR), code=1)))).status
    assert refused is not None
    assert stalled is not None
    assert ended is not None
    statuses = {"a": refused, "b": refused, "c": stalled, "d": ended, "e": job(RUNNING).status}
    jobs = {Key("ns", name): job(status.model_dump()) for name, status in statuses.items()}

    found = samples(Metrics(lambda: jobs, lambda: 0, lambda: True))

    assert {name: value for name, value in found.items() if "stalled" in name} == {
        'agentjob_stalled_jobs{namespace="ns",reason="PodRefused"}': 2,
        'agentjob_stalled_jobs{namespace="ns",reason="ReferenceMissing"}': 1,
    }


def slots(*, acts: bool) -> dict[str, float]:
    """The samples about the queue, while one job works and one waits that was created ten seconds ago."""
    queue = Queue(LimitsSettings.model_validate({"running": 1, "namespaces": {"ns": {"running": 5}}}))
    queue.works(Key("ns", "a"))
    queue.waits(Turn(0, at(0), "uid", Key("ns", "b")))
    metrics = Metrics(dict[Key, AgentJob], lambda: 0, lambda: acts)
    metrics.registry.register(QueueByNamespace(queue, ["ns", "other"], lambda: acts, lambda: at(10)))
    return {name: value for name, value in samples(metrics).items() if "queued" in name or "slots" in name}


def test_the_queue_is_told_of_by_namespace_with_the_limits() -> None:
    assert slots(acts=True) == {
        'agentjob_queued_jobs{namespace="ns"}': 1,
        'agentjob_queued_jobs{namespace="other"}': 0,
        'agentjob_queued_oldest_seconds{namespace="ns"}': 10,
        'agentjob_queued_oldest_seconds{namespace="other"}': 0,
        'agentjob_slots_taken{namespace="ns"}': 1,
        'agentjob_slots_taken{namespace="other"}': 0,
        'agentjob_slots{namespace="ns"}': 5,
        'agentjob_slots{namespace=""}': 1,
    }


def test_an_operator_that_does_not_act_says_nothing_of_the_queue() -> None:
    assert slots(acts=False) == {}


def failures(*, acts: bool) -> dict[str, float]:
    """The samples about jobs that fail: in one namespace a stuck one and another one, in the other none."""
    away = ServerError("away", status=500)
    one = after(None, job(), away, at(0))
    found = {Key("ns", "a"): one, Key("ns", "b"): after(one, job(), away, at(0) + STUCK_AFTER)}
    metrics = Metrics(dict[Key, AgentJob], lambda: 0, lambda: acts)
    metrics.registry.register(FailuresByNamespace(found, ["ns", "other"], lambda: acts))
    return {name: value for name, value in samples(metrics).items() if "_jobs{" in name}


def test_jobs_that_fail_are_counted_by_namespace_and_those_that_are_stuck() -> None:
    assert failures(acts=True) == {
        'agentjob_failing_jobs{namespace="ns"}': 2,
        'agentjob_failing_jobs{namespace="other"}': 0,
        'agentjob_stuck_jobs{namespace="ns"}': 1,
        'agentjob_stuck_jobs{namespace="other"}': 0,
    }


def test_an_operator_that_does_not_act_says_nothing_of_failures() -> None:
    assert failures(acts=False) == {}


def test_the_age_of_what_is_known_is_told_by_kind_whether_it_acts_or_not() -> None:
    metrics = Metrics(dict[Key, AgentJob], lambda: 0, lambda: False)
    metrics.registry.register(StoreAge(lambda: {"pods": 7.0, "agentjobs": 200.0}))

    found = samples(metrics)
    assert found['agentjob_store_age_seconds{kind="pods"}'] == 7.0
    assert found['agentjob_store_age_seconds{kind="agentjobs"}'] == 200.0


def test_the_wait_of_a_key_is_counted_by_its_lane() -> None:
    metrics = Metrics(dict[Key, AgentJob], lambda: 0, lambda: True)
    metrics.waited(Lane.AGAIN, 30.0)

    found = samples(metrics)
    assert found['agentjob_queue_seconds_sum{lane="again"}'] == 30.0
    assert 'agentjob_queue_seconds_count{lane="start"}' not in found


@pytest.mark.parametrize(("acts", "value"), [(True, 1.0), (False, 0.0)], ids=["it acts", "it waits"])
def test_it_is_told_which_of_several_operators_acts(acts: bool, value: float) -> None:
    metrics = Metrics(dict[Key, AgentJob], lambda: 0, lambda: acts)
    assert samples(metrics)["agentjob_leader"] == value


def test_no_label_carries_a_name_that_has_no_bound() -> None:
    text = generate_latest(Metrics(lambda: {Key("ns", "my-job"): job()}, lambda: 0, lambda: True).registry).decode()

    assert "my-job" not in text
    assert "fix" not in text


def line(message: str, *arguments: object, **extra: Any) -> dict[str, Any]:
    record = logging.makeLogRecord(
        {"name": "agentjob", "levelname": "INFO", "msg": message, "args": arguments, "created": 0.25, **extra}
    )
    found: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return found


def test_a_line_of_the_log_is_json_with_what_it_says_of_a_job() -> None:
    assert line("Job is %s", "Failed", namespace="ns", job="fix", attempt=1, reason="MaxTurns", secret="x") == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "info",
        "logger": "agentjob",
        "message": "Job is Failed",
        "namespace": "ns",
        "job": "fix",
        "attempt": 1,
        "reason": "MaxTurns",
    }


def test_kopfs_own_lines_name_their_job_too() -> None:
    assert line("x", k8s_ref={"namespace": "ns", "name": "fix"})["job"] == "fix"


def test_an_error_brings_its_traceback_on_the_same_line() -> None:
    try:
        int("no number")
    except ValueError:
        text = JsonFormatter().format(logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()}))

    assert "\n" not in text
    assert "ValueError: invalid literal" in json.loads(text)["error"]
