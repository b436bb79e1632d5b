"""The read side: from the refs of an archive back to the bytes of a session.

    heads()      what there is: a head a session and machine, folded ones too       one `ls-remote`
    of(…)        those of one session
    fetch(…)     bring their commits into the cache                                 one `fetch`
    newest(…)    the newest version of a head          versions(…)   all of them, one a checkpoint
    readable(…)  the newest that can be read here      checkpoints(…)  also those that cannot be

Works without any state, on a machine that never saw the session.  Everything that comes from a remote is
hostile: sizes and counts are bounded, each segment is checked by its hash and each file by its root before
anybody relies on it, and names are judged by who writes them to a disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sessionsync.errors import ArchiveUnreadable, CopyMismatch, RemoteError
from sessionsync.model import rfc3339, unix_seconds
from sessionsync.privacy.seal import Unseal, is_sealed
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import FETCHED, Cache
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.refs import Place
from sessionsync.remote.archive.tree import (
    BLOB_BYTES,
    FILES,
    LINES,
    MANIFEST,
    MANIFEST_BYTES,
    PAGE_BYTES,
    ArchivedFile,
    Line,
    Manifest,
    check,
    damaged,
    decode,
    decode_manifest,
    decode_page,
    list_path,
    opened,
    page_path,
    segment_path,
    unpack,
)
from sessionsync.vault import Root


@dataclass(frozen=True, slots=True)
class Head:
    """The newest commit of one session from one machine.  `folded` says that it has no ref of its own."""

    place: Place
    tip: str
    folded: bool = False


class Version:
    """One checkpoint of a session in the archive, its commit in the cache."""

    def __init__(
        self, reader: Reader, place: Place, commit: str, manifest: Manifest, *, sealed: bool
    ) -> None:
        self.place = place
        self.commit = commit
        self.manifest = manifest
        self.sealed = sealed
        """Whether it is encrypted: then its texts and bytes have passed no gate."""
        self._reader = reader
        self._files: list[ArchivedFile] | None = None

    @property
    def at(self) -> float:
        """When the checkpoint was made, Unix seconds; 0.0 where that is not said."""
        try:
            return unix_seconds(self.manifest.checkpoint.at)
        except (ValueError, OverflowError):
            return 0.0

    def files(self) -> list[ArchivedFile]:
        """The session's files, those it had dropped too (`deleted_at`); CopyMismatch where damaged."""
        if self._files is None:
            self._files = self._reader.files(self)
        return self._files

    def lines(self, file: ArchivedFile) -> list[Line]:
        """Where a file's bytes lie: segments in order; CopyMismatch where damaged."""
        return self._reader.lines(self, file)

    def read(self, file: ArchivedFile) -> Iterator[bytes]:
        """A file's bytes, each segment checked before it is given out, and the whole at its end.

        Raises:
            CopyMismatch: something is not as it was stored, or missing.
            ArchiveUnreadable: it is encrypted for others, or a newer version stored it.
        """
        return self._reader.read(self, file)

    def digest(self, file: ArchivedFile) -> str | None:
        """SHA-256 of a file; None where it cannot be read whole.

        Bytes that it shares with the version that was asked for before are not read again.
        """
        return self._reader.digest(self, file)


@dataclass(frozen=True, slots=True)
class Unread:
    """A checkpoint that cannot be read here, and why.  `at` is Unix seconds, 0.0 where that is not said."""

    commit: str
    at: float
    problem: CopyMismatch | ArchiveUnreadable


