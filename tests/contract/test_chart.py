"""What Helm makes of the chart, and what the API server's Pod Security says to it."""

from collections.abc import Iterator
from functools import cache, reduce
from ipaddress import ip_address, ip_network
from secrets import token_hex
from typing import Any

import pytest
import yaml

import chart
import tables
from agentjob_api.crd import custom_resource_definition
from agentjob_operator.settings import LeaseSettings, PullPolicy, Settings
from agentjob_program.settings import LogLevel
from clients import kubectl, render
from rendered import EVERYTHING, merged, objects, of_kind, one

pytestmark = pytest.mark.cluster
Object = dict[str, Any]

DEFAULTS: Object = yaml.safe_load((chart.CHART / "values.yaml").read_text())


def at(values: Object, path: str) -> object:
    """What lies at a dotted path."""
    found: Any = values
    for name in path.split("."):
        found = found[name]
    return found


def settings(values: Object) -> Settings:
    """The operator's configuration, read as the operator reads it."""
    return Settings.model_validate_json(one("ConfigMap", values)["data"]["config.json"])


def test_the_operator_understands_the_default_configuration() -> None:
    found = settings({})
    assert found.namespaces == ["system"]
    assert found.lease == LeaseSettings(namespace="system", name="release-agentjob", seconds=15)
    assert (found.runner.image, found.runner.unreachable_seconds) == ("agentjob-runner:0.1.0", 300)
    assert (found.limits.running, found.limits.of("system"), found.limits.weight("system")) == (100, None, 1)
    assert found.runner.model_api_key_secret is None
    assert found.runner.model_base_url is None


def test_every_value_for_the_operator_reaches_it() -> None:
    found = settings(EVERYTHING)
    assert found.namespaces == ["team-a", "team-b"]
    assert (found.pod_ttl_seconds, found.workers, found.log_level) == (2_592_000, 4, LogLevel.DEBUG)
    assert found.archives
    limits = found.limits
    assert (limits.running, limits.of("team-a"), limits.of("team-b"), limits.weight("team-b")) == (30, 10, 20, 3)
    assert found.lease is not None
    assert found.lease.seconds == 30
    runner = found.runner
    assert (runner.image, runner.image_pull_policy) == ("registry.local/run:2", PullPolicy.NEVER)
    assert (runner.model, runner.model_base_url) == ("claude-x", "http://proxy.models:8080")
    assert runner.unreachable_seconds == 60
    assert runner.model_dump(include={"resources", "env", "model_api_key_secret"}, exclude_none=True) == {
        "resources": {
            "requests": {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "512Mi"},
            "limits": {"cpu": "1.5", "memory": "3Gi", "ephemeral-storage": "10Gi"},
        },
        "env": EVERYTHING["runner"]["env"],
        "model_api_key_secret": {"name": "anthropic", "key": "token"},
    }


VALUES = [field.path for field in tables.fields(chart.values_schema()) if "default" in field.schema]
NEEDED: Object = {
    "jobNamespaces": ["team-b"],
    "metrics.serviceMonitor.enabled": True,
    "metrics.prometheusRule.enabled": True,
    "model.apiKeySecret.name": "needed",
    "gateway.ingress.enabled": True,
    "gateway.httpRoute.enabled": True,
    "gateway.httpRoute.parentRefs": [{"name": "needed"}],
}
"""What other values need in order to do something."""


@cache
def base(*, autoscaled: bool) -> Object:
    """The defaults with what is needed; with autoscaling, what it takes the place of does nothing."""
    needed = {**NEEDED, "gateway.autoscaling.enabled": autoscaled}
    return reduce(lambda values, path: merged(values, path, needed[path]), needed, DEFAULTS)


@cache
def unchanged(*, autoscaled: bool) -> str:
    return render(base(autoscaled=autoscaled)).expect_success()


