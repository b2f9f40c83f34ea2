"""The arithmetic behind the benchmark's table and picture."""

import xml.etree.ElementTree as ET

import pytest

from bench.figures import Comparison, Measurement, table
from bench.picture import picture
from bench.timeline import MOMENTS, Timeline
from bench.writes import counted


def comparison(ours: tuple[float, ...], theirs: tuple[float, ...]) -> Comparison:
    return Comparison(name="start", ours=ours, theirs=theirs, against="bare", unit="s", goal=1.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "verdict"),
    [
        pytest.param((1.0, 2.0, 3.0), (2.0, 2.0, 2.0), 1.0, "reached", id="as quick in the middle"),
        pytest.param((1.0, 1.1, 9.0), (1.0, 1.0, 1.0), 1.1, "reached", id="one slow run does not decide"),
        pytest.param((1.2, 1.2, 1.2), (1.0, 1.0, 1.0), 1.2, "missed", id="slower throughout"),
    ],
)
def test_a_comparison_is_judged_by_the_ratio_of_its_medians(
    ours: tuple[float, ...], theirs: tuple[float, ...], ratio: float, verdict: str
) -> None:
    compared = comparison(ours, theirs)

    assert compared.ratio == pytest.approx(ratio)
    assert compared.row()[-1] == verdict


def test_the_range_is_of_pairs() -> None:
    assert "0.50–2.00, 2 pairs" in comparison((1.0, 2.0), (2.0, 1.0)).row()[3]


def test_a_measurement_is_judged_by_its_median() -> None:
    measured = Measurement(name="end", values=(0.5, 0.8, 2.0), unit="s", goal=0.9)

    assert measured.row()[1] == "0.80 s (0.50–2.00)"
    assert measured.row()[-1] == "reached"


def test_the_table_has_a_column_for_each_head() -> None:
    rows = table([comparison((1.0,), (1.0,)).row()]).splitlines()

    assert len({len(row) for row in rows}) == 1
    assert {row.count("|") for row in rows} == {7}


METRICS = """\
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",resource="pods",scope="resource",subresource="",verb="POST"} 3
apiserver_request_total{code="409",resource="pods",scope="resource",subresource="",verb="POST"} 1
apiserver_request_total{code="200",resource="agentjobs",subresource="status",verb="PUT"} 7
apiserver_request_total{code="201",resource="agentjobs",subresource="",verb="POST"} 5
apiserver_request_total{code="200",resource="pods",subresource="status",verb="PATCH"} 40
apiserver_request_total{code="200",resource="pods",subresource="",verb="LIST"} 90
"""


def test_only_the_operators_writes_are_counted() -> None:
    assert counted(METRICS) == {("POST", "pods", ""): 4, ("PUT", "agentjobs", "status"): 7}


def test_a_timeline_is_cut_into_what_happens_on_the_way() -> None:
    timeline = Timeline()
    for second, (moment, _) in enumerate(MOMENTS):
        timeline.note(moment, float(second))
        timeline.note(moment, 99.0)

    assert list(timeline.spans().values()) == [1.0] * (len(MOMENTS) - 1)
    assert timeline.between("created", "complete") == len(MOMENTS) - 1


def test_a_picture_is_drawn_to_scale() -> None:
    drawn = ET.fromstring(picture({"short & sweet": 1.0, "long": 3.0}, "A job"))

    short, long = [bar for bar in drawn.iter("{http://www.w3.org/2000/svg}rect") if bar.get("fill") != "white"]
    assert float(long.get("width", 0)) == pytest.approx(3 * float(short.get("width", 0)), abs=0.2)
    assert float(long.get("x", 0)) == pytest.approx(float(short.get("x", 0)) + float(short.get("width", 0)), abs=0.2)