class Reader:
    """Reads one archive through a cache; `unseal` decrypts.  For one thread; `now` is Unix seconds."""

    def __init__(self, cache: Cache, host: Host, cold: Cold, unseal: Unseal) -> None:
        self._cache = cache
        self._host = host
        self._cold = cold
        self._unseal = unseal
        self._heads: list[Head] | None = None
        self._running: dict[tuple[str, str], tuple[list[Line], hashlib._Hash]] = {}

    # --- what there is

    def heads(self, now: float) -> list[Head]:
        """Every session of every machine; asked of the archive each time.

        Raises:
            RemoteError: it does not answer.
        """
        listed = self._host.refs(now)
        found = {
            place: Head(place, tip)
            for ref, tip in listed.items()
            if not refs.is_cold(ref) and (place := refs.parse(ref)) is not None
        }
        for place, tip in self._cold.index(self._host, listed, now).items():
            found.setdefault(place, Head(place, tip, folded=True))
        return sorted(found.values(), key=lambda head: head.place)

    def of(self, source: str, session_id: str, now: float) -> list[Head]:
        """The heads of one session; '' for any source.  The list is asked for once."""
        if self._heads is None:
            self._heads = self.heads(now)
        sought = refs.encode(session_id)
        return [
            head for head in self._heads if head.place.session == sought and source in {"", head.place.source}
        ]

    def named(self, beginning: str, now: float) -> list[Head]:
        """The heads of all sessions whose id begins so.  The list is asked for once."""
        if self._heads is None:
            self._heads = self.heads(now)
        return [head for head in self._heads if head.place.session_id.startswith(beginning)]

    def fetch(self, heads: Sequence[Head], now: float) -> None:
        """Bring the commits of these heads into the cache, with all that leads to them.

        Raises:
            RemoteError: the archive does not answer, or does not have them any more.
        """
        missing = [head for head in heads if not self._is_here(head)]
        if not missing:
            return
        self._cache.make()
        wanted = {
            head.tip if head.folded else head.place.ref: f"{FETCHED}{head.place.path}" for head in missing
        }
        try:
            self._host.fetch(wanted, self._cache.folder, now)
        except RemoteError:
            if not any(head.folded for head in missing):
                raise
            # some hosts give out by name only: then all that was folded with it comes along
            listed = self._host.refs(now)
            cold = {ref: f"{FETCHED}{ref.removeprefix(refs.PREFIX)}" for ref in listed if refs.is_cold(ref)}
            alive = {there: here for there, here in wanted.items() if there in listed}
            self._host.fetch(alive | cold, self._cache.folder, now)

    def _is_here(self, head: Head) -> bool:
        return self._cache.has(head.tip) and len(self._cache.history(head.tip, most=2)) > 0

    # --- versions

    def newest(self, head: Head) -> Version:
        """The newest version of a head that was fetched.

        Raises:
            CopyMismatch: it is damaged.
            ArchiveUnreadable: it is encrypted for others, or a newer sessiond wrote it.
        """
        return self._version(head, head.tip)

    def versions(self, head: Head) -> list[Version]:
        """Every version of a head that was fetched, oldest first; damaged ones are left out.

        Raises:
            CopyMismatch: none can be read.
            ArchiveUnreadable: none can be read here, the newest for that reason.
        """
        found = self.checkpoints(head)
        versions = [each for each in found if isinstance(each, Version)]
        if not versions and isinstance(found[-1], Unread):
            raise found[-1].problem
        return versions

    def checkpoints(self, head: Head) -> list[Version | Unread]:
        """Every checkpoint of a head that was fetched, oldest first; at least one."""
        found: list[Version | Unread] = []
        for commit in self._cache.history(head.tip) or [head.tip]:
            try:
                found.append(self._version(head, commit))
            except (CopyMismatch, ArchiveUnreadable) as problem:
                found.append(Unread(commit, self._cache.committed_at(commit) or 0.0, problem))
        return found

    def readable(self, head: Head) -> Version:
        """The newest version of a head that can be read here; raises as `versions` does."""
        try:
            return self.newest(head)
        except (CopyMismatch, ArchiveUnreadable):  # what came before it may be in clear, or whole
            return self.versions(head)[-1]

    def _called(self, head: Head, commit: str) -> str:
        """What a checkpoint is called before its manifest has said its id."""
        session = f"{head.place.source}:{head.place.session_id}"
        try:
            return f"a checkpoint of {rfc3339(self._cache.committed_at(commit) or 0.0)} of {session}"
        except (ValueError, OverflowError, OSError):  # no such time: whoever wrote it is no sessiond
            return f"a checkpoint of {session}"

    def _version(self, head: Head, commit: str) -> Version:
        what = self._called(head, commit)
        blob = self._object(f"{commit}:{MANIFEST}", what, MANIFEST_BYTES)
        manifest = decode_manifest(opened(blob, what, MANIFEST_BYTES, self._unseal), what)
        if refs.encode(manifest.session_id) != head.place.session or manifest.source != head.place.source:
            raise damaged(what)
        return Version(self, head.place, commit, manifest, sealed=is_sealed(blob))

    # --- bytes

    def files(self, version: Version) -> list[ArchivedFile]:
        """See `Version.files`."""
        found = [*version.manifest.files]
        what = f"the list of files of {version.manifest.session_id}"
        for page in range(min(version.manifest.listed, 1000)):
            data = self._said(f"{version.commit}:{list_path(page)}", what, MANIFEST_BYTES)
            listed: list[ArchivedFile] = decode(list[ArchivedFile], data, what)
            found += listed
            if len(found) > FILES:  # before more of it is read
                raise damaged(what)
        check(found, what)
        return found

    def lines(self, version: Version, file: ArchivedFile) -> list[Line]:
        """See `Version.lines`."""
        found: list[Line] = []
        position = 0
        for page in range(file.pages):
            data = self._said(f"{version.commit}:{page_path(file.number, page)}", file.name, PAGE_BYTES)
            lines = decode_page(data, file.name)
            if not lines or (page < file.pages - 1 and len(lines) != LINES):
                raise damaged(file.name)
            for line in lines:
                if line.offset != position:
                    raise damaged(file.name)
                position = line.end
            found += lines
        if position != file.length:
            raise damaged(file.name)
        return found

    def read(self, version: Version, file: ArchivedFile) -> Iterator[bytes]:
        """See `Version.read`."""
        root = Root()
        for line in self.lines(version, file):
            data = self._segment(version, file, line)
            root.update(data)
            yield data
        if root.hexdigest() != file.root:
            raise damaged(file.name)

    def digest(self, version: Version, file: ArchivedFile) -> str | None:
        """See `Version.digest`."""
        key = (version.place.path, file.name)
        before, digest = self._running.pop(key, ([], hashlib.sha256()))
        try:
            lines = self.lines(version, file)
            if lines[: len(before)] != before:
                before, digest = [], hashlib.sha256()
            for line in lines[len(before) :]:
                digest.update(self._segment(version, file, line))
        except (CopyMismatch, ArchiveUnreadable):
            return None
        self._running[key] = lines, digest
        return digest.hexdigest()

    def _segment(self, version: Version, file: ArchivedFile, line: Line) -> bytes:
        blob = self._object(f"{version.commit}:{segment_path(line.segment)}", file.name, BLOB_BYTES)
        return unpack(blob, line, file.name, self._unseal)

    def _said(self, name: str, what: str, at_most: int) -> bytes:
        return opened(self._object(name, what, at_most), what, at_most, self._unseal)

    def _object(self, name: str, what: str, at_most: int) -> bytes:
        data = self._cache.read(name, at_most=at_most)
        if data is None:
            raise damaged(what)
        return data
