"""What `/metrics` shows: one table of every metric, what the engine's events add to, what is read when asked.

All label sets exist at 0 from the start, because `increase()` does not see the first event of a series
that was not there before.  Ages and depths are read at each scrape, so that they are right also while a
loop hangs.  No label holds a session, a path, a repository or a message.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    write_to_textfile,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from sessiond import build
from sessionsync import __version__, errors
from sessionsync.archiving import code_of
from sessionsync.catalog import Catalog
from sessionsync.model import Tier
from sessionsync.queue import ARCHIVE, Queue, State

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

PREFIX = "sessiond_"
OTHER = "other"

# 5, 10, 300 and 900 are thresholds of findings and alerts
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAIT_BUCKETS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 21600, 86400)
LOCAL_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)
# A checkpoint counts as a success within this time of being made, or of GitHub answering again.
SYNC_GOAL_S = 900.0

OPERATIONS = (
    *("get_repository", "get_user", "get_rate_limit"),
    *("list_issues", "get_issue", "create_issue", "update_issue"),
    *("list_comments", "get_comment", "create_comment", "update_comment", "delete_comment"),
    OTHER,
)
OUTCOMES = ("success", "client_error", "server_error", "rate_limited", "timeout", "network_error")
TIERS = tuple(tier.value for tier in Tier)
TOOLS = ("claude", "structured", "note", "context", "messages")
ITEMS = ("comment", "index", "notice", ARCHIVE)
STORES = ("mirror", "vault", "github", "archive")
RESULTS = ("ok", "mismatch", "missing", "error")
VERDICTS = ("ok", "failed", "error")
RESCANS = ("start", "timer", "overflow", "clock", "trouble", "command", OTHER)


def _codes(error: type[errors.SessiondError]) -> Iterator[str]:
    yield error.code
    for narrower in error.__subclasses__():
        yield from _codes(narrower)


REASONS = (
    *dict.fromkeys(
        code
        for error in (errors.RemoteError, errors.CopyError, errors.RecordError, errors.RedactionFailed)
        for code in _codes(error)
    ),
    *(
        code_of(error)
        for error in (
            *(errors.Unreachable, errors.ServerFailed, errors.Limited, errors.TokenRefused, errors.Refused),
            *(errors.NotPermitted, errors.RepositoryPublic, errors.RepositoryMissing),
        )
    ),
    OTHER,
)

Labels = Mapping[str, tuple[str, ...]]
# A reading without labels is a number, one with labels a number by label values.
Value = float | Mapping[str, float] | Mapping[tuple[str, ...], float]
Readings = Mapping[str, Callable[[], Value]]


class Entry(NamedTuple):
    """A metric: its name without prefix, and every value that each of its labels can have.

    `read` entries are computed when asked, the others counted as things happen.
    """

    name: str
    kind: str
    help: str
    labels: Labels = {}  # noqa: RUF012 - never written to
    buckets: tuple[float, ...] = ()
    read: bool = False


def catalogue(
    *,
    loops: Iterable[str] = (),
    jobs: Iterable[str] = (),
    commands: Iterable[str] = (),
    kinds: Iterable[str] = (),
) -> tuple[Entry, ...]:
    """Every metric there is.  Loops, jobs, `ctl` commands and kinds of secrets are the caller's."""
    operation: Labels = {"operation": OPERATIONS}
    item: Labels = {"operation": ITEMS}
    job: Labels = {"job": tuple(jobs)}
    direction: Labels = {"direction": ("push", "pull")}
    return (
        Entry(
            "build_info",
            "gauge",
            "Constant 1, labelled with the running build.",
            {
                "version": (__version__,),
                "revision": (build.commit(),),
                "python_version": (platform.python_version(),),
                "sqlite_version": (sqlite3.sqlite_version,),
            },
        ),
        Entry("start_time_seconds", "gauge", "Unix time at which this daemon process started."),
        Entry("ready", "gauge", "1 if the daemon answers /readyz with 200.", read=True),
        Entry(
            "config_last_reload_successful", "gauge", "1 if the last configuration load or reload succeeded."
        ),
        Entry(
            "config_last_reload_success_timestamp_seconds",
            "gauge",
            "Unix time of the last successful configuration load.",
        ),
        Entry(
            "log_messages",
            "counter",
            "Log records emitted.",
            {"level": ("debug", "info", "warning", "error")},
        ),
        Entry(
            "loop_progress_age_seconds",
            "gauge",
            "Seconds since a loop last made progress or began to wait for work.",
            {"loop": tuple(loops)},
            read=True,
        ),
        # GitHub
        Entry(
            "github_request_duration_seconds",
            "histogram",
            "GitHub HTTP request latency, per attempt, to the last body byte.",
            operation,
            REQUEST_BUCKETS,
        ),
        Entry(
            "github_requests",
            "counter",
            "GitHub HTTP requests, per attempt.",
            {**operation, "outcome": OUTCOMES},
        ),
        *(
            Entry(f"github_rate_limit_{name}", "gauge", text, {"resource": ("core",)}, read=True)
            for name, text in (
                ("limit", "Requests allowed in the current rate-limit window."),
                ("remaining", "Requests left in the current rate-limit window."),
                ("reset_timestamp_seconds", "Unix time at which the rate-limit window resets."),
            )
        ),
        Entry(
            "github_throttled_seconds",
            "counter",
            "Seconds spent waiting for a rate limit or Retry-After.",
            {"reason": ("primary", "secondary", OTHER)},
        ),
        Entry(
            "github_token_expiry_timestamp_seconds",
            "gauge",
            "Unix time at which the token expires, +Inf if it never does.",
            read=True,
        ),
        # synchronisation
        Entry(
            "sync_operations",
            "counter",
            "Finished synchronisation operations.",
            {**direction, "outcome": ("success", "conflict", "failure")},
        ),
        Entry(
            "sync_conflicts",
            "counter",
            "Synchronisation conflicts.",
            {"kind": ("transcript", "files", "edit"), "resolution": ("merged", "local")},
        ),
        Entry(
            "sync_lag_seconds",
            "gauge",
            "Age of the oldest completed checkpoint not on GitHub, 0 if none; computed at scrape time.",
            read=True,
        ),
        Entry(
            "sync_last_success_timestamp_seconds",
            "gauge",
            "Unix time of the last successful synchronisation.",
            direction,
            read=True,
        ),
        # queue
        Entry(
            "queue_items",
            "gauge",
            "Items in the persistent queue.",
            {"state": tuple(state.value for state in State if state is not State.BURIED)},
            read=True,
        ),
        Entry(
            "queue_oldest_item_age_seconds",
            "gauge",
            "Age of the oldest item that is not done, 0 if none; computed at scrape time.",
            read=True,
        ),
        Entry("queue_enqueued", "counter", "Items put into the queue.", item),
        Entry(
            "queue_completed",
            "counter",
            "Items that left the queue.",
            {**item, "outcome": ("success", "failure")},
        ),
        Entry("queue_retries", "counter", "Item retries.", {**item, "reason": REASONS}),
        Entry("queue_buried_items", "gauge", "Items buried.", read=True),
        Entry("queue_buried", "counter", "Items buried.", {"reason": REASONS}),
        Entry(
            "queue_wait_seconds",
            "histogram",
            "Time between enqueue and first attempt.",
            buckets=WAIT_BUCKETS,
        ),
        # watching
        Entry(
            "watch_events",
            "counter",
            "File-system events received.",
            {"type": ("created", "modified", "moved", "deleted")},
            read=True,
        ),
        Entry("watch_overflows", "counter", "Event-queue overflows; each forces a full rescan."),
        Entry("watch_watches", "gauge", "Directories watched.", read=True),
        Entry(
            "watch_watches_limit",
            "gauge",
            "Watches this user may create (fs.inotify.max_user_watches), +Inf if unlimited.",
            read=True,
        ),
        Entry("watch_rescans", "counter", "Full directory rescans.", {"reason": RESCANS}),
        # sessions
        Entry("sessions", "gauge", "Known sessions.", {"tool": TOOLS, "tier": TIERS}, read=True),
        Entry(
            "session_tier_transitions",
            "counter",
            "Tier changes of sessions.",
            {"from_tier": TIERS, "to_tier": TIERS},
        ),
        Entry(
            "changes_detected",
            "counter",
            "Changes detected that must reach the remote.",
            {"source": (*TOOLS, OTHER)},
        ),
        Entry("captured_bytes", "counter", "Session bytes copied into the local backup."),
        Entry(
            "integrity_checks",
            "counter",
            "SHA-256 comparisons of stored content against the recorded digest.",
            {"store": STORES, "result": RESULTS},
        ),
        Entry(
            "integrity_scan_last_success_timestamp_seconds",
            "gauge",
            "Unix time at which the last complete integrity scan ended.",
            read=True,
        ),
        Entry(
            "integrity_scan_duration_seconds",
            "histogram",
            "Duration of complete integrity scans.",
            buckets=WAIT_BUCKETS,
        ),
        Entry(
            "artifact_verifications",
            "counter",
            "Verifications of generated or published artifacts.",
            {"kind": ("restore",), "result": VERDICTS},
        ),
        Entry(
            "restore_last_verified_timestamp_seconds",
            "gauge",
            "Unix time at which a drill last put sessions back and found every one as it was and loadable.",
            read=True,
        ),
        Entry(
            "redactions",
            "counter",
            "Secrets redacted before they left the machine.",
            {"kind": (*kinds, OTHER)},
        ),
        # the process itself
        Entry("job_duration_seconds", "histogram", "Scheduled-job run time.", job, WAIT_BUCKETS),
        Entry("job_runs", "counter", "Scheduled-job runs.", {**job, "outcome": ("success", "failure")}),
        Entry(
            "ctl_request_duration_seconds",
            "histogram",
            "Control-socket request latency.",
            {"command": tuple(commands)},
            LOCAL_BUCKETS,
        ),
        Entry(
            "http_request_duration_seconds",
            "histogram",
            "Loopback HTTP request latency.",
            {"handler": ("metrics", "healthz", "readyz", OTHER)},
            LOCAL_BUCKETS,
        ),
    )


