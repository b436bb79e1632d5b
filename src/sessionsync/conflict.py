"""What becomes of a session that was changed elsewhere as well.

    look    what others have written since is kept, before anything is written over it
    weigh   how ours relates to it:
                the same, or theirs goes on from ours     theirs stays the record
                ours goes on from theirs                  ours becomes the record
                a transcript that went two ways           the union becomes the record: merged, no conflict
                anything else                             ours becomes the record, theirs can be restored,
                                                          and one notice tells of it: a conflict
    draft   what is to be written, with all that was decided

A conflict is opened once a fork point, and committed before anything is written.  While one is open, more
versions of the session open no other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec

from sessionsync.catalog import Session
from sessionsync.divergence import (
    BLOCK_BYTES,
    Comparison,
    Plain,
    Relation,
    Source,
    compare,
    merge_critical,
)
from sessionsync.elsewhere import (
    PERSON,
    Archived,
    Elsewhere,
    Stored,
    Version,
    Versions,
    contents,
    machine_name,
)
from sessionsync.errors import (
    ArchiveTooNew,
    CopyMismatch,
    Lagging,
    Missing,
    RecordError,
    RemoteError,
    UsageError,
)
from sessionsync.events import Emit
from sessionsync.model import CriticalData, FileEntry, Role, Summary, Tier, rfc3339
from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.queue import Queue
from sessionsync.remote import comments
from sessionsync.remote.archive.reader import Reader
from sessionsync.remote.comments.record import ENTRIES, ENTRIES_LOCAL_PRIMARY, RecordCritical
from sessionsync.remote.github import Comment, Repository
from sessionsync.remote.issues import Issues, Whose, critical_hash
from sessionsync.remote.placements import Held, Sent
from sessionsync.remote.tiers import tier_of
from sessionsync.store import Store
from sessionsync.vault import Vault

MERGED = "merged"
WAYS = ("local", "remote", "both", "merge")
OpenArchive = Callable[[], AbstractContextManager[Reader]]
"""Opens the archive for reading, which asks it anew."""
NOTICE = "notice"
"""The operation that tells of a conflict; its subject is the session."""

# How many combinations of doubled parts are tried for a whole record.
_TRIES = 64
_FLIPPED = {"local": "remote", "remote": "local"}
_decode_critical = msgspec.json.Decoder(CriticalData).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Ours:
    """This machine's version: a checkpoint's own files, the draft of its record, and the hash of that."""

    files: Mapping[str, Source]
    draft: comments.Draft
    content: str
    roles: Mapping[str, Role]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two versions of a session, neither of which goes on from the other.

    `kind` is `transcript`, `files` or `edit`, `machine` whose the other one is; `local` and `remote` tell of
    both.  `chosen` is '' while it is open, `merged` where nobody had to choose.  `notice` is the comment
    that tells of it, `told` the state that it tells.
    """

    id: int
    session: int
    fork: str
    kind: str
    since: float
    machine: str
    local: dict[str, Any]
    remote: dict[str, Any]
    chosen: str = ""
    chosen_at: float | None = None
    notice: int = 0
    told: str = ""

    @property
    def is_open(self) -> bool:
        """Whether a person may still choose."""
        return not self.chosen

    @property
    def state(self) -> str:
        """What the notice has to say, from the view of the machine whose version became the record."""
        if self.is_open:
            return comments.OPEN
        return self.chosen if self.won else _FLIPPED.get(self.chosen, self.chosen)

    @property
    def won(self) -> bool:
        """Whether ours is the version that became the record at first."""
        return bool(self.local.get("won", True))


_CONFLICT = [f.name for f in fields(Conflict)]


