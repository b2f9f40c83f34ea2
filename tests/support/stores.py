"""Object stores to test on: a real S3 server on loopback, and a store that fails when a test wants it to."""

import asyncio
import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentjob_gateway.archive import Found, Store
from deploy.kind import golang, lock
from deploy.kind.cache import Cache
from deploy.kind.checkout import Checkout

CHECKOUT = Checkout(Path(__file__).parents[2])
BUILD_SECONDS = golang.BUILD_SECONDS
"""For the S3 server, when nothing of it is cached."""
BUCKET = "lines"
WITHIN = 20.0


class S3:
    """A server with one empty bucket."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / BUCKET).mkdir(parents=True)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self.secret = secrets.token_hex(16)
        self.environment = {
            "AWS_ACCESS_KEY_ID": "agentjob",
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }
        """As the archive's own tools read it."""

    @contextmanager
    def running(self, program: Path) -> Iterator[None]:
        """The server, ended with the block."""
        command = (program, "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", self._root)
        keys = {"ROOT_ACCESS_KEY": "agentjob", "ROOT_SECRET_KEY": self.secret}
        with subprocess.Popen(
            command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                self._wait(server)
                yield
            finally:
                server.terminate()
                server.wait(WITHIN)

    def _wait(self, server: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + WITHIN
        while True:
            assert server.poll() is None, f"the S3 server has ended with {server.returncode}"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, f"no S3 server within {WITHIN} s"
                time.sleep(0.02)
            else:
                return


@contextmanager
def s3(root: Path) -> Iterator[S3]:
    """A real S3 server over a directory."""
    with lock.alone(CHECKOUT.state / "lock", "Waiting for another command on this checkout"):
        program = golang.built(golang.VERSITYGW, Cache(CHECKOUT.cache))
    found = S3(root)
    with found.running(program):
        yield found


Fault = Callable[[str, str], Exception | None]
"""What goes wrong with a call, by its name and path; None lets it through."""


class Unreliable:
    """A store between the archive and a real one, in which a test lets things go wrong, and looks at what was asked."""

    def __init__(self, store: Store) -> None:
        self.fault: Fault = lambda _, __: None
        self.done: list[str] = []
        """Every object that was written so far, as `put` and its path below the job's, and every `list` of jobs."""
        self._store = store
        self._begun: list[asyncio.Future[object]] = []

    async def put_async(self, path: str, file: bytes | AsyncIterator[bytes], *, use_multipart: bool) -> object:
        self._check("put", path)
        begun = asyncio.ensure_future(self._store.put_async(path, file, use_multipart=use_multipart))
        self._begun.append(begun)
        done = await asyncio.shield(begun)  # what is on its way arrives, whatever becomes of who sent it
        self._note("put", path)
        return done

    async def settled(self) -> None:
        """Returns once all that was sent has arrived, that of writers that were killed too."""
        await asyncio.gather(*self._begun, return_exceptions=True)
        self._begun.clear()

    async def get_async(self, path: str) -> Found:
        self._check("get", path)
        return await self._store.get_async(path)

    async def delete_async(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._check("delete", path)
        await self._store.delete_async(paths)

    def list(self, prefix: str) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        self._check("list", prefix)
        return self._store.list(prefix)

    async def list_with_delimiter_async(self, prefix: str) -> Mapping[str, Any]:
        self._check("list", prefix)
        found = await self._store.list_with_delimiter_async(prefix)
        self._note("list", prefix)
        return found

    def _check(self, call: str, path: str) -> None:
        if (error := self.fault(call, path)) is not None:
            raise error

    def _note(self, call: str, path: str) -> None:
        self.done.append(f"{call} {'/'.join(path.split('/')[3:])}".strip())
