"""Transcripts that lie plain in the backups, of sessions nobody knows, are taken into the vault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from sessionsync.errors import CopyError, DiskFull
from sessionsync.model import Ref, checkpoint_id
from sessionsync.sources.folders import readable
from sessionsync.tombstones import Tombstones
from sessionsync.upkeep.live import is_live, read_live
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import JOURNAL_BYTES, Paced
from sessionsync.vault import Root, SessionVault, StoredFile
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
        known = self._means.catalog.keys()
        for folder, depth in folders.items():
            for stray in strays(folder, depth=depth):
                yield JOURNAL_BYTES
                if stray.session_id in known:  # as nearly all are: of those nothing is held
                    continue
                if stray.size > (found[stray.session_id].size if stray.session_id in found else 0):
                    found[stray.session_id] = stray
        if found:
            known = self._means.catalog.keys()  # some may have been captured meanwhile
        adopted, tombstones = 0, Tombstones(self._means.mirror.folder)
        for stray in found.values():
            if stray.session_id in known or tombstones.holds("claude", stray.session_id):
                continue
            try:
                adopted += yield from self._take_in(stray)
            except DiskFull:
                raise
            except CopyError:
                continue  # what the vault has of it is damaged, and mended first
        return adopted

    def _take_in(self, stray: Stray) -> Paced[bool]:
        """Whether anything was taken in: the copy of a session that is being captured is none of ours."""
        ref, name = Ref("claude", stray.session_id), f"{stray.session_id}.jsonl"
        project = self._means.vault.project_of(ref) or stray.project
        vault = self._means.vault.open(project, ref)
        (generation, _), kept = vault.stored(name), vault.snapshots()
        root = yield from self._goes_on(vault, name, stray)
        if root is None:
            return False

        def begin() -> None:
            if (vault := self._means.vault.open(project, ref)).is_new():
                meta = {"location": readable(str(stray.path)), "adopted": True}
                vault.describe(first_seen=stray.at, project_key="", meta=meta)

        def store(data: bytes, offset: int) -> None:
            self._means.vault.open(project, ref).append(name, generation, offset, data)

        def end() -> None:
            at = max([stray.at, *(snapshot.at for snapshot in kept)])
            self._means.vault.open(project, ref).snapshot(
                id=checkpoint_id(at, {snapshot.id for snapshot in kept}),
                at=at,
                trigger="adopted",
                alias="",
                files=[StoredFile(name, generation, root.size, root.hexdigest())],
                meta={"size": root.size},
            )
            self._means.vault.flush()

        if not self._write(stray, begin):
            return False
        while data := read_live(stray.path, root.size, min(root.size + FRAME_BYTES, stray.size)):
            if not self._write(stray, partial(store, data, root.size)):
                return False
            root.update(data)
            yield 2 * len(data)
        if not self._write(stray, end):
            return False
        self._means.emit("session_adopted", session=str(ref), project=project, copy=readable(str(stray.path)))
        return True

    def _write(self, stray: Stray, step: Callable[[], None]) -> bool:
        """Do this in the writer's thread; False where the session was captured since we looked."""

        def unless_captured(_now: float) -> bool:
            if self._means.catalog.named(stray.session_id) is not None:
                return False
            step()
            return True

        return self._means.write(unless_captured)

    @staticmethod
    def _goes_on(vault: SessionVault, name: str, stray: Stray) -> Paced[Root | None]:
        """The root of what the vault has already, as before the state was lost, and the stray goes on from.

        None where it has all of it, or another version, beside which the stray stays; or where a home, this
        or another, captures the session.
        """
        said, (generation, stored), root = vault.description(), vault.stored(name), Root()
        if (said is not None and is_live(said)) or (vault.snapshots() and stray.size <= stored):
            return None
        for data in vault.read(name, generation, stored):
            if read_live(stray.path, root.size, root.size + len(data)) != data:
                return None
            root.update(data)
            yield 2 * len(data)
        return root