class Conflicts:
    """Conflicts and amendments in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def all(self, *, settled: bool = False) -> list[Conflict]:
        """Those that are open, or all, the oldest first."""
        return self._rows("1" if settled else "chosen = ''", ())

    def of(self, session: int) -> Conflict | None:
        """The session's open conflict; there is never more than one."""
        return next(iter(self._rows("session = ? AND chosen = ''", (session,))), None)

    def get(self, session: int, fork: str) -> Conflict | None:
        """The conflict of a fork point."""
        return next(iter(self._rows("session = ? AND fork = ?", (session, fork))), None)

    def untold(self, session: int) -> list[Conflict]:
        """Those whose notice does not say what is true."""
        found = self._rows("session = ? AND chosen <> ?", (session, MERGED))
        return [conflict for conflict in found if conflict.told != conflict.state]

    def open_count(self) -> int:
        """How many are open."""
        row = self.store.row("SELECT count(*) FROM conflicts WHERE chosen = ''")
        return int(row[0]) if row else 0

    def settled_count(self, session: int) -> int:
        """How many of a session a person has settled."""
        row = self.store.row(
            "SELECT count(*) FROM conflicts WHERE session = ? AND chosen NOT IN ('', ?)", (session, MERGED)
        )
        return int(row[0]) if row else 0

    def add(self, conflict: Conflict) -> bool:
        """Insert; False where this fork point is known."""
        values = [_plain(getattr(conflict, name)) for name in _CONFLICT[1:]]
        marks = ", ".join("?" * len(values))
        return bool(
            self.store.execute(
                f"INSERT OR IGNORE INTO conflicts ({', '.join(_CONFLICT[1:])}) VALUES ({marks})",
                tuple(values),
            )
        )

    def save(self, conflict: Conflict) -> None:
        """Update."""
        values = [_plain(getattr(conflict, name)) for name in _CONFLICT[1:]]
        assignments = ", ".join(f"{name} = ?" for name in _CONFLICT[1:])
        self.store.execute(f"UPDATE conflicts SET {assignments} WHERE id = ?", (*values, conflict.id))

    def _rows(self, condition: str, parameters: tuple[object, ...]) -> list[Conflict]:
        rows = self.store.rows(
            f"SELECT {', '.join(_CONFLICT)} FROM conflicts WHERE {condition} ORDER BY since, id", parameters
        )
        found = []
        for row in rows:
            values = dict(zip(_CONFLICT, row, strict=True))
            values["local"], values["remote"] = json.loads(values["local"]), json.loads(values["remote"])
            found.append(Conflict(**values))
        return found

    # --- what a person has changed in a record, where that was chosen

    def amend(self, session: int, base: CriticalData, theirs: CriticalData) -> None:
        """From now on the record's critical data is theirs, with what becomes of ours since `base`."""
        self.store.execute(
            "INSERT OR REPLACE INTO amendments (session, base, theirs) VALUES (?, ?, ?)",
            (session, _encode(_critical(base)).decode(), _encode(_critical(theirs)).decode()),
        )

    def amended(self, session: int, ours: CriticalData) -> CriticalData:
        """Our critical data with what was chosen of a person's."""
        row = self.store.row("SELECT base, theirs FROM amendments WHERE session = ?", (session,))
        if row is None:
            return ours
        return merge_critical(_decode_critical(row[0]), ours, _decode_critical(row[1]))


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _critical(data: CriticalData) -> CriticalData:
    """Critical data alone, as a record's has more."""
    return CriticalData(data.decisions, data.checkpoints, data.current_phase, data.next_steps)


