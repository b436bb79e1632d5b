"""What each event adds to which metric: a table, and nothing else that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sessionsync.queue import ARCHIVE

Fields = Mapping[str, Any]


class Of(NamedTuple):
    """A label's value that a field of the event tells."""

    field: str


def _always(_fields: Fields) -> bool:
    return True


class Count(NamedTuple):
    """One thing that an event adds: 1, or what the field `by` says; to a histogram it is seconds.

    Labels are in the catalogue's order, each a value of its own, a field, or what a function makes of all.
    """

    name: str
    labels: tuple[str | Of | Callable[[Fields], str], ...] = ()
    by: str = ""
    when: Callable[[Fields], bool] = _always

    def values(self, fields: Fields) -> tuple[str, ...]:
        """The label values for this event."""
        return tuple(
            str(fields.get(label.field, ""))
            if isinstance(label, Of)
            else label(fields)
            if callable(label)
            else label
            for label in self.labels
        )

    def amount(self, fields: Fields) -> float | None:
        """How much it adds; None where the event does not tell."""
        value = fields.get(self.by) if self.by else 1.0
        return float(value) if isinstance(value, int | float) else None


def _item(fields: Fields) -> str:
    return "comment" if fields.get("session") else "index"


def _source(fields: Fields) -> str:
    return str(fields.get("session", "")).partition(":")[0]


def _of_session(fields: Fields) -> bool:
    return bool(fields.get("session"))


def _first(fields: Fields) -> bool:
    return fields.get("attempt") == 1


def _is_new(fields: Fields) -> bool:
    """Whether a finding has come up, and not only become worse."""
    return not fields.get("was")


def _of_artifacts(fields: Fields) -> bool:
    return fields.get("kind") == "artifact"


def _verdict(fields: Fields) -> str:
    return "ok" if fields.get("result") == "ok" else "failed"


COUNTS: Mapping[str, tuple[Count, ...]] = {
    "github_requested": (
        Count("github_requests", (Of("operation"), Of("outcome"))),
        Count("github_request_duration_seconds", (Of("operation"),), "seconds"),
    ),
    "github_limited": (Count("github_throttled_seconds", (Of("kind"),), "seconds"),),
    # the queue
    "item_enqueued": (Count("queue_enqueued", (Of("operation"),)),),
    "push_started": (Count("queue_wait_seconds", (), "seconds", _first),),
    "push_completed": (
        Count("queue_completed", ("comment", "success")),
        Count("sync_duration_seconds", ("push",), "seconds"),
    ),
    "push_unchanged": (
        Count("queue_completed", ("comment", "success")),
        Count("sync_duration_seconds", ("push",), "seconds"),
    ),
    "push_failed": (Count("queue_retries", (_item, Of("code"))),),
    "push_buried": (
        Count("queue_buried", (Of("code"),)),
        Count("queue_completed", (_item, "failure")),
        Count("sync_operations", ("push", "failure"), "", _of_session),
    ),
    "notice_created": (Count("queue_completed", ("notice", "success")),),
    "index_written": (Count("queue_completed", ("index", "success")),),
    "archive_started": (Count("queue_wait_seconds", (), "seconds", _first),),
    "archive_completed": (Count("queue_completed", (ARCHIVE, "success")),),
    "archive_failed": (Count("queue_retries", (ARCHIVE, Of("code"))),),
    "archive_buried": (
        Count("queue_buried", (Of("code"),)),
        Count("queue_completed", (ARCHIVE, "failure")),
    ),
    # what others change
    "version_kept": (Count("sync_operations", ("pull", "success")),),
    "pull_ended": (Count("sync_duration_seconds", ("pull",), "seconds"),),
    "pull_failed": (Count("sync_operations", ("pull", "failure")),),
    "session_united": (Count("sync_conflicts", ("transcript", "merged")),),
    "conflict_opened": (
        Count("sync_operations", ("pull", "conflict")),
        Count("sync_conflicts", (Of("kind"), "local")),
    ),
    # sessions and their copies
    "session_captured": (
        Count("captured_bytes", (), "bytes"),
        Count("changes_detected", (_source,)),
    ),
    "tier_promoted": (Count("session_tier_transitions", (Of("from_tier"), Of("to_tier"))),),
    "secret_redacted": (Count("redactions", (Of("kind"),), "count"),),
    "integrity_checked": (Count("integrity_checks", (Of("store"), Of("result")), "count"),),
    "references_checked": (
        Count("reference_checks", (Of("kind"), Of("result")), "count"),
        Count("artifact_verifications", ("artifact", _verdict), "count", _of_artifacts),
    ),
    "integrity_scanned": (Count("integrity_scan_duration_seconds", (), "seconds"),),
    "restore_rehearsed": (Count("artifact_verifications", ("restore", Of("result"))),),
    # what is wrong, and what is done about it
    "health_checked": (Count("health_check_runs", (Of("check"), Of("result"))),),
    "finding_raised": (Count("incidents", (Of("component"),)),),
    "finding_escalated": (Count("incidents", (Of("component"),), "", _is_new),),
    "finding_cleared": (Count("incident_recovery_seconds", (Of("component"),), "seconds"),),
    "bytes_lost": (Count("changes_lost", ("no_copy",)),),
    # watching
    "watch_overflowed": (Count("watch_overflows"),),
    "rescan_completed": (Count("watch_rescans", (Of("reason"),)),),
}
