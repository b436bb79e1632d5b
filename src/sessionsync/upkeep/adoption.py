"""Transcripts that lie plain in the backups, of sessions nobody knows, are taken into the vault."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from sessionsync.model import Ref, checkpoint_id
from sessionsync.sources.folders import readable
from sessionsync.tombstones import Tombstones
from sessionsync.upkeep.live import read_live
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import JOURNAL_BYTES, Paced
from sessionsync.vault import Root, StoredFile
from sessionsync.vault.pack import FRAME_BYTES
from sessionsync.vault.strays import Stray, strays


class Adopting:
    """Takes strays in."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def adopt(self, folders: Mapping[Path, int]) -> Paced[int]:
        """Give transcripts that lie plain in these folders, of sessions nobody knows, a place in the vault.

        `folders` are those of the backups, and how deep they are looked through.  What is found stays as it
        is; of several files of one session the longest is taken.  Returns how many were taken in.
        """
        found: dict[str, Stray] = {}
        for folder, depth in folders.items():
            for stray in strays(folder, depth=depth):
                yield JOURNAL_BYTES
                if stray.size > (found[stray.session_id].size if stray.session_id in found else 0):
                    found[stray.session_id] = stray
        known = {ref.session_id for _, ref in self._means.catalog.stored()}
        known |= {
            ref.session_id
            for project, ref in self._means.vault.sessions()
            if ref.session_id in found and self._means.vault.open(project, ref).snapshots()
        }
        adopted, tombstones = 0, Tombstones(self._means.mirror.folder)
        for stray in found.values():
            if tombstones.holds("claude", stray.session_id):
                continue
            if stray.session_id not in known and (yield from self._take_in(stray)):
                adopted += 1
        return adopted

    def _take_in(self, stray: Stray) -> Paced[bool]:
        """Whether it was taken in: the copy of a session that is just being captured is none of ours."""
        ref = Ref("claude", stray.session_id)
        name, root = f"{stray.session_id}.jsonl", Root()

        def begin(_now: float) -> bool:
            if self._means.catalog.named(stray.session_id) is not None:
                return False  # what was captured is in the catalog now, and was not while we looked
            if (vault := self._means.vault.open(stray.project, ref)).is_new():
                meta = {"location": readable(str(stray.path)), "adopted": True}
                vault.describe(first_seen=stray.at, project_key="", meta=meta)
            return True

        def store(data: bytes, offset: int, _now: float) -> None:
            self._means.vault.open(stray.project, ref).append(name, 0, offset, data)

        def end(_now: float) -> None:
            files = [StoredFile(name, 0, root.size, root.hexdigest())]
            vault = self._means.vault.open(stray.project, ref)
            vault.snapshot(
                id=checkpoint_id(stray.at), at=stray.at, trigger="adopted", alias="", files=files,
                meta={"size": root.size},
            )  # fmt: skip
            self._means.vault.flush()

        if not self._means.write(begin):
            return False
        while data := read_live(stray.path, root.size, min(root.size + FRAME_BYTES, stray.size)):
            self._means.write(partial(store, data, root.size))
            root.update(data)
            yield 2 * len(data)
        self._means.write(end)
        self._means.emit(
            "session_adopted", session=str(ref), project=stray.project, copy=readable(str(stray.path))
        )
        return True
