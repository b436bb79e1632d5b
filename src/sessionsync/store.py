"""The one SQLite file: positions, checkpoints, queue, and what is known of GitHub.

One connection, shared by the threads under one lock.  `journal_mode=DELETE` with
`synchronous=EXTRA`: a commit costs about a millisecond and survives a power cut, and WAL with two
connections could corrupt in SQLite before 3.51.3.  Who owns which tables: `catalog` (sessions,
files, checkpoints, merges), `queue` (items), `remote.placements` (issues, comments, records, creations),
`digests` (how far a file is known to hold no secret), `elsewhere` (versions), `conflict` (conflicts,
amendments), `reliability.ledger` (spans, tallies, incidents, recoveries, ledger_totals).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
)

KEPT_EVENTS = 10_000
# So many events wait for a commit to go with before they get one of their own.
WAITING_EVENTS = 1000


class Store:
    """The state file, open.  Every method may be called from any thread.

    `read_only` neither makes nor changes the file: for those who only look, perhaps beside a daemon.

    Raises:
        StoreError: it is of an older version, or needs mending, and may only be read.
        StoreTooNew: a newer sessiond wrote it.
        StoreCorrupt: it is not a database of ours, or a broken one.
        StoreFull: its disk is full or read-only.
    """

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        self.file = file
        self._lock = threading.RLock()
        self._depth = 0
        self._events: deque[tuple[float, str, str, str]] = deque(maxlen=KEPT_EVENTS)
        with translated(file):
            flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
            descriptor = os.open(file, flags | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
            self._connection = sqlite3.connect(
                f"{file.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=10,
            )
            try:
                if read_only:
                    self._look()
                else:
                    self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _look(self) -> None:
        """See that the file can be read as it is."""
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version != len(MIGRATIONS):
            raise StoreError(
                f"The state file {self.file} has version {version}; this sessiond reads {len(MIGRATIONS)}.",
                hint="Start the daemon of this version: it brings the file up to date.",
            )
        self._connection.execute("SELECT 1 FROM sessions LIMIT 1").fetchone()

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode=DELETE")
        run("PRAGMA synchronous=EXTRA")
        run("PRAGMA foreign_keys=ON")
        run("PRAGMA cache_size=-2000")
        version: int = run("PRAGMA user_version").fetchone()[0]
        application: int = run("PRAGMA application_id").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreTooNew(
                f"The state file {self.file} has version {version}; this sessiond knows {len(MIGRATIONS)}.",
                hint="Install the newer sessiond again, or move the file away: it is rebuilt.",
            )
        if version > 0 and application != APPLICATION_ID:
            raise StoreCorrupt(
                f"{self.file} is a database, but not one of sessiond's.", hint="Move it away and start again."
            )
        if problem := next((row[0] for row in run("PRAGMA quick_check(1)") if row[0] != "ok"), None):
            raise StoreCorrupt(f"The state file {self.file} is damaged: {problem}.")
        for number in range(version, len(MIGRATIONS)):
            with self.transaction():
                for statement in MIGRATIONS[number].split(";"):
                    if statement.strip():
                        run(statement)
                run(f"PRAGMA application_id={APPLICATION_ID}")
                run(f"PRAGMA user_version={number + 1}")

    def close(self) -> None:
        """Close the file; nothing is pending outside a transaction."""
        with self._lock:
            with suppress(StoreError):
                self.write_events()
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing.  Nested use joins the outer one."""
        with self._lock, translated(self.file):
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._insert_events()
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
                self._events.clear()

    def execute(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> int:
        """Run one statement, on its own or inside `transaction`; returns the number of rows it changed."""
        with self.transaction():
            return self._connection.execute(statement, parameters).rowcount

    def insert(self, statement: str, parameters: tuple[Any, ...] = ()) -> int:
        """Run one INSERT; returns the new row's id."""
        with self.transaction():
            return self._connection.execute(statement, parameters).lastrowid or 0

    def rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        with self._lock, translated(self.file):
            return self._connection.execute(statement, parameters).fetchall()

    def row(self, statement: str, parameters: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """The first row of a query."""
        with self._lock, translated(self.file):
            found: tuple[Any, ...] | None = self._connection.execute(statement, parameters).fetchone()
            return found

    def meta(self, key: str, make: Callable[[], str] | None = None) -> str:
        """A single kept value; where there is none, `make()`'s, which is then kept, else ''."""
        row = self.row("SELECT value FROM meta WHERE key = ?", (key,))
        if row is not None:
            return str(row[0])
        if make is None:
            return ""
        value = make()
        self.set_meta(key, value)
        return value

    def set_meta(self, key: str, value: str) -> None:
        """Keep a single value; '' forgets it."""
        if value:
            self.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )
        else:
            self.execute("DELETE FROM meta WHERE key = ?", (key,))

    def log(self, at: float, event: str, session: str, fields: dict[str, Any]) -> None:
        """Keep one event for `ctl events`; only the newest `KEPT_EVENTS` stay.

        It is written with the next commit: a commit of its own would cost more than most of what
        events tell of.
        """
        # all in ASCII: a name of a file that is no UTF-8 must not spoil the commit it goes with
        told = json.dumps(fields, default=str)
        subject = session.encode(errors="backslashreplace").decode()
        with self._lock:
            self._events.append((at, event, subject, told))
            if self._depth == 0 and len(self._events) >= WAITING_EVENTS:
                self.write_events()

    def write_events(self) -> None:
        """Write the events that wait for a commit, where none has come for a while."""
        with self._lock:
            if self._events:
                with self.transaction():
                    pass

    def shrink(self) -> None:
        """Give back the memory that the last burst of work filled with pages of the file."""
        self.rows("PRAGMA shrink_memory")

    def _insert_events(self) -> None:
        if not self._events:
            return
        self._connection.executemany(
            "INSERT INTO events (at, event, session, fields) VALUES (?, ?, ?, ?)", self._events
        )
        self._connection.execute(
            "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (KEPT_EVENTS,)
        )

    def events(self, after: int = 0, limit: int = 100) -> list[tuple[int, float, str, str, dict[str, Any]]]:
        """The newest `limit` events behind `after`, oldest first: number, time, name, session, fields."""
        with suppress(StoreFull):
            self.write_events()
        rows = self.rows(
            "SELECT id, at, event, session, fields FROM events WHERE id > ? ORDER BY id DESC LIMIT ?",
            (after, limit),
        )
        return [
            (number, at, event, session, json.loads(fields))
            for number, at, event, session, fields in reversed(rows)
        ]


def open_or_set_aside(file: Path, stamp: str) -> tuple[Store, Path | None]:
    """Open the state; a corrupt file is kept beside it as `<file>.corrupt-<stamp>` and a new one begun.

    Returns the store and where the corrupt file went.  Queue and positions are then rebuilt from
    the session files, the vault and GitHub's markers, as after a first start.
    """
    try:
        return Store(file), None
    except StoreCorrupt:
        aside = file.with_name(f"{file.name}.corrupt-{stamp}")
        for suffix in ("", "-journal"):
            part = file.with_name(file.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        return Store(file), aside


_FULL = ("full", "readonly", "unable to open")


@contextmanager
def translated(file: Path) -> Iterator[None]:
    """The one place where sqlite3's exceptions become ours."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if isinstance(error, sqlite3.OperationalError) and any(word in text for word in _FULL):
            raise StoreFull(
                f"The state file {file} cannot be written: {text}.",
                hint=f"Free space on the disk of {file.parent}, and see that it is yours and writable.",
            ) from error
        if isinstance(error, sqlite3.OperationalError) and "disk I/O error" in text:
            raise StoreError(
                f"The state file {file} cannot be read or written: {text}.", hint="Check the disk."
            ) from error
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.OperationalError | sqlite3.ProgrammingError | sqlite3.IntegrityError
        ):
            raise StoreCorrupt(
                f"The state file {file} is damaged: {text}.",
                hint="Restart sessiond: the file is set aside and rebuilt.",
            ) from error
        raise
    except OSError as error:
        raise StoreFull(
            f"The state file {file} cannot be opened: {error.strerror}.",
            hint=f"See that {file.parent} exists, is yours and is on a writable disk with space.",
        ) from error
