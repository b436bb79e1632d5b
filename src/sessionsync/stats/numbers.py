"""The numbers' database: SQLite in WAL mode, beside the search index, and made from the copies as that is.

Each answer, turn, start and failure is a row under its own key, 8 bytes of a hash, so that it counts once,
in whichever session, file or generation it is met again; of values that grew while the agent wrote the
largest counts.  Nothing is taken out when a transcript is cut, deleted or let go of: what was spent was
spent.  No text is kept.

Two processes may write: how far a file was read is looked up, and moved on, in the transaction that adds
what was found, so the volume of a day counts once too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sessionsync.errors import NumbersBroken
from sessionsync.sources.usage import Usage

VERSION = 1
FORGOTTEN = "forgotten"
"""Stands for the project, and the name, of sessions that were forgotten: their numbers stay, nobody's."""

_SCHEMA = """
CREATE TABLE sessions (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
                       project TEXT NOT NULL, lines INTEGER NOT NULL, generations INTEGER NOT NULL);
CREATE TABLE files (session INTEGER NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
                    upto INTEGER NOT NULL, memory TEXT NOT NULL,
                    PRIMARY KEY (session, name, generation)) WITHOUT ROWID;
CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE answers (key INTEGER PRIMARY KEY, session INTEGER NOT NULL, at INTEGER NOT NULL,
                      model INTEGER NOT NULL, part INTEGER NOT NULL, input INTEGER NOT NULL,
                      output INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_creation INTEGER NOT NULL);
CREATE TABLE turns (key INTEGER PRIMARY KEY, session INTEGER NOT NULL, at INTEGER NOT NULL,
                    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, interrupted INTEGER NOT NULL);
CREATE TABLE starts (key INTEGER PRIMARY KEY, session INTEGER NOT NULL, at INTEGER NOT NULL,
                     resumed INTEGER NOT NULL);
CREATE TABLE failures (key INTEGER PRIMARY KEY, session INTEGER NOT NULL, at INTEGER NOT NULL,
                       kind TEXT NOT NULL);
CREATE TABLE volume (session INTEGER NOT NULL, day INTEGER NOT NULL, bytes INTEGER NOT NULL,
                     PRIMARY KEY (session, day)) WITHOUT ROWID;
"""
_OWNED = ("answers", "turns", "starts", "failures")


class Seen(NamedTuple):
    """How much of a session was read: lines' bytes over its files, and their generations."""

    lines: int
    generations: int


