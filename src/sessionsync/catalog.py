"""What this machine knows of its sessions: read positions, checkpoints, what was last pushed.

Rows in and out of the store; no file is touched here.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from sessionsync.errors import AmbiguousSession, NoSuchCheckpoint, NoSuchSession
from sessionsync.model import Ref, Role, Summary, Tier, as_path, unix_seconds
from sessionsync.store import Store

# What stands for a file's size while its plain copy is being rewritten; no file has it.
REWRITTEN = -1

# The trigger of a checkpoint that an agent's hook asks for when it ends a session.
SESSION_END = "session-end"
# What the store keeps the highest number of a forgotten session under.
LAST = "last_forgotten"

# What is older leaves the search index where all together is more than that; it stays everywhere else.
ROTATED_AFTER_S = 365 * 86_400.0
INDEXED_BYTES = 8 * 1024**3

# As many of several sessions are named to a person who has to say which.
NAMED = 5
# So many projects, those that were used last, are watched for what is not in an agent's own folder.
PROJECT_ROOTS = 200


@dataclass(slots=True)
class Session:
    """A session's row.  `id` is 0 until it is saved.

    `key` is its name in copies, commands and on GitHub: its session id, or what its source makes of its
    project's name; where another session of this machine has that name already, with `-` and 6 hex digits.
    `fingerprint` is of all files' stat at the last capture: a rescan compares it and nothing else.
    `dirty_since` is when it first changed after its newest checkpoint, None when nothing did.
    `look_at` is when a file must be looked at again although nothing may change until then.
    `commented` says that the session's checkpoints go to GitHub: it was changed after sessiond
    first saw this machine, or the user asked for everything.
    """

    id: int
    ref: Ref
    root: Path
    location: Path
    summary: Summary
    modified_at: float
    changed_at: float
    key: str = ""
    project_key: str | None = None
    project_root: str | None = None
    project: str | None = None
    tier: Tier | None = None
    size: int = 0
    captured_bytes: int = 0
    fingerprint: int = 0
    dirty_since: float | None = None
    look_at: float | None = None
    commented: bool = False
    checkpoint: str | None = None
    checkpoint_at: float | None = None
    pushed_checkpoint: str | None = None
    pushed_at: float | None = None
    pushed_bytes: int = 0

    @property
    def name(self) -> str:
        """`source:key`, as messages and commands name it."""
        return f"{self.ref.source}:{self.key}"

    @property
    def stored_as(self) -> Ref:
        """What the copies are kept under."""
        return Ref(self.ref.source, self.key)


@dataclass(slots=True)
class File:
    """A file's read position.

    `length` bytes of `generation`, which shares the first `forked_at` with the one before, are in the
    plain copy, `read_to` of them have been read for the summary, `stored` of them are in the vault.
    `size`, `mtime_ns` and `inode` are what stat said.  `head` and `tail` are SHA-256 of the first 4 KB
    and of the 64 KB before `length`: a changed prefix shows there.  `peaks` continue the root.
    `snapped` is what the newest snapshot says of it.
    While the plain copy is being rewritten `size` is `REWRITTEN`, and only the vault is believed.
    """

    name: str
    role: Role
    generation: int = 0
    forked_at: int = 0
    length: int = 0
    read_to: int = 0
    stored: int = 0
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    head: str = ""
    tail: str = ""
    peaks: list[str] = field(default_factory=list)
    changed_at: float = 0.0
    unstored_since: float | None = None
    deleted_at: float | None = None
    snapped: str = ""

    @property
    def is_rewritten(self) -> bool:
        """Whether a crash has left the plain copy somewhere between old bytes and new ones."""
        return self.size == REWRITTEN


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint's row; only the newest of a session keeps its `summary`.

    `since` is when the first change that led to it was made; None where only the vault tells of it.
    """

    id: str
    at: float
    trigger: str
    size: int
    alias: str = ""
    summary: Summary | None = None
    since: float | None = None


