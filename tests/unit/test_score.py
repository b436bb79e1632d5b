"""The score is what its definition says, worked out by hand from a log of what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessionsync.reliability import score
from sessionsync.reliability.findings import CRITICAL, Finding
from sessionsync.reliability.ledger import Clocks, Ledger
from sessionsync.reliability.score import Sums, figures
from sessionsync.store import Store

NOW = 1_800_000_000.0

# What happened, second by second: when, what, and of which source or with how many bytes.
LOG: tuple[tuple[float, str, str | float], ...] = (
    (0, "started", ""),
    (100, "captured", 6_000_000.0),
    (200, "integrity_ok", "claude"),
    (250, "sync_success", "claude"),
    (300, "integrity_ok", "note"),
    (600, "killed", ""),
    (690, "started", ""),  # 90 s down
    (700, "integrity_bad", "claude"),
    (700, "damage_found", ""),
    (740, "damage_healed", ""),  # 40 s
    (800, "captured", 4_000_000.0),
    (900, "lost", 500.0),
    (1000, "sync_failure", "note"),
    (1100, "slept", ""),
    (2100, "woke", ""),  # 1,000 s that do not count
    (2200, "sync_success", "note"),
    (2300, "sync_success", "claude"),
    (2400, "stopped", ""),
    (2700, "started", ""),  # 300 s that do not count
    (3000, "integrity_ok", "claude"),
    (3300, "looked", ""),
)
# up 600 + 410 + 300 + 600, down 90; 3 of 4 checks ok; 3 of 4 checkpoints in time
UPTIME, INTEGRITY, SYNC = 1910 / 2000, 3 / 4, 3 / 4
BY_SOURCE = {"claude": UPTIME * (2 / 3) * 1, "note": UPTIME * 1 * (1 / 2)}


def kept(folder: Path) -> Ledger:
    """The ledger of a daemon to which all that happened."""
    store = Store(folder / "state.db")
    ledger, asleep_s, running = Ledger(store), 0.0, False
    damage = Finding("copy_damaged", CRITICAL, "m", "h", NOW + 700, "claude:s")

    def clocks(at: float) -> Clocks:
        return Clocks(NOW + at, 50 + at - asleep_s, 50 + at, "boot")

    then = 0.0
    for at, what, of in LOG:
        while running and then + 30 < at:
            then += 30
            ledger.beat(clocks(then), "up")
        match what:
            case "started":
                ledger = Ledger(store)
                ledger.begin(clocks(at))
                running = True
            case "killed":
                ledger.beat(clocks(at), "up")
                running = False
            case "stopped":
                ledger.end(clocks(at), "up")
                running = False
            case "slept":
                ledger.beat(clocks(at), "up")
                running = False
            case "woke":
                asleep_s += 1000
                running = True
            case "captured" | "lost":
                ledger.count(f"{what}_bytes", "claude", by=float(of))
            case "damage_found":
                ledger.follow([damage], clocks(at))
            case "damage_healed":
                ledger.follow([], clocks(at))
                ledger.recovered("corruption", 40, success=True)
            case "looked":
                ledger.beat(clocks(at), "up")
            case _:
                ledger.count(what, str(of))
        then = at
    return ledger


@pytest.mark.parametrize("window", score.WINDOWS)
def test_the_score_is_that_of_the_log(window: str, tmp_path: Path) -> None:
    found = figures(kept(tmp_path).sums(score.WINDOWS[window]))

    assert found.uptime_ratio == pytest.approx(UPTIME)
    assert found.integrity_ratio == pytest.approx(INTEGRITY)
    assert found.sync_success_ratio == pytest.approx(SYNC)
    assert found.score == pytest.approx(UPTIME * INTEGRITY * SYNC)
    assert found.by_source == pytest.approx(BY_SOURCE)
    assert found.mttr_s == pytest.approx(40)
    assert found.recovery_success_ratio == 1.0
    assert found.data_loss_ratio == pytest.approx(500 / 10_000_000)


def test_the_worked_example() -> None:
    sums = Sums(
        seconds={"up": 57_312.0, "down": 288.0, "suspended": 28_800.0},
        tallies={
            "claude": {"integrity_ok": 1999, "integrity_bad": 1, "sync_success": 397, "sync_failure": 3}
        },
    )

    assert figures(sums).score == pytest.approx(0.9870, abs=5e-5)


def test_a_ratio_without_events_is_one() -> None:
    found = figures(Sums())

    assert (found.score, found.integrity_ratio, found.sync_success_ratio) == (1.0, 1.0, 1.0)
    assert (found.recovery_success_ratio, found.data_loss_ratio, found.mttr_s) == (1.0, 0.0, None)


def test_degraded_is_up_and_away_is_neither() -> None:
    sums = Sums(seconds={"up": 50.0, "degraded": 40.0, "down": 10.0, "off": 1000.0, "suspended": 1000.0})

    assert figures(sums).score == pytest.approx(0.9)


def test_what_was_captured_before_the_window_can_be_lost_in_it() -> None:
    assert figures(Sums(tallies={"claude": {"lost_bytes": 5.0}})).data_loss_ratio == 1.0
