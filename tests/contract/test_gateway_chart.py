"""What Helm makes of the chart's gateway: its settings, its rights, its ways in, and how many there are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from agentjob_gateway import keys
from agentjob_gateway.settings import ArchiveSettings, LimitSettings, PeerSettings, Settings
from agentjob_program.settings import LogLevel
from rendered import EVERYTHING, merged, objects, of_kind, one

pytestmark = pytest.mark.cluster
Object = dict[str, Any]
PEERS = PeerSettings(namespace="system", service="release-agentjob-gateway")
VOLUME = "/var/lib/agentjob/archive"


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Pod."""
    monkeypatch.setenv("POD_NAME", "gateway-x")


def gateways(kind: str, values: Object) -> Object:
    """The spec of the gateway's object of a kind."""
    spec: Object = one(kind, values, "release-agentjob-gateway")["spec"]
    return spec


def settings(values: Object) -> Settings:
    """The gateway's configuration, read as the gateway reads it."""
    config = one("ConfigMap", values, "release-agentjob-gateway")
    return Settings.model_validate_json(config["data"]["config.json"])


def test_the_gateway_understands_the_default_configuration() -> None:
    """Every value has the same default in both places."""
    assert settings({}) == Settings(
        namespaces=["system"],
        keys_directory=Path("/etc/agentjob/keys"),
        archive=ArchiveSettings(url=f"file://{VOLUME}"),
        peers=PEERS,
    )


def test_every_value_for_the_gateway_reaches_it() -> None:
    assert settings(EVERYTHING) == Settings(
        namespaces=["team-a", "team-b"],
        log_level=LogLevel.DEBUG,
        keys_directory=Path("/etc/agentjob/keys"),
        kubernetes_tokens=True,
        limits=LimitSettings(requests_per_minute=60, concurrent_jobs=5, streams=10),
        queue_depth=2_000_000,
        max_body_bytes=8_388_608,
        cors_origins=["https://pages.example.com"],
        drain_seconds=25,
        archive=ArchiveSettings(url="s3://lines/agentjob", part_seconds=2.5),
        peers=PEERS,
    )


def test_without_the_gateway_nothing_of_it_is_there() -> None:
    values = merged(EVERYTHING, "gateway.enabled", False)
    others = [found for found in objects(values) if found["kind"] != "PrometheusRule"]
    assert not [found["metadata"]["name"] for found in others if "gateway" in yaml.safe_dump(found).lower()]


def test_who_may_come_with_kubernetes_tokens_is_asked_of_the_cluster_only_where_they_are_accepted() -> None:
    assert of_kind("ClusterRoleBinding", {}) == []
    [binding] = of_kind("ClusterRoleBinding", {"gateway": {"kubernetesTokens": True}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"}
    assert binding["roleRef"] == role
    account = {"kind": "ServiceAccount", "name": "release-agentjob-gateway", "namespace": "system"}
    assert binding["subjects"] == [account]


def test_the_gateway_is_reached_by_all_or_by_those_named_and_reaches_dns_and_the_api_server() -> None:
    probes, doors = ([{"protocol": "TCP", "port": port}] for port in (8081, 8080))
    spec = gateways("NetworkPolicy", {})
    assert spec["podSelector"]["matchLabels"] == gateways("Deployment", {})["selector"]["matchLabels"]
    assert spec["ingress"] == [{"ports": probes}, {"ports": doors}]
    dns, api_server = spec["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert api_server == {"ports": [{"protocol": "TCP", "port": port} for port in (443, 6443)]}

    spec = gateways("NetworkPolicy", EVERYTHING)
    test = {"podSelector": {"matchLabels": one("Pod", EVERYTHING, "release-agentjob-test")["metadata"]["labels"]}}
    named = EVERYTHING["gateway"]["networkPolicy"]["from"]
    assert spec["ingress"] == [{"ports": probes}, {"ports": doors, "from": [test, *named]}]
    assert spec["egress"][1] == {"ports": [{"protocol": "TCP", "port": 8443}]}
    assert spec["egress"][2:] == EVERYTHING["gateway"]["networkPolicy"]["egress"]


def test_ways_in_from_outside_lead_to_the_doors_and_let_streams_last() -> None:
    [port] = [port for port in gateways("Service", EVERYTHING)["ports"] if port["name"] == "http"]
    assert (port["port"], port["targetPort"]) == (80, "http")
    spec = gateways("Ingress", EVERYTHING)
    assert (spec["ingressClassName"], [rule["host"] for rule in spec["rules"]]) == ("nginx", ["agents.example.com"])
    assert spec["tls"] == [{"secretName": "certificate", "hosts": ["agents.example.com"]}]
    [path] = spec["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": "release-agentjob-gateway", "port": {"name": "http"}}
    assert one("Ingress", EVERYTHING, "release-agentjob-gateway")["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/proxy-buffering": "off",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "3600",
        "cert-manager.io/cluster-issuer": "ours",
    }
    assert gateways("HTTPRoute", EVERYTHING) == {
        "parentRefs": [{"name": "edge"}],
        "hostnames": ["agents.example.com"],
        "rules": [
            {
                "backendRefs": [{"name": "release-agentjob-gateway", "port": 80}],
                "timeouts": {"request": "0s", "backendRequest": "0s"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("gateway", "is_there"),
    [
        pytest.param({}, True, id="two Pods"),
        pytest.param({"replicas": 1}, False, id="one Pod, whose node could not be drained"),
        pytest.param({"replicas": 1, "autoscaling": {"enabled": True}}, True, id="two Pods at least"),
        pytest.param({"autoscaling": {"enabled": True, "minReplicas": 1}}, False, id="one Pod at times"),
        pytest.param({"podDisruptionBudget": {"enabled": False}}, False, id="two Pods, and none is wanted"),
    ],
)
def test_a_budget_is_there_where_a_pod_can_be_spared(gateway: Object, is_there: bool) -> None:
    budgets = [each["metadata"]["name"] for each in of_kind("PodDisruptionBudget", {"gateway": gateway})]
    assert ("release-agentjob-gateway" in budgets) is is_there


def test_the_number_of_gateways_is_set_by_one_hand_alone() -> None:
    assert gateways("Deployment", {})["replicas"] == 2
    assert "replicas" not in gateways("Deployment", EVERYTHING)
    scaler = gateways("HorizontalPodAutoscaler", EVERYTHING)
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)
    assert scaler["metrics"][0]["resource"] == {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
    }  # fmt: skip


def test_a_gateway_has_time_to_lead_its_clients_elsewhere_and_is_not_missed() -> None:
    deployment = gateways("Deployment", EVERYTHING)
    pod = deployment["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 45
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        pytest.param({}, "release-agentjob-keys", id="by default"),
        pytest.param(EVERYTHING, "keyring", id="as the values say"),
    ],
)
def test_the_keys_are_mounted_once_they_are_there(values: Object, name: str) -> None:
    pod = gateways("Deployment", values)["template"]["spec"]
    [secret] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "keys"]
    assert secret == {"secretName": name, "optional": True}
    [container] = pod["containers"]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "keys"]
    assert Path(mount["mountPath"]) == settings(values).keys_directory
    assert {"name": keys.ENV_SECRET, "value": f"system/{name}"} in container["env"]


SHARED: Object = {"archive": {"claim": {"accessMode": "ReadWriteMany"}}}
OURS: Object = {"archive": {"claim": {"existingClaim": "ours"}}}
OFF: Object = {"archive": {"enabled": False}}


@pytest.mark.parametrize(
    ("values", "claims", "mounted"),
    [
        pytest.param({}, ["release-agentjob-gateway-archive"], "release-agentjob-gateway-archive", id="by default"),
        pytest.param(OURS, [], "ours", id="a claim that is there"),
        pytest.param(EVERYTHING, [], None, id="an object store"),
        pytest.param(OFF, [], None, id="no archive"),
    ],
)
def test_the_archive_is_on_a_volume_where_there_is_no_object_store(
    values: Object, claims: list[str], mounted: str | None
) -> None:
    assert [claim["metadata"]["name"] for claim in of_kind("PersistentVolumeClaim", values)] == claims
    pod = gateways("Deployment", values)["template"]["spec"]
    volumes = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]}
    assert volumes.get("archive") == mounted
    mounts = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "archive"]
    assert mounts == ([{"name": "archive", "mountPath": VOLUME}] if mounted else [])
    assert pod["securityContext"].get("fsGroup") == (10001 if mounted else None)


