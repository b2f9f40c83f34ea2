"""/api and /apis: which kinds there are, as kopf asks before it does anything else."""

from typing import Any

from aiohttp import web

from fake_cluster.kinds import KINDS, Kind

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def add_routes(app: web.Application) -> None:
    app.router.add_get("/version", _version)
    app.router.add_get("/api", _core)
    app.router.add_get("/apis", _groups)
    app.router.add_get("/api/{version}", _resources)
    app.router.add_get("/apis/{group}/{version}", _resources)


async def _version(request: web.Request) -> web.Response:
    return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.0-fake"})


async def _core(request: web.Request) -> web.Response:
    return web.json_response({"kind": "APIVersions", "versions": ["v1"]})


async def _groups(request: web.Request) -> web.Response:
    versions = {kind.group: {"groupVersion": kind.api_version, "version": kind.version} for kind in KINDS if kind.group}
    groups = [{"name": group, "versions": [one], "preferredVersion": one} for group, one in versions.items()]
    return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


async def _resources(request: web.Request) -> web.Response:
    group, version = request.match_info.get("group", ""), request.match_info["version"]
    found = [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]
    resources = [entry for kind in found for entry in _entries(kind)]
    return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", "resources": resources})


def _entries(kind: Kind) -> list[dict[str, Any]]:
    is_namespaced = kind.plural != "namespaces" and not kind.is_review
    base = {"kind": kind.name, "namespaced": is_namespaced, "singularName": kind.name.lower()}
    plurals = [kind.plural, *(f"{kind.plural}/{part}" for part in kind.subresources)]
    return [{**base, "name": name, "verbs": ["create"] if kind.is_review else VERBS} for name in plurals]
