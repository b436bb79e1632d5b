"""What others have archived: heard of with one `ls-remote` a minute, for the whole archive.

Of a session that this machine has, what is newer elsewhere is kept beside its own copies, and weighed as
what a record holds is; of all others only the name of their ref is seen.  At rest nothing is fetched, and
nothing is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import msgspec

from sessionsync.archiving import code_of
from sessionsync.catalog import Catalog, Session
from sessionsync.conflict import OpenArchive
from sessionsync.digests import digest_of
from sessionsync.elsewhere import Archived, Elsewhere, Version, Versions
from sessionsync.errors import (
    ArchiveUnreadable,
    CopyError,
    CopyMismatch,
    NoSuchSession,
    RecordError,
    RedactionFailed,
    RemoteError,
)
from sessionsync.events import Emit
from sessionsync.model import FileEntry, Role, rfc3339
from sessionsync.privacy.gate import Gate
from sessionsync.push import Push
from sessionsync.remote import comments
from sessionsync.remote.archive.reader import Head, Reader
from sessionsync.remote.archive.reader import Version as InArchive
from sessionsync.remote.archive.refs import Place, encode
from sessionsync.remote.archive.tree import ArchivedFile
from sessionsync.remote.comments.marker import project_hash
from sessionsync.remote.comments.record import RecordCritical, by_path
from sessionsync.remote.tiers import tier_of
from sessionsync.retry import Rounds
from sessionsync.sources.folders import readable


class Gather:
    """Listens for what others archive.  Call it from the thread that pushes, which alone keeps versions."""

    def __init__(
        self,
        *,
        archive: OpenArchive,
        name: str,
        push: Callable[[], Push],
        catalog: Catalog,
        elsewhere: Elsewhere,
        gate: Gate,
        limits: tuple[int, int],
        machine: Callable[[], str],
        ready: Callable[[], bool],
        emit: Emit,
    ) -> None:
        """Wire it.

        `name` is the archive's id, `push` gives who weighs, `limits` are the bytes of the first two tiers.
        `ready` says whether the archive is there to be asked.
        """
        self._archive = archive
        self._key = f"gathered {name}"
        self._push = push
        self._catalog = catalog
        self._elsewhere = elsewhere
        self._gate = gate
        self._limits = limits
        self._machine = machine
        self._ready = ready
        self._emit = emit
        self._versions = Versions(catalog.store)
        self._rounds = Rounds()
        self._weighed: dict[tuple[int, str], str] = {}
        self._unreadable: set[str] = set()
        self.gathered_at: float | None = None
        """When the archive was last heard, Unix seconds."""
        self.heard: tuple[Place, ...] = ()
        """What other machines had there then; any thread."""

    def next_at(self, now: float) -> float:
        """When `work` will next have something to do."""
        return self._rounds.due_at(now)

    def soon(self) -> None:
        """Ask at the next call, whatever the schedule says."""
        self._rounds.soon()

    def work(self, now: float) -> bool:
        """Ask once, where it is time; returns whether it was asked.

        Raises:
            StoreError: the state cannot be written.
        """
        if not self._rounds.begin(now) or not self._ready():
            return False
        try:
            self._listen(now)
        except (RemoteError, CopyError) as error:
            self._rounds.failed(now, error.retry_at if isinstance(error, RemoteError) else None)
            self._emit("pull_failed", code=code_of(error), reason=str(error), hint=error.hint)
            return True
        self.gathered_at = now
        return True

    # --- listening

    def _listen(self, now: float) -> None:
        seen: dict[str, str] = {}
        with contextlib.suppress(msgspec.MsgspecError):
            seen = msgspec.json.decode(self._catalog.store.meta(self._key) or "{}", type=dict[str, str])
        with self._archive() as reader:
            heads = [head for head in reader.heads(now) if head.place.machine != self._machine()]
            self.heard = tuple(head.place for head in heads)
            known = self._unreadable
            new = [head for head in heads if head.tip not in {seen.get(head.place.path), *known}]
            mine = self._of_mine(new)
            if mine:
                reader.fetch([head for head, _ in mine], now)
            for head, session in mine:
                if self._take(reader, head, session, now):
                    seen[head.place.path] = head.tip
        if mine:
            there = {head.place.path for head in heads}
            kept = {path: tip for path, tip in seen.items() if path in there}
            self._catalog.store.set_meta(self._key, msgspec.json.encode(kept).decode())
        self._weigh_again(now)

    def _of_mine(self, heads: Sequence[Head]) -> list[tuple[Head, Session]]:
        """Those of sessions that are here and have a checkpoint to be compared with."""
        if not heads:
            return []
        here = {
            (session.ref.source, encode(session.key)): session
            for session in self._catalog.sessions()
            if session.checkpoint is not None
        }
        found = ((head, here.get((head.place.source, head.place.session))) for head in heads)
        return [(head, session) for head, session in found if session is not None]

    def _take(self, reader: Reader, head: Head, session: Session, now: float) -> bool:
        """Keep and weigh the newest of one machine; what is damaged is told of once a tip.

        Returns False where it could not be kept here, as on a full disk: then it is tried again.
        """
        try:
            version = reader.newest(head)
            if not _is_same(version, session):
                return True
            machine = head.place.machine
            known = self._versions.get(session.id, machine)
            own = [file for file in version.files() if not file.deleted_at and file.role != Role.COMPANION]
            # before any is read: a million times the same segment of zeros is quickly pushed
            grown = sum(file.length for file in own) - (known.record.size if known is not None else 0)
            self._elsewhere.check_room(grown)
            record, files = self._record(version, own)
            if known is not None and (
                (known.whole and known.record.sha256 == record.sha256)
                or (known.revision and known.at > record.updated_at)  # else its ref alone was heard, in order
            ):
                return True  # the record has told of it, or of what came after
            author = known.author if known is not None else ""
            kept = self._elsewhere.keep(
                session.stored_as, machine, record, files, author=author, sha256=version.commit
            )
        except (CopyError, RecordError, RedactionFailed) as error:
            self._emit(
                "copy_unavailable", session=session.name, where="archive", code=error.code, reason=str(error)
            )
            if isinstance(error, ArchiveUnreadable):  # until the settings are read again
                self._unreadable.add(head.tip)
            return isinstance(error, CopyMismatch | RecordError | RedactionFailed)
        revision, sha256 = (known.revision, known.sha256) if known is not None else (0, "")
        self._emit(
            "version_kept",
            session=session.name,
            machine=machine,
            host=record.host,
            revision=revision,
            whole=True,
        )
        self._weigh(
            session,
            Version(
                session=session.id,
                machine=machine,
                revision=revision,
                sha256=sha256,
                checkpoint=kept,
                host=record.host,
                author=author,
                at=record.updated_at,
                whole=True,
                record=record,
                seen_at=now,
            ),
            now,
        )
        return True

    def _weigh(self, session: Session, version: Version, now: float) -> None:
        self._weighed[session.id, version.machine] = session.checkpoint or ""
        try:
            self._push().others.weigh(session, version, now)
        except (CopyError, RedactionFailed, NoSuchSession) as error:  # the others are heard all the same
            self._emit(
                "copy_unavailable", session=session.name, where="archive", code=error.code, reason=str(error)
            )

    def _weigh_again(self, now: float) -> None:
        """What was newer elsewhere may be in ours by now, as after a restore."""
        for number, versions in self._versions.newer().items():
            session = self._catalog.session(number)
            for version in versions:
                is_known = self._weighed.get((number, version.machine)) == session.checkpoint
                if not is_known and version.whole and not version.verdict and session.checkpoint is not None:
                    self._weigh(session, version, now)

    def _record(
        self, version: InArchive, own: Sequence[ArchivedFile]
    ) -> tuple[comments.Record, dict[str, Archived]]:
        """A checkpoint in the archive as a record would tell of it, and its own files."""
        manifest = version.manifest
        entries = []
        for file in own:
            name = readable(file.name)
            if version.sealed:  # a record tells of what the gate lets through
                entries.append(digest_of(self._gate, name, version.read(file)).entry)
                continue
            digest = version.digest(file)
            entries.append(
                FileEntry(name, file.length, digest)
                if file.exact
                else FileEntry(name, file.length, None, digest)
            )
        size = sum(file.length for file in own)
        github_only, hybrid = self._limits
        record = comments.Record(
            session_id=readable(manifest.session_id),
            tier=tier_of(size, None, github_only_bytes=github_only, hybrid_bytes=hybrid),
            size=size,
            critical_data=RecordCritical(),
            local_path=manifest.local_path,
            source=manifest.source,
            title=manifest.title,
            host=manifest.host,
            machine=version.place.machine,
            updated_at=rfc3339(version.at),
            sha256=comments.files_hash(entries),
            context=manifest.context,
            files=by_path(entries),
            files_total=len(entries),
        )
        files = {file.name: Archived(version, file) for file in own}
        return record.with_files(comments.record.FILES), files


def _is_same(version: InArchive, session: Session) -> bool:
    """Whether it is this session: an id that a person chose may be another one's elsewhere."""
    manifest = version.manifest
    if encode(manifest.session_id) != encode(session.key):
        return False
    if session.ref.source == "claude" or not manifest.project_hash:
        return True
    key = session.project_key or f"path:{session.root}"
    return project_hash(key) == manifest.project_hash
