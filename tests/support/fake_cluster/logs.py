"""pods/log: what a test put there, as the kubelet would give it, in the moment or as it comes."""

import asyncio
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fake_cluster.etcd import Change
from fake_cluster.refusals import Refusal

Object = dict[str, Any]
Name = tuple[str, str]
"""Namespace and name of a Pod."""


@dataclass
class File:
    """The log that is served of one container, and who follows it."""

    content: bytes = b""
    is_over: bool = False
    """Whether nothing will be added any more: the container has ended, or there is another file by now."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    followers: set[asyncio.Task[Any]] = field(default_factory=set)

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Logs:
    def __init__(self) -> None:
        self._files: dict[Name, File] = {}
        self._texts: dict[Name, bytes] = {}

    def write(self, namespace: str, pod: str, content: bytes) -> None:
        self._file(namespace, pod).content = content
        self._file(namespace, pod).tell()

    def append(self, namespace: str, pod: str, content: bytes) -> None:
        self.write(namespace, pod, self._file(namespace, pod).content + content)

    def end(self, namespace: str, pod: str) -> None:
        """Ends what follows a log now, as if there were no more."""
        file = self._files.get((namespace, pod), File())
        self._files[namespace, pod] = File(file.content)
        file.is_over = True
        file.tell()

    def rotate(self, namespace: str, pod: str) -> None:
        """Starts another file: what is in the one before is not served any more."""
        self.end(namespace, pod)
        self._file(namespace, pod).content = b""

    def cut(self, namespace: str, pod: str) -> None:
        """Breaks what follows a log now in the middle."""
        for task in self._file(namespace, pod).followers:
            task.cancel()

    def leave_text(self, namespace: str, pod: str, text: bytes) -> None:
        """Answers the next question for a log with a text and status 200, whether there is a Pod or not."""
        self._texts[namespace, pod] = text

    def text(self, namespace: str, pod: str) -> bytes | None:
        """What was left to be said, once."""
        return self._texts.pop((namespace, pod), None)

    def check(self, pod: Object, query: Mapping[str, str]) -> None:
        """Refuses the log of a container that has not started."""
        if not any("waiting" not in state for state in _states(pod)):
            which = f'container "{query["container"]}" in pod "{pod["metadata"]["name"]}"'
            raise Refusal(400, "BadRequest", f"{which} is waiting to start: ContainerCreating")

    def read(self, pod: Object, query: Mapping[str, str]) -> bytes:
        """From the second `sinceTime` on, the last `tailLines` lines, and of these the first `limitBytes` bytes."""
        self.check(pod, query)
        file = self._file(pod["metadata"]["namespace"], pod["metadata"]["name"])
        lines = list(_since(file.content, query.get("sinceTime")))
        tail = b"".join(lines[-int(query.get("tailLines", len(lines) or 1)) :])
        return tail[: int(query.get("limitBytes", len(tail)))]

    async def follow(self, pod: Object, request: web.Request) -> web.StreamResponse:
        """The same, and then what is added, until the container has ended."""
        piece, file = self.read(pod, request.query), self._file(pod["metadata"]["namespace"], pod["metadata"]["name"])
        at, was_over = len(file.content), _has_ended(pod)
        response = web.StreamResponse()
        task = asyncio.current_task()
        assert task is not None
        file.followers.add(task)
        try:
            await response.prepare(request)
            await response.write(piece)
            while at < len(file.content) or not (was_over or file.is_over):
                if at == len(file.content):
                    await file.news.wait()
                piece, at = file.content[at:], len(file.content)
                await response.write(piece)
            await response.write_eof()
        except ConnectionResetError:
            pass  # whoever followed is gone
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            file.followers.discard(task)
        return response

    def seen(self, change: Change) -> None:
        """Told of every change: the log of a container ends with it, and goes with its Pod."""
        name = (change.namespace, change.last["metadata"]["name"])
        if change.kind.plural != "pods" or name not in self._files:
            return
        if change.new is None:
            self.end(*name)
            del self._files[name]
        elif _has_ended(change.new):
            self.end(*name)

    def _file(self, namespace: str, pod: str) -> File:
        return self._files.setdefault((namespace, pod), File())


def _states(pod: Object) -> list[Object]:
    return [each["state"] for each in pod.get("status", {}).get("containerStatuses", ())]


def _has_ended(pod: Object) -> bool:
    return any("terminated" in state for state in _states(pod))


def _since(content: bytes, since: str | None) -> Iterator[bytes]:
    """The lines from a second on. A line's time is the one in it, or that of the line before."""
    wanted = dt.datetime.min.replace(tzinfo=dt.UTC) if since is None else dt.datetime.fromisoformat(since)
    time = wanted
    for line in content.splitlines(keepends=True):
        time = _time(line) or time
        if time >= wanted:
            yield line


def _time(line: bytes) -> dt.datetime | None:
    try:
        found = json.loads(line)["time"]
        return dt.datetime.fromisoformat(found)
    except (ValueError, LookupError, TypeError):
        return None
