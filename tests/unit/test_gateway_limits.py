"""Buckets and counters: what one caller may take, and how exactly it is told when there is more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_gateway.caller import Caller, Limits
from agentjob_gateway.errors import TooMany
from agentjob_gateway.limits import MAX_CALLERS, Rates, Streams, take


def caller(name: str = "key:ci", per_minute: int = 60, streams: int = 2) -> Caller:
    return Caller(name=name, limits=Limits(requests_per_minute=per_minute, concurrent_jobs=1, streams=streams))


def taken(rates: Rates, who: Caller, now: float) -> bool:
    try:
        rates.take(who, now)
    except TooMany:
        return False
    return True


def burst(rates: Rates, who: Caller, now: float) -> int:
    """Requests that are let through at one moment."""
    count = 0
    while taken(rates, who, now):
        count += 1
    return count


@given(
    per_minute=st.integers(1, 500),
    start=st.floats(0, 1e7),
    gaps=st.lists(st.floats(0, 200), min_size=1, max_size=200),
)
def test_a_bucket_never_gives_more_than_what_it_holds_and_what_flows_in(
    per_minute: int, start: float, gaps: list[float]
) -> None:
    rates, now, times = Rates(), start, []
    for gap in gaps:
        now += gap
        if taken(rates, caller(per_minute=per_minute), now):
            times.append(now)

    for first, since in enumerate(times):
        for last in range(first, len(times)):
            most = per_minute + (times[last] - since) * per_minute / 60
            assert last - first + 1 <= most + 1e-3


@given(per_minute=st.integers(1, 1000), start=st.floats(0, 1e7))
def test_who_waits_as_long_as_told_is_let_in_and_not_before(per_minute: int, start: float) -> None:
    full_at = start
    for _ in range(per_minute):
        full_at = take(full_at, per_minute, start)

    with pytest.raises(TooMany) as refused:
        take(full_at, per_minute, start)

    wait = refused.value.retry_after
    assert wait == pytest.approx(60 / per_minute, abs=1e-5)
    assert wait is not None
    take(full_at, per_minute, start + wait)
    with pytest.raises(TooMany):
        take(full_at, per_minute, start + wait * 0.99)


@pytest.mark.parametrize(
    ("idle", "most"),
    [
        pytest.param(0, 0, id="none while none has come back"),
        pytest.param(1, 1, id="one after the time of one"),
        pytest.param(30, 30, id="half of them after half a minute"),
        pytest.param(60, 60, id="all after a minute"),
        pytest.param(3600, 60, id="not more than all, however long nobody asked"),
    ],
)
def test_an_empty_bucket_fills_with_time(idle: float, most: int) -> None:
    rates = Rates()
    assert burst(rates, caller(), 100.0) == 60

    assert burst(rates, caller(), 100.0 + idle) == most


def test_a_refused_request_costs_nothing() -> None:
    rates = Rates()
    burst(rates, caller(), 0.0)
    for _ in range(1000):
        assert not taken(rates, caller(), 0.5)

    assert taken(rates, caller(), 1.0)


def test_callers_do_not_take_from_each_other() -> None:
    rates = Rates()
    burst(rates, caller("key:greedy"), 0.0)

    assert burst(rates, caller("key:modest"), 0.0) == 60


def test_a_refusal_says_the_limit_and_when_to_come_back() -> None:
    rates = Rates()
    burst(rates, caller(per_minute=30), 0.0)

    with pytest.raises(TooMany, match=r"^more than 30 requests a minute; come back in 1\.5 s$") as refused:
        rates.take(caller(per_minute=30), 0.5)

    assert refused.value.retry_after == pytest.approx(1.5)


def test_who_was_not_seen_for_longest_is_forgotten_when_there_are_too_many() -> None:
    rates = Rates()
    for name in ("key:busy", "key:idle"):
        burst(rates, caller(name), 0.0)
    assert not taken(rates, caller("key:busy"), 0.0)  # seen last, although refused
    for number in range(MAX_CALLERS - 1):
        rates.take(caller(f"key:{number}"), 0.0)

    assert not taken(rates, caller("key:busy"), 0.0)
    assert taken(rates, caller("key:idle"), 0.0)


def test_a_caller_holds_as_many_streams_as_they_may() -> None:
    streams = Streams()
    held = [streams.open(caller()) for _ in range(2)]
    with pytest.raises(TooMany, match="2 streams are open") as refused:
        streams.open(caller())
    streams.open(caller("key:other"))()

    assert refused.value.retry_after is not None
    for close in held:
        close()
    for close in [streams.open(caller()) for _ in range(2)]:
        close()
