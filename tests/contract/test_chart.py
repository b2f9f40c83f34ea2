"""What Helm makes of the chart, and what the API server's Pod Security says to it."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from secrets import token_hex
from typing import Any

import pytest
import yaml

import chart
import tables
from agentjob_api.crd import custom_resource_definition
from agentjob_operator.settings import LogLevel, PullPolicy, Settings
from clients import kubectl, render

pytestmark = pytest.mark.cluster
Object = dict[str, Any]

EVERYTHING: Object = {
    "jobNamespaces": ["team-a", "team-b"],
    "model": {
        "default": "claude-x",
        "baseURL": "http://proxy.models:8080",
        "apiKeySecret": {"name": "anthropic", "key": "token"},
    },
    "image": {
        "operator": {"repository": "registry.local/op", "tag": "1", "pullPolicy": "Always"},
        "runner": {"repository": "registry.local/run", "tag": "2", "pullPolicy": "Never"},
        "pullSecrets": ["pull"],
    },
    "runner": {
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "1.5", "memory": "3Gi"}},
        "env": [
            {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "git"}}},
        ],
        "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}]},
    },
    "podTTLSeconds": 2_592_000,
    "workers": 4,
    "logLevel": "debug",
    "operator": {
        "resources": {"requests": {"cpu": "1"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "networkPolicy": {"apiServerPorts": [8443]},
    },
    "metrics": {"serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}}},
    "crd": {"install": True},
}


DEFAULTS: Object = yaml.safe_load((chart.CHART / "values.yaml").read_text())


def at(values: Object, path: str) -> object:
    """What lies at a dotted path."""
    found: Any = values
    for name in path.split("."):
        found = found[name]
    return found


def merged(values: Object, path: str, value: object) -> Object:
    """The values with another one at a dotted path."""
    name, _, rest = path.partition(".")
    return {**values, name: merged(values.get(name, {}), rest, value) if rest else value}


def objects(values: Object) -> list[Object]:
    """All that is installed with these values."""
    return [found for found in yaml.safe_load_all(render(values).expect_success()) if found]


def of_kind(kind: str, values: Object) -> list[Object]:
    return [found for found in objects(values) if found["kind"] == kind]


def settings(values: Object) -> Settings:
    """The operator's configuration, read as the operator reads it."""
    [config] = of_kind("ConfigMap", values)
    return Settings.model_validate_json(config["data"]["config.json"])


def test_the_operator_understands_the_default_configuration() -> None:
    found = settings({})
    assert found.namespaces == ["system"]
    assert found.runner.image == "agentjob-runner:0.1.0"
    assert found.runner.model_api_key_secret is None
    assert found.runner.model_base_url is None


def test_every_value_for_the_operator_reaches_it() -> None:
    found = settings(EVERYTHING)
    assert found.namespaces == ["team-a", "team-b"]
    assert (found.pod_ttl_seconds, found.workers, found.log_level) == (2_592_000, 4, LogLevel.DEBUG)
    runner = found.runner
    assert (runner.image, runner.image_pull_policy) == ("registry.local/run:2", PullPolicy.NEVER)
    assert (runner.model, runner.model_base_url) == ("claude-x", "http://proxy.models:8080")
    assert runner.model_dump(include={"resources", "env", "model_api_key_secret"}, exclude_none=True) == {
        "resources": {
            "requests": {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "512Mi"},
            "limits": {"cpu": "1.5", "memory": "3Gi", "ephemeral-storage": "10Gi"},
        },
        "env": EVERYTHING["runner"]["env"],
        "model_api_key_secret": {"name": "anthropic", "key": "token"},
    }


VALUES = [field.path for field in tables.fields(chart.values_schema()) if "default" in field.schema]
BASE = merged(merged(DEFAULTS, "metrics.serviceMonitor.enabled", True), "model.apiKeySecret.name", "needed")
"""The defaults, and what other values need in order to do something."""


