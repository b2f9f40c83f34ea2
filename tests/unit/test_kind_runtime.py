"""The wrapper of runc takes out what needs CAP_SYS_RESOURCE, and only that, then becomes runc."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

WRAPPER = Path(__file__).parents[2] / "deploy/kind/runc-without-sysresource.sh"

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is installed where the wrapper is used")

Runc = Callable[..., str]

PROCESS = {
    "args": ["/sbin/init"],
    "oomScoreAdj": -999,
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 1048576}],
    "capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"], "effective": ["CAP_SYS_RESOURCE"]},
}
REDUCED = {"args": ["/sbin/init"], "capabilities": {"bounding": ["CAP_SYS_ADMIN"], "effective": []}}


@pytest.fixture
def runc(tmp_path: Path) -> Runc:
    """Runs the wrapper over a runc that tells how it was called."""
    fake = tmp_path / "bin/runc"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$*"\n')
    fake.chmod(0o755)

    def run(*words: str) -> str:
        path = f"{fake.parent}:{os.environ['PATH']}"
        ended = subprocess.run(
            [WRAPPER, *words], env={"PATH": path}, capture_output=True, text=True, check=True, timeout=20
        )
        return ended.stdout.strip()

    return run


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_container_starts_without_what_cannot_be_granted(tmp_path: Path, runc: Runc, verb: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"ociVersion": "1.0.2", "process": PROCESS}))
    assert runc("--log", "/x", verb, "--bundle", str(tmp_path), "id") == f"--log /x {verb} --bundle {tmp_path} id"
    assert json.loads(config.read_text()) == {"ociVersion": "1.0.2", "process": REDUCED}


def test_so_does_a_process_in_a_running_container(tmp_path: Path, runc: Runc) -> None:
    process = tmp_path / "process.json"
    process.write_text(json.dumps(PROCESS))
    runc("exec", "--process", str(process), "id")
    assert json.loads(process.read_text()) == REDUCED


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        pytest.param({"oomScoreAdj": 500}, {"oomScoreAdj": 500}, id="a score that anybody may set stays"),
        pytest.param({"args": ["run"]}, {"args": ["run"]}, id="what asks for nothing stays as it is"),
    ],
)
def test_what_anybody_may_have_stays(
    tmp_path: Path, runc: Runc, process: dict[str, object], expected: dict[str, object]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"process": process}))
    runc("create", "--bundle", str(tmp_path), "id")
    assert json.loads((tmp_path / "config.json").read_text())["process"] == expected


@pytest.mark.parametrize("words", [("state", "id"), ("delete", "--force", "id"), ("exec", "id", "run"), ("--version",)])
def test_all_other_calls_go_to_runc_as_they_are(runc: Runc, words: tuple[str, ...]) -> None:
    assert runc(*words) == " ".join(words)
