"""What the program tells of itself: one name an event, in the past tense, all of them here.

A step is given an `Emit` and calls it as `emit("session_captured", session=str(ref), bytes=12)`.
The process logs it, keeps it for `ctl events` and counts it for `/metrics`.  Levels are those of a
log: `error` wants a person, `warning` may become one's business, `debug` is not kept.
"""

from __future__ import annotations

from _collections_abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Emit = Callable[..., None]
"""`emit(event, **fields)`: `event` has happened; fields are plain values, `session` is `str(Ref)`."""


def silent(event: str, **fields: Any) -> None:
    """An `Emit` for those who do not listen."""


EVENTS: dict[str, str] = {
    # capture
    "session_found": "info",
    "session_captured": "debug",
    "session_rewritten": "warning",
    "session_deleted": "warning",
    "checkpoint_completed": "info",
    "tier_promoted": "info",
    "project_found": "info",
    "rescan_completed": "debug",
    "file_skipped": "warning",
    "capture_stopped": "error",
    "capture_resumed": "info",
    "source_unreadable": "error",
    "copies_removed": "error",
    "worker_lost": "warning",
    # vault
    "vault_tail_cut": "warning",
    "copy_set_aside": "info",
    "copy_made_again": "warning",
    "copy_cut": "warning",
    # upkeep
    "integrity_checked": "debug",
    "references_checked": "debug",
    "integrity_scanned": "info",
    "damage_found": "error",
    "damage_healed": "warning",
    "damage_remained": "error",
    "copy_unavailable": "warning",
    "checkpoints_forgotten": "info",
    "segments_merged": "info",
    "orphans_removed": "info",
    "session_adopted": "info",
    "session_recalled": "info",
    "numbers_failed": "warning",
    "session_forgotten": "info",
    "restore_rehearsed": "debug",
    "drill_ended": "info",
    "drill_failed": "error",
    "upkeep_postponed": "warning",
    # hooks: the hook's own log, and the daemon where it answers
    "session_copied": "info",
    "session_copy_failed": "warning",
    "session_save_attempt": "info",
    "session_save_timed_out": "warning",
    "session_save_retried": "info",
    "session_save_failed": "warning",
    "session_save_fell_back": "warning",
    "session_saved": "info",
    "spool_taken_in": "info",
    "spool_event_dropped": "warning",
    "hook_refused": "warning",
    "hook_ignored": "debug",
    "hook_failed": "error",
    # queue and push
    "item_enqueued": "debug",
    "push_started": "debug",
    "push_completed": "info",
    "push_unchanged": "debug",
    "push_failed": "warning",
    "push_buried": "error",
    "push_paused": "error",
    "push_resumed": "info",
    "github_requested": "debug",
    "github_limited": "warning",
    "github_unreachable": "warning",
    "github_reached": "info",
    "repository_moved": "warning",
    "repository_checked": "debug",
    "token_exceeded": "warning",
    "issue_created": "info",
    "issue_missed": "warning",
    "issue_filled": "info",
    "index_written": "debug",
    "comment_created": "info",
    "comment_edited": "debug",
    "comment_deleted": "info",
    "comment_kept": "warning",
    "comment_missed": "warning",
    "comment_changed_by_person": "warning",
    # archive
    "archive_started": "debug",
    "archive_completed": "info",
    "archive_failed": "warning",
    "archive_buried": "error",
    "archive_paused": "error",
    "archive_resumed": "info",
    "archive_limited": "warning",
    "archive_unreachable": "warning",
    "archive_reached": "info",
    "archive_made": "info",
    "archive_lost": "warning",
    "archive_folded": "info",
    "archive_erased": "info",
    "archive_cache_dropped": "warning",
    "archive_upkeep_failed": "warning",
    "machine_renamed": "warning",
    "secret_redacted": "info",
    # pull and conflict
    "pull_completed": "debug",
    "pull_ended": "debug",
    "pull_failed": "warning",
    "version_kept": "info",
    "session_united": "info",
    "conflict_opened": "warning",
    "conflict_resolved": "info",
    "notice_created": "info",
    # health
    "health_checked": "debug",
    "finding_raised": "warning",
    "finding_escalated": "error",
    "finding_cleared": "info",
    "recovery_started": "info",
    "recovery_ended": "info",
    "bytes_lost": "error",
    "escalated": "info",
    "escalation_failed": "warning",
    # process
    "daemon_started": "info",
    "daemon_stopped": "info",
    "daemon_replaced": "info",
    "upgrade_refused": "warning",
    "state_set_aside": "error",
    "state_rebuilt": "info",
    "state_migrated": "info",
    "config_reloaded": "info",
    "config_refused": "error",
    "watch_overflowed": "warning",
    "watch_refused": "warning",
    "command_failed": "error",
    "library_logged": "warning",
    "watcher_restarted": "warning",
    "loop_failed": "error",
    "clock_jumped": "warning",
    "mode_changed": "info",
    "http_failed": "error",
    "command_received": "debug",
    "stranger_refused": "warning",
}
