"""What waits to be sent: one row an operation and subject, so that waiting checkpoints coalesce.

A `comment` or `archive` item's subject is a session, an `index` item's an issue.  What goes to GitHub and
what goes to the archive are two lanes.  The row stays until the other side's answer is committed:

    pending ──lease──▶ in_flight ──done──▶ (gone, or pending again if a newer checkpoint came meanwhile)
       ▲                  ├─ retry ──▶ retrying    an answer is missing or 5xx: again later, for ever
       └── a new ─────────┤
           checkpoint     ├─ release ▶ paused      a limit or the token: no attempt is burnt
                          └─ bury ───▶ buried      refused for good: kept with its bytes until `retry`

The attempt is committed before the request leaves, so `attempts > 1` at a lease means: an earlier
write may have happened, look before writing.  A lease found at start is stale by definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sessionsync.store import Store


class Lane(StrEnum):
    """Who takes an item: each lane has its own thread, and neither waits for the other."""

    GITHUB = "github"
    ARCHIVE = "archive"


class State(StrEnum):
    """An item's state, as the queue metric and `ctl queue` name it."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    RETRYING = "retrying"
    PAUSED = "paused"
    BURIED = "buried"


@dataclass(frozen=True, slots=True)
class Item:
    """An item as leased or listed.  `failures` counts retries since the last success."""

    operation: str
    subject: int
    checkpoint: str
    state: State
    attempts: int
    failures: int
    enqueued_at: float
    next_attempt_at: float
    last_error: str
    last_code: str

    @property
    def in_doubt(self) -> bool:
        """An earlier attempt may have written: look for it before writing again."""
        return self.attempts > 1


class Census(NamedTuple):
    """The queue in numbers.

    `depth` by state; `oldest` is when the oldest item that is not buried was queued, by operation (Unix
    seconds); `waiting_bytes` are the sizes of the checkpoints in it, `unpushed_bytes` what GitHub lacked of
    those when they were queued.
    """

    depth: dict[State, int]
    oldest: dict[str, float]
    waiting_bytes: int
    unpushed_bytes: int


_COLUMNS = (
    "operation, subject, checkpoint, state, attempts, failures, enqueued_at, next_attempt_at,"
    " last_error, last_code"
)
ARCHIVE = "archive"
"""The operation of the archive's lane: the checkpoints of a session, as commits."""
FORGET, UNARCHIVE = "forget", "unarchive"
"""The removal of what was forgotten from GitHub, and from the archive; see `forget` for their subjects."""
# No schedule of ours is longer.
LONGEST_WAIT_S = 3600.0
_WAITING = "state IN ('pending', 'retrying', 'paused')"


def _size(session: str, checkpoint: str) -> str:
    """SQL: the size of what an item sends; 0 where that is no checkpoint."""
    return f"coalesce((SELECT size FROM checkpoints WHERE session = {session} AND id = {checkpoint}), 0)"


def _behind(operation: str, session: str, checkpoint: str) -> str:
    """SQL: how much longer that is than what GitHub has."""
    pushed = f"(SELECT pushed_bytes FROM sessions WHERE id = {session})"
    longer = f"max(0, {_size(session, checkpoint)} - coalesce({pushed}, 0))"
    return f"CASE {operation} WHEN 'comment' THEN {longer} ELSE 0 END"


def _of(lane: Lane | None) -> str:
    match lane:
        case None:
            return "1"
        case Lane.ARCHIVE:
            return f"operation IN ('{ARCHIVE}', '{UNARCHIVE}')"
        case Lane.GITHUB:
            return f"operation NOT IN ('{ARCHIVE}', '{UNARCHIVE}')"


def _item(row: tuple[object, ...]) -> Item:
    operation, subject, checkpoint, state, *rest = row
    return Item(operation, subject, checkpoint, State(str(state)), *rest)  # type: ignore[arg-type]


