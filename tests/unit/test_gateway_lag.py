"""How late lines come, as Prometheus is told."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest

from agentjob_gateway.follow import Counts
from agentjob_gateway.lag import BOUNDS, Lag
from agentjob_gateway.metrics import Metrics

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAME = "agentjob_gateway_log_lag_seconds"


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        pytest.param(0.0, "0.005", id="at once"),
        pytest.param(-3.0, "0.005", id="from a node whose clock is ahead"),
        pytest.param(0.05, "0.05", id="by just as much as a bound"),
        pytest.param(0.051, "0.1", id="by a little more"),
        pytest.param(3_600.0, "+Inf", id="by more than any bound"),
    ],
)
def test_a_line_is_counted_under_the_first_bound_that_it_keeps(seconds: float, bound: str) -> None:
    lag = Lag()
    lag.came(NOON, NOON + timedelta(seconds=seconds))

    assert next(name for name, count in lag.buckets() if count) == bound
    assert lag.buckets()[-1] == ("+Inf", 1)
    assert lag.seconds == max(0.0, seconds)


def test_it_is_a_histogram() -> None:
    metrics, counts = Metrics(), Counts()
    metrics.show(counts, {})
    for seconds in (0.02, 0.02, 7.0):
        counts.lag.came(NOON, NOON + timedelta(seconds=seconds))

    text = generate_latest(metrics.registry).decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(NAME))
    assert f"# TYPE {NAME} histogram" in text
    assert [found[f'{NAME}_bucket{{le="{bound}"}}'] for bound in ("0.01", "0.025", "5.0", "10.0", "+Inf")] == [
        "0.0",
        "2.0",
        "2.0",
        "3.0",
        "3.0",
    ]
    assert found[f"{NAME}_count"] == "3.0"
    assert float(found[f"{NAME}_sum"]) == pytest.approx(7.04)
    assert len([name for name in found if "_bucket" in name]) == len(BOUNDS) + 1
