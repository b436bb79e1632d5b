"""The index's database: SQLite FTS5 in WAL mode, readers beside the one writer.

It holds no text: contentless tables of words, and for each passage where it lies in its session's file.
Passages are kept in shards of 32,768, each a table of words of its own, in the order of their time: what
is said now goes to the upper end, what was said before the index was made to the lower one.  A search goes
from shard to shard, the newest first, and ends when it has enough, so a common word costs no more
than a rare one; and merging touches the newest shard alone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sessionsync.errors import IndexBroken, QueryInvalid
from sessionsync.model import unix_seconds
from sessionsync.search.words import QUERY_HINT, beside_prefixes, expression, words
from sessionsync.sources.passages import Passage

VERSION = 4
ROLES = ("user", "assistant", "tool", "title", "note")
# Larger ones take longer to merge, and to gather a prefix from: `t*` 17 ms.  Of smaller ones there are more
# to look for a rare word in: 0.4 ms in a million passages.  (Both measured.)
SHARD_BITS = 15
SHARD_ROWS = 1 << SHARD_BITS
FIRST_SHARD = 1 << 10
# Of the newest matches in a shard so many are put in the order of their time.
CANDIDATES = 1000
# So many bytes of old sessions may have left before their words are worth a rebuild.
ROTATED_BYTES = 1024**3
# What was said so long before the newest passage is still said now: sessions overlap.
OVERLAP_S = 86_400

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE seen (session INTEGER PRIMARY KEY, captured_bytes INTEGER NOT NULL);
CREATE TABLE files (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, name TEXT NOT NULL,
                    generation INTEGER NOT NULL, upto INTEGER NOT NULL, UNIQUE (session, name, generation));
CREATE TABLE places (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, offset INTEGER NOT NULL,
                     length INTEGER NOT NULL, nth INTEGER NOT NULL, role INTEGER NOT NULL,
                     at INTEGER NOT NULL);
CREATE TABLE shards (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, upto INTEGER NOT NULL,
                     oldest INTEGER NOT NULL, newest INTEGER NOT NULL, untidy INTEGER NOT NULL);
CREATE TABLE members (shard INTEGER NOT NULL, session INTEGER NOT NULL, first INTEGER NOT NULL,
                      last INTEGER NOT NULL, PRIMARY KEY (shard, session)) WITHOUT ROWID;
"""
_SHARD = """
CREATE VIRTUAL TABLE passages_{}
    USING fts5 (text, content='', columnsize=0, tokenize="unicode61 remove_diacritics 2")
"""
# Segments of words are merged four at a time, as they come; in a draft all of a shard's, when it is full.
_AUTOMERGE, _NEVER = 4, 0
# What says that the file itself is damaged, and no retry will help.
_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_ERROR"})


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that matches: where it is, who said it, when (Unix seconds, 0 unknown)."""

    session: int
    name: str
    generation: int
    offset: int
    length: int
    nth: int
    role: str
    at: float


class Row(NamedTuple):
    """A passage of a file that is in the index: its number there, and where it lies."""

    id: int
    offset: int
    length: int
    nth: int


_New = tuple[tuple[int, int, int, int, int, int], str]
"""A passage that is put in: its place (file, offset, length, nth, role, at), and its text."""


class _Shard(NamedTuple):
    id: int
    first: int
    upto: int
    newest: int


class Index:
    """The index in `file`, open.  One writer at a time; readers open their own.

    `state` names the state that row numbers refer to: an index of another state is begun anew.
    A reader makes and changes nothing.  A draft is written without a thought of crashes: it is nobody's
    until it takes the place of another, and begun anew where it was left.

    Raises:
        IndexBroken: it cannot be opened or made.
    """

    def __init__(self, file: Path, state: str, *, read_only: bool = False, is_draft: bool = False) -> None:
        self.file = file
        self._state = state
        self._is_draft = is_draft
        self._depth = 0
        self.is_damaged = False
        """Whether it must be begun anew: what went wrong will not pass."""
        try:
            self._open(read_only=read_only)
            fits = self._fits()
        except sqlite3.Error as error:
            fits = False
            broken = self._broken(error)
            if read_only or not self.is_damaged:
                raise broken from error
        if not fits or is_draft:
            if read_only:
                self.close()
                raise _broken(file, "it is of another state or version")
            self.begin_anew()

    def _open(self, *, read_only: bool = False) -> None:
        if read_only:
            self._look()
        else:
            self._connection = self._connect("mode=rwc")
            mode, synchronous = ("MEMORY", "OFF") if self._is_draft else ("WAL", "NORMAL")
            self._connection.execute(f"PRAGMA synchronous={synchronous}")  # a lost tail is indexed again
            self._connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file
            self._connection.execute(f"PRAGMA journal_mode={mode}")
        # a reader comes to each page once, and the fewer it keeps the nearer they are to the processor; what
        # is said now goes into the newest shard, and only who makes all of them anew has a use for more
        self._connection.execute(f"PRAGMA cache_size={-4000 if self._is_draft else -1000}")

    def _look(self) -> None:
        """Open it for reading, also where nothing can be written beside it."""
        self._connection = self._connect("mode=ro")
        try:
            self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            if not self.file.is_file() or os.access(self.file.parent, os.W_OK):
                raise
            self._connection.close()
            self._connection = self._connect("immutable=1")

    def _connect(self, how: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.file.resolve().as_uri()}?{how}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10,
        )

    def _fits(self) -> bool:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            return False
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'state'").fetchone()
        return row is not None and row[0] == self._state

    def begin_anew(self) -> None:
        """Throw everything away; all that is captured is behind again."""
        self.close()
        try:
            remove(self.file)
            self._open()
            self._connection.executescript(_SCHEMA)
            self._connection.execute("INSERT INTO meta VALUES ('state', ?)", (self._state,))
            self._connection.execute(f"PRAGMA user_version={VERSION}")
            self.file.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise _broken(self.file, str(error)) from error
        self.is_damaged = False

    def close(self) -> None:
        """Close the index."""
        with suppress(AttributeError, sqlite3.Error):  # it was never open, or is beyond closing
            self._connection.close()

    def take_place_of(self, file: Path) -> None:
        """Close it and put it where another index is, in one step; who reads that one reads on.

        Raises:
            IndexBroken: it could not be; the other is still there.
        """
        try:
            self.close()
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            # the WAL of the one must never be taken for the other's
            for suffix in ("-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            self.file.replace(file)
        except (sqlite3.Error, OSError) as error:
            raise _broken(self.file, str(error)) from error

    # --- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing.  Nested use joins the outer one.

        Raises:
            IndexBroken: it cannot be written.
        """
        run = self._connection.execute
        try:
            if self._depth == 0:
                run("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    run("ROLLBACK")
                raise
            finally:
                self._depth -= 1
            if self._depth == 0:
                run("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._depth == 0 and self._connection.in_transaction:
                    run("ROLLBACK")
            raise self._broken(error) from error

    def seen(self, sessions: Collection[int] | None = None) -> dict[int, int]:
        """How many captured bytes of each session are in the index, or of each of these."""
        if sessions is None:
            return dict(self._rows("SELECT session, captured_bytes FROM seen"))
        return dict(
            self._rows(
                "SELECT session, captured_bytes FROM seen WHERE session IN (SELECT value FROM json_each(?))",
                (_encode(list(sessions)).decode(),),
            )
        )

    def sums(self) -> tuple[Any, ...]:
        """As `Catalog.sums`, of what is in the index."""
        statement = "SELECT count(*), sum(captured_bytes), sum(captured_bytes * session) FROM seen"
        return self._rows(statement)[0]

    def upto(self, session: int, name: str, generation: int) -> int | None:
        """How far a file's generation is indexed; None where nothing of it is."""
        found = self._rows(
            "SELECT upto FROM files WHERE session = ? AND name = ? AND generation = ?",
            (session, name, generation),
        )
        return int(found[0][0]) if found else None

    def newest(self, session: int, name: str) -> tuple[int, int] | None:
        """The newest generation of a file that is indexed, and how far."""
        found = self._rows(
            "SELECT generation, upto FROM files WHERE session = ? AND name = ?"
            " ORDER BY generation DESC LIMIT 1",
            (session, name),
        )
        return found[0] if found else None

    def rows(self, session: int, name: str, generation: int) -> list[Row]:
        """The passages of a file's generation."""
        found = self._rows(
            "SELECT id, offset, length, nth FROM places WHERE file ="
            " (SELECT id FROM files WHERE session = ? AND name = ? AND generation = ?)",
            (session, name, generation),
        )
        return [Row(*each) for each in found]

    def add(
        self,
        session: int,
        name: str,
        generation: int,
        upto: int,
        found: Iterable[Passage],
        *,
        otherwise_at: float = 0.0,
    ) -> int:
        """Put passages in and remember how far the file is indexed, in one transaction; returns how many.

        `otherwise_at` (Unix seconds) is the time of those that do not say theirs.
        """
        with self.transaction():
            run = self._connection.execute
            run(
                "INSERT INTO files (session, name, generation, upto) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (session, name, generation) DO UPDATE SET upto = excluded.upto",
                (session, name, generation, upto),
            )
            ((file,),) = self._rows(
                "SELECT id FROM files WHERE session = ? AND name = ? AND generation = ?",
                (session, name, generation),
            )
            rows: list[_New] = []
            for nth, (role, said_at, offset, length, text) in numbered(found):
                at = _unix(said_at) or int(otherwise_at)
                rows.append(((file, offset, length, nth, _ROLE[role], at), text))
            if rows:
                self._insert(session, rows)
        return len(rows)

    def _insert(self, session: int, rows: list[_New]) -> None:
        """Put rows at the end of the index that their time belongs to, shard after shard."""
        run, many = self._connection.execute, self._connection.executemany
        times = [place[-1] for place, _ in rows]
        (known,) = run("SELECT max(newest) FROM shards").fetchone()
        is_new = known is None or max(times) >= known - OVERLAP_S
        while rows:
            shard = self._shard(upper=is_new)
            room = (SHARD_ROWS - shard.upto) if is_new else shard.first
            if is_new:
                part, rows = rows[:room], rows[room:]
                first, bounds = shard.upto, (shard.first, shard.upto + len(part))
            else:
                part, rows = rows[-room:], rows[:-room]
                first = shard.first - len(part)
                bounds = (first, shard.upto)
            base = shard.id << SHARD_BITS
            many(
                "INSERT INTO places (id, file, offset, length, nth, role, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(base | number, *place) for number, (place, _) in enumerate(part, first)],
            )
            many(
                f"INSERT INTO passages_{shard.id} (rowid, text) VALUES (?, ?)",
                [*enumerate(words([text for _, text in part]), first)],
            )
            run(
                "UPDATE shards SET first = ?, upto = ?, oldest = min(oldest, ?), newest = max(newest, ?),"
                " untidy = 1 WHERE id = ?",
                (*bounds, min(times), max(times), shard.id),
            )
            run(
                "INSERT INTO members VALUES (?, ?, ?, ?) ON CONFLICT (shard, session) DO UPDATE"
                " SET first = min(first, excluded.first), last = max(last, excluded.last)",
                (shard.id, session, first, first + len(part) - 1),
            )
            if rows:
                self._merge(shard.id)

    def _shard(self, *, upper: bool) -> _Shard:
        """The shard at this end that has room; a new one where none has."""
        found = self._connection.execute(
            "SELECT id, first, upto, newest FROM shards WHERE id >= ? ORDER BY id DESC LIMIT 1"
            if upper
            else "SELECT id, first, upto, newest FROM shards WHERE id < ? ORDER BY id LIMIT 1",
            (FIRST_SHARD,),
        ).fetchone()
        shard = _Shard(*found) if found else None
        if shard is not None and (shard.upto < SHARD_ROWS if upper else shard.first > 0):
            return shard
        if shard is not None:
            self._merge(shard.id)
        number = (shard.id if shard else FIRST_SHARD - upper) + (1 if upper else -1)
        edge = 0 if upper else SHARD_ROWS
        self._connection.execute(
            "INSERT INTO shards VALUES (?, ?, ?, ?, 0, 0)", (number, edge, edge, 1 << 40)
        )
        self._connection.execute(_SHARD.format(number))
        if self._is_draft:
            self._automerge(number, _NEVER)
        return _Shard(number, edge, edge, 0)

    def remove(self, rows: Iterable[tuple[int, str]]) -> None:
        """Take passages out, each by its number and its text; '' where nobody has that any more.

        Of a passage without text the words stay, and lead nowhere.
        """
        with self.transaction():
            for number, text in rows:
                shard, row = number >> SHARD_BITS, number & ((1 << SHARD_BITS) - 1)
                if text:
                    self._connection.execute(
                        f"INSERT INTO passages_{shard} (passages_{shard}, rowid, text)"
                        " VALUES ('delete', ?, ?)",
                        (row, *words([text])),
                    )
                self._connection.execute("DELETE FROM places WHERE id = ?", (number,))
                self._connection.execute("UPDATE shards SET untidy = 1 WHERE id = ?", (shard,))

    def rename(self, session: int, name: str, generation: int, new: int) -> None:
        """What is left of a file's generation belongs to its next one as well."""
        with self.transaction():
            self._connection.execute(
                "UPDATE files SET generation = ? WHERE session = ? AND name = ? AND generation = ?",
                (new, session, name, generation),
            )

    def mark(self, session: int, captured_bytes: int) -> None:
        """Everything of the session that was captured by then is in the index."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO seen (session, captured_bytes) VALUES (?, ?)",
                (session, captured_bytes),
            )

    def forget(self, session: int) -> None:
        """Let nothing lead to a session any more; its words go with a rebuild, which is due."""
        with self.transaction():
            self._take_out_session(session)
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('stale', '1')")

    def rotate(self, session: int) -> None:
        """Let nothing lead to an old session any more; when many have gone a rebuild is due."""
        with self.transaction():
            gone = self._rows("SELECT captured_bytes FROM seen WHERE session = ?", (session,))
            before = self._rows("SELECT value FROM meta WHERE key = 'rotated'")
            size = sum(int(row[0]) for row in [*gone, *before])
            self._take_out_session(session)
            run = self._connection.execute
            run("INSERT OR REPLACE INTO meta VALUES ('rotated', ?)", (str(size),))
            if size > ROTATED_BYTES:
                run("INSERT OR REPLACE INTO meta VALUES ('stale', '1')")

    def _take_out_session(self, session: int) -> None:
        run = self._connection.execute
        run("DELETE FROM places WHERE file IN (SELECT id FROM files WHERE session = ?)", (session,))
        for table in ("files", "members", "seen"):
            run(f"DELETE FROM {table} WHERE session = ?", (session,))

    def is_stale(self) -> bool:
        """Whether it holds words of what was forgotten, or of much that is old, and is to be made anew."""
        return bool(self._rows("SELECT 1 FROM meta WHERE key = 'stale'"))

    def is_untidy(self) -> bool:
        """Whether `tidy` has something to do."""
        return bool(self._rows("SELECT 1 FROM shards WHERE untidy LIMIT 1"))

    def tidy(self) -> None:
        """Merge the words of the shards that changed, and give back what that frees."""
        with self.transaction():
            for (shard,) in self._rows("SELECT id FROM shards WHERE untidy"):
                self._merge(shard)
        try:
            # a script: it gives back one page a step, and `execute` takes one step only
            self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def shrink(self) -> None:
        """Give back the memory that indexing has filled with pages of the file."""
        self._rows("PRAGMA shrink_memory")

    def _merge(self, shard: int) -> None:
        self._connection.execute(f"INSERT INTO passages_{shard} (passages_{shard}) VALUES ('optimize')")
        if self._is_draft:
            self._automerge(shard, _AUTOMERGE)
        self._connection.execute("UPDATE shards SET untidy = 0 WHERE id = ?", (shard,))

    def _automerge(self, shard: int, segments: int) -> None:
        self._connection.execute(
            f"INSERT INTO passages_{shard} (passages_{shard}, rank) VALUES ('automerge', ?)", (segments,)
        )

    # --- reading

    def search(
        self,
        query: str,
        *,
        sessions: Collection[int] | None = None,
        role: str = "",
        since: float = 0.0,
        limit: int = 20,
    ) -> list[Hit]:
        """Passages that match, the newest first.

        A query is words, "phrases", prefix*, OR and NOT; words must all be there.  There is no rank but
        time: of more matches than anybody reads the newest are the likeliest.  The filters leave nothing
        out that matches; of a shard's matches the newest `CANDIDATES` are put in order.

        Raises:
            QueryInvalid: the query holds no word.
            IndexBroken: the index cannot be read.
        """
        match, beside = expression(query), beside_prefixes(query)
        found: list[tuple[int, int, Hit]] = []
        try:
            self._connection.execute("BEGIN")  # shards and rows as of one moment
            try:
                for shard in self._shards(sessions, since):
                    # what a prefix stands for is gathered from all of a shard before its first match
                    if beside and not self._has(shard[0], beside):
                        continue
                    found += self._in_shard(shard, match, sessions, role, since, limit)
                    if len(found) >= limit:
                        break
            finally:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            if str(error).startswith("fts5: "):
                raise QueryInvalid(f"{query[:100]!r} is no query: {error}.", hint=QUERY_HINT) from error
            raise self._broken(error) from error
        found.sort(key=lambda each: each[:2], reverse=True)
        return [hit for _, _, hit in found[:limit]]

    def _shards(self, sessions: Collection[int] | None, since: float) -> list[tuple[int, int, int]]:
        """Where a match can be, the newest first: the shard, and its first and last row."""
        if sessions is None:
            return self._rows(
                f"SELECT id, 0, {SHARD_ROWS} FROM shards WHERE newest >= ? ORDER BY id DESC", (int(since),)
            )
        return self._rows(
            "SELECT s.id, min(m.first), max(m.last) FROM shards s JOIN members m ON m.shard = s.id"
            " WHERE s.newest >= ? AND m.session IN (SELECT value FROM json_each(?))"
            " GROUP BY s.id ORDER BY s.id DESC",
            (int(since), _encode(list(sessions)).decode()),
        )

    def _has(self, shard: int, match: str) -> bool:
        table = f"passages_{shard}"
        return bool(self._rows(f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1", (match,)))

    def _in_shard(
        self,
        where: tuple[int, int, int],
        match: str,
        sessions: Collection[int] | None,
        role: str,
        since: float,
        limit: int,
    ) -> list[tuple[int, int, Hit]]:
        shard, first, last = where
        base, table = shard << SHARD_BITS, f"passages_{shard}"
        conditions, parameters = "", [match]
        if role:
            conditions += f" AND p.role = {_ROLE[role]}"
        if since:
            conditions += f" AND p.at >= {int(since)}"
        if sessions is not None:
            conditions += f" AND {table}.rowid BETWEEN {first} AND {last}"
            conditions += " AND f.session IN (SELECT value FROM json_each(?))"
            parameters.append(_encode(list(sessions)).decode())
        matching = (
            "SELECT p.id, f.session, f.name, f.generation, p.offset, p.length, p.nth, p.role, p.at"
            f" FROM {table} CROSS JOIN places p ON p.id = {base} | {table}.rowid"
            f" CROSS JOIN files f ON f.id = p.file WHERE {table} MATCH ?{conditions}"
        )
        # FTS5 reads forward for less, so a shard is read backward only where it has more than is asked for;
        # what a prefix stands for would be gathered twice
        found = (
            self._rows(f"{matching} LIMIT {limit + 1}", tuple(parameters)) if _PREFIX not in match else None
        )
        if found is None or len(found) > limit:
            newest = f"{matching} ORDER BY {table}.rowid DESC LIMIT {max(CANDIDATES, limit)}"
            found = self._rows(
                f"SELECT * FROM ({newest}) ORDER BY at DESC, id DESC LIMIT {limit}", tuple(parameters)
            )
        return [
            (at, number, Hit(session, name, generation, offset, length, nth, ROLES[spoken], at))
            for number, session, name, generation, offset, length, nth, spoken, at in found
        ]

    def _rows(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            if str(error).startswith("fts5: "):
                raise
            raise self._broken(error) from error

    def bytes(self) -> int:
        """Size on disk."""
        names = (self.file.name + suffix for suffix in ("", "-wal"))
        return sum(path.stat().st_size for name in names if (path := self.file.with_name(name)).exists())

    def _broken(self, error: sqlite3.Error) -> IndexBroken:
        # an error without a code is Python's own, of a closed connection
        self.is_damaged = getattr(error, "sqlite_errorname", "").startswith(tuple(_DAMAGED))
        return _broken(self.file, str(error))


def numbered(found: Iterable[Passage]) -> Iterator[tuple[int, Passage]]:
    """Passages with their numbers among those that begin at the same place."""
    last, nth = -1, 0
    for passage in found:
        nth = nth + 1 if passage.offset == last else 0
        last = passage.offset
        yield nth, passage


def remove(file: Path) -> None:
    """Delete an index that nobody writes; IndexBroken where it cannot be."""
    try:
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise _broken(file, str(error)) from error


_PREFIX = '" *'
_ROLE = {role: number for number, role in enumerate(ROLES)}
_encode = msgspec.json.Encoder().encode


def _unix(at: str) -> int:
    try:
        return max(0, int(unix_seconds(at)))
    except (ValueError, OverflowError):
        return 0


def _broken(file: Path, why: str) -> IndexBroken:
    return IndexBroken(
        f"The search index {file} cannot be used: {why}.", hint="`sessiond search --rebuild` makes it anew."
    )
