"""The metrics, as a scrape sees them."""

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sessiond.metrics import Metrics, catalogue
from sessiond.metrics.readings import of_queue
from sessionsync.config import Archive, Config, Github
from sessionsync.errors import OutputFailed, StoreError
from sessionsync.events import EVENTS
from sessionsync.queue import Queue
from sessionsync.store import Store

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    entries = catalogue(
        loops=("capture", "push"), jobs=("rescan",), commands=("status", "sync"), kinds=("aws_key", "jwt")
    )
    return Metrics(entries, clock)


def scrape(metrics: Metrics, accept: str = "") -> str:
    asked: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "HTTP_ACCEPT": accept}
    body = metrics.application()(environ, lambda status, headers: asked.append(status))  # type: ignore[arg-type]
    assert asked == ["200 OK"]
    return b"".join(body).decode()


def samples(metrics: Metrics) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(scrape(metrics))
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"sessiond_{name}", frozenset(labels.items())]


def changed(metrics: Metrics, event: str, **fields: Any) -> dict[str, float]:
    """What an event adds, as `name{values}`."""
    before = samples(metrics)
    metrics.on_event(event, fields)
    after = samples(metrics)
    assert before.keys() == after.keys(), "a series that was not there before"
    return {
        f"{name}{{{','.join(v for _, v in sorted(labels))}}}": after[name, labels] - before[name, labels]
        for name, labels in after
        if after[name, labels] != before[name, labels] and not name.endswith("_bucket")
    }


def test_every_label_set_is_there_from_the_start_at_0(metrics: Metrics) -> None:
    found = samples(metrics)
    for name, labels in (
        ("github_requests_total", {"operation": "create_comment", "outcome": "rate_limited"}),
        ("queue_retries_total", {"operation": "comment", "reason": "github_unreachable"}),
        ("session_tier_transitions_total", {"from_tier": "github_only", "to_tier": "hybrid"}),
        ("redactions_total", {"kind": "jwt"}),
        ("job_runs_total", {"job": "rescan", "outcome": "failure"}),
        ("ctl_request_duration_seconds_count", {"command": "sync"}),
        ("github_request_duration_seconds_bucket", {"operation": "get_issue", "le": "5.0"}),
        ("github_request_duration_seconds_bucket", {"operation": "get_issue", "le": "10.0"}),
        ("watch_overflows_total", {}),
    ):
        assert found[f"sessiond_{name}", frozenset(labels.items())] == 0
    set_at_start = {"build_info", "start_time_seconds", "config_last_reload_successful"}
    set_at_start |= {"config_last_reload_success_timestamp_seconds"}
    assert {name for (name, _), number in found.items() if number} == {f"sessiond_{n}" for n in set_at_start}
    assert not [name for name, _ in found if name.endswith("_created")]
    # what is read has no value before its source is known
    assert not [name for name, _ in found if "sync_lag" in name]