class Numbers:
    """The numbers in `file`, open; in memory alone without one.  A damaged file is begun anew.

    Raises:
        NumbersBroken: it cannot be opened or made; so for every method.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        try:
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if file is None or isinstance(error, sqlite3.OperationalError):
                    raise
                self._remove(file)
                self._open()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise _broken(file, error) from error

    def _open(self) -> None:
        if self.file is not None:
            self.file.touch(mode=0o600)
        self._connection = sqlite3.connect(
            self.file or ":memory:", isolation_level=None, check_same_thread=False, timeout=10
        )
        run = self._connection.execute
        run("PRAGMA synchronous=NORMAL")  # a lost tail is read again
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA cache_size=-500")
        run("BEGIN IMMEDIATE")  # somebody else may be making it as well
        version = run("PRAGMA user_version").fetchone()[0]
        if version not in {0, VERSION}:
            for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                run(f"DROP TABLE {name}")
        if version != VERSION:
            for statement in _SCHEMA.split(";"):
                run(statement)
            run(f"PRAGMA user_version={VERSION}")
        run("COMMIT")

    def _remove(self, file: Path) -> None:
        self.close()
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close it."""
        with suppress(AttributeError, sqlite3.Error):
            self._connection.close()

    def shrink(self) -> None:
        """Give back the memory that counting has filled with pages of the file."""
        self.rows("PRAGMA shrink_memory")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; one at a time, over all processes."""
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            try:
                yield
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _broken(self.file, error) from error

    def rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Every row that a query gives."""
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise _broken(self.file, error) from error

    # --- how far it is

    def seen(self) -> dict[str, Seen]:
        """How much of each session, by its name, was read."""
        query = "SELECT name, lines, generations FROM sessions"
        try:  # a row after the other: there may be thousands
            return {name: Seen(*said) for name, *said in self._connection.execute(query)}
        except sqlite3.Error as error:
            raise _broken(self.file, error) from error

    def session(self, name: str, source: str, project: str) -> int:
        """The number of a session here, in whatever project it is now; inside a transaction."""
        (number,) = self.rows(
            "INSERT INTO sessions (name, source, project, lines, generations) VALUES (?, ?, ?, -1, -1)"
            " ON CONFLICT (name) DO UPDATE SET project = excluded.project RETURNING id",
            (name, source, project),
        )[0]
        return int(number)

    def mark(self, session: int, seen: Seen) -> None:
        """All that was captured of a session is read."""
        self.rows("UPDATE sessions SET lines = ?, generations = ? WHERE id = ?", (*seen, session))

    def reached(self, session: int, name: str, generation: int) -> tuple[int, str] | None:
        """How far a file's generation was read, and what must be remembered of it; None for nowhere."""
        found = self.rows(
            "SELECT upto, memory FROM files WHERE session = ? AND name = ? AND generation = ?",
            (session, name, generation),
        )
        return found[0] if found else None

    def add(self, session: int, name: str, generation: int, upto: int, usage: Usage) -> None:
        """Add what was found in a file up to `upto`; inside a transaction."""
        run = self._connection.executemany
        self.rows(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
            (session, name, generation, upto, usage.memory),
        )
        models = {answer.model: self._model(answer.model) for answer in usage.answers}
        run(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " at = min(at, excluded.at), input = max(input, excluded.input),"
            " output = max(output, excluded.output), cache_read = max(cache_read, excluded.cache_read),"
            " cache_creation = max(cache_creation, excluded.cache_creation)",
            ((a.key, session, a.at, models[a.model], int(a.part), *a[4:]) for a in usage.answers),
        )
        run(
            "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " last_ms = max(last_ms, excluded.last_ms), interrupted = max(interrupted, excluded.interrupted)",
            ((t.key, session, t.at, t.first_ms, t.last_ms, int(t.interrupted)) for t in usage.turns),
        )
        run(
            "INSERT OR IGNORE INTO starts VALUES (?, ?, ?, ?)",
            ((s.key, session, s.at, int(s.resumed)) for s in usage.starts),
        )
        run(
            "INSERT OR IGNORE INTO failures VALUES (?, ?, ?, ?)",
            ((f.key, session, f.at, f.kind) for f in usage.failures),
        )
        run(
            "INSERT INTO volume VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
            ((session, day, size) for day, size in usage.volume.items()),
        )

    def _model(self, name: str) -> int:
        (number,) = self.rows(
            "INSERT INTO models (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id",
            (name,),
        )[0]
        return int(number)

    def forget(self, name: str) -> None:
        """Let the numbers of a session be nobody's: no name, no project, no file."""
        with self.transaction():
            found = self.rows("SELECT id, source FROM sessions WHERE name = ?", (name,))
            if not found:
                return
            ((session, source),) = found
            nobody = self.session(f"{source}:{FORGOTTEN}", source, FORGOTTEN)
            for table in _OWNED:
                self.rows(f"UPDATE {table} SET session = ? WHERE session = ?", (nobody, session))
            self.rows("DELETE FROM volume WHERE session = ?", (session,))
            self.rows("DELETE FROM files WHERE session = ?", (session,))
            self.rows("DELETE FROM sessions WHERE id = ?", (session,))


def _broken(file: Path | None, error: Exception) -> NumbersBroken:
    return NumbersBroken(
        f"The numbers in {file} cannot be used: {error}.",
        hint="Where the disk is not full, remove the file: it is made again from the copies.",
    )
