"""Where a session can be restored from: every shelf holds copies of it.

    mirror    the newest bytes, plain            one copy
    vault     every checkpoint, verified         one copy a checkpoint
    github    what the comment holds             one copy, see `records`

A further place is one more `Shelf` with its own kind of `Copy`, oldest first; nothing else here, nor in
`choice`, asks where a copy is from but to prefer what is on this disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sessionsync.errors import CopyError, CopyMismatch
from sessionsync.model import Role
from sessionsync.restore.known import Known
from sessionsync.restore.names import grows_by_lines
from sessionsync.sources.lines import LINE_BYTES, is_whole
from sessionsync.sources.roles import role_of
from sessionsync.vault import Mirror, Root, SessionVault, StoredFile, Vault

BLOCK_BYTES = 1024 * 1024
# What the mirror keeps beside a copy: old bytes set aside, and files that are just being written.
_ASIDE = re.compile(r"\.\d{8}T\d{6}Z(-\d+)?\.\d+(\.[^./]{1,31})?$")
_DRAFT = re.compile(r"^\..*\.part$")
_BESIDE = frozenset({"projects", "todos", "tasks", "file-history"})


@dataclass(frozen=True, slots=True)
class CopyFile:
    """A file in a copy; `name` is its path inside the session."""

    name: str
    size: int
    role: Role
    stored: StoredFile | None = None


class Copy(Protocol):
    """One copy of a session.  `at` is Unix seconds; `author` a GitHub login, '' where that is unknown.

    `checkpoint` is None where the copy is no checkpoint but what was there last.  `exact` says that its
    bytes are those that were on the disk, `doubtful` that some of its files may be older or shorter than they
    were.
    """

    @property
    def origin(self) -> str:
        """The shelf's name."""

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint's id."""

    @property
    def alias(self) -> str:
        """Its other name."""

    @property
    def at(self) -> float:
        """When it was made."""

    @property
    def exact(self) -> bool:
        """Whether nothing in it was redacted."""

    @property
    def doubtful(self) -> bool:
        """Whether a damaged journal, or a plain copy that was cut, leaves open what belongs to it."""

    @property
    def united(self) -> bool:
        """Whether it was put together from the versions of several machines."""

    @property
    def main(self) -> StoredFile | None:
        """The main file's generation and length; None where the shelf knows nothing of shrinks."""

    @property
    def author(self) -> str:
        """Who wrote it."""

    @property
    def revision(self) -> int:
        """The record's revision; 0 of copies that are none."""

    def files(self) -> Sequence[CopyFile]:
        """Its files."""

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """A file's bytes, verified as far as the shelf can; CopyMismatch where they are damaged."""


class Shelf(Protocol):
    """A place that holds copies."""

    name: str

    def copies(self, session: Known) -> Sequence[Copy]:
        """Every copy of a session there, the oldest first."""


def main_of(copy: Copy) -> CopyFile | None:
    """The copy's main file; None where only other files of the session were ever seen."""
    return next((file for file in copy.files() if file.role is Role.MAIN), None)


def root_of(copy: Copy, file: CopyFile, length: int) -> str | None:
    """The root of a file's first bytes; None where they cannot be read."""
    if file.stored is not None and file.stored.length == length and file.stored.root:
        return file.stored.root
    root = Root()
    try:
        for block in copy.read(file):
            root.update(block[: length - root.size])
            if root.size >= length:
                break
    except CopyMismatch:
        return None
    return root.hexdigest()


def head_of(copy: Copy, limit_bytes: int) -> bytes:
    """The first bytes of a copy's transcript, or of a subagent's where that is all there is."""
    for file in sorted(copy.files(), key=lambda file: (file.role is not Role.MAIN, file.name)):
        if not file.name.endswith(".jsonl"):
            continue
        data = b""
        try:
            for block in copy.read(file):
                data += block
                if len(data) >= limit_bytes:
                    break
        except CopyMismatch:
            pass
        if data:
            return data[:limit_bytes]
    return b""


# --- the plain copy


@dataclass(frozen=True, slots=True, eq=False)
class MirrorCopy:
    """The plain copy, as it is now.

    `cut` says that it ends before what was captured; `stated` is what the newest checkpoint says of files
    that were not written anew since.
    """

    at: float
    mirror: Mirror
    paths: Mapping[str, tuple[Path, int]]
    source: str
    cut: bool = False
    stated: Mapping[str, StoredFile] = field(default_factory=dict)
    origin: str = "mirror"
    checkpoint: str | None = None
    alias: str = ""
    exact: bool = True
    united: bool = False
    main: StoredFile | None = None
    author: str = ""
    revision: int = 0

    @property
    def doubtful(self) -> bool:
        """Whether it was cut, or bytes are not those of the newest checkpoint; reads all that this has."""
        return self.cut or not all(self._agrees(file) for file in self.files())

    def _agrees(self, file: CopyFile) -> bool:
        stated = self.stated.get(file.name)
        return stated is None or root_of(self, file, stated.length) == stated.root

    def files(self) -> list[CopyFile]:
        """What lies there of the session."""
        return [CopyFile(name, size, role_of(self.source, name)) for name, (_, size) in self.paths.items()]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """The bytes that were there when the copy was found; more may have come since."""
        path, _ = self.paths[file.name]
        for start in range(0, file.size, BLOCK_BYTES):
            end = min(start + BLOCK_BYTES, file.size)
            block = self.mirror.read(path, start, end)
            if len(block) < end - start:
                raise CopyMismatch(
                    f"The plain copy {path} was cut while it was read.", hint="Try again, or --from vault."
                )
            yield block