_SESSION = [f.name for f in fields(Session) if f.name not in {"id", "ref"}]
# what was pushed is the pusher's to say: it runs beside the one that captures
_CAPTURED = [name for name in _SESSION if not name.startswith("pushed_")]
_SESSION_COLUMNS = ", ".join(["id", "source", "session_id", "scope", *_SESSION])
_FILE = [f.name for f in fields(File)]
_FILE_COLUMNS = ", ".join(_FILE)
_UPDATE_SESSION = f"UPDATE sessions SET {', '.join(f'{name} = ?' for name in _CAPTURED)} WHERE id = ?"
_INSERT_SESSION = (
    f"INSERT INTO sessions ({_SESSION_COLUMNS}) SELECT 1 + max("
    " coalesce((SELECT max(id) FROM sessions), 0),"
    f" coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = '{LAST}'), 0)),"
    f" {', '.join('?' * (len(_SESSION) + 3))}"
)
_SAVE_FILE = (
    f"INSERT OR REPLACE INTO files (session, {_FILE_COLUMNS}) VALUES ({', '.join('?' * (len(_FILE) + 1))})"
)
# What is never of the future, and where time is counted from.
_STAMPS = (
    ("sessions", "changed_at"),
    ("sessions", "dirty_since"),
    ("files", "changed_at"),
    ("files", "unstored_since"),
)
_encode = msgspec.json.Encoder().encode
_ENCODED: dict[str, Callable[[Any], Any]] = {
    "summary": _encode,
    "peaks": lambda peaks: _encode(peaks).decode(),
    "root": str,
    "location": str,
    "commented": int,
    "role": attrgetter("value"),
    "tier": lambda tier: tier and tier.value,
}
_DECODED: dict[str, Callable[[Any], Any]] = {
    "summary": msgspec.json.Decoder(Summary).decode,
    "peaks": msgspec.json.Decoder(list[str]).decode,
    "root": as_path,
    "location": as_path,
    "commented": bool,
    "role": Role,
    "tier": lambda tier: Tier(tier) if tier else None,
}


def _writer(columns: Sequence[str]) -> Callable[[Any], list[Any]]:
    """What makes of a row what these columns hold of it: most of its values as they are."""
    values = attrgetter(*columns)
    encoded = [(at, _ENCODED[name]) for at, name in enumerate(columns) if name in _ENCODED]

    def written(row: Session | File) -> list[Any]:
        found = list(values(row))
        for at, encode in encoded:
            found[at] = encode(found[at])
        return found

    return written


def _reader(columns: Sequence[str]) -> Callable[[Sequence[Any]], list[Any]]:
    """What makes of what these columns hold the values of a row."""
    decoded = [(at, _DECODED[name]) for at, name in enumerate(columns) if name in _DECODED]

    def read(row: Sequence[Any]) -> list[Any]:
        found = list(row)
        for at, decode in decoded:
            found[at] = decode(found[at])
        return found

    return read


_session_values, _captured_values, _file_values = map(_writer, (_SESSION, _CAPTURED, _FILE))
_read_session, _read_file = map(_reader, (_SESSION, _FILE))


def _session(row: tuple[Any, ...]) -> Session:
    number, source, session_id, scope, *rest = row
    return Session(number, Ref(source, session_id, scope), *_read_session(rest))


_CHECKPOINTS = "SELECT id, at, trigger, size, alias, summary, since FROM checkpoints WHERE session = ?"
_OLDEST_FIRST = "ORDER BY at, length(id), id"


def _checkpoint(row: tuple[Any, ...]) -> Checkpoint:
    name, at, trigger, size, alias, summary, since = row
    told = _DECODED["summary"](summary) if summary else None
    return Checkpoint(name, at, trigger, size, alias, told, since)


