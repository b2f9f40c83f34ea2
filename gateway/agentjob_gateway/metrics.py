"""What the gateway counts. No label carries a job's or a caller's name: their number would have no bound."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agentjob_gateway.follow import Counts
from agentjob_gateway.record import ArchiveCounts

_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class StreamCounts(Collector):
    """What the streams have come to, read when it is asked for: counting a delivery costs an addition."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """One counter for each, and the histogram of how late lines come."""
        counts = self._counts
        yield CounterMetricFamily(
            "agentjob_gateway_log_lines", "Lines of agents that came from the cluster.", value=counts.lines
        )
        yield CounterMetricFamily(
            "agentjob_gateway_log_lines_skipped",
            "Lines of logs that are no runner's, and are left out.",
            value=counts.skipped,
        )
        yield HistogramMetricFamily(
            "agentjob_gateway_log_lag_seconds",
            "Seconds from when an agent said a line to when it came here: of those said while their job was followed"
            " here, and of many that come at once the last.",
            buckets=counts.lag.buckets(),
            sum_value=counts.lag.seconds,
        )
        yield CounterMetricFamily(
            "agentjob_gateway_gaps", "Places at which lines of agents are lost.", value=counts.gaps
        )
        yield CounterMetricFamily(
            "agentjob_gateway_archive_damaged",
            "Times that lines were lost to who asked for them because an object of the archive is damaged.",
            value=counts.damaged,
        )
        yield CounterMetricFamily(
            "agentjob_gateway_stream_bytes", "Bytes of events that went to clients.", value=counts.bytes
        )
        yield CounterMetricFamily(
            "agentjob_gateway_readers_dropped", "Clients that did not read, and were hung up on.", value=counts.dropped
        )


class ArchiveMetrics(Collector):
    """What the archive has come to."""

    def __init__(self, counts: ArchiveCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """A counter or gauge for each."""
        counts = self._counts
        yield GaugeMetricFamily("agentjob_gateway_archiving", "Jobs that are followed for the archive.", counts.kept)
        yield GaugeMetricFamily(
            "agentjob_gateway_archive_waiting", "Jobs that are to be archived and wait for their turn.", counts.waiting
        )
        yield GaugeMetricFamily(
            "agentjob_gateway_standing_by",
            "Jobs that are followed for the case that another replica goes.",
            counts.held,
        )
        yield CounterMetricFamily("agentjob_gateway_archived_lines", "Lines that were archived.", counts.lines)
        yield CounterMetricFamily(
            "agentjob_gateway_archived_bytes", "Bytes that they take in the archive before it is sealed.", counts.bytes
        )
        yield CounterMetricFamily(
            "agentjob_gateway_archive_failures", "Times that the archive's store did not do its part.", counts.failures
        )


class Metrics:
    """All metrics of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        at = self.registry
        self._answers = Counter(
            "agentjob_gateway_requests_total",
            "Requests that were answered, by route and status; those beyond a limit have the status 429, EventSources"
            " that were told to come back because they could not be served now 503.",
            ["method", "route", "status"],
            registry=at,
        )
        self._seconds = Histogram(
            "agentjob_gateway_request_seconds",
            "Seconds from a request to its answer's end; of streams, as long as they are open.",
            ["route"],
            buckets=_SECONDS_BUCKETS,
            registry=at,
        )
        self._api_requests = Counter(
            "agentjob_gateway_api_requests_total",
            'Requests to the API server by verb and status, "none" where there was no answer.',
            ["verb", "code"],
            registry=at,
        )
        self._gauges: Mapping[str, Gauge] = {
            "jobs": Gauge("agentjob_gateway_jobs", "Jobs that are known.", registry=at),
            "age": Gauge(
                "agentjob_gateway_cache_age_seconds",
                "Seconds since the cluster was last heard of, in the namespace where it is longest.",
                registry=at,
            ),
            "streams": Gauge(
                "agentjob_gateway_streams", "Streams that are open, calls of run_claude_agent among them.", registry=at
            ),
            "follows": Gauge("agentjob_gateway_follows", "Logs that are being read for them.", registry=at),
            "lag": Gauge(
                "agentjob_gateway_stream_lag_seconds",
                "Seconds for which the client has been behind that is behind the longest.",
                registry=at,
            ),
        }

    def show(self, counts: Counts, read: Mapping[str, Callable[[], float]]) -> None:
        """Shows the streams' counts, and for the gauges `jobs`, `age` and `lag` what these functions give."""
        self.registry.register(StreamCounts(counts))
        for name, now in {**read, "streams": lambda: counts.streams, "follows": lambda: counts.follows}.items():
            self._gauges[name].set_function(now)

    def show_archive(self, counts: ArchiveCounts) -> None:
        """Shows what the archive has come to."""
        self.registry.register(ArchiveMetrics(counts))

    def api_request(self, verb: str, code: str) -> None:
        """Counts a request to the API server."""
        self._api_requests.labels(verb, code).inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._answers.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
