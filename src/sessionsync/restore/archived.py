"""The copies that the archive holds: one a checkpoint and machine, every checkpoint there ever was.

Works from nothing but an address: a fresh machine and a CI runner have no state.  What the archive says is
believed no more than a comment: names are judged where they are put, bytes are checked when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sessionsync.errors import AmbiguousSession, ArchiveSealed, ArchiveUnreadable, CopyMismatch
from sessionsync.model import Ref, Role
from sessionsync.remote.archive.reader import Head, Reader, Unread, Version
from sessionsync.remote.archive.refs import encode
from sessionsync.remote.archive.tree import ArchivedFile, Manifest
from sessionsync.remote.comments.marker import project_hash
from sessionsync.restore.copies import CopyFile
from sessionsync.restore.known import Known, own_id
from sessionsync.sources.roles import role_of
from sessionsync.vault import StoredFile

# So many sessions are looked into to tell which one is meant.
SHOWN = 20
# Of so many the newest checkpoint is read to find one by what it is about.
SEARCHED = 200


@dataclass(frozen=True, slots=True, eq=False)
class ArchiveCopy:
    """A checkpoint in the archive."""

    version: Version
    origin: str = "archive"
    doubtful: bool = False
    united: bool = False
    author: str = ""
    revision: int = 0

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint's id, as the machine that made it has it."""
        return self.version.manifest.checkpoint.id

    @property
    def alias(self) -> str:
        """Its other name."""
        return self.version.manifest.checkpoint.alias

    @property
    def at(self) -> float:
        """When it was made."""
        return self.version.at

    @property
    def machine(self) -> str:
        """The machine that made it, 8 hexadecimal digits."""
        return self.version.place.machine

    @property
    def exact(self) -> bool:
        """Whether redaction changed no file."""
        return all(file.exact for file in self._present())

    def files(self) -> list[CopyFile]:
        """The files that the session had then."""
        source = self.version.manifest.source
        return [
            CopyFile(file.name, file.length, role_of(source, file.name), _stored(file))
            for file in self._present()
        ]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """Its bytes, each segment checked by its hash, and all of them by the root."""
        try:
            yield from self.version.read(self._named(file))
        except ArchiveUnreadable as problem:
            raise CopyMismatch(str(problem), hint=problem.hint) from problem

    def digest(self, file: CopyFile) -> str | None:
        """SHA-256 of a file; None where it cannot be read whole.  See `Version.digest`."""
        return self.version.digest(self._named(file))

    @property
    def main(self) -> StoredFile | None:
        """The main file's generation and length."""
        source = self.version.manifest.source
        mains = (file for file in self._present() if role_of(source, file.name) is Role.MAIN)
        return next((_stored(file) for file in mains), None)

    def _present(self) -> list[ArchivedFile]:
        try:
            return [file for file in self.version.files() if not file.deleted_at]
        except (CopyMismatch, ArchiveUnreadable):  # nothing of it can be put back: it counts as incomplete
            return []

    def _named(self, file: CopyFile) -> ArchivedFile:
        found = next((each for each in self._present() if each.name == file.name), None)
        if found is None:
            raise ValueError(f"{file.name} is of another copy")
        return found


