"""Every metric there is: name, type, what it tells, and each value that its labels can have."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sessiond import build
from sessiond.metrics import labels as of
from sessionsync import __version__
from sessionsync.queue import State
from sessionsync.reliability.findings import COMPONENTS
from sessionsync.reliability.indicators import GROUPS
from sessionsync.reliability.ledger import ENDINGS
from sessionsync.reliability.score import STATES, WINDOWS
from sessionsync.vault import references

PREFIX = "sessiond_"

Labels = Mapping[str, tuple[str, ...]]
NONE: Labels = {}


class Entry(NamedTuple):
    """A metric: its name without prefix, and every value that each of its labels can have.

    `read` entries are computed when asked, the others counted or set as things happen.
    """

    name: str
    kind: str
    help: str
    labels: Labels = NONE
    buckets: tuple[float, ...] = ()
    read: bool = False

    @property
    def series(self) -> str:
        """The name that a query asks for; a histogram's has `_bucket`, `_sum` or `_count` behind it."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _counter(name: str, text: str, labels: Labels = NONE, *, read: bool = False) -> Entry:
    return Entry(name, "counter", text, labels, read=read)


def _gauge(name: str, text: str, labels: Labels = NONE, *, read: bool = True) -> Entry:
    return Entry(name, "gauge", text, labels, read=read)


def _histogram(
    name: str, text: str, labels: Labels = NONE, *, buckets: tuple[float, ...], read: bool = False
) -> Entry:
    return Entry(name, "histogram", text, labels, buckets, read)


def catalogue(
    *,
    loops: Iterable[str] = (),
    jobs: Iterable[str] = (),
    commands: Iterable[str] = (),
    kinds: Iterable[str] = (),
) -> tuple[Entry, ...]:
    """Every metric there is.  Loops, jobs, `ctl` commands and kinds of secrets are the caller's."""
    found = parts(loops=loops, jobs=jobs, commands=commands, kinds=kinds)
    return tuple(entry for entries in found.values() for entry in entries)


def parts(
    *,
    loops: Iterable[str] = (),
    jobs: Iterable[str] = (),
    commands: Iterable[str] = (),
    kinds: Iterable[str] = (),
) -> dict[str, tuple[Entry, ...]]:
    """The same, by the part of the program that they are about."""
    redactions = _counter(
        "redactions", "Secrets redacted before they left the machine.", {"kind": (*kinds, of.OTHER)}
    )
    return {
        "Reliability": RELIABILITY,
        "Synchronisation": SYNC,
        "Queue": QUEUE,
        "GitHub": GITHUB,
        "Sessions": (*SESSIONS, redactions),
        "Integrity": INTEGRITY,
        "Storage": STORAGE,
        "Watching": WATCH,
        "Process": _process(tuple(loops), tuple(jobs), tuple(commands)),
    }


def _process(loops: tuple[str, ...], jobs: tuple[str, ...], commands: tuple[str, ...]) -> tuple[Entry, ...]:
    """The process itself: which it is, whether it turns, and what it answers."""
    return (
        _gauge(
            "build_info",
            "Constant 1, labelled with the running build.",
            {
                "version": (__version__,),
                "revision": (build.commit(),),
                "python_version": (platform.python_version(),),
                "sqlite_version": (sqlite3.sqlite_version,),
            },
            read=False,
        ),
        _gauge("start_time_seconds", "Unix time at which this daemon process started.", read=False),
        _counter(
            "restarts",
            "Daemon starts since the state was made, by how the run before ended.",
            {"previous_exit": ENDINGS},
            read=True,
        ),
        _gauge("ready", "1 if the daemon answers /readyz with 200."),
        _gauge(
            "config_last_reload_successful",
            "1 if the last configuration load or reload succeeded.",
            read=False,
        ),
        _gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time of the last successful configuration load.",
            read=False,
        ),
        _counter("log_messages", "Log records emitted.", {"level": ("debug", "info", "warning", "error")}),
        _gauge(
            "loop_progress_age_seconds",
            "Seconds since a loop last made progress or began to wait for work.",
            {"loop": loops},
        ),
        _histogram("job_duration_seconds", "Scheduled-job run time.", {"job": jobs}, buckets=of.WAIT_BUCKETS),
        _counter("job_runs", "Scheduled-job runs.", {"job": jobs, "outcome": of.DONE}),
        _histogram(
            "ctl_request_duration_seconds",
            "Control-socket request latency.",
            {"command": commands},
            buckets=of.LOCAL_BUCKETS,
        ),
        _histogram(
            "http_request_duration_seconds",
            "Loopback HTTP request latency.",
            {"handler": ("metrics", "healthz", "readyz", of.OTHER)},
            buckets=of.LOCAL_BUCKETS,
        ),
    )


