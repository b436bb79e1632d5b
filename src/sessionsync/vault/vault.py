"""Layer 3: every kept checkpoint of every session, compressed and verified."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sessionsync.errors import AlreadyRunning, CopyError, NotAllowed, VaultTooNew
from sessionsync.events import Emit, silent
from sessionsync.hands import Hands
from sessionsync.model import Ref
from sessionsync.vault import journal
from sessionsync.vault.batch import BLOCK_BYTES, Batch
from sessionsync.vault.folder import Folder, component, read_at, sync, translated, write_at
from sessionsync.vault.journal import Description
from sessionsync.vault.pack import Dictionaries
from sessionsync.vault.session import SessionVault
from sessionsync.vault.turns import Turns

if TYPE_CHECKING:  # upkeep's part is imported where there is some: the most that is done here is to write
    from sessionsync.vault.merge import Merge

# Where the vault keeps what belongs to no project.
OWN = ".sessiond"


class Vault:
    """The vault in `folder`.

    All that writes, `lock` and `flush` belong to one thread.  Any thread, and any process, may `open`
    a session of its own to read it.
    """

    def __init__(self, folder: Path, emit: Emit = silent, hands: Hands = map) -> None:
        self._tree = Folder(folder)
        self._dictionaries = Dictionaries(self._tree, folder / OWN)
        self._batch = Batch(self._tree, self._dictionaries, emit, hands)
        self._hands = hands
        self._lock: int | None = None
        self._merges: Turns[Path, Merge] = Turns()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the vault for writing; nothing can be written without.  Leaving it in peace flushes.

        Raises:
            AlreadyRunning: another process, or another `Vault` in this one, holds it.
            NotAllowed: the folder belongs to another user.
            VaultTooNew: a newer sessiond has written to it.
            CopyError: it cannot be used.
        """
        with ExitStack() as held:
            with translated(self._tree.path):
                self._check_owner()
                self._take_lock(held)
                self.check_format()
                self._say_format()
                self._dictionaries.lay()
            with self._writing():
                yield

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Write under the lock that the process which has begun this one holds, and has handed down.

        Who writes to which sessions is the two processes' agreement.
        """
        with self._writing():
            yield

    @property
    def held(self) -> int | None:
        """The lock as a descriptor, to be handed down: it is held until the last who has it ends.

        None while nothing may be written.
        """
        return self._lock

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._batch.locked = True
        try:
            yield
            self.flush()
        finally:
            self._lock = None
            self._batch.locked = False
            self._batch.drop()

    def is_held(self) -> bool:
        """Whether the lock that is held is the one that others would ask for; any thread.

        It lies in the folder: where that was removed or replaced, another process could have the new one.
        """
        lock = self._lock
        try:
            there = os.lstat(self._tree.path / OWN / "lock")
            return lock is not None and os.path.samestat(os.fstat(lock), there)
        except OSError:
            return False

    def refuse(self, why: CopyError) -> None:
        """Let writing fail for this reason where the disk would be written to, until the lock can be had."""
        self._batch.locked = False
        self._batch.refusal = why

    def check_format(self) -> None:
        """See that nothing newer was written here: this program would take what it does not know for damage.

        Reading needs no such guard: what is read is what its hash says, or it is refused.

        Raises:
            VaultTooNew: a newer sessiond has written to it.
            CopyError: it cannot be read.
        """
        with translated(self._tree.path):
            found = self._format()
        if found > journal.FORMAT:
            raise VaultTooNew(
                f"The backup {self._tree.path} has format {found}; this sessiond writes {journal.FORMAT}.",
                hint="Install the newer sessiond again, or set backup.vault_dir to another folder.",
            )

    def first_used(self, now: float) -> float:
        """When this vault was first used (Unix seconds): now, where it is new.  It outlives a lost state.

        Raises:
            CopyError: it cannot be read or kept.
        """
        file = self._tree.path / OWN / "first-used"
        with translated(file), self._tree.writing(file) as descriptor:
            said = read_at(descriptor, 0, 100)
            with contextlib.suppress(ValueError):
                return float(said)
            os.ftruncate(descriptor, 0)
            write_at(descriptor, 0, repr(now).encode())
            sync(descriptor)
            self._tree.flush()
        return now

    def open(self, project: str, ref: Ref) -> SessionVault:
        """The vault of one session, which need not exist yet.  Touches no disk, holds nothing open."""
        folder = self._folder_of(project, ref)
        return SessionVault(self._tree, self._batch, self._dictionaries, folder, project, ref, self._hands)

    def project_of(self, ref: Ref) -> str | None:
        """The project under which a session lies; None where it does not.  For ids that are unique.

        Raises:
            CopyError: the vault cannot be read.
        """
        with translated(self._tree.path):
            for project in self._tree.folders(self._tree.path):
                folder = self._folder_of(project.name, ref)
                if os.path.lexists(folder / "journal") and (found := self._identify(folder)) is not None:
                    return found[0]
        return None

    def move(self, ref: Ref, project: str, to: str) -> bool:
        """Let the vault of a session lie under another project from now on; False where none can be moved.

        It must be flushed.  A vault that is there already is never replaced; frames that no journal names,
        as a crash leaves them, are none.

        Raises:
            CopyError: it cannot be moved.
        """
        old, new = self._folder_of(project, ref), self._folder_of(to, ref)
        with translated(new):
            if not os.path.lexists(old / "journal") or os.path.lexists(new / "journal"):
                return False
            with contextlib.suppress(FileNotFoundError), self._tree.directory(new) as stray:
                os.unlink("pack", dir_fd=stray)
            with (
                self._tree.directory(old.parent) as here,
                self._tree.directory(new.parent, create=True) as there,
            ):
                os.rename(old.name, new.name, src_dir_fd=here, dst_dir_fd=there)
                sync(there)
                sync(here)
        return True

    def merge(
        self,
        project: str,
        ref: Ref,
        besides: Mapping[str, int],
        *,
        cold: bool = False,
        force: bool = False,
        kept_as: str = "",
    ) -> Merge:
        """A merge of one session's segments, to be prepared in any thread and then committed in the writer's.

        `besides` are generations by file that the caller goes on from, `cold` compresses further what will
        hardly be read, `force` writes anew also where little is won, `kept_as` does so with a damaged journal
        and keeps the old files under names that end so.
        """
        from sessionsync.vault.merge import Merge  # noqa: PLC0415 - as above

        # a tree of its own: the batch's belongs to the writer
        tree = Folder(self._tree.path)
        folder = self._folder_of(project, ref)
        turns, known = self._merges, self._dictionaries
        return Merge(folder, tree, known, turns, besides, cold=cold, force=force, kept_as=kept_as)

    def commit(self, merge: Merge) -> bool:
        """Put what a merge has prepared in its place, with what was flushed meanwhile; it must be flushed.

        False where it cannot be: the session was moved or mended, or there was nothing to merge.

        Raises:
            CopyError: it could not be done.
        """
        if not self._batch.locked:
            raise RuntimeError("the vault is written without its lock")
        if self._batch.pending(merge.folder) is not None:
            merge.why = merge.why or "it is being written to"
        return merge.commit()

    def mend(self, project: str, ref: Ref, at: float) -> int:
        """Turn back single bits that changed in a session's journal; returns how many.  It must be flushed.

        Raises:
            CopyError: it could not be read or written.
        """
        if not self._batch.locked:
            raise RuntimeError("the vault is written without its lock")
        from sessionsync.vault.repair import mend_journal  # noqa: PLC0415 - as above

        return mend_journal(self._tree, self._folder_of(project, ref), at)

    def damaged_dictionary(self) -> Path | None:
        """The vault's copy of the dictionary, where it is not what the program ships; None where it is.

        Raises:
            CopyError: it cannot be read.
        """
        with translated(self._tree.path):
            return self._dictionaries.damaged()

    def lay_dictionary(self) -> None:
        """Put the dictionary there that the program ships; call it in the writer's thread.

        Raises:
            CopyError: it cannot be written.
        """
        with translated(self._tree.path):
            self._dictionaries.lay()

    def orphans(self, before: float) -> dict[Path, int]:
        """Files that killed merges left, last changed before `before` (Unix seconds): sizes by path."""
        from sessionsync.vault.merge import leftovers  # noqa: PLC0415 - as above

        found: dict[Path, int] = {}
        for project, ref in self.sessions():
            with contextlib.suppress(OSError, CopyError):  # what cannot be read is not judged
                found |= leftovers(self._tree, self._folder_of(project, ref), before)
        return found

    def remove(self, orphan: Path) -> None:
        """Remove one of `orphans`; call it in the writer's thread.

        Raises:
            CopyError: it cannot be removed.
        """
        with translated(orphan), self._tree.directory(orphan.parent) as folder:
            os.unlink(orphan.name, dir_fd=folder)

    def forget(self, ref: Ref, besides: Container[str] = ()) -> None:
        """Remove a session, under whatever project it lies but `besides`; it must be flushed.

        Raises:
            CopyError: it could not be removed, or not all of it.
        """
        for folder in self._folders_of(ref, besides):
            with translated(folder):
                self._tree.remove(folder)

    def weigh(self, ref: Ref, besides: Container[str] = ()) -> int:
        """How many bytes a session takes."""
        return sum(map(self._tree.size, self._folders_of(ref, besides)))

    def descriptions(self, ref: Ref) -> dict[str, Description | None]:
        """What is said of each session of this name, by the project's folder that it lies in.

        Raises:
            CopyError: the vault cannot be read.
        """
        projects = [folder.parent.name for folder in self._folders_of(ref)]
        return {project: self.open(project, ref).description() for project in projects}

    def _folders_of(self, ref: Ref, besides: Container[str] = ()) -> list[Path]:
        name = component(f"{ref.source}.{ref.session_id}")
        with translated(self._tree.path):
            projects = [path for path in self._tree.folders(self._tree.path) if path.name not in besides]
        return [project / name for project in projects if os.path.lexists(project / name)]

    def _folder_of(self, project: str, ref: Ref) -> Path:
        return self._tree.path.joinpath(*_names(project, ref))

    def flush(self) -> int:
        """Commit what was written since the last flush; returns the number of sessions.

        Raises:
            CopyError: some sessions could not be committed.  Of them nothing since the last flush is
                stored, and it must be written again; the others are committed.
        """
        committed, failed = self._batch.commit()
        for problem in failed.values():
            raise problem
        return committed

    def flush_each(self) -> dict[str, CopyError]:
        """Do the same; returns with which sessions, `source:id`, it could not be done."""
        return self._batch.commit()[1]

    def sessions(self, besides: Iterable[Ref] = ()) -> Iterator[tuple[str, Ref]]:
        """Every session in the vault but those `besides`, with its project, as far as they can be read."""
        names = {component(f"{ref.source}.{ref.session_id}") for ref in besides}
        return (found for _, found in self._known(names))

    def folders(self) -> list[Path]:
        """Where the sessions lie, as far as they can be read: folders that nobody else has made."""
        return [folder for folder, _ in self._known()]

    def _known(self, besides: Container[str] = ()) -> Iterator[tuple[Path, tuple[str, Ref]]]:
        with translated(self._tree.path):
            projects = [path for path in self._tree.folders(self._tree.path) if path.name != OWN]
        for project in projects:
            with translated(project):
                folders = self._tree.folders(project)
            for folder in folders:
                if folder.name in besides:
                    continue
                with contextlib.suppress(CopyError, OSError):
                    if (found := self._identify(folder)) is not None:
                        yield folder, found

    def _check_owner(self) -> None:
        with self._tree.directory(self._tree.path, create=True) as folder:
            if os.fstat(folder).st_uid != os.geteuid():
                raise NotAllowed(
                    f"The vault {self._tree.path} belongs to another user.",
                    hint="Run sessiond as its owner, or set backup.vault_dir to a folder of your own.",
                )

    def _take_lock(self, held: ExitStack) -> None:
        descriptor = held.enter_context(self._tree.writing(self._tree.path / OWN / "lock"))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
            raise AlreadyRunning(
                f"Another sessiond writes to the vault {self._tree.path}.",
                hint="Stop it, or give this one another backup.vault_dir.",
            ) from problem
        self._lock = descriptor

    def _say_format(self) -> None:
        """Say in the vault in what format it is written."""
        if self._format() == journal.FORMAT:
            return
        with self._tree.writing(self._tree.path / OWN / "format") as descriptor:
            os.ftruncate(descriptor, 0)
            write_at(descriptor, 0, b"%d\n" % journal.FORMAT)
            sync(descriptor)

    def _format(self) -> int:
        """The newest format that was written here; 0 where that is not said."""
        try:
            with self._tree.reading(self._tree.path / OWN / "format") as descriptor:
                said = read_at(descriptor, 0, 20).strip()
        except FileNotFoundError:
            return 0
        return int(said) if said.isdigit() else 0

    def _identify(self, folder: Path) -> tuple[str, Ref] | None:
        """Whose vault a folder is: as it says itself, else by its name; None where it is none."""
        with self._tree.reading(folder / "journal") as descriptor:
            beginning = read_at(descriptor, 0, BLOCK_BYTES)
        is_one = False
        for line in beginning.split(b"\n"):  # nearly always the first one says it
            entry = journal.decode(line)
            is_one = is_one or entry is not None
            if isinstance(entry, Description):
                ref, above = Ref(entry.source, entry.session_id), folder.parent.name
                stayed = _names(entry.project, ref) == (above, folder.name)
                return entry.project if stayed else above, ref
        source, _, session_id = folder.name.partition(".")
        return (folder.parent.name, Ref(source, session_id)) if is_one and session_id else None


def _names(project: str, ref: Ref) -> tuple[str, str]:
    """What leads to a session: the name of its project's folder, and that of its own in there."""
    above = component(project) if project != OWN else component(OWN, ending="~")
    return above, component(f"{ref.source}.{ref.session_id}")
