"""Removing a session from this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sessionsync.catalog import Catalog, Session
from sessionsync.elsewhere import PERSON, Elsewhere, Versions
from sessionsync.errors import CopyError
from sessionsync.events import Emit
from sessionsync.forget.rows import Forgettings, Forgotten
from sessionsync.migrations import copies_of
from sessionsync.model import Ref
from sessionsync.queue import FORGET, UNARCHIVE, Queue
from sessionsync.remote.archive import ledger
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Mirror, Vault
from sessionsync.vault.folder import component
from sessionsync.vault.journal import Description


class Forget:
    """Removes sessions from this machine.  Call it from the thread that captures, between two captures."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        mirror: Mirror,
        vault: Vault,
        elsewhere: Elsewhere,
        emit: Emit,
    ) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._queue = queue
        self._mirror = mirror
        self._vault = vault
        self._elsewhere = elsewhere
        self._emit = emit
        self._rows = Forgettings(self._store)
        self.tombstones = Tombstones(mirror.folder)

    def begin(self, session: Session, now: float) -> int:
        """Remove a session here, and queue what is left of it elsewhere; returns the subject of those items.

        Raises:
            StoreError: the state cannot be written; nothing was removed.
            CopyError: not all of it could be removed now: the next start does.
        """
        forgotten = self.about(session)
        self._store.write_events()  # those that wait tell of it as well
        with self._store.transaction():
            subject = self._rows.add(forgotten, now)
            for operation in self._operations(session):
                self._queue.enqueue(operation, subject, "", now)
            self._catalog.forget(session)
        self._remove(subject, forgotten)
        return subject

    def finish(self) -> int:
        """Remove from this disk what a killed process has left of what it began; returns how many there were.

        Raises:
            CopyError: something could not be removed.
        """
        unfinished = self._rows.unfinished()
        for subject, forgotten in unfinished:
            if (again := self._catalog.find(forgotten.identity)) is not None:
                self._catalog.forget(again)  # captured while that it was forgotten could not be written down
            self._remove(subject, forgotten)
        return len(unfinished)

    def undo(self, ref: Ref) -> bool:
        """Let a session be captured again, and remove no more of it; whether it was forgotten.

        Raises:
            StoreError: the state cannot be written.
            OSError: it could not be written down that it is not forgotten.
        """
        with self._store.transaction():
            self._rows.give_up(ref)
        return self.tombstones.lift(ref.source, ref.session_id, ref.scope)

    def about(self, session: Session) -> Forgotten:
        """What must be known of a session when its rows are gone."""
        sent = self._store.row("SELECT max(issue) FROM records WHERE session = ?", (session.id,))
        notices = self._store.rows(
            "SELECT notice FROM conflicts WHERE session = ? AND notice > 0", (session.id,)
        )
        machines = [version.machine for version in Versions(self._store).of(session.id)]
        ref = self._store.row(
            "SELECT ref FROM archives WHERE archive = ? AND session = ?",
            (self._store.meta(ledger.CURRENT), session.id),
        )
        return Forgotten(
            source=session.ref.source,
            session_id=session.ref.session_id,
            scope=session.ref.scope,
            key=session.key,
            project_key=session.project_key or f"path:{session.root}",
            project=session.project or "unknown",
            location=str(session.location),
            issue=session.summary.context.issue,
            sent_to=(sent[0] or 0) if sent else 0,
            notices=[row[0] for row in notices],
            machines=[machine for machine in machines if machine != PERSON],
            ref=str(ref[0]) if ref else "",
        )

    def _operations(self, session: Session) -> Sequence[str]:
        """What is to be removed elsewhere: where something of it may be."""
        shown = self._store.row(
            "SELECT 1 FROM comments WHERE session_id = ? UNION SELECT 1 FROM records WHERE session = ?",
            (session.key, session.id),
        )
        return [*([FORGET] if shown else []), *([UNARCHIVE] if self._store.meta(ledger.CURRENT) else [])]

    def _remove(self, subject: int, forgotten: Forgotten) -> None:
        try:
            self.tombstones.add(forgotten.source, forgotten.session_id, forgotten.scope)
        except OSError as error:
            raise CopyError(
                f"That {forgotten.name} was forgotten cannot be written down: {error.strerror}.",
                hint="The rest is removed at the next start.",
            ) from error
        for copy in copies_of(self._store.file):  # the state of before, put aside for who goes back
            with suppress(OSError):
                copy.unlink()
        ref = forgotten.stored_as
        besides = self._besides(forgotten)
        self._mirror.forget(ref, besides)
        self._vault.forget(ref, besides)
        self._elsewhere.vault.forget(ref)
        self._rows.local_done(subject)
        self._emit("session_forgotten", left=self._queue_left(subject))

    def _besides(self, forgotten: Forgotten) -> set[str]:
        """The projects in which another session has the name, as one may from before the state was lost."""

        def is_ours(said: Description | None) -> bool:
            if said is None:
                return False
            location = str(said.meta.get("location", ""))
            return said.project_key in {"", forgotten.project_key} or location == forgotten.location

        said = self._vault.descriptions(forgotten.stored_as)
        own = component(forgotten.project)
        return {project for project, of in said.items() if project != own and not is_ours(of)}

    def _queue_left(self, subject: int) -> list[str]:
        rows = self._store.rows("SELECT operation FROM items WHERE subject = ?", (subject,))
        return [str(row[0]) for row in rows]

    def size(self, session: Session) -> dict[str, int]:
        """How many bytes of a session lie in the plain copies, the vault and the versions from elsewhere."""
        found = {"mirror": 0, "vault": 0, "elsewhere": 0}
        with suppress(CopyError):
            ref, besides = session.stored_as, self._besides(self.about(session))
            found["mirror"] = self._mirror.weigh(ref, besides)
            found["vault"] = self._vault.weigh(ref, besides)
            found["elsewhere"] = self._elsewhere.vault.weigh(ref)
        return found