@pytest.mark.parametrize("path", [path for path in VALUES if path != "global"])
def test_a_value_does_something(path: str) -> None:
    autoscaled = path.startswith("gateway.autoscaling.")
    values = base(autoscaled=autoscaled)
    before = at(values, path)
    after = not before if isinstance(before, bool) else at(EVERYTHING, path)
    assert render(merged(values, path, after)).expect_success() != unchanged(autoscaled=autoscaled)


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
        pytest.param("limits.running", -1, "at '/limits/running': minimum: got -1, want 0", id="less than no jobs"),
        pytest.param(
            "limits.namespaces",
            {"team-x": {"weight": 2}},
            "limits.namespaces.team-x: no job namespace; there are: system",
            id="a limit of a namespace that is not served",
        ),
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
        pytest.param("gateway.replicas", 0, "at '/gateway/replicas': minimum: got 0, want 1", id="no gateway's Pod"),
        pytest.param(
            "gateway.corsOrigins",
            ["https://example.com/"],
            "at '/gateway/corsOrigins/0': 'https://example.com/' does not match",
            id="an address for an origin",
        ),
        pytest.param(
            "gateway.httpRoute.enabled",
            True,
            "at '/gateway/httpRoute/parentRefs': minItems: got 0, want 1",
            id="a route on no Gateway",
        ),
        pytest.param("archive.url", "https://x", "at '/archive/url': 'https://x' does not match", id="no object store"),
        pytest.param(
            "archive.url",
            "s3://id:key@x",
            "at '/archive/url': 's3://id:key@x' does not match",
            id="a key in an address",
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


IN_EACH = ("Role", "RoleBinding")
AT_HOME = ("ServiceAccount", "ConfigMap", "Deployment", "Service", "ServiceMonitor", "NetworkPolicy")
DOORS = ("PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress", "HTTPRoute")


def test_rights_and_network_are_set_up_in_each_job_namespace_and_nowhere_else() -> None:
    found = sorted(
        (found["kind"], found["metadata"].get("namespace", ""), found["metadata"]["name"])
        for found in objects(EVERYTHING)
    )
    operator, gateway, served = "release-agentjob", "release-agentjob-gateway", ("team-a", "team-b")
    assert found == sorted(
        [
            ("CustomResourceDefinition", "", "agentjobs.agentjob.dev"),
            ("ClusterRoleBinding", "", "system-release-agentjob-gateway"),
            *((kind, namespace, name) for kind in IN_EACH for namespace in served for name in (operator, gateway)),
            *(("NetworkPolicy", namespace, "release-agentjob-runner") for namespace in served),
            *((kind, "system", name) for kind in AT_HOME for name in (operator, gateway)),
            *((kind, "system", gateway) for kind in DOORS),
            *((kind, "system", f"{gateway}-peers") for kind in IN_EACH),
            *((kind, "system", f"{operator}-lease") for kind in IN_EACH),
            *((kind, "system", operator) for kind in ("PodDisruptionBudget", "PrometheusRule")),
            ("Pod", "system", "release-agentjob-test"),
        ]
    )


def runner_policies(values: Object) -> list[Object]:
    """The specs of the NetworkPolicies of runner Pods."""
    found = of_kind("NetworkPolicy", values)
    return [policy["spec"] for policy in found if policy["metadata"]["name"].endswith("-runner")]


@pytest.mark.parametrize("name", ["release-agentjob", "release-agentjob-gateway"])
def test_the_rights_go_to_the_programs_own_account(name: str) -> None:
    account = {"kind": "ServiceAccount", "name": name, "namespace": "system"}
    bindings = [binding for binding in of_kind("RoleBinding", EVERYTHING) if binding["roleRef"]["name"] == name]
    assert [binding["subjects"] for binding in bindings] == [[account], [account]]
    assert one("Deployment", EVERYTHING, name)["spec"]["template"]["spec"]["serviceAccountName"] == name


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


def test_metrics_are_scraped_where_each_program_has_them() -> None:
    for name, port, number in (("release-agentjob", "http", 8080), ("release-agentjob-gateway", "metrics", 8081)):
        spec = one("ServiceMonitor", EVERYTHING, name)["spec"]
        service = one("Service", EVERYTHING, name)
        assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert [endpoint["port"] for endpoint in spec["endpoints"]] == [port]
        assert number in [found["port"] for found in service["spec"]["ports"] if found["name"] == port]


@pytest.mark.parametrize(
    ("name", "config", "changes"),
    [
        pytest.param("release-agentjob", {"workers": 3}, {"operator": {"nodeSelector": {"a": "b"}}}, id="operator"),
        pytest.param("release-agentjob-gateway", {"gateway": {"queueDepth": 3}}, {"workers": 3}, id="gateway"),
    ],
)
def test_a_program_starts_anew_when_its_configuration_changes(name: str, config: Object, changes: Object) -> None:
    sums = [
        one("Deployment", values, name)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for values in ({}, changes, config)
    ]
    assert sums[0] == sums[1] != sums[2]


PODS = ("operator", "gateway", "test")


def pods(values: Object) -> dict[str, Object]:
    """The spec of every Pod that the chart makes, itself or through a Deployment, by its container's name."""
    specs = [found["spec"]["template"]["spec"] for found in of_kind("Deployment", values)]
    specs += [found["spec"] for found in of_kind("Pod", values)]
    return {spec["containers"][0]["name"]: spec for spec in specs}


def test_no_pod_is_forgotten() -> None:
    assert set(pods(EVERYTHING)) == set(PODS)


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize("values", [pytest.param({}, id="by default"), pytest.param(EVERYTHING, id="all values set")])
def test_no_pod_can_write_its_image_or_stay_without_bounds(values: Object, pod: str) -> None:
    [container] = pods(values)[pod]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"]["cpu"]


@pytest.fixture(scope="module")
def restricted() -> Iterator[str]:
    """A namespace that takes only Pods that fit Pod Security "restricted"."""
    name = f"chart-{token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("create", "-f", "-", stdin=namespace).expect_success()
    for account in ("release-agentjob", "release-agentjob-gateway"):
        kubectl("create", "serviceaccount", account, "--namespace", name).expect_success()
    # Another controller makes it, a moment later; until then no Pod is taken.
    kubectl("wait", "serviceaccount/default", "--namespace", name, "--for=create", "--timeout=30s").expect_success()
    yield name
    kubectl("delete", "namespace", name, "--wait=false").expect_success()


@pytest.mark.parametrize("pod", PODS)
def test_a_restricted_namespace_takes_the_pod(restricted: str, pod: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": pods({})[pod]}
    kubectl("create", "--namespace", restricted, "--dry-run=server", "-f", "-", stdin=manifest).expect_success()


def test_a_restricted_namespace_refuses_what_the_chart_does_not_ask_for(restricted: str) -> None:
    spec = {key: value for key, value in pods({})["operator"].items() if key != "securityContext"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": spec}
    refused = kubectl("create", "--namespace", restricted, "--dry-run=server", "-f", "-", stdin=manifest)
    assert 'violates PodSecurity "restricted' in refused.error


@pytest.mark.parametrize("values", [pytest.param({}, id="by default"), pytest.param(EVERYTHING, id="all values set")])
def test_what_is_installed_is_what_the_api_server_knows(restricted: str, values: Object) -> None:
    """Under strict validation a misspelt field of any object is an error."""
    how = ("--server-side", "--dry-run=server", "--force-conflicts")
    # The first was checked above; of the others it knows nothing.
    elsewhere = {"Pod", "ServiceMonitor", "PrometheusRule", "HTTPRoute"}
    for found in objects({**values, "jobNamespaces": [restricted], "limits": {}}):
        if found["kind"] not in elsewhere:
            moved = {**found, "metadata": {**found["metadata"], "namespace": restricted}}
            kubectl("apply", *how, "-f", "-", stdin=moved).expect_success()


def test_of_several_operators_one_may_go_at_a_time_and_each_knows_its_own_name() -> None:
    for values, replicas in (({}, 2), (EVERYTHING, 3)):
        deployment = one("Deployment", values)["spec"]
        assert deployment["replicas"] == replicas
        [container] = deployment["template"]["spec"]["containers"]
        assert container["env"] == [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
        [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"] == deployment["selector"]
        budget = one("PodDisruptionBudget", values, "release-agentjob")["spec"]
        assert (budget["maxUnavailable"], budget["selector"]) == (1, deployment["selector"])
    budgets = [each["metadata"]["name"] for each in of_kind("PodDisruptionBudget", merged({}, "operator.replicas", 1))]
    assert "release-agentjob" not in budgets
