"""The handover's two descriptions, the operator's and the runner's, are of the same JSON."""

import json
from pathlib import Path
from typing import Any, is_typeddict

import pytest

from agentjob_api import handed, handover
from agentjob_api.handover import Handover
from agentjob_api.model import Resource
from agentjob_api.spec import AgentSpec, GitSource, HeaderSource, McpServer

PAIRS: list[tuple[type[Resource], Any]] = [
    (Handover, handed.Handed),
    (AgentSpec, handed.Agent),
    (McpServer, handed.Server),
    (HeaderSource, handed.Header),
    (GitSource, handed.Git),
]
REF = {"name": "tokens", "key": "k"}


@pytest.mark.parametrize(("written", "read"), [pytest.param(*pair, id=pair[0].__name__) for pair in PAIRS])
def test_the_runner_knows_every_field_and_which_may_be_missing(written: type[Resource], read: Any) -> None:
    assert is_typeddict(read)
    fields = {field.alias: field for field in written.model_fields.values()}
    assert set(fields) == set(read.__annotations__)
    may_be_missing = {alias for alias, field in fields.items() if field.default is None and not field.is_required()}
    assert may_be_missing == set(read.__optional_keys__)


def test_the_runner_reads_what_the_operator_writes(tmp_path: Path) -> None:
    agent = AgentSpec.model_validate(
        {
            "mcpServers": {
                "zoo": {
                    "type": "http",
                    "url": "http://zoo",
                    "headersFrom": [{"name": "A", "secretKeyRef": REF}, {"name": "B", "secretKeyRef": REF}],
                },
                "art": {"type": "http", "url": "http://art", "headersFrom": [{"name": "C", "secretKeyRef": REF}]},
            }
        }
    )
    job = Handover(namespace="n", job="j", uid="u", attempt=2, prompt="ä", agent=agent, files={"a": "b"})
    (tmp_path / "handover.json").write_text(job.to_annotation())

    found = handed.read(tmp_path / "handover.json")

    assert found == json.loads(job.to_annotation())
    assert (found["prompt"], found["attempt"], found["files"]) == ("ä", 2, {"a": "b"})
    assert [tuple(header) for header in handed.secret_headers(found["agent"])] == [
        tuple(header[:3]) for header in handover.secret_headers(agent)
    ]