class Judge:
    """Looks, weighs and drafts.  Call it from the thread that pushes."""

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        vault: Vault,
        elsewhere: Elsewhere,
        issues: Issues,
        gate: Gate,
        limits: tuple[int, int],
        host: str,
        machine: str,
        emit: Emit,
        archive: OpenArchive | None = None,
    ) -> None:
        self._archive = archive
        self.conflicts = Conflicts(store)
        self.versions = Versions(store)
        self._store = store
        self._queue = queue
        self._vault = vault
        self._elsewhere = elsewhere
        self._issues = issues
        self._gate = gate
        self._limits = limits
        self._host = host
        self._machine = machine
        self._emit = emit

    # --- look

    def look(
        self,
        repository: Repository,
        whose: Whose,
        session: Session,
        *,
        patient: bool,
        held: Sequence[Held] | None = None,
    ) -> dict[int, Version]:
        """The versions of others that the record holds now, each kept; by the comment of part 1.

        Raises:
            Lagging: one is just being written.
            CopyError: one could not be kept.
        """
        found = {}
        held = self._issues.held(repository, whose) if held is None else held
        for first in held:
            if first.part == 1 and (
                version := self._version(repository, whose, session, first, held, patient=patient)
            ):
                found[first.id] = version
        return found

    def _version(
        self,
        repository: Repository,
        whose: Whose,
        session: Session,
        first: Held,
        held: Sequence[Held],
        *,
        patient: bool,
    ) -> Version | None:
        """The version in one comment; None where it is our own, or says nothing."""
        machine = machine_name(first.machine) if first.machine else ""
        if machine in {"", self._machine}:
            edited = not first.intact and whose.sent is not None and first.critical
            if not edited or whose.sent is None or first.critical in {"", whose.sent.critical}:
                return None
            return self._edited(session, first)
        known = self.versions.get(session.id, machine)
        if known is not None and (known.sha256 == first.sha256 or _says_the_same(known, first)):
            if not first.intact and first.critical not in {"", critical_hash(known.record)}:
                return self._edited(session, first)
            return replace(known, revision=first.revision, sha256=first.sha256)
        parts = self._parts(repository, first, held)
        record, files, problem = _assembled(parts, first)
        if record is None:
            return None
        if files is None and record.tier is Tier.GITHUB_ONLY and patient and first.intact:
            raise Lagging(
                f"The record of {whose.name} is just being written by {record.host}: {problem}",
                hint="Nothing to do: it is read again.",
            )
        kept, is_whole = self._keep(whose, session, machine, first, record, files, patient=patient)
        self._emit(
            "version_kept",
            session=session.name,
            machine=machine,
            host=record.host,
            revision=first.revision,
            whole=is_whole,
        )
        return Version(
            session=session.id,
            machine=machine,
            revision=first.revision,
            sha256=first.sha256,
            checkpoint=kept,
            host=record.host,
            author=first.author,
            at=record.updated_at,
            whole=is_whole,
            record=record,
            seen_at=self._issues.now,
        )

    def _keep(
        self,
        whose: Whose,
        session: Session,
        machine: str,
        first: Held,
        record: comments.Record,
        files: Mapping[str, bytes] | None,
        *,
        patient: bool,
    ) -> tuple[str, bool]:
        """Keep a version, its bytes from the comment, else from the archive; says whether there are any."""

        def keep(found: Mapping[str, Source]) -> str:
            return self._elsewhere.keep(
                session.stored_as, machine, record, found, author=first.author, sha256=first.sha256
            )

        if files is not None or record.tier is Tier.GITHUB_ONLY or self._archive is None:
            return keep(_plain_files(files)), files is not None
        now = self._issues.now
        try:
            with self._archive() as reader:
                heads = [
                    head
                    for head in reader.of(session.ref.source, session.key, now)
                    if head.place.machine == machine
                ]
                if not heads:
                    return keep({}), False
                reader.fetch(heads, now)
                version = reader.newest(heads[0])
                if rfc3339(version.at) >= record.updated_at:
                    own = [f for f in version.files() if not f.deleted_at and f.role != Role.COMPANION]
                    return keep({file.name: Archived(version, file) for file in own}), True
            problem = "it is not there yet"
        except (RemoteError, CopyMismatch, ArchiveTooNew) as error:
            problem = str(error)
        if patient:
            raise Lagging(
                f"The archive's copy of {whose.name} from {record.host} cannot be read: {problem}",
                hint="Nothing to do: it is read again.",
            )
        return keep({}), False

    def _edited(self, session: Session, first: Held) -> Version | None:
        """What a person has made of a record's critical data."""
        known = self.versions.get(session.id, PERSON)
        if known is not None and known.sha256 == first.critical:
            return known
        found, _ = self._issues.github.comment(first.id)
        part = comments.parse(found.text) if found is not None else None
        if part is None or part.record is None:
            return None
        record = replace_record(part.record, host=found.author if found is not None else "")
        kept = self._elsewhere.keep(
            session.stored_as, PERSON, record, {}, author=first.author, sha256=first.critical
        )
        return Version(
            session=session.id,
            machine=PERSON,
            revision=first.revision,
            sha256=first.critical,
            checkpoint=kept,
            host=record.host,
            author=first.author,
            at=first.updated_at,
            whole=False,
            record=record,
            seen_at=self._issues.now,
        )

    def _parts(
        self, repository: Repository, first: Held, held: Sequence[Held]
    ) -> list[tuple[Held, comments.Part]]:
        """The parts of one revision as they are now."""
        found = []
        for part in held:
            if part.revision != first.revision or part.parts != first.parts:
                continue
            if part.part == 1 and part.id != first.id:
                continue
            try:
                comment, _ = self._issues.github.comment(part.id)
            except Missing:
                continue
            if (
                comment is not None
                and (now := self._issues.hold(repository, part.issue, comment)) is not None
            ):
                parsed = comments.parse(comment.text)
                found += [(now, parsed)] if parsed is not None else []
        return found

    # --- weigh

    def weigh(self, session: Session, ours: Ours, version: Version, sent: Sent | None) -> Version:
        """Decide what becomes of a version, once; a conflict is opened where it must be."""
        known = self.versions.get(session.id, version.machine)
        if known is not None and known.checkpoint == version.checkpoint and known.verdict:
            is_stale = known.verdict == "taken" and known.ours != ours.content
            if not is_stale:
                self.versions.save(version)
                return version
        if version.machine == PERSON:
            return self._open(session, ours, version, "edit", version.sha256)
        relation, comparison = self._relate(session, ours, version, sent)
        version = replace(version, relation=relation.value, verdict="", ours="")
        if relation is not Relation.DIVERGED:
            self.versions.save(version)
            return version
        if comparison is not None and session.ref.source == "claude" and not comparison.differing:
            return self._unite(session, ours, version, comparison)
        detail = f"{version.record.sha256} {critical_hash(version.record)}"
        kind = "transcript" if session.ref.source == "claude" else "files"
        return self._open(session, ours, version, kind, detail)

    def note(self, session: Session, ours: Ours, version: Version) -> None:
        """Keep how ours relates to a version, and decide nothing: nothing is to be written."""
        relation, _ = self._relate(session, ours, version, None)
        self.versions.save(replace(version, relation=relation.value))

    def _relate(
        self, session: Session, ours: Ours, version: Version, sent: Sent | None
    ) -> tuple[Relation, Comparison | None]:
        record = version.record
        if record.sha256 and record.sha256 == ours.draft.record.sha256:
            return Relation.EQUAL, None
        comparison = None
        relation: Relation | None
        if version.whole:
            comparison = self._compare(self._standing(session, ours, but=version.machine), session, version)
            relation = comparison.relation
        else:
            relation = self._by_hashes(ours, record)
        if relation in {None, Relation.DIVERGED}:
            if self._has_been(session, ours, version):
                return Relation.OURS_EXTENDS, comparison
            united = comparison is not None and session.ref.source == "claude" and not comparison.differing
            is_newer = sent is not None and version.revision > sent.revision > 0
            if is_newer and sent is not None and sent.content == ours.content and not united:
                # they have seen ours, which is what it was then
                return Relation.THEIRS_EXTENDS, comparison
        return relation or Relation.DIVERGED, comparison

    def _compare(self, files: Mapping[str, Source], session: Session, version: Version) -> Comparison:
        theirs = self._elsewhere.files(session.stored_as, version.machine, version.checkpoint)
        return compare(
            files,
            theirs,
            grows=lambda name: name.endswith(".jsonl"),
            machine=self._machine,
            their_machine=version.machine,
        )

    def _standing(self, session: Session, ours: Ours, *, but: str = "") -> Mapping[str, Source]:
        """All that this machine writes into the record: its own, and what it was united with."""
        files = ours.files
        for version in self.versions.of(session.id):
            if version.verdict == "united" and version.whole and version.machine != but:
                files = self._compare(files, session, version).united
        return files

    def _by_hashes(self, ours: Ours, record: comments.Record) -> Relation | None:
        """How ours relates to a record without bytes; None where nobody can tell."""
        grown = len(ours.files) > record.files_total
        for entry in record.files:
            source = ours.files.get(entry.path)
            if source is None or source.size < entry.size:
                return None
            if source.size > entry.size and not entry.path.endswith(".jsonl"):
                return None
            if not _begins_with(self._gate, source, entry):
                return None
            grown = grown or source.size > entry.size
        if not record.files:
            return None
        return Relation.OURS_EXTENDS if grown else Relation.EQUAL

    def _has_been(self, session: Session, ours: Ours, version: Version) -> bool:
        """Whether ours was once what theirs is: then it has moved on from there."""
        if not version.whole:
            return False
        theirs = self._elsewhere.files(session.stored_as, version.machine, version.checkpoint)
        sizes = {name: file.size for name, file in theirs.items()}
        vault = self._vault.open(session.project or "unknown", session.stored_as)
        for snapshot in reversed(vault.snapshots()):
            then: dict[str, Source] = {
                name: Stored(vault, file)
                for name, file in vault.files(snapshot.id).items()
                if file.deleted_at is None and ours.roles.get(name, Role.COMPANION) is not Role.COMPANION
            }
            if then.keys() != sizes.keys():
                continue
            if self._compare(then, session, version).relation is Relation.EQUAL:
                return True
        return False

    def _unite(self, session: Session, ours: Ours, version: Version, comparison: Comparison) -> Version:
        """Put a transcript's other branch into every record from now on: counted once a fork point."""
        shared = ",".join(
            f"{name}:{getattr(source, 'shared', 0)}"
            for name, source in sorted(comparison.united.items())
            if getattr(source, "relation", None) is Relation.DIVERGED
        )
        conflict = self._conflict(session, ours, version, "transcript", shared)
        with self._store.transaction():
            version = self.versions.judge(version, "united")
            is_new = self.conflicts.add(replace(conflict, chosen=MERGED, chosen_at=self._issues.now))
        if is_new:
            self._emit("session_united", session=session.name, machine=version.machine, host=version.host)
        return version

    def _open(self, session: Session, ours: Ours, version: Version, kind: str, detail: str) -> Version:
        """Ours becomes the record; who wants it otherwise is told how."""
        # what was settled before is another fork point
        detail = f"{detail} {self.conflicts.settled_count(session.id)}"
        conflict = self._conflict(session, ours, version, kind, detail)
        standing = self.conflicts.of(session.id)
        with self._store.transaction():
            version = self.versions.judge(replace(version, relation=Relation.DIVERGED.value), "kept")
            if standing is not None:
                self.conflicts.save(
                    replace(
                        standing,
                        machine=version.machine,
                        remote=conflict.remote,
                        local=conflict.local | {"won": standing.won},
                    )
                )
                return version
            if is_new := self.conflicts.add(conflict):
                self._queue.enqueue(NOTICE, session.id, conflict.fork, self._issues.now)
        if is_new:
            self._emit(
                "conflict_opened",
                session=session.name,
                kind=kind,
                host=version.host,
                machine=version.machine,
                revision=version.revision,
            )
        return version

    def _conflict(self, session: Session, ours: Ours, version: Version, kind: str, detail: str) -> Conflict:
        record = ours.draft.record
        fork = hashlib.sha256(f"{session.name}\n{kind}\n{detail}".encode("utf-8", "replace")).hexdigest()[:16]
        local = {
            "host": self._host,
            "machine": self._machine,
            "revision": version.revision + 1,
            "updated_at": record.updated_at,
            "title": record.title,
            "tier": record.tier.value,
            "size": record.size,
            "sha256": record.sha256,
        }
        theirs = version.record
        remote = {
            "host": version.host,
            "machine": version.machine,
            "revision": version.revision,
            "updated_at": version.at or theirs.updated_at,
            "title": theirs.title,
            "tier": theirs.tier.value,
            "size": theirs.size,
            "sha256": theirs.sha256,
            "author": version.author,
            "checkpoint": version.checkpoint,
            "restorable": version.whole,
        }
        since = self._issues.now
        return Conflict(0, session.id, fork, kind, since, version.machine, local, remote)

    # --- draft

    def draft(self, session: Session, ours: Ours) -> comments.Draft:
        """What the record is to say: ours, with all that was decided."""
        versions = self.versions.of(session.id)
        for version in versions:
            if version.verdict == "taken" and version.ours == ours.content:
                return self.draft_of(session, version)
        united = [version for version in versions if version.verdict == "united"]
        critical = _critical(ours.draft.record.critical_data)
        for version in united:
            critical = merge_critical(CriticalData(), critical, version.record.critical_data)
        critical = self.conflicts.amended(session.id, critical)
        draft = ours.draft
        tier = draft.record.tier
        if tier is Tier.GITHUB_ONLY and any(version.whole for version in united):
            files = self._standing(session, ours)
            size = sum(source.size for source in files.values())
            highest = max([tier, *(version.record.tier for version in united)], key=lambda each: each.rank)
            tier = tier_of(size, highest, github_only_bytes=self._limits[0], hybrid_bytes=self._limits[1])
            draft = self._united(draft, files, tier, size)
        if critical == _critical(draft.record.critical_data):
            return draft
        record = replace_record(draft.record, critical_data=_record_critical(critical, tier))
        return msgspec.structs.replace(draft, record=record)

    def _united(
        self, draft: comments.Draft, files: Mapping[str, Source], tier: Tier, size: int
    ) -> comments.Draft:
        """The draft of a record that holds more files, or more in them, than this machine's own."""
        record = draft.record
        return comments.clear(
            self._gate,
            session_id=draft.session_id,
            source=record.source,
            tier=tier,
            size=size,
            summary=_summary(record, draft.status, draft.quality),
            checkpoints=record.critical_data.checkpoints,
            project=draft.project,
            local_path=record.local_path,
            host=record.host,
            machine=record.machine,
            updated_at=record.updated_at,
            context=record.context,
            contents=contents(files),
            archived=draft.archived,
        )

    def draft_of(self, session: Session, version: Version, *, session_id: str = "") -> comments.Draft:
        """A record that is another machine's version, as it was or under an id of its own."""
        record = version.record
        files = self._elsewhere.files(session.stored_as, version.machine, version.checkpoint)
        whole = version.whole and record.tier is Tier.GITHUB_ONLY
        draft = comments.clear(
            self._gate,
            session_id=session_id or session.key,
            source=record.source,
            tier=record.tier if whole or record.tier is not Tier.GITHUB_ONLY else Tier.HYBRID,
            size=record.size,
            summary=_summary(record, "", {}),
            checkpoints=record.critical_data.checkpoints,
            project=session.project or "",
            local_path=record.local_path,
            host=record.host,
            machine=record.machine,
            updated_at=record.updated_at,
            context=record.context,
            files=None if whole else [_Listed(entry) for entry in record.files],
            contents=contents(files) if whole else None,
        )
        said = draft.record
        values: dict[str, Any] = {"redactions": record.redactions, "files_total": record.files_total}
        if not whole or _hashes(said.files) == _hashes(record.files):
            values |= {"sha256": record.sha256, "files": record.files if whole else said.files}
        return msgspec.structs.replace(draft, record=replace_record(said, **values))

    # --- choose

    def preview(self, session: Session, conflict: Conflict, keep: str) -> dict[str, Any]:
        """What choosing would do, in words."""
        host = conflict.remote.get("host") or "elsewhere"
        restorable = bool(conflict.remote.get("restorable"))
        back = (
            f"`sessiond restore {session.key} --from github --at {conflict.remote.get('checkpoint')}`"
            if restorable
            else f"the backup on {host}"
        )
        if conflict.kind == "edit":
            does = {
                "local": "The record says what this machine says; what was edited is in its history.",
                "remote": "The record says what was edited by hand, and what changes here from now on.",
                "both": "The record lists all entries of both.",
                "merge": "The record has each side's additions and removals.",
            }
        else:
            does = {
                "local": f"The record stays this machine's version. The other: {back}.",
                "remote": f"The record becomes the version of {host}; {back} puts its files here.",
                "both": f"The record stays this machine's version; that of {host} gets one of its own.",
                "merge": f"The record holds both; of files that differ, that of {host} under another name.",
            }
        return {"does": does[keep]}

    def choose(self, session: Session, conflict: Conflict, keep: str, ours: Ours, now: float) -> None:
        """Settle a conflict; the record and the notice follow with the next push.

        Raises:
            UsageError: there is nothing to take, as only the other machine has its bytes.
        """
        version = self.versions.get(session.id, conflict.machine)
        if version is None:
            raise UsageError(
                f"The other version of {session.name} was not seen yet.",
                hint="It is fetched by itself within two minutes; `sessiond ctl sync` does it now.",
            )
        if keep == "merge" and conflict.kind != "edit" and not version.whole:
            raise UsageError(
                f"Only {version.host} has the bytes of its version of {session.name}.",
                hint="Choose another way, or set up [archive] on both machines.",
            )
        with self._store.transaction():
            if conflict.kind == "edit":
                self._amend(session, keep, ours, version)
                self.versions.judge(version, "kept")
            else:
                verdict = {"local": "kept", "remote": "taken", "both": "both", "merge": "united"}[keep]
                self.versions.judge(version, verdict, ours.content if keep == "remote" else "")
            self.conflicts.save(replace(conflict, chosen=keep, chosen_at=now))
            self._store.execute("UPDATE records SET content = '' WHERE session = ?", (session.id,))
            if session.checkpoint is not None:
                self._queue.enqueue("comment", session.id, session.checkpoint, now)
            self._queue.enqueue(NOTICE, session.id, f"{conflict.fork} {keep}", now)
        self._emit("conflict_resolved", session=session.name, kind=conflict.kind, kept=keep)

    def _amend(self, session: Session, keep: str, ours: Ours, version: Version) -> None:
        own = _critical(ours.draft.record.critical_data)
        theirs = version.record.critical_data
        if keep == "remote":
            self.conflicts.amend(session.id, own, theirs)
        elif keep == "both":
            self.conflicts.amend(session.id, own, merge_critical(CriticalData(), own, theirs))
        elif keep == "merge":
            # what was edited was ours: what is missing there was removed
            self.conflicts.amend(session.id, own, merge_critical(own, own, theirs))

    # --- notices

    def hear(self, session: Session, comment: Comment) -> None:
        """A notice that another machine wrote, or chose in: the same conflict is known here too."""
        now = self._issues.now
        notice = comments.parse_notice(comment.text)
        if notice is None or not self._issues.counts(comment.author, comment.author_association):
            return
        known = self.conflicts.get(session.id, notice.fork)
        if known is None:
            if notice.state == comments.OPEN and self.conflicts.of(session.id) is None:
                self._adopt(session, notice, comment, now)
            return
        if known.notice != comment.id and known.notice:
            return
        known = replace(known, notice=comment.id)
        if known.is_open and notice.state != comments.OPEN:
            chosen = notice.state if known.won else _FLIPPED.get(notice.state, notice.state)
            known = replace(known, chosen=chosen, chosen_at=now, told=notice.state)
            if (version := self.versions.get(session.id, known.machine)) is not None:
                self.versions.judge(version, "")  # what goes on from here is looked at anew
            self._emit("conflict_resolved", session=session.name, kind=known.kind, kept=chosen)
        self.conflicts.save(known)

    def recognise(self, session: Session, conflict: Conflict, listing: Iterable[Comment]) -> Conflict:
        """The conflict with its notice, where there is one already, or one of the same two versions."""
        for comment in listing:
            notice = comments.parse_notice(comment.text)
            if notice is None or notice.session_id != session.key:
                continue
            if not self._issues.counts(comment.author, comment.author_association):
                continue
            if notice.fork == conflict.fork:
                return replace(conflict, notice=comment.id, told=notice.state)
            is_theirs = notice.state == comments.OPEN and notice.machine == conflict.machine
            if is_theirs and conflict.is_open and self.conflicts.get(session.id, notice.fork) is None:
                # they met ours as we met theirs: one notice is enough
                return replace(
                    conflict,
                    fork=notice.fork,
                    notice=comment.id,
                    told=notice.state,
                    local=conflict.local | {"won": False},
                )
        return conflict

    def _adopt(self, session: Session, notice: comments.Notice, comment: Comment, now: float) -> None:
        machine = machine_name(notice.machine)
        if machine == self._machine:  # our own, from before the state was lost
            machine = next((v.machine for v in self.versions.of(session.id)), machine)
        version = self.versions.get(session.id, machine)
        remote: dict[str, Any] = {"machine": machine}
        if version is not None:
            remote |= {
                "host": version.host,
                "revision": version.revision,
                "updated_at": version.at,
                "title": version.record.title,
                "size": version.record.size,
                "sha256": version.record.sha256,
                "checkpoint": version.checkpoint,
                "restorable": version.whole,
            }
        local = {
            "host": self._host,
            "machine": self._machine,
            "updated_at": rfc3339(session.checkpoint_at or session.modified_at),
            "title": session.summary.title,
            "size": session.size,
            "won": notice.machine == self._machine,
        }
        kind = "transcript" if session.ref.source == "claude" else "files"
        conflict = Conflict(
            0,
            session.id,
            notice.fork,
            kind,
            now,
            machine,
            local,
            remote,
            notice=comment.id,
            told=comments.OPEN,
        )
        self.conflicts.add(conflict)

    def notice(self, session: Session, conflict: Conflict) -> ClearedText:
        """The text of a conflict's notice."""
        first = conflict.local if conflict.won else conflict.remote
        other = conflict.remote if conflict.won else conflict.local
        machine = str(first.get("machine") or self._machine)
        return comments.render_notice(
            self._gate,
            comments.Notice(conflict.fork, session.key, machine, conflict.state),
            title=str(first.get("title") or ""),
            record=_side(first),
            other=_side(other),
        )


