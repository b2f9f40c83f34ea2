"""Two releases in one cluster, with the values that docs/scaling.md shows: nothing of one is the other's."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentjob_operator.settings import Settings
from clients import render

Object = dict[str, Any]

PAGE = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
VALUES: dict[str, Object] = {
    name: yaml.safe_load(text) for name, text in re.findall(r"```yaml\n# (\S+)\n(.+?)```", PAGE, re.DOTALL)
}
INSTALLS = re.findall(r"^\$ helm install (\S+) \S+ -n (\S+) .*-f (\S+)$", PAGE, re.MULTILINE)
"""Name, namespace and values of each release."""
ALWAYS = {"gateway": {"kubernetesTokens": True}}
"""So that what is the whole cluster's is looked at as well."""


def objects(release: str, namespace: str, values: Object) -> list[Object]:
    found = render({**values, **ALWAYS}, release=release, namespace=namespace).expect_success()
    return [each for each in yaml.safe_load_all(found) if each]


RELEASES = {values: (release, namespace) for release, namespace, values in INSTALLS}


def installed(values: str) -> list[Object]:
    return objects(*RELEASES[values], VALUES[values])


def identity(found: Object) -> tuple[str, str, str]:
    return found["kind"], found["metadata"].get("namespace", ""), found["metadata"]["name"]


def settings(values: str) -> Settings:
    [found] = [each for each in installed(values) if "config.json" in each.get("data", {}) and "runner" in str(each)]
    return Settings.model_validate_json(found["data"]["config.json"])


def test_the_page_shows_two_releases() -> None:
    assert list(RELEASES) == list(VALUES) == ["shared.yaml", "research.yaml"]


def test_no_object_of_one_release_is_the_others() -> None:
    found = Counter(identity(each) for values in VALUES for each in installed(values))
    assert [name for name, times in found.items() if times > 1] == []


def test_no_two_bring_the_definition_or_the_alerts() -> None:
    kinds = Counter(each["kind"] for values in VALUES for each in installed(values))
    assert (kinds["CustomResourceDefinition"], kinds["PrometheusRule"], kinds["ClusterRoleBinding"]) == (1, 1, 2)


def test_each_acts_in_its_own_namespaces_with_a_lease_and_limits_of_its_own() -> None:
    shared, research = settings("shared.yaml"), settings("research.yaml")
    assert not set(shared.namespaces) & set(research.namespaces)
    assert shared.lease is not None
    assert research.lease is not None
    assert shared.lease.namespace != research.lease.namespace
    assert (shared.limits.running, research.limits.running) == (60, 200)


@pytest.mark.parametrize("values", VALUES)
def test_each_has_rights_in_its_own_namespaces_alone(values: str) -> None:
    release, namespace = RELEASES[values]
    roles = {each["metadata"]["namespace"] for each in installed(values) if each["kind"] == "Role"}
    assert roles == {namespace, *VALUES[values]["jobNamespaces"]}, release
    accounts = {
        subject["namespace"]
        for each in installed(values)
        if each["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for subject in each["subjects"]
    }
    assert accounts == {namespace}


def test_each_finds_its_own_pods_and_services() -> None:
    """Names and labels are alike: what keeps them apart is the namespace, which no selector reaches across."""
    for values, (_, namespace) in RELEASES.items():
        own = [each for each in installed(values) if each["kind"] in {"Deployment", "Service", "PodDisruptionBudget"}]
        assert {each["metadata"]["namespace"] for each in own} == {namespace}
