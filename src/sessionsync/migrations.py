"""The schema of the state file: every step it took, and the way from any of them to the newest.

A file of an older version is brought up to date in one transaction, behind a copy of it that is put aside as
`state.db.v<its version>`: that is what an older program takes, should somebody go back to it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sessionsync.errors import StoreCorrupt, StoreError, StoreFull, StoreTooNew

# "sesd", so that `file state.db` and a careless hand can tell it from other databases
APPLICATION_ID = 0x73657364

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        session_id TEXT NOT NULL,
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        root TEXT NOT NULL,
        location TEXT NOT NULL,
        project_key TEXT,
        project_root TEXT,
        project TEXT,
        tier TEXT,
        size INTEGER NOT NULL DEFAULT 0,
        captured_bytes INTEGER NOT NULL DEFAULT 0,
        fingerprint INTEGER NOT NULL DEFAULT 0,
        summary BLOB NOT NULL,
        modified_at REAL NOT NULL,
        changed_at REAL NOT NULL,
        dirty_since REAL,
        look_at REAL,
        commented INTEGER NOT NULL DEFAULT 0,
        checkpoint TEXT,
        checkpoint_at REAL,
        pushed_checkpoint TEXT,
        pushed_at REAL,
        pushed_bytes INTEGER NOT NULL DEFAULT 0,
        UNIQUE (source, session_id, scope)
    );
    CREATE INDEX sessions_key ON sessions (key);
    CREATE INDEX sessions_dirty ON sessions (dirty_since) WHERE dirty_since IS NOT NULL;
    CREATE INDEX sessions_look ON sessions (look_at) WHERE look_at IS NOT NULL;
    -- what is asked at rest is answered from an index alone: a row is as long as its summary
    CREATE INDEX sessions_modified ON sessions (modified_at, captured_bytes);
    CREATE INDEX sessions_project ON sessions (project_root, modified_at) WHERE project_root IS NOT NULL;

    CREATE TABLE files (
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        generation INTEGER NOT NULL,
        forked_at INTEGER NOT NULL,
        length INTEGER NOT NULL,
        read_to INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        head TEXT NOT NULL,
        tail TEXT NOT NULL,
        peaks TEXT NOT NULL,
        changed_at REAL NOT NULL,
        unstored_since REAL,
        deleted_at REAL,
        snapped TEXT NOT NULL,
        PRIMARY KEY (session, name)
    ) WITHOUT ROWID;

    CREATE TABLE checkpoints (
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        id TEXT NOT NULL,
        alias TEXT NOT NULL DEFAULT '',
        at REAL NOT NULL,
        trigger TEXT NOT NULL,
        size INTEGER NOT NULL,
        summary BLOB,
        PRIMARY KEY (session, id)
    ) WITHOUT ROWID;

    CREATE TABLE items (
        operation TEXT NOT NULL,
        subject INTEGER NOT NULL,
        checkpoint TEXT NOT NULL,
        leased TEXT,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        enqueued_at REAL NOT NULL,
        next_attempt_at REAL NOT NULL,
        last_error TEXT NOT NULL DEFAULT '',
        last_code TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (operation, subject)
    ) WITHOUT ROWID;

    CREATE TABLE issues (
        id INTEGER PRIMARY KEY,
        repository INTEGER NOT NULL,
        project_key TEXT NOT NULL,
        volume INTEGER NOT NULL,
        number INTEGER,
        ours INTEGER NOT NULL,
        intended_at REAL,
        listed_at REAL,
        since TEXT NOT NULL DEFAULT '',
        etag TEXT NOT NULL DEFAULT '',
        total INTEGER NOT NULL DEFAULT 0,
        index_sha TEXT NOT NULL DEFAULT '',
        UNIQUE (repository, project_key, volume)
    );

    CREATE TABLE comments (
        repository INTEGER NOT NULL,
        id INTEGER NOT NULL,
        issue INTEGER NOT NULL,
        session_id TEXT NOT NULL,
        part INTEGER NOT NULL,
        parts INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        intact INTEGER NOT NULL,
        author TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        title TEXT NOT NULL DEFAULT '',
        tier TEXT NOT NULL DEFAULT '',
        kept TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (repository, id)
    ) WITHOUT ROWID;
    CREATE INDEX comments_session ON comments (repository, session_id);
    CREATE INDEX comments_issue ON comments (repository, issue);

    CREATE TABLE records (
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        repository INTEGER NOT NULL,
        issue INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (session, repository)
    ) WITHOUT ROWID;

    CREATE TABLE digests (
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        generation INTEGER NOT NULL,
        rules TEXT NOT NULL,
        clean_to INTEGER NOT NULL,
        PRIMARY KEY (session, name)
    ) WITHOUT ROWID;

    CREATE TABLE creations (at REAL NOT NULL);

    CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL,
                         event TEXT NOT NULL, session TEXT NOT NULL, fields TEXT NOT NULL);
    """,
    """
    CREATE TABLE merges (
        session INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        upto TEXT NOT NULL,
        cold INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE comments ADD COLUMN source TEXT NOT NULL DEFAULT '';
    ALTER TABLE comments ADD COLUMN host TEXT NOT NULL DEFAULT '';
    ALTER TABLE comments ADD COLUMN machine TEXT NOT NULL DEFAULT '';
    ALTER TABLE comments ADD COLUMN said_at TEXT NOT NULL DEFAULT '';
    ALTER TABLE comments ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE comments ADD COLUMN files_sha TEXT NOT NULL DEFAULT '';
    ALTER TABLE comments ADD COLUMN critical TEXT NOT NULL DEFAULT '';
    ALTER TABLE records ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
    ALTER TABLE records ADD COLUMN critical TEXT NOT NULL DEFAULT '';

    CREATE TABLE versions (
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        machine TEXT NOT NULL,
        revision INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        checkpoint TEXT NOT NULL,
        host TEXT NOT NULL,
        author TEXT NOT NULL,
        at TEXT NOT NULL,
        whole INTEGER NOT NULL,
        record TEXT NOT NULL,
        relation TEXT NOT NULL,
        verdict TEXT NOT NULL,
        ours TEXT NOT NULL,
        seen_at REAL NOT NULL,
        PRIMARY KEY (session, machine)
    ) WITHOUT ROWID;

    CREATE TABLE conflicts (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        fork TEXT NOT NULL,
        kind TEXT NOT NULL,
        since REAL NOT NULL,
        machine TEXT NOT NULL,
        local TEXT NOT NULL,
        remote TEXT NOT NULL,
        chosen TEXT NOT NULL DEFAULT '',
        chosen_at REAL,
        notice INTEGER NOT NULL DEFAULT 0,
        told TEXT NOT NULL DEFAULT '',
        UNIQUE (session, fork)
    );

    CREATE TABLE amendments (
        session INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
        base TEXT NOT NULL,
        theirs TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE archives (
        archive TEXT NOT NULL,
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        ref TEXT NOT NULL,
        tip TEXT NOT NULL,
        checkpoint TEXT NOT NULL,
        checkpoint_at REAL NOT NULL,
        pushed TEXT NOT NULL,
        pushed_checkpoint TEXT NOT NULL,
        pushed_at REAL,
        folded INTEGER NOT NULL,
        PRIMARY KEY (archive, session)
    ) WITHOUT ROWID;

    CREATE TABLE archived_files (
        archive TEXT NOT NULL,
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        state BLOB NOT NULL,
        PRIMARY KEY (archive, session, number)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE spans (
        id INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        began REAL NOT NULL,
        ended REAL NOT NULL
    );
    CREATE INDEX spans_ended ON spans (ended);

    CREATE TABLE tallies (
        bucket INTEGER NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (bucket, source, name)
    ) WITHOUT ROWID;

    CREATE TABLE incidents (
        id INTEGER PRIMARY KEY,
        code TEXT NOT NULL,
        session TEXT NOT NULL,
        component TEXT NOT NULL,
        since REAL NOT NULL,
        recoverable_since REAL NOT NULL,
        closed_at REAL,
        seconds REAL
    );
    CREATE INDEX incidents_closed ON incidents (closed_at);
    CREATE UNIQUE INDEX incidents_open ON incidents (code, session) WHERE closed_at IS NULL;

    CREATE TABLE recoveries (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        component TEXT NOT NULL,
        success INTEGER NOT NULL,
        seconds REAL NOT NULL
    );
    CREATE INDEX recoveries_at ON recoveries (at);

    CREATE TABLE ledger_totals (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
    """,
    """
    ALTER TABLE checkpoints ADD COLUMN since REAL;
    """,
    # what is asked at every scrape is answered from an index alone
    """
    CREATE INDEX sessions_tier ON sessions (source, tier);
    CREATE INDEX sessions_pushed ON sessions (pushed_at);

    ALTER TABLE items ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE items ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;
    UPDATE items SET size = coalesce(
        (SELECT size FROM checkpoints WHERE session = subject AND id = items.checkpoint), 0);
    UPDATE items SET behind = max(0, size - coalesce(
        (SELECT pushed_bytes FROM sessions WHERE id = subject), 0)) WHERE operation = 'comment';
    CREATE INDEX items_census ON items (operation, state, enqueued_at, size, behind, last_code);
    """,
    # what was forgotten and is not gone everywhere yet
    """
    CREATE TABLE forgettings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        local INTEGER NOT NULL,
        said TEXT NOT NULL
    );
    """,
    # what every scrape tells is counted as it changes: ten thousand rows are too many to count each time
    """
    CREATE TABLE session_counts (
        source TEXT NOT NULL,
        tier TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (source, tier)
    ) WITHOUT ROWID;
    INSERT INTO session_counts
        SELECT source, tier, count(*) FROM sessions WHERE tier IS NOT NULL GROUP BY source, tier;

    CREATE TRIGGER session_comes AFTER INSERT ON sessions WHEN new.tier IS NOT NULL BEGIN
        INSERT INTO session_counts VALUES (new.source, new.tier, 1)
            ON CONFLICT (source, tier) DO UPDATE SET number = number + 1;
    END;
    CREATE TRIGGER session_goes AFTER DELETE ON sessions WHEN old.tier IS NOT NULL BEGIN
        UPDATE session_counts SET number = number - 1 WHERE source = old.source AND tier = old.tier;
        DELETE FROM session_counts WHERE source = old.source AND tier = old.tier AND number = 0;
    END;
    CREATE TRIGGER session_moves AFTER UPDATE OF source, tier ON sessions
    WHEN old.source IS NOT new.source OR old.tier IS NOT new.tier BEGIN
        UPDATE session_counts SET number = number - 1 WHERE source = old.source AND tier = old.tier;
        DELETE FROM session_counts WHERE source = old.source AND tier = old.tier AND number = 0;
        INSERT INTO session_counts SELECT new.source, new.tier, 1 WHERE new.tier IS NOT NULL
            ON CONFLICT (source, tier) DO UPDATE SET number = number + 1;
    END;

    CREATE TABLE item_counts (
        operation TEXT NOT NULL,
        state TEXT NOT NULL,
        last_code TEXT NOT NULL,
        number INTEGER NOT NULL,
        size INTEGER NOT NULL,
        behind INTEGER NOT NULL,
        PRIMARY KEY (operation, state, last_code)
    ) WITHOUT ROWID;
    INSERT INTO item_counts
        SELECT operation, state, last_code, count(*), sum(size), sum(behind) FROM items
            GROUP BY operation, state, last_code;
    DROP INDEX items_census;
    DROP INDEX sessions_tier;
    CREATE INDEX items_oldest ON items (operation, state, last_code, enqueued_at);

    CREATE TRIGGER item_comes AFTER INSERT ON items BEGIN
        INSERT INTO item_counts VALUES (new.operation, new.state, new.last_code, 1, new.size, new.behind)
            ON CONFLICT (operation, state, last_code) DO UPDATE SET
                number = number + 1, size = size + excluded.size, behind = behind + excluded.behind;
    END;
    CREATE TRIGGER item_goes AFTER DELETE ON items BEGIN
        UPDATE item_counts SET number = number - 1, size = size - old.size, behind = behind - old.behind
            WHERE operation = old.operation AND state = old.state AND last_code = old.last_code;
        DELETE FROM item_counts WHERE number = 0
            AND operation = old.operation AND state = old.state AND last_code = old.last_code;
    END;
    CREATE TRIGGER item_moves AFTER UPDATE OF operation, state, last_code, size, behind ON items BEGIN
        UPDATE item_counts SET number = number - 1, size = size - old.size, behind = behind - old.behind
            WHERE operation = old.operation AND state = old.state AND last_code = old.last_code;
        INSERT INTO item_counts VALUES (new.operation, new.state, new.last_code, 1, new.size, new.behind)
            ON CONFLICT (operation, state, last_code) DO UPDATE SET
                number = number + 1, size = size + excluded.size, behind = behind + excluded.behind;
        DELETE FROM item_counts WHERE number = 0
            AND operation = old.operation AND state = old.state AND last_code = old.last_code;
    END;
    """,
    """
    ALTER TABLE digests ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE digests RENAME COLUMN clean_to TO length;
    ALTER TABLE digests ADD COLUMN redactions INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE digests ADD COLUMN state BLOB NOT NULL DEFAULT x'';
    """,
    # what is asked each five minutes reads no row that is as long as its summary: the rescan, and health
    """
    CREATE INDEX sessions_seen ON sessions (source, session_id, scope, fingerprint);
    CREATE INDEX sessions_unkept ON sessions (id) WHERE checkpoint IS NULL OR dirty_since IS NOT NULL;
    """,
    # nor does a start, which asks whether any was changed in the future
    """
    DROP INDEX sessions_modified;
    CREATE INDEX sessions_modified ON sessions (modified_at, captured_bytes, changed_at);
    """,
)


