"""What a copy is worth: its bytes are read to the end before anybody relies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sessionsync.errors import CopyMismatch
from sessionsync.model import Role
from sessionsync.restore.copies import Copy, CopyFile, VaultCopy, main_of, root_of
from sessionsync.restore.names import grows_by_lines
from sessionsync.vault import Root, SessionVault, StoredFile


@dataclass(slots=True)
class Examined:
    """Size and hash of a copy's main file, and whether all of the copy can be read; None where it cannot."""

    size: int
    sha256: str | None
    complete: bool


@dataclass(slots=True)
class Examiner:
    """Reads copies to the end.  Bytes that several checkpoints share are read once."""

    _digests: dict[tuple[str, int, int, str], str | None] = field(default_factory=dict)

    def examine(self, copies: Sequence[Copy]) -> list[Examined]:
        """What each copy is worth, in their order."""
        self._read_shared([copy for copy in copies if isinstance(copy, VaultCopy)])
        return [self._examine(copy) for copy in copies]

    def _examine(self, copy: Copy) -> Examined:
        main = main_of(copy)
        digests = {file.name: self._digest(copy, file) for file in copy.files()}
        return Examined(
            size=main.size if main is not None else 0,
            sha256=digests[main.name] if main is not None else None,
            complete=bool(digests)
            and not copy.doubtful
            and all(digest is not None for digest in digests.values())
            and (main is not None or not _has_main(copy)),
        )

    def _digest(self, copy: Copy, file: CopyFile) -> str | None:
        from sessionsync.restore.archived import ArchiveCopy  # noqa: PLC0415 - `choice` examines no file

        if isinstance(copy, ArchiveCopy):
            return copy.digest(file)
        key = _key(file.stored) if file.stored is not None else None
        if key in self._digests and key is not None:
            return self._digests[key]
        try:
            digest = hashlib.sha256()
            for block in copy.read(file):
                digest.update(block)
            found: str | None = digest.hexdigest()
        except CopyMismatch:
            found = None
        if key is not None:
            self._digests[key] = found
        return found

    def _read_shared(self, copies: Sequence[VaultCopy]) -> None:
        """Hash each generation of each file in one go, at every length that a checkpoint has of it."""
        lives: dict[tuple[str, int], tuple[SessionVault, dict[tuple[str, int, int, str], StoredFile]]] = {}
        for copy in copies:
            for file in copy.files():
                if (stored := file.stored) is not None:
                    life = lives.setdefault((stored.name, stored.generation), (copy.vault, {}))
                    life[1][_key(stored)] = stored
        for vault, states in lives.values():
            if len(states) > 1:
                self._read_life(vault, sorted(states.values(), key=lambda stored: stored.length))

    def _read_life(self, vault: SessionVault, states: Sequence[StoredFile]) -> None:
        """One read of the longest; a shorter one that is no beginning of it is left to be read alone."""
        longest, root, digest = states[-1], Root(), hashlib.sha256()
        waiting = list(states)
        try:
            for block in vault.read(longest.name, longest.generation, longest.length, root=longest.root):
                view = memoryview(block)
                while waiting and waiting[0].length <= root.size + len(view):
                    part = view[: waiting[0].length - root.size]
                    root.update(bytes(part))
                    digest.update(part)
                    view = view[len(part) :]
                    state = waiting.pop(0)
                    if root.copy().hexdigest() == state.root:
                        self._digests[_key(state)] = digest.hexdigest()
                root.update(bytes(view))
                digest.update(view)
        except CopyMismatch:
            return


def _key(stored: StoredFile) -> tuple[str, int, int, str]:
    return stored.name, stored.generation, stored.length, stored.root


def _has_main(copy: Copy) -> bool:
    """Whether a copy of this kind is expected to have a main file: a transcript's is."""
    return any(grows_by_lines(file.name) for file in copy.files())


def is_continued(copy: Copy, before: Copy) -> bool:
    """Whether `copy` holds all that `before` does: each file that grows is the beginning of one here.

    A session's own files that do not grow must be the same; companions are rewritten at any time and need
    only be there, or not even that where only the session's own files are kept.
    """
    there = {file.name: file for file in copy.files()}
    has_companions = any(file.role is Role.COMPANION for file in there.values())
    for old in before.files():
        new = there.get(old.name)
        if old.role is Role.COMPANION:
            if new is None and has_companions:
                return False
        elif new is None or not _goes_on(copy, new, before, old):
            return False
    return True


def _goes_on(copy: Copy, new: CopyFile, before: Copy, old: CopyFile) -> bool:
    """Whether a file is the same as it was, or, where it grows, began so."""
    if new.size < old.size or (new.size > old.size and not grows_by_lines(old.name)):
        return False
    return root_of(copy, new, old.size) == root_of(before, old, old.size) is not None


def is_same(copy: Copy, other: Copy) -> bool:
    """Whether both hold the same of the session's own files."""
    one, two = (
        {file.name: file for file in each.files() if file.role is not Role.COMPANION}
        for each in (copy, other)
    )
    if {name: file.size for name, file in one.items()} != {name: file.size for name, file in two.items()}:
        return False
    return all(
        root_of(copy, file, file.size) == root_of(other, two[name], file.size) for name, file in one.items()
    )


def redactions(copy: Copy) -> int:
    """How many secrets were taken out of a copy's own files, by what stands there in their place."""
    found = 0
    for file in copy.files():
        if file.role is not Role.COMPANION:
            try:
                found += b"".join(copy.read(file)).count(b"[REDACTED:")
            except CopyMismatch:
                continue
    return found
