"""Who may start: the queue, kept true by the store and by what becomes of those that were admitted."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_kube.errors import ApiError
from agentjob_operator import rules
from agentjob_operator.slots import Queue, Turn
from agentjob_operator.store import Store
from agentjob_operator.work import Lane, WorkQueue
from agentjob_operator.world import CreatePod, Decision, QueueView


@dataclass(kw_only=True)
class Admission:
    """Gives slots to waiting jobs as they become free, and has those looked at that got one.

    It hears of every change of the store at once. All that it decides follows from the store: after a restart, the same
    jobs have slots, and the same ones wait.
    """

    store: Store
    queue: Queue
    work: WorkQueue
    clock: Callable[[], datetime]
    _is_open: bool = False
    _starting: set[Key] = field(default_factory=set)
    """Jobs whose Pods are being made, or may have been: their slots stay taken whatever is heard of them."""
    _failed: set[Key] = field(default_factory=set)
    """Jobs that could not be started: they are out of the queue until their next look."""
    _ailing: set[str] = field(default_factory=set)
    """Namespaces in which the last start has failed: whatever it was, the next one may find it too."""

    def __post_init__(self) -> None:
        self.store.changed = self.changed
        self.work.lane = self.lane

    def open(self, besides: Iterable[Key] = ()) -> None:
        """Admits jobs from now on, also these, which were not looked at before.

        All jobs and Pods must be known, and nobody else may admit any.
        """
        now, self._is_open = self.clock(), True
        for key in besides:
            self._tell(key, now)
        self._admit()

    def changed(self, key: Key) -> None:
        """Takes what the store has of a job by now."""
        self._hear(key, self.clock())

    def look(self, key: Key, now: datetime) -> QueueView:
        """How a job stands that is about to be decided on: as of the moment of that decision."""
        self._failed.discard(key)
        self._hear(key, now)
        return self.queue.view(key)

    def give_up(self, key: Key) -> None:
        """Tells of a job about which nothing is going to be decided: it has a slot only while an agent of it works."""
        self._starting.discard(key)
        self.changed(key)

    def lane(self, key: Key) -> Lane:
        """What a look at a job is going to be, for all that is known here."""
        if not self.queue.is_admitted(key):
            return Lane.OTHER
        return Lane.AGAIN if key.namespace in self._ailing else Lane.START

    @contextmanager
    def acting(self, key: Key, decision: Decision) -> Iterator[None]:
        """While a decision is carried out. It keeps a job's slot until it is known whether its Pod was made.

        When that fails, others get the slot. After no answer, and after some errors, the Pod may be there: then the
        slot is kept until the job's next look, which tries again.
        """
        is_known, has_failed = True, True
        starts = any(isinstance(action, CreatePod) for action in decision.actions)
        if starts:
            self._starting.add(key)
        try:
            yield
            has_failed = False
        except ApiError as error:
            is_known = not error.may_be_done
            raise
        finally:
            if starts:
                (self._ailing.add if has_failed else self._ailing.discard)(key.namespace)
            if key in self._starting and is_known:
                self._settle(key, has_failed=has_failed)

    def _settle(self, key: Key, *, has_failed: bool) -> None:
        self._starting.remove(key)
        if has_failed:
            self._failed.add(key)
        self.changed(key)

    def _hear(self, key: Key, now: datetime) -> None:
        if key not in self._starting:
            self._tell(key, now)
        self._admit(key)

    def _tell(self, key: Key, now: datetime) -> None:
        job, pods = self.store.jobs.get(key), self.store.pods(key)
        if not self.work.accepts(key):  # nobody may tell when its Pods are gone
            self.queue.rests(key)
        elif rules.takes_a_slot(job, pods):
            self.queue.works(key)
        elif job is not None and self._may_start(job, now) and rules.wants_to_start(job, pods, now):
            self.queue.waits(_turn(job))
        else:
            self.queue.rests(key)

    def _may_start(self, job: AgentJob, now: datetime) -> bool:
        """Whether it makes sense to try. Nobody would start one that cannot be read."""
        if job.key in self._failed or job.key in self.store.unread:
            return False
        return not rules.is_refused(self.store.refusal(job.key), now)

    def _admit(self, besides: Key | None = None) -> None:
        """Has those looked at that get a slot: the queue of work knows that they are to start.

        But for the one that has changed: whoever has changed it has it looked at.
        """
        for key in self.queue.admit() if self._is_open else ():
            if key != besides:
                self.work.add(key)


def _turn(job: AgentJob) -> Turn:
    meta = job.metadata
    return Turn(-job.spec.priority, meta.creation_timestamp, meta.uid, job.key)
