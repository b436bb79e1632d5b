"""What is known of the archive: how far each session is in it, and where each of its files goes on.

Rows in and out of the store.  One row a session and archive, as the settings may name another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from sessionsync.remote.archive.tree import ArchivedFile, Line, decode, encode
from sessionsync.store import Store


@dataclass(slots=True)
class Branch:
    """How far a session is.

    `tip` is the newest commit made here, of `checkpoint`; `pushed` the newest that the archive has
    confirmed, '' where none or where it was lost there, with its checkpoint.  `folded` says that the ref
    was folded there; the commits are there all the same.
    """

    session: int
    ref: str
    tip: str = ""
    checkpoint: str = ""
    checkpoint_at: float = 0.0
    pushed: str = ""
    pushed_checkpoint: str = ""
    pushed_at: float | None = None
    folded: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the archive has all that was committed."""
        return bool(self.tip) and self.tip == self.pushed


class FileState(msgspec.Struct, omit_defaults=True):
    """How far a file is in the newest commit.

    `entry` is what the manifest says.  `generation`, `length` and `root` are what the vault said of it
    then; they stay here, as the root is over bytes that may hold secrets.  The first `raw` of those bytes,
    whole lines, became the first `stored` bytes in the archive, in the first `lines` of its segments, with
    the peaks `peaks`; what follows them is the torn end of a line, which is stored anew next time.  `page`
    are those of the `lines` in the last page where that is not full.  `clean` says that nothing was taken
    out of the whole lines, `rules` by which rules they were searched.  `searched` says by which rules what
    is stored from an offset on was searched: new rules hold for new segments alone.
    `sealed` stands for whom it is encrypted for, '' where it is not.
    """

    entry: ArchivedFile
    generation: int = 0
    length: int = 0
    root: str = ""
    raw: int = 0
    stored: int = 0
    lines: int = 0
    page: list[Line] = []
    peaks: list[str] = []
    clean: bool = True
    rules: str = ""
    searched: list[tuple[int, str]] = []
    sealed: str = ""


_BRANCH = "session, ref, tip, checkpoint, checkpoint_at, pushed, pushed_checkpoint, pushed_at, folded"


CURRENT = "archive"
"""What the store keeps the id of the archive under that the settings name."""


def archived(store: Store) -> set[int]:
    """The sessions that the archive holds."""
    current = store.meta(CURRENT)
    rows = store.rows("SELECT session FROM archives WHERE archive = ? AND pushed <> ''", (current,))
    return {int(row[0]) for row in rows}


def behind(store: Store) -> tuple[int, float | None]:
    """How many sessions are not in the archive as they are now, and since when (Unix seconds)."""
    row = store.row(_BEHIND, (CHECKPOINT_SPAN_S, store.meta(CURRENT)))
    return (int(row[0]), row[1]) if row is not None else (0, None)


def unarchived(store: Store, session: int) -> set[str]:
    """The newest checkpoints of a session that the archive lacks: what is let go of never gets there."""
    rows = store.rows(
        "SELECT id FROM checkpoints WHERE session = ? AND at > coalesce("
        " (SELECT coalesce(p.at, a.checkpoint_at) FROM archives a"
        " LEFT JOIN checkpoints p ON p.session = a.session AND p.id = a.pushed_checkpoint"
        " WHERE a.archive = ? AND a.session = ? AND a.pushed <> ''), 0) ORDER BY at DESC LIMIT ?",
        (session, store.meta(CURRENT), session, PINNED),
    )
    return {str(row[0]) for row in rows}


