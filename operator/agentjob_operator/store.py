"""What is known of the cluster, in memory: jobs, their Pods, and what was learned by asking.

Anything here may be late, nothing may go back: an object never replaces a newer one of itself, and what is gone does
not return with an answer that was on its way. resourceVersions are compared as numbers, as Kubernetes lets its clients.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agentjob_api.job import AgentJob, Metadata
from agentjob_api.names import Key
from agentjob_api.outcome import Outcome
from agentjob_operator.jobs import parse
from agentjob_operator.pod import PodView
from agentjob_operator.world import Refusal

MAX_GONE: Final = 10_000
"""Deleted objects that are remembered: more than can be deleted while one answer is on its way."""


def version(job: AgentJob) -> int:
    """The resourceVersion of a job as a number."""
    return int(job.metadata.resource_version)


def _asks(job: AgentJob) -> bool:
    """Whether the API server is asked for a Pod of a job, now or later, as long as the job stays as it is."""
    is_held = job.spec.suspend or job.spec.cancel or job.metadata.deletion_timestamp is not None
    return not is_held and not job.status.phase.is_final


@dataclass
class Store:
    """Jobs by key, Pods by the key of their job and by uid."""

    jobs: dict[Key, AgentJob] = field(default_factory=dict)
    changed: Callable[[Key], None] = lambda _: None
    """Called with the key of a job that is not as it was, or whose Pods are not."""
    unread: dict[Key, Metadata] = field(default_factory=dict)
    """Jobs that are there and cannot be read, whatever is known of them from before."""
    refusals: dict[str, dict[Key, Refusal]] = field(default_factory=lambda: defaultdict(dict))
    """By namespace, in which they are counted at each."""
    read: dict[str, Outcome | None] = field(default_factory=dict)
    """Outcomes from logs, by the Pod's uid."""
    _pods: dict[Key, dict[str, PodView]] = field(default_factory=dict)
    _gone: dict[str, None] = field(default_factory=dict)
    """uids of the last objects that were deleted, in order."""

    def knows(self, key: Key, resource_version: str) -> bool:
        """Whether a job of this version is no news."""
        known, unread = self.jobs.get(key), self.unread.get(key)
        versions = [unread.resource_version if unread else None, known.metadata.resource_version if known else None]
        return resource_version in versions

    def take_job(self, key: Key, body: Mapping[str, Any]) -> bool:
        """Takes a job as the API server sends it; whether this is news, if only that it cannot be read."""
        if (job := parse(key, body)) is not None:
            return self.put_job(job)
        meta = Metadata.model_validate(body["metadata"])
        if meta.uid in self._gone or self._version(key) > int(meta.resource_version):
            return False
        self.unread[key] = meta
        self.changed(key)
        return True

    def put_job(self, job: AgentJob) -> bool:
        """Whether this is news."""
        if job.metadata.uid in self._gone or self._version(job.key) >= version(job):
            return False
        self.jobs[job.key] = job
        self.unread.pop(job.key, None)
        if not _asks(job):
            self.drop_refusal(job.key)
        self.changed(job.key)
        return True

    def drop_job(self, key: Key, uid: str) -> None:
        """Forgets a job that was deleted; not another one that has its name by now."""
        self._bury(uid)
        if (unread := self.unread.get(key)) is not None and unread.uid == uid:
            del self.unread[key]
        if (known := self.jobs.get(key)) is not None and known.metadata.uid == uid:
            del self.jobs[key]
            self.drop_refusal(key)
            self.changed(key)

    def drop_absent(self, namespace: str, present: set[Key], at: int) -> set[Key]:
        """Takes a LIST of all jobs in a namespace, with all of their keys; those of jobs that are gone."""
        changed = set[Key]()
        for key, unread in list(self.unread.items()):
            if key.namespace == namespace and key not in present and int(unread.resource_version) <= at:
                self.drop_job(key, unread.uid)
                changed.add(key)
        for key, known in list(self.jobs.items()):
            if key.namespace == namespace and key not in present and version(known) <= at:
                self.drop_job(key, known.metadata.uid)
                changed.add(key)
        return changed

    def refusal(self, key: Key) -> Refusal | None:
        """What the API server said last to the Pod of the job that has this key now."""
        job, found = self.jobs.get(key), self.refusals[key.namespace].get(key)
        return found if found is not None and job is not None and found.job == job.metadata.uid else None

    def refused(self, namespace: str) -> int:
        """How many jobs of a namespace wait for that the API server takes their Pods."""
        return len(self.refusals[namespace])

    def note_refusal(self, key: Key, refusal: Refusal) -> None:
        """Notes what the API server said to a job's Pod, unless the job is gone meanwhile, or asks no more."""
        if (job := self.jobs.get(key)) is not None and job.metadata.uid == refusal.job and _asks(job):
            self.refusals[key.namespace][key] = refusal

    def drop_refusal(self, key: Key) -> None:
        """Forgets what the API server said to a job's Pod: it has taken it, or is not asked again."""
        self.refusals[key.namespace].pop(key, None)

    def note_read(self, pod: PodView, outcome: Outcome | None) -> None:
        """Notes the outcome in a Pod's log, unless the Pod is gone meanwhile."""
        if pod.uid in self._pods.get(Key(pod.namespace, pod.job), {}):
            self.read[pod.uid] = outcome

    def pods(self, key: Key) -> tuple[PodView, ...]:
        """The Pods that AgentJobs of this name control."""
        return tuple(self._pods.get(key, {}).values())

    def put_pod(self, pod: PodView) -> Key | None:
        """The key of the Pod's job, if this is news and the Pod is an AgentJob's."""
        key = Key(pod.namespace, pod.job)
        if pod.owner is None or pod.uid in self._gone:
            return None
        known = self._pods.setdefault(key, {}).get(pod.uid)
        if known is not None and known.version >= pod.version:
            return None
        self._pods[key][pod.uid] = pod
        self.changed(key)
        return key

    def drop_pod(self, pod: PodView) -> Key:
        """Forgets a Pod that is gone; the key of its job."""
        key = Key(pod.namespace, pod.job)
        self._bury(pod.uid)
        self.read.pop(pod.uid, None)
        pods = self._pods.get(key, {})
        pods.pop(pod.uid, None)
        if not pods:
            self._pods.pop(key, None)
        self.changed(key)
        return key

    def replace_pods(
        self, namespace: str, pods: Iterable[PodView], at: int, unread: frozenset[str] = frozenset()
    ) -> set[Key]:
        """Takes a LIST of all Pods of jobs in a namespace; the keys of the jobs for which it brought news.

        `unread`: uids of those that were listed and could not be read; they stay as they are known.
        """
        listed = {pod.uid: pod for pod in pods}
        changed = {key for pod in listed.values() if (key := self.put_pod(pod)) is not None}
        known = [pod for key, found in self._pods.items() if key.namespace == namespace for pod in found.values()]
        for pod in known:
            if pod.uid not in listed and pod.uid not in unread and pod.version <= at:
                changed.add(self.drop_pod(pod))
        return changed

    def forget(self, namespace: str) -> set[Key]:
        """Forgets a namespace of which nothing is heard, though all of it may be there; the keys of its jobs."""
        keys = {key for key in (*self.jobs, *self.unread, *self._pods) if key.namespace == namespace}
        for key in keys:
            for uid in self._pods.pop(key, {}):
                self.read.pop(uid, None)
            for known in (self.jobs, self.unread):
                known.pop(key, None)
            self.drop_refusal(key)
            self.changed(key)
        return keys

    def mark_deleting(self, pod: PodView) -> None:
        """Notes that a Pod was deleted by us, unless it is gone already: the watch may be quicker than the answer.

        By when it is gone, the watch says.
        """
        pods = self._pods.get(Key(pod.namespace, pod.job), {})
        if (known := pods.get(pod.uid)) is not None:
            pods[pod.uid] = replace(known, deleting=True, gone_by=None)

    def keys(self) -> set[Key]:
        """Every job that is there, or has a Pod."""
        return {*self.jobs, *self._pods}

    def _version(self, key: Key) -> int:
        """The newest resourceVersion of a job that is known, read or not; -1 where none is."""
        known, unread = self.jobs.get(key), self.unread.get(key)
        return max(version(known) if known else -1, int(unread.resource_version) if unread else -1)

    def _bury(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