def statements(step: str) -> Iterator[str]:
    """The statements of a step; those of a trigger are part of it."""
    statement = ""
    for piece in step.split(";"):
        statement += f"{piece};"
        if piece.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the file behind a connection: how many steps it has taken; 0 for a new one."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def is_older(connection: sqlite3.Connection, file: Path) -> bool:
    """Whether the file is of an older version than this sessiond.

    Raises:
        StoreTooNew: it is of a newer one.
    """
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise _too_new(file, version)
    return version < len(MIGRATIONS)


def check(connection: sqlite3.Connection, file: Path) -> None:
    """See that the file is of this version, for those who only read it.

    Raises:
        StoreTooNew: a newer sessiond wrote it.
        StoreError: it is of an older version.
    """
    if is_older(connection, file):
        version = version_of(connection)
        raise StoreError(
            f"The state file {file} has version {version}; this sessiond reads {len(MIGRATIONS)}.",
            hint="`sessiond run` brings the file up to date, and without a daemon `sessiond sync --once`.",
        )


def migrate(connection: sqlite3.Connection, file: Path) -> Path | None:
    """Bring the file up to date, all or nothing; returns the copy that was put aside, None where none was.

    Raises:
        StoreTooNew: a newer sessiond wrote it.
        StoreCorrupt: it is not a database of ours, or a broken one.
        sqlite3.Error, OSError: it cannot be written, or its copy cannot.
    """
    run = connection.execute
    is_behind, version = is_older(connection, file), version_of(connection)
    is_empty = version == 0 and run("SELECT 1 FROM sqlite_master").fetchone() is None
    if not is_empty and run("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreCorrupt(
            f"{file} is a database, but not one of sessiond's.", hint="Move it away and start again."
        )
    if problem := next((row[0] for row in run("PRAGMA quick_check(1)") if row[0] != "ok"), None):
        raise StoreCorrupt(
            f"The state file {file} is damaged: {problem}.",
            hint="Start sessiond: it sets the file aside and makes it anew from files, backup and GitHub.",
        )
    if not is_behind:
        return None
    copy = _put_aside(connection, file, version) if version else None
    run("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[version:]:
            for statement in statements(step):
                run(statement)
        run(f"PRAGMA application_id={APPLICATION_ID}")
        run(f"PRAGMA user_version={len(MIGRATIONS)}")
        run("COMMIT")
    except BaseException:
        if connection.in_transaction:
            run("ROLLBACK")
        raise
    return copy


def check_room(file: Path) -> None:
    """See that there is room to bring the file up to date: for its copy, and for the journal of the steps.

    Raises:
        StoreFull: it has not.
    """
    import shutil  # noqa: PLC0415 - rarely a state is of an older version

    needed, free = 2 * file.stat().st_size, shutil.disk_usage(file.parent).free
    if free < needed:
        raise StoreFull(
            f"Bringing the state file {file} up to date takes {needed:,} bytes, and its disk has {free:,}.",
            hint=f"Free space on the disk of {file.parent}.",
        )


def copy_of(file: Path, version: int) -> Path:
    """Where the state of an older version is put aside."""
    return file.with_name(f"{file.name}.v{version}")


def copies_of(file: Path) -> list[Path]:
    """Every such copy, also one that was not finished."""
    return sorted(each for each in file.parent.glob(f"{file.name}.v*") if each.is_file())


def _put_aside(connection: sqlite3.Connection, file: Path, version: int) -> Path:
    """Copy the state before it is changed; the copy before goes, as only one step back is promised."""
    copy = copy_of(file, version)
    draft = copy.with_name(f"{copy.name}.part")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            connection.execute("VACUUM INTO ?", (str(draft),))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(copy)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(copy.parent)
    for older in copies_of(file):
        if older != copy:
            older.unlink()
    return copy


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _too_new(file: Path, version: int) -> StoreTooNew:
    copy = copy_of(file, len(MIGRATIONS))
    back = (
        f"To go on with this one, put the state of before back: mv {copy} {file}"
        if copy.exists()
        else f"To go on with this one, move {file} away: it is rebuilt."
    )
    return StoreTooNew(
        f"The state file {file} has version {version}; this sessiond knows {len(MIGRATIONS)}.",
        hint=f"Install the newer sessiond again. {back}",
    )