# What an archive that is out of reach for long may keep of a session that is always at work.
PINNED = 1000
# One checkpoint holds at most so long of changes, where it does not say since when.
CHECKPOINT_SPAN_S = 600.0
# Since what led to the first checkpoint that is not there, else since the first change after it.
_BEHIND = """
    SELECT count(*), min(coalesce(
        (SELECT max(min(coalesce(c.since, c.at - ?)), w.there)
            FROM checkpoints c WHERE c.session = w.id AND c.at > w.there),
        w.dirty_since, w.checkpoint_at, w.changed_at))
    FROM (
        SELECT s.id, s.dirty_since, s.checkpoint_at, s.changed_at,
            coalesce(p.at, a.checkpoint_at, 0.0) AS there
        FROM sessions s
        LEFT JOIN archives a ON a.session = s.id AND a.archive = ? AND a.pushed <> ''
        LEFT JOIN checkpoints p ON p.session = s.id AND p.id = a.pushed_checkpoint
        WHERE s.dirty_since IS NOT NULL
            OR (s.checkpoint IS NOT NULL AND coalesce(a.pushed_checkpoint, '') <> s.checkpoint)
    ) w
"""


def _branch(row: tuple[Any, ...]) -> Branch:
    values = dict(zip(_BRANCH.split(", "), row, strict=True))
    return Branch(**values | {"folded": bool(values["folded"])})


class Ledger:
    """The rows of one archive."""

    def __init__(self, store: Store, archive: str) -> None:
        self.store = store
        self._archive = archive

    def branch(self, session: int) -> Branch | None:
        """How far a session is; None where nothing of it was committed."""
        row = self.store.row(
            f"SELECT {_BRANCH} FROM archives WHERE archive = ? AND session = ?", (self._archive, session)
        )
        return _branch(row) if row else None

    def branches(self) -> list[Branch]:
        """All of them."""
        rows = self.store.rows(
            f"SELECT {_BRANCH} FROM archives WHERE archive = ? ORDER BY session", (self._archive,)
        )
        return [_branch(row) for row in rows]

    def files(self, session: int) -> dict[str, FileState]:
        """How far each file of a session is, by name."""
        rows = self.store.rows(
            "SELECT state FROM archived_files WHERE archive = ? AND session = ?", (self._archive, session)
        )
        states: list[FileState] = [decode(FileState, row[0], "a row of the state") for row in rows]
        return {state.entry.name: state for state in states}

    def save(self, branch: Branch, files: Iterable[FileState] = (), *, anew: bool = False) -> None:
        """Keep how far a session is, and those of its files that went on; `anew` forgets the others."""
        with self.store.transaction():
            self.store.execute(
                f"INSERT OR REPLACE INTO archives (archive, {_BRANCH}) SELECT ?{', ?' * 9}"
                f" FROM sessions WHERE id = {branch.session:d}",  # it may have been forgotten meanwhile
                (
                    *(self._archive, branch.session, branch.ref, branch.tip),
                    *(branch.checkpoint, branch.checkpoint_at),
                    *(branch.pushed, branch.pushed_checkpoint, branch.pushed_at, int(branch.folded)),
                ),
            )
            if anew:
                self.store.execute(
                    "DELETE FROM archived_files WHERE archive = ? AND session = ?",
                    (self._archive, branch.session),
                )
            for state in files:
                self.store.execute(
                    "INSERT OR REPLACE INTO archived_files (archive, session, number, state)"
                    " SELECT ?, id, ?, ? FROM sessions WHERE id = ?",
                    (self._archive, state.entry.number, encode(state), branch.session),
                )

    def forget(self, session: int) -> None:
        """Begin a session anew."""
        with self.store.transaction():
            for table in ("archives", "archived_files"):
                self.store.execute(
                    f"DELETE FROM {table} WHERE archive = ? AND session = ?", (self._archive, session)
                )

    def behind(self) -> list[tuple[int, str]]:
        """The sessions whose newest checkpoint the archive has not confirmed, with that checkpoint."""
        return [
            (int(session), str(checkpoint))
            for session, checkpoint in self.store.rows(
                "SELECT s.id, s.checkpoint FROM sessions s LEFT JOIN archives a"
                " ON a.session = s.id AND a.archive = ?"
                " WHERE s.checkpoint IS NOT NULL"
                " AND (a.session IS NULL OR a.pushed_checkpoint <> s.checkpoint)"
                " ORDER BY s.checkpoint_at DESC",
                (self._archive,),
            )
        ]
