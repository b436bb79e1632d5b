"""What `sessiond ctl` and `sessiond list` tell, as plain JSON values.  Reads the state and nothing else.

Times are RFC 3339 in UTC, sizes bytes, durations seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sessionsync.catalog import Catalog, Checkpoint, Session
from sessionsync.conflict import WAYS, Conflict, Conflicts
from sessionsync.elsewhere import Version, Versions
from sessionsync.errors import CopyMismatch, IssueLocked
from sessionsync.model import ACTIVE_S, Tier, rfc3339
from sessionsync.queue import ARCHIVE, Item, Lane, Queue, State
from sessionsync.reliability.findings import Finding, Severity
from sessionsync.reliability.score import TALLIES, Figures
from sessionsync.reliability.trend import Growth
from sessionsync.remote.archive import ledger
from sessionsync.remote.placements import Held, Placements
from sessionsync.restore.known import Known
from sessionsync.sources.cleanup import cleanup_days
from sessionsync.store import Store

Json = dict[str, Any]

# One checkpoint holds at most so long of changes (capture makes one then at the latest), where it does not
# say since when.
CHECKPOINT_SPAN_S = 600.0
SHOWN_CHECKPOINTS = 50
# States of sessions whose agent's own file is not counted on any more.
GONE = frozenset({"deleted", "rotated"})
# What is tried again by itself, but will not go well until somebody does this.
MENDED_BY = {
    IssueLocked.code: "Unlock the issue, or give the token's account write access.",
    CopyMismatch.code: "The vault is damaged there: `sessiond ctl repair ID` mends it from another copy.",
}


@dataclass(frozen=True, slots=True)
class Live:
    """What only the running daemon knows.

    `captured_until` (Unix seconds): everything on disk by then is in the local copies; None before
    the first scan is through.  `reason` and `hint` are about the mode, '' in `normal`.  `rate_limit`
    is (limit, remaining, reset_at); `reachable` is None while nobody has asked GitHub.
    `next_attempt_at` is when GitHub is asked next where that is not the queue's own time.  `archive` is
    the archive's address, '' without one; `archive_trouble` why nothing goes there and what to do.
    """

    version: str
    pid: int
    uptime_seconds: float
    mode: str
    captured_until: float | None
    reason: str = ""
    hint: str = ""
    repo: str = ""
    reachable: bool | None = None
    rate_limit: tuple[int, int, float] | None = None
    next_attempt_at: float | None = None
    findings: Sequence[Finding] = ()
    score: float | None = None
    archive: str = ""
    archive_trouble: tuple[str, str] = ("", "")


def status(catalog: Catalog, queue: Queue, live: Live, now: float) -> Json:
    """`ctl status`.

    `safe_until` is the time until which everything is on this disk twice and, unless the mode is
    `local_only`, on GitHub, and in the archive where there is one; null while there is none.
    `unpushed_since` is when the first change that is not on GitHub was made, and `reason` and `hint` say
    why, and what to do; `archive` says the same of the archive.  What waits in the queue for a repository
    that nobody has set is not `pending`, but `kept`.
    """
    waiting = [session for session in _commented(catalog) if not _is_pushed(session)]
    since = min((_unsafe_since(catalog, session) for session in waiting), default=None)
    bounds = [live.captured_until, *([since] if since is not None and live.mode != "local_only" else [])]
    archive = _archive(catalog.store, queue, live)
    bounds += [unarchived] if (unarchived := archive.pop("at")) is not None else []
    census = queue.census()
    waits = sum(number for state, number in census.depth.items() if state is not State.BURIED)
    pending = waits if live.repo else archive["pending"]
    going = [at for operation, at in census.oldest.items() if live.repo or (operation == ARCHIVE and pending)]
    oldest = min(going, default=None)
    reason, hint = (live.reason, live.hint) if live.mode != "normal" else trouble(queue, Lane.GITHUB)
    limit = live.rate_limit
    return {
        "version": live.version,
        "pid": live.pid,
        "uptime_seconds": round(live.uptime_seconds, 1),
        "status": "degraded" if (worst := _worst(live.findings)) == "warning" else worst,
        "mode": live.mode,
        "reason": reason,
        "hint": hint,
        "safe_until": None if None in bounds else rfc3339(min(at for at in bounds if at is not None)),
        "captured_until": _time(live.captured_until),
        "unpushed_since": _time(since),
        "github": {
            "repo": live.repo,
            "reachable": live.reachable,
            "rate_limit": limit and {"limit": limit[0], "remaining": limit[1], "reset_at": _time(limit[2])},
        },
        "archive": archive,
        "queue": {
            "pending": pending,
            "kept": waits - pending,
            "oldest_age_seconds": 0.0 if oldest is None else round(max(0.0, now - oldest), 1),
            "buried": census.depth[State.BURIED],
            "next_attempt_at": _time(
                live.next_attempt_at or (queue.next_attempt_at() if live.mode == "normal" else None)
            ),
        },
        "sessions": {
            **_counts(catalog.store, now),
            "unpushed": len(waiting),
            "conflicts": Conflicts(catalog.store).open_count(),
            "restorable_elsewhere": restorable_elsewhere(catalog.store),
        },
        "last_push_at": _time(_number(catalog.store, "SELECT max(pushed_at) FROM sessions")),
        "reliability_score": None if live.score is None else round(live.score, 6),
        "findings": [finding(found) for found in live.findings],
    }


def sessions(
    catalog: Catalog,
    now: float,
    project: Path | None = None,
    *,
    everywhere: bool = False,
    strangers: Iterable[tuple[Known, Sequence[str]]] = (),
) -> Json:
    """`ctl sessions` and `list`: newest first; those of one project's folder, or all.

    `everywhere` adds those that only the repository knows of, as their records tell, and the `strangers`:
    those that only copies tell of, with where these are.  `newer_elsewhere` says that another machine has
    something of a session that this one has not.
    """
    archived, states = ledger.archived(catalog.store), States(catalog, now)
    newer = Versions(catalog.store).newer()
    in_conflict = {conflict.session for conflict in Conflicts(catalog.store).all()}
    cleanup = functools.cache(cleanup_days)  # one look at the settings for all sessions
    uncopied = catalog.uncopied()
    here = [session for session in catalog.sessions() if project is None or is_in(session, project)]
    found = [
        _element(
            session,
            now,
            cleanup,
            states.of(session),
            copied=session.id not in uncopied,
            archived=session.id in archived,
        )
        | _elsewhere(newer.get(session.id, ()), conflict=session.id in in_conflict)
        for session in here
    ]
    if everywhere:
        others = {
            (each["source"], each["id"]): each for each in _others(catalog, None if project is None else here)
        }
        for session, copies in strangers:
            element = found_in(session, copies)
            each = others.setdefault((element["source"], element["id"]), element)
            each["copies"] = list(dict.fromkeys([*each["copies"], *copies]))
        found += others.values()
        found.sort(key=lambda each: str(each["updated_at"]), reverse=True)
    return {"sessions": found}


def conflicts(catalog: Catalog) -> Json:
    """`ctl conflicts`: the sessions of which there are two versions, and nobody has chosen yet."""
    return {"conflicts": [_conflict(catalog, conflict) for conflict in Conflicts(catalog.store).all()]}


def show(
    catalog: Catalog,
    session: Session,
    findings: Iterable[Finding],
    now: float,
    limits: Mapping[Tier, int] | None = None,
) -> Json:
    """`ctl show`: one session with all that is known of it.

    `tier_limit_in_seconds` is when it will have grown past its tier at this pace, null where it will not;
    `limits` are the sizes at which tiers end.
    """
    checkpoints = catalog.checkpoints(session.id)
    files = catalog.files(session.id)
    newest = checkpoints[-SHOWN_CHECKPOINTS:]
    critical = msgspec.to_builtins(session.summary.critical)
    critical["checkpoints"] = [
        {"id": point.id, "at": rfc3339(point.at), "trigger": point.trigger} for point in newest
    ]
    return {
        **_element(
            session,
            now,
            cleanup_days,
            States(catalog, now).of(session),
            copied=session.id not in catalog.uncopied(),
            archived=session.id in ledger.archived(catalog.store),
        ),
        **_elsewhere(
            Versions(catalog.store).newer().get(session.id, ()),
            conflict=Conflicts(catalog.store).of(session.id) is not None,
        ),
        "tier_limit_in_seconds": _tier_limit_in(
            session, newest, (limits or {}).get(session.tier or Tier.HYBRID)
        ),
        "critical_data": critical,
        "quality": session.summary.quality,
        "bad_lines": session.summary.bad_lines,
        "checkpoints": [_checkpoint(session, point) for point in checkpoints],
        "files": [
            {
                "path": file.name,
                "role": file.role.value,
                "size": file.length,
                "generation": file.generation,
                "deleted_at": _time(file.deleted_at),
            }
            for file in files.values()
        ],
        "findings": [finding(found) for found in findings if found.session == session.name],
    }


def queue(catalog: Catalog, queue: Queue, *, buried: bool = False) -> Json:
    """`ctl queue`: what waits, the next one first, or what is buried."""
    return {"items": [_item(catalog.store, item) for item in queue.items(buried=buried)]}


def events(store: Store, after: int = 0, limit: int = 100) -> Json:
    """`ctl events`: the newest `limit` with a number above `after`, oldest first."""
    return {
        "events": [
            {**fields, "at": rfc3339(at), "event": event, "session": session, "number": number}
            for number, at, event, session, fields in store.events(after, limit)
        ]
    }


def health(findings: Sequence[Finding], windows: Mapping[str, Figures], checked_at: float | None) -> Json:
    """`ctl health`; `reliability` has the figures of each window, the score by source among them.

    `checked_at` is None until everything was looked at once since the start.
    """
    return {
        "status": _worst(findings),
        "checked_at": None if checked_at is None else rfc3339(checked_at),
        "findings": [finding(found) for found in findings],
        "reliability": {name: _figures(figures) for name, figures in windows.items()},
    }


def _figures(found: Figures) -> Json:
    """The figures of a window, and the sums that they were made of."""
    return {
        "score": found.score,
        "score_by_source": dict(found.by_source),
        "uptime_ratio": found.uptime_ratio,
        "integrity_ratio": found.integrity_ratio,
        "sync_success_ratio": found.sync_success_ratio,
        "mttr_seconds": found.mttr_s,
        "recovery_success_ratio": found.recovery_success_ratio,
        "data_loss_ratio": found.data_loss_ratio,
        "state_seconds": dict(found.sums.seconds),
        "counts": {name: found.sums.of(name) for name in TALLIES},
        "incidents": found.sums.incidents,
        "recoveries": {"success": found.sums.recovered, "failure": found.sums.unrecovered},
    }


def finding(found: Finding) -> Json:
    """A finding, as `ctl status` and `ctl health` list it."""
    return {
        "code": found.code,
        "severity": found.severity.value,
        "session": found.session,
        "message": found.message,
        "hint": found.hint,
        "doing": found.doing,
        "since": rfc3339(found.since),
    }


# --- what is not on GitHub


def _commented(catalog: Catalog) -> list[Session]:
    """The sessions that belong on GitHub and of which something may be missing there."""
    rows = catalog.store.rows(
        "SELECT id FROM sessions WHERE commented"
        " AND (dirty_since IS NOT NULL OR checkpoint IS NOT pushed_checkpoint)"
    )
    return [session for (number,) in rows if _speaks(session := catalog.session(number))]


def _archive(store: Store, queue: Queue, live: Live) -> Json:
    """What is not in the archive; `at` is since when, Unix seconds."""
    behind, since = ledger.behind(store) if live.archive else (0, None)
    reason, hint = live.archive_trouble
    if live.archive and behind and not reason:
        reason, hint = trouble(queue, Lane.ARCHIVE)
    buried = len(queue.items(buried=True, lane=Lane.ARCHIVE))
    return {
        "url": live.archive,
        "pending": len(queue.items(lane=Lane.ARCHIVE)) if live.archive else 0,
        "behind": behind,
        "since": _time(since),
        "at": since,
        "buried": buried,
        "reason": reason,
        "hint": hint,
    }


def restorable_elsewhere(store: Store) -> int:
    """How many sessions another machine could restore: from the archive, or from a comment that has all."""
    archived = ledger.archived(store)
    rows = store.rows(
        "SELECT id FROM sessions WHERE pushed_checkpoint IS NOT NULL AND tier = ?", (Tier.GITHUB_ONLY,)
    )
    return len({row[0] for row in rows} | archived)


def _speaks(session: Session) -> bool:
    """A transcript without a user's message gets no comment."""
    return session.ref.source != "claude" or session.summary.prompts > 0


