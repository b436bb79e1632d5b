"""Which checkpoints are let go of."""

from __future__ import annotations

from pathlib import Path

from sessionsync.catalog import Session
from sessionsync.queue import ARCHIVE
from sessionsync.remote.archive.ledger import unarchived
from sessionsync.upkeep.means import Means
from sessionsync.vault.plan import states
from sessionsync.vault.retention import kept, last_of_lives


class Retention:
    """Forgets checkpoints that are not kept any longer."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def crowded(self) -> list[int]:
        """Sessions that have more checkpoints than are kept for sure."""
        return self._means.catalog.with_checkpoints_over(self._means.keep_checkpoints)

    def forget(self, session: Session) -> list[str]:
        """Forget the checkpoints that are not kept any longer, in the vault and then in the state."""
        return self._means.write(lambda now: self._forget(session, now))

    def _forget(self, session: Session, now: float) -> list[str]:
        session = self._means.catalog.session(session.id)
        known = self._means.catalog.checkpoints(session.id)
        vault = self._means.open(session)
        fold = vault.fold()
        if fold.damaged:
            return []  # first it is healed: a line that cannot be read may say what these are for
        snapshots = fold.snapshots()
        history = list(zip((snapshot.id for snapshot in snapshots), states(fold), strict=True))
        there = {name for name, _ in history}
        pinned = self._pinned(session) | last_of_lives(history)
        stay = kept(known, keep=self._means.keep_checkpoints, now=now, pinned=pinned)
        # of another home that shared this vault, or from before the state was lost
        stay |= kept(snapshots, keep=self._means.keep_checkpoints, now=now, pinned=pinned | stay)
        ids = sorted(({checkpoint.id for checkpoint in known} | there) - stay)
        if ids:
            vault.forget([name for name in ids if name in there], now)
            self._means.vault.flush()
            self._means.catalog.forget_checkpoints(session.id, ids)
            self._means.emit("checkpoints_forgotten", session=session.name, count=len(ids))
        return ids

    def _pinned(self, session: Session) -> set[str]:
        """Checkpoints that somebody goes on from.

        What waits to be sent or is buried, what was sent last, what the archive still lacks, and what a file
        in `checkpoints/` names, as long as the session keeps that file: who rolls their own checkpoints rolls
        ours.
        """
        found = self._means.queue.checkpoints(session.id) | {session.checkpoint, session.pushed_checkpoint}
        if self._means.queue.get(ARCHIVE, session.id) is not None:
            found |= unarchived(self._means.catalog.store, session.id)
        names = {
            Path(file.name).stem
            for file in self._means.catalog.files(session.id).values()
            if file.name.startswith("checkpoints/") and file.deleted_at is None
        }
        found |= {c.id for c in self._means.catalog.checkpoints(session.id) if c.alias in names}
        return {name for name in found if name}
