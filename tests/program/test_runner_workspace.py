"""The init container: a repository is cloned into the workspace, and its credential is seen by nobody."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentjob_api.reasons import Reason
from agentjob_runner import git
from agentjob_runner.ending import GiveUpError
from git_over_http import Repository, made, served
from runner_process import NO_MODEL, Job, Runner, ran

CREDENTIAL = {"AGENTJOB_GIT_username": "robot", "AGENTJOB_GIT_password": "hunter2 $(id) 'ä'"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with served(made(tmp_path_factory.mktemp("git") / "project")) as repository:
        yield repository


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Repository]:
    """One that asks for the credential."""
    credential = ":".join(CREDENTIAL.values())
    with served(made(tmp_path / "locked"), credential) as repository:
        yield repository


async def cloned(tmp_path: Path, source: dict[str, Any], **environment: str) -> Runner:
    return await ran(Job(git=source, environment=environment), tmp_path, NO_MODEL, "workspace")


def head(runner: Runner) -> str:
    return Repository(runner.workspace).git("-c", "safe.directory=*", "rev-parse", "HEAD")


REFS = {
    "the default branch": (None, "main"),
    "a branch": ("feature", "feature"),
    "a tag": ("v1", "v1"),
    "a commit": ("{feature}", "feature"),
    "an old commit": ("{first}", "first"),
    "a commit that no branch leads to": ("{hidden}", "hidden"),
}
WHOLE = [pytest.param(*named, None, id=what) for what, named in REFS.items()]
SHALLOW = [pytest.param(*named, 1, id=f"{what}, shallow") for what, named in REFS.items()]
SHORT = pytest.param("{v1:.9}", "v1", None, id="a commit in short")


@pytest.mark.parametrize(("ref", "commit", "depth"), [*WHOLE, *SHALLOW, SHORT])
async def test_what_ref_names_is_checked_out(
    repository: Repository, tmp_path: Path, ref: str | None, commit: str, depth: int | None
) -> None:
    source: dict[str, Any] = {"url": repository.url}
    if ref:
        source["ref"] = ref.format(**repository.commits)
    if depth:
        source["depth"] = depth

    runner = await cloned(tmp_path, source)

    assert runner.process.returncode == 0, runner.errors.decode()
    assert head(runner) == repository.commits[commit]
    assert (runner.workspace / commit).read_text() == f"{commit}\n"
    count = Repository(runner.workspace).git("-c", "safe.directory=*", "rev-list", "--count", "HEAD")
    assert (int(count) == 1) is (depth == 1 or commit == "first")
    assert not (tmp_path / "termination-log").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param({"ref": "nope"}, "Remote branch nope not found in upstream origin", id="no such ref"),
        pytest.param({"ref": "abcdef123"}, "invalid reference: abcdef123", id="no such commit"),
        pytest.param({"ref": "f" * 40}, f"not our ref {'f' * 40}", id="no such commit, whole"),
        pytest.param(
            {"ref": "abcdef123", "depth": 1}, "Remote branch abcdef123 not found", id="a commit in short, shallow"
        ),
        pytest.param({"url": "http://127.0.0.1:9/none"}, "127.0.0.1 port 9", id="no such server"),
        pytest.param({"url": "{url}-not"}, "not found", id="no such repository"),
    ],
)
async def test_what_fails_is_told_in_gits_own_words(
    repository: Repository, tmp_path: Path, source: dict[str, Any], words: str
) -> None:
    source = {"url": repository.url} | source
    source["url"] = source["url"].format(url=repository.url)

    runner = await cloned(tmp_path, source)

    assert runner.process.returncode == 1
    assert runner.outcome.reason is Reason.WORKSPACE_ERROR
    assert runner.outcome.message.startswith(f"spec.workspace.git: cannot clone {source['url']}: ")
    assert words in runner.outcome.message
    assert words in runner.errors.decode()
    assert runner.raw == []


async def test_a_credential_opens_the_repository_and_stays_out_of_it(locked: Repository, tmp_path: Path) -> None:
    with_newline = {name: value + "\n" for name, value in CREDENTIAL.items()}

    runner = await cloned(tmp_path, {"url": locked.url, "secretRef": "git"}, **with_newline)

    assert runner.process.returncode == 0, runner.errors.decode()
    assert locked.seen[0] == ""
    assert locked.seen[-1].startswith("Basic ")
    for path in (runner.workspace / ".git").rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()
    assert list((tmp_path / "home").iterdir()) == list((tmp_path / "tmp").iterdir()) == []


async def test_a_credential_that_is_refused_is_not_told(locked: Repository, tmp_path: Path) -> None:
    wrong = {"AGENTJOB_GIT_username": "a-long-token-as-name", "AGENTJOB_GIT_password": "wrong-s3cret"}

    runner = await cloned(tmp_path, {"url": locked.url, "secretRef": "git"}, **wrong)

    assert runner.outcome.reason is Reason.WORKSPACE_ERROR
    assert "Authentication failed" in runner.outcome.message
    told = runner.outcome.message + runner.errors.decode()
    assert "s3cret" not in told
    assert "a-long-token-as-name" not in told


async def test_without_a_credential_nobody_is_asked_for_one(locked: Repository, tmp_path: Path) -> None:
    runner = await cloned(tmp_path, {"url": locked.url})

    assert runner.outcome.reason is Reason.WORKSPACE_ERROR
    assert "terminal prompts disabled" in runner.outcome.message


async def test_a_password_alone_is_a_token(tmp_path: Path) -> None:
    with served(made(tmp_path / "locked"), "git:token") as repository:
        runner = await cloned(tmp_path, {"url": repository.url, "secretRef": "git"}, AGENTJOB_GIT_password="token")

    assert runner.process.returncode == 0, runner.errors.decode()


async def test_a_redirect_to_another_host_does_not_get_the_credential(locked: Repository, tmp_path: Path) -> None:
    gate = Repository(locked.path)
    with served(gate, redirect_to=locked.url.rpartition("/")[0]):
        runner = await cloned(tmp_path, {"url": gate.url, "secretRef": "git"}, **CREDENTIAL)

    assert runner.outcome.reason is Reason.WORKSPACE_ERROR
    assert set(locked.seen) == {""}


async def test_neither_templates_nor_hooks_nor_configuration_of_the_image_are_used(
    repository: Repository, tmp_path: Path
) -> None:
    hook = tmp_path / "home" / "templates" / "hooks" / "post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/taken-over\n")
    hook.chmod(0o755)
    (tmp_path / "home" / ".gitconfig").write_text(
        f"[init]\n\ttemplateDir = {hook.parents[1]}\n[core]\n\thooksPath = {hook.parent}\n"
        f'[url "http://127.0.0.1:9/"]\n\tinsteadOf = {repository.url}\n'
    )

    runner = await cloned(tmp_path, {"url": repository.url}, GIT_TEMPLATE_DIR=str(hook.parents[1]))

    assert runner.process.returncode == 0, runner.errors.decode()
    assert not (tmp_path / "taken-over").exists()
    assert not (runner.workspace / ".git" / "hooks").exists()


async def test_a_job_without_a_repository_has_nothing_to_clone(tmp_path: Path) -> None:
    runner = await ran(Job(prompt="Hello."), tmp_path, NO_MODEL, "workspace")

    assert runner.process.returncode == 0
    assert list(runner.workspace.iterdir()) == []


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/project"
        begin = time.monotonic()
        with pytest.raises(GiveUpError, match="it took too long"):
            git.clone({"url": url}, tmp_path, {"PATH": "/usr/bin:/bin"}, patience=1)

    assert time.monotonic() - begin < 5
