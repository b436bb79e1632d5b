"""What others have written of a session, kept before anything is written over it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from sessionsync.catalog import Session
from sessionsync.conflict.means import Means
from sessionsync.divergence import Plain, Source
from sessionsync.elsewhere import PERSON, Archived, Version, machine_name
from sessionsync.errors import ArchiveUnreadable, CopyMismatch, Lagging, Missing, RecordError, RemoteError
from sessionsync.model import Role, Tier, rfc3339
from sessionsync.remote import comments
from sessionsync.remote.github import Repository
from sessionsync.remote.issues import Whose, critical_hash
from sessionsync.remote.placements import Held

# How many combinations of doubled parts are tried for a whole record.
_TRIES = 64


class Looking:
    """Finds the versions that are not ours, and keeps them."""

    def __init__(self, means: Means) -> None:
        self._means = means

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
        held = self._means.issues.held(repository, whose) if held is None else held
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
        if machine in {"", self._means.machine}:
            edited = not first.intact and whose.sent is not None and first.critical
            if not edited or whose.sent is None or first.critical in {"", whose.sent.critical}:
                return None
            return self._edited(session, first)
        known = self._means.versions.get(session.id, machine)
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
        self._means.emit(
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
            seen_at=self._means.issues.now,
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
            return self._means.elsewhere.keep(
                session.stored_as, machine, record, found, author=first.author, sha256=first.sha256
            )

        if files is not None or record.tier is Tier.GITHUB_ONLY or self._means.archive is None:
            return keep(_plain_files(files)), files is not None
        now = self._means.issues.now
        try:
            with self._means.archive() as reader:
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
        except ArchiveUnreadable:  # not by waiting: only its record is kept
            return keep({}), False
        except (RemoteError, CopyMismatch) as error:
            problem = str(error)
        if patient:
            raise Lagging(
                f"The archive's copy of {whose.name} from {record.host} cannot be read: {problem}",
                hint="Nothing to do: it is read again.",
            )
        return keep({}), False

    def _edited(self, session: Session, first: Held) -> Version | None:
        """What a person has made of a record's critical data."""
        known = self._means.versions.get(session.id, PERSON)
        if known is not None and known.sha256 == first.critical:
            return known
        found, _ = self._means.issues.github.comment(first.id)
        part = comments.parse(found.text) if found is not None else None
        if part is None or part.record is None:
            return None
        record = msgspec.structs.replace(part.record, host=found.author if found is not None else "")
        kept = self._means.elsewhere.keep(
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
            seen_at=self._means.issues.now,
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
                comment, _ = self._means.issues.github.comment(part.id)
            except Missing:
                continue
            if (
                comment is not None
                and (now := self._means.issues.hold(repository, part.issue, comment)) is not None
            ):
                parsed = comments.parse(comment.text)
                found += [(now, parsed)] if parsed is not None else []
        return found


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
