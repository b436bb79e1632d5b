"""When nothing is due: seeing that all is still there, folding idle refs, keeping packs few."""

from __future__ import annotations

from sessionsync.archiving.ends import Ends
from sessionsync.archiving.means import LOOK_S, Means
from sessionsync.errors import RemoteError
from sessionsync.queue import ARCHIVE
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import is_untidy, tidy
from sessionsync.remote.archive.ledger import Branch

FOLD_S = 86_400.0


class Care:
    """Looks after both repositories."""

    def __init__(self, means: Means, ends: Ends) -> None:
        self._means = means
        self._ends = ends
        self._folded = f"folded {means.address.id}"
        self._looked_at = float("-inf")
        self._tidied = True

    @property
    def due_at(self) -> float:
        """When something is next looked after."""
        return min(self._looked_at + LOOK_S, self._folded_at + FOLD_S)

    def work(self) -> bool:
        """Do one thing that is due; whether there was one.

        Raises:
            RemoteError: the archive does not answer, or refuses.
        """
        now = self._means.now
        if not self._looked_at <= now < self._looked_at + LOOK_S:
            return self._compare()
        if self.tidy():
            return True
        return not self._folded_at <= now < self._folded_at + FOLD_S and self._fold()

    def look_again(self) -> None:
        """See at the next occasion whether all is still there."""
        self._looked_at = float("-inf")

    def fold_later(self, now: float) -> None:
        """Fold nothing before a day is over: somebody else is at it, or has just been."""
        self._means.ledger.store.set_meta(self._folded, repr(now))

    def untidy(self) -> None:
        """Something was pushed: packs have become more."""
        self._tidied = False

    def tidy(self) -> bool:
        """Keep packs few, where something was pushed since; whether there was anything to do.

        Raises:
            RemoteError: git failed.
        """
        if self._tidied:
            return False
        means, folder = self._means, self._means.address.folder
        self._tidied = True
        means.cache.tidy()
        means.cold.tidy()
        if means.host.is_ours and folder is not None and is_untidy(folder):
            tidy(means.git, folder)
        return True

    def _compare(self) -> bool:
        """Queue anew what was pushed and is not there any more."""
        self._looked_at = self._means.now
        branches = [branch for branch in self._means.ledger.branches() if branch.pushed]
        if not branches:
            return False
        self._ends.check()
        self._ends.make()
        listed = self._means.host.refs(self._means.now)
        cold = self._means.cold.index(self._means.host, listed, self._means.now)
        lost = 0
        for branch in branches:
            place = refs.parse(branch.ref)
            folded = cold.get(place) if place is not None else None
            there = listed.get(branch.ref) or folded
            if there == branch.pushed:
                if branch.folded != (branch.ref not in listed):
                    branch.folded = branch.ref not in listed
                    self._means.ledger.save(branch)
            elif there is None or self._is_behind(branch, there):
                lost += 1
                self._lose(branch)
        if lost:
            self._means.emit("archive_lost", sessions=lost)
        self._means.uplink.reached(self._means.now)
        return True

    def _is_behind(self, branch: Branch, there: str) -> bool:
        """Whether the archive has an earlier commit of a branch than it has confirmed."""
        return there != branch.tip and there in self._means.cache.history(branch.tip)

    def _lose(self, branch: Branch) -> None:
        branch.pushed, branch.pushed_checkpoint, branch.folded = "", "", False
        with self._means.ledger.store.transaction():
            self._means.ledger.save(branch)
            self._means.queue.enqueue(ARCHIVE, branch.session, branch.checkpoint, self._means.now)

    @property
    def _folded_at(self) -> float:
        try:
            return float(self._means.ledger.store.meta(self._folded))
        except ValueError:
            return float("-inf")

    def _fold(self) -> bool:
        """Once a day, and on while there is more; all that was folded is still there."""
        if not any(branch.pushed for branch in self._means.ledger.branches()):
            self.fold_later(self._means.now)  # a folder may not even be there yet: the first push makes it
            return False
        try:
            folded = self._means.cold.fold(self._means.host, self._means.now)
        except RemoteError:
            self.fold_later(self._means.now)
            raise
        if not folded:
            self.fold_later(self._means.now)
            return False
        self._means.pushed()
        ours = {branch.ref: branch for branch in self._means.ledger.branches()}
        with self._means.ledger.store.transaction():
            for place in folded:
                if (branch := ours.get(place.ref)) is not None:
                    branch.folded = True
                    self._means.ledger.save(branch)
        self._means.emit("archive_folded", refs=len(folded))
        return True
