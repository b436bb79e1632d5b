"""A transcript that went on in two places: a copy that holds what either has, see `divergence`.

Made by who reads, and written into the agent's folder at a person's word alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from sessionsync.divergence import BLOCK_BYTES, Comparison, Plain, Relation, Source, compare
from sessionsync.elsewhere import Stored
from sessionsync.errors import CopyMismatch
from sessionsync.model import Role
from sessionsync.restore.copies import Copy, CopyFile, MirrorCopy, VaultCopy
from sessionsync.restore.names import grows_by_lines
from sessionsync.vault import StoredFile


class UnitedCopy:
    """The union of a copy here and one from elsewhere; of companions those here, and what only theirs has."""

    checkpoint: str | None = None
    alias = ""
    united = True
    main: StoredFile | None = None

    def __init__(self, ours: Copy, theirs: Copy) -> None:
        self.ours = ours
        self.theirs = theirs
        self.origin = f"{ours.origin}+{theirs.origin}"
        self.at = max(ours.at, theirs.at)
        self.exact = ours.exact and theirs.exact
        self.doubtful = ours.doubtful or theirs.doubtful
        self.author = theirs.author
        self.revision = theirs.revision

    @cached_property
    def comparison(self) -> Comparison:
        """How the session's own files relate, and their union.

        Raises:
            CopyMismatch: one of the two is damaged.
        """
        ours, theirs = _own(self.ours), _own(self.theirs)
        return compare(ours, theirs, grows=grows_by_lines, machine="ours", their_machine="theirs")

    @property
    def is_theirs(self) -> bool:
        """Whether the union is theirs, byte for byte."""
        theirs, union = _own(self.theirs), self.comparison.united
        return union.keys() == theirs.keys() and all(_same(union[name], theirs[name]) for name in union)

    def files(self) -> list[CopyFile]:
        """The union's files, then companions."""
        roles = {file.name: file.role for copy in (self.theirs, self.ours) for file in copy.files()}
        own = [
            CopyFile(name, source.size, roles.get(name, Role.PART))
            for name, source in self.comparison.united.items()
        ]
        return own + [file for file, _ in self._companions().values()]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """A file's bytes."""
        if (source := self.comparison.united.get(file.name)) is not None:
            for start in range(0, source.size, BLOCK_BYTES):
                yield from source.read(start, min(start + BLOCK_BYTES, source.size))
            return
        found, copy = self._companions()[file.name]
        yield from copy.read(found)

    def _companions(self) -> dict[str, tuple[CopyFile, Copy]]:
        return {
            file.name: (file, copy)
            for copy in (self.theirs, self.ours)
            for file in copy.files()
            if file.role is Role.COMPANION
        }


def united(ours: Copy, theirs: Copy) -> UnitedCopy | None:
    """The union of two copies of a transcript; None where theirs has nothing new, or one is damaged."""
    union = UnitedCopy(ours, theirs)
    try:
        relation = union.comparison.relation
    except CopyMismatch:
        return None
    return None if relation in {Relation.EQUAL, Relation.OURS_EXTENDS} else union


def _own(copy: Copy) -> dict[str, Source]:
    """The session's own files in a copy."""
    return {file.name: _source(copy, file) for file in copy.files() if file.role is not Role.COMPANION}


def _same(one: Source, two: Source) -> bool:
    if one.size != two.size:
        return False
    starts = range(0, one.size, BLOCK_BYTES)
    ends = (min(start + BLOCK_BYTES, one.size) for start in starts)
    return all(
        b"".join(one.read(start, end)) == b"".join(two.read(start, end))
        for start, end in zip(starts, ends, strict=True)
    )


def _source(copy: Copy, file: CopyFile) -> Source:
    """A file's bytes, to be read anywhere; what cannot be is in memory."""
    if isinstance(copy, VaultCopy) and file.stored is not None:
        return Stored(copy.vault, file.stored)
    if isinstance(copy, MirrorCopy):
        return _Mirrored(copy, file)
    return Plain(b"".join(copy.read(file)))


class _Mirrored:
    """A file of the plain copy."""

    def __init__(self, copy: MirrorCopy, file: CopyFile) -> None:
        self._copy = copy
        self._path, self.size = copy.paths[file.name]

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end)."""
        data = self._copy.mirror.read(self._path, start, end)
        if len(data) < end - start:
            raise CopyMismatch(f"The plain copy {self._path} was cut while it was read.", hint="Try again.")
        yield data
