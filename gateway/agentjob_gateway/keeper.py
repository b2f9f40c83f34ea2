"""Reads every job's lines, whether or not a client does, for the audit and for the archive if there is one.

A job is followed from when its agent has started, by the replica that it falls to among those that are ready. With an
archive, once it has ended and all of it is sealed, its condition Archived says so, and its Pod may go. Without one, who
starts has nothing to tell by what was read of a job that has ended, and leaves it alone.

The replica that a job would fall to next follows it as well: see standby.py.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from agentjob_api import names
from agentjob_api.status import Archival, ConditionStatus, ConditionType
from agentjob_gateway import answers
from agentjob_gateway.archive import Archive
from agentjob_gateway.cache import JobCache, key_of
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.peers import Peers
from agentjob_gateway.record import PACE, ArchiveCounts, Lines, Pace, Record
from agentjob_gateway.sse import START
from agentjob_gateway.standby import Standby
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, NotFound
from agentjob_kube.resources import AGENT_JOBS

Object = dict[str, Any]

MOST: Final = 500
"""Jobs that are followed at once; the others wait, and are taken by age."""
LOOK_SECONDS: Final = 30.0
"""Jobs are looked at again after so long, though nothing was heard of any: nobody tells that a namespace is lost."""
MANAGER: Final = "agentjob-gateway"
"""Who has set the condition, in the job's managedFields."""
_MESSAGES: Final = {
    Archival.ARCHIVED: "Every line of the log is in the archive.",
    Archival.WITH_GAPS: "The log is in the archive, without lines that were lost before they could be kept.",
}
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Keeper:
    """Follows each job of ours."""

    cache: JobCache
    peers: Peers
    archive: Archive | None
    standby: Standby
    """For jobs that are another replica's."""
    source: Lines
    client: Client
    clock: Callable[[], datetime]
    pace: Pace = PACE
    most: int = MOST
    look_seconds: float = LOOK_SECONDS
    counts: ArchiveCounts = field(default_factory=ArchiveCounts)
    _wanted: dict[str, Object] = field(default_factory=dict)
    """All jobs that are to be read to their ends, by uid."""
    _records: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _open: dict[str, Record] = field(default_factory=dict)
    """Of the archive, by uid."""
    _failures: dict[str, int] = field(default_factory=dict)
    """How often in a row a job could not be."""
    _resting: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    """Jobs that could not, and are tried again later."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Works for ever."""
        self.cache.listeners.append(self._heard)
        self.peers.listeners.append(self._news.set)
        await self.cache.synced.wait()
        for namespace in self.cache.namespaces:
            for job in self.cache.of(namespace):
                self._heard(job, is_gone=False)
        try:
            while True:
                self._assign()
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.look_seconds):
                        await self._news.wait()
        finally:
            await self._stop()

    def _heard(self, job: Object, *, is_gone: bool) -> None:
        uid = job["metadata"]["uid"]
        if is_gone and uid in self._records:
            return  # what it has said, and still says while its Pod is stopped, is read to its end
        was_wanted = uid in self._wanted
        if is_wanted := self._is_wanted(job) and not is_gone:
            self._wanted[uid] = job
        else:
            self._wanted.pop(uid, None)
            self._failures.pop(uid, None)
        if is_wanted or was_wanted:  # one that has just been made is neither, and who makes it waits for an answer
            self._news.set()

    def _is_wanted(self, job: Object) -> bool:
        """Whether there may be lines of a job that were not read."""
        match answers.phase(job):
            case phase if phase.is_waiting and "startTime" not in job["status"]:
                return False  # otherwise it is between two attempts, and the end of the last may be on its way
            case phase if self.archive is None and phase.is_final:
                uid: str = job["metadata"]["uid"]
                return uid in self._wanted and self.peers.owns(uid)
            case _:
                return answers.archival(job) is None

    def _assign(self) -> None:
        """Ends the records that are not ours, or not wanted any more, and begins those that are, the oldest first.

        Jobs of a namespace that is lost come last, and give way: their logs are refused as well, or soon will be.
        """
        lost = {namespace for namespace in self.cache.namespaces if self.cache.reach.is_lost(namespace)}
        own = [job for uid, job in self._wanted.items() if self.peers.owns(uid)]
        own.sort(key=lambda job: (job["metadata"]["namespace"] in lost, job["metadata"]["creationTimestamp"]))
        uids = [job["metadata"]["uid"] for job in own]
        given_up = {*self._records.keys() - uids, *self._giving_way(own, lost)}
        for uid in given_up:
            self._give_up(uid)
        for uid, job in zip(uids, own, strict=True):
            if len(self._records) >= self.most:
                break
            if uid not in self._records and uid not in self._resting:
                self._begin(uid, job)
        held = [job for uid, job in self._wanted.items() if self._stands_by(uid)]
        held.sort(key=lambda job: (job["metadata"]["namespace"] in lost, job["metadata"]["uid"] not in self.standby))
        self.standby.assign(held[: self.most], self._wanted.keys(), handed_over=given_up)
        self.counts.held = len(self.standby)
        self.counts.kept = len(self._records)
        self.counts.waiting = len(set(uids) - self._records.keys())

    def _giving_way(self, own: list[Object], lost: set[str]) -> list[str]:
        """As many jobs of lost namespaces as are read in the places of others, the youngest first."""
        uids: dict[bool, list[str]] = {True: [], False: []}
        for job in reversed(own):
            uids[job["metadata"]["namespace"] in lost].append(job["metadata"]["uid"])
        waiting = [uid for uid in uids[False] if uid not in self._records and uid not in self._resting]
        short = len(waiting) - (self.most - len(self._records))
        return [uid for uid in uids[True] if uid in self._records][: max(0, short)]

    def _stands_by(self, uid: str) -> bool:
        """Whether we stand by for another replica: also once a job has become our own, until we have begun with it."""
        has_begun = uid in self._open and self._open[uid].has_begun
        return self.peers.inherits(uid) or (self.peers.owns(uid) and uid in self.standby and not has_begun)

    def _give_up(self, uid: str) -> None:
        """Ends a record. Where another replica goes on, what was read is written first."""
        if uid in self._wanted and uid in self._open:
            self._open[uid].hand_over()
        else:
            self._records[uid].cancel()

    def _begin(self, uid: str, job: Object) -> None:
        task = self._records[uid] = asyncio.create_task(self._keep(job))
        task.add_done_callback(lambda ended: self._ended(uid, job, ended))

    async def _keep(self, job: Object) -> None:
        if self.archive is None:
            await self._listen(job)
            return
        uid = job["metadata"]["uid"]
        record = self._open[uid] = Record(self.source, self.archive, job, self.counts, self.pace)
        try:
            is_whole = await record.run()
        finally:
            del self._open[uid]
        if is_whole is None:
            return
        if (latest := self._latest(job)) is None:
            await self.archive.remove(job["metadata"]["namespace"], uid)
            return
        if not answers.phase(latest).is_final:
            raise Unavailable("expected all lines of a job to come before it ends, found an end of them")
        await self._declare(latest, Archival.ARCHIVED if is_whole else Archival.WITH_GAPS)

    async def _listen(self, job: Object) -> None:
        """Reads a job to its end, for the audit alone."""
        uid = job["metadata"]["uid"]
        async with aclosing(self.source.lines(key_of(job), uid, START)) as items:
            async for _ in items:
                pass
        self._wanted.pop(uid, None)

    def _latest(self, job: Object) -> Object | None:
        """A job as it stands; None when it was deleted."""
        found = self.cache.get(key_of(job))
        return found if found is not None and found["metadata"]["uid"] == job["metadata"]["uid"] else None

    async def _declare(self, job: Object, archival: Archival) -> None:
        """Sets the condition. A job that has changed meanwhile, or has been made anew, is looked at again."""
        meta = job["metadata"]
        condition = {
            "type": ConditionType.ARCHIVED,
            "status": ConditionStatus.TRUE,
            "reason": archival,
            "message": _MESSAGES[archival],
            "lastTransitionTime": self.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observedGeneration": meta.get("generation", 0),
        }
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {name: meta[name] for name in ("namespace", "name", "resourceVersion")},
            "status": {"conditions": [condition]},
        }
        try:
            self.cache.put(await self.client.apply_status(AGENT_JOBS, body, MANAGER))
        except NotFound:
            return  # deleted meanwhile

    def _ended(self, uid: str, job: Object, task: asyncio.Task[None]) -> None:
        del self._records[uid]
        self._news.set()
        facts = {"namespace": job["metadata"]["namespace"], "job": job["metadata"]["name"]}
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (ApiError, ArchiveError, Unavailable)):
            log.error("Reading a job", exc_info=error, extra=facts)
        if self._latest(job) is None:
            self._wanted.pop(uid, None)
            self._failures.pop(uid, None)
        if task.cancelled() or uid not in self._wanted or not self.peers.owns(uid):
            return
        self._failures[uid] = failures = self._failures.get(uid, 0) + 1
        delay = self.pace.again.delay(failures)
        self._resting[uid] = asyncio.get_running_loop().call_later(delay, self._rested, uid)
        log.info("A job is read again in %.1f s: %s", delay, error or "the job has changed", extra=facts)

    def _rested(self, uid: str) -> None:
        del self._resting[uid]
        self._news.set()

    async def _stop(self) -> None:
        tasks = tuple(self._records.values())
        for timer in self._resting.values():
            timer.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.standby.stop()
