"""When the next write may go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync.remote.pace import CREATION_SPACING_S, HOUR_S, WRITE_SPACING_S, Pace

NOW = 1_800_000_000.0


def drive(pace: Pace, now: float, writes: list[bool]) -> list[float]:
    """Send writes as fast as allowed; returns when each went."""
    sent = []
    for creates in writes:
        now += pace.wait_s(now, creates=creates)
        assert pace.wait_s(now, creates=creates) == pytest.approx(0, abs=1e-6)
        pace.wrote(now, creates=creates)
        sent.append(now)
    return sent


def test_the_first_write_goes_at_once() -> None:
    pace = Pace(creations_per_hour=250)
    assert pace.wait_s(NOW, creates=True) == pace.wait_s(0.0, creates=True) == 0


def test_a_second_between_writes_and_more_between_creations() -> None:
    pace = Pace(creations_per_hour=250)
    pace.wrote(NOW, creates=True)
    assert pace.wait_s(NOW, creates=False) == WRITE_SPACING_S
    assert pace.wait_s(NOW, creates=True) == CREATION_SPACING_S
    assert pace.wait_s(NOW + 0.25, creates=False) == 0.75
    assert pace.wait_s(NOW + 2, creates=True) == 0


def test_edits_do_not_use_up_creations() -> None:
    pace = Pace(creations_per_hour=2)
    drive(pace, NOW, [True, True] + [False] * 50)
    assert len(pace.creations) == 2
    assert pace.wait_s(NOW + 60, creates=False) == 0
    assert pace.wait_s(NOW + 60, creates=True) == HOUR_S - 60


def test_a_thousand_creations_keep_to_40_a_minute_and_250_an_hour() -> None:
    sent = drive(Pace(creations_per_hour=250), NOW, [True] * 1000)
    for window_s, most in ((60, 40), (HOUR_S, 250)):
        for n, begin in enumerate(sent):
            assert sum(at < begin + window_s for at in sent[n:]) <= most
    assert sent[-1] - sent[0] < 3 * HOUR_S + 400


def test_stamps_survive_a_restart() -> None:
    first = Pace(creations_per_hour=3)
    drive(first, NOW, [True] * 3)
    second = Pace(creations_per_hour=3, creations=reversed(first.creations))
    assert second.wait_s(NOW + 10, creates=True) == first.wait_s(NOW + 10, creates=True) == HOUR_S - 10


def test_a_limit_holds_all_writes_and_the_later_one_counts() -> None:
    pace = Pace(creations_per_hour=250)
    pace.hold(NOW, NOW + 60)
    pace.hold(NOW, NOW + 30)
    assert pace.wait_s(NOW + 10, creates=False) == 50
    assert pace.wait_s(NOW + 61, creates=True) == 0


@pytest.mark.parametrize("back_s", [5.0, 86_400.0, 40 * 365 * 86_400.0])
def test_a_clock_set_back_prolongs_nothing(back_s: float) -> None:
    pace = Pace(creations_per_hour=2)
    drive(pace, NOW, [True, True])
    pace.hold(NOW + 1.5, NOW + 61.5)
    assert pace.wait_s(NOW + 1.5, creates=False) == 60
    earlier = NOW + 1.5 - back_s
    assert pace.wait_s(earlier, creates=False) == pytest.approx(60, abs=1e-3)
    assert pace.wait_s(earlier, creates=True) <= HOUR_S
    assert pace.wait_s(earlier + 60, creates=False) == pytest.approx(0, abs=1e-3)
    assert pace.wait_s(earlier + HOUR_S, creates=True) == 0
    restarted = Pace(creations_per_hour=2, creations=[NOW, NOW + 1.5])
    assert restarted.wait_s(earlier, creates=True) <= HOUR_S


def test_a_lower_limit_counts_from_now_on() -> None:
    pace = Pace(creations_per_hour=250)
    drive(pace, NOW, [True] * 10)
    pace.creations_per_hour = 5
    assert pace.wait_s(NOW + 60, creates=True) == pytest.approx(HOUR_S - 60 + 5 * CREATION_SPACING_S)


@given(st.lists(st.tuples(st.floats(-7200, 7200), st.booleans()), max_size=60), st.integers(1, 5))
def test_whatever_the_clock_does_a_wait_is_at_most_an_hour_and_ends(
    steps: list[tuple[float, bool]], per_hour: int
) -> None:
    pace = Pace(creations_per_hour=per_hour)
    now = NOW
    for step_s, creates in steps:
        now += step_s
        wait_s = pace.wait_s(now, creates=creates)
        assert 0 <= wait_s <= HOUR_S + 1e-3
        now += wait_s
        assert pace.wait_s(now, creates=creates) < 1e-3
        pace.wrote(now, creates=creates)
        assert all(a <= b for a, b in pairwise(pace.creations))
        assert len(pace.creations) <= per_hour + 1
