"""Sessions by the thousand in a state, without their files: for what must not depend on how many there are."""

from __future__ import annotations

from sessionsync.store import Store


def fill(store: Store, first: int, sessions: int, *, waiting: bool = True) -> None:
    """Put sessions into the state, each with a checkpoint, `waiting` for GitHub and for the archive."""
    with store.transaction():
        for number in range(first, first + sessions):
            store.execute(
                "INSERT INTO sessions (id, source, session_id, scope, key, root, location, tier, size, summary,"
                " modified_at, changed_at, pushed_at, pushed_bytes)"
                " VALUES (?1, 'claude', ?1, '', ?1, '/', '/', 'hybrid', 90000, zeroblob(2000), 0, 0, ?1, 70000)",
                (number,),
            )
            store.execute(
                "INSERT INTO checkpoints (session, id, at, trigger, size) VALUES (?, 'c', 0, 'once', 90000)",
                (number,),
            )
            for operation in ("comment", "archive") if waiting else ():
                store.execute(
                    "INSERT INTO items (operation, subject, checkpoint, state, enqueued_at, next_attempt_at, size,"
                    " behind) VALUES (?, ?, 'c', 'pending', 0, 0, 90000, 20000)",
                    (operation, number),
                )
