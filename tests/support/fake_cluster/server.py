"""HTTP: paths to objects, verbs to what is done with them."""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web

from fake_cluster import discovery
from fake_cluster.etcd import Etcd
from fake_cluster.faults import Fault
from fake_cluster.kinds import KINDS, Kind
from fake_cluster.logs import Logs
from fake_cluster.refusals import Refusal, invalid, not_found
from fake_cluster.reviews import Reviews
from fake_cluster.watches import Watches

Object = dict[str, Any]
_METHODS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Seen(NamedTuple):
    """One request, as a Role would have to allow it."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    status: int
    agent: str
    """Who asked, by the User-Agent."""


class Target(NamedTuple):
    verb: str
    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def target(request: web.Request) -> Target:
    """What a path and a method mean."""
    found = request.match_info
    for kind in KINDS:
        if (kind.group, kind.version, kind.plural) == (found.get("group", ""), found["version"], found["plural"]):
            name, namespace = found.get("name", ""), found.get("namespace", "")
            if kind.is_review is bool(namespace):
                break
            one = "get" if name else "watch" if request.query.get("watch") == "true" else "list"
            verb = _METHODS.get(request.method, one)
            return Target(verb, kind, namespace, name, found.get("subresource", ""))
    raise not_found("resource", request.path)


class Server:
    """The API server over one Etcd."""

    def __init__(self, etcd: Etcd) -> None:
        self.etcd = etcd
        self.logs = Logs()
        etcd.listeners.append(self.logs.seen)
        self.watches = Watches(etcd)
        self.reviews = Reviews()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []

    def app(self) -> web.Application:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        discovery.add_routes(app)
        for root in ("/api/{version}", "/apis/{group}/{version}"):
            collection = f"{root}/namespaces/{{namespace}}/{{plural}}"
            for path in ("", "/{name}", "/{name}/{subresource}"):
                app.router.add_route("*", collection + path, self.handle)
        app.router.add_post("/apis/{group}/{version}/{plural}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request for an object: answered, counted, and made to go wrong when a test wants it."""
        aim = target(request)
        name = aim.name or await _name(request)
        asked = aim.verb, aim.resource, aim.namespace, name
        fault = next((fault for fault in self.faults if fault.takes(*asked)), None)
        try:
            if fault is not None and fault.how == "refuse":
                raise fault.refusal
            if fault is not None and fault.how == "swallow":
                await asyncio.Event().wait()
            response = await self._verbs()[aim.verb](aim, request)
        except Refusal as refusal:
            headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else None
            response = web.json_response(refusal.body(), status=refusal.code, headers=headers)
        if not response.prepared:
            self._note(aim, request, response.status)
        if fault is not None and fault.how != "refuse":
            await self._spoil(fault, request)
        return response

    def _note(self, aim: Target, request: web.Request, status: int) -> None:
        agent = request.headers.get("User-Agent", "")
        self.seen.append(Seen(aim.verb, aim.kind.group, aim.resource, aim.namespace, aim.name, status, agent))

    async def _spoil(self, fault: Fault, request: web.Request) -> None:
        if fault.how == "hold":
            await asyncio.Event().wait()
        assert request.transport is not None
        request.transport.abort()

    def _verbs(self) -> dict[str, Callable[[Target, web.Request], Awaitable[web.StreamResponse]]]:
        return {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
        }

    async def _get(self, aim: Target, request: web.Request) -> web.StreamResponse:
        if aim.subresource == "log" and (text := self.logs.text(aim.namespace, aim.name)) is not None:
            return web.Response(body=text)
        item = self.etcd.get(aim.kind, aim.namespace, aim.name)
        if aim.subresource != "log":
            return web.json_response(item)
        if request.query.get("follow") != "true":
            return web.Response(body=self.logs.read(item, request.query))
        self.logs.check(item, request.query)
        self._note(aim, request, 200)  # now, not when it ends
        return await self.logs.follow(item, request)

    async def _list(self, aim: Target, request: web.Request) -> web.StreamResponse:
        limit = int(request.query.get("limit", 0))
        token = request.query.get("continue", "")
        selector = request.query.get("labelSelector", "")
        if token:
            at, found = self.etcd.rest(token)
        else:
            at, found = self.etcd.version, list(self.etcd.select(aim.kind, aim.namespace, selector))
        if name := request.query.get("fieldSelector", "").removeprefix("metadata.name="):
            found = [item for item in found if item["metadata"]["name"] == name]
        items, rest = self.etcd.page(found, limit, at)
        meta = {"resourceVersion": str(at), "continue": rest}
        kind = {"kind": f"{aim.kind.name}List", "apiVersion": aim.kind.api_version}
        return web.json_response({**kind, "metadata": meta, "items": items})

    async def _watch(self, aim: Target, request: web.Request) -> web.StreamResponse:
        self._note(aim, request, 200)  # now, not when it ends
        return await self.watches.serve(request, aim.kind, aim.namespace)

    async def _create(self, aim: Target, request: web.Request) -> web.StreamResponse:
        if aim.subresource == "binding":
            pod = copy.deepcopy(self.etcd.get(aim.kind, aim.namespace, aim.name))
            pod["spec"]["nodeName"] = (await _body(request))["target"]["name"]
            return web.json_response(self.etcd.bind(aim.kind, pod), status=201)
        if aim.kind.is_review:
            return web.json_response(self.reviews.answer(aim.kind, await _body(request)), status=201)
        strict = request.query.get("fieldValidation") == "Strict"
        item = self.etcd.create(aim.kind, aim.namespace, await _body(request), strict=strict)
        return web.json_response(item, status=201)

    async def _update(self, aim: Target, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.etcd.replace(aim.kind, aim.namespace, await _body(request), aim.subresource))

    async def _patch(self, aim: Target, request: web.Request) -> web.StreamResponse:
        if request.content_type == "application/apply-patch+yaml":
            applied = _applied(self.etcd.get(aim.kind, aim.namespace, aim.name), await _body(request))
            return web.json_response(self.etcd.replace(aim.kind, aim.namespace, applied, aim.subresource))
        if request.content_type != "application/merge-patch+json":
            raise Refusal(415, "UnsupportedMediaType", f"patch type {request.content_type} is not served here")
        old = self.etcd.get(aim.kind, aim.namespace, aim.name)
        patch = await _body(request)
        meta = patch.get("metadata", {})
        if (uid := meta.get("uid", old["metadata"]["uid"])) != old["metadata"]["uid"]:
            raise invalid(aim.kind.name, aim.name, f'metadata.uid: Invalid value: "{uid}": field is immutable')
        new = _merge_patch(copy.deepcopy(old), patch)
        return web.json_response(self.etcd.replace(aim.kind, aim.namespace, new, aim.subresource))

    async def _delete(self, aim: Target, request: web.Request) -> web.StreamResponse:
        options = await _body(request) if request.can_read_body else {}
        lingering = self.etcd.delete(aim.kind, aim.namespace, aim.name, options)
        return web.json_response(lingering or {"kind": "Status", "apiVersion": "v1", "status": "Success"})


