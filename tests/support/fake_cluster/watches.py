"""WATCH: the changes after a version, then whatever comes, with a bookmark now and then."""

import asyncio
import json
from typing import Any

from aiohttp import web

from fake_cluster.etcd import Change, Etcd, labels
from fake_cluster.kinds import Kind
from fake_cluster.refusals import Refusal, expired
from fake_cluster.selection import matches

Object = dict[str, Any]


class Watches:
    """All watches of one cluster, which a test may break, hide things from, or leave hanging."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.bookmark_seconds = 60.0
        self.hidden: set[str] = set()
        """Plural names of what no watch tells of any more: as if its events were lost."""
        self._open: dict[asyncio.Task[Any], str] = {}
        self._errors: dict[asyncio.Task[Any], Refusal] = {}

    def cut(self) -> None:
        """Breaks every watch in the middle."""
        for task in self._open:
            task.cancel()

    def fail(self, plural: str, error: Refusal) -> None:
        """Ends the watches of a kind with an error in their streams."""
        for task, kind in self._open.items():
            if kind == plural:
                self._errors[task] = error
                task.cancel()

    async def serve(self, request: web.Request, kind: Kind, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = kind.plural
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", 3600))):
                await self._stream(response, request, kind, namespace)
        except TimeoutError:
            await response.write_eof()
        except ConnectionResetError:
            pass  # whoever watched is gone
        except asyncio.CancelledError:
            await self._break(response, request, self._errors.pop(task, None))
        finally:
            del self._open[task]
        return response

    async def _break(self, response: web.StreamResponse, request: web.Request, error: Refusal | None) -> None:
        if error is not None:
            await _tell(response, {"type": "ERROR", "object": error.body()})
            await response.write_eof()
        elif request.transport is not None:
            request.transport.abort()

    async def _stream(self, response: web.StreamResponse, request: web.Request, kind: Kind, namespace: str) -> None:
        selector = request.query.get("labelSelector", "")
        version = int(request.query.get("resourceVersion") or self._etcd.version)
        while version >= self._etcd.oldest:
            news = self._etcd.news
            for change in self._etcd.since(version):
                version = change.version
                if change.kind is kind and change.namespace == namespace and kind.plural not in self.hidden:
                    await _tell(response, event(change, selector))
            try:
                async with asyncio.timeout(self.bookmark_seconds):
                    await news.wait()
            except TimeoutError:
                mark = {"kind": kind.name, "metadata": {"resourceVersion": str(version)}}
                await _tell(response, {"type": "BOOKMARK", "object": mark})
        await _tell(response, {"type": "ERROR", "object": expired().body()})


def event(change: Change, selector: str) -> Object | None:
    """A change as a watch with this selector sees it: what no longer fits is gone, as it was, what now fits is new."""
    before = change.old is not None and matches(selector, labels(change.old))
    after = change.new is not None and matches(selector, labels(change.new))
    if not before and not after:
        return None
    name = ("MODIFIED" if after else "DELETED") if before else "ADDED"
    shown = change.last
    if change.old is not None and change.new is not None and not after:
        shown = {**change.old, "metadata": {**change.old["metadata"], "resourceVersion": str(change.version)}}
    return {"type": name, "object": shown}


async def _tell(response: web.StreamResponse, message: Object | None) -> None:
    if message is not None:
        await response.write(json.dumps(message).encode() + b"\n")
