"""A git repository behind HTTP, with a password if wanted: git's own `http-backend` behind a small server.

As a program, `git_over_http.py NAME:PASSWORD` serves `/tmp/project` on port 8080 of every address.
"""

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.invalid"), ("DATE", "2026-01-01T00:00:00Z"))
}


@dataclass
class Repository:
    """A repository with the branches `main` and `feature`, the tag `v1`, and a commit that no branch leads to."""

    path: Path
    url: str = ""
    commits: dict[str, str] = field(default_factory=dict)
    """Commits by name: first, v1, main, feature, hidden. Each has a file of its name."""
    seen: list[str] = field(default_factory=list)
    """The Authorization headers of all requests, empty strings where there was none."""

    def git(self, *arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **AUTHOR}
        ran = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, check=True, capture_output=True, text=True
        )
        return ran.stdout.strip()

    def commit(self, name: str) -> None:
        (self.path / name).write_text(f"{name}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", name)
        self.commits[name] = self.git("rev-parse", "HEAD")


def made(path: Path) -> Repository:
    """A repository in a new directory."""
    path.mkdir()
    repository = Repository(path)
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    for name in ("first", "v1"):
        repository.commit(name)
    repository.git("tag", "v1")
    repository.commit("main")
    repository.git("checkout", "--quiet", "-b", "feature", "v1")
    repository.commit("feature")
    repository.git("checkout", "--quiet", "--detach", repository.commits["first"])
    repository.commit("hidden")
    repository.git("checkout", "--quiet", "main")
    return repository


class Server(ThreadingHTTPServer):
    """Serves one repository, on a free port of 127.0.0.1 if no other address is given."""

    def __init__(
        self, repository: Repository, credential: str, redirect_to: str, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        super().__init__(address, Handler)
        self.repository = repository
        self.credential = credential
        self.redirect_to = redirect_to


class Handler(BaseHTTPRequestHandler):
    """One request of git's."""

    server: Server

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.server.repository.seen.append(given)
        if self.server.redirect_to:
            self._answer(302, {"Location": self.server.redirect_to + self.path})
        elif self.server.credential and given != _basic(self.server.credential):
            self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._backend()

    do_POST = do_GET  # noqa: N815 - as the base class wants it

    def _backend(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # It fails where a commit is not there, and has told the client so.
        ran = subprocess.run(
            ["git", "http-backend"], input=body, check=False, capture_output=True, env=self._environment()
        )
        head, _, content = ran.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self._answer(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _environment(self) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.repository.path.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }

    def _answer(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _basic(credential: str) -> str:
    return "Basic " + base64.b64encode(credential.encode()).decode()


@contextmanager
def served(repository: Repository, credential: str = "", redirect_to: str = "") -> Iterator[Repository]:
    """Serve it; `credential` is `name:password`, `redirect_to` the address of another server."""
    with Server(repository, credential, redirect_to) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            repository.url = f"http://127.0.0.1:{server.server_port}/{repository.path.name}"
            yield repository
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    Server(made(Path("/tmp/project")), sys.argv[1], "", ("0.0.0.0", 8080)).serve_forever()