async def _name(request: web.Request) -> str:
    """Of the object that is to be created; "" for anything else."""
    found = (await _body(request)).get("metadata", {}) if request.method == "POST" else {}
    return str(found.get("name", ""))


async def _body(request: web.Request) -> Object:
    try:
        body: Object = json.loads(await request.read())
    except ValueError as error:
        raise Refusal(400, "BadRequest", f"the object provided is unrecognized: {error}") from error
    return body


def _merge_patch(item: Object, patch: Object) -> Object:
    """RFC 7396: null removes, an object is merged, anything else replaces."""
    for key, value in patch.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict):
            old = item.get(key)
            item[key] = _merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            item[key] = value
    return item


def _applied(item: Object, wanted: Object) -> Object:
    """Server-side apply, of the status alone: of conditions, those of other types stay, and so do all other fields."""
    version = wanted["metadata"].get("resourceVersion", item["metadata"]["resourceVersion"])
    status = {**item["status"], **wanted["status"]}
    mine = {each["type"] for each in wanted["status"].get("conditions", ())}
    others = [each for each in item["status"].get("conditions", ()) if each["type"] not in mine]
    status["conditions"] = [*others, *wanted["status"].get("conditions", ())]
    return {**item, "metadata": {**item["metadata"], "resourceVersion": version}, "status": status}
