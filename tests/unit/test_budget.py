"""Work in the background keeps to its pace, and whoever waits for it is not woken for trifles."""

from sessionsync.budget import LEAST_WAIT_S, Budget


def test_small_pieces_are_done_in_bursts_and_come_to_the_same_pace() -> None:
    budget, now, waits = Budget(1000), 0.0, 0
    for _ in range(1000):  # 10,000 bytes at 1,000 a second, of which a second's worth is saved up
        wait = budget.spend(10, now)
        waits += wait > 0
        assert wait == 0 or wait >= LEAST_WAIT_S
        now += wait
    assert 8.5 <= now <= 9.0
    assert waits <= 9 / LEAST_WAIT_S


def test_a_large_piece_is_waited_for_at_once() -> None:
    budget = Budget(1000)
    assert budget.spend(5000, 100.0) == 4.0
    assert budget.spend(5000, 104.0) == 5.0


def test_nobody_saves_up_for_more_than_a_second() -> None:
    budget = Budget(1000)
    budget.spend(10, 0.0)
    assert budget.spend(3000, 1e6) == 2.0
