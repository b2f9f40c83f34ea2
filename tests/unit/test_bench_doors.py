"""The arithmetic behind the benchmark of the doors."""

import pytest

from bench.crowd import share
from bench.figures import Added, Comparison, Measurement, quantile
from bench.samples import Samples
from bench.tally import Tally, Verdict, total


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param(0.5, 50, id="the median is in the middle"),
        pytest.param(0.99, 99, id="one in a hundred is above the p99"),
        pytest.param(1.0, 100, id="nothing is above the whole"),
        pytest.param(0.0, 1, id="the least is the least"),
    ],
)
def test_a_quantile_is_a_value_that_was_measured(part: float, expected: int) -> None:
    assert quantile(range(100, 0, -1), part) == expected


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        pytest.param((2.0, 3.0, 9.0), "reached", id="one slow run does not decide"),
        pytest.param((3.1, 3.1, 3.1), "missed", id="too much throughout"),
        pytest.param((0.5, 0.5, 0.5), "reached", id="sooner than what it is compared with"),
    ],
)
def test_what_is_added_is_judged_by_the_difference_of_the_medians(ours: tuple[float, ...], verdict: str) -> None:
    added = Added(name="late", ours=ours, theirs=(1.0, 1.0, 1.0), against="raw", unit="ms", goal=2.0)

    assert added.row()[-1] == verdict


def test_what_is_added_shows_its_pairs() -> None:
    added = Added(name="late", ours=(2.0, 3.0), theirs=(1.0, 4.0), against="raw", unit="ms", goal=2.0)

    assert added.row()[3:5] == ("+0.00 ms (-1.00–+1.00, 2 pairs)", "≤ +2 ms")


def test_a_comparison_without_a_goal_is_only_shown() -> None:
    compared = Comparison(name="p50", ours=(1.0,), theirs=(2.0,), against="bare", unit="ms", goal=None)

    assert compared.row()[3:] == ("0.50 (0.50–0.50, 1 pairs)", "", "")


@pytest.mark.parametrize(
    ("theirs", "shown"),
    [
        pytest.param((10.0,), ("bare: 10 µs", "2.00"), id="beside another"),
        pytest.param((0.0,), ("bare: 0 µs", ""), id="beside nothing at all, of which there is no ratio"),
        pytest.param((), ("", ""), id="by itself"),
    ],
)
def test_a_measurement_is_held_to_its_bound_whatever_stands(theirs: tuple[float, ...], shown: tuple[str, str]) -> None:
    measured = Measurement(name="cost", values=(20.0,), unit="µs", goal=24, theirs=theirs, against="bare")

    assert measured.row()[2:4] == shown
    assert measured.row()[-1] == "reached"


BEFORE = """\
# TYPE agentjob_gateway_api_requests_total counter
agentjob_gateway_api_requests_total{code="200",verb="get"} 4
process_cpu_seconds_total 1.5
"""
AFTER = """\
agentjob_gateway_api_requests_total{code="200",verb="get"} 5
agentjob_gateway_api_requests_total{code="404",verb="get"} 2
agentjob_gateway_api_requests_total{code="200",verb="watch"} 9
process_cpu_seconds_total 1.75e0
"""


@pytest.mark.parametrize(
    ("name", "labels", "grown"),
    [
        pytest.param("process_cpu_seconds_total", {}, 0.25, id="a sample without labels"),
        pytest.param(
            "agentjob_gateway_api_requests_total", {"verb": "get"}, 3, id="all that have a label, new ones too"
        ),
        pytest.param("agentjob_gateway_api_requests_total", {}, 12, id="all of a name"),
        pytest.param("agentjob_gateway_gaps_total", {}, 0, id="one that is not there"),
    ],
)
def test_samples_grow_between_two_moments(name: str, labels: dict[str, str], grown: float) -> None:
    assert (Samples.parse(AFTER) - Samples.parse(BEFORE)).sum(name, **labels) == grown


@pytest.mark.parametrize(
    ("came", "told", "verdict"),
    [
        pytest.param([1, 2, 3, 4], [], Verdict(4, 0, 0, 0), id="every line once"),
        pytest.param([1, 2, 2, 3, 4, 2], [], Verdict(4, 0, 2, 0), id="each repetition counts"),
        pytest.param([1, 4], [(2, 3)], Verdict(4, 2, 0, 0), id="lost, and told so"),
        pytest.param([1, 4], [(2, 2)], Verdict(4, 2, 0, 1), id="one of two is not told"),
        pytest.param([1], [(2, None)], Verdict(4, 3, 0, 0), id="nobody knows how many are lost"),
        pytest.param([1, 2, 3, 4], [(2, 3)], Verdict(4, 0, 0, 0), id="told lost, and come after all"),
        pytest.param([], [], Verdict(4, 4, 0, 4), id="nothing came"),
    ],
)
def test_lines_are_audited_by_seq(came: list[int], told: list[tuple[int, int | None]], verdict: Verdict) -> None:
    tally = Tally()
    tally.take(came)
    for gap in told:
        tally.tell(*gap)

    assert tally.verdict(4) == verdict


def test_verdicts_of_several_logs_add_up() -> None:
    assert total([Verdict(4, 1, 2, 0), Verdict(6, 3, 0, 1)]) == Verdict(10, 4, 2, 1)


def test_a_crowd_is_shared_out_whole() -> None:
    assert [share(10, 3, number) for number in range(3)] == [4, 3, 3]
