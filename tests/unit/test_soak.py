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
    assert slope(points) == pytest.approx(an_hour, abs=0.3)


def test_a_burst_is_no_slope() -> None:
    samples = memory(0.0)
    calm = slope(floors(samples))
    burst = [*samples[:-60], *((at, mib + 90) for at, mib in samples[-60:])]
    assert slope(floors(burst)) == pytest.approx(calm, abs=1)


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
