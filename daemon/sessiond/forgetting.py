"""`forget`: a session is removed everywhere, in the threads that write there, and it is said what is left."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sessiond.running import Running
from sessionsync.catalog import Session
from sessionsync.elsewhere import Versions
from sessionsync.errors import CopyError, NoSuchSession, NumbersBroken
from sessionsync.model import Ref
from sessionsync.remote.archive import ledger
from sessionsync.vault.strays import strays

Json = dict[str, Any]

# How long it is waited for GitHub and the archive, and how often looked; the archive takes a push every 15 s.
FORGET_S = 60.0
LOOK_S = 0.1
# The thread that pushes comes to it between two items.
TURN_S = 120.0


def what_is_there(app: Running, session: Session) -> Json:
    """What of a session would be removed, and what would not."""
    engine = app.engine
    store = engine.store
    seen = Versions(store).of(session.id)
    issues = store.rows(
        "SELECT issue, count(*) FROM comments WHERE session_id = ? GROUP BY issue", (session.key,)
    )
    live = store.row("SELECT count(*) FROM files WHERE session = ? AND deleted_at IS NULL", (session.id,))
    return {
        "session": session.name,
        "title": session.summary.title,
        "project": session.project or "",
        "bytes": engine.forget.size(session),
        "checkpoints": len(engine.catalog.checkpoint_ids(session.id)),
        "comments": [{"issue": issue, "comments": number} for issue, number in issues],
        "archived": session.id in ledger.archived(store),
        "path": str(session.location) if live and live[0] else None,
        "strays": [str(path) for path in _strays(app, session)],
        "machines": [{"host": version.host, "machine": version.machine} for version in seen],
    }


def _strays(app: Running, session: Session) -> list[Path]:
    """What older backups left of a transcript in the vault's folder: not ours, and never deleted."""
    if session.ref.source != "claude":
        return []
    folder = app.engine.config.backup.vault_dir
    return [stray.path for stray in strays(folder) if stray.session_id == session.key]


def forget(app: Running, session: Session, wait_s: float) -> Json:
    """Remove it; `left` names what is still to be removed, which goes on by itself.

    Raises:
        NoSuchSession: somebody else has just had it forgotten.
        CopyError: not all of it could be removed from this disk: the next start does.
    """
    engine = app.engine

    def here(now: float) -> int:
        engine.capture.let_go(session.ref, now)
        if (found := engine.catalog.find(session.ref)) is None:
            raise NoSuchSession(f"Session {session.name} was just forgotten.", hint="Nothing to do.")
        try:
            return engine.forget.begin(found, now)
        finally:  # also where a copy could not be removed now
            if engine.catalog.find(session.ref) is None:
                _let_go(app, session.name)

    try:
        # between two items of the pusher, which must not write of it meanwhile
        subject = app.push.call(lambda _now: app.capture.call(here, TURN_S), TURN_S)
    except TimeoutError:
        reason = "the daemon is busy, and comes to it as soon as it can"
        return {"forgotten": False, "left": [{"where": "here", "reason": reason}]}
    app.index.look()
    for loop in (app.push, app.archive):
        loop.bell.ring()
    until = time.monotonic() + wait_s
    while (left := _left(app, subject)) and time.monotonic() < until:
        time.sleep(LOOK_S)
    return {"forgotten": True, "left": left}


def _let_go(app: Running, name: str) -> None:
    """Let nothing that is kept by name lead to it."""
    with suppress(NumbersBroken):  # then there is nothing to be found in them either
        app.counting.forget(name)
    app.findings.forgotten(name)


def _left(app: Running, subject: int) -> list[Json]:
    """What waits of it, and why."""
    waits = {"forget": "comments", "unarchive": "archive"}
    rows = app.engine.store.rows(
        "SELECT operation, last_error FROM items WHERE subject = ? ORDER BY operation", (subject,)
    )
    return [{"where": waits[operation], "reason": reason} for operation, reason in rows]


def remember(app: Running, ref: Ref) -> Json:
    """Let a session that was forgotten be captured again, if its file is still there."""
    engine = app.engine

    def lift(_now: float) -> bool:
        try:
            return engine.forget.undo(ref)
        except OSError as error:
            raise CopyError(
                f"That {ref} is wanted again cannot be written down: {error.strerror}.",
                hint="See that the disk of the plain copies is writable, and say it again.",
            ) from error

    undone = app.capture.call(lift, TURN_S)
    if not undone:
        raise NoSuchSession(f"Session {ref} was just taken in again.", hint="Nothing to do.")
    app.capture.want_rescan("command")
    return {"session": str(ref), "undone": True}
