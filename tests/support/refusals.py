"""What a gateway refuses of a request, as a client of the proxy before it is told."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Refusal(NamedTuple):
    """A request that is refused."""

    size: int
    """Letters of its prompt."""
    options: tuple[str, ...]
    """More words for curl. A header in them takes the place of the one that would be sent."""
    status: int


LARGE = 5_000_000
REFUSALS = [
    pytest.param(Refusal(10, ("-H", "Authorization: Bearer x"), 401), id="an unknown key"),
    pytest.param(Refusal(1_100_000, (), 413), id="a body that is a little too large"),
    pytest.param(Refusal(LARGE, ("-H", "Expect:"), 413), id="one that is much too large, sent without asking"),
    pytest.param(Refusal(LARGE, ("-H", "Transfer-Encoding: chunked"), 413), id="one whose size is not said before"),
]


def is_told(refusal: Refusal, url: str, headers: Mapping[str, str], directory: Path) -> None:
    """Asserts that a submit with curl gets the gateway's own answer. The directory is for the body."""
    body = directory / "body"
    body.write_text(json.dumps({"prompt": "x" * refusal.size}))
    sent = {"Content-Type": "application/json", **headers}
    kept = (f"{name}: {value}" for name, value in sent.items() if f"{name}:" not in "".join(refusal.options))
    words = (*(word for header in kept for word in ("-H", header)), *refusal.options)
    command = ("curl", "-sS", "-i", "--max-time", "60", f"{url}/claude", "--data-binary", f"@{body}", *words)
    told = subprocess.run(command, capture_output=True, text=True, timeout=70, check=True).stdout
    *_, head, answer = told.replace("\r\n", "\n").split("\n\n")
    problem: dict[str, Any] = json.loads(answer)
    assert head.startswith(f"HTTP/1.1 {refusal.status} ")
    assert "application/problem+json" in head
    assert "x-request-id" in head.lower()
    assert problem["status"] == refusal.status