def _is_pushed(session: Session) -> bool:
    return session.dirty_since is None and session.checkpoint == session.pushed_checkpoint


def _unsafe_since(catalog: Catalog, session: Session) -> float:
    """When the session's first change was made that is not on GitHub, or a little earlier."""
    pushed = catalog.checkpoint_at(session.id, session.pushed_checkpoint)
    pushed = session.pushed_at if pushed is None else pushed
    if (first := catalog.first_checkpoint(session.id, pushed)) is None:
        return session.changed_at if session.dirty_since is None else session.dirty_since
    return max(pushed or 0.0, first.at - CHECKPOINT_SPAN_S if first.since is None else first.since)


def trouble(queue: Queue, lane: Lane | None = None) -> tuple[str, str]:
    """Why what waits has not gone yet: the last error of the item that waits longest."""
    failed = [item for item in queue.items(lane=lane) if item.last_error]
    if not failed:
        return "", ""
    oldest = min(failed, key=lambda item: item.enqueued_at)
    return oldest.last_error, MENDED_BY.get(oldest.last_code, "Nothing to do: it is tried again.")


# --- parts


class States:
    """Where sessions are in their lives, all looked up at once."""

    def __init__(self, catalog: Catalog, now: float) -> None:
        self._now = now
        self._there = _present(catalog.store)
        self._ended = catalog.ended()
        self._rotated = catalog.rotated(now)

    def of(self, session: Session) -> str:
        """One session's state; see ARCHITECTURE.md for what is kept of it where."""
        if session.id in self._rotated:
            return "rotated"
        if session.id not in self._there:
            return "deleted"
        if session.id in self._ended:
            return "ended"
        return "active" if self._now - session.modified_at < ACTIVE_S else "idle"