class Catalog:
    """Sessions, files and checkpoints in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # --- sessions

    def key_for(self, ref: Ref, taken: Collection[str] = (), name: str = "") -> str:
        """The name a new session gets on this machine: `name`, else its id; `taken` are others' already."""
        wanted = name or ref.session_id
        known = self.store.row("SELECT 1 FROM sessions WHERE key = ?", (wanted,))
        if known is None and wanted not in taken:
            return wanted
        place = f"{ref.source}:{ref.scope}" + (f":{ref.session_id}" if name else "")
        return f"{wanted}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"

    def project_names(self) -> dict[str, str]:
        """The name that each project's copies lie under, by its key; the older session's where two differ."""
        rows = self.store.rows(
            "SELECT project_key, project FROM sessions"
            " WHERE project_key IS NOT NULL AND project IS NOT NULL ORDER BY id DESC"
        )
        return {str(key): str(name) for key, name in rows}

    def project_roots(self) -> list[Path]:
        """Folders of projects that sessions were seen in, the most recently used first."""
        return [
            Path(row[0])
            for row in self.store.rows(
                "SELECT project_root FROM sessions WHERE project_root IS NOT NULL"
                " GROUP BY project_root ORDER BY max(modified_at) DESC LIMIT ?",
                (PROJECT_ROOTS,),
            )
        ]

    def find(self, ref: Ref) -> Session | None:
        """The session of this name."""
        row = self.store.row(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE source = ? AND session_id = ? AND scope = ?",
            (ref.source, ref.session_id, ref.scope),
        )
        return _session(row) if row else None

    def named(self, key: str) -> Session | None:
        """The session that copies and records call so."""
        row = self.store.row(f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE key = ?", (key,))
        return _session(row) if row else None

    def session(self, number: int) -> Session:
        """The session of this row number; NoSuchSession where it is gone."""
        row = self.store.row(f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE id = ?", (number,))
        if row is None:
            raise NoSuchSession(f"Session number {number} is gone.")
        return _session(row)

    def resolve(self, text: str) -> Session:
        """The session a person means by `text`: an id, `source:id`, or the beginning of an id.

        Raises:
            NoSuchSession: none matches.
            AmbiguousSession: several do; the message lists them.
        """
        source, _, rest = text.partition(":")
        conditions: list[tuple[str, tuple[str, ...]]] = [
            ("source = ? AND key = ?", (source, rest)),
            ("key = ?", (text,)),
            ("substr(key, 1, length(?)) = ?", (text, text)),
            ("source = ? AND substr(key, 1, length(?)) = ?", (source, rest, rest)),
            ("session_id = ?", (text,)),  # a note by its path in its project
        ]
        for condition, parameters in conditions:
            if not parameters[-1]:
                continue  # everything begins with nothing
            rows = self.store.rows(
                f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE {condition}"
                " ORDER BY modified_at DESC LIMIT 20",
                parameters,
            )
            if len(rows) == 1:
                return _session(rows[0])
            if rows:
                names = [_session(row).name for row in rows[:NAMED]]
                others = ["and others"] * (len(rows) > NAMED)
                raise AmbiguousSession(
                    f"{text!r} is more than one session: {', '.join(names + others)}.",
                    hint="Give more of its id, or name it as source:id.",
                )
        raise NoSuchSession(
            f"No session {text!r} is known here.", hint="`sessiond list` shows the known ones."
        )

    def sessions(self) -> list[Session]:
        """Every session, newest first."""
        return [
            _session(row)
            for row in self.store.rows(
                f"SELECT {_SESSION_COLUMNS} FROM sessions ORDER BY modified_at DESC, id"
            )
        ]

    def each(self) -> Iterator[Session]:
        """Every session, newest first, one in memory at a time: for work that takes its time."""
        for (number,) in self.store.rows("SELECT id FROM sessions ORDER BY modified_at DESC, id"):
            with suppress(NoSuchSession):  # it was forgotten meanwhile
                yield self.session(number)

    def sums(self) -> tuple[Any, ...]:
        """How many sessions, captured bytes, and these times their numbers: the same where nothing is new."""
        statement = "SELECT count(*), sum(captured_bytes), sum(captured_bytes * id) FROM sessions"
        return self.store.rows(statement)[0]

    def rotated(self, now: float) -> set[int]:
        """The sessions that are too old for the search index, where all of them are too much for it."""
        ((total,),) = self.store.rows("SELECT coalesce(sum(captured_bytes), 0) FROM sessions")
        if total <= INDEXED_BYTES:
            return set()
        found, kept = set(), 0
        for number, size, at in self.store.rows(
            "SELECT id, captured_bytes, modified_at FROM sessions ORDER BY modified_at DESC, id"
        ):
            kept += size
            if kept > INDEXED_BYTES and at < now - ROTATED_AFTER_S:
                found.add(number)
        return found

    def ended(self) -> set[int]:
        """The sessions that their agent ended, and that have not changed since."""
        rows = self.store.rows(
            "SELECT sessions.id FROM sessions JOIN checkpoints ON checkpoints.session = sessions.id"
            " AND checkpoints.id = sessions.checkpoint WHERE trigger = ? AND dirty_since IS NULL",
            (SESSION_END,),
        )
        return {int(row[0]) for row in rows}

    def uncopied(self) -> set[int]:
        """The sessions of which a plain copy is not believed: it had no room, or is being rewritten."""
        rows = self.store.rows("SELECT DISTINCT session FROM files WHERE size = ?", (REWRITTEN,))
        return {int(row[0]) for row in rows}

    def keys(self) -> set[str]:
        """What copies and records call every session."""
        return self.store.made(lambda rows: {key for (key,) in rows}, "SELECT key FROM sessions")

    def stored(self) -> set[tuple[str | None, Ref]]:
        """Where the copies of every session are: its project, and what they are kept under."""
        return self.store.made(
            lambda rows: {
                (project and sys.intern(project), Ref(sys.intern(source), key))
                for project, source, key in rows
            },
            "SELECT project, source, key FROM sessions",
        )

    def changed(self) -> list[Ref]:
        """The sessions that have changed since their newest checkpoint."""
        rows = self.store.rows(
            "SELECT source, session_id, scope FROM sessions WHERE dirty_since IS NOT NULL"
            " ORDER BY +modified_at DESC, id"  # few have: not one after the other by that index
        )
        return [Ref(*row) for row in rows]

    def fingerprints(self) -> dict[Ref, int]:
        """What a rescan compares: the fingerprint of every session."""
        return self.store.made(
            lambda rows: {
                Ref(sys.intern(source), *place): fingerprint for source, *place, fingerprint in rows
            },
            "SELECT source, session_id, scope, fingerprint FROM sessions",
        )

    def save(self, session: Session) -> None:
        """Insert or update the row; gives a new session its number."""
        if session.id:
            self.store.execute(_UPDATE_SESSION, (*_captured_values(session), session.id))
        else:
            ref = session.ref
            session.id = self.store.insert(
                _INSERT_SESSION, (ref.source, ref.session_id, ref.scope, *_session_values(session))
            )

    def forget(self, session: Session) -> None:
        """Remove a session's rows, and what was told of it; its number is not given to another one."""
        with self.store.transaction():
            self.store.execute("PRAGMA secure_delete = ON")  # titles and steps are not left in free pages
            last = max(session.id, int(self.store.meta(LAST) or 0))
            self.store.set_meta(LAST, str(last))
            for table, column in (("events", "session"), ("incidents", "session")):
                self.store.execute(f"DELETE FROM {table} WHERE {column} = ?", (session.name,))
            self.store.execute("DELETE FROM items WHERE subject = ? AND operation <> 'index'", (session.id,))
            self.store.execute("DELETE FROM sessions WHERE id = ?", (session.id,))

    def mark_pushed(self, session: int, checkpoint: Checkpoint, at: float) -> None:
        """The checkpoint has reached GitHub."""
        self.store.execute(
            "UPDATE sessions SET pushed_checkpoint = ?, pushed_at = ?, pushed_bytes = ? WHERE id = ?",
            (checkpoint.id, at, checkpoint.size, session),
        )

    def due(self, *, dirty_before: float, quiet_before: float, now: float) -> list[Ref]:
        """Sessions to look at although no file has changed: quiet, long dirty, or appointed ones."""
        return [
            Ref(*row)
            for row in self.store.rows(
                "SELECT source, session_id, scope FROM sessions WHERE dirty_since IS NOT NULL"
                " AND (dirty_since <= ? OR changed_at <= ?)"
                " UNION SELECT source, session_id, scope FROM sessions"
                " WHERE look_at IS NOT NULL AND look_at <= ?",
                (dirty_before, quiet_before, now),
            )
        ]

    def next_due(self, *, dirty_s: float, quiet_s: float) -> float | None:
        """When `due` will next name a session; None when nothing is waiting."""
        row = self.store.row(
            "SELECT min(at) FROM (SELECT min(dirty_since + ?, changed_at + ?) AS at FROM sessions"
            " WHERE dirty_since IS NOT NULL"
            " UNION ALL SELECT look_at FROM sessions WHERE look_at IS NOT NULL)",
            (dirty_s, quiet_s),
        )
        return row[0] if row else None

    def clock_set_back(self, now: float, by_s: float) -> None:
        """The clock was set by so many seconds, which are below 0: times of before move along.

        What was appointed is looked at now, and appointed anew.
        """
        with self.store.transaction():
            for table, column in self._ahead(now):
                self.store.execute(
                    f"UPDATE {table} SET {column} = min(?1, {column} + ?2) WHERE {column} > ?1", (now, by_s)
                )
            self.store.execute("UPDATE sessions SET look_at = ?1 WHERE look_at > ?1", (now,))

    def clamp(self, now: float) -> None:
        """At a start: nothing was changed in the future, or is appointed for far in it."""
        with self.store.transaction():
            for table, column in self._ahead(now):
                self.store.execute(f"UPDATE {table} SET {column} = ?1 WHERE {column} > ?1", (now,))
            self.store.execute("UPDATE sessions SET look_at = ?1 WHERE look_at > ?1 + 60", (now,))

    def _ahead(self, now: float) -> list[tuple[str, str]]:
        """Which of the stamps are of the future anywhere: seldom one is, and no session is read to know."""
        ask = "SELECT 1 FROM {} WHERE {} > ? LIMIT 1"
        return [stamp for stamp in _STAMPS if self.store.row(ask.format(*stamp), (now,)) is not None]

    # --- files

    def files(self, session: int) -> dict[str, File]:
        """Every file ever seen in the session, by name."""
        rows = self.store.rows(
            f"SELECT {_FILE_COLUMNS} FROM files WHERE session = ? ORDER BY name", (session,)
        )
        return {file.name: file for file in (File(*_read_file(row)) for row in rows)}

    def save_file(self, session: int, file: File) -> None:
        """Insert or update a file's row."""
        self.store.execute(_SAVE_FILE, (session, *_file_values(file)))

    # --- checkpoints

    def add_checkpoint(self, session: int, checkpoint: Checkpoint) -> None:
        """Add the newest checkpoint; older ones give up their summary."""
        with self.store.transaction():
            self.store.execute("UPDATE checkpoints SET summary = NULL WHERE session = ?", (session,))
            self.store.execute(
                "INSERT OR REPLACE INTO checkpoints (session, id, alias, at, trigger, size, summary, since)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    session,
                    checkpoint.id,
                    checkpoint.alias,
                    checkpoint.at,
                    checkpoint.trigger,
                    checkpoint.size,
                    None if checkpoint.summary is None else _encode(checkpoint.summary),
                    checkpoint.since,
                ),
            )

    def tell(self, session: Session, summary: Summary) -> None:
        """Have a session's newest checkpoint tell this instead, where it tells something."""
        self.store.execute(
            "UPDATE checkpoints SET summary = ? WHERE session = ? AND id = ? AND summary IS NOT NULL",
            (_encode(summary), session.id, session.checkpoint),
        )

    def checkpoints(self, session: int) -> list[Checkpoint]:
        """The session's checkpoints, oldest first."""
        return list(map(_checkpoint, self.store.rows(f"{_CHECKPOINTS} {_OLDEST_FIRST}", (session,))))

    def checkpoint_ids(self, session: int) -> list[str]:
        """The ids of the session's checkpoints, oldest first: of each that alone is read."""
        rows = self.store.rows(f"SELECT id FROM checkpoints WHERE session = ? {_OLDEST_FIRST}", (session,))
        return [name for (name,) in rows]

    def checkpoint_at(self, session: int, name: str | None) -> float | None:
        """When the session's checkpoint with this id was made (Unix seconds); None where it has none such."""
        row = self.store.row("SELECT at FROM checkpoints WHERE session = ? AND id = ?", (session, name))
        return None if row is None else float(row[0])

    def first_checkpoint(self, session: int, after: float | None) -> Checkpoint | None:
        """The session's first checkpoint that was made after this (Unix seconds), of all for None."""
        since = float("-inf") if after is None else after
        row = self.store.row(f"{_CHECKPOINTS} AND at > ? {_OLDEST_FIRST} LIMIT 1", (session, since))
        return None if row is None else _checkpoint(row)

    def kept(self) -> int:
        """How many sessions both local copies hold: with a checkpoint, and plain copies that are believed."""
        row = self.store.row(
            "SELECT count(*) FROM sessions WHERE id NOT IN ("
            "SELECT id FROM sessions INDEXED BY sessions_unkept WHERE checkpoint IS NULL"
            " UNION SELECT session FROM files WHERE size = ?)",
            (REWRITTEN,),
        )
        return int(row[0]) if row is not None else 0

    def unsettled(self, session: int | None = None) -> int:
        """How many sessions, of all or of this one, have changed since their newest checkpoint."""
        row = self.store.row(
            "SELECT count(*) FROM sessions WHERE dirty_since IS NOT NULL AND coalesce(?1, id) = id",
            (session,),
        )
        return int(row[0]) if row is not None else 0

    def forget_checkpoints(self, session: int, ids: Collection[str]) -> None:
        """Let go of checkpoints that the vault has forgotten."""
        with self.store.transaction():
            for name in ids:
                self.store.execute("DELETE FROM checkpoints WHERE session = ? AND id = ?", (session, name))

    def with_checkpoints_over(self, number: int) -> list[int]:
        """The sessions that have more checkpoints than this."""
        rows = self.store.rows(
            "SELECT session FROM checkpoints GROUP BY session HAVING count(*) > ? ORDER BY session", (number,)
        )
        return [int(row[0]) for row in rows]

    # --- upkeep

    def resting(self) -> list[int]:
        """The sessions that have not changed since their newest checkpoint, the newest first."""
        rows = self.store.rows(
            "SELECT id FROM sessions WHERE checkpoint IS NOT NULL AND dirty_since IS NULL"
            " ORDER BY modified_at DESC, id"
        )
        return [int(row[0]) for row in rows]

    def after(self, number: int) -> Session | None:
        """The session whose row comes next."""
        row = self.store.row(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE id > ? ORDER BY id LIMIT 1", (number,)
        )
        return _session(row) if row else None

    def next_to_merge(
        self, *, quiet_before: float, cold_before: float, again_before: float, many: int
    ) -> Session | None:
        """The session whose segments should be merged next: a quiet one with something new, or a cold one.

        Or one that does not rest, and of which so `many` checkpoints were made since.
        """
        columns = ", ".join(f"sessions.{column}" for column in _SESSION_COLUMNS.split(", "))
        row = self.store.row(
            f"SELECT {columns} FROM sessions LEFT JOIN merges ON merges.session = sessions.id"
            " WHERE checkpoint IS NOT NULL AND ((dirty_since IS NULL AND changed_at <= ?1 AND ("
            "  merges.session IS NULL OR (merges.at <= ?2 AND (merges.upto <> checkpoint"
            "  OR (merges.cold = 0 AND max(changed_at, checkpoint_at) <= ?3)))))"
            " OR (changed_at > ?1 AND (SELECT count(*) FROM checkpoints"
            "  WHERE checkpoints.session = sessions.id AND checkpoints.at > ifnull(merges.at, 0)) >= ?4))"
            " ORDER BY merges.at LIMIT 1",
            (quiet_before, again_before, cold_before, many),
        )
        return _session(row) if row else None

    def mark_merged(self, session: Session, at: float, *, cold: bool) -> None:
        """A merge of the session was made, or thought about, when this was its newest checkpoint."""
        self.store.execute(
            "INSERT OR REPLACE INTO merges (session, at, upto, cold)"
            " SELECT id, ?, ?, ? FROM sessions WHERE id = ?",  # it may have been forgotten meanwhile
            (at, session.checkpoint or "", int(cold), session.id),
        )

    def checkpoint(self, session: Session, text: str) -> Checkpoint:
        """The checkpoint named `text`: an id, an alias, or an RFC 3339 time (the newest at or before it).

        Raises:
            NoSuchCheckpoint: there is none.
        """
        known = self.checkpoints(session.id)
        for checkpoint in reversed(known):
            if text in {checkpoint.id, checkpoint.alias}:
                return checkpoint
        try:
            moment = unix_seconds(text)
        except ValueError:
            moment = float("-inf")
        # an id has whole seconds: 12:00:00 names what was made within that second
        before = [checkpoint for checkpoint in known if int(checkpoint.at) <= moment]
        if before:
            return before[-1]
        raise NoSuchCheckpoint(
            f"Session {session.name} has no checkpoint {text!r}.",
            hint=f"`sessiond ctl show {session.name}` lists its checkpoints.",
        )
