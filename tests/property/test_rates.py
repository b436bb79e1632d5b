"""Windows that slide agree with a model that keeps everything and recounts it each time."""

from __future__ import annotations

import tracemalloc
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from sessionsync.reliability.rates import (
    CLEAR_AFTER,
    LEAST,
    QUIET_S,
    SLOWER_LEAST,
    WINDOW_S,
    Latencies,
    Rates,
    percentile,
)

NOW = 1_800_000_000.0
GAPS = st.floats(0, 400).map(lambda gap: round(gap, 3))


@given(st.lists(st.tuples(GAPS, st.booleans()), max_size=60), GAPS)
def test_rates_agree_with_recounting(steps: list[tuple[float, bool]], later: float) -> None:
    rates, all_of_it, now = Rates(), list[tuple[float, bool]](), NOW
    for gap, success in steps:
        now += gap
        rates.add(now, success=success)
        all_of_it.append((now, success))
    now += later

    window = [success for at, success in all_of_it if at > now - WINDOW_S]
    expected = window.count(False) / len(window) if len(window) >= LEAST else None
    assert rates.error_rate(now) == expected
    assert rates.is_over(now) == over(all_of_it, now)


def over(all_of_it: list[tuple[float, bool]], now: float) -> bool:
    """The rule in its own words: the last ten, or one success and 30 s without a failure."""
    window = [(at, success) for at, success in all_of_it if at > now - WINDOW_S]
    if len(window) >= CLEAR_AFTER and all(success for _, success in window[-CLEAR_AFTER:]):
        return True
    failures = [at for at, success in window if not success]
    if not window:
        return False
    if not failures:
        return True
    since = [success for at, success in window if at >= failures[-1]]
    return True in since and now - failures[-1] >= QUIET_S


@given(
    st.lists(st.tuples(GAPS, st.floats(0.001, 60).map(lambda s: round(s, 3))), max_size=80),
    GAPS,
)
def test_the_p95_agrees_with_recounting(steps: list[tuple[float, float]], later: float) -> None:
    latencies, all_of_it, now = Latencies(), list[tuple[float, float]](), NOW
    for gap, seconds in steps:
        now += gap
        latencies.add(now, seconds)
        all_of_it.append((now, seconds))
    now += later

    window = sorted(seconds for at, seconds in all_of_it if at > now - WINDOW_S)
    expected = window[ceil(0.95 * len(window)) - 1] if len(window) >= LEAST else None
    assert latencies.p95(now) == expected
    older = [at for at, _ in all_of_it if at <= now - WINDOW_S]
    assert (latencies.usual(now) is not None) == (len(older) >= SLOWER_LEAST)


@given(st.lists(st.integers(0, 100), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_value_with_enough_below(values: list[int], part: float) -> None:
    found = percentile([float(value) for value in values], part)

    assert found in values
    assert sum(value <= found for value in values) >= part * len(values)
    assert sum(value < found for value in values) < part * len(values)


def test_one_error_in_two_is_no_rate() -> None:
    rates = Rates()
    rates.add(NOW, success=True)
    rates.add(NOW, success=False)

    assert rates.error_rate(NOW) is None
    for _ in range(8):
        rates.add(NOW, success=True)
    assert rates.error_rate(NOW) == 0.1


def test_failures_in_a_row_end_with_a_success() -> None:
    rates = Rates()
    for success in (True, False, False, False):
        rates.add(NOW, success=success)
    assert rates.failures_in_row() == 3
    rates.add(NOW, success=True)
    assert rates.failures_in_row() == 0


def test_a_clock_that_is_set_back_leaves_nothing_in_the_future() -> None:
    rates = Rates()
    for _ in range(20):
        rates.add(NOW + 10_000, success=False)
    for _ in range(10):
        rates.add(NOW, success=True)

    assert rates.error_rate(NOW) == 0.0


def filled(usual_s: float, recent_s: float, recent: int) -> Latencies:
    """A day of one request a minute, then the window."""
    latencies = Latencies()
    for minute in range(24 * 60):
        latencies.add(NOW + 60 * minute, usual_s)
    now = NOW + 86_400 + WINDOW_S
    for _ in range(recent):
        latencies.add(now, recent_s)
    return latencies


def test_slower_than_usual_is_by_half_and_by_what_one_notices_and_often_enough() -> None:
    now = NOW + 86_400 + WINDOW_S

    found = filled(0.5, 0.8, 20).slower(now)
    assert found is not None
    assert (found.p95_s, found.usual_s) == (0.8, 0.5)
    assert filled(0.5, 0.74, 20).slower(now) is None, "less than 250 ms, and less than half"
    assert filled(0.2, 0.4, 20).slower(now) is None, "by half, but not by 250 ms"
    assert filled(2.0, 2.9, 20).slower(now) is None, "by 250 ms, but not by half"
    assert filled(0.5, 0.8, 19).slower(now) is None, "too few"
    assert Latencies().slower(now) is None


def test_what_is_kept_is_bounded() -> None:
    a_day = [NOW + 5 * number for number in range(24 * 720)]
    a_burst = [a_day[-1] + number / 10 for number in range(3000)]
    tracemalloc.start()
    try:
        latencies, rates = Latencies(), Rates()
        for number, at in enumerate((*a_day, *a_burst)):
            latencies.add(at, number / 1000)
            rates.add(at, success=True)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # two windows of 2,000 with their times, and a day of 200 an hour, at 8 bytes; arrays have an eighth to spare
    assert held < (2 * 2 * 2000 + 24 * 200) * 8 * 9 / 8 + 10_000
