"""The decisions in bringing up a cluster: names, what is whose, what is missing, what is built from what."""

import json
from pathlib import Path

import pytest

from deploy.kind import private_engine
from deploy.kind.checkout import BESIDE, Checkout, ident_of
from deploy.kind.errors import ClusterError
from deploy.kind.golang import KUBE, Built, is_new_enough
from deploy.kind.leftovers import Supervisor, supervisor
from deploy.kind.node_image import lay_out
from deploy.kind.nodes import PUBLISHED, configuration, first_binding, full_name, lacks
from deploy.kind.steps import line
from deploy.kind.traefik import lay_out_lego

HERE = Checkout(Path("/home/me/agentjob"))
ALL = [HERE, *(Checkout(HERE.root, name) for name in BESIDE)]


def test_two_checkouts_share_no_name() -> None:
    other = Checkout(Path("/home/me/agentjob2"))
    assert {HERE.name, HERE.bridge}.isdisjoint({other.name, other.bridge})


def test_the_clusters_of_a_checkout_share_their_network_and_nothing_else() -> None:
    assert {(each.name, each.bridge, each.engine) for each in ALL} == {(HERE.name, HERE.bridge, HERE.engine)}
    assert len({each.cluster for each in ALL}) == len({each.kubeconfig for each in ALL}) == len(ALL)


@pytest.mark.parametrize("checkout", ALL, ids=["the usual cluster", "the one beside it"])
def test_names_fit_where_they_are_used(checkout: Checkout) -> None:
    assert len(checkout.bridge.encode()) <= 15  # IFNAMSIZ without its zero
    assert len(f"{checkout.cluster}-control-plane") <= 63  # a host name, and a Kubernetes label's value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(HERE.name, HERE.ident, id="a control group of ours"),
        pytest.param(HERE.bridge, HERE.ident, id="a bridge of ours"),
        pytest.param("agentjob-operator", None, id="something else of this project"),
        pytest.param("docker0", None, id="somebody else's"),
        pytest.param("aj-1234567", None, id="too short"),
        pytest.param("0123abcd", None, id="without a prefix"),
    ],
)
def test_whose_it_is(name: str, expected: str | None) -> None:
    assert ident_of(name) == expected


ENGINE = [
    "unshare",
    "--pid",
    "/home/me/agentjob/deploy/kind/engine.sh",
    f"/{HERE.name}",
    "/home/me/agentjob/.cluster/engine",
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(ENGINE, Supervisor(7, HERE.ident, HERE.engine), id="an engine's supervisor"),
        pytest.param([*ENGINE, "/runtime.sh"], Supervisor(7, HERE.ident, HERE.engine), id="one that wraps runc"),
        pytest.param(["/usr/bin/unshare", *ENGINE[1:]], Supervisor(7, HERE.ident, HERE.engine), id="by its whole path"),
        pytest.param(["grep", *ENGINE], None, id="somebody who looks for one"),
        pytest.param(["dockerd", "--cgroup-parent", f"/{HERE.name}"], None, id="a process inside"),
        pytest.param(["unshare", "--pid", "sh"], None, id="another unshare"),
        pytest.param([], None, id="a process that has ended"),
    ],
)
def test_which_processes_are_engines(arguments: list[str], expected: Supervisor | None) -> None:
    assert supervisor(7, arguments) == expected


def test_a_socket_with_too_long_a_path_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    deep = Checkout(tmp_path / ("d" * 100))
    with pytest.raises(ClusterError, match=r"may have 107 bytes, .* Move the checkout"):
        private_engine.start(deep)
    assert not deep.root.exists()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("operator:1", "docker.io/library/operator:1", id="a bare name"),
        pytest.param("me/operator:1", "docker.io/me/operator:1", id="a user's"),
        pytest.param("registry.example/operator:1", "registry.example/operator:1", id="a host's"),
        pytest.param("localhost/operator:1", "localhost/operator:1", id="localhost's"),
        pytest.param("registry:5000/operator:1", "registry:5000/operator:1", id="a port's"),
    ],
)
def test_the_full_name_of_an_image(image: str, expected: str) -> None:
    assert full_name(image) == expected


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param({}, ["a:1", "b:1"], id="an empty node lacks all"),
        pytest.param(
            {"docker.io/library/a:1": "sha256:a", "docker.io/library/b:1": "sha256:b"}, [], id="a full one none"
        ),
        pytest.param(
            {"docker.io/library/a:1": "sha256:a", "docker.io/library/b:1": "sha256:old"}, ["b:1"], id="built anew"
        ),
    ],
)
def test_what_a_node_lacks(present: dict[str, str], expected: list[str]) -> None:
    assert lacks({"a:1": "sha256:a", "b:1": "sha256:b"}, present) == expected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_node_is_the_control_plane_and_the_others_workers(count: int) -> None:
    wanted = json.loads(configuration(count, own_image=True))
    assert [node["role"] for node in wanted["nodes"]] == ["control-plane", "worker", "worker"][:count]


