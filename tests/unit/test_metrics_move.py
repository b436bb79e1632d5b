"""Each metric moves when its thing happens, in the daemon as it is wired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sessionsync.reliability.findings import CRITICAL
from tests import arrived
from tests.conftest import PATIENCE_S
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.living import Living
from tests.rig import append, line

Series = dict[str, float]


def scraped(living: Living) -> Series:
    """Every series by its name without prefix and the values of its labels, in the order of their names."""
    found = {}
    for family in parse_text(living.app.metrics.text()[0].decode()):
        for sample in family.samples:
            values = ",".join(sample.labels.values())
            found[f"{sample.name.removeprefix('sessiond_')}{{{values}}}"] = sample.value
    return found


@pytest.fixture
def living(tmp_path: Path, gh: FakeGitHub) -> Iterator[Living]:
    with Living(tmp_path, **gh.settings()) as made:
        yield made


def rises(living: Living, *names: str) -> None:
    """Wait until each of these is above 0."""
    still = set(names)

    def risen() -> bool:
        found = scraped(living)
        still.difference_update({name for name in still if found[name] > 0})
        return not still

    try:
        living.until(risen)
    except AssertionError:
        pytest.fail(f"still 0: {', '.join(sorted(still))}")


def test_a_checkpoint_on_its_way_to_github(living: Living, gh: FakeGitHub) -> None:
    before = scraped(living)
    with gh.refused():
        living.transcript()
        waiting = scraped(living)
        assert waiting["sync_lag_seconds{}"] > 0
        assert waiting["queue_oldest_item_age_seconds{}"] > 0
        assert sum(waiting[f"queue_items{{{state}}}"] for state in ("pending", "in_flight", "retrying")) >= 1
        assert waiting["queue_bytes{}"] > 0
        assert waiting["sync_divergence_bytes{local}"] > 0
        rises(living, "queue_retries_total{comment,github_unreachable}", "incidents_total{connection}")
    living.ctl("sync", acts=True, wait=PATIENCE_S)
    assert arrived.records(gh)
    rises(
        living,
        "sync_operations_total{push,success}",
        "sync_duration_seconds_count{push}",
        "sync_duration_seconds_count{pull}",
        "sync_last_success_timestamp_seconds{push}",
        "sync_last_success_timestamp_seconds{pull}",
        "queue_enqueued_total{comment}",
        "queue_completed_total{comment,success}",
        "queue_wait_seconds_count{}",
        "github_requests_total{create_comment,success}",
        "github_request_duration_seconds_count{create_comment}",
        "github_rate_limit_remaining{core}",
        "recovery_attempts_total{sync,success}",
        "incident_recovery_seconds_count{connection}",
        "captured_bytes_total{}",
        "changes_detected_total{claude}",
        "sessions{github_only,claude}",
        "log_messages_total{info}",
        "ctl_request_duration_seconds_count{sync}",
        "watch_watches{}",
        "watch_events_total{created}",
    )
    after = scraped(living)
    assert after["queue_bytes{}"] == after["sync_lag_seconds{}"] == after["sync_divergence_bytes{local}"] == 0
    assert after.keys() == before.keys(), "a series that was not there before"


def test_what_github_refuses_for_good(living: Living, gh: FakeGitHub) -> None:
    gh.fault(rule("status", method="POST", path=r"/comments$", status=422))
    living.transcript()
    living.ctl("sync", acts=True, wait=PATIENCE_S)
    rises(
        living,
        "queue_buried_items{}",
        "queue_buried_total{github_refused}",
        "queue_completed_total{comment,failure}",
        "sync_operations_total{push,failure}",
        "recovery_attempts_total{sync,failure}",
    )


def test_copies_that_are_looked_at(living: Living) -> None:
    living.transcript()
    living.ctl("verify", acts=True, deep=True, drill=True)
    rises(
        living,
        "integrity_checks_total{ok,vault}",
        "integrity_checks_total{ok,mirror}",
        "reference_checks_total{checkpoint,ok}",
        "artifact_verifications_total{restore,ok}",
    )


def test_artifacts_that_are_looked_at(living: Living) -> None:
    folder = living.home.structured("plan")
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "plan.md").write_text("# Plan\n")
    (folder / "context.json").write_text("{}")
    living.transcript()
    living.ctl("sync", acts=True, capture=True)
    living.ctl("verify", acts=True)
    rises(living, "reference_checks_total{artifact,ok}", "artifact_verifications_total{artifact,ok}")


def test_a_session_that_outgrows_its_tier(living: Living) -> None:
    path = living.transcript()
    append(path, *(line("user", "word " * 200, living.home.project, session=path.stem) for _ in range(60)))
    living.ctl("checkpoint", acts=True, session=path.stem)
    rises(living, "session_tier_transitions_total{github_only,hybrid}", "sessions{hybrid,claude}")


def test_a_secret_that_is_taken_out(living: Living, gh: FakeGitHub) -> None:
    living.transcript("the key is AKIA" + "QWERTYUIOPASDFGH")
    living.ctl("sync", acts=True, wait=PATIENCE_S)
    living.until(lambda: sum(v for n, v in scraped(living).items() if n.startswith("redactions_total")) > 0)


def test_health_time_and_disks(living: Living) -> None:
    rises(
        living,
        *(
            f"health_check_runs_total{{{group},ok}}"
            for group in ("api", "integrity", "sync", "local", "live")
        ),
        *(f"health_check_status{{{group}}}" for group in ("api", "integrity", "sync", "local", "live")),
        "health_check_last_run_timestamp_seconds{local}",
        "storage_filesystem_avail_bytes{vault}",
        "storage_filesystem_size_bytes{vault}",
        "restarts_total{first}",
        "ready{}",
    )
    living.app.health.keep_books(beat=True)
    assert scraped(living)["state_seconds_total{up}"] > 0
    assert scraped(living)["reliability_score_ratio{24h}"] == 1
    assert scraped(living)[_build(living)] == 1
    living.app.emit("bytes_lost", session="claude:x", bytes=10)
    living.app.health.keep_books(beat=True)
    assert scraped(living)["lost_bytes_total{}"] == 10
    assert scraped(living)["changes_lost_total{no_copy}"] == 1


def test_bytes_on_the_disk(living: Living) -> None:
    living.transcript()
    rises(living, "health_check_runs_total{live,ok}")
    living.until(living.app.engine.paths.index_db.exists)
    living.app.health._instruments._measured_at = None  # it measures once an hour
    living.app.health.want()
    rises(living, *(f"storage_bytes{{{area}}}" for area in ("live", "mirror", "vault", "index")))


def test_a_finding_fails_its_check(living: Living) -> None:
    rises(living, "health_check_status{integrity}")
    living.app.findings.raised("copy_damaged", CRITICAL, "Damaged.", "Mend it.", time.time())
    living.app.health.want()
    living.until(lambda: scraped(living)["health_check_status{integrity}"] == 0)
    assert scraped(living)["health_check_runs_total{integrity,failed}"] == 1
    assert scraped(living)["health_check_status{local}"] == 1


def test_every_loop_and_job_has_its_series(living: Living) -> None:
    entries = living.app.metrics.entries
    assert entries["loop_progress_age_seconds"].labels["loop"] == tuple(
        loop.name for loop in living.app.loops()
    )
    living.app.schedule.soon("trim")
    rises(living, "job_runs_total{trim,success}", "job_duration_seconds_count{trim}")


def _build(living: Living) -> str:
    labels = sorted(living.app.metrics.entries["build_info"].labels.items())
    return f"build_info{{{','.join(values[0] for _, values in labels)}}}"
