"""Early warning: every ramp is found in time, and next to nothing else is taken for one.

The series are those of a year of days: an hour's latency by the minute, with noise of 5 to 25 % and one
sample in a hundred that is several times too high.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from sessionsync.reliability import trend
from sessionsync.reliability.trend import BIN_S, Point, Trend, grouped, theil_sen

DAY_S = 86_400
THRESHOLD = 5.0
LEAD_S = 600.0
SERIES = 100


class Series(NamedTuple):
    """One simulated day; `starts` and `crosses` are when a ramp begins and reaches the threshold."""

    level: Callable[[float], float]
    noise: float
    starts: float = math.inf
    crosses: float = math.inf


class Outcome(NamedTuple):
    """What a series was taken for: how often falsely for a ramp, and how long before it the real one."""

    false_alarms: int
    lead_s: float | None


def series(kind: str, chance: random.Random) -> Series:
    noise, base = chance.uniform(0.05, 0.25), chance.uniform(0.2, 1.5)
    amplitude = chance.uniform(0.3, 0.9)
    step_at, step_to = chance.uniform(0.2, 0.8) * DAY_S, chance.uniform(1.5, 3.5)
    lasts = chance.uniform(3600, 8 * 3600)
    starts = chance.uniform(4 * 3600, DAY_S - lasts - 3600)
    match kind:
        case "flat":
            return Series(lambda _: base, noise)
        case "diurnal":
            return Series(lambda t: base * (1 + amplitude * math.sin(2 * math.pi * t / DAY_S)), noise)
        case "step":
            return Series(lambda t: step_to if t > step_at else base, noise)
    return Series(
        lambda t: base + (THRESHOLD - base) * max(0.0, t - starts) / lasts, noise, starts, starts + lasts
    )


def samples(of: Series, chance: random.Random) -> Iterator[Point]:
    for at in range(0, DAY_S, 60):
        outlier = chance.uniform(2, 6) if chance.random() < 0.01 else 1.0
        yield at, of.level(at) * math.exp(chance.gauss(0, of.noise)) * outlier


def watched(kind: str, seed: int) -> Outcome:
    chance = random.Random(f"{kind}{seed}")
    day, watch = series(kind, chance), Trend(THRESHOLD)
    false_alarms, warned, found_at = 0, False, None
    for at, value in samples(day, chance):
        if at > day.crosses:
            break
        watch.add(at, value)
        if watch.warning is not None and not warned:
            if at < day.starts:
                false_alarms += 1
            elif found_at is None:
                found_at = at
        warned = watch.warning is not None
    return Outcome(false_alarms, None if found_at is None else day.crosses - found_at)


def judged(kinds: Sequence[str]) -> tuple[int, int]:
    """False alarms in all series, and ramps that were not found in time."""
    false_alarms = late = 0
    for kind in kinds:
        for seed in range(SERIES):
            outcome = watched(kind, seed)
            false_alarms += outcome.false_alarms
            late += kind == "ramp" and (outcome.lead_s is None or outcome.lead_s < LEAD_S)
    return false_alarms, late


def test_every_ramp_is_found_in_time_and_nothing_else() -> None:
    false_alarms, late = judged(("flat", "diurnal", "step", "ramp"))

    assert false_alarms <= 1
    assert late == 0


def last_difference(points: Sequence[Point]) -> float:
    if len(points) < 2:
        return 0.0
    (s, u), (t, v) = points[-2:]
    return (v - u) / (t - s)


def test_the_last_difference_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the test: with a naive slope it fails, on both counts or on one."""
    monkeypatch.setattr(trend, "theil_sen", last_difference)
    false_alarms, late = judged(("step", "ramp"))

    assert false_alarms > 1 or late > 0


def test_the_slope_bears_wild_points() -> None:
    points = [(float(at), 2.0 * at) for at in range(20)]
    for wild in (3, 7, 11, 16):
        points[wild] = (points[wild][0], 1000.0)

    assert theil_sen(points) == pytest.approx(2.0, rel=0.2)
    assert theil_sen([]) == theil_sen([(1.0, 1.0)]) == theil_sen([(1.0, 1.0), (1.0, 5.0)]) == 0.0


def ramp(watch: Trend, *, start: float = 0.0, minutes: int = 60, rise: float = 0.06) -> None:
    for minute in range(minutes):
        watch.add(start + 60.0 * minute, 1.0 + rise * minute)


def test_a_warning_says_how_long_it_takes_and_ends_with_the_rise() -> None:
    watch = Trend(THRESHOLD)
    ramp(watch)

    assert watch.warning is not None
    assert watch.warning.slope == pytest.approx(0.001, rel=0.05)
    assert watch.warning.left_s == pytest.approx((THRESHOLD - watch.warning.level) / 0.001, rel=0.05)

    for minute in range(60, 180):
        watch.add(60.0 * minute, 1.0)
    assert watch.warning is None


def test_what_falls_or_is_over_the_threshold_is_no_forecast() -> None:
    falling, over = Trend(THRESHOLD), Trend(THRESHOLD)
    for minute in range(180):
        falling.add(60.0 * minute, 4.9 - 0.01 * minute)
        over.add(60.0 * minute, 6.0 + 0.01 * minute)

    assert falling.warning is None
    assert over.warning is None


def test_few_samples_make_no_trend() -> None:
    watch = Trend(THRESHOLD)
    for number in range(6):
        watch.add(number * 3600.0, 1.0 + 0.6 * number)

    assert watch.warning is None


def test_a_clock_that_is_set_back_begins_anew() -> None:
    watch = Trend(THRESHOLD)
    ramp(watch, start=1_000_000.0)
    ramp(watch, start=500_000.0, minutes=1)

    for minute in range(180):
        watch.add(500_000.0 + 60.0 * minute, 1.0)
    assert watch.warning is None
    ramp(watch, start=600_000.0)
    assert watch.warning is not None


def test_the_memory_is_bounded() -> None:
    watch = Trend(THRESHOLD)
    for minute in range(20_000):
        watch.add(60.0 * minute, 1.0)

    assert len(watch._bins) == 60


def test_bins_are_grouped_from_the_newest() -> None:
    points = grouped([(1, 1.0), (2, 3.0), (5, 7.0), (6, 9.0)], newest=6, count=3, of=2)

    assert points == [(2.0 * BIN_S, 2.0), (6.0 * BIN_S, 8.0)]