def test_the_control_plane_alone_publishes_ports_and_on_loopback_alone() -> None:
    first, second = json.loads(configuration(2, own_image=True))["nodes"]
    assert [found["containerPort"] for found in first["extraPortMappings"]] == list(PUBLISHED)
    assert {found["listenAddress"] for found in first["extraPortMappings"]} == {"127.0.0.1"}
    assert "extraPortMappings" not in second


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        pytest.param({}, "", id="a node made before there was one"),
        pytest.param({"30080/tcp": None}, "", id="a port that is not published"),
        pytest.param(
            {"30080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "41234"}]}, "127.0.0.1:41234", id="a port that is"
        ),
    ],
)
def test_where_a_port_is_published(ports: dict[str, list[dict[str, str]] | None], expected: str) -> None:
    assert first_binding(ports, 30080) == expected


def test_only_our_own_image_has_patches_for_kubeadm() -> None:
    own = json.loads(configuration(1, own_image=True))["kubeadmConfigPatches"]
    assert [json.loads(patch)["patches"] for patch in own] == [{"directory": "/kind/patches"}]
    assert json.loads(configuration(1, own_image=False))["kubeadmConfigPatches"] == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("go version go1.26.8 linux/amd64", True, id="today's"),
        pytest.param("go version go1.21.0 linux/amd64", True, id="the first that fetches others"),
        pytest.param("go version go1.19.8 linux/amd64", False, id="Debian bookworm's"),
        pytest.param("go version devel +abc linux/amd64", False, id="one without a number"),
    ],
)
def test_which_go_will_do(answer: str, expected: bool) -> None:
    assert is_new_enough(answer) is expected


def test_a_program_is_built_anew_when_what_it_is_made_from_changes() -> None:
    other_flags = Built(name=KUBE.name, module=KUBE.module, package=KUBE.package)
    other_package = Built(name=KUBE.name, module=KUBE.module, package="./netpol", flags=KUBE.flags)
    assert len({KUBE.key, other_flags.key, other_package.key}) == 3


def test_the_context_of_the_node_image(tmp_path: Path) -> None:
    files, binary, context = tmp_path / "files", tmp_path / "binary", tmp_path / "context"
    (files / "usr/local/bin").mkdir(parents=True)
    (files / "usr/local/bin/entrypoint").write_text("#!/bin/bash")
    (files / "etc").mkdir()
    (files / "etc/crictl.yaml").write_text("")
    binary.write_text("ELF")
    lay_out(context, files, {"kube": binary, "etcd": binary})
    modes = {
        path: (context / path).stat().st_mode & 0o777
        for path in ("rootfs/usr/local/bin/entrypoint", "rootfs/etc/crictl.yaml")
    }
    assert list(modes.values()) == [0o755, 0o644]
    assert (context / "rootfs/usr/local/bin/kube").exists()
    assert (context / "pods/etcd").exists()
    assert not (context / "rootfs/usr/local/bin/etcd").exists()
    assert (context / "Dockerfile").exists()
    assert (context / "rootfs/kind/bin/pod-network.sh").stat().st_mode & 0o111


def test_traefik_is_built_with_all_of_lego_but_its_programs_and_providers(tmp_path: Path) -> None:
    lego, sources = tmp_path / "module", tmp_path / "traefik"
    for path in (lego / "challenge/provider.go", lego / "providers/dns/azure/azure.go", lego / "cmd/cmd.go"):
        path.parent.mkdir(parents=True)
        path.write_text("package it")
    (sources / "dns").mkdir(parents=True)
    (sources / "dns/dns.go").write_text("package dns")
    (sources / "go.mod").write_text("module traefik\n")
    lay_out_lego(lego, sources)
    found = {str(path.relative_to(sources / "lego")) for path in (sources / "lego").rglob("*.go")}
    assert found == {"challenge/provider.go", "providers/dns/dns.go"}
    assert "replace github.com/go-acme/lego/v5 => ./lego" in (sources / "go.mod").read_text().splitlines()


@pytest.mark.parametrize(
    ("seconds", "outcome", "expected"),
    [
        pytest.param(0.04, "", "   0.0 s  Build kube", id="done at once"),
        pytest.param(329.9, "", " 329.9 s  Build kube", id="done after minutes"),
        pytest.param(12.3, "failed", "  12.3 s  Build kube  failed", id="failed"),
    ],
)
def test_a_step_as_it_is_shown(seconds: float, outcome: str, expected: str) -> None:
    assert line("Build kube", seconds, outcome) == expected