class Queue:
    """The persistent queue.  Call `recover` once at start, before the first lease."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def recover(self, now: float, *, lane: Lane | None = None) -> int:
        """Take back leases of a process that died, or of one lane; returns how many there were.

        A time of the next attempt that lies further off than any schedule of ours is the work of a
        clock that jumped: such items are due now.
        """
        with self.store.transaction():
            stale = self.store.execute(
                "UPDATE items SET state = 'retrying', leased = NULL,"
                f" next_attempt_at = min(next_attempt_at, ?) WHERE state = 'in_flight' AND {_of(lane)}",
                (now,),
            )
            self.clamp(now)
        return stale

    def clock_set_back(self, now: float, *, lane: Lane | None = None) -> None:
        """The clock was set back: what waits until a time of before is due now, of one lane or of all."""
        with self.store.transaction():
            self.make_due(now, lane=lane)
            self.store.execute("UPDATE items SET enqueued_at = ? WHERE enqueued_at > ?", (now, now))

    def clamp(self, now: float) -> None:
        """At a start: nothing waits longer than any schedule of ours."""
        with self.store.transaction():
            self.store.execute(
                f"UPDATE items SET next_attempt_at = ? WHERE {_WAITING} AND next_attempt_at > ?",
                (now, now + LONGEST_WAIT_S),
            )
            self.store.execute("UPDATE items SET enqueued_at = ? WHERE enqueued_at > ?", (now, now))

    def enqueue(
        self, operation: str, subject: int, checkpoint: str, now: float, *, delay_s: float = 0.0
    ) -> None:
        """Ask for `checkpoint` to be sent; replaces an older one that still waits.

        A buried item comes back to life: the newer checkpoint holds what the older one held.  The
        schedule of an item that is being retried stays: a busy session does not hammer a sick GitHub.
        """
        self.store.execute(
            f"INSERT INTO items ({_COLUMNS}, size, behind) VALUES ("
            f"?1, ?2, ?3, 'pending', 0, 0, ?4, ?5, '', '', {_size('?2', '?3')}, {_behind('?1', '?2', '?3')})"
            " ON CONFLICT (operation, subject) DO UPDATE SET checkpoint = excluded.checkpoint,"
            " size = excluded.size, behind = excluded.behind,"
            " enqueued_at = CASE state WHEN 'buried' THEN excluded.enqueued_at ELSE enqueued_at END,"
            " next_attempt_at ="
            " CASE state WHEN 'buried' THEN excluded.next_attempt_at ELSE next_attempt_at END,"
            " failures = CASE state WHEN 'buried' THEN 0 ELSE failures END,"
            " state = CASE state WHEN 'buried' THEN 'retrying' ELSE state END",
            (operation, subject, checkpoint, now, now + delay_s),
        )

    def lease(self, now: float) -> Item | None:
        """The item for GitHub that has been due longest, its attempt committed; None when none is due."""
        return next(iter(self.lease_many(now, Lane.GITHUB, 1)), None)

    def lease_many(self, now: float, lane: Lane, most: int) -> list[Item]:
        """The items of a lane that have been due longest, their attempts committed."""
        with self.store.transaction():
            rows = self.store.rows(
                f"SELECT {_COLUMNS} FROM items WHERE {_WAITING} AND {_of(lane)} AND next_attempt_at <= ?"
                " ORDER BY next_attempt_at, enqueued_at, operation, subject LIMIT ?",
                (now, most),
            )
            for row in rows:
                self.store.execute(
                    "UPDATE items SET state = 'in_flight', leased = checkpoint, attempts = attempts + 1"
                    " WHERE operation = ? AND subject = ?",
                    (row[0], row[1]),
                )
            leased = (self.get(str(row[0]), int(row[1])) for row in rows)
            return [item for item in leased if item is not None]

    def get(self, operation: str, subject: int) -> Item | None:
        """One item, whatever its state."""
        row = self.store.row(
            f"SELECT {_COLUMNS} FROM items WHERE operation = ? AND subject = ?",
            (operation, subject),
        )
        return _item(row) if row else None

    def done(self, item: Item, now: float) -> bool:
        """GitHub's answer is known: the item goes, unless a newer checkpoint came meanwhile.

        Returns whether the item is gone.  Call it in the transaction that commits the answer.
        """
        with self.store.transaction():
            gone = self.store.execute(
                "DELETE FROM items WHERE operation = ? AND subject = ? AND checkpoint = leased",
                (item.operation, item.subject),
            )
            if not gone:
                self.store.execute(
                    "UPDATE items SET state = 'pending', leased = NULL, attempts = 0, failures = 0,"
                    " enqueued_at = ?, next_attempt_at = ?, last_error = '', last_code = '',"
                    f" behind = {_behind('operation', 'subject', 'items.checkpoint')}"
                    " WHERE operation = ? AND subject = ?",
                    (now, now, item.operation, item.subject),
                )
            return bool(gone)

    def retry(self, item: Item, at: float, error: str, code: str) -> None:
        """The attempt failed and may have written; try again at `at`."""
        self._end(item, State.RETRYING, at, error, code, "failures = failures + 1")

    def release(self, item: Item, at: float, error: str, code: str) -> None:
        """The attempt certainly wrote nothing and is not the item's fault: it does not count."""
        self._end(item, State.PAUSED, at, error, code, "attempts = max(attempts - 1, 0)")

    def bury(self, item: Item, error: str, code: str) -> None:
        """GitHub refuses it for good: out of the line, kept, shown."""
        self._end(item, State.BURIED, item.next_attempt_at, error, code, "failures = failures + 1")

    def _end(self, item: Item, state: State, at: float, error: str, code: str, count: str) -> None:
        self.store.execute(
            "UPDATE items SET state = ?, leased = NULL, next_attempt_at = ?, last_error = ?, last_code = ?,"
            f" {count}"
            " WHERE operation = ? AND subject = ?",
            (state.value, at, error, code, item.operation, item.subject),
        )

    def make_due(
        self, now: float, subject: int | None = None, *, buried: bool = False, lane: Lane | None = None
    ) -> int:
        """Make waiting items due now, of one subject or of all, `buried` ones too; returns how many."""
        states = f"({_WAITING} OR state = 'buried')" if buried else _WAITING
        mine = "" if subject is None else " AND operation <> 'index' AND subject = ?"
        return self.store.execute(
            "UPDATE items SET next_attempt_at = min(next_attempt_at, ?),"
            " state = CASE state WHEN 'buried' THEN 'retrying' ELSE state END"
            f" WHERE {states}{mine} AND {_of(lane)}",
            (now,) if subject is None else (now, subject),
        )

    def items(self, *, buried: bool = False, lane: Lane | None = None) -> list[Item]:
        """What waits, or what is buried, of one lane or of all; the next to go first."""
        condition = "state = 'buried'" if buried else "state <> 'buried'"
        condition += f" AND {_of(lane)}"
        return [
            _item(row)
            for row in self.store.rows(
                f"SELECT {_COLUMNS} FROM items WHERE {condition} ORDER BY next_attempt_at, enqueued_at"
            )
        ]

    def checkpoints(self, subject: int) -> set[str]:
        """The checkpoints of a session that wait, are on their way or are buried."""
        rows = self.store.rows(
            "SELECT checkpoint, leased FROM items WHERE operation <> 'index' AND subject = ?", (subject,)
        )
        return {str(name) for row in rows for name in row if name is not None}

    def next_attempt_at(self, lane: Lane | None = None) -> float | None:
        """When the next item is due, of one lane or of all; None when nothing waits."""
        row = self.store.row(f"SELECT min(next_attempt_at) FROM items WHERE {_WAITING} AND {_of(lane)}")
        return row[0] if row else None

    def depth(self) -> dict[State, int]:
        """How many items are in each state."""
        counts = dict.fromkeys(State, 0)
        for state, number in self.store.rows("SELECT state, count(*) FROM items GROUP BY state"):
            counts[State(state)] = number
        return counts

    def census(self, besides: str = "") -> Census:
        """How much waits, and since when, in one statement that reads a row a kind, however much waits.

        What waits with the code `besides` has no age: it waits for its turn.
        """
        depth = dict.fromkeys(State, 0)
        oldest: dict[str, float] = {}
        waiting = behind = 0
        for operation, state, number, at, size, lacking in self.store.rows(
            "SELECT operation, state, number, CASE WHEN last_code IS NOT ? THEN (SELECT min(enqueued_at)"
            " FROM items WHERE operation = counted.operation AND state = counted.state"
            " AND last_code = counted.last_code) END, size, behind FROM item_counts AS counted",
            (besides or None,),
        ):
            depth[State(state)] += number
            waiting += size
            behind += lacking
            if state != State.BURIED.value and at is not None:
                oldest[operation] = min(at, oldest.get(operation, at))
        return Census(depth, oldest, waiting, behind)

    def waits(self, lane: Lane) -> bool:
        """Whether anything in a lane is still to be done, and not buried."""
        found = self.store.row(f"SELECT 1 FROM items WHERE state <> 'buried' AND {_of(lane)} LIMIT 1")
        return found is not None

    def waiting(self, operation: str, *, buried: bool = False) -> int:
        """How many items of an operation are still to be done, or are buried."""
        row = self.store.row(
            "SELECT sum(number) FROM item_counts WHERE (state = 'buried') = ? AND operation = ?",
            (buried, operation),
        )
        return int(row[0] or 0) if row else 0

    def oldest_at(self, besides: str = "") -> float | None:
        """When the oldest checkpoint that still waits was queued; None when none does.

        Those that wait for the reason with the code `besides` are left out.
        """
        row = self.store.row(
            "SELECT min(enqueued_at) FROM items WHERE state <> 'buried' AND operation = 'comment'"
            " AND (? = '' OR last_code <> ?)",
            (besides, besides),
        )
        return row[0] if row else None