def _element(
    session: Session,
    now: float,
    cleanup: Callable[[Path], float | None],
    state: str,
    *,
    copied: bool,
    archived: bool,
) -> Json:
    summary = session.summary
    unpushed = session.commented and _speaks(session) and not _is_pushed(session)
    return {
        "id": session.key,
        "source": session.ref.source,
        "project": session.project or "",
        "title": summary.title,
        "path": str(session.location),
        "size": session.size,
        "tier": session.tier.value if session.tier is not None else None,
        "state": state,
        "turns": summary.turns,
        "next": summary.critical.next_steps[0] if summary.critical.next_steps else "",
        "updated_at": rfc3339(session.modified_at),
        "last_checkpoint_at": _time(session.checkpoint_at),
        "last_pushed_at": _time(session.pushed_at),
        "unpushed": unpushed,
        "unpushed_bytes": max(0, session.size - session.pushed_bytes) if unpushed else 0,
        "copies": _copies(session, copied=copied, archived=archived),
        "purge_in_days": _days_left(session, now, cleanup) if state not in GONE else None,
    }


def _tier_limit_in(session: Session, checkpoints: Sequence[Checkpoint], limit: int | None) -> float | None:
    """How long until a session reaches its tier's limit, by its checkpoints."""
    growth = Growth(0.0)
    for point in checkpoints:
        growth.add(point.at, point.size)
    left_s = growth.left_s(limit) if limit is not None and session.size < limit else None
    return None if left_s is None else round(left_s)


