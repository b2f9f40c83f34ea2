"""What is counted is shown under its own name."""

from dataclasses import fields
from functools import partial

from agentjob_gateway.follow import Counts
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.record import ArchiveCounts

STREAMS = {
    "streams": "streams",
    "follows": "follows",
    "lines": "log_lines_total",
    "skipped": "log_lines_skipped_total",
    "gaps": "gaps_total",
    "bytes": "stream_bytes_total",
    "damaged": "archive_damaged_total",
    "dropped": "readers_dropped_total",
}
"""Metrics by what they show of the streams. How late lines come is a histogram."""
GAUGES = {"jobs": "jobs", "age": "cache_age_seconds", "lag": "stream_lag_seconds"}
ARCHIVE = {
    "kept": "archiving",
    "waiting": "archive_waiting",
    "held": "standing_by",
    "lines": "archived_lines_total",
    "bytes": "archived_bytes_total",
    "failures": "archive_failures_total",
}


def test_every_count_is_shown_under_its_own_name() -> None:
    counts, kept, metrics = Counts(), ArchiveCounts(), Metrics()
    numbers = {name: float(value) for value, name in enumerate((*STREAMS, *GAUGES), 2)}
    for name in STREAMS:
        setattr(counts, name, int(numbers[name]))
    archived = {name: float(value) for value, name in enumerate(ARCHIVE, 102)}
    for name in ARCHIVE:
        setattr(kept, name, int(archived[name]))
    metrics.show(counts, {name: partial(float, numbers[name]) for name in GAUGES})
    metrics.show_archive(kept)

    def shown(metric: str) -> float | None:
        return metrics.registry.get_sample_value(f"agentjob_gateway_{metric}")

    assert {name: shown(metric) for name, metric in (STREAMS | GAUGES).items()} == numbers
    assert {name: shown(metric) for name, metric in ARCHIVE.items()} == archived
    assert {each.name for each in fields(Counts)} == {*STREAMS, "lag"}
    assert {each.name for each in fields(ArchiveCounts)} == {*ARCHIVE}