def _hashes(files: Iterable[FileEntry]) -> dict[str, object]:
    return {entry.path: entry.sha256 or entry.stored_sha256 for entry in files}


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file as another machine's record lists it."""

    entry: FileEntry
    redactions: int = 0


def _side(told: Mapping[str, Any]) -> comments.Side:
    return comments.Side(
        str(told.get("host") or ""),
        int(told.get("revision") or 0),
        str(told.get("updated_at") or ""),
        str(told.get("tier") or ""),
        int(told.get("size") or 0),
    )


def _says_the_same(known: Version, first: Held) -> bool:
    """Whether a comment holds what was seen already, as where a version was chosen and written again."""
    return (
        bool(first.files_sha)
        and first.files_sha == known.record.sha256
        and first.critical == critical_hash(known.record)
    )


def _assembled(
    parts: Sequence[tuple[Held, comments.Part]], first: Held
) -> tuple[comments.Record | None, dict[str, bytes] | None, str]:
    """The record and its files; of parts that are there twice, those that fit."""
    heads = [part for held, part in parts if held.id == first.id]
    if not heads or heads[0].record is None:
        return None, None, "it has no record"
    by_number: dict[int, list[comments.Part]] = {}
    for _, part in parts:
        by_number.setdefault(part.part, []).append(part)
    problem = ""
    for chosen in itertools.islice(itertools.product(*by_number.values()), _TRIES):
        try:
            record, files = comments.assemble(chosen)
        except RecordError as error:
            problem = problem or str(error)
            continue
        return record, files, ""
    return heads[0].record, None, problem


