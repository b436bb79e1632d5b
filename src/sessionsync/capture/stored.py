"""What was captured of a session: read back from its copies, stored in its vault, fixed in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from sessionsync.capture.work import BLOCK_BYTES, TAIL_BYTES, TAILS, Hashed, Work
from sessionsync.catalog import Catalog, Checkpoint, File, Session
from sessionsync.errors import CopyMismatch
from sessionsync.model import Ref, Role, Summary, checkpoint_id, rfc3339
from sessionsync.peek import UNKNOWN
from sessionsync.project_names import Names
from sessionsync.sources import Source
from sessionsync.sources.lines import is_whole
from sessionsync.vault import Mirror, Root, SessionVault, StoredFile, Vault


class Stored:
    """The copies of every session, as the one who captures uses them.

    `in_step` are the sessions whose newest snapshot in the vault is the state's as well: the next one need
    not name every file.  `tails` are the ends of what was captured last.
    """

    def __init__(
        self,
        catalog: Catalog,
        mirror: Mirror,
        vault: Vault,
        names: Names,
        sources: Mapping[str, Source],
    ) -> None:
        self.in_step: set[Ref] = set()
        self.tails = Hashed(TAILS)
        self._catalog = catalog
        self._mirror = mirror
        self._vault = vault
        self._names = names
        self._sources = sources

    # --- reading

    def path(self, work: Work, name: str) -> Path:
        """Where the plain copy of a file lies."""
        return self._mirror.path_of(work.session.project or "unknown", work.session.stored_as, name)

    def read(self, work: Work, file: File, start: int, end: int) -> bytes:
        """Captured bytes of a file: of the plain copy, and from the vault what that lacks."""
        data = b"" if file.is_rewritten else self._mirror.read(self.path(work, file.name), start, end)
        if len(data) < end - start:
            vault = self.vault_of(work)
            data += b"".join(vault.read(file.name, file.generation, end, start + len(data)))
        return data

    def captured(self, work: Work, name: str) -> bytes | None:
        """A small file's captured bytes, None where it is not captured or is gone."""
        file = work.files.get(name)
        if file is None or file.deleted_at is not None or file.length > BLOCK_BYTES:
            return None
        return self.read(work, file, 0, file.length)

    def read_tail(self, source: Source, work: Work, file: File) -> None:
        """Read a last line that lacks nothing but its newline: what comes next is another one."""
        if source.append_only(file.name) and file.read_to < file.length:
            tail = self.read(work, file, file.read_to, file.length)
            if is_whole(tail):
                start, file.read_to = file.read_to, file.length
                source.follow(work.session.summary, file.name, tail, start)

    def root(self, work: Work, file: File, tail: bytes | None = None) -> Root:
        """The file's root at its position, continued from the peaks and the bytes behind the last leaf.

        Those are at the end of its `tail`, the 64 KB before the position, for those who have it.
        """
        root = work.roots.get(file.name)
        if root is None or root.size != file.length:
            behind = file.length % Root.LEAF_BYTES
            partial = (
                self._end(work, file, file.length - behind, file.length)
                if tail is None
                else tail[len(tail) - behind :]
            )
            root = work.roots[file.name] = Root.resume(file.length, file.peaks, partial)
        return root

    def end_of_copy(self, work: Work, file: File) -> bytes:
        """What a file's plain copy has of the last 64 KB that were captured."""
        begin = max(0, file.length - TAIL_BYTES)
        return self._mirror.read(self.path(work, file.name), begin, file.length)

    def _end(self, work: Work, file: File, start: int, end: int) -> bytes:
        """Captured bytes behind the last whole leaf, which a checkpoint vouches for from now on."""
        if (
            file.stored < file.length
            or file.is_rewritten
            or self.tails.holds(self.end_of_copy(work, file), file.tail)
        ):
            return self.read(work, file, start, end)
        return b"".join(self.vault_of(work).read(file.name, file.generation, end, start))

    def _root_at(self, work: Work, file: File, length: int) -> str:
        if length == file.length:
            return self.root(work, file).hexdigest()
        # a torn last line is left out: go on from the last whole leaf before it
        leaf = length - length % Root.LEAF_BYTES
        if file.length - file.length % Root.LEAF_BYTES == leaf:
            return Root.resume(length, file.peaks, self._end(work, file, leaf, length)).hexdigest()
        root = Root()
        for start in range(0, length, BLOCK_BYTES):
            root.update(self.read(work, file, start, min(start + BLOCK_BYTES, length)))
        return root.hexdigest()

    # --- the vault

    def vault_of(self, work: Work) -> SessionVault:
        """The session's vault; where it has none, one is begun.

        Raises:
            CopyError: it cannot be used.
        """
        if work.vault is None:
            session = work.session
            work.vault = self._vault.open(session.project or "unknown", session.stored_as)
            work.is_first = work.vault.is_new() and not self._follow(session)
            if work.is_first:
                work.vault.describe(
                    first_seen=session.changed_at,
                    project_key=session.project_key or "",
                    meta={"location": str(session.location), "root": str(session.root)},
                )
                self._store_again(work)
        return work.vault

    def _follow(self, session: Session) -> bool:
        """Bring along what the vault holds from before the session's lines named its project."""
        provisional = self._names.known().get(f"{UNKNOWN}:{session.root}")
        if provisional is None or session.project in {None, provisional}:
            return False
        return self._vault.move(session.stored_as, provisional, session.project or "")

    def _store_again(self, work: Work) -> None:
        """Something removed the session's vault: everything goes into a new one, as one checkpoint."""
        session = work.session
        for file in work.files.values():
            file.generation = file.forked_at = file.stored = 0
            file.snapped = ""
            file.unstored_since = session.changed_at
            work.changed.add(file.name)
        if session.checkpoint is not None and session.dirty_since is None:
            session.dirty_since = session.changed_at

    def store(self, work: Work, file: File, upto: int) -> None:
        """Put the captured bytes before `upto` into the vault.

        Raises:
            CopyMismatch: the plain copy does not have them any more.
            CopyError: they could not be stored.
        """
        copy = self.path(work, file.name)
        vault = self.vault_of(work)
        work.changed.add(file.name)
        while file.stored < upto:
            end = min(file.stored + BLOCK_BYTES, upto)
            data, root = self._fresh(work, file, end)
            data = data or self._mirror.read(copy, file.stored, end)
            if len(data) < end - file.stored:
                raise CopyMismatch(
                    f"The plain copy {copy} has {file.stored + len(data)} of {file.length} bytes.",
                    hint="Something else cut it; it is made again from the session's file.",
                )
            if end < upto and (newline := data.rfind(b"\n")) >= 0:
                data, root = data[: newline + 1], ""
            proves = not work.session.summary.skimmed  # else all of it is proven when its lines are read
            vault.append(file.name, file.generation, file.stored, data, root=root, proves=proves)
            file.stored += len(data)
        if file.stored >= file.length:
            file.unstored_since = None

    def prove(self, work: Work, file: File) -> bool:
        """See that the vault has the bytes that it was given of a file; what it has not is packed anew.

        Returns whether it has them now: where it has not, the plain copy is not what was captured either.

        Raises:
            CopyError: a copy cannot be read, or not be made.
        """
        vault = self.vault_of(work)
        upto = file.stored
        if self._is_proven(work, file):
            return True
        from sessionsync.vault.verify import MIRROR, VAULT  # noqa: PLC0415 - nearly never

        where = f"{VAULT}: {file.name}, bytes 0 to {upto}"
        work.tell("damage_found", where=[where], count=1)
        if not self._is_whole(work, file):
            return False
        file.stored = 0
        self.store(work, file, upto)
        for _ in vault.read(file.name, file.generation, upto):
            pass
        work.tell("damage_healed", bytes=upto, bits=0, sources=[MIRROR])
        return True

    def _is_proven(self, work: Work, file: File) -> bool:
        """Whether the vault has the bytes that it was given of a file."""
        upto, vault, read = file.stored, self.vault_of(work), Root()
        with suppress(CopyMismatch):
            if upto < file.length:  # only the plain copy would tell their root: each segment has one
                for _ in vault.read(file.name, file.generation, upto):
                    pass
                return True
            root = self.root(work, file).hexdigest()
            for block in vault.unproven(file.name, file.generation, upto, root=root):
                read.update(block)
            return read.size == upto and read.hexdigest() == root
        return False

    def _is_whole(self, work: Work, file: File) -> bool:
        """Whether a file's plain copy is what was captured of it."""
        copy, read = self.path(work, file.name), Root()
        for start in range(0, file.length, BLOCK_BYTES):
            read.update(self._mirror.read(copy, start, min(start + BLOCK_BYTES, file.length)))
        is_same = read.size == file.length and read.peaks == file.peaks
        return is_same and self.tails.holds(self.end_of_copy(work, file), file.tail)

    @staticmethod
    def _fresh(work: Work, file: File, end: int) -> tuple[bytes, str]:
        """The bytes that are to be stored next, where they were just read; none where they were not.

        With their root where it is the file's: of all that was hashed of it up to here.
        """
        name, offset, block = work.fresh or ("", 0, b"")
        if name != file.name or not offset <= file.stored < end <= offset + len(block):
            return b"", ""
        root = work.roots.get(name) if not file.stored else None
        known = root.hexdigest() if root is not None and root.size == end else ""
        return block[file.stored - offset : end - offset], known

    # --- checkpoints

    def checkpoint(
        self,
        work: Work,
        trigger: str,
        now: float,
        *,
        alias: str = "",
        main: tuple[int, str] | None = None,
        whole_lines: bool = False,
    ) -> None:
        """Make a checkpoint of what is captured.

        `main` gives length and root of the main file where the checkpoint is a place inside what
        was just read; `whole_lines` leaves out a last line that is not complete yet.
        """
        session = work.session
        source = self._sources[session.ref.source]
        in_step = session.ref in self.in_step
        stored: list[StoredFile] = [] if in_step or source.prunes else self._strays(work, now)
        size, partial = 0, False
        for file in work.files.values():
            length, root = file.length, ""
            if main is not None and file.role is Role.MAIN:
                length, root = main
            elif whole_lines and source.append_only(file.name):
                length = file.read_to
            else:
                self.read_tail(source, work, file)
            self.store(work, file, length)
            partial = partial or length < file.length
            # an agent's own clean-up is never copied as the truth; in a folder that people keep, it may be
            deleted_at = None if source.prunes else file.deleted_at
            says = f"{file.generation}:{length}:{deleted_at}"
            size += length if file.role is not Role.COMPANION and deleted_at is None else 0
            if file.snapped != says or not in_step:
                file.snapped = says
                work.changed.add(file.name)
                root = root or self._root_at(work, file, length)
                stored.append(StoredFile(file.name, file.generation, length, root, deleted_at))
        self.in_step.add(session.ref)
        taken = {checkpoint.id for checkpoint in work.checkpoints}
        if session.id:
            taken |= set(self._catalog.checkpoint_ids(session.id))
        name = checkpoint_id(now, taken)
        summary = session.summary
        self.vault_of(work).snapshot(
            id=name,
            at=now,
            trigger=trigger,
            alias=alias,
            files=stored,
            meta={
                "size": size,
                "title": summary.title,
                "agent_version": summary.agent_version,
                "branch": summary.branch,
                "at": rfc3339(now),
            },
        )
        for checkpoint in work.checkpoints:
            checkpoint.summary = None
        since = min(now, session.dirty_since or now)
        work.checkpoints.append(Checkpoint(name, now, trigger, size, alias, self.frozen(work), since))
        session.checkpoint, session.checkpoint_at = name, now
        session.dirty_since = now if partial else None

    @staticmethod
    def frozen(work: Work) -> Summary:
        """The session's summary as it is now, for a checkpoint to tell."""
        return msgspec.convert(msgspec.to_builtins(work.session.summary), Summary)

    def _strays(self, work: Work, now: float) -> list[StoredFile]:
        """What only the vault says is in the session: it was dropped while the state was behind, or lost."""
        return [
            msgspec.structs.replace(file, deleted_at=now)
            for file in self.vault_of(work).files().values()
            if file.name not in work.files and file.deleted_at is None
        ]
