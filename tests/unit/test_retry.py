"""When to try again."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from sessionsync.retry import FIRST_S, MOST_S, PROBE_S, Reach, backoff_s, next_attempt_at

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("failures", "ceiling_s"), [(0, 5), (1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (8, 300), (10**9, 300)]
)
def test_waits_lie_anywhere_below_a_ceiling_that_doubles(failures: int, ceiling_s: float) -> None:
    dice = random.Random(7)
    waits = [backoff_s(failures, dice) for _ in range(2000)]
    assert 0 <= min(waits) < ceiling_s * 0.01
    assert ceiling_s * 0.99 < max(waits) <= ceiling_s
    assert mean(waits) == pytest.approx(ceiling_s / 2, rel=0.05)
    assert FIRST_S <= ceiling_s <= MOST_S


def test_the_same_dice_give_the_same_schedule() -> None:
    first, second = ([backoff_s(n, random.Random(1)) for n in range(9)] for _ in range(2))
    assert first == second


def test_the_server_s_wish_wins_while_it_lies_ahead() -> None:
    dice = random.Random(1)
    assert next_attempt_at(NOW, 1, dice, retry_at=NOW + 5000) == NOW + 5000
    assert next_attempt_at(NOW, 9, dice, retry_at=NOW + 1) == NOW + 1
    for retry_at in (None, NOW, NOW - 1):
        assert NOW <= next_attempt_at(NOW, 1, dice, retry_at=retry_at) <= NOW + FIRST_S


def test_three_failures_in_a_row_are_unreachable_and_one_answer_ends_it() -> None:
    dice, reach = random.Random(3), Reach()
    assert [reach.failed(NOW + n, dice) for n in range(2)] == [False, False]
    assert (reach.unreachable, reach.wait_s(NOW)) == (False, None)
    assert not reach.answered()
    told = [reach.failed(NOW + n, dice) for n in range(5)]
    assert told == [False, False, True, False, False]
    assert reach.unreachable
    assert reach.since == NOW
    assert reach.answered()
    assert reach == Reach(failed_at=NOW + 4)
    assert reach.wait_s(NOW) is None


def test_probes_are_30_to_60_seconds_apart() -> None:
    dice, reach = random.Random(3), Reach()
    for _ in range(3):
        reach.failed(NOW, dice)
    now, waits = NOW, []
    for _ in range(500):
        wait_s = reach.wait_s(now)
        assert wait_s is not None
        waits.append(wait_s)
        now += wait_s
        assert reach.wait_s(now) == 0
        reach.failed(now, dice)
    assert PROBE_S[0] <= min(waits) < 31
    assert 59 < max(waits) <= PROBE_S[1]


def test_a_clock_set_back_does_not_put_off_the_probe() -> None:
    dice, reach = random.Random(3), Reach()
    for _ in range(3):
        reach.failed(NOW, dice)
    assert reach.wait_s(NOW - 86_400) == PROBE_S[1]
    assert reach.wait_s(NOW - 86_400 + PROBE_S[1]) == 0