def _elsewhere(versions: Sequence[Version], *, conflict: bool) -> Json:
    """What other machines have of a session that this one has not."""
    newest = max(versions, key=lambda version: version.at, default=None)
    told = {"host": newest.host, "updated_at": newest.at, "restorable": newest.whole} if newest else None
    return {"newer_elsewhere": newest is not None, "elsewhere": told, "conflict": conflict}


def _others(catalog: Catalog, near: Sequence[Session] | None) -> list[Json]:
    """The sessions that only the repository knows of: of a project where `near` names its sessions."""
    placements = Placements(catalog.store)
    known = {row[0] for row in catalog.store.rows("SELECT key FROM sessions")}
    names: dict[tuple[int, int], str] = {}
    for repository, issue, project in catalog.store.rows(
        "SELECT i.repository, i.number, s.project FROM issues i"
        " JOIN sessions s ON s.project_key = i.project_key WHERE i.number IS NOT NULL"
    ):
        names[repository, issue] = project or ""
    wanted = None if near is None else {session.project for session in near}
    found: dict[str, Json] = {}
    for held in placements.everywhere():
        project = names.get((held.repository, held.issue), "")
        if held.session_id in known or held.session_id in found or not held.source:
            continue
        if wanted is None or project in wanted:
            found[held.session_id] = _other(held, project)
    return list(found.values())


def _other(held: Held, project: str) -> Json:
    return {
        **_ABSENT,
        "id": held.session_id,
        "source": held.source,
        "project": project,
        "title": held.title,
        "size": held.size,
        "tier": held.tier or None,
        "updated_at": held.said_at,
        "last_pushed_at": held.updated_at,
        "copies": ["github"] if held.tier == Tier.GITHUB_ONLY else [],
        "newer_elsewhere": True,
        "elsewhere": {
            "host": held.host,
            "updated_at": held.said_at,
            "restorable": held.tier == Tier.GITHUB_ONLY,
        },
    }


