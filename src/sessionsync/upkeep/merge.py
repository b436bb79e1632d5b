"""Segments are merged where that pays, and what nothing names is removed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sessionsync.catalog import Session
from sessionsync.errors import CopyError
from sessionsync.sources.folders import readable
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import JOURNAL_BYTES, Paced
from sessionsync.vault.verify import VAULT

# A session that has not changed for so long is merged; one that rests for so long is compressed further.
QUIET_S = 600.0
COLD_S = 7 * 86_400.0
# The same session is not looked at more often than this.
AGAIN_S = 3600.0
# One that never rests is merged after so many checkpoints: whoever reads its journal reads all of it.
MANY_CHECKPOINTS = 100
# What a killed merge left, or mending, is removed when it is so old.
GRACE_S = 86_400.0


class Merging:
    """Keeps the vault small."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def next(self, now: float) -> Session | None:
        """The session that has waited longest for a merge to be thought about."""
        return self._means.catalog.next_to_merge(
            quiet_before=now - QUIET_S,
            cold_before=now - COLD_S,
            again_before=now - AGAIN_S,
            many=MANY_CHECKPOINTS,
        )

    def merge(self, session: Session, now: float, *, force: bool = False) -> Paced[bool]:
        """Merge one session's segments where that pays; returns whether it was done."""
        cold = max(session.changed_at, session.checkpoint_at or 0.0) <= now - COLD_S
        besides = {file.name: file.generation for file in self._means.catalog.files(session.id).values()}
        project, ref = session.project or "unknown", session.stored_as
        merge = self._means.vault.merge(project, ref, besides, cold=cold, force=force)
        yield JOURNAL_BYTES
        yield from merge.prepare()
        done = False
        if not merge.why:
            done = self._means.write(lambda _now: self._means.vault.commit(merge))
        for segment in merge.damaged:
            self._means.emit(
                "damage_found",
                session=session.name,
                where=[f"{VAULT}: {segment.file}, bytes {segment.offset} to {segment.end}"],
                count=1,
            )
        if done:
            before, after = merge.packed_bytes
            frames = merge.frames
            self._means.emit(
                "segments_merged", session=session.name, before=before, bytes=after,
                frames_before=frames[0], frames=frames[1], cold=cold,
            )  # fmt: skip
        self._means.catalog.mark_merged(session, now, cold=cold)
        return done

    def gc(self, now: float, *, dry_run: bool = False) -> Paced[dict[str, Any]]:
        """Remove what nothing names: what killed merges and mending left, a day old, and bytes in packs.

        `files`, `packs` and `freed_bytes` say what was, or would be, removed.  Nothing else is ever touched:
        neither files of others in these folders, nor what was set aside.
        """
        files = self._means.vault.orphans(now - GRACE_S)
        if files and not dry_run:
            found = files
            files = self._means.write(lambda now: self._remove(found, now))
        packs: dict[str, int] = {}
        for session in self._means.catalog.each():
            yield JOURNAL_BYTES
            try:
                fold = self._means.open(session).fold()
                nameless = fold.pack_bytes - sum(segment.packed for segment, _ in fold.stored)
                if nameless <= 0 or fold.damaged:
                    continue
                if dry_run or (yield from self.merge(session, now, force=True)):
                    packs[session.name] = nameless
            except CopyError:  # what cannot be read is not judged
                continue
        if (files or packs) and not dry_run:
            self._means.emit("orphans_removed", files=len(files), packs=len(packs))
        return {
            "files": [readable(str(path)) for path in files],
            "packs": [{"session": name, "bytes": size} for name, size in packs.items()],
            "freed_bytes": sum(files.values()) + sum(packs.values()),
        }

    def _remove(self, files: Iterable[Path], now: float) -> dict[Path, int]:
        # a merge may have given one of them its place meanwhile
        still = self._means.vault.orphans(now - GRACE_S)
        gone = {path: still[path] for path in files if path in still}
        for path in gone:
            self._means.vault.remove(path)
        return gone
