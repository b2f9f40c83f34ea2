"""The archive: every job's lines in an object store, where they stay as long as their job does.

Whatever is written here can be written again, and by several at once: see archive_keys.py. Each call answers in a
bounded time or raises an `ArchiveError`; whoever calls tries again.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import obstore.store
from obstore.exceptions import BaseError

from agentjob_api import lines
from agentjob_api.lines import Line
from agentjob_gateway import archive_keys
from agentjob_gateway.archive_frames import Unpacker
from agentjob_gateway.archive_keys import Kept, Part, Span
from agentjob_gateway.history import ArchiveError, DamagedError
from agentjob_gateway.reading import Gap

SECONDS: Final = 30.0
"""How long a call may take, beside the time for its bytes."""
SLOWEST: Final = 1024 * 1024
"""Bytes a second in which the store is to take an object at least."""
CHUNK: Final = 5 * 1024 * 1024
"""An object of more bytes is written in several requests; the least that S3 takes for one of them."""
READ_BYTES: Final = 64 * 1024
"""About how much is read at once, compressed."""
TRIES: Final = 3
"""How often reading begins anew when what was to be read has been sealed meanwhile."""
RETRY: Final[Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=SECONDS / 2)}
"""What the store's client tries by itself."""
MAX_WORDS: Final = 300
_ERROR: Final = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
"""What matters of an answer of S3 or Azure. Beside it stand what was signed, and with what."""


class _GoneError(ArchiveError):
    """The object is not there (any more)."""


class Found(Protocol):
    """An object that is being read."""

    def stream(self, size: int, /) -> AsyncIterator[bytes]:
        """Its bytes, in pieces of about this size."""
        ...


