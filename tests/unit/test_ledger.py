"""The ledger: every second is in one state, over restarts, sleep, jumping clocks and reboots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sessionsync import migrations, store
from sessionsync.errors import StoreFull
from sessionsync.reliability.findings import CRITICAL, WARNING, Ended, Finding
from sessionsync.reliability.ledger import KEPT_S, LATE_S
from sessionsync.reliability.score import WINDOWS, Sums, figures
from tests.lives import DAY_S, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_first_start_has_no_past(machine: Machine) -> None:
    assert machine.gap == {}
    assert machine.spent() == {}
    assert figures(machine.ledger.sums(DAY_S)).score == 1.0


def test_time_is_spent_in_the_state_it_was_in(machine: Machine) -> None:
    machine.runs(600)
    machine.runs(300, "degraded")
    machine.runs(60)

    assert machine.spent() == {"up": 660, "degraded": 300}


def test_a_kill_is_downtime_from_the_last_beat(machine: Machine) -> None:
    machine.runs(600)
    machine.passes(45)
    machine.starts()

    assert machine.gap["down"] == 45
    assert machine.spent() == {"up": 600, "down": 45}


def test_a_later_sign_of_life_shortens_the_downtime(machine: Machine) -> None:
    machine.runs(600)
    machine.passes(30)
    seen = machine.clocks()
    machine.passes(15)
    machine.starts(seen)

    assert machine.spent() == {"up": 630, "down": 15}


def test_a_sign_of_life_of_another_boot_or_an_older_one_tells_nothing(machine: Machine) -> None:
    machine.runs(600)
    old = machine.clocks()._replace(awake_s=0.0, boot_s=0.0)
    machine.passes(45)
    machine.starts(old._replace(boot="another"))

    assert machine.spent() == {"up": 600, "down": 45}


def test_a_clean_stop_is_no_downtime(machine: Machine) -> None:
    machine.runs(600)
    machine.ledger.end(machine.clocks(), "up")
    machine.passes(1000)
    machine.starts()

    assert machine.spent() == {"up": 600, "off": 1000}


def test_sleep_is_no_downtime_running_or_not(machine: Machine) -> None:
    machine.runs(600)
    machine.sleeps(8 * 3600)
    machine.runs(60)
    machine.passes(10)
    machine.sleeps(100)
    machine.starts()

    assert machine.spent() == {"up": 660, "suspended": 8 * 3600 + 100, "down": 10}


def test_another_boot_means_that_the_machine_was_off(machine: Machine) -> None:
    machine.runs(600)
    machine.reboots(after_s=5000)
    machine.starts()
    machine.runs(60)

    assert machine.spent() == {"up": 660, "off": 5000}


def test_a_reboot_with_a_clock_set_back_takes_no_time(machine: Machine) -> None:
    machine.runs(600)
    machine.reboots(after_s=-100_000)
    machine.starts()
    machine.runs(60)

    assert machine.spent() == {"up": 660}


@pytest.mark.parametrize("jump", [-10 * 365 * DAY_S, -3600.0, 3600.0, 10 * 365 * DAY_S])
def test_a_clock_that_jumps_changes_nothing(machine: Machine, jump: float) -> None:
    machine.runs(600)
    machine.ledger.count("sync_success", "claude")
    machine.ledger.beat(machine.clocks(), "up")
    machine.wall += jump
    machine.runs(600)
    machine.passes(50)
    machine.wall += jump
    machine.starts()
    machine.runs(60)

    assert machine.spent() == {"up": 1260, "down": 50}
    assert machine.spent(3600) == {"up": 1260, "down": 50}
    assert machine.ledger.sums(3600).of("sync_success") == 1


def test_at_leisure_time_alone_is_written_every_five_minutes(machine: Machine) -> None:
    machine.runs(60)
    asked: list[str] = []
    machine.store._connection.set_trace_callback(asked.append)
    for _ in range(4):
        machine.passes(60)
        machine.ledger.beat(machine.clocks(), "up", at_leisure=True)
    assert asked == []
    assert machine.ledger.unwritten(machine.clocks(), "up").seconds == {"up": 240, "suspended": 0}
    machine.passes(60)
    machine.ledger.beat(machine.clocks(), "up", at_leisure=True)
    assert asked.count("COMMIT") == 1
    assert machine.spent() == {"up": 360}


@pytest.mark.parametrize("what", ["count", "state", "sleep", "freeze"])
def test_but_whatever_else_there_is_at_once(machine: Machine, what: str) -> None:
    machine.runs(60)
    if what == "count":
        machine.ledger.count("sync_success", "claude")
    if what == "sleep":
        machine.sleeps(30)
    machine.passes(LATE_S + 1 if what == "freeze" else 60)
    machine.ledger.beat(machine.clocks(), "degraded" if what == "state" else "up", at_leisure=True)
    assert machine.ledger.unwritten(machine.clocks(), "up") == Sums({"up": 0, "suspended": 0}, {})


def test_what_was_not_written_is_no_downtime_after_a_kill_that_left_a_sign(machine: Machine) -> None:
    machine.runs(60)
    for _ in range(3):
        machine.passes(60)
        machine.ledger.beat(machine.clocks(), "up", at_leisure=True)
    seen = machine.clocks()
    machine.passes(10)
    machine.starts(seen)
    assert machine.spent() == {"up": 240, "down": 10}


def test_a_frozen_process_was_down(machine: Machine) -> None:
    machine.runs(600)
    machine.passes(LATE_S + 1)
    machine.ledger.beat(machine.clocks(), "up")

    assert machine.spent() == {"up": 600, "down": LATE_S + 1}


def test_many_restarts_lose_and_add_no_second(machine: Machine) -> None:
    began = machine.boot_s
    for number in range(50):
        machine.runs(100 + number)
        machine.passes(number)
        if number % 7 == 0:
            machine.ledger.end(machine.clocks(), "up")
        if number % 5 == 0:
            machine.sleeps(30)
        machine.starts()

    spent = machine.spent()
    assert sum(spent.values()) == pytest.approx(machine.boot_s - began)
    assert machine.ledger.totals().seconds == pytest.approx(
        {"up": 0.0, "degraded": 0.0, "down": 0.0, "suspended": 0.0, "off": 0.0} | spent
    )


def test_a_window_cuts_what_began_before_it(machine: Machine) -> None:
    machine.runs(3600)
    machine.passes(100)
    machine.starts()
    machine.runs(3000)

    assert machine.spent(3600) == {"up": pytest.approx(3500), "down": pytest.approx(100)}
    assert machine.spent(3050) == {"up": pytest.approx(3000), "down": pytest.approx(50)}


def test_what_cannot_be_written_is_written_by_the_next_beat(machine: Machine) -> None:
    machine.runs(60)
    machine.ledger.count("captured_bytes", "claude", by=10)
    machine.store.rows("PRAGMA query_only=ON")
    machine.passes(60)
    with pytest.raises(StoreFull):
        machine.ledger.beat(machine.clocks(), "up")
    machine.store.rows("PRAGMA query_only=OFF")
    machine.runs(60)

    assert machine.spent() == {"up": 180}
    assert machine.ledger.sums(3600).of("captured_bytes") == 10
    assert machine.ledger.totals().tallies["captured_bytes"] == 10


def test_tallies_leave_the_window_and_stay_in_the_total(machine: Machine) -> None:
    machine.ledger.count("sync_success", "claude", by=3)
    machine.runs(60)
    machine.runs(2 * 3600)
    machine.ledger.count("sync_failure", "note")
    machine.runs(60)

    assert machine.ledger.sums(3600).tallies == {"note": {"sync_failure": 1.0}}
    assert machine.ledger.sums(DAY_S).of("sync_success") == 3
    assert machine.ledger.totals().tallies["sync_success"] == 3
    with pytest.raises(KeyError):
        machine.ledger.count("sync_maybe")


def test_what_is_kept_is_bounded(machine: Machine) -> None:
    for day in range(80):
        machine.ledger.count("sync_success", "claude")
        machine.ledger.recovered("sync", 1.0, success=True)
        finding = Finding("disk_low", WARNING, "m", "h", machine.wall)
        machine.ledger.follow([finding], machine.clocks())
        machine.runs(100, "up" if day % 2 else "degraded", every_s=100)
        machine.ledger.follow([], machine.clocks())
        machine.sleeps(DAY_S - 200)
        machine.runs(100, every_s=100)

    days = KEPT_S / DAY_S
    for table, most in {"spans": 3 * days, "tallies": days, "incidents": days, "recoveries": days}.items():
        row = machine.store.row(f"SELECT count(*) FROM {table}")
        assert row is not None
        assert days - 2 <= row[0] <= most + 2, table
    assert sum(machine.spent().values()) == pytest.approx(WINDOWS["30d"])


# --- incidents


def damaged(at: float, session: str = "claude:s") -> Finding:
    return Finding("copy_damaged", CRITICAL, "m", "h", at, session, at)


def test_an_incident_is_a_findings_life(machine: Machine) -> None:
    found = damaged(machine.wall)
    machine.ledger.follow([found], machine.clocks())
    machine.runs(90)
    machine.ledger.follow([found], machine.clocks())
    machine.runs(30)
    (closed,) = machine.ledger.follow([], machine.clocks())

    assert (closed.code, closed.session, closed.component) == ("copy_damaged", "claude:s", "corruption")
    assert closed.seconds == pytest.approx(120)
    assert machine.ledger.incidents(still_open=True) == []
    sums = machine.ledger.sums(3600)
    assert sums.incidents == 1
    assert sums.recovery_s == pytest.approx(120)


def test_an_incident_begins_when_it_was_noticed_and_outlives_a_restart(machine: Machine) -> None:
    found = damaged(machine.wall)
    machine.passes(20)
    machine.ledger.follow([found], machine.clocks())
    machine.runs(60)
    machine.passes(40)
    machine.starts()
    machine.ledger.follow([damaged(machine.wall)], machine.clocks())
    machine.runs(60)
    (closed,) = machine.ledger.follow([], machine.clocks())

    assert closed.seconds == pytest.approx(180)


def test_time_while_the_cause_was_open_was_not_time_to_mend(machine: Machine) -> None:
    late = Finding("sync_late", WARNING, "m", "h", machine.wall)
    away = Finding("github_unreachable", WARNING, "m", "h", machine.wall, seen_at=machine.wall)
    machine.ledger.follow([late, away], machine.clocks())
    machine.runs(3600)
    machine.ledger.follow([late, replace(away, seen_at=machine.wall - 25)], machine.clocks())
    (first,) = machine.ledger.follow([late], machine.clocks())
    machine.runs(60)
    (second,) = machine.ledger.follow([], machine.clocks())

    assert first.seconds == pytest.approx(25), "since GitHub was last seen not to answer"
    assert second.seconds == pytest.approx(60), "since GitHub answers"


def test_a_cause_keeps_it_from_being_mended_until_it_is_seen_to_be_gone(machine: Machine) -> None:
    late = Finding("sync_late", WARNING, "m", "h", machine.wall)
    away = Finding("github_unreachable", WARNING, "m", "h", machine.wall, seen_at=machine.wall)
    machine.ledger.follow([late, away], machine.clocks())
    machine.runs(3600)  # nothing came or went, so nobody asked
    machine.ledger.follow([late], machine.clocks())
    machine.runs(60)
    (closed,) = machine.ledger.follow([], machine.clocks())

    assert closed.seconds == pytest.approx(60)


def away(at: float) -> Finding:
    return Finding("github_unreachable", WARNING, "m", "h", at, seen_at=at)


def test_it_counts_from_the_last_try_in_vain_until_it_ended_whenever_that_is_told(machine: Machine) -> None:
    found = away(machine.wall)
    machine.ledger.follow([found], machine.clocks())
    machine.passes(50)
    seen = replace(found, seen_at=machine.wall)
    machine.passes(4)
    ended = Ended(seen, machine.awake_s)
    machine.passes(7)
    (closed,) = machine.ledger.follow([], machine.clocks(), [ended])

    assert closed.seconds == pytest.approx(4)
    assert closed.closed_at is not None
    assert closed.closed_at - closed.since == pytest.approx(54)


def test_what_came_and_went_unseen_was_an_incident_and_what_came_again_is_another(machine: Machine) -> None:
    machine.ledger.follow([damaged(machine.wall)], machine.clocks())
    machine.passes(10)
    first = Ended(damaged(machine.wall - 10), machine.awake_s)
    second = damaged(machine.wall)
    machine.passes(5)
    again = Ended(second, machine.awake_s)
    machine.passes(5)
    late = Ended(replace(damaged(machine.wall - 2), code="copy_failed"), machine.awake_s)
    third = damaged(machine.wall)
    closed = machine.ledger.follow([third], machine.clocks(), [first, again, late])

    assert [each.code for each in closed] == ["copy_damaged", "copy_damaged", "copy_failed"]
    assert [each.seconds for each in closed] == pytest.approx([10, 5, 2])
    (left,) = machine.ledger.incidents(still_open=True)
    assert machine.ledger.age_of_open(machine.clocks()) == {("copy_damaged", "claude:s"): 0.0}
    assert left.since > closed[0].since
    assert machine.ledger.sums(3600).incidents == 3


def test_a_cause_that_has_ended_kept_it_from_being_mended_until_then(machine: Machine) -> None:
    late, cause = Finding("sync_late", WARNING, "m", "h", machine.wall), away(machine.wall)
    machine.ledger.follow([late, cause], machine.clocks())
    machine.passes(30)
    cause_ended = Ended(cause, machine.awake_s)
    machine.passes(6)
    late_ended = Ended(late, machine.awake_s)
    machine.passes(3)
    _, closed = machine.ledger.follow([], machine.clocks(), [cause_ended, late_ended])

    assert closed.code == "sync_late"
    assert closed.seconds == pytest.approx(6)


def test_sleep_is_not_time_to_mend(machine: Machine) -> None:
    machine.ledger.follow([damaged(machine.wall)], machine.clocks())
    machine.runs(60)
    machine.sleeps(8 * 3600)
    machine.runs(60)
    (closed,) = machine.ledger.follow([], machine.clocks())

    assert closed.seconds == pytest.approx(120)


def test_sleep_that_no_beat_has_told_of_is_not_time_to_mend_either(machine: Machine) -> None:
    machine.ledger.follow([damaged(machine.wall)], machine.clocks())
    machine.runs(60)
    machine.sleeps(8 * 3600)
    (closed,) = machine.ledger.follow([], machine.clocks())
    machine.ledger.follow([damaged(machine.wall)], machine.clocks())
    machine.passes(20)
    (woken,) = machine.ledger.follow([], machine.clocks())

    assert closed.seconds == pytest.approx(60)
    assert woken.seconds == pytest.approx(20)


def test_an_incident_is_not_measured_with_a_clock_that_jumps(machine: Machine) -> None:
    found = damaged(machine.wall)
    machine.ledger.follow([found], machine.clocks())
    machine.runs(60)
    machine.wall -= DAY_S
    machine.ledger.follow([found], machine.clocks())
    machine.runs(60)
    (closed,) = machine.ledger.follow([], machine.clocks())

    assert closed.seconds == pytest.approx(120)


def test_recoveries_are_counted_by_how_they_went(machine: Machine) -> None:
    for success in (True, True, True, False):
        machine.ledger.recovered("sync", 2.0, success=success)
    machine.runs(60)

    sums = machine.ledger.sums(3600)
    assert (sums.recovered, sums.unrecovered) == (3, 1)
    assert figures(sums).recovery_success_ratio == 0.75


def test_a_state_of_before_the_ledger_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:4])
        store.Store(tmp_path / "state.db").close()
    machine = Machine(tmp_path)
    machine.runs(60)

    assert machine.spent() == {"up": 60}
