"""The repository of `spec.workspace.git`, cloned into the workspace by the Pod's init container.

The credential stays in this process's environment. Git asks a helper for it that is set for the repository's own host
only: it is in no URL, argument or file, and no host that a redirect leads to gets it. Git runs without configuration,
templates and hooks of whoever made the image, and asks nobody.
"""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from agentjob_api.handed import Git
from agentjob_api.names import ENV_GIT_PREFIX
from agentjob_api.reasons import Reason
from agentjob_runner.ending import GiveUpError

PATIENCE = 900.0
"""Seconds that all of it may take. Besides, git gives up a transfer of less than 1,000 bytes a second for a minute."""
KEPT = 65_536
"""Bytes of git's stderr that are kept, to take the credential out of them whole."""
LAST_WORDS = 2_000
"""Characters of that which become part of the message."""
SHORTEST_TOKEN = 8
"""Characters; a username of fewer is a name, and not taken out of git's words."""

USERNAME = f"{ENV_GIT_PREFIX}username"
PASSWORD = f"{ENV_GIT_PREFIX}password"
ANY_NAME = "git"
"""The username where the Secret has none: with a token, hosts do not look at it."""
PASSED_ON = re.compile(r"(https?|all|no)_proxy|PATH|(GIT_)?SSL_(CAINFO|CERT_FILE|CERT_DIR)", re.IGNORECASE)
"""Variables of the container that git may see."""

_HELPER = f"""!f() {{ [ "$1" = get ] && printf 'username=%s\\npassword=%s\\n' "${USERNAME}" "${PASSWORD}"; }}; f"""
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class _GitError(Exception):
    """Git failed; the message is its own, without the credential."""


def clone(source: Git, workspace: Path, environment: Mapping[str, str], patience: float = PATIENCE) -> None:
    """Clone a repository into the empty workspace, with `ref` (branch, tag or commit) checked out.

    Raises:
        GiveUpError: with git's own words.
    """
    with tempfile.TemporaryDirectory() as home:
        git = _Git(source["url"], workspace, _environment(environment, home), time.monotonic() + patience)
        try:
            _clone(git, source)
        except _GitError as error:
            raise GiveUpError(
                Reason.WORKSPACE_ERROR, f"spec.workspace.git: cannot clone {source['url']}: {error}"
            ) from error


def _clone(git: "_Git", source: Git) -> None:
    depth = ("--depth", str(source["depth"])) if "depth" in source else ()
    cloning = ("clone", "--quiet", "--template=", *depth)
    url, ref = source["url"], source.get("ref")
    if ref is None:
        git(*cloning, "--", url, ".")
    elif _WHOLE_COMMIT.fullmatch(ref):
        git(*cloning, "--no-checkout", "--", url, ".")
        try:
            git("switch", "--quiet", "--detach", ref)
        except _GitError:  # beyond the depth, or on no branch
            git("fetch", "--quiet", *depth, "--", "origin", ref)
            git("switch", "--quiet", "--detach", ref)
    else:
        try:
            git(*cloning, "--branch", ref, "--", url, ".")
        except _GitError:
            if not _COMMIT.fullmatch(ref) or "depth" in source:
                raise
            git(*cloning, "--no-checkout", "--", url, ".")
            git("switch", "--quiet", "--detach", ref)


def _environment(outer: Mapping[str, str], home: str) -> dict[str, str]:
    passed_on = {name: value for name, value in outer.items() if PASSED_ON.fullmatch(name)}
    # A newline at the end comes from how the Secret was made; a credential holds none.
    credential = {name: outer[name].rstrip("\r\n") for name in (USERNAME, PASSWORD) if name in outer}
    if credential:
        credential = {USERNAME: ANY_NAME, PASSWORD: ""} | credential
    return (
        passed_on
        | credential
        | {
            "HOME": home,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }
    )


class _Git:
    """Runs git in the workspace, until a deadline for all calls together."""

    def __init__(self, url: str, workspace: Path, environment: dict[str, str], deadline: float) -> None:
        self._workspace = workspace
        self._environment = environment
        self._deadline = deadline
        settings = {
            "safe.directory": "*",  # the workspace belongs to root, the runner is not root
            "core.hooksPath": os.devnull,
            "protocol.allow": "never",
            "protocol.http.allow": "always",
            "protocol.https.allow": "always",
            "http.lowSpeedLimit": "1000",
            "http.lowSpeedTime": "60",
        }
        if PASSWORD in environment:
            scheme, host = urlsplit(url)[:2]
            settings[f"credential.{scheme}://{host}.helper"] = _HELPER
        self._command = ["git", *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]

    def __call__(self, *arguments: str) -> None:
        """Run one command; raises _GitError."""
        process = subprocess.Popen(  # noqa: S603 - no shell, and what a person wrote stands behind `--`
            [*self._command, *arguments],
            cwd=self._workspace,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), _kill, (process.pid,))
        timer.start()
        with process:
            words = self._last_words(process)
        timer.cancel()
        if time.monotonic() >= self._deadline:
            raise _GitError("it took too long")
        if process.returncode:
            raise _GitError(words or f"git exited with {process.returncode}")

    def _last_words(self, process: "subprocess.Popen[bytes]") -> str:
        assert process.stderr is not None
        tail = b""
        while chunk := os.read(process.stderr.fileno(), KEPT):
            tail = (tail + chunk)[-KEPT:]
        return self._redacted(tail.decode("utf-8", "replace").strip())[-LAST_WORDS:]

    def _redacted(self, words: str) -> str:
        name, password = self._environment.get(USERNAME, ""), self._environment.get(PASSWORD, "")
        secrets = {password, quote(password, safe=""), b64encode(f"{name}:{password}".encode()).decode()}
        if len(name) >= SHORTEST_TOKEN:
            secrets.add(name)
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            words = words.replace(secret, "***")
        return words


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
