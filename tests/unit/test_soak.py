"""What `make soak` judges by."""

from __future__ import annotations

import random
from collections import Counter
from typing import get_args

import pytest

from tests.fakes.faults import Kind
from tests.soak.growth import Held, floors, grown, slope
from tests.soak.traffic import FAULTS, TROUBLES

MINUTES = 30


def memory(an_hour: float) -> list[tuple[float, float]]:
    """A sample every three seconds: bursts that are given back every minute, and what is held for good."""
    chance = random.Random(1)
    at = range(0, MINUTES * 60 + 1, 3)
    return [(s, 60 + an_hour * s / 3600 + (s % 60) / 10 + chance.expovariate(3)) for s in at]


@pytest.mark.parametrize("an_hour", [0.0, 1.5, 20.0, -3.0])
def test_a_slope_is_that_of_what_is_held_for_good(an_hour: float) -> None:
    points = floors(memory(an_hour))
    assert len(points) == MINUTES
    found = slope(points)
    assert found.an_hour == pytest.approx(an_hour, abs=0.3)
    assert found.least < an_hour < found.most
    assert found.most - found.least < 1.5


def test_how_sure_a_slope_is_depends_on_how_long_it_was_looked_at() -> None:
    points = floors(memory(0.0))
    widths = [found.most - found.least for found in (slope(points[:n]) for n in (4, 8, 16, 30))]
    assert widths == sorted(widths, reverse=True)
    assert slope(points[:2]).least == slope(points[:2]).most
    exact = slope([(60.0 * n, 50 + n) for n in range(10)])
    assert exact == pytest.approx((60, 60, 60))


def test_it_lies_where_it_is_said_to_lie_nineteen_times_of_twenty() -> None:
    chance = random.Random(7)
    told = [
        slope([(60.0 * minute, 1.5 * minute / 60 + chance.gauss(0, 0.3)) for minute in range(20)])
        for _ in range(400)
    ]
    missed = sum(1 for each in told if not each.least <= 1.5 <= each.most)
    assert 5 <= missed <= 40


def test_a_burst_is_no_slope() -> None:
    samples = memory(0.0)
    calm = slope(floors(samples)).an_hour
    burst = [*samples[:-60], *((at, mib + 90) for at, mib in samples[-60:])]
    assert slope(floors(burst)).an_hour == pytest.approx(calm, abs=1)


def test_a_minute_that_is_not_over_does_not_count() -> None:
    assert floors([]) == []
    assert floors([(5.0, 9.0), (40.0, 8.0), (66.0, 7.0), (70.0, 1.0)]) == [(40.0, 8.0)]


def test_what_is_more_is_said_and_what_is_less_is_not() -> None:
    before = Held(20, 30, 1, Counter({"state.db": 1, "spool/*.json": 2}))
    assert grown(before, before) == []
    assert grown(before, Held(22, 29, 0, Counter({"state.db": 1}))) == []
    assert grown(
        before, Held(23, 31, 2, Counter({"state.db": 1, "spool/*.json": 3, ".*.tmp": 1, "numbers.db": 1}))
    ) == [
        "threads: 20, then 23",
        "descriptors: 30, then 31",
        "child processes: 1, then 2",
        "files .*.tmp: 0, then 1",
        "files spool/*.json: 2, then 3",
    ]


def test_github_fails_in_every_way_it_can() -> None:
    assert {fault.kind for fault in FAULTS} == set(get_args(Kind))
    assert all(fault in TROUBLES for fault in FAULTS)