class Metrics:
    """The metrics of this process, in a registry of their own.  Any thread may call any method."""

    def __init__(self, entries: Iterable[Entry], now: Callable[[], float]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second time series a counter, which nobody asks for
        self._now = now
        self._reached_at = float("-inf")
        self._entries = {entry.name: entry for entry in entries}
        self.registry = CollectorRegistry(auto_describe=False)
        self._kept: dict[str, Any] = {
            entry.name: _made(entry, self.registry) for entry in self._entries.values() if not entry.read
        }
        self._readings = _Readings([entry for entry in self._entries.values() if entry.read])
        self.registry.register(self._readings)
        (build,) = product(*self._entries["build_info"].labels.values())
        self._kept["build_info"].labels(*build).set(1)
        self._kept["start_time_seconds"].set(now())
        self._loaded()

    def read(self, readings: Readings) -> None:
        """Say where readings come from; one that fails is left out of that scrape."""
        unknown = readings.keys() - {name for name, entry in self._entries.items() if entry.read}
        if unknown:
            raise KeyError(*unknown)
        self._readings.sources |= readings

    def add(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Count; a label value that is not in the catalogue counts as `other`, or not at all."""
        if (series := self._series(name, labels)) is not None and by >= 0:
            series.inc(by)

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        """Put a duration into a histogram."""
        if (series := self._series(name, labels)) is not None:
            series.observe(seconds)

    def job(self, name: str, seconds: float, *, success: bool) -> None:
        """Count a run of a scheduled job."""
        self.add("job_runs", name, "success" if success else "failure")
        self.observe("job_duration_seconds", name, seconds=seconds)

    def application(self) -> WSGIApplication:
        """`/metrics` itself: Prometheus text, or OpenMetrics for who asks for it."""
        made: WSGIApplication = make_wsgi_app(self.registry)
        return made

    def write(self, file: Path) -> None:
        """Write everything to a file, atomically, for the textfile collector of node_exporter."""
        write_to_textfile(str(file), self.registry)

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:  # noqa: C901, PLR0912, PLR0915 - a table
        """Count what an event of the engine or the process tells."""
        session, code = str(fields.get("session", "")), str(fields.get("code", ""))
        item = "comment" if session else "index"
        match event:
            case "github_requested":
                operation = str(fields.get("operation", ""))
                self.add("github_requests", operation, str(fields.get("outcome", "")))
                self.observe("github_request_duration_seconds", operation, seconds=_number(fields, "seconds"))
            case "github_reached":
                self._reached_at = self._now()
            case "github_limited":
                self.add(
                    "github_throttled_seconds", str(fields.get("kind", "")), by=_number(fields, "seconds")
                )
            case "item_enqueued":
                self.add("queue_enqueued", str(fields.get("operation", "")))
            case "push_started" if fields.get("attempt") == 1 and "seconds" in fields:
                self.observe("queue_wait_seconds", seconds=_number(fields, "seconds"))
            case "push_completed":
                self.add("queue_completed", "comment", "success")
                self.add("sync_operations", "push", self._outcome(_number(fields, "seconds")))
            case "push_unchanged":
                self.add("queue_completed", "comment", "success")
                if "seconds" in fields:
                    self.add("sync_operations", "push", self._outcome(_number(fields, "seconds")))
            case "version_kept":
                self.add("sync_operations", "pull", "success")
            case "pull_failed":
                self.add("sync_operations", "pull", "failure")
            case "session_united":
                self.add("sync_conflicts", "transcript", "merged")
            case "conflict_opened":
                self.add("sync_operations", "pull", "conflict")
                self.add("sync_conflicts", str(fields.get("kind", "")), "local")
            case "notice_created":
                self.add("queue_completed", "notice", "success")
            case "index_written":
                self.add("queue_completed", "index", "success")
            case "archive_started" if fields.get("attempt") == 1:
                self.observe("queue_wait_seconds", seconds=_number(fields, "seconds"))
            case "archive_completed":
                self.add("queue_completed", ARCHIVE, "success")
            case "archive_failed":
                self.add("queue_retries", ARCHIVE, code)
            case "archive_buried":
                self.add("queue_buried", code)
                self.add("queue_completed", ARCHIVE, "failure")
            case "push_failed":
                self.add("queue_retries", item, code)
            case "push_buried":
                self.add("queue_buried", code)
                self.add("queue_completed", item, "failure")
                if session:
                    self.add("sync_operations", "push", "failure")
            case "session_captured":
                self.add("captured_bytes", by=_number(fields, "bytes"))
                self.add("changes_detected", session.partition(":")[0])
            case "integrity_checked":
                self.add(
                    "integrity_checks",
                    str(fields.get("store", "")),
                    str(fields.get("result", "")),
                    by=_number(fields, "count"),
                )
            case "restore_rehearsed":
                self.add("artifact_verifications", "restore", str(fields.get("result", "")))
            case "integrity_scanned":
                self.observe("integrity_scan_duration_seconds", seconds=_number(fields, "seconds"))
            case "tier_promoted":
                self.add(
                    "session_tier_transitions",
                    str(fields.get("from_tier", "")),
                    str(fields.get("to_tier", "")),
                )
            case "secret_redacted":
                self.add("redactions", str(fields.get("kind", "")), by=_number(fields, "count", 1.0))
            case "watch_overflowed":
                self.add("watch_overflows")
            case "rescan_completed":
                self.add("watch_rescans", str(fields.get("reason", "")))
            case "config_reloaded":
                self._loaded()
            case "config_refused":
                self._kept["config_last_reload_successful"].set(0)

    def _loaded(self) -> None:
        self._kept["config_last_reload_successful"].set(1)
        self._kept["config_last_reload_success_timestamp_seconds"].set(self._now())

    def _outcome(self, age_s: float) -> str:
        late = age_s > SYNC_GOAL_S and self._now() - self._reached_at > SYNC_GOAL_S
        return "failure" if late else "success"

    def _series(self, name: str, labels: tuple[str, ...]) -> Any:
        known = self._entries[name].labels.values()
        if not known:
            return self._kept[name]
        bounded = []
        for value, allowed in zip(labels, known, strict=True):
            if value not in allowed and OTHER not in allowed:
                return None
            bounded.append(value if value in allowed else OTHER)
        return self._kept[name].labels(*bounded)


def of_state(
    catalog: Catalog,
    queue: Queue,
    now: Callable[[], float],
    pulled_at: Callable[[], float | None] = lambda: None,
) -> Readings:
    """What the state file tells, and when others were last heard."""

    def age(at: float | None) -> float:
        return 0.0 if at is None else max(0.0, now() - at)

    def items() -> dict[str, float]:
        return {state.value: float(n) for state, n in queue.depth().items() if state is not State.BURIED}

    def oldest() -> float | None:
        row = catalog.store.row("SELECT min(enqueued_at) FROM items WHERE state <> 'buried'")
        return row[0] if row else None

    def last_success() -> dict[str, float]:
        row = catalog.store.row("SELECT max(pushed_at) FROM sessions")
        return {"push": float(row[0] or 0.0) if row else 0.0, "pull": pulled_at() or 0.0}

    def sessions() -> dict[tuple[str, ...], float]:
        rows = catalog.store.rows(
            "SELECT source, tier, count(*) FROM sessions WHERE tier IS NOT NULL GROUP BY source, tier"
        )
        return {(source, tier): float(n) for source, tier, n in rows}

    return {
        "queue_items": items,
        "queue_oldest_item_age_seconds": lambda: age(oldest()),
        "queue_buried_items": lambda: float(queue.depth()[State.BURIED]),
        "sync_lag_seconds": lambda: age(queue.oldest_at()),
        "sync_last_success_timestamp_seconds": last_success,
        "sessions": sessions,
    }


class _Readings(Collector):
    """Everything that is computed when asked."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self.sources: dict[str, Callable[[], Value]] = {}

    def collect(self) -> Iterator[Metric]:
        for entry in self._entries:
            source = self.sources.get(entry.name)
            try:
                value = None if source is None else source()
            except Exception:  # noqa: BLE001, S112 - one that cannot be read must not hide the others
                continue
            if value is not None:
                yield _family(entry, value)


def _family(entry: Entry, value: Value) -> Metric:
    make = CounterMetricFamily if entry.kind == "counter" else GaugeMetricFamily
    family = make(PREFIX + entry.name, entry.help, labels=list(entry.labels))
    if not isinstance(value, Mapping):
        family.add_metric([], value)
        return family
    found = {key if isinstance(key, tuple) else (key,): number for key, number in value.items()}
    for labels in product(*entry.labels.values()):
        family.add_metric(list(labels), found.pop(labels, 0.0))
    for labels, number in found.items():
        family.add_metric(list(labels), number)
    return family


def _made(entry: Entry, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    """The metric, with every label set it can have."""
    name, labels = PREFIX + entry.name, list(entry.labels)
    made: Counter | Gauge | Histogram
    match entry.kind:
        case "counter":
            made = Counter(name, entry.help, labels, registry=registry)
        case "gauge":
            made = Gauge(name, entry.help, labels, registry=registry)
        case _:
            made = Histogram(name, entry.help, labels, buckets=entry.buckets, registry=registry)
    for values in product(*entry.labels.values()) if labels else ():
        made.labels(*values)
    return made


def _number(fields: Mapping[str, Any], name: str, default: float = 0.0) -> float:
    value = fields.get(name, default)
    return float(value) if isinstance(value, int | float) else default
