"""What is still to be removed of sessions that were forgotten, in the store."""

from __future__ import annotations

import msgspec

from sessionsync.model import Ref
from sessionsync.store import Store


class Forgotten(msgspec.Struct, omit_defaults=True):
    """What must be known of a session to remove the rest of it.

    `location` is where it lay on this disk, `issue` the one that it named, `sent_to` where its record was
    last written; `notices` are comments that told of conflicts.  `machines` are the other ones that were seen
    to have it, `ref` its own place in the archive.
    """

    source: str
    session_id: str
    scope: str
    key: str
    project_key: str
    project: str
    location: str = ""
    issue: int = 0
    sent_to: int = 0
    notices: list[int] = []
    machines: list[str] = []
    ref: str = ""

    @property
    def name(self) -> str:
        """`source:key`, as messages name it."""
        return f"{self.source}:{self.key}"

    @property
    def identity(self) -> Ref:
        """What its source calls it."""
        return Ref(self.source, self.session_id, self.scope)

    @property
    def stored_as(self) -> Ref:
        """What the copies are kept under."""
        return Ref(self.source, self.key)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Forgotten).decode


class Forgettings:
    """What is still to be removed, in the store: a row until the last of it is gone.

    The subject of its items in the queue is the row's number with a minus: no session has such a number.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def add(self, forgotten: Forgotten, now: float) -> int:
        """Begin one; returns the subject of its items."""
        said = _encode(forgotten).decode()
        return -self.store.insert("INSERT INTO forgettings (at, local, said) VALUES (?, 1, ?)", (now, said))

    def get(self, subject: int) -> Forgotten | None:
        """What an item is about; None where it is through."""
        row = self.store.row("SELECT said FROM forgettings WHERE id = ?", (-subject,))
        return _decode(row[0]) if row else None

    def names(self) -> list[str]:
        """Those of which anything is still to be removed, as messages name them."""
        return [_decode(said).name for (said,) in self.store.rows("SELECT said FROM forgettings ORDER BY id")]

    def unfinished(self) -> list[tuple[int, Forgotten]]:
        """Those of which something may still lie on this disk."""
        rows = self.store.rows("SELECT id, said FROM forgettings WHERE local ORDER BY id")
        return [(-number, _decode(said)) for number, said in rows]

    def give_up(self, ref: Ref) -> None:
        """Remove no more of a session: somebody wants it back."""
        for number, said in self.store.rows("SELECT id, said FROM forgettings"):
            if _decode(said).identity == ref:
                self.store.execute("DELETE FROM items WHERE subject = ?", (-number,))
                self.store.execute("DELETE FROM forgettings WHERE id = ?", (number,))

    def local_done(self, subject: int) -> None:
        """Nothing of it is on this disk any more."""
        with self.store.transaction():
            self.store.execute("UPDATE forgettings SET local = 0 WHERE id = ?", (-subject,))
            self.sweep()

    def sweep(self) -> None:
        """Let go of those that are through: nothing is left of them here, and nothing waits."""
        self.store.execute(
            "DELETE FROM forgettings WHERE NOT local AND NOT EXISTS"
            " (SELECT 1 FROM items WHERE subject = -forgettings.id)"
        )
