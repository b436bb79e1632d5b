"""What a record is to say, with all that was decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sessionsync.catalog import Session
from sessionsync.conflict.means import Means, Ours
from sessionsync.conflict.rows import critical_of
from sessionsync.conflict.weigh import Weighing
from sessionsync.divergence import Source, merge_critical
from sessionsync.elsewhere import Version, contents
from sessionsync.model import CriticalData, FileEntry, Summary, Tier
from sessionsync.remote import comments
from sessionsync.remote.comments.record import ENTRIES, ENTRIES_LOCAL_PRIMARY, RecordCritical
from sessionsync.remote.tiers import tier_of


class Drafting:
    """Drafts records of one version, or of several."""

    def __init__(self, means: Means, weighing: Weighing) -> None:
        self._means = means
        self._weighing = weighing

    def draft(self, session: Session, ours: Ours) -> comments.Draft:
        """What the record is to say: ours, with all that was decided."""
        versions = self._means.versions.of(session.id)
        for version in versions:
            if version.verdict == "taken" and version.ours == ours.content:
                return self.draft_of(session, version)
        united = [version for version in versions if version.verdict == "united"]
        critical = critical_of(ours.draft.record.critical_data)
        for version in united:
            critical = merge_critical(CriticalData(), critical, version.record.critical_data)
        critical = self._means.conflicts.amended(session.id, critical)
        draft = ours.draft
        tier = draft.record.tier
        if tier is Tier.GITHUB_ONLY and any(version.whole for version in united):
            files = self._weighing.standing(session, ours)
            size = sum(source.size for source in files.values())
            highest = max([tier, *(version.record.tier for version in united)], key=lambda each: each.rank)
            github_only, hybrid = self._means.limits
            tier = tier_of(size, highest, github_only_bytes=github_only, hybrid_bytes=hybrid)
            draft = self._united(draft, files, tier, size)
        if critical == critical_of(draft.record.critical_data):
            return draft
        record = msgspec.structs.replace(draft.record, critical_data=_record_critical(critical, tier))
        return msgspec.structs.replace(draft, record=record)

    def _united(
        self, draft: comments.Draft, files: Mapping[str, Source], tier: Tier, size: int
    ) -> comments.Draft:
        """The draft of a record that holds more files, or more in them, than this machine's own."""
        record = draft.record
        return comments.clear(
            self._means.gate,
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
            promoted_from=draft.promoted_from,
            archived=draft.archived,
        )

    def draft_of(self, session: Session, version: Version, *, session_id: str = "") -> comments.Draft:
        """A record that is another machine's version, as it was or under an id of its own."""
        record = version.record
        files = self._means.elsewhere.files(session.stored_as, version.machine, version.checkpoint)
        whole = version.whole and record.tier is Tier.GITHUB_ONLY
        draft = comments.clear(
            self._means.gate,
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
        return msgspec.structs.replace(draft, record=msgspec.structs.replace(said, **values))


def _hashes(files: Iterable[FileEntry]) -> dict[str, object]:
    return {entry.path: entry.sha256 or entry.stored_sha256 for entry in files}


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file as another machine's record lists it."""

    entry: FileEntry
    redactions: int = 0


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
        critical=critical_of(record.critical_data),
        quality=dict(quality),
        context=record.context,
    )