def test_the_claim_is_as_the_values_say() -> None:
    given = {"size": "1Ti", "storageClassName": "fast", "accessMode": "ReadWriteMany"}
    [claim] = of_kind("PersistentVolumeClaim", {"archive": {"claim": given}})
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Ti"}},
    }


@pytest.mark.parametrize("values", [pytest.param({}, id="by default"), pytest.param(OURS, id="a claim that is there")])
def test_pods_run_on_one_node_where_only_one_can_use_the_volume(values: Object) -> None:
    deployment = gateways("Deployment", values)
    pod = deployment["template"]["spec"]
    [term] = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {"labelSelector": deployment["selector"], "topologyKey": "kubernetes.io/hostname"}
    assert "topologySpreadConstraints" not in pod


def test_an_affinity_of_ones_own_stays_beside_that() -> None:
    own = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "near"}}}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    given = {"nodeAffinity": {"a": "b"}, "podAffinity": {required: [own]}}
    affinity = gateways("Deployment", {"gateway": {"affinity": given}})["template"]["spec"]["affinity"]
    assert affinity["nodeAffinity"] == given["nodeAffinity"]
    assert [term["topologyKey"] for term in affinity["podAffinity"][required]] == ["zone", "kubernetes.io/hostname"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(SHARED, id="on a volume for many nodes"),
        pytest.param(EVERYTHING, id="on an object store"),
        pytest.param(OFF, id="without an archive"),
    ],
)
def test_pods_are_spread_over_the_nodes_otherwise(values: Object) -> None:
    deployment = gateways("Deployment", values)
    pod = deployment["template"]["spec"]
    [spread] = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == deployment["selector"]
    assert "podAffinity" not in pod.get("affinity", {})


def test_a_gateway_knows_its_own_name_and_the_credentials_of_its_store() -> None:
    [container] = gateways("Deployment", EVERYTHING)["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "cloud"}}]
    names = [variable for variable in container["env"] if variable["name"] == "POD_NAME"]
    assert names == [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]


def test_a_cloud_may_know_a_gateway_by_its_account_or_its_labels() -> None:
    account, deployment = (
        one("ServiceAccount", EVERYTHING, "release-agentjob-gateway"),
        gateways("Deployment", EVERYTHING),
    )
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/lines"}
    labels = deployment["template"]["metadata"]["labels"]
    assert {**deployment["selector"]["matchLabels"], "azure.workload.identity/use": "true"}.items() <= labels.items()


def test_without_an_archive_nobody_waits_for_it() -> None:
    assert (settings(OFF).archive, settings(OFF).peers) == (None, PEERS)
    operators = [OFF, {"gateway": {"enabled": False}}, {}]
    configs = [one("ConfigMap", values)["data"]["config.json"] for values in operators]
    assert ['"archives": true' in config for config in configs] == [False, False, True]
