"""The daemon as it is wired, about itself: what it says is wrong, and what it does about that."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessiond.bookkeeping import Bookkeeping
from sessiond.cli.status import headline
from sessionsync.capture import Capture
from sessionsync.model import Ref, unix_seconds
from sessionsync.reliability.findings import CRITICAL, WARNING
from tests.conftest import PATIENCE_S
from tests.keeper import flip
from tests.living import Living

LEDGER = re.compile(r"(INSERT|UPDATE|DELETE).* (incidents|tallies|spans|ledger_totals)\b", re.DOTALL)


def test_it_tells_how_reliable_it_was_over_each_window(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        living.transcript()
        found = living.ctl("health")
        assert found["status"] == "ok"
        assert found["reliability"].keys() == {"1h", "24h", "30d"}
        day = found["reliability"]["24h"]
        assert day["counts"]["captured_bytes"] > 0
        assert day["score"] == 1.0
        assert living.ctl("status")["reliability_score"] == 1.0


def test_nothing_is_read_before_the_first_scan_is_done_and_all_right_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the daemon waits for the scan, and a walk through all copies takes nearly as long."""
    may_go_on = threading.Event()
    survey = Capture.survey

    def held(capture: Capture) -> list[Ref]:
        may_go_on.wait(PATIENCE_S)
        return survey(capture)

    monkeypatch.setattr(Capture, "survey", held)
    living = Living(tmp_path)
    try:
        living.start(scanned=False)
        health = living.app.health
        health.want()
        living.until(lambda: health.waits_until > time.monotonic() + 1)  # it has turned, and waits
        assert (health.settled_at, health.areas) == (0.0, {})
        may_go_on.set()
        living.until(lambda: health.is_checked)
        assert health.areas
    finally:
        may_go_on.set()
        living.stop()


def test_a_finding_is_an_incident_from_when_it_comes_until_it_goes(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        findings, ledger = living.app.findings, living.app.books.ledger
        findings.raised("archive_too_new", WARNING, "Too new.", "Update.", time.time())
        living.until(lambda: [each.code for each in ledger.incidents(still_open=True)] == ["archive_too_new"])
        assert living.ctl("status")["status"] == "degraded"
        findings.cleared("archive_too_new")

        def told() -> list[str]:
            events = [each["event"] for each in living.ctl("events")["events"]]
            return [name for name in events if name.startswith("finding_")]

        living.until(lambda: told() == ["finding_raised", "finding_cleared"])
        assert not ledger.incidents(still_open=True)
        assert living.ctl("health")["reliability"]["1h"]["incidents"] == 1


def test_nobody_is_answered_before_and_after_the_books_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, bool] = {}
    living = Living(tmp_path)

    def is_answered(within_s: float = 0.3) -> bool:
        with socket.socket(socket.AF_UNIX) as there, suppress(OSError):
            there.settimeout(within_s)
            there.connect(str(living.app.paths.socket))
            there.sendall(b"GET /v1/health HTTP/1.0\r\n\r\n")
            return there.recv(1) != b""
        return False

    begin, end = Bookkeeping.begin, Bookkeeping.end

    def begins(books: Bookkeeping) -> None:
        known["before"] = is_answered()
        begin(books)

    def ends(books: Bookkeeping, *, clean: bool) -> None:
        end(books, clean=clean)
        known["after"] = is_answered()

    monkeypatch.setattr(Bookkeeping, "begin", begins)
    monkeypatch.setattr(Bookkeeping, "end", ends)
    with living:
        assert is_answered(PATIENCE_S)
    assert known == {"before": False, "after": False}