_OPERATION: Labels = {"operation": of.OPERATIONS}
_RESOURCE: Labels = {"resource": ("core",)}
GITHUB = (
    _histogram(
        "github_request_duration_seconds",
        "GitHub HTTP request latency, per attempt, to the last body byte.",
        _OPERATION,
        buckets=of.REQUEST_BUCKETS,
    ),
    _counter("github_requests", "GitHub HTTP requests, per attempt.", {**_OPERATION, "outcome": of.OUTCOMES}),
    _gauge("github_rate_limit_limit", "Requests allowed in the current rate-limit window.", _RESOURCE),
    _gauge("github_rate_limit_remaining", "Requests left in the current rate-limit window.", _RESOURCE),
    _gauge(
        "github_rate_limit_reset_timestamp_seconds",
        "Unix time at which the rate-limit window resets.",
        _RESOURCE,
    ),
    _counter(
        "github_throttled_seconds",
        "Seconds spent waiting for a rate limit or Retry-After.",
        {"reason": ("primary", "secondary", of.OTHER)},
    ),
    _gauge(
        "github_token_expiry_timestamp_seconds",
        "Unix time at which the token expires, +Inf if it never does.",
    ),
)

INTEGRITY = (
    _counter(
        "integrity_checks",
        "SHA-256 comparisons of stored content against the recorded digest.",
        {"store": of.STORES, "result": of.RESULTS},
    ),
    _counter(
        "artifact_verifications",
        "Verifications of generated or published artifacts.",
        {"kind": ("restore", "artifact"), "result": of.VERDICTS},
    ),
    _counter(
        "reference_checks",
        "Checked references between sessions, artifacts and checkpoints.",
        {"kind": references.KINDS, "result": references.RESULTS},
    ),
    _gauge(
        "broken_references",
        "References that did not resolve in the last complete scan.",
        {"kind": references.KINDS},
    ),
    _gauge(
        "integrity_scan_last_success_timestamp_seconds",
        "Unix time at which the last complete integrity scan ended, 0 before the first.",
    ),
    _histogram(
        "integrity_scan_duration_seconds",
        "Duration of complete integrity scans.",
        buckets=of.WAIT_BUCKETS,
    ),
    _gauge(
        "restore_last_verified_timestamp_seconds",
        "Unix time at which a drill last put sessions back and found every one as it was and loadable.",
    ),
)

_DIRECTION: Labels = {"direction": ("push", "pull")}
SYNC = (
    _counter(
        "sync_operations",
        "Finished synchronisation operations.",
        {**_DIRECTION, "outcome": ("success", "conflict", "failure")},
    ),
    _histogram(
        "sync_duration_seconds",
        "Time from a checkpoint to GitHub having it, or of one look at what others changed.",
        _DIRECTION,
        buckets=of.WAIT_BUCKETS,
    ),
    _gauge(
        "sync_lag_seconds",
        "Age of the oldest completed checkpoint not on GitHub, 0 if none; computed at scrape time.",
    ),
    _gauge(
        "sync_last_success_timestamp_seconds",
        "Unix time of the last successful synchronisation.",
        _DIRECTION,
    ),
    _counter(
        "sync_conflicts",
        "Synchronisation conflicts.",
        {"kind": ("transcript", "files", "edit"), "resolution": ("merged", "local")},
    ),
    _gauge(
        "sync_divergence_bytes",
        "Bytes that differ between local and remote: only here, or only there.",
        {"side": ("local", "remote")},
    ),
)

