"""Versions of this machine's sessions that were made elsewhere: kept here, never in anybody's folder.

    <vault>/.sessiond/elsewhere/<machine>/<source>.<session>/      the bytes, as in any vault
    versions                                                       one row a session and machine: the newest

A version is kept before anything is written over it, so whatever becomes of a record, what it held can be
restored.  A record whose tier has no bytes in the comment is kept as what it says.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import msgspec

from sessionsync.divergence import BLOCK_BYTES, Source, whole
from sessionsync.errors import AlreadyRunning, CopyError
from sessionsync.events import Emit, silent
from sessionsync.model import Ref, checkpoint_id, unix_seconds
from sessionsync.remote.archive.reader import Version as InArchive
from sessionsync.remote.archive.tree import ArchivedFile
from sessionsync.remote.comments import Record
from sessionsync.store import Store
from sessionsync.vault import Root, SessionVault, Snapshot, StoredFile, Vault
from sessionsync.vault.vault import OWN

FOLDER = "elsewhere"
PERSON = "person"
"""Stands for a machine where somebody has edited a comment by hand."""

_MACHINE = re.compile(r"[0-9a-f]{8}")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def machine_name(said: str) -> str:
    """A machine's name as a record says it, made fit for a folder: anybody may have written it."""
    return (
        said if _MACHINE.fullmatch(said) or said == PERSON else hashlib.sha256(said.encode()).hexdigest()[:8]
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in a vault, to be read anywhere."""

    vault: SessionVault
    file: StoredFile

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.file.length

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end), verified."""
        file = self.file
        root = file.root if end == file.length else ""
        yield from self.vault.read(file.name, file.generation, end, start, root=root)


class Archived:
    """A file in the archive, read from its beginning to its end; going back begins anew."""

    def __init__(self, version: InArchive, file: ArchivedFile) -> None:
        self._version = version
        self._file = file
        self._blocks: Iterator[bytes] = iter(())
        self._rest = b""
        self._at = file.length + 1

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._file.length

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end), each segment checked by its hash."""
        if start < self._at:
            self._blocks, self._rest, self._at = self._version.read(self._file), b"", 0
        while self._at < end:
            block = self._rest or next(self._blocks, b"")
            if not block:
                return
            first = max(0, min(start - self._at, len(block)))
            last = min(end - self._at, len(block))
            self._rest = block[last:]
            self._at += last
            if first < last:
                yield block[first:last]


@dataclass(frozen=True, slots=True)
class Version:
    """The newest version of a session that was seen of one machine.

    `revision` and `sha256` are of the part 1 that held it, `checkpoint` is what its bytes are kept as,
    `whole` says whether there are any.  `relation` is how ours related to it, `verdict` what was made of it:

        ''         nothing was to be done: it is contained in ours, or ours in it
        united     it is in every record that this machine writes
        kept       ours is the record, it can be restored
        taken      it is the record, as long as ours is still what `ours` says (a hash of its content)
        both       ours is the record, and it has one of its own

    """

    session: int
    machine: str
    revision: int
    sha256: str
    checkpoint: str
    host: str
    author: str
    at: str
    whole: bool
    record: Record
    relation: str = ""
    verdict: str = ""
    ours: str = ""
    seen_at: float = 0.0

    @property
    def is_enough(self) -> bool:
        """Whether it holds all of ours, and nobody has said that ours is to be written over it."""
        return self.relation in {"equal", "theirs_extends"} and not self.verdict


_VERSION = [f.name for f in fields(Version)]


class Versions:
    """The newest version of each machine, in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def of(self, session: int) -> list[Version]:
        """Every machine's, in the order of their names."""
        rows = self.store.rows(
            f"SELECT {', '.join(_VERSION)} FROM versions WHERE session = ? ORDER BY machine", (session,)
        )
        return [_version(row) for row in rows]

    def get(self, session: int, machine: str) -> Version | None:
        """One machine's."""
        return next((version for version in self.of(session) if version.machine == machine), None)

    def save(self, version: Version) -> None:
        """Insert or replace."""
        values = [getattr(version, name) for name in _VERSION]
        values[_VERSION.index("whole")] = int(version.whole)
        values[_VERSION.index("record")] = _encode(version.record).decode()
        marks = ", ".join("?" * len(values))
        self.store.execute(
            f"INSERT OR REPLACE INTO versions ({', '.join(_VERSION)}) VALUES ({marks})", tuple(values)
        )

    def judge(self, version: Version, verdict: str, ours: str = "") -> Version:
        """Keep what was made of a version."""
        judged = replace(version, verdict=verdict, ours=ours)
        self.save(judged)
        return judged

    def newer(self) -> dict[int, list[Version]]:
        """The versions that hold what ours do not, by session.

        What is in every record of this machine is newer no more, nor what a person has decided against.
        """
        found: dict[int, list[Version]] = {}
        rows = self.store.rows(
            f"SELECT {', '.join(_VERSION)} FROM versions WHERE relation IN ('theirs_extends', 'diverged')"
            " AND verdict <> 'united' AND (verdict NOT IN ('kept', 'both') OR EXISTS ("
            " SELECT 1 FROM conflicts WHERE conflicts.session = versions.session AND chosen = ''))"
        )
        for row in rows:
            version = _version(row)
            found.setdefault(version.session, []).append(version)
        return found