class Store(Protocol):
    """What the archive uses of an obstore store; every method raises what obstore does."""

    async def put_async(self, path: str, file: bytes | AsyncIterator[bytes], *, use_multipart: bool) -> object:
        """Writes an object, whole or not at all."""
        ...

    async def get_async(self, path: str) -> Found:
        """An object; FileNotFoundError when there is none."""
        ...

    async def delete_async(self, paths: Sequence[str]) -> None:
        """Deletes objects; FileNotFoundError when one is not there, or nothing, as the store pleases."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """All objects below a prefix, some at a time: path, size, last_modified."""
        ...

    async def list_with_delimiter_async(self, prefix: str) -> Mapping[str, Any]:
        """The `common_prefixes` one level below a prefix."""
        ...


def opened(url: str) -> "Archive":
    """The archive at a URL: file:///directory, memory:///, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix.

    Credentials and endpoints of a cloud come from the environment, under obstore's names, which are not always those of
    the cloud's own tools: `archive.secretName` in the chart's values tells them.

    Raises:
        ArchiveError: there can be none.
    """
    try:
        if url.startswith("file:"):
            return Archive(obstore.store.from_url(url, mkdir=True, automatic_cleanup=True))
        if url.startswith("memory:"):
            return Archive(obstore.store.MemoryStore())
        return Archive(obstore.store.from_url(url, retry_config=RETRY))
    except (BaseError, OSError, ValueError) as error:
        raise ArchiveError(f"archive.url {url}: {words(error)}") from None


class Archive:
    """The objects of all jobs, in one store that nobody else writes to."""

    def __init__(self, store: Store, seconds: float = SECONDS) -> None:
        self._store = store
        self._seconds = seconds

    async def kept(self, namespace: str, uid: str) -> dict[int, Kept]:
        """What is kept of a job, by attempt."""
        prefix = archive_keys.job_prefix(namespace, uid)
        return archive_keys.kept(path.removeprefix(f"{prefix}/") for path in await self._objects(prefix))

    async def write(self, namespace: str, uid: str, part: Part) -> int:
        """Keeps a part; the bytes that it takes."""
        content = part.packed()
        await self._put(archive_keys.part_name(namespace, uid, part.attempt, part.span), content)
        return len(content)

    async def note_gaps(self, namespace: str, uid: str, attempt: int, gaps: Sequence[Gap]) -> None:
        """Keeps that lines of an attempt are lost, in place of what was said about it before."""
        path = archive_keys.gaps_name(namespace, uid, attempt)
        await (self._put(path, archive_keys.gaps_text(gaps)) if gaps else self._delete([path]))

    async def gaps(self, namespace: str, uid: str, attempt: int) -> tuple[Gap, ...]:
        """The lines of an attempt that are known to be lost."""
        content = b""
        async with aclosing(self._pieces(archive_keys.gaps_name(namespace, uid, attempt))) as pieces:
            async for piece in pieces:
                content += piece
        return archive_keys.gaps(attempt, content)

    async def last(self, namespace: str, uid: str, attempt: int) -> Line | None:
        """The last line that is kept of an attempt that is not sealed; None when there is none."""
        found = (await self.kept(namespace, uid)).get(attempt, Kept())
        last = max(found.parts, key=lambda span: span.last, default=None)
        if last is None or found.is_sealed:
            return None
        async with aclosing(self._lines_in(archive_keys.part_name(namespace, uid, attempt, last))) as read:
            return next(iter([line async for line in read if (line.attempt, line.seq) == (attempt, last.last)]), None)

    async def seal(self, namespace: str, uid: str, attempt: int) -> None:
        """Makes one object of an attempt that is over. What is sealed stays as it is.

        From then on those lines are said to be lost that are in no part, whatever a replica has lost by itself.
        """
        prefix = archive_keys.job_prefix(namespace, uid)
        sizes = await self._objects(prefix)
        names = (path.removeprefix(f"{prefix}/") for path in sizes)
        found = archive_keys.kept(names).get(attempt, Kept())
        parts = [archive_keys.part_name(namespace, uid, attempt, span) for span in found.parts]
        if parts and not found.is_sealed:
            noted = await self.gaps(namespace, uid, attempt) if found.has_gaps else ()
            if (lost := archive_keys.lost(attempt, found.parts, noted)) != noted:
                await self.note_gaps(namespace, uid, attempt, lost)
            size = sum(sizes[path] for path in parts)
            await self._put(archive_keys.sealed_name(namespace, uid, attempt), self._contents(parts), size)
        await self._delete(parts)

    async def lines(self, namespace: str, uid: str, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        """The lines of an attempt whose seq is greater than `after`, each once, in order; some may be missing.

        Raises:
            ArchiveError: they cannot be had at the moment. What was given is right.
            DamagedError: some cannot be had any more. All others were given.
        """
        damage: list[DamagedError] = []
        for _ in range(TRIES):
            found = (await self.kept(namespace, uid)).get(attempt, Kept())
            try:
                for path in _to_read(namespace, uid, attempt, found, after):
                    async with aclosing(self._sound_lines_in(path, damage)) as read:
                        async for line in read:
                            if line.attempt == attempt and line.seq > after:
                                after = line.seq
                                yield line
            except _GoneError:
                continue  # it was sealed meanwhile, or its job is gone
            if damage:
                raise damage[0]
            return
        raise ArchiveError(f"attempt {attempt} of {uid}: its objects go while they are read")

    async def remove(self, namespace: str, uid: str) -> None:
        """Takes away all that is kept of a job."""
        await self._delete(list(await self._objects(archive_keys.job_prefix(namespace, uid))))

    async def uids(self, namespace: str) -> list[str]:
        """The jobs of a namespace of which anything is kept."""
        async with self._asking("list of jobs"):
            found = await self._store.list_with_delimiter_async(f"v1/{namespace}")
        return [path.rpartition("/")[2] for path in found["common_prefixes"]]

    async def newest(self, namespace: str, uid: str) -> datetime | None:
        """When the newest object of a job was written, by the store's clock; None when there is none."""
        times = [each["last_modified"] async for each in self._listed(archive_keys.job_prefix(namespace, uid))]
        return max(times, default=None)

    async def _objects(self, prefix: str) -> dict[str, int]:
        """The sizes of all objects below a prefix."""
        return {each["path"]: each["size"] async for each in self._listed(prefix)}

    async def _listed(self, prefix: str) -> AsyncGenerator[Mapping[str, Any], None]:
        found: list[Mapping[str, Any]] = []
        async with self._asking("list of objects"):
            async for some in self._store.list(prefix):
                found.extend(some)
        for each in found:
            yield each

    async def _put(self, path: str, content: bytes | AsyncIterator[bytes], size: int = 0) -> None:
        async with self._asking(path, size / SLOWEST):
            await self._store.put_async(path, content, use_multipart=size > CHUNK)

    async def _contents(self, paths: Sequence[str]) -> AsyncGenerator[bytes, None]:
        for path in paths:
            async for piece in self._pieces(path):
                yield piece

    async def _pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """An object, as it comes."""
        async with self._asking(path):
            pieces = (await self._store.get_async(path)).stream(READ_BYTES)
        while True:
            async with self._asking(path):
                piece = await anext(pieces, b"")
            if not piece:
                return
            yield piece

    async def _lines_in(self, path: str) -> AsyncGenerator[Line, None]:
        unpacker = Unpacker()
        async with aclosing(self._pieces(path)) as pieces:
            async for piece in pieces:
                for read in unpacker.feed(piece):
                    if (line := lines.parse(read)) is not None:
                        yield line
        for read in unpacker.end():
            if (line := lines.parse(read)) is not None:
                yield line
        if unpacker.fault is not None:
            raise DamagedError(f"{path} is damaged: {unpacker.fault}")

    async def _sound_lines_in(self, path: str, damage: list[DamagedError]) -> AsyncGenerator[Line, None]:
        """The lines of an object that can be read; what is wrong with the others is put to the damage."""
        try:
            async with aclosing(self._lines_in(path)) as found:
                async for line in found:
                    yield line
        except DamagedError as error:
            damage.append(error)

    async def _delete(self, paths: Sequence[str]) -> None:
        """Deletes objects, some of which may be gone by now."""
        if not paths:
            return
        try:
            async with self._asking("delete"):
                await self._store.delete_async(paths)
        except _GoneError:
            for path in paths if len(paths) > 1 else ():
                await self._delete([path])

    @asynccontextmanager
    async def _asking(self, what: str, more: float = 0.0) -> AsyncIterator[None]:
        """Bounds the time in which the store may answer, and takes its errors for ours."""
        try:
            async with asyncio.timeout(self._seconds + more):
                yield
        except TimeoutError:
            raise ArchiveError(f"{what}: no answer in {self._seconds + more:g} s") from None
        except FileNotFoundError as error:
            raise _GoneError(f"{what}: {words(error)}") from None
        except (BaseError, OSError, ValueError) as error:
            raise ArchiveError(f"{what}: {words(error)}") from None


def _to_read(namespace: str, uid: str, attempt: int, found: Kept, after: int) -> list[str]:
    """The objects in which lines after a seq are, in their order."""
    if found.is_sealed:
        return [archive_keys.sealed_name(namespace, uid, attempt)]
    spans: list[Span] = [span for span in found.parts if span.last > after]
    return [archive_keys.part_name(namespace, uid, attempt, span) for span in spans]


def words(error: Exception) -> str:
    """What a store says, in short: without what it was asked, which may hold a credential."""
    said = str(error).partition("\n\nDebug source")[0]
    if (found := _ERROR.search(said)) is not None:
        said = f"{found[1]}: {found[2]}"
    return re.sub(r"\?\S*", "?…", said)[:MAX_WORDS] or type(error).__name__