def found_in(session: Known, copies: Sequence[str]) -> Json:
    """An element of `list` where the state does not know the session: as its copies tell of it."""
    return {
        **_ABSENT,
        "id": session.session_id,
        "source": session.ref.source,
        "project": next(iter(session.projects), "") or session.project_key.rpartition("/")[2],
        "title": session.title,
        "updated_at": rfc3339(session.changed_at) if session.changed_at else None,
        "copies": list(copies),
    }


_ABSENT: Json = {
    "path": "",
    "size": 0,
    "tier": None,
    "state": "elsewhere",
    "turns": 0,
    "next": "",
    "updated_at": None,
    "last_checkpoint_at": None,
    "last_pushed_at": None,
    "unpushed": False,
    "unpushed_bytes": 0,
    "purge_in_days": None,
    "newer_elsewhere": False,
    "elsewhere": None,
    "conflict": False,
}
"""A session that this machine's state does not have."""


def _conflict(catalog: Catalog, conflict: Conflict) -> Json:
    session = catalog.session(conflict.session)
    return {
        "id": session.key,
        "session": session.name,
        "kind": conflict.kind,
        "since": rfc3339(conflict.since),
        "local": conflict.told_of_ours,
        "remote": conflict.remote,
        "options": list(WAYS),
    }


def _days_left(session: Session, now: float, cleanup: Callable[[Path], float | None]) -> float | None:
    """Days until the agent deletes its own file; None where it never will."""
    days = cleanup(session.root) if session.ref.source == "claude" else None
    return None if days is None else round(max(0.0, days - (now - session.modified_at) / 86_400), 1)


def _copies(session: Session, *, copied: bool, archived: bool) -> list[str]:
    """Where the session can be restored from: a comment holds all of it only in the smallest tier."""
    on_github = session.pushed_checkpoint is not None and session.tier is Tier.GITHUB_ONLY
    kept = {
        "mirror": copied and session.captured_bytes > 0,
        "vault": session.checkpoint is not None,
        "github": on_github,
        "archive": archived,
    }
    return [name for name, is_there in kept.items() if is_there]


def _checkpoint(session: Session, point: Checkpoint) -> Json:
    return {
        "id": point.id,
        "at": rfc3339(point.at),
        "trigger": point.trigger,
        "alias": point.alias,
        "size": point.size,
        "pushed": point.id == session.pushed_checkpoint,
    }


def _item(store: Store, item: Item) -> Json:
    if item.operation != "index":
        row = store.row("SELECT source || ':' || key FROM sessions WHERE id = ?", (item.subject,))
    else:
        row = store.row("SELECT number FROM issues WHERE id = ?", (item.subject,))
    subject = row[0] if row is not None else None
    return {
        "session": subject if item.operation != "index" and subject else "",
        "operation": item.operation,
        "issue": subject if item.operation == "index" else None,
        "checkpoint": item.checkpoint,
        "state": item.state.value,
        "attempts": item.attempts,
        "enqueued_at": rfc3339(item.enqueued_at),
        "next_attempt_at": None if item.state is State.BURIED else rfc3339(item.next_attempt_at),
        "last_error": item.last_error,
        "last_code": item.last_code,
    }


def _counts(store: Store, now: float) -> Json:
    """How many sessions there are; `uncommented` are from before the first start and not asked for."""
    return {
        "watched": int(_number(store, "SELECT count(*) FROM sessions") or 0),
        "active": int(
            _number(store, "SELECT count(*) FROM sessions WHERE modified_at > ?", now - ACTIVE_S) or 0
        ),
        "uncommented": int(
            _number(
                store,
                "SELECT count(*) FROM sessions WHERE NOT commented AND checkpoint IS NOT NULL"
                " AND (source <> 'claude' OR json_extract(CAST(summary AS TEXT), '$.prompts') > 0)",
            )
            or 0
        ),
    }


def _present(store: Store) -> set[int]:
    """Sessions of which a file is still on disk."""
    return {row[0] for row in store.rows("SELECT DISTINCT session FROM files WHERE deleted_at IS NULL")}


def is_in(session: Session, folder: Path) -> bool:
    """Whether a session was about this folder: in the same project, or begun below it."""
    if session.project_root and folder.is_relative_to(session.project_root):
        return True
    return bool(session.summary.cwd) and Path(session.summary.cwd).is_relative_to(folder)


def _worst(findings: Sequence[Finding]) -> str:
    if any(found.severity is Severity.CRITICAL for found in findings):
        return Severity.CRITICAL.value
    return Severity.WARNING.value if findings else "ok"


def _number(store: Store, query: str, *parameters: float) -> float | None:
    row = store.row(query, parameters)
    return None if row is None or row[0] is None else float(row[0])


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
