"""Who comes in, and what they may do: API keys from a directory, Kubernetes users by the cluster's word."""

import base64
import binascii
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from agentjob_api.names import GROUP, PLURAL
from agentjob_gateway.caller import Caller, Limits, Verb, permits
from agentjob_gateway.keyring import PREFIX, SECRET_BYTES, SIGNING_KEY, Keyring, not_valid, parse
from agentjob_gateway.tokens import Recent, Reviews, Tokens
from agentjob_kube.resources import SUBJECT_ACCESS_REVIEWS

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the directory has changed, at most."""
MAX_FILES: Final = 1_000
MAX_FILE_BYTES: Final = 16 * 1024
MAX_RIGHTS: Final = 10_000
"""Answers about Kubernetes users' rights that are remembered."""

_VERSION: Final = "..data"
"""A volume's link to its current files: the kubelet writes them beside, then swaps it, so that all change at once
(https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/volume/util/atomic_writer.go)."""
log = logging.getLogger(__name__)


class KeyDirectory:
    """The keys in a directory, such as the mount of a Secret; read again when that has changed, at the next question.

    What cannot be read leaves what was known. Files beyond MAX_FILES, and longer ones than MAX_FILE_BYTES, are left
    out. Each change that brings something wrong is logged once.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._look_at = float("-inf")
        self._seen: object = None
        self._complaint = ""
        self._keyring = Keyring()
        self._signing_key: bytes | None = None

    def keyring(self) -> Keyring:
        """The keys as they stand; none without a directory."""
        self._refresh()
        return self._keyring

    def signing_key(self) -> bytes | None:
        """The 32 bytes that sign tickets; None where there are none."""
        self._refresh()
        return self._signing_key

    def _refresh(self) -> None:
        if self._path is None or self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LOOK_SECONDS
        try:
            if (seen := _version(self._path)) != self._seen:
                self._take(*_read(self._path))
                self._seen = seen
        except OSError as error:
            complaint = f"{error.filename or self._path}: {error.strerror}"
            if complaint != self._complaint:
                log.warning("The API keys cannot be read, those known are kept: %s", complaint)
            self._complaint = complaint
            return
        self._complaint = ""

    def _take(self, files: dict[str, bytes], left_out: list[str]) -> None:
        self._keyring, complaints = parse(files)
        self._signing_key = _secret(files.get(SIGNING_KEY))
        if SIGNING_KEY in files and self._signing_key is None:
            left_out.append(f"{SIGNING_KEY}: expected {SECRET_BYTES} bytes as base64")
        log.info("Read %d API keys", len(self._keyring.keys))
        for complaint in (*left_out, *complaints):
            log.warning("Left out of the API keys: %s", complaint)


def _base(directory: Path) -> Path:
    """Where the files of the current version are."""
    link = directory / _VERSION
    return directory / link.readlink() if link.is_symlink() else directory


def _version(directory: Path) -> object:
    """Something that is another when the files have changed."""
    if (base := _base(directory)) != directory:
        return base
    found = [(entry.name, entry.stat()) for entry in directory.iterdir()]
    return sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def _read(directory: Path) -> tuple[dict[str, bytes], list[str]]:
    """Files by name, all of one version, and what is left out."""
    paths = sorted(path for path in _base(directory).iterdir() if path.is_file())
    complaints = [f"{len(paths) - MAX_FILES} files, of more than {MAX_FILES}"] if len(paths) > MAX_FILES else []
    files: dict[str, bytes] = {}
    for path in paths[:MAX_FILES]:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            complaints.append(f"{path.name}: longer than {MAX_FILE_BYTES} bytes")
        else:
            files[path.name] = content
    return files, complaints


def _secret(content: bytes | None) -> bytes | None:
    try:
        found = base64.b64decode((content or b"").strip(), validate=True)
    except binascii.Error:
        return None
    return found if len(found) == SECRET_BYTES else None


@dataclass(frozen=True, kw_only=True)
class Authenticator:
    """Tells who comes with a credential."""

    keys: KeyDirectory
    tokens: Tokens | None
    """None where Kubernetes tokens are not taken."""
    limits: Limits
    """Of a key that has none of its own."""
    clock: Callable[[], datetime]

    async def caller(self, credential: str) -> Caller:
        """Who comes with what follows `Bearer `.

        Raises:
            Unauthenticated: the credential does not hold; why is not told.
            Unavailable: it is a Kubernetes token, and the cluster cannot be asked.
        """
        if credential.startswith(PREFIX):
            return self.keys.keyring().caller(credential, self.clock(), self.limits)
        if self.tokens is None:
            raise not_valid()
        return await self.tokens.caller(credential)

    def check_known(self, caller: Caller) -> None:
        """Holds whoever comes with what was given to them earlier against the API keys that there are now.

        What a Kubernetes user may do, the cluster is asked at each request.

        Raises:
            Unauthenticated: they had an API key, and no such key is taken any more.
        """
        if caller.role is not None and not self.keys.keyring().knows(caller, self.clock()):
            raise not_valid()


class Gate:
    """Tells what a caller may do."""

    def __init__(self, reviews: Reviews, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviews = reviews
        self._recent: Recent[tuple[object, ...], bool] = Recent(MAX_RIGHTS, clock)

    async def allows(self, caller: Caller, verb: Verb, namespace: str, *, is_own: bool = False) -> bool:
        """Whether the caller may do this with jobs of a namespace, or with one that they made themselves.

        An API key reaches its own namespace, as far as its role goes. Of a Kubernetes user the cluster is asked, for
        which it makes no difference whose a job is.

        Raises:
            Unavailable: the cluster cannot be asked.
        """
        if caller.role is not None:
            return caller.namespace == namespace and permits(caller.role, verb, is_own=is_own)
        key = (caller.username, caller.uid, caller.groups, caller.extra, verb, namespace)
        return await self._recent.answer(key, partial(self._review, caller, verb, namespace))

    async def _review(self, caller: Caller, verb: Verb, namespace: str) -> bool:
        attributes = {"group": GROUP, "resource": PLURAL, "verb": verb.value, "namespace": namespace}
        spec = {"user": caller.username, "groups": list(caller.groups), "resourceAttributes": attributes}
        if caller.uid:
            spec["uid"] = caller.uid
        if caller.extra:
            spec["extra"] = {name: list(values) for name, values in caller.extra}
        return (await self._reviews.status(SUBJECT_ACCESS_REVIEWS, spec)).get("allowed") is True
