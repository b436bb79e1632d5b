"""Sessions that the vault has and the state has not are known again: listed, searched and looked after."""

from __future__ import annotations

from sessionsync.errors import CopyError, DiskFull
from sessionsync.model import Ref
from sessionsync.upkeep.live import is_live
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import JOURNAL_BYTES, Paced


class Recalling:
    """Lets the state know what was adopted, or captured before it was lost, and is only in the copies."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def recall(self) -> Paced[int]:
        """Read back every session that is not known and whose own file is gone; returns how many there were.

        One whose file is there is captured by the home that watches it, be it this one or another.
        """
        recalled = 0
        strange = self._means.vault.sessions(ref for _, ref in self._means.catalog.stored())
        for project, ref in list(strange):
            yield JOURNAL_BYTES
            try:
                recalled += yield from self._recall(project, ref)
            except DiskFull:
                raise
            except CopyError:
                continue  # it is damaged, and mended as what only the vault knows
        return recalled

    def _recall(self, project: str, ref: Ref) -> Paced[bool]:
        said = self._means.vault.open(project, ref).description()
        if said is None or is_live(said):
            return False
        commit = yield from self._means.recall(project, ref)
        return commit is not None and self._means.write(commit)
