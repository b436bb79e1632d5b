"""The daemon as it is wired, about itself: what it says is wrong, and what it does about that."""

from __future__ import annotations

import time
from pathlib import Path

from sessionsync.reliability.findings import CRITICAL, WARNING
from tests.living import Living


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


def test_what_follows_from_something_else_is_not_told_as_well(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        now = time.time()
        living.app.findings.raised("backup_disk_full", CRITICAL, "Full.", "Make room.", now)
        living.app.findings.raised("copy_failed", CRITICAL, "No copy.", "See.", now)
        for verb in ("status", "health"):
            assert [each["code"] for each in living.ctl(verb)["findings"]] == ["backup_disk_full"]
        assert living.codes() == {"backup_disk_full", "copy_failed"}