class ArchiveShelf:
    """The archive's copies.  `now` is Unix seconds; the archive is asked once."""

    name = "archive"

    def __init__(self, reader: Reader, now: float) -> None:
        self.notes: list[str] = []
        """What is there of a session that was asked for, and cannot be read."""
        self.unread: list[Unread] = []
        """Checkpoints of the session whose copies were asked for last that cannot be read."""
        self._reader = reader
        self._now = now

    def copies(self, session: Known) -> list[ArchiveCopy]:
        """Every checkpoint of the session, oldest first; the machine that went on last comes last.

        Raises:
            RemoteError: the archive does not answer.
            CopyError: it holds the session, and nothing of it can be read.
        """
        heads = self._reader.of(session.ref.source, session.ref.session_id, self._now)
        self._reader.fetch(heads, self._now)
        found: list[list[ArchiveCopy]] = []
        self.unread = []
        seen: set[str] = set()
        closed: list[tuple[Head, list[Unread]]] = []
        for head in heads:
            # a machine that took a new name goes on from what it had under the old one
            checkpoints = [each for each in self._reader.checkpoints(head) if each.commit not in seen]
            seen |= {each.commit for each in checkpoints}
            versions = [each for each in checkpoints if isinstance(each, Version)]
            unread = [each for each in checkpoints if isinstance(each, Unread)]
            if versions and not _is_same(versions[-1].manifest, session):
                continue
            self.unread += unread
            if versions:
                found.append([ArchiveCopy(version) for version in versions])
                self._note(head, checkpoints, unread)
            elif unread:
                closed.append((head, unread))
        if closed and not found:
            raise closed[-1][1][-1].problem
        for head, unread in closed:
            self._note(head, unread, unread)
        return [copy for copies in sorted(found, key=lambda copies: copies[-1].at) for copy in copies]

    def _note(self, head: Head, checkpoints: Sequence[Version | Unread], unread: Sequence[Unread]) -> None:
        """Say how many of a machine's checkpoints are passed over, where that is not only damage long ago."""
        is_newest = bool(unread) and unread[-1] is checkpoints[-1]
        if not is_newest and not any(isinstance(each.problem, ArchiveUnreadable) for each in unread):
            return
        problem = unread[-1].problem
        newest = ", the newest among them" if is_newest else ""
        hint = f" {problem.hint}" if isinstance(problem, ArchiveUnreadable) else ""
        self.notes.append(
            f"{len(unread)} of {len(checkpoints)} checkpoints in the archive from machine"
            f" {head.place.machine} cannot be read here{newest}. {problem}{hint}"
        )

    def named(self, text: str, here: str = "") -> Known | None:
        """The session that is called `text`, or begins so; of several that of the project `here`.

        Raises:
            AmbiguousSession: several are meant.
            RemoteError: the archive does not answer.
        """
        source, _, rest = text.partition(":")
        ways: list[Callable[[], list[Head]]] = [
            lambda: self._reader.of("", text, self._now),
            lambda: self._reader.of(source, rest, self._now) if rest else [],
            lambda: self._reader.named(text, self._now) if text else [],
        ]
        for way in ways:
            if heads := way():
                return self._only(text, heads, here)
        return None

    def names(self) -> list[Known]:
        """Every session there, by its id alone: nothing of them is fetched.

        Raises:
            RemoteError: the archive does not answer.
        """
        refs = [Ref(head.place.source, head.place.session_id) for head in self._reader.named("", self._now)]
        return [Known(ref, ref.session_id) for ref in dict.fromkeys(refs)]

    def told(self, fits: Callable[[Manifest], bool]) -> list[Known]:
        """Every session whose newest checkpoint fits.

        Brings the history of them all here: for when nothing nearer knows of one.  Those of which nothing can
        be read are counted in `notes`.

        Raises:
            ArchiveUnreadable: none fits, and of some nothing can be read here.
            AmbiguousSession: there are too many to be looked through.
            RemoteError: the archive does not answer.
        """
        groups: dict[tuple[str, str], list[Head]] = {}
        for head in self._reader.named("", self._now):
            groups.setdefault((head.place.source, head.place.session), []).append(head)
        if len(groups) > SEARCHED:
            raise AmbiguousSession(
                f"The archive holds {len(groups)} sessions, too many to look through.",
                hint="Name one by its id.",
            )
        self._reader.fetch([head for heads in groups.values() for head in heads], self._now)
        newest: list[Version] = []
        closed: list[ArchiveUnreadable] = []
        for heads in groups.values():
            try:
                newest += filter(None, [self._newest(heads)])
            except ArchiveUnreadable as problem:
                closed.append(problem)
        found = [_told(version) for version in newest if fits(version.manifest)]
        if closed:
            summed = _summed(closed, len(groups))
            if not found:
                raise summed
            self.notes.append(f"{summed} {summed.hint}")
        return found

    def _only(self, text: str, heads: Sequence[Head], here: str) -> Known:
        groups: dict[tuple[str, str], list[Head]] = {}
        for head in heads:
            groups.setdefault((head.place.source, head.place.session), []).append(head)
        if len(groups) > SHOWN:
            raise AmbiguousSession(
                f"{text!r} is more than one session: {len(groups)} in the archive begin so.",
                hint="Give more of the id.",
            )
        known = [session for its in groups.values() if (session := self._known(its)) is not None]
        mine = [session for session in known if here and session.project_hash == project_hash(here)]
        meant = mine if len(mine) == 1 else known
        if len(meant) > 1:
            raise AmbiguousSession(
                f"{text!r} is more than one session: {', '.join(session.name for session in meant)}.",
                hint="Name one as source:id.",
            )
        if not meant:
            raise CopyMismatch(
                f"The archive holds {text!r}, and nothing of it can be read.",
                hint="See whether another place has it: `sessiond restore ID --list`.",
            )
        return meant[0]

    def _known(self, heads: Sequence[Head]) -> Known | None:
        """A session as the archive tells of it; None where it is damaged.

        Raises:
            ArchiveUnreadable: nothing of it can be read here.
        """
        self._reader.fetch(heads, self._now)
        version = self._newest(heads)
        return None if version is None else _told(version)

    def _newest(self, heads: Sequence[Head]) -> Version | None:
        """The newest version that can be read; raises as `_known` does."""
        newest: list[Version] = []
        problem: ArchiveUnreadable | None = None
        for head in heads:
            try:
                newest.append(self._reader.readable(head))
            except CopyMismatch:
                continue
            except ArchiveUnreadable as error:
                problem = error
        if not newest and problem is not None:
            raise problem
        return max(newest, key=lambda version: version.at, default=None)


def _told(version: Version) -> Known:
    """A session as a checkpoint of it tells."""
    manifest = version.manifest
    ref = Ref(manifest.source, manifest.session_id)
    return Known(
        ref=ref,
        session_id=own_id(ref, manifest.local_path),
        project_key=manifest.remote,
        project_hash=manifest.project_hash,
        title=manifest.title,
        changed_at=version.at,
    )


def _summed(problems: Sequence[ArchiveUnreadable], total: int) -> ArchiveUnreadable:
    """One problem for all the sessions that cannot be looked at, `total` being in the archive."""
    sealed = [problem for problem in problems if isinstance(problem, ArchiveSealed)]
    of = f"of {total} session{'s' * (total > 1)} in the archive"
    if not sealed:
        first = problems[0]
        return ArchiveUnreadable(f"{len(problems)} {of} cannot be looked at here. {first}", hint=first.hint)
    are = "is" if len(sealed) == 1 else "are"
    return ArchiveSealed(
        f"{len(sealed)} {of} {are} encrypted and cannot be looked at: {sealed[0].why}.",
        hint=sealed[0].hint,
        why=sealed[0].why,
    )


def _stored(file: ArchivedFile) -> StoredFile:
    return StoredFile(file.name, file.generation, file.length, file.root)


def _is_same(manifest: Manifest, session: Known) -> bool:
    """Whether it is this session: an id that a person chose may be another one's elsewhere."""
    if manifest.source != session.ref.source or encode(manifest.session_id) != encode(session.ref.session_id):
        return False
    if session.ref.source == "claude" or not manifest.project_hash:
        return True
    sought = session.project_hash or (project_hash(session.project_key) if session.project_key else "")
    return sought in {"", manifest.project_hash}
