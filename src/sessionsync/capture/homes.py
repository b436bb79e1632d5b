"""Which project a session is of, and what it is called there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from sessionsync import projects
from sessionsync.capture.stored import Stored
from sessionsync.capture.work import Work
from sessionsync.catalog import REWRITTEN, Catalog, Checkpoint, Session
from sessionsync.errors import CopyError, DiskFull
from sessionsync.model import Found, Ref, Summary
from sessionsync.peek import PEEK_BYTES, UNKNOWN
from sessionsync.project_names import Names, ProjectIdentity
from sessionsync.sources import Source
from sessionsync.vault import Vault


class Homes:
    """Gives sessions their project.

    `taken` are the names of sessions that are not committed yet; `settle` commits what there is of one.
    """

    def __init__(
        self,
        catalog: Catalog,
        vault: Vault,
        names: Names,
        stored: Stored,
        taken: Callable[[], set[str]],
        settle: Callable[[Work, float], None],
    ) -> None:
        self.found = 0
        """How many sessions were given their project."""
        self._catalog = catalog
        self._vault = vault
        self._names = names
        self._stored = stored
        self._taken = taken
        self._settle = settle
        # of folders asked about since the last flush: at first, many sessions have few of them
        self._identities: dict[str, ProjectIdentity] = {}
        self.started: dict[Ref, str] = {}
        """The folders that new sessions were started in, of which that was just seen."""

    def rest(self) -> None:
        """Ask again what folders are: it may change."""
        self._identities.clear()

    def expect(self, new: Iterable[tuple[Source, Found]]) -> None:
        """Write down the names of the projects of these new sessions, all at once: one each takes long.

        What cannot be written down is said where the first of its sessions is captured.
        """
        new = list(new)
        self.started = {found.ref: source.peek_cwd(found, PEEK_BYTES) for source, found in new}
        known = [self._identified(found, self.started[found.ref]) for _, found in new]
        with suppress(CopyError):
            self._names.name_all({each.key: each.name_hint for each in known if each is not None})

    def begin(self, source: Source, found: Found, now: float) -> Work:
        """A session that the state does not know, with what the vault knows of it.

        Raises:
            CopyError: a copy could not be read, or the project's name be written down.
        """
        session = Session(
            id=0,
            ref=found.ref,
            root=found.root,
            location=found.location,
            summary=Summary(),
            modified_at=found.mtime,
            changed_at=min(found.mtime, now) or now,
        )
        if not found.stem:
            session.key = self._key(session.ref)
        work = Work(session, {})
        self.settle(source, work, found, now)
        work.tell("session_found", project=session.project)
        return work

    def _recall(self, work: Work) -> None:
        """Take over the checkpoints that the vault holds although the state does not."""
        work.checkpoints.clear()
        vault = self._stored.vault_of(work)
        for snapshot in () if work.is_first else vault.snapshots():
            size = int(snapshot.meta.get("size", 0))
            work.checkpoints.append(
                Checkpoint(snapshot.id, snapshot.at, snapshot.trigger, size, snapshot.alias)
            )
            work.session.checkpoint, work.session.checkpoint_at = snapshot.id, snapshot.at

    def settle(self, source: Source, work: Work, found: Found, now: float) -> None:
        """Give the session its project, by the first folder that its lines name, for ever.

        Until a line names one it goes under the name that the vault knows, from before the state was lost,
        or a provisional one: its plain copies there stay, its vault moves along.
        """
        session = work.session
        identity = self._identity(source, found)
        if identity is not None:
            self._leave(work)
            session.project_key, session.project_root = identity.key, identity.root
            self._enter(session, found, self._name_for(work, identity.key, identity.name_hint))
            self.found += 1
            work.tell("project_found", project=session.project)
        elif session.project is None:
            known = self._vault.project_of(session.stored_as) if session.key else None
            self._enter(session, found, known or self._name_for(work, f"{UNKNOWN}:{found.root}", UNKNOWN))
        else:
            return
        if work.files:
            self._settle(work, now)
            work.vault = None
            self._stored.vault_of(work)
        else:
            self._recall(work)

    def recall(self, work: Work) -> None:
        """Give a session that was read back its project: as its vault says, else as its first folder does.

        Of an older backup the folder is called after whatever that called it: its vault moves.

        Raises:
            CopyError: the vault could not be moved, or the project's name be written down.
        """
        session = work.session
        is_transcript = session.ref.source == "claude"
        cwd = session.summary.cwd if is_transcript else str(session.root)
        if not cwd or session.project is None:
            return
        known_as = str(session.ref) if is_transcript else str(session.location)
        identity = self._names.home(known_as, cwd) or self._identify(cwd)
        session.project_root = identity.root
        if session.project_key is None:
            session.project_key = identity.key
            name = self._name_for(work, identity.key, identity.name_hint)
            if name != session.project and self._vault.move(session.stored_as, session.project, name):
                session.project = name

    def _name_for(self, work: Work, key: str, hint: str) -> str:
        """A project's name; where there is no room to write it down, that waits as its plain copies do."""
        try:
            return self._names.name_for(key, hint)
        except DiskFull as error:
            work.full = error
            return self._names.promised(key, hint)

    def keep(self, work: Work) -> None:
        """See that the project's name is written down: who deletes the plain copies deletes that as well.

        Raises:
            CopyError: it could not be written down, and not for want of space.
        """
        session = work.session
        if session.project_key is not None and session.project is not None:
            try:
                self._names.keep({session.project_key: session.project})
            except DiskFull as error:
                work.full = error

    def _enter(self, session: Session, found: Found, project: str) -> None:
        """Put a session under a project's name, which is a part of its own where the source says so.

        A name whose copies are of another file is that one's, also where the state that knew it is lost.
        """
        session.project = project
        if session.key:
            return
        name = f"{session.ref.source}.{project}.{found.stem}".replace("/", "-")
        said = self._vault.open(project, Ref(session.ref.source, name)).description()
        location = said.meta.get("location") if said is not None else None
        is_ours = location is None or str(location).endswith(f"/{session.ref.session_id}")
        session.key = self._key(session.ref, name, is_free=is_ours)

    def _key(self, ref: Ref, name: str = "", *, is_free: bool = True) -> str:
        taken = self._taken()
        return self._catalog.key_for(ref, taken if is_free else {*taken, name}, name)

    def _identity(self, source: Source, found: Found) -> ProjectIdentity | None:
        """The project that a session's lines name; None until they do."""
        cwd = self.started.pop(found.ref, "") or source.peek_cwd(found, PEEK_BYTES)
        return self._identified(found, cwd)

    def _identified(self, found: Found, cwd: str) -> ProjectIdentity | None:
        return (self._names.home(found.known_as, cwd) or self._identify(cwd)) if cwd else None

    def _identify(self, cwd: str) -> ProjectIdentity:
        if cwd not in self._identities:
            self._identities[cwd] = projects.identify(cwd)
        return self._identities[cwd]

    def _leave(self, work: Work) -> None:
        """Have all of it in the vault, and let every plain copy be made again under another name."""
        work.session.fingerprint = 0
        for file in work.files.values():
            self._stored.store(work, file, file.length)
            file.size = REWRITTEN