@pytest.fixture(scope="module")
def unchanged() -> str:
    return render(BASE).expect_success()


@pytest.mark.parametrize("path", [path for path in VALUES if path != "global"])
def test_a_value_does_something(path: str, unchanged: str) -> None:
    before = at(BASE, path)
    after = not before if isinstance(before, bool) else at(EVERYTHING, path)
    assert render(merged(BASE, path, after)).expect_success() != unchanged


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("modle", {}, "additional properties 'modle' not allowed", id="a value that does not exist"),
        pytest.param(
            "model.baseUrl", "x", "at '/model': additional properties 'baseUrl' not allowed", id="one spelt wrongly"
        ),
        pytest.param("model.baseURL", "proxy:80", "at '/model/baseURL': 'proxy:80' does not match", id="no URL"),
        pytest.param("workers", 0, "at '/workers': minimum: got 0, want 1", id="too few workers"),
        pytest.param("workers", "3", "at '/workers': got string, want integer", id="a number as text"),
        pytest.param("podTTLSeconds", -1, "at '/podTTLSeconds': minimum: got -1, want 0", id="a negative time"),
        pytest.param("logLevel", "loud", "at '/logLevel': value must be one of 'debug'", id="no such level"),
        pytest.param("jobNamespaces", "a", "at '/jobNamespaces': got string, want array", id="a word for a list"),
        pytest.param(
            "jobNamespaces", ["a", "a"], "at '/jobNamespaces': items at 0 and 1 are equal", id="a namespace twice"
        ),
        pytest.param(
            "image.runner.pullPolicy",
            "Sometimes",
            "at '/image/runner/pullPolicy': value must be one of",
            id="no such pull policy",
        ),
        pytest.param(
            "runner.resources.limits",
            {"cpu": "two"},
            "at '/runner/resources/limits/cpu': 'two' does not match",
            id="no quantity",
        ),
        pytest.param(
            "runner.env", [{"name": "A"}], "at '/runner/env/0': minProperties", id="a variable without a value"
        ),
        pytest.param(
            "model.apiKeySecret.key", "", "at '/model/apiKeySecret/key': '' does not match", id="an empty key"
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(path: str, value: object, message: str) -> None:
    refused = render(merged({}, path, value))
    assert refused.exit_code != 0
    assert message in refused.error


def test_rights_and_network_are_set_up_in_each_job_namespace_and_nowhere_else() -> None:
    found = {(found["kind"], found["metadata"].get("namespace")) for found in objects(EVERYTHING)}
    assert found == {
        ("CustomResourceDefinition", None),
        *(("Role", namespace) for namespace in ("team-a", "team-b")),
        *(("RoleBinding", namespace) for namespace in ("team-a", "team-b")),
        *(("NetworkPolicy", namespace) for namespace in ("system", "team-a", "team-b")),
        *((kind, "system") for kind in ("ServiceAccount", "ConfigMap", "Deployment", "Service")),
        ("ServiceMonitor", "system"),
        ("Pod", "system"),
    }


def runner_policies(values: Object) -> list[Object]:
    """The specs of the NetworkPolicies of runner Pods."""
    found = of_kind("NetworkPolicy", values)
    return [policy["spec"] for policy in found if policy["metadata"]["name"].endswith("-runner")]


def test_the_rights_go_to_the_operators_account() -> None:
    account = {"kind": "ServiceAccount", "name": "release-agentjob", "namespace": "system"}
    assert [binding["subjects"] for binding in of_kind("RoleBinding", EVERYTHING)] == [[account], [account]]
    [deployment] = of_kind("Deployment", EVERYTHING)
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "release-agentjob"


def test_the_crd_is_the_one_the_types_describe() -> None:
    [crd] = of_kind("CustomResourceDefinition", {})
    assert crd["spec"] == custom_resource_definition()["spec"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_an_agent_reaches_dns_and_public_https_and_nobody_reaches_it() -> None:
    [spec] = runner_policies({})
    assert spec["podSelector"] == {"matchExpressions": [{"key": "agentjob.dev/job", "operator": "Exists"}]}
    assert (spec["policyTypes"], spec["ingress"]) == (["Ingress", "Egress"], [])
    dns, model = spec["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert dns["to"][0]["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    [block] = [way["ipBlock"] for way in model["to"]]
    assert model["ports"] == [{"protocol": "TCP", "port": 443}]
    for private in ("10.96.0.1", "172.18.0.2", "192.168.1.1", "100.64.0.1", "169.254.169.254"):
        assert any(ip_address(private) in ip_network(network) for network in block["except"]), private


def test_the_ways_out_can_be_given_anew_and_dns_stays() -> None:
    for spec in runner_policies(EVERYTHING):
        dns, given = spec["egress"]
        assert {port["port"] for port in dns["ports"]} == {53}
        assert given == {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}


def test_the_operator_starts_anew_when_its_configuration_changes() -> None:
    checksums = set()
    for values in ({}, {"workers": 3}, {"operator": {"nodeSelector": {"disk": "fast"}}}):
        [deployment] = of_kind("Deployment", values)
        checksums.add(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])
    assert len(checksums) == 2


def pods(values: Object) -> list[Object]:
    """Every Pod that the chart makes, itself or through a Deployment."""
    templates = [found["spec"]["template"] for found in of_kind("Deployment", values)]
    return [{"metadata": pod["metadata"], "spec": pod["spec"]} for pod in [*templates, *of_kind("Pod", values)]]


@pytest.mark.parametrize("pod", [pytest.param(number, id=name) for number, name in enumerate(("operator", "test"))])
@pytest.mark.parametrize("values", [pytest.param({}, id="by default"), pytest.param(EVERYTHING, id="all values set")])
def test_no_pod_can_write_its_image_or_stay_without_bounds(values: Object, pod: int) -> None:
    [container] = pods(values)[pod]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"]["cpu"]


@pytest.fixture(scope="module")
def restricted() -> Iterator[str]:
    """A namespace that takes only Pods that fit Pod Security "restricted"."""
    name = f"chart-{token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("create", "-f", "-", stdin=namespace).expect_success()
    kubectl("create", "serviceaccount", "release-agentjob", "--namespace", name).expect_success()
    # Another controller makes it, a moment later; until then no Pod is taken.
    kubectl("wait", "serviceaccount/default", "--namespace", name, "--for=create", "--timeout=30s").expect_success()
    yield name
    kubectl("delete", "namespace", name, "--wait=false").expect_success()


@pytest.mark.parametrize("pod", [pytest.param(number, id=name) for number, name in enumerate(("operator", "test"))])
def test_a_restricted_namespace_takes_the_pod(restricted: str, pod: int) -> None:
    spec = pods({})[pod]["spec"]
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": spec}
    kubectl("create", "--namespace", restricted, "--dry-run=server", "-f", "-", stdin=manifest).expect_success()


def test_a_restricted_namespace_refuses_what_the_chart_does_not_ask_for(restricted: str) -> None:
    spec = {key: value for key, value in pods({})[0]["spec"].items() if key != "securityContext"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": spec}
    refused = kubectl("create", "--namespace", restricted, "--dry-run=server", "-f", "-", stdin=manifest)
    assert 'violates PodSecurity "restricted' in refused.error


def test_what_is_installed_is_what_the_api_server_knows(restricted: str) -> None:
    """Under strict validation a misspelt field of any object is an error."""
    how = ("--server-side", "--dry-run=server", "--force-conflicts")
    for found in objects({"jobNamespaces": [restricted]}):
        if found["kind"] != "Pod":
            moved = {**found, "metadata": {**found["metadata"], "namespace": restricted}}
            kubectl("apply", *how, "-f", "-", stdin=moved).expect_success()
