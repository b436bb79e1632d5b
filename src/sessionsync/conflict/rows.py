"""Conflicts, and what was chosen of edits, in the store."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from sessionsync.divergence import merge_critical
from sessionsync.model import CriticalData
from sessionsync.remote import comments
from sessionsync.store import Store

MERGED = "merged"
"""Chosen where nobody had to choose."""
WAYS = ("local", "remote", "both", "merge")
NOTICE = "notice"
"""The operation that tells of a conflict; its subject is the session."""

FLIPPED = {"local": "remote", "remote": "local"}
"""What the other machine calls it."""

_decode_critical = msgspec.json.Decoder(CriticalData).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two versions of a session, neither of which goes on from the other.

    `kind` is `transcript`, `files` or `edit`, `machine` whose the other one is; `local` and `remote` tell of
    both.  `chosen` is '' while it is open, `merged` where nobody had to choose.  `notice` is the comment
    that tells of it, `told` the state that it tells.
    """

    id: int
    session: int
    fork: str
    kind: str
    since: float
    machine: str
    local: dict[str, Any]
    remote: dict[str, Any]
    chosen: str = ""
    chosen_at: float | None = None
    notice: int = 0
    told: str = ""

    @property
    def is_open(self) -> bool:
        """Whether a person may still choose."""
        return not self.chosen

    @property
    def state(self) -> str:
        """What the notice has to say, from the view of the machine whose version became the record."""
        if self.is_open:
            return comments.OPEN
        return self.chosen if self.won else FLIPPED.get(self.chosen, self.chosen)

    @property
    def told_of_ours(self) -> dict[str, Any]:
        """What is told of our version."""
        return {name: value for name, value in self.local.items() if name != "won"}

    @property
    def won(self) -> bool:
        """Whether ours is the version that became the record at first."""
        return bool(self.local.get("won", True))


_CONFLICT = [f.name for f in fields(Conflict)]


class Conflicts:
    """Conflicts and amendments in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def all(self, *, settled: bool = False) -> list[Conflict]:
        """Those that are open, or all, the oldest first."""
        return self._rows("1" if settled else "chosen = ''", ())

    def of(self, session: int) -> Conflict | None:
        """The session's open conflict; there is never more than one."""
        return next(iter(self._rows("session = ? AND chosen = ''", (session,))), None)

    def get(self, session: int, fork: str) -> Conflict | None:
        """The conflict of a fork point."""
        return next(iter(self._rows("session = ? AND fork = ?", (session, fork))), None)

    def untold(self, session: int) -> list[Conflict]:
        """Those whose notice does not say what is true."""
        found = self._rows("session = ? AND chosen <> ?", (session, MERGED))
        return [conflict for conflict in found if conflict.told != conflict.state]

    def open_count(self) -> int:
        """How many are open."""
        row = self.store.row("SELECT count(*) FROM conflicts WHERE chosen = ''")
        return int(row[0]) if row else 0

    def settled_count(self, session: int) -> int:
        """How many of a session a person has settled."""
        row = self.store.row(
            "SELECT count(*) FROM conflicts WHERE session = ? AND chosen NOT IN ('', ?)", (session, MERGED)
        )
        return int(row[0]) if row else 0

    def add(self, conflict: Conflict) -> bool:
        """Insert; False where this fork point is known."""
        values = [_plain(getattr(conflict, name)) for name in _CONFLICT[1:]]
        marks = ", ".join("?" * len(values))
        return bool(
            self.store.execute(
                f"INSERT OR IGNORE INTO conflicts ({', '.join(_CONFLICT[1:])}) VALUES ({marks})",
                tuple(values),
            )
        )

    def save(self, conflict: Conflict) -> None:
        """Update."""
        values = [_plain(getattr(conflict, name)) for name in _CONFLICT[1:]]
        assignments = ", ".join(f"{name} = ?" for name in _CONFLICT[1:])
        self.store.execute(f"UPDATE conflicts SET {assignments} WHERE id = ?", (*values, conflict.id))

    def _rows(self, condition: str, parameters: tuple[object, ...]) -> list[Conflict]:
        rows = self.store.rows(
            f"SELECT {', '.join(_CONFLICT)} FROM conflicts WHERE {condition} ORDER BY since, id", parameters
        )
        found = []
        for row in rows:
            values = dict(zip(_CONFLICT, row, strict=True))
            values["local"], values["remote"] = json.loads(values["local"]), json.loads(values["remote"])
            found.append(Conflict(**values))
        return found

    # --- what a person has changed in a record, where that was chosen

    def amend(self, session: int, base: CriticalData, theirs: CriticalData) -> None:
        """From now on the record's critical data is theirs, with what becomes of ours since `base`."""
        self.store.execute(
            "INSERT OR REPLACE INTO amendments (session, base, theirs) VALUES (?, ?, ?)",
            (session, _encode(critical_of(base)).decode(), _encode(critical_of(theirs)).decode()),
        )

    def amended(self, session: int, ours: CriticalData) -> CriticalData:
        """Our critical data with what was chosen of a person's."""
        row = self.store.row("SELECT base, theirs FROM amendments WHERE session = ?", (session,))
        if row is None:
            return ours
        return merge_critical(_decode_critical(row[0]), ours, _decode_critical(row[1]))


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def critical_of(data: CriticalData) -> CriticalData:
    """Critical data alone, as a record's has more."""
    return CriticalData(data.decisions, data.checkpoints, data.current_phase, data.next_steps)
