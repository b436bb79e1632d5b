"""What was captured, in the state: rows, checkpoints, and the items that checkpoints make."""

from __future__ import annotations

from sessionsync.capture.work import Work
from sessionsync.catalog import Catalog, Session
from sessionsync.events import Emit
from sessionsync.model import Summary
from sessionsync.queue import ARCHIVE, Queue


class Commit:
    """Writes within the caller's transaction."""

    def __init__(self, catalog: Catalog, queue: Queue, emit: Emit) -> None:
        self.queued = 0
        """How many items were queued, also where the transaction came to nothing."""
        self._catalog = catalog
        self._queue = queue
        self._emit = emit

    def save(self, work: Work, now: float, *, has_archive: bool) -> None:
        """Write a session's rows, and queue its newest checkpoint where there is a new one.

        Raises:
            StoreError: the state could not be written.
        """
        session = work.session
        self._catalog.save(session)
        for name in work.changed:
            self._catalog.save_file(session.id, work.files[name])
        for checkpoint in work.checkpoints:
            self._catalog.add_checkpoint(session.id, checkpoint)
        if work.told is not None and not work.checkpoints:
            self._catalog.tell(session, work.told)
        if work.checkpoints or work.told is not None:
            self.enqueue(session, now)
            if has_archive and not session.summary.skimmed:
                self._archive(session, now)

    def _archive(self, session: Session, now: float) -> None:
        if session.checkpoint is not None:
            self._enqueue(ARCHIVE, session, session.checkpoint, now)

    def enqueue(self, session: Session, now: float) -> None:
        """Queue a session's newest checkpoint for its comment, where it is to have one."""
        if session.summary.skimmed:
            return  # once its lines are read
        if session.commented and session.checkpoint is not None and self._speaks(session, session.summary):
            self._enqueue("comment", session, session.checkpoint, now)

    def _enqueue(self, operation: str, session: Session, checkpoint: str, now: float) -> None:
        self._queue.enqueue(operation, session.id, checkpoint, now)
        self._emit("item_enqueued", session=session.name, operation=operation, checkpoint=checkpoint)
        self.queued += 1

    def _speaks(self, session: Session, summary: Summary) -> bool:
        """A transcript without a user's message gets no comment; one that it already has stays up to date."""
        return (
            session.ref.source != "claude"
            or summary.prompts > 0
            or self._queue.get("comment", session.id) is not None
            or self._catalog.session(session.id).pushed_checkpoint is not None
        )
