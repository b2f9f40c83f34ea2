"""The verbs: what is asked of the API server, in its own words."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from agentjob_api.names import Key
from agentjob_kube.errors import Unreachable, refused
from agentjob_kube.resources import PODS, ResourceType
from agentjob_kube.transport import APPLY_PATCH, MERGE_PATCH, Request, Transport

Object = dict[str, Any]
"""A Kubernetes object as JSON-ready data."""

PAGE = 100
"""Objects in one page of a LIST. Pages are what a start takes at most beyond what it keeps: of kubectl's 500, 28 MB of
3,000 Pods; of these, 7 MB."""
WATCH_SECONDS = 290
"""After this time the API server ends a watch, and the next one starts where it stopped; its own least is 300."""


class Page(NamedTuple):
    """A part of a LIST."""

    items: list[Object]
    version: str
    """The resourceVersion of the whole list."""


class Happening(NamedTuple):
    """One event of a WATCH."""

    type: str
    """ADDED, MODIFIED, DELETED or BOOKMARK."""
    object: Object


class Client:
    """Kubernetes, as far as we use it. Every method raises what is in errors.py."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, kind: ResourceType, key: Key) -> Object:
        """One object."""
        return await self._send(Request(path=kind.path(*key)))

    async def create(self, kind: ResourceType, namespace: str, body: Object) -> Object:
        """The object as it was created. A field that the API server does not know is an error."""
        query = {"fieldValidation": "Strict"}
        return await self._send(Request(method="POST", path=kind.path(namespace), query=query, body=orjson.dumps(body)))

    async def replace_status(self, kind: ResourceType, body: Object) -> Object:
        """The object after its status was replaced; `metadata.resourceVersion` in the body is the precondition."""
        path = kind.path(body["metadata"]["namespace"], body["metadata"]["name"], "status")
        return await self._send(Request(method="PUT", path=path, body=orjson.dumps(body)))

    async def patch(self, kind: ResourceType, key: Key, patch: Object) -> Object:
        """The object after a JSON merge patch; `metadata.uid` in the patch is a precondition."""
        return await self._send(
            Request(method="PATCH", path=kind.path(*key), body=orjson.dumps(patch), content_type=MERGE_PATCH)
        )

    async def apply_status(self, kind: ResourceType, body: Object, manager: str) -> Object:
        """The object after a part of its status was set by server-side apply: what others have set stays.

        The body has apiVersion, kind, the name, and of the status all that `manager` ever sets: what it leaves out
        after it was set is removed. `metadata.resourceVersion` in the body is a precondition; a uid is not looked at.
        """
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        path = kind.path(*key, "status")
        return await self._send(
            Request(method="PATCH", path=path, query=query, body=orjson.dumps(body), content_type=APPLY_PATCH)
        )

    async def delete(self, kind: ResourceType, key: Key, uid: str, *, grace: int | None = None) -> Object:
        """The object on its way out, or a Status. Only the one with this uid is deleted, its dependents after it.

        `grace`: the seconds that a Pod is given instead of its own; of 0, it is gone whatever its processes do.
        """
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
            **({} if grace is None else {"gracePeriodSeconds": grace}),
        }
        return await self._send(Request(method="DELETE", path=kind.path(*key), body=orjson.dumps(options)))

    async def pages(self, kind: ResourceType, namespace: str, selector: str = "") -> AsyncGenerator[Page, None]:
        """All objects that the label selector takes, a page at a time; each page is of the same moment.

        Raises:
            Gone: the list took so long that its moment is no longer kept: start again.
        """
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            answer = await self._send(Request(path=kind.path(namespace), query=query))
            yield Page(answer.get("items") or [], answer["metadata"]["resourceVersion"])
            if not (token := answer["metadata"].get("continue")):
                return
            query = {**query, "continue": token}

    async def watch(
        self, kind: ResourceType, namespace: str, selector: str, since: str, seconds: int = WATCH_SECONDS
    ) -> AsyncGenerator[Happening, None]:
        """What happens after the resourceVersion `since`. Ends when the API server ends the watch, after `seconds`.

        Raises:
            Gone: `since` is no longer kept: list again.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(seconds),
        }
        if selector:
            query["labelSelector"] = selector
        async with aclosing(self._transport.lines(Request(path=kind.path(namespace), query=query))) as lines:
            async for each in lines:
                for line in each:
                    event = _parsed(line)
                    if event["type"] == "ERROR":
                        raise refused(event["object"].get("code", 500), orjson.dumps(event["object"]))
                    yield Happening(event["type"], event["object"])

    async def log_tail(self, pod: Key, container: str, *, lines: int, limit_bytes: int) -> bytes:
        """The last lines of a container's log, the first `limit_bytes` of them."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(limit_bytes)}
        return await self._transport.send(Request(path=PODS.path(*pod, "log"), query=query))

    def log_lines(
        self, pod: Key, container: str, *, follow: bool, since: datetime | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """The lines of a container's log, from those of the second `since` on, and with `follow` those to come.

        The kubelet serves its current file of 10 MiB only, and whatever goes wrong behind the API server comes as
        a line of text (https://github.com/kubernetes/kubernetes/issues/28369): whoever reads takes only what is in
        shape, and counts. A follow ends when the container has, when the file was rotated, and after four hours.

        Raises:
            Invalid: the container has not started.
            NotFound: there is no such Pod.
            Unreachable: nothing came for a while, or the answer was cut off: read again from the last line on.
        """
        query = {"container": container}
        if follow:
            query["follow"] = "true"
        if since is not None:
            query["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._transport.lines(Request(path=PODS.path(*pod, "log"), query=query))

    async def _send(self, request: Request) -> Object:
        return _parsed(await self._transport.send(request))


def _parsed(body: bytes) -> Object:
    """The object in an answer.

    Raises:
        Unreachable: there is none. Something between us and the API server has answered, or cut the answer off.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"expected JSON from the API server, found {body[:100]!r}: {error}") from error
    if not isinstance(answer, dict):
        raise Unreachable(f"expected a JSON object from the API server, found {body[:100]!r}")
    return answer
