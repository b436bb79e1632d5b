"""Critical data of two versions, merged as what each side has made of their common base."""

from __future__ import annotations

from sessionsync.model import CheckpointEntry, CriticalData


def merge_critical(base: CriticalData, ours: CriticalData, theirs: CriticalData) -> CriticalData:
    """What both sides made of `base`: each one's additions and removals; where both changed the phase, ours.

    With an empty `base` nothing was removed: all entries of both stay.
    """
    return CriticalData(
        decisions=_merge_entries(base.decisions, ours.decisions, theirs.decisions),
        checkpoints=_merge_checkpoints(ours.checkpoints, theirs.checkpoints),
        current_phase=(
            theirs.current_phase
            if ours.current_phase == base.current_phase and theirs.current_phase
            else ours.current_phase
        ),
        next_steps=_merge_entries(base.next_steps, ours.next_steps, theirs.next_steps),
    )


def _merge_entries(base: list[str], ours: list[str], theirs: list[str]) -> list[str]:
    """Theirs in their order with what ours has added, each behind the entry that it follows in ours."""
    gone = {entry for entry in base if entry not in ours} | {entry for entry in base if entry not in theirs}
    merged = list(dict.fromkeys(entry for entry in theirs if entry not in gone))
    at = 0
    for entry in ours:
        if entry in gone:
            continue
        if entry in merged:
            at = merged.index(entry) + 1
        else:
            merged.insert(at or len(merged), entry)
            at = merged.index(entry) + 1
    return merged


def _merge_checkpoints(ours: list[CheckpointEntry], theirs: list[CheckpointEntry]) -> list[CheckpointEntry]:
    found = {(entry.id, entry.at): entry for entry in (*theirs, *ours)}
    return sorted(found.values(), key=lambda entry: (entry.at, entry.id))
