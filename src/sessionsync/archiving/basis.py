"""What a session goes on from: its newest commit, also where that is lost here or would leave in clear."""

from __future__ import annotations

from dataclasses import replace

from sessionsync.archiving.means import Means
from sessionsync.catalog import Session
from sessionsync.privacy.seal import is_sealed
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import FETCHED
from sessionsync.remote.archive.ledger import Branch
from sessionsync.remote.archive.tree import MANIFEST, MANIFEST_BYTES, decode_manifest


class Basis:
    """Finds it, with at most one listing of the archive's refs for all sessions of one push."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._listed: dict[str, str] | None = None

    def ask_again(self) -> None:
        """What the archive has said of its refs holds no longer."""
        self._listed = None

    def of(self, session: Session) -> Branch | None:
        """What a session goes on from, in the cache; None where it begins.

        Raises:
            RemoteError: the archive must be asked and does not answer.
        """
        return self._sealed(self._found(session))

    def _found(self, session: Session) -> Branch | None:
        """What a session goes on from, its newest commit in the cache; None where it begins.

        Raises:
            RemoteError: the archive must be asked and does not answer.
        """
        branch = self._means.ledger.branch(session.id)
        if branch is None or self._means.cache.has(branch.tip):
            return branch
        place = refs.parse(branch.ref)
        if self._listed is None:
            self._listed = self._means.host.refs(self._means.now)
        there = self._listed.get(branch.ref, "")
        source = branch.ref if there else ""
        if not there and place is not None:
            cold = self._means.cold.index(self._means.host, self._listed, self._means.now)
            there = source = cold.get(place, "")
        if source:
            here = f"{FETCHED}{branch.ref.removeprefix(refs.PREFIX)}"
            self._means.host.fetch({source: here}, self._means.cache.folder, self._means.now)
        if self._means.cache.has(branch.tip):
            return branch
        if not there:
            self._means.ledger.forget(session.id)
            return None
        checkpoint, at = self._checkpoint_of(there, branch)
        self._means.ledger.forget(session.id)  # where its files go on is not known any more
        return Branch(session.id, branch.ref, there, checkpoint, at, there, checkpoint)

    def _sealed(self, base: Branch | None) -> Branch | None:
        """What a session goes on from where all that leaves is encrypted: nothing that would leave in clear.

        It was committed before that was wanted, and was not sent, or was lost there, perhaps on purpose.
        """
        if base is None or self._means.seal is None or base.is_there:
            return base
        commits = self._means.cache.history(base.tip)
        leaving = commits[commits.index(base.pushed) + 1 :] if base.pushed in commits else commits
        manifests = (self._means.cache.read(f"{each}:{MANIFEST}", at_most=MANIFEST_BYTES) for each in leaving)
        if leaving and all(is_sealed(data or b"") for data in manifests):
            return base
        if not base.pushed:
            self._means.ledger.forget(base.session)
            return None
        at = self._means.catalog.checkpoint_at(base.session, base.pushed_checkpoint)
        at = (base.pushed_at or 0.0) if at is None else at
        base = replace(base, tip=base.pushed, checkpoint=base.pushed_checkpoint, checkpoint_at=at)
        self._means.ledger.save(base, anew=True)  # where its files went on was after that
        return base

    def _checkpoint_of(self, commit: str, branch: Branch) -> tuple[str, float]:
        """Which checkpoint a commit of ours is of, and when that was made."""
        points = self._means.catalog.checkpoints(branch.session)
        data = self._means.cache.read(f"{commit}:{MANIFEST}", at_most=MANIFEST_BYTES) or b""
        if not is_sealed(data):
            said = decode_manifest(data, branch.ref).checkpoint.id
            return said, next((point.at for point in points if point.id == said), branch.checkpoint_at)
        # who writes need not be able to read: the commit says when, in whole seconds
        at = self._means.cache.committed_at(commit) or 0.0
        return next(((point.id, point.at) for point in points if int(point.at) == at), ("", at))
