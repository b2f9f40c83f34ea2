"""What the operator counts. No label carries a job's name: their number would have no bound."""

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_api.status import AgentJobStatus, AttemptStatus, ConditionType, Usage
from agentjob_operator.conditions import find
from agentjob_operator.failing import Failing
from agentjob_operator.slots import Queue
from agentjob_operator.work import Lane

MAX_MODELS: Final = 100
"""Models that are counted each by itself. Their names are what runners say, and an agent may write in their place."""
OTHER_MODELS: Final = "other"
_PENDING_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
_RUNNING_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
_WAIT_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_RECONCILE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class JobsByPhase(Collector):
    """Counts the jobs when it is asked, so that it cannot drift from what is there."""

    def __init__(self, jobs: Callable[[], Mapping[Key, AgentJob]]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """One gauge for each namespace and phase that has jobs."""
        family = GaugeMetricFamily("agentjob_jobs", "AgentJobs by namespace and phase.", labels=["namespace", "phase"])
        found = Count((key.namespace, job.status.phase.value) for key, job in self._jobs().items())
        for (namespace, phase), number in sorted(found.items()):
            family.add_metric([namespace, phase], number)
        yield family


class StalledJobs(Collector):
    """Counts the jobs that wait for a person when it is asked: what they say of themselves."""

    def __init__(self, jobs: Callable[[], Mapping[Key, AgentJob]]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """One gauge for each namespace and reason that has jobs."""
        family = GaugeMetricFamily(
            "agentjob_stalled_jobs",
            "AgentJobs that have not ended and cannot go on by themselves, by namespace and reason of Stalled.",
            labels=["namespace", "reason"],
        )
        waiting = ((key, job.status) for key, job in self._jobs().items() if not job.status.phase.is_final)
        stalls = ((key, find(status.conditions, ConditionType.STALLED)) for key, status in waiting)
        found = Count((key.namespace, stall.reason) for key, stall in stalls if stall is not None)
        for (namespace, reason), number in sorted(found.items()):
            family.add_metric([namespace, reason], number)
        yield family


class QueueByNamespace(Collector):
    """Says how each namespace stands with its limits when it is asked."""

    def __init__(
        self, queue: Queue, namespaces: Iterable[str], acts: Callable[[], bool], clock: Callable[[], datetime]
    ) -> None:
        self._queue = queue
        self._namespaces = sorted(namespaces)
        self._acts = acts
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Four gauges by namespace; without samples from an operator that does not act."""
        waiting = GaugeMetricFamily("agentjob_queued_jobs", "Jobs that wait for room.", labels=["namespace"])
        oldest = GaugeMetricFamily(
            "agentjob_queued_oldest_seconds",
            "Seconds since the creation of the oldest job that waits for room, 0 where none does.",
            labels=["namespace"],
        )
        taken = GaugeMetricFamily("agentjob_slots_taken", "Jobs that run or are about to.", labels=["namespace"])
        limit = GaugeMetricFamily(
            "agentjob_slots",
            'Jobs that may run at the same time, where there is a limit; of namespace "" for all together.',
            labels=["namespace"],
        )
        for namespace in self._namespaces if self._acts() else ():
            tally = self._queue.tally(namespace)
            waiting.add_metric([namespace], tally.waiting)
            oldest.add_metric([namespace], (self._clock() - tally.oldest).total_seconds() if tally.oldest else 0.0)
            taken.add_metric([namespace], tally.taken)
            self._add(limit, namespace, self._queue.limits.of(namespace))
        self._add(limit, "", self._queue.limits.running if self._acts() else None)
        yield from (waiting, oldest, taken, limit)

    @staticmethod
    def _add(family: GaugeMetricFamily, namespace: str, limit: int | None) -> None:
        if limit is not None:
            family.add_metric([namespace], limit)


class FailuresByNamespace(Collector):
    """Counts the jobs that could not be acted on when it is asked."""

    def __init__(self, failures: Mapping[Key, Failing], namespaces: Iterable[str], acts: Callable[[], bool]) -> None:
        self._failures = failures
        self._namespaces = sorted(namespaces)
        self._acts = acts

    def collect(self) -> Iterator[Metric]:
        """Two gauges by namespace; without samples from an operator that does not act."""
        failing = GaugeMetricFamily(
            "agentjob_failing_jobs",
            "Jobs on which a look has failed, and about which nothing could be done since.",
            labels=["namespace"],
        )
        stuck = GaugeMetricFamily(
            "agentjob_stuck_jobs",
            "Of these, the ones on which looks have failed for minutes.",
            labels=["namespace"],
        )
        failed = Count((key.namespace, found.is_stuck) for key, found in self._failures.items())
        for namespace in self._namespaces if self._acts() else ():
            failing.add_metric([namespace], failed[namespace, False] + failed[namespace, True])
            stuck.add_metric([namespace], failed[namespace, True])
        yield from (failing, stuck)


class StoreAge(Collector):
    """Says how old what is known may be when it is asked."""

    def __init__(self, ages: Callable[[], Mapping[str, float]]) -> None:
        self._ages = ages

    def collect(self) -> Iterator[Metric]:
        """One gauge by kind, also of an operator that does not act: it is to know as much."""
        family = GaugeMetricFamily(
            "agentjob_store_age_seconds",
            "Seconds since the API server last said anything of Pods, and since all AgentJobs were last listed,"
            " which is every five minutes beside their watch; of the namespace where that is longest.",
            labels=["kind"],
        )
        for kind, age in sorted(self._ages().items()):
            family.add_metric([kind], age)
        yield family


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(
        self,
        jobs: Callable[[], Mapping[Key, AgentJob]],
        queue_depth: Callable[[], float],
        acts: Callable[[], bool],
    ) -> None:
        """What is read when it is asked for: the jobs, the keys that wait, and whether this operator acts."""
        self.registry = CollectorRegistry()
        self._models: set[str] = set()
        self.registry.register(JobsByPhase(jobs))
        self.registry.register(StalledJobs(jobs))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        at = self.registry
        self._pending = Histogram(
            "agentjob_pending_seconds",
            "Seconds from a job's creation to its agent's start.",
            ["namespace"],
            buckets=_PENDING_BUCKETS,
            registry=at,
        )
        self._running = Histogram(
            "agentjob_running_seconds",
            "Seconds from an agent's start to its end.",
            ["namespace"],
            buckets=_RUNNING_BUCKETS,
            registry=at,
        )
        self._attempts = Counter(
            "agentjob_attempts_total", "Attempts that ended, by reason.", ["namespace", "reason"], registry=at
        )
        self._tokens = Counter(
            "agentjob_tokens_total",
            'Tokens by model and kind; of all models but the first hundred together, as "other".',
            ["model", "kind"],
            registry=at,
        )
        self._dollars = Counter(
            "agentjob_cost_dollars_total",
            "US dollars by model, by Claude Code's price list; by the same models as agentjob_tokens_total.",
            ["model"],
            registry=at,
        )
        self._define_looks(at)
        self._requests = Counter(
            "agentjob_api_requests_total",
            'Requests to the API server by verb and status, "none" where there was no answer.',
            ["verb", "code"],
            registry=at,
        )
        depth = Gauge("agentjob_queue_depth", "Jobs that wait to be looked at.", registry=at)
        depth.set_function(queue_depth)
        leader = Gauge("agentjob_leader", "1 of the operator that acts, 0 of one that waits.", registry=at)
        leader.set_function(acts)

    def _define_looks(self, at: CollectorRegistry) -> None:
        self.reconcile_seconds = Histogram(
            "agentjob_reconcile_seconds",
            "Seconds from taking up a job to having acted on it.",
            buckets=_RECONCILE_BUCKETS,
            registry=at,
        )
        self._queue_seconds = Histogram(
            "agentjob_queue_seconds",
            'Seconds a job waited to be looked at: "again" after a look that has failed, "start" to get its Pod,'
            ' "other" for anything else.',
            ["lane"],
            buckets=_WAIT_BUCKETS,
            registry=at,
        )
        self.reconcile_errors = Counter(
            "agentjob_reconcile_errors_total", "Looks at a job that ended in an error.", ["error"], registry=at
        )

    def waited(self, lane: Lane, seconds: float) -> None:
        """Counts a key that was taken from the queue, and for how long it has waited there."""
        self._queue_seconds.labels(lane.value).observe(seconds)

    def request(self, verb: str, code: str) -> None:
        """Counts a request to the API server."""
        self._requests.labels(verb, code).inc()

    def written(self, job: AgentJob, before: AgentJobStatus, after: AgentJobStatus) -> None:
        """Counts what a status says that was not said before. To be called with what was kept of it."""
        namespace = job.metadata.namespace
        if before.start_time is None and after.start_time is not None:
            waited = after.start_time - job.metadata.creation_timestamp
            self._pending.labels(namespace).observe(max(0.0, waited.total_seconds()))
        ended_before = {old.number for old in before.attempts if old.completion_time is not None}
        for attempt in after.attempts:
            if attempt.completion_time is not None and attempt.number not in ended_before:
                self._ended(namespace, attempt)

    def _ended(self, namespace: str, attempt: AttemptStatus) -> None:
        if attempt.reason is not None:
            self._attempts.labels(namespace, attempt.reason.value).inc()
        if attempt.start_time is not None and attempt.completion_time is not None:
            ran = attempt.completion_time - attempt.start_time  # by two clocks, where nobody saw the end
            self._running.labels(namespace).observe(max(0.0, ran.total_seconds()))
        if attempt.usage is not None:
            self._spent(attempt.usage)

    def _spent(self, usage: Usage) -> None:
        for name, part in usage.by_model.items():
            model = self._model(name)
            self._tokens.labels(model, "input").inc(part.input_tokens)
            self._tokens.labels(model, "output").inc(part.output_tokens)
            self._tokens.labels(model, "cache_read").inc(part.cache_read_input_tokens)
            self._tokens.labels(model, "cache_creation").inc(part.cache_creation_input_tokens)
            self._dollars.labels(model).inc(float(part.cost_usd))

    def _model(self, name: str) -> str:
        """What a model is counted as."""
        if len(self._models) < MAX_MODELS:
            self._models.add(name)
        return name if name in self._models else OTHER_MODELS