def _version(row: tuple[object, ...]) -> Version:
    values = dict(zip(_VERSION, row, strict=True))
    values["whole"] = bool(values["whole"])
    values["record"] = _decode(str(values["record"]))
    return Version(**values)  # type: ignore[arg-type]


class Kept:
    """A version in the vault: `snapshot` says when it was made, `meta` by whom."""

    def __init__(self, vault: SessionVault, machine: str, snapshot: Snapshot) -> None:
        self.vault = vault
        self.machine = machine
        self.snapshot = snapshot

    @property
    def files(self) -> dict[str, Stored]:
        """Its files."""
        return {
            name: Stored(self.vault, file)
            for name, file in self.vault.files(self.snapshot.id).items()
            if file.deleted_at is None
        }


class Elsewhere:
    """The bytes of versions from elsewhere.  Writing belongs to one thread; reading to anyone."""

    def __init__(self, vault_dir: Path, emit: Emit = silent) -> None:
        self._folder = vault_dir / OWN / FOLDER
        self._vault = Vault(self._folder, emit)

    @property
    def vault(self) -> Vault:
        """The vault that holds them, for who looks after it; a project there is a machine."""
        return self._vault

    def check_room(self, size: int) -> None:
        """See that there is room for so many bytes, which somebody else says that there are.

        Raises:
            CopyError: there is not.
        """
        folder = self._folder
        free = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
        if size > free:
            raise CopyError(
                f"A version from elsewhere says that it holds {size:,} bytes more, with room for {free:,}.",
                hint=f"If that is true, make room on the disk of {folder}; it is looked at again.",
            )

    def keep(
        self, ref: Ref, machine: str, record: Record, files: Mapping[str, Source], *, author: str, sha256: str
    ) -> str:
        """Keep a version, once; returns the checkpoint that it is kept as.  Bytes it shares cost nothing.

        Raises:
            CopyError: it could not be kept.
        """
        vault = self._vault.open(machine, ref)
        for snapshot in vault.snapshots():
            if snapshot.meta.get("sha256") == sha256:
                return snapshot.id
        at = _moment(record.updated_at)
        name = checkpoint_id(at, (snapshot.id for snapshot in vault.snapshots()))
        meta = {
            "machine": machine,
            "host": record.host,
            "author": author,
            "title": record.title,
            "revision": record.revision,
            "sha256": sha256,
            "record": msgspec.to_builtins(record),
        }
        try:
            with self._vault.lock():
                if vault.is_new():
                    vault.describe(first_seen=at, project_key="", meta={})
                stored = [_store(vault, path, source) for path, source in sorted(files.items())]
                gone = [
                    StoredFile(file.name, file.generation, file.length, file.root, at)
                    for file in vault.files().values()
                    if file.deleted_at is None and file.name not in files
                ]
                vault.snapshot(id=name, at=at, trigger=FOLDER, alias="", files=[*stored, *gone], meta=meta)
        except AlreadyRunning as error:
            raise CopyError(
                f"The versions from elsewhere are being written: {error}", hint=error.hint
            ) from error
        return name

    def files(self, ref: Ref, machine: str, checkpoint: str) -> dict[str, Stored]:
        """The files of a version; none where it was kept without, or is kept no more."""
        found = (kept for kept in self.of(ref, machine) if kept.snapshot.id == checkpoint)
        return next((kept.files for kept in found), {})

    def of(self, ref: Ref, machine: str = "") -> list[Kept]:
        """Every version of a session that is kept, of one machine or of all, the oldest first."""
        try:
            machines = [machine] if machine else sorted(path.name for path in self._folder.iterdir())
        except OSError:
            return []
        found = []
        for one in machines:
            if _MACHINE.fullmatch(one) or one == PERSON:
                vault = self._vault.open(one, ref)
                found += [Kept(vault, one, snapshot) for snapshot in vault.snapshots()]
        return sorted(found, key=lambda kept: kept.snapshot.at)


def _store(vault: SessionVault, name: str, source: Source) -> StoredFile:
    """Store a file; what it shares with the version before is not stored again."""
    known = vault.files().get(name)
    newest, _ = vault.stored(name)
    generation, start = 0, 0
    if known is not None:
        start = _shared(Stored(vault, known), source)
        generation = known.generation
        if start < known.length:
            generation = newest + 1
            vault.fork(name, generation, known.generation, start)
    root = Root()
    for at in range(0, source.size, BLOCK_BYTES):
        data = b"".join(source.read(at, min(at + BLOCK_BYTES, source.size)))
        root.update(data)
        if at + len(data) > start:
            begin = max(at, start)
            vault.append(name, generation, begin, data[begin - at :])
    return StoredFile(name, generation, source.size, root.hexdigest())


def _shared(one: Source, two: Source) -> int:
    """How many bytes both begin with."""
    at, most = 0, min(one.size, two.size)
    while at < most:
        end = min(at + BLOCK_BYTES, most)
        a, b = b"".join(one.read(at, end)), b"".join(two.read(at, end))
        if a != b:
            return at + next(n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
        at = end
    return at


def _moment(text: str) -> float:
    try:
        return unix_seconds(text)
    except (ValueError, OverflowError):
        return 0.0


def contents(files: Mapping[str, Source]) -> list[tuple[str, bytes]]:
    """Names and bytes, in order."""
    return [(name, whole(source)) for name, source in sorted(files.items())]