def test_who_is_told_that_something_has_ended_finds_it_in_the_books(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        living.until(lambda: living.ctl("health")["checked_at"])
        findings, books = living.app.findings, living.app.books
        findings.changed = lambda: None  # the loop does not hear of it
        findings.raised("archive_too_new", WARNING, "Too new.", "Update.", time.time())
        assert living.ctl("health")["findings"]
        assert len(books.ledger.incidents(still_open=True)) == 1
        findings.cleared("archive_too_new")
        findings.raised("archive_too_new", WARNING, "Once more.", "Update.", time.time())
        findings.cleared("archive_too_new")
        told = living.ctl("health")
        assert told["findings"] == []
        assert told["reliability"]["1h"]["incidents"] == 2


def test_who_looks_where_nothing_has_changed_waits_for_no_disk(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        living.until(lambda: living.ctl("health")["checked_at"])
        living.ctl("health")
        written: list[str] = []
        with living.heard(lambda said: written.append(said) if LEDGER.match(said) else None):
            for _ in range(3):
                assert living.ctl("health")["reliability"]["1h"]["score"] == 1.0
            assert written == []
            living.app.findings.changed = lambda: None  # the loop does not hear of it
            living.app.findings.raised("archive_too_new", WARNING, "Too new.", "Update.", time.time())
            assert living.ctl("health")["findings"]
        assert written


def test_what_follows_from_something_else_is_not_told_as_well(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        now = time.time()
        living.app.findings.raised("backup_disk_full", CRITICAL, "Full.", "Make room.", now)
        living.app.findings.raised("copy_failed", CRITICAL, "No copy.", "See.", now)
        for verb in ("status", "health"):
            assert [each["code"] for each in living.ctl(verb)["findings"]] == ["backup_disk_full"]
        assert living.codes() == {"backup_disk_full", "copy_failed"}


def test_a_session_is_looked_at_with_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    with Living(tmp_path) as living:
        monkeypatch.setattr(living.app.upkeep, "look", looked.append)
        first, second = living.transcript(), living.transcript()
        numbers = {living.app.engine.catalog.resolve(path.stem).id for path in (first, second)}
        living.until(lambda: {*looked} == numbers)
        assert len(looked) == 2  # and then, while they are active, no more often than the interval
        living.ctl("checkpoint", acts=True, session=living.write(first).stem)
        living.until(lambda: len(looked) == 3)  # but with each checkpoint
        assert looked[2] == living.app.engine.catalog.resolve(first.stem).id


def test_the_copies_of_a_session_that_is_active_are_looked_at_every_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Living(tmp_path, SESSIOND_HEALTH_INTERVAL_SECONDS="1") as living:
        monkeypatch.setattr(
            living.app.copies, "next_scan", lambda: time.time() + 3600.0
        )  # else that finds it
        monkeypatch.setattr(living.app.upkeep.drill, "next_at", lambda: time.time() + 3600.0)
        path = living.transcript("words " * 200)
        copy = living.copy_of(path)
        for times in (1, 2):
            flip(copy, 60)
            living.until(lambda: living.told("damage_healed") >= times)  # noqa: B023
            assert living.is_copied(path)


def test_a_consequence_is_treated_when_its_cause_is_gone_and_not_before(tmp_path: Path) -> None:
    with Living(tmp_path) as living:

        def treated() -> set[str]:
            return {line["code"] for line in living.lines("recovery_started")}

        living.app.findings.raised("backup_disk_full", CRITICAL, "Full.", "Make room.", time.time())
        living.app.findings.raised("copy_failed", CRITICAL, "No copy.", "See.", time.time(), "claude:s")
        living.until(treated)
        for _ in range(2):
            looked = living.told("health_checked")
            living.app.health.want()
            living.until(lambda: living.told("health_checked") > looked)  # noqa: B023
        assert treated() == {"backup_disk_full"}
        living.app.findings.cleared("backup_disk_full")
        living.until(lambda: "copy_failed" in treated())


def test_what_was_damaged_is_said_again_after_a_restart_since_when_it_was(tmp_path: Path) -> None:
    def since(status: dict[str, Any]) -> dict[str, float]:
        return {each["code"]: unix_seconds(each["since"]) for each in status["findings"]}

    living = Living(tmp_path)
    with living:
        path = living.transcript("words " * 200)
        path.unlink()
        living.until(lambda: "session_deleted" in [e["event"] for e in living.ctl("events")["events"]])
        copies = [*living.home.mirror.rglob("*.jsonl"), *living.home.vault.rglob("pack*")]
        sound = [copy.read_bytes() for copy in copies]
        for copy in copies:
            flip(copy, 60)
        living.ctl("repair", acts=True, session=path.stem)
        living.until(lambda: {"copy_damaged", "data_lost"} <= living.codes())
        first = living.ctl("status")
        assert first["findings"]
        assert "not everything is on this disk" in headline(first, time.time()).text.lower()
    with living:
        living.until(lambda: {"copy_damaged", "data_lost"} <= living.codes())
        then, again = since(first), since(living.ctl("status"))
        assert then.keys() == again.keys()  # which of the two was first is a matter of a moment
        assert all(abs(then[code] - again[code]) <= 2 for code in then), (then, again)
        assert living.ctl("health")["reliability"]["1h"]["incidents"] == 0  # it is still the same one
    for copy, data in zip(copies, sound, strict=True):
        copy.write_bytes(data)
    with living:
        living.until(lambda: living.ctl("health")["reliability"]["1h"]["incidents"] == 2)
        assert living.codes() == set()
        assert living.ctl("health")["reliability"]["1h"]["counts"]["lost_bytes"] > 0  # that stays


def test_what_comes_up_last_is_in_the_books_at_the_end(tmp_path: Path) -> None:
    living = Living(tmp_path)
    with living:
        living.until(lambda: living.ctl("health")["checked_at"])
        living.app.findings.changed = lambda: None  # the loop does not hear of it any more
        living.app.findings.raised("drill_failed", CRITICAL, "Failed.", "See.", time.time())
    ended_at = time.time()
    with living:
        living.until(lambda: "drill_failed" in living.codes())
        (again,) = living.app.findings.open()
        assert again.since < ended_at


def test_show_says_when_a_session_grows_past_its_tier(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        path = living.transcript()
        assert living.ctl("show", session=path.stem)["tier_limit_in_seconds"] is None
        for number in range(8):
            living.app.engine.store.execute(
                "INSERT INTO checkpoints (session, id, at, trigger, size) SELECT id, ?, ?, 'stop', ? FROM sessions",
                (f"x{number}", time.time() + 60 * number + 60, 1000 * number + 5000),
            )
        left_s = living.ctl("show", session=path.stem)["tier_limit_in_seconds"]
        assert 1900 < left_s < 2200  # 34,080 bytes left, at 1,000 a minute


def test_what_is_wrong_with_a_session_is_forgotten_with_it(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        path = living.transcript()
        name = f"claude:{path.stem}"
        living.app.findings.raised("copy_failed", CRITICAL, "No copy.", "See.", time.time(), name)
        living.app.findings.raised("data_lost", CRITICAL, "Lost.", "See.", time.time(), name)
        living.ctl("forget", acts=True, session=path.stem)
        assert living.codes() == set()
