"""One kind of object in one namespace, kept in view by a LIST and a WATCH from there.

What is missed is found: a watch goes on where it stopped, and where that is no longer possible (410), or has brought
nothing for minutes, the next `Replaced` tells what is gone as well. Nothing ends it but its being closed: an object
that cannot be read is left out, for whoever wrote one would have stopped all that is done about the others.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from agentjob_kube.backoff import WATCH
from agentjob_kube.client import WATCH_SECONDS, Client, Object
from agentjob_kube.errors import ApiError, Gone, NoRight, NotFound
from agentjob_kube.resources import ResourceType

T = TypeVar("T")
PROBE_SECONDS: Final = 5
"""Of a watch after one that was refused. Where nothing happens, that it is allowed shows at its end, or at the first
bookmark a minute later."""
SILENT_SECONDS: Final = 2 * 60.0
"""Without a word until all is listed: two bookmarks. Watches may fail where LISTs do not, or from one version on."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replaced(Generic[T]):
    """All there is, whatever was there before."""

    objects: tuple[T, ...]
    version: str
    unread: frozenset[str] = frozenset()
    """uids of objects that are there, too, and could not be read: nothing is known of them, not even that they end."""


@dataclass(frozen=True)
class Changed(Generic[T]):
    """An object that is new, or not as it was."""

    object: T


@dataclass(frozen=True)
class Removed(Generic[T]):
    """An object that is gone, as it was last."""

    object: T


Delta = Replaced[T] | Changed[T] | Removed[T]


@dataclass(frozen=True)
class Selection:
    """Which objects: a kind, a namespace, and a label selector that the API server applies."""

    kind: ResourceType
    namespace: str
    selector: str = ""

    def __str__(self) -> str:
        return f"{self.kind.plural} in {self.namespace}"


class ListWatch(Generic[T]):
    """Yields deltas for ever. `view` makes of each object the little that is kept of it.

    An object on which `view` fails has no deltas, and is logged once, with the traceback. `answered` is told what each
    "list" and each "watch" has ended with, and of a watch that it speaks, with None.
    """

    def __init__(
        self,
        client: Client,
        selection: Selection,
        view: Callable[[Object], T],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        answered: Callable[[str, ApiError | None], None] = lambda _verb, _error: None,
    ) -> None:
        self._client = client
        self._selection = selection
        self._view = view
        self._sleep = sleep
        self._answered = answered
        self.heard = time.monotonic()
        """When the API server last said anything, by the clock `time.monotonic`."""
        self._version: str | None = None
        """Where to go on; None when a LIST is due."""
        self._failures = 0
        self._error: ApiError | None = None
        """What the last round ended with."""
        self._is_refused = False
        """Whether the last one was refused that was answered."""
        self._unread = frozenset[str]()
        """uids of objects that could not be read when they were last seen."""

    async def deltas(self) -> AsyncGenerator[Delta[T], None]:
        """The deltas, in order. Errors are logged and waited out; no error of the API server comes through."""
        while True:
            try:
                if self._version is None:
                    yield await self._list()
                async with aclosing(self._watch()) as changes:
                    async for change in changes:
                        yield change
                self._note("watch", None)
                error: ApiError | None = None
            except Gone as gone:
                self._version, error = None, gone
            except ApiError as failed:
                self._note("list" if self._version is None else "watch", failed)
                error = failed
            if time.monotonic() > self.heard + SILENT_SECONDS:
                self._version = None
            await self._pause(error)

    async def listed(self) -> Replaced[T]:
        """All there is, by a LIST beside the watch, which goes on where it is.

        Raises:
            ApiError: it could not be listed.
        """
        objects: list[T] = []
        unread: set[str] = set()
        version = ""
        selection = self._selection
        async with aclosing(self._client.pages(selection.kind, selection.namespace, selection.selector)) as pages:
            async for page in pages:
                for body in page.items:
                    found = self._read(body)
                    objects.extend(found)
                    unread.update(() if found else (_uid(body),))
                version = page.version
        self._unread = frozenset(unread)
        return Replaced(tuple(objects), version, self._unread)

    async def _list(self) -> Replaced[T]:
        found = await self.listed()
        self.heard, self._version = time.monotonic(), found.version
        return found

    def _read(self, body: Object) -> tuple[T, ...]:
        """What is kept of an object; nothing where that cannot be told."""
        try:
            found = self._view(body)
        except Exception:  # the outermost frame of each object: one must not hide the others
            if _uid(body) not in self._unread:
                name = body["metadata"].get("name")
                log.exception("Left out, cannot be read: %s of %s", name, self._selection)
            self._unread |= {_uid(body)}
            return ()
        self._unread -= {_uid(body)}
        return (found,)

    async def _watch(self) -> AsyncGenerator[Changed[T] | Removed[T], None]:
        selection, since = self._selection, self._version or ""
        seconds = PROBE_SECONDS if self._is_refused else WATCH_SECONDS
        watch = self._client.watch(selection.kind, selection.namespace, selection.selector, since, seconds)
        async with aclosing(watch) as happenings:
            async for happening in happenings:
                self.heard, self._failures = time.monotonic(), 0
                self._note("watch", None)
                if happening.type != "BOOKMARK":
                    for seen in self._read(happening.object):
                        yield Removed(seen) if happening.type == "DELETED" else Changed(seen)
                if happening.type == "DELETED":
                    self._unread -= {_uid(happening.object)}
                self._version = happening.object["metadata"]["resourceVersion"]

    def _note(self, verb: str, error: ApiError | None) -> None:
        self._is_refused = isinstance(error, NoRight | NotFound) or (error is not None and self._is_refused)
        self._answered(verb, error)

    async def _pause(self, error: ApiError | None) -> None:
        """Waits before the next round: a watch that keeps ending without having told anything must not run hot.

        To be told "too old" after other failures is how an API server comes back: what it has is listed at once.
        """
        is_back = isinstance(error, Gone) and not isinstance(self._error, Gone)
        self._failures, self._error = (1 if is_back else self._failures + 1), error
        delay = WATCH.delay(self._failures, error.retry_after if error else 0.0)
        if error is not None:
            log.warning("Watching %s: %s; again in %.1f s", self._selection, error, delay)
        await self._sleep(delay)


def _uid(body: Object) -> str:
    return str(body["metadata"].get("uid", ""))