Seen = Callable[[Known], Mapping[str, int]]
"""How many bytes of each file of a session were seen on the disk, as far as the state knows."""


class MirrorShelf:
    """Layer 1."""

    name = "mirror"

    def __init__(self, mirror: Mirror, vault: Vault, seen: Seen = lambda _session: {}) -> None:
        self._mirror = mirror
        self._vault = vault
        self._seen = seen

    def copies(self, session: Known) -> list[MirrorCopy]:
        """The plain copy, without what the session itself has dropped."""
        found = []
        seen = self._seen(session)
        for project in session.projects:
            stored, stated = self._stored(project, session)
            dropped = {name for name, file in stored.items() if file.deleted_at is not None}
            paths: dict[str, tuple[Path, int]] = {}
            newest = 0.0
            for name, path in self.paths(project, session):
                if name not in dropped:
                    status = path.stat(follow_symlinks=False)
                    paths[name] = path, status.st_size
                    newest = max(newest, status.st_mtime)
            if paths:
                known = {name: file.length for name, file in stored.items()} | dict(seen)
                cut = any(
                    size < known[name] if name in known else self._is_torn(name, path, size)
                    for name, (path, size) in paths.items()
                )
                found.append(MirrorCopy(newest, self._mirror, paths, session.ref.source, cut, stated))
        return sorted(found, key=lambda copy: copy.at)

    def _stored(
        self, project: str, session: Known
    ) -> tuple[Mapping[str, StoredFile], Mapping[str, StoredFile]]:
        """What the vault knows of the session's files, and of which the plain copy goes on from that."""
        try:
            vault = self._vault.open(project, session.ref)
            stored = vault.files()
            newest = {name: vault.stored(name)[0] for name in stored}
        except CopyError:
            return {}, {}
        return stored, {name: file for name, file in stored.items() if file.generation == newest[name]}

    def _is_torn(self, name: str, path: Path, size: int) -> bool:
        """Whether a transcript that only its copy knows of ends within a line, as on a full disk."""
        if not grows_by_lines(name):
            return False
        tail = self._mirror.read(path, max(0, size - LINE_BYTES), size)
        last = tail[tail.rfind(b"\n") + 1 :]
        return bool(last) and not is_whole(last)

    def paths(self, project: str, session: Known) -> Iterator[tuple[str, Path]]:
        """The name of each file of a session, and where its copy lies: the way of `Mirror.path_of` back."""
        ref, sid = session.ref, session.session_id
        folder = self._mirror.path_of(project, ref, "x").parent
        if ref.source == "claude":
            main = self._mirror.path_of(project, ref, f"{sid}.jsonl")
            if main.is_file() and not main.is_symlink():
                yield f"{sid}.jsonl", main
        for above, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                path = Path(above, name)
                if _ASIDE.search(name) or _DRAFT.match(name) or path.is_symlink() or not path.is_file():
                    continue
                inside = path.relative_to(folder).parts
                yield "/".join(inside if ref.source != "claude" else _named(sid, inside)), path


def _named(sid: str, inside: tuple[str, ...]) -> tuple[str, ...]:
    first, *rest = inside
    if first in _BESIDE or first == sid or (first.startswith("agent-") and not rest):
        return inside
    return (sid, *inside)


# --- the vault


@dataclass(frozen=True, slots=True, eq=False)
class VaultCopy:
    """A checkpoint in the vault."""

    checkpoint: str
    at: float
    vault: SessionVault
    source: str
    alias: str = ""
    doubtful: bool = False
    main: StoredFile | None = None
    origin: str = "vault"
    exact: bool = True
    united: bool = False
    author: str = ""
    revision: int = 0

    def files(self) -> list[CopyFile]:
        """The files that the session had then."""
        return [
            CopyFile(name, file.length, role_of(self.source, name), file)
            for name, file in self.vault.files(self.checkpoint).items()
            if file.deleted_at is None
        ]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """Its bytes, each segment checked by its hash, and all of them by the checkpoint's root."""
        stored = _stored(file)
        return self.vault.read(file.name, stored.generation, stored.length, root=stored.root)

    def unproven(self, file: CopyFile) -> Iterator[bytes]:
        """Its bytes, for somebody who computes their root and compares it with that in `file.stored`."""
        stored = _stored(file)
        return self.vault.unproven(file.name, stored.generation, stored.length, root=stored.root)


def _stored(file: CopyFile) -> StoredFile:
    if file.stored is None:
        raise ValueError(f"{file.name} is of another copy")
    return file.stored


class VaultShelf:
    """Layer 3."""

    name = "vault"

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def copies(self, session: Known) -> list[VaultCopy]:
        """Every checkpoint, oldest first; of two project folders the one that was used last comes last."""
        found: list[list[VaultCopy]] = []
        for project in session.projects:
            vault = self._vault.open(project, session.ref)
            main: StoredFile | None = None
            copies = []
            for snapshot in vault.snapshots():
                said = (f for f in snapshot.files if role_of(session.ref.source, f.name) is Role.MAIN)
                main = next(said, main)
                copies.append(
                    VaultCopy(
                        snapshot.id,
                        snapshot.at,
                        vault,
                        session.ref.source,
                        alias=snapshot.alias,
                        doubtful=snapshot.doubtful,
                        main=main,
                    )
                )
            if copies:
                found.append(copies)
        return [copy for copies in sorted(found, key=lambda copies: copies[-1].at) for copy in copies]