def test_promtool_finds_nothing_to_say(metrics: Metrics) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool (Debian: prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=scrape(metrics), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_openmetrics_for_who_asks(metrics: Metrics) -> None:
    text = scrape(metrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    families = {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert {"sessiond_queue_retries", "sessiond_github_request_duration_seconds"} <= families


@pytest.mark.parametrize(
    ("event", "fields", "added"),
    [
        (
            "github_requested",
            {"operation": "get_issue", "outcome": "timeout", "status": 0, "seconds": 7.5},
            {
                "sessiond_github_requests_total{get_issue,timeout}": 1,
                "sessiond_github_request_duration_seconds_count{get_issue}": 1,
                "sessiond_github_request_duration_seconds_sum{get_issue}": 7.5,
            },
        ),
        (
            "github_requested",
            {"operation": "invented", "outcome": "success", "seconds": 0.0},
            {
                "sessiond_github_requests_total{other,success}": 1,
                "sessiond_github_request_duration_seconds_count{other}": 1,
            },
        ),
        (
            "github_limited",
            {"kind": "primary", "seconds": 60.0},
            {"sessiond_github_throttled_seconds_total{primary}": 60},
        ),
        ("github_limited", {"kind": "primary", "seconds": -3.0}, {}),
        ("item_enqueued", {"operation": "comment"}, {"sessiond_queue_enqueued_total{comment}": 1}),
        (
            "push_completed",
            {"session": "claude:x", "seconds": 130.0},
            {
                "sessiond_queue_completed_total{comment,success}": 1,
                "sessiond_sync_operations_total{push,success}": 1,
                "sessiond_sync_duration_seconds_count{push}": 1,
                "sessiond_sync_duration_seconds_sum{push}": 130,
            },
        ),
        (
            "push_completed",
            {"session": "claude:x", "seconds": 901.0},
            {
                "sessiond_queue_completed_total{comment,success}": 1,
                "sessiond_sync_operations_total{push,failure}": 1,
                "sessiond_sync_duration_seconds_count{push}": 1,
                "sessiond_sync_duration_seconds_sum{push}": 901,
            },
        ),
        ("push_unchanged", {"session": "claude:x"}, {"sessiond_queue_completed_total{comment,success}": 1}),
        ("index_written", {"issue": 3}, {"sessiond_queue_completed_total{index,success}": 1}),
        (
            "push_failed",
            {"session": "claude:x", "code": "github_server_error", "reason": "text"},
            {"sessiond_queue_retries_total{comment,github_server_error}": 1},
        ),
        (
            "push_failed",
            {"session": "", "code": "new_code"},
            {"sessiond_queue_retries_total{index,other}": 1},
        ),
        (
            "push_buried",
            {"session": "claude:x", "code": "github_refused"},
            {
                "sessiond_queue_buried_total{github_refused}": 1,
                "sessiond_queue_completed_total{comment,failure}": 1,
                "sessiond_sync_operations_total{push,failure}": 1,
                "sessiond_recovery_attempts_total{sync,failure}": 1,
            },
        ),
        (
            "push_unchanged",
            {"session": "claude:x", "seconds": 50.0, "failures": 2},
            {
                "sessiond_queue_completed_total{comment,success}": 1,
                "sessiond_sync_operations_total{push,success}": 1,
                "sessiond_sync_duration_seconds_count{push}": 1,
                "sessiond_sync_duration_seconds_sum{push}": 50,
                "sessiond_recovery_attempts_total{sync,success}": 1,
            },
        ),
        ("push_started", {"attempt": 2, "seconds": 5.0}, {}),
        (
            "push_started",
            {"attempt": 1, "seconds": 5.0},
            {"sessiond_queue_wait_seconds_count{}": 1, "sessiond_queue_wait_seconds_sum{}": 5},
        ),
        (
            "session_captured",
            {"session": "structured:x", "bytes": 4096},
            {"sessiond_captured_bytes_total{}": 4096, "sessiond_changes_detected_total{structured}": 1},
        ),
        (
            "tier_promoted",
            {"from_tier": "github_only", "to_tier": "hybrid"},
            {
                "sessiond_session_tier_transitions_total{github_only,hybrid}": 1,
                "sessiond_recovery_attempts_total{tier,success}": 1,
            },
        ),
        (
            "tier_promoted",
            {"from_tier": "x", "to_tier": "hybrid"},
            {"sessiond_recovery_attempts_total{tier,success}": 1},
        ),
        ("finding_escalated", {"code": "sync_late", "component": "sync", "was": "warning"}, {}),
        ("secret_redacted", {"kind": "jwt", "count": 3}, {"sessiond_redactions_total{jwt}": 3}),
        ("secret_redacted", {"kind": "custom", "count": 1}, {"sessiond_redactions_total{other}": 1}),
        (
            "finding_raised",
            {"code": "github_unreachable", "component": "connection"},
            {"sessiond_incidents_total{connection}": 1},
        ),
        (
            "finding_escalated",
            {"code": "copy_damaged", "component": "corruption"},
            {"sessiond_incidents_total{corruption}": 1},
        ),
        (
            "finding_cleared",
            {"component": "connection", "seconds": 42.0},
            {
                "sessiond_incident_recovery_seconds_count{connection}": 1,
                "sessiond_incident_recovery_seconds_sum{connection}": 42,
            },
        ),
        (
            "recovery_ended",
            {"component": "index", "outcome": "failure", "seconds": 2.0},
            {"sessiond_recovery_attempts_total{index,failure}": 1},
        ),
        ("bytes_lost", {"session": "claude:x", "bytes": 10}, {"sessiond_changes_lost_total{no_copy}": 1}),
        ("watch_overflowed", {"queue": "kernel"}, {"sessiond_watch_overflows_total{}": 1}),
        ("rescan_completed", {"reason": "timer"}, {"sessiond_watch_rescans_total{timer}": 1}),
        ("config_refused", {}, {"sessiond_config_last_reload_successful{}": -1}),
    ],
)
def test_what_an_event_adds(
    metrics: Metrics, event: str, fields: dict[str, Any], added: dict[str, float]
) -> None:
    assert event in EVENTS
    assert changed(metrics, event, **fields) == added


def test_no_event_breaks_the_metrics_whatever_it_carries(metrics: Metrics) -> None:
    for event in [*EVENTS, "never_heard_of"]:
        metrics.on_event(event, {})
        metrics.on_event(event, {"seconds": "x", "bytes": None, "attempt": 1, "code": 3, "session": 4})


def test_what_is_in_time_is_judged_where_the_books_are_kept(metrics: Metrics) -> None:
    asked: list[float] = []

    def in_time(age_s: float) -> bool:
        asked.append(age_s)
        return True

    metrics.in_time = in_time
    added = changed(metrics, "push_completed", session="x", seconds=40_000.0)
    assert added["sessiond_sync_operations_total{push,success}"] == 1
    assert asked == [40_000]


def test_a_refused_reload_is_seen_until_the_next_good_one(metrics: Metrics, clock: Clock) -> None:
    metrics.on_event("config_refused", {})
    assert value(metrics, "config_last_reload_successful") == 0
    clock.now += 5
    metrics.on_event("config_reloaded", {})
    assert value(metrics, "config_last_reload_successful") == 1
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == clock.now


def test_readings_are_made_at_each_scrape(metrics: Metrics) -> None:
    ages = {"capture": 1.0}
    metrics.read(lambda: {"loop_progress_age_seconds": ages, "ready": 1.0})
    metrics.read(lambda: {"watch_events": {"created": 4.0}})
    assert value(metrics, "loop_progress_age_seconds", loop="capture") == 1
    assert value(metrics, "loop_progress_age_seconds", loop="push") == 0
    ages["capture"] = 99.0
    assert value(metrics, "loop_progress_age_seconds", loop="capture") == 99
    assert value(metrics, "watch_events_total", type="created") == 4
    assert value(metrics, "watch_events_total", type="moved") == 0


def test_a_reading_that_fails_hides_no_other(metrics: Metrics) -> None:
    def broken() -> dict[str, float]:
        raise StoreError("The disk is gone.")

    metrics.read(broken)
    metrics.read(lambda: {"ready": 0.0})
    assert value(metrics, "ready") == 0
    assert "sessiond_sync_lag_seconds" not in scrape(metrics)


def test_the_queue_is_read(metrics: Metrics, clock: Clock, tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    queue = Queue(store)
    settings = [Config()._replace(github=Github(repo="o/r"))]
    metrics.read(lambda: of_queue(queue, settings[0], clock()))
    assert value(metrics, "sync_lag_seconds") == 0
    assert value(metrics, "queue_oldest_item_age_seconds") == 0
    queue.enqueue("index", 1, "", clock.now - 50)
    queue.enqueue("comment", 1, "20260101T000000Z", clock.now - 30)
    queue.enqueue("comment", 2, "20260101T000000Z", clock.now - 20)
    item = queue.lease(clock.now - 45)
    assert item is not None
    assert (
        value(metrics, "queue_items", state="in_flight"),
        value(metrics, "queue_items", state="pending"),
    ) == (1, 2)
    assert value(metrics, "sync_lag_seconds") == 30
    assert value(metrics, "queue_oldest_item_age_seconds") == 50
    queue.bury(item, "refused", "github_refused")
    assert value(metrics, "queue_buried_items") == 1
    assert value(metrics, "queue_oldest_item_age_seconds") == 30
    # what waits for its turn is not late, and neither is what leads nowhere
    queue.enqueue("comment", 3, "20260101T000000Z", clock.now - 5000)
    store.execute("UPDATE items SET last_code = 'creation_budget' WHERE subject = 3")
    assert value(metrics, "sync_lag_seconds") == 30
    assert value(metrics, "queue_items", state="pending") == 3
    queue.enqueue("archive", 2, "20260101T000000Z", clock.now - 70)
    assert value(metrics, "queue_oldest_item_age_seconds") == 30
    store.execute("UPDATE items SET size = 100, behind = 40 WHERE subject = 2 AND operation = 'comment'")
    assert value(metrics, "queue_bytes") == 100
    assert value(metrics, "sync_divergence_bytes", side="local") == 40
    settings[0] = Config()._replace(archive=Archive(url="/mnt/archive.git"))
    assert value(metrics, "sync_divergence_bytes", side="local") == 0
    assert value(metrics, "queue_oldest_item_age_seconds") == 70
    assert value(metrics, "sync_lag_seconds") == 0
    store.close()
    assert "sessiond_sync_lag_seconds" not in scrape(metrics)


def test_a_textfile_is_whole_or_not_there_and_node_exporter_may_read_it(
    metrics: Metrics, tmp_path: Path
) -> None:
    file = tmp_path / "sessiond.prom"
    before = os.umask(0o077)  # as commands and daemon have it
    try:
        metrics.write(file)
    finally:
        os.umask(before)
    assert file.read_text() == scrape(metrics)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    in_the_way = tmp_path / "folder.prom"
    in_the_way.mkdir()
    with pytest.raises(OutputFailed):
        metrics.write(in_the_way)
    in_the_way.rmdir()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["sessiond.prom"]
