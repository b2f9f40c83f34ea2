"""The chart as text: its rights and its values. What Helm makes of it: tests/contract/test_chart.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import agentjob_gateway.access
import agentjob_operator.access
import chart
from agentjob_kube.access import Access

Schema = dict[str, Any]
TEMPLATES = chart.CHART / "templates"
PROGRAMS = [
    pytest.param("role.yaml", agentjob_operator.access.ACCESS, id="the operator"),
    pytest.param("operator-lease.yaml", agentjob_operator.access.HOME_ACCESS, id="the operator at home"),
    pytest.param("gateway-role.yaml", agentjob_gateway.access.ACCESS, id="the gateway"),
    pytest.param("gateway-peers.yaml", agentjob_gateway.access.HOME_ACCESS, id="the gateway at home"),
]


def rules(role: str) -> list[dict[str, list[str]]]:
    """The rules of a program's Role; they hold no template, so they can be read as they stand."""
    text = (TEMPLATES / role).read_text().partition("rules:\n")[2].partition("---")[0]
    found: list[dict[str, list[str]]] = yaml.safe_load(text)
    return found


@pytest.mark.parametrize(("role", "access"), PROGRAMS)
def test_a_program_gets_the_verbs_it_uses_and_no_others(role: str, access: tuple[Access, ...]) -> None:
    granted = {
        (group, resource): frozenset(rule["verbs"])
        for rule in rules(role)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted == {(used.group, used.resource): used.verbs for used in access}


@pytest.mark.parametrize(("role", "access"), PROGRAMS)
def test_a_program_gets_no_secrets_and_no_wildcard(role: str, access: tuple[Access, ...]) -> None:
    words = {word for rule in rules(role) for words in rule.values() for word in words}
    assert not words & {"secrets", "configmaps", "*"}


def test_the_only_right_over_the_whole_cluster_is_to_ask_about_tokens() -> None:
    """When it is given, and to whom, the rendered chart shows."""
    lines = {
        (path.name, line.strip())
        for path in TEMPLATES.rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "ClusterRole" in line or "system:" in line
    }
    assert lines == {
        ("gateway-tokens.yaml", "kind: ClusterRoleBinding"),
        ("gateway-tokens.yaml", "kind: ClusterRole"),
        ("gateway-tokens.yaml", "name: system:auth-delegator"),
    }


def values(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Each value that can be set, with its schema; objects that only group others are no values."""
    for name, child in schema["properties"].items():
        if "properties" in child:
            yield from values(child, f"{path}{name}.")
        else:
            yield f"{path}{name}", child


VALUES = dict(values(chart.values_schema()))


@pytest.mark.parametrize("path", VALUES)
def test_a_value_says_what_it_does_and_what_it_is_by_default(path: str) -> None:
    assert VALUES[path]["description"].endswith(".")
    assert "default" in VALUES[path]


def at(data: Schema, path: str) -> object:
    """What lies at a dotted path."""
    found: Any = data
    for name in path.split("."):
        found = found[name]
    return found


def test_values_yaml_and_the_schema_hold_the_same_values() -> None:
    written = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    assert {path: at(written, path) for path in VALUES} == {path: schema["default"] for path, schema in VALUES.items()}
    assert written.keys() == chart.values_schema()["properties"].keys()


def groups(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """All objects whose fields are named in the schema."""
    if "properties" in schema:
        yield path or "top level", schema
        for name, child in schema["properties"].items():
            yield from groups(child, f"{path}.{name}".lstrip("."))


@pytest.mark.parametrize("group", [pytest.param(s, id=path) for path, s in groups(chart.values_schema())])
def test_a_value_that_does_not_exist_is_refused(group: Schema) -> None:
    assert group["additionalProperties"] is False


def test_braces_in_a_description_reach_the_api_server_as_they_stand() -> None:
    assert chart.escaped('see {{"a"}} and {b}') == 'see {{ "{{" }}"a"}} and {b}'


def test_the_crd_is_kept_when_the_release_goes() -> None:
    crd = yaml.safe_load("\n".join(line for line in chart.crd_template().splitlines() if not line.startswith("{{-")))
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_chart_is_all_the_manifests_there_are() -> None:
    root = chart.CHART.parent.parent
    strays = [
        str(path.relative_to(root))
        for folder in ("api", "kube", "program", "operator", "runner", "gateway", "docs")
        for path in Path(root / folder).rglob("*.yaml")
    ]
    assert strays == []
