"""How ours relates to a version from elsewhere, and what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from sessionsync.catalog import Session
from sessionsync.conflict.means import Means, Ours
from sessionsync.conflict.rows import MERGED, NOTICE, Conflict
from sessionsync.divergence import BLOCK_BYTES, Comparison, Relation, Source, compare
from sessionsync.elsewhere import PERSON, Stored, Version
from sessionsync.linewise import Linewise
from sessionsync.model import FileEntry, Role
from sessionsync.privacy.gate import Gate
from sessionsync.remote import comments
from sessionsync.remote.issues import critical_hash
from sessionsync.remote.placements import Sent


class Weighing:
    """Decides, once for each version."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def weigh(self, session: Session, ours: Ours, version: Version, sent: Sent | None) -> Version:
        """Decide what becomes of a version, once; a conflict is opened where it must be."""
        known = self._means.versions.get(session.id, version.machine)
        if known is not None and known.checkpoint == version.checkpoint and known.verdict:
            is_stale = known.verdict == "taken" and known.ours != ours.content
            if not is_stale:
                self._means.versions.save(version)
                return version
        if version.machine == PERSON:
            return self._open(session, ours, version, "edit", version.sha256)
        relation, comparison = self._relate(session, ours, version, sent)
        version = replace(version, relation=relation.value, verdict="", ours="")
        if relation is not Relation.DIVERGED:
            self._means.versions.save(version)
            return version
        if comparison is not None and session.ref.source == "claude" and not comparison.differing:
            return self._unite(session, ours, version, comparison)
        detail = f"{version.record.sha256} {critical_hash(version.record)}"
        kind = "transcript" if session.ref.source == "claude" else "files"
        return self._open(session, ours, version, kind, detail)

    def note(self, session: Session, ours: Ours, version: Version) -> None:
        """Keep how ours relates to a version, and decide nothing: nothing is to be written."""
        relation, _ = self._relate(session, ours, version, None)
        self._means.versions.save(replace(version, relation=relation.value))

    def _relate(
        self, session: Session, ours: Ours, version: Version, sent: Sent | None
    ) -> tuple[Relation, Comparison | None]:
        record = version.record
        if record.sha256 and record.sha256 == ours.draft.record.sha256:
            return Relation.EQUAL, None
        comparison = None
        relation: Relation | None
        if version.whole:
            comparison = self._compare(self.standing(session, ours, but=version.machine), session, version)
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
        theirs = self._means.elsewhere.files(session.stored_as, version.machine, version.checkpoint)
        return compare(
            files,
            theirs,
            grows=lambda name: name.endswith(".jsonl"),
            machine=self._means.machine,
            their_machine=version.machine,
        )

    def standing(self, session: Session, ours: Ours, *, but: str = "") -> Mapping[str, Source]:
        """All that this machine writes into the record: its own, and what it was united with."""
        files = ours.files
        for version in self._means.versions.of(session.id):
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
            if not _begins_with(self._means.gate, source, entry):
                return None
            grown = grown or source.size > entry.size
        if not record.files:
            return None
        return Relation.OURS_EXTENDS if grown else Relation.EQUAL

    def _has_been(self, session: Session, ours: Ours, version: Version) -> bool:
        """Whether ours was once what theirs is: then it has moved on from there."""
        if not version.whole:
            return False
        theirs = self._means.elsewhere.files(session.stored_as, version.machine, version.checkpoint)
        sizes = {name: file.size for name, file in theirs.items()}
        vault = self._means.vault.open(session.project or "unknown", session.stored_as)
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
        means = self._means
        with means.store.transaction():
            version = means.versions.judge(version, "united")
            is_new = means.conflicts.add(replace(conflict, chosen=MERGED, chosen_at=means.issues.now))
        if is_new:
            means.emit("session_united", session=session.name, machine=version.machine, host=version.host)
        return version

    def _open(self, session: Session, ours: Ours, version: Version, kind: str, detail: str) -> Version:
        """Ours becomes the record; who wants it otherwise is told how."""
        # what was settled before is another fork point
        detail = f"{detail} {self._means.conflicts.settled_count(session.id)}"
        conflict = self._conflict(session, ours, version, kind, detail)
        standing = self._means.conflicts.of(session.id)
        with self._means.store.transaction():
            version = self._means.versions.judge(replace(version, relation=Relation.DIVERGED.value), "kept")
            if standing is not None:
                self._means.conflicts.save(
                    replace(
                        standing,
                        machine=version.machine,
                        remote=conflict.remote,
                        local=conflict.local | {"won": standing.won},
                    )
                )
                return version
            if (is_new := self._means.conflicts.add(conflict)) and self._means.tells:
                self._means.queue.enqueue(NOTICE, session.id, conflict.fork, self._means.issues.now)
        if is_new:
            self._means.emit(
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
            "host": self._means.host,
            "machine": self._means.machine,
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
        since = self._means.issues.now
        return Conflict(0, session.id, fork, kind, since, version.machine, local, remote)


def _begins_with(gate: Gate, source: Source, entry: FileEntry) -> bool:
    """Whether a file of ours begins with what a record's entry is of, as it would have been sent."""
    plain, cleared = hashlib.sha256(), hashlib.sha256()
    lines = Linewise()
    for start in range(0, entry.size, BLOCK_BYTES):
        data = b"".join(source.read(start, min(start + BLOCK_BYTES, entry.size)))
        plain.update(data)
        if entry.sha256 is None and (whole := lines.feed(data)):
            cleared.update(gate.data(entry.path, whole)[0])
    if entry.sha256 is not None:
        return plain.hexdigest() == entry.sha256
    if rest := lines.rest():
        cleared.update(gate.data(entry.path, rest)[0])
    return cleared.hexdigest() == entry.stored_sha256