_ITEM: Labels = {"operation": of.ITEMS}
QUEUE = (
    _gauge(
        "queue_items",
        "Items in the persistent queue.",
        {"state": tuple(state.value for state in State if state is not State.BURIED)},
    ),
    _gauge("queue_bytes", "Payload bytes in the persistent queue: the sizes of the checkpoints in it."),
    _gauge(
        "queue_oldest_item_age_seconds",
        "Age of the oldest item that is not done, 0 if none; computed at scrape time.",
    ),
    _counter("queue_enqueued", "Items put into the queue.", _ITEM),
    _counter("queue_completed", "Items that left the queue.", {**_ITEM, "outcome": of.DONE}),
    _counter("queue_retries", "Item retries.", {**_ITEM, "reason": of.REASONS}),
    _gauge("queue_buried_items", "Items buried."),
    _counter("queue_buried", "Items buried.", {"reason": of.REASONS}),
    _histogram("queue_wait_seconds", "Time between enqueue and first attempt.", buckets=of.WAIT_BUCKETS),
)

WATCH = (
    _counter(
        "watch_events",
        "File-system events received.",
        {"type": ("created", "modified", "moved", "deleted")},
        read=True,
    ),
    _counter("watch_overflows", "Event-queue overflows; each forces a full rescan."),
    _gauge("watch_watches", "Directories watched."),
    _gauge(
        "watch_watches_limit",
        "Watches this user may create (fs.inotify.max_user_watches), +Inf if unlimited.",
    ),
    _counter("watch_rescans", "Full directory rescans.", {"reason": of.RESCANS}),
)

_TOOL: Labels = {"tool": of.TOOLS}
SESSIONS = (
    _gauge("sessions", "Known sessions.", {**_TOOL, "tier": of.TIERS}),
    _counter(
        "session_tier_transitions",
        "Tier changes of sessions.",
        {"from_tier": of.TIERS, "to_tier": of.TIERS},
    ),
    _counter(
        "session_lookups",
        "Session look-ups; reuse rate = reused / all.",
        {"result": ("reused", "new")},
        read=True,
    ),
    _counter(
        "session_tokens",
        "Tokens recorded in watched sessions.",
        {**_TOOL, "type": of.TOKENS},
        read=True,
    ),
    _histogram(
        "response_seconds",
        "Time from a request to the agent's answer, as transcripts tell it.",
        _TOOL,
        buckets=of.ANSWER_BUCKETS,
        read=True,
    ),
)

_AREA: Labels = {"area": of.AREAS}
STORAGE = (
    _gauge("storage_bytes", "Bytes used, by area.", _AREA),
    _gauge(
        "storage_filesystem_avail_bytes",
        "Bytes available to the user on the file system holding the area.",
        _AREA,
    ),
    _gauge("storage_filesystem_size_bytes", "Size of the file system holding the area.", _AREA),
)

_COMPONENT: Labels = {"component": COMPONENTS}
_CHECK: Labels = {"check": GROUPS}
RELIABILITY = (
    _counter(
        "state_seconds",
        "Seconds spent in each state since the state was made, kept across restarts; down is filled in at"
        " the next start, suspended is time the machine slept, off is a clean stop or another boot.",
        {"state": STATES},
        read=True,
    ),
    _gauge(
        "reliability_score_ratio",
        "Uptime ratio x integrity ratio x sync success ratio, 0..1.",
        {"window": tuple(WINDOWS)},
    ),
    _counter("incidents", "Incidents opened: findings that came up.", _COMPONENT),
    _histogram(
        "incident_recovery_seconds",
        "Time from when an incident could be mended to its end; sum/count is MTTR.",
        _COMPONENT,
        buckets=of.WAIT_BUCKETS,
    ),
    _counter("recovery_attempts", "Automatic recovery attempts.", {**_COMPONENT, "outcome": of.DONE}),
    _counter(
        "changes_detected",
        "Changes detected that must reach the remote.",
        {"source": (*of.TOOLS, of.OTHER)},
    ),
    _counter(
        "changes_lost",
        "Detected changes that can no longer be delivered.",
        {"reason": ("no_copy", of.OTHER)},
    ),
    _counter("captured_bytes", "Session bytes copied into the local backup."),
    _counter("lost_bytes", "Captured bytes whose last copy is gone.", read=True),
    _gauge("health_check_status", "1 if the last run of the check passed.", _CHECK, read=False),
    _counter("health_check_runs", "Health-check runs.", {**_CHECK, "result": of.CHECKED}),
    _gauge(
        "health_check_last_run_timestamp_seconds",
        "Unix time of the last run of the check, 0 before the first.",
        _CHECK,
        read=False,
    ),
)
