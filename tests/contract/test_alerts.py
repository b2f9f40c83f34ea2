"""The alerts, as Prometheus itself reads them: each fires when it should, and there is a page that says what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart
from agentjob_gateway import metrics as gateway_metrics
from agentjob_operator import metrics as operator_metrics
from deploy.kind import debian
from measures import measures
from rendered import EVERYTHING, objects

Object = dict[str, Any]

ALERTS = chart.CHART / "alerts.yaml"
CASES = Path(__file__).parent / "alerts.yaml"
PAGES = Path(__file__).parents[2] / "docs/runbooks"
RULES: list[Object] = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
_METRIC = re.compile(r"\bagentjob_\w+")
_SUFFIX = re.compile(r"_(bucket|count|sum|total)$")


@pytest.fixture(scope="module")
def promtool() -> None:
    """Debian's, where this machine has none."""
    debian.ensure_programs({"promtool": "prometheus"})


def run(*words: str, where: Path) -> str:
    done = subprocess.run(("promtool", *words), cwd=where, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("promtool")
def test_prometheus_takes_the_rules() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in run("check", "rules", str(ALERTS), where=ALERTS.parent)


@pytest.mark.usefixtures("promtool")
def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    """Without the words for people, which promtool would have repeated in every case."""
    bare = [{key: value for key, value in rule.items() if key != "annotations"} for rule in RULES]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": bare}]}))
    cases = yaml.safe_load(CASES.read_text())
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({**cases, "rule_files": ["rules.yaml"]}))
    assert "SUCCESS" in run("test", "rules", "cases.yaml", where=tmp_path)


def test_there_is_a_case_of_each_alert() -> None:
    tried = [each for case in yaml.safe_load(CASES.read_text())["tests"] for each in case["alert_rule_test"]]
    assert {each["alertname"] for each in tried if each.get("exp_alerts")} == set(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_there_is_a_page_that_says_what_to_do(rule: Object) -> None:
    page = PAGES / f"{rule['alert']}.md"
    assert rule["annotations"]["runbook"] == f"docs/runbooks/{page.name}"
    text = page.read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    assert [word for word in ("**When.**", "**What it means.**", "**What to do.**") if word not in text] == []


def test_there_is_no_page_without_its_alert() -> None:
    assert sorted(page.stem for page in PAGES.iterdir()) == sorted(NAMES)


def test_alerts_and_pages_speak_of_metrics_that_exist() -> None:
    known = {found.name for module in (operator_metrics, gateway_metrics) for found in measures(module)}
    known = {_SUFFIX.sub("", name) for name in known}
    texts = [rule["expr"].replace("agentjob_(gateway_)?api_requests_total", "") for rule in RULES]
    texts += [page.read_text() for page in PAGES.iterdir()]
    spoken = {_SUFFIX.sub("", name) for text in texts for name in _METRIC.findall(text)}
    assert sorted(spoken - known) == []


def test_the_chart_brings_them_as_they_are() -> None:
    [rule] = [found for found in objects(EVERYTHING) if found["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert not [found for found in objects({}) if found["kind"] == "PrometheusRule"]