def _plain_files(files: Mapping[str, bytes] | None) -> dict[str, Source]:
    return {name: Plain(data) for name, data in (files or {}).items()}


def _begins_with(gate: Gate, source: Source, entry: FileEntry) -> bool:
    """Whether a file of ours begins with what a record's entry is of, as it would have been sent."""
    plain, cleared = hashlib.sha256(), hashlib.sha256()
    rest = b""
    for start in range(0, entry.size, BLOCK_BYTES):
        data = b"".join(source.read(start, min(start + BLOCK_BYTES, entry.size)))
        plain.update(data)
        if entry.sha256 is None:
            data = rest + data
            end = data.rfind(b"\n") + 1
            whole, rest = data[:end], data[end:]
            cleared.update(gate.data(entry.path, whole)[0] if whole else b"")
    if entry.sha256 is not None:
        return plain.hexdigest() == entry.sha256
    cleared.update(gate.data(entry.path, rest)[0] if rest else b"")
    return cleared.hexdigest() == entry.stored_sha256


def _record_critical(critical: CriticalData, tier: Tier) -> RecordCritical:
    return RecordCritical(
        decisions=critical.decisions,
        checkpoints=critical.checkpoints,
        current_phase=critical.current_phase,
        next_steps=critical.next_steps,
        dropped=0 if tier is Tier.LOCAL_PRIMARY else msgspec.UNSET,
    ).newest(ENTRIES_LOCAL_PRIMARY if tier is Tier.LOCAL_PRIMARY else ENTRIES)


def _summary(record: comments.Record, status: str, quality: Mapping[str, float]) -> Summary:
    return Summary(
        title=record.title,
        branch=record.context.branch,
        status=status,
        critical=_critical(record.critical_data),
        quality=dict(quality),
        context=record.context,
    )


def replace_record(record: comments.Record, **values: Any) -> comments.Record:
    """The record with some of its values changed."""
    return msgspec.structs.replace(record, **values)
