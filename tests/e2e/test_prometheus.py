"""A real Prometheus that scrapes operator and gateway, with the chart's alerts in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prometheus import Prometheus, scraping
from tests.e2e.conftest import NAMESPACE, RELEASE, Jobs

pytestmark = pytest.mark.cluster

PORTS = {"operator": 8080, "gateway": 8081}


@pytest.fixture(scope="module")
def scraped(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    for component in PORTS:
        deployment = f"deployment/{RELEASE}" + ("-gateway" if component == "gateway" else "")
        jobs.kubectl("rollout", "status", deployment, "--timeout=60s", timeout=70)
    ports = {pod: port for component, port in PORTS.items() for pod in jobs.pods(component)}
    kubeconfig = Path(jobs.stack.environment["KUBECONFIG"])
    with scraping(tmp_path_factory.mktemp("prometheus"), kubeconfig, NAMESPACE, ports) as found:
        yield found


def test_one_operator_says_that_it_acts_and_the_other_that_it_waits(scraped: Prometheus, jobs: Jobs) -> None:
    found = scraped.until("agentjob_leader", lambda found: len(found) == 2)
    assert sorted(found.values()) == [0, 1]
    assert set(found) == jobs.pods("operator")


def test_a_job_shows_in_the_metrics_of_both_programs(scraped: Prometheus, jobs: Jobs) -> None:
    before = sum(scraped.query('agentjob_attempts_total{reason="Completed"}').values())
    jobs.submit("measured", "[script: many-turns 3]").wait("condition=Archived", 90)
    scraped.until('sum(agentjob_attempts_total{reason="Completed"})', lambda found: sum(found.values()) > before)
    scraped.until("sum(agentjob_gateway_archived_lines_total)", lambda found: sum(found.values()) > 0)
    assert sum(scraped.query(f'agentjob_jobs{{namespace="{NAMESPACE}"}}').values()) > 0


def test_no_alert_is_raised_and_every_rule_can_be_evaluated(scraped: Prometheus) -> None:
    rules = [rule for group in scraped.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_that_nobody_acts_is_noticed(scraped: Prometheus, jobs: Jobs) -> None:
    deployment = f"deployment/{RELEASE}"
    jobs.kubectl("scale", deployment, "--replicas=0")
    try:
        scraped.until('ALERTS{alertname="AgentJobNobodyActs"}', lambda found: sum(found.values()) == 1)
    finally:
        jobs.kubectl("scale", deployment, "--replicas=2")
        jobs.kubectl("rollout", "status", deployment, "--timeout=60s", timeout=70)
