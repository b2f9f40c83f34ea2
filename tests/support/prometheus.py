"""A real Prometheus on loopback, which scrapes Pods through the API server and evaluates the chart's alerts."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

import chart
from deploy.kind import debian
from operated import free_port

Object = dict[str, Any]

WITHIN = 60.0


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its API."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """The values of an instant query, by Pod."""
        found = self.get("query", query=expression)["result"]
        return {each["metric"].get("pod", ""): float(each["value"][1]) for each in found}

    def until(self, expression: str, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """What a query gives, once that holds."""
        deadline = time.monotonic() + WITHIN
        while not holds(found := self.query(expression)):
            assert time.monotonic() < deadline, f"not within {WITHIN} s: {expression}, at last {found}"
            time.sleep(0.2)
        return found


@contextmanager
def scraping(where: Path, kubeconfig: Path, namespace: str, pods: dict[str, int]) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the ports of these Pods every second, ended with the block."""
    debian.ensure_programs({"prometheus": "prometheus"})
    address = f"127.0.0.1:{free_port()}"
    (where / "prometheus.yml").write_text(yaml.safe_dump(_config(where, kubeconfig, namespace, pods)))
    command = (
        "prometheus",
        f"--config.file={where}/prometheus.yml",
        f"--storage.tsdb.path={where}/data",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    with subprocess.Popen(command) as process:
        try:
            server = Prometheus(f"http://{address}")
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(20)


def _wait(found: Prometheus, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + WITHIN
    while True:
        assert process.poll() is None, "Prometheus has ended; it says why above"
        assert time.monotonic() < deadline, f"{found.url} does not answer"
        try:
            found.get("status/runtimeinfo")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return


def _config(where: Path, kubeconfig: Path, namespace: str, pods: dict[str, int]) -> Object:
    given = yaml.safe_load(kubeconfig.read_text())
    cluster, user = given["clusters"][0]["cluster"], given["users"][0]["user"]
    files = {
        "ca_file": cluster["certificate-authority-data"],
        "cert_file": user["client-certificate-data"],
        "key_file": user["client-key-data"],
    }
    for name, data in files.items():
        (where / name).write_bytes(base64.b64decode(data))
    scrapes = [
        {
            "job_name": pod,
            "scheme": "https",
            "metrics_path": f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics",
            "honor_labels": True,
            "tls_config": {name: str(where / name) for name in files},
            "static_configs": [
                {
                    "targets": [cluster["server"].removeprefix("https://")],
                    "labels": {"pod": pod, "namespace": namespace, "instance": pod},
                }
            ],
        }
        for pod, port in pods.items()
    ]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(chart.CHART / "alerts.yaml")],
        "scrape_configs": scrapes,
    }
