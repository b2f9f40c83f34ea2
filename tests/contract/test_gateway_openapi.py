"""The running gateway on a real cluster keeps to its own description, whatever it is sent.

No operator serves the namespace: jobs that are made stay as they are.
"""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import hypothesis
import pytest
import schemathesis
from _pytest.mark import ParameterSet
from hypothesis import HealthCheck
from schemathesis import Case, CheckContext, Response
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from agentjob_gateway.caller import Role
from agentjob_gateway.keyring import RANDOM_BYTES, SECRET_BYTES, SIGNING_KEY, Terms, mint
from agentjob_gateway.openapi import document
from agentjob_gateway.routes import CLAUDE, V1
from clients import CLUSTER, cluster_namespace
from operated import free_port

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Gateway:
    url: str
    key: str


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    with cluster_namespace("doors") as name:
        yield name


@pytest.fixture(scope="session")
def gateway(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`python -m agentjob_gateway`, ended with the suite."""
    home = tmp_path_factory.mktemp("gateway")
    terms = Terms(name="fuzz", namespace=namespace, role=Role.ADMIN, requests_per_minute=1_000_000)
    minted = mint(terms, datetime.now(UTC), token_bytes(RANDOM_BYTES))
    (home / minted.key.file).write_bytes(minted.key.document())
    (home / SIGNING_KEY).write_bytes(base64.b64encode(token_bytes(SECRET_BYTES)))
    ports = {"port": free_port(), "metricsPort": free_port()}
    config = home / "config"
    config.write_text(json.dumps({"namespaces": [namespace], "keysDirectory": str(home), "drainSeconds": 0, **ports}))
    command = (sys.executable, "-W", "error", "-m", "agentjob_gateway", "--config", str(config))
    environment = {**os.environ, "KUBECONFIG": str(CLUSTER / "kubeconfig")}
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            until_ready(f"http://127.0.0.1:{ports['metricsPort']}/readyz", home / "log")
            yield Gateway(f"http://127.0.0.1:{ports['port']}", minted.text)
        finally:
            process.terminate()
    assert b"Traceback" not in (home / "log").read_bytes(), (home / "log").read_text()


def until_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urlopen(url, timeout=5):
                return
        except URLError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


DESCRIBED = document((*CLAUDE, *V1))
Check = Callable[[CheckContext, Response, Case[Any]], bool | None]
BEYOND_SCHEMAS: list[Check] = [positive_data_acceptance]
"""The API server's rules over several fields are more than a schema can say: it may refuse what fits the schema."""
SILENT_END = "/claude/stream"
"""Its answers go on until a job ends, and here none does."""


def operations() -> Iterator[ParameterSet]:
    for found in schemathesis.openapi.from_dict(DESCRIBED).exclude(path=SILENT_END).get_all_operations():
        assert isinstance(found, Ok), found
        yield pytest.param(found.ok(), id=found.ok().label)


@pytest.mark.parametrize("operation", list(operations()))
def test_every_answer_is_one_that_is_described(operation: APIOperation[Any, Any, Any, Any], gateway: Gateway) -> None:
    @hypothesis.settings(
        max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(operation.as_strategy())
    def ask(case: Case[Any]) -> None:
        headers = {"Authorization": f"Bearer {gateway.key}"}
        case.call_and_validate(base_url=gateway.url, headers=headers, timeout=20, excluded_checks=BEYOND_SCHEMAS)

    ask()


def test_the_gateway_shows_its_description_to_everybody(gateway: Gateway) -> None:
    with urlopen(f"{gateway.url}/openapi.json", timeout=5) as answer:
        assert json.load(answer) == DESCRIBED
    with urlopen(f"{gateway.url}/docs", timeout=5) as answer:
        page = answer.read().decode()
    assert all(path in page for path in DESCRIBED["paths"])
    assert set(re.findall(r'(?:src|href)="([^"#]*)', page)) <= {"", "/openapi.json"}
