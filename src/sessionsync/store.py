"""The one SQLite file: positions, checkpoints, queue, and what is known of GitHub.

One connection, shared by the threads under one lock; `migrations` has its schema.  `journal_mode=DELETE` with
`synchronous=EXTRA`: a commit costs about a millisecond and survives a power cut, and WAL with two
connections could corrupt in SQLite before 3.51.3.  Who owns which tables: `catalog` (sessions,
files, checkpoints, merges), `queue` (items), `remote.placements` (issues, comments, records, creations),
`digests` (how far the hash of a file is), `elsewhere` (versions), `conflict` (conflicts,
amendments), `forget` (forgettings), `reliability.ledger` (spans, tallies, incidents, recoveries,
ledger_totals).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sessionsync import migrations
from sessionsync.errors import StoreCorrupt, StoreError, StoreFull

T = TypeVar("T")

MEMORY = Path(":memory:")
"""Instead of a file: a state that nobody has written to, and that is gone with the process."""
KEPT_EVENTS = 10_000
# So many events wait for a commit to go with before they get one of their own.
WAITING_EVENTS = 1000


class Store:
    """The state file, open.  Every method may be called from any thread.

    `MEMORY` is a state of this process alone.  `read_only` neither makes nor changes the file: for those who
    only look, perhaps beside a daemon.

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
        self.put_aside: Path | None = None
        """The copy of an older version's state, where the file was brought up to date just now."""
        with translated(file):
            self._connection = sqlite3.connect(
                "file::memory:" if file == MEMORY else _made(file, read_only=read_only),
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
        migrations.check(self._connection, self.file)
        self._connection.execute("SELECT 1 FROM sessions LIMIT 1").fetchone()

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode=DELETE")
        run("PRAGMA synchronous=EXTRA")
        run("PRAGMA foreign_keys=ON")
        run("PRAGMA cache_size=-500")
        self.put_aside = migrations.migrate(self._connection, self.file)

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
        return self._written(statement, parameters).rowcount

    def insert(self, statement: str, parameters: tuple[Any, ...] = ()) -> int:
        """Run one INSERT; returns the new row's id."""
        return self._written(statement, parameters).lastrowid or 0

    def _written(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any]) -> sqlite3.Cursor:
        with self._lock, translated(self.file):
            if self._depth:  # most of them are one of many, and to join costs as much again
                return self._connection.execute(statement, parameters)
            with self.transaction():
                return self._connection.execute(statement, parameters)

    def rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        with self._lock, translated(self.file):
            return self._connection.execute(statement, parameters).fetchall()

    def made(self, make: Callable[[Iterable[tuple[Any, ...]]], T], statement: str) -> T:
        """What `make` makes of the rows of a query as they come, so that thousands are never held at once.

        Everybody else waits for it.
        """
        with self._lock, translated(self.file):
            return make(self._connection.execute(statement))

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


def _made(file: Path, *, read_only: bool) -> str:
    """The file, made private where it is missing, as SQLite is told of it."""
    flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
    os.close(os.open(file, flags | os.O_CLOEXEC, 0o600))
    return f"{file.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}"


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


class _Translated:
    """`translated`: entered at every statement, so no generator."""

    __slots__ = ("_file",)

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.Error | OSError) and (ours := _ours(self._file, error)) is not None:
            raise ours from error


def translated(file: Path) -> AbstractContextManager[None]:
    """The one place where sqlite3's exceptions become ours."""
    return _Translated(file)


def _ours(file: Path, error: sqlite3.Error | OSError) -> StoreError | None:
    """Our name for what went wrong; None for a mistake of ours."""
    if isinstance(error, OSError):
        return StoreFull(
            f"The state file {file} cannot be opened: {error.strerror}.",
            hint=f"See that {file.parent} exists, is yours and is on a writable disk with space.",
        )
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and any(word in text for word in _FULL):
        return StoreFull(
            f"The state file {file} cannot be written: {text}.",
            hint=f"Free space on the disk of {file.parent}, and see that it is yours and writable.",
        )
    if isinstance(error, sqlite3.OperationalError) and "disk I/O error" in text:
        return StoreError(f"The state file {file} cannot be read or written: {text}.", hint="Check the disk.")
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.ProgrammingError | sqlite3.IntegrityError
    ):
        return StoreCorrupt(
            f"The state file {file} is damaged: {text}.",
            hint="Restart sessiond: the file is set aside and rebuilt.",
        )
    return None
