"""Where the objects are: one counter of versions, a journal for the watches, snapshots for the pages."""

import asyncio
import copy
import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fake_cluster import refusals
from fake_cluster.kinds import Kind, grace, merged, prepare
from fake_cluster.selection import matches

Object = dict[str, Any]


class Change(NamedTuple):
    """What happened: `old` is None for something new, `new` None for something gone."""

    version: int
    kind: Kind
    namespace: str
    old: Object | None
    new: Object | None
    last: Object
    """The object as a watch shows it."""


def labels(item: Object) -> dict[str, str]:
    found: dict[str, str] = item["metadata"].get("labels") or {}
    return found


class Etcd:
    """All objects. Used from one event loop only."""

    def __init__(self) -> None:
        self.version = 1
        self.oldest = 0
        """Changes up to this version are forgotten: a watch from before it is told 410."""
        self.journal: list[Change] = []
        self.objects: dict[tuple[Kind, str, str], Object] = {}
        self.made: dict[str, list[str]] = {}
        """Names of all that was ever created, by plural."""
        self.news = asyncio.Event()
        self.listeners: list[Callable[[Change], None]] = []
        self.webhooks: list[Callable[[Kind, Object], None]] = []
        """What changes an object before it is kept in the place of another."""
        self._snapshots: dict[str, tuple[int, list[Object]]] = {}
        """Objects that are still to be told, by token, and as of which version."""

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        try:
            return self.objects[kind, namespace, name]
        except KeyError:
            raise refusals.not_found(kind.plural, name) from None

    def select(self, kind: Kind, namespace: str, selector: str) -> Iterator[Object]:
        for (found, where, _), item in sorted(self.objects.items(), key=lambda entry: entry[0][1:]):
            if found is kind and where == namespace and matches(selector, labels(item)):
                yield item

    def page(self, found: list[Object], limit: int, at: int) -> tuple[list[Object], str]:
        """The first objects, and a token for the rest, which stays as it was at that version."""
        if not limit or len(found) <= limit:
            return found, ""
        token = uuid.uuid4().hex
        self._snapshots[token] = at, found[limit:]
        return found[:limit], token

    def rest(self, token: str) -> tuple[int, list[Object]]:
        """What is left of a list, and the version that all of it is of."""
        try:
            return self._snapshots.pop(token)
        except KeyError:
            raise refusals.expired() from None

    def expire(self) -> None:
        """Forgets the past, as etcd's compaction does: watches and pages from before are told 410."""
        self.oldest = self.version
        self.journal.clear()
        self._snapshots.clear()

    def create(self, kind: Kind, namespace: str, body: Object, *, strict: bool = False) -> Object:
        item = copy.deepcopy(body)
        name = item.setdefault("metadata", {}).get("name")
        if not name:
            raise refusals.invalid(kind.name, "", "metadata.name: Required value: name or generateName is required")
        if (kind, namespace, name) in self.objects:
            raise refusals.already_exists(kind.plural, name)
        prepare(kind, item, strict=strict)
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item["metadata"].update(namespace=namespace, uid=str(uuid.uuid4()), creationTimestamp=now)
        self.made.setdefault(kind.plural, []).append(name)
        return self._keep(kind, None, item)

    def replace(self, kind: Kind, namespace: str, body: Object, subresource: str = "") -> Object:
        old = self.get(kind, namespace, body["metadata"]["name"])
        _check(kind, old, body["metadata"])
        new = merged(kind, old, copy.deepcopy(body), subresource)
        for webhook in self.webhooks:
            webhook(kind, new)
        kept = ("uid", "creationTimestamp", "namespace", "resourceVersion", "deletionTimestamp")
        new["metadata"] = {**new["metadata"], **{key: old["metadata"][key] for key in kept if key in old["metadata"]}}
        return old if new == old else self._keep(kind, old, new)

    def bind(self, kind: Kind, pod: Object) -> Object:
        """Keeps a Pod that a scheduler has put on a node."""
        return self._keep(kind, self.get(kind, pod["metadata"]["namespace"], pod["metadata"]["name"]), pod)

    def delete(self, kind: Kind, namespace: str, name: str, options: Object) -> Object | None:
        """The object on its way out; None when there is nothing left to show. A Pod always shows first that it goes."""
        item = self.get(kind, namespace, name)
        _check(kind, item, options.get("preconditions") or {})
        seconds = grace(kind, item, options.get("gracePeriodSeconds"))
        if kind.plural == "pods" and (seconds == 0 or "deletionTimestamp" not in item["metadata"]):
            item = self._keep(kind, item, leaving(item, seconds))
        if seconds:
            return item
        del self.objects[kind, namespace, name]
        self._note(kind, item, None)
        return item if kind.plural == "pods" else None

    def _keep(self, kind: Kind, old: Object | None, new: Object) -> Object:
        meta = new["metadata"] = {**new["metadata"], "resourceVersion": str(self.version + 1)}
        self.objects[kind, meta["namespace"], meta["name"]] = new
        self._note(kind, old, new)
        return new

    def _note(self, kind: Kind, old: Object | None, new: Object | None) -> None:
        self.version += 1
        shown = new if new is not None else copy.deepcopy(old)
        assert shown is not None
        shown["metadata"]["resourceVersion"] = str(self.version)
        change = Change(self.version, kind, shown["metadata"]["namespace"], old, new, shown)
        self.journal.append(change)
        self.news.set()
        self.news = asyncio.Event()
        for listener in self.listeners:
            listener(change)

    def since(self, version: int) -> Iterator[Change]:
        """The changes after a version."""
        start = len(self.journal)
        while start and self.journal[start - 1].version > version:
            start -= 1
        return itertools.islice(list(self.journal), start, None)


def leaving(item: Object, seconds: int) -> Object:
    """An object that is being deleted."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    marks = {"deletionTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "deletionGracePeriodSeconds": seconds}
    return {**item, "metadata": {**item["metadata"], **marks}}


def _check(kind: Kind, old: Object, wanted: Object) -> None:
    """The preconditions: uid and resourceVersion, where they are given."""
    meta = old["metadata"]
    if (uid := wanted.get("uid")) and uid != meta["uid"]:
        raise refusals.wrong_uid(uid, meta["uid"])
    if (version := wanted.get("resourceVersion")) and version != meta["resourceVersion"]:
        raise refusals.modified(kind.plural, meta["name"])
