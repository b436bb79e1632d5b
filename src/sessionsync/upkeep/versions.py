"""What other machines have made of the sessions here: looked at, healed, and let go of when it is old."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain

from sessionsync.catalog import Session
from sessionsync.errors import AlreadyRunning, CopyError
from sessionsync.model import Ref
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import JOURNAL_BYTES, Healing, Paced, Verdict, outcome
from sessionsync.upkeep.verify import Verifying
from sessionsync.vault.plan import states
from sessionsync.vault.repair import Repair
from sessionsync.vault.retention import kept, last_of_lives
from sessionsync.vault.verify import Part


class Versions:
    """Looks after the kept versions."""

    def __init__(self, means: Means, verifying: Verifying) -> None:
        self._means = means
        self._verifying = verifying

    def all(self) -> list[tuple[str, Ref]]:
        """Of which machine, and of which session."""
        with suppress(CopyError):  # there are none yet
            return list(self._means.versions.sessions()) if self._means.versions is not None else []
        return []

    def named(self, name: str) -> tuple[str, Ref] | None:
        """The one that findings call so."""
        return next((each for each in self.all() if _version_name(*each) == name), None)

    def verify(self, machine: str, ref: Ref, part: Part | None, *, deep: bool) -> Paced[Verdict]:
        """Look at what is kept of one machine; what looks bad is believed when nobody writes there."""
        if self._means.versions is None:
            return Verdict()
        vault, name = self._means.versions.open(machine, ref), _version_name(machine, ref)
        verdict = yield from self._verifying.vault(vault, name, part, deep=deep, tell=False)
        if verdict.bad:
            try:
                with self._means.versions.lock():
                    verdict = outcome(self._verifying.vault(vault, name, part, deep=deep))
            except AlreadyRunning:
                return Verdict(checked=1)  # it is looked at another time
        return verdict

    def repair(self, machine: str, ref: Ref) -> Paced[Healing]:
        """Heal what that machine has archived."""
        verdict = yield from self.verify(machine, ref, None, deep=True)
        healing, session = Healing(), self._means.catalog.named(ref.session_id)
        if verdict.bad and self._means.versions is not None and session is not None:
            vault = self._means.versions.open(machine, ref)
            repair = Repair(vault, self._means.mirror, (), self._means.away(session, machine))
            for cure in chain.from_iterable(repair.cures(bad) for _, bad in verdict.bad):
                yield len(cure.data)
                with suppress(AlreadyRunning), self._means.versions.lock():
                    self._means.versions.open(machine, ref).append(
                        cure.name, cure.generation, cure.start, cure.data
                    )
                    self._means.versions.flush()
                    healing.healed[cure.source] = healing.healed.get(cure.source, 0) + len(cure.data)
            verdict = yield from self.verify(machine, ref, None, deep=True)
        healing.left = [bad for _, bad in verdict.bad]
        healing.tell(self._means.emit, _version_name(machine, ref))
        return healing

    def forget(self, now: float) -> Paced[int]:
        """Let go of old versions of other machines; returns how many.

        As many stay as of our own checkpoints, and always the newest of each machine, what it held before it
        was rewritten, and every version of which there was a conflict.  Where the state does not know the
        session nothing goes.
        """
        gone = 0
        for machine, ref in self.all():
            yield JOURNAL_BYTES
            if self._means.versions is None or (session := self._means.catalog.named(ref.session_id)) is None:
                continue
            with suppress(AlreadyRunning), self._means.versions.lock():
                vault = self._means.versions.open(machine, ref)
                fold = vault.fold()
                if fold.damaged:
                    continue
                snapshots = fold.snapshots()
                ids = [snapshot.id for snapshot in snapshots]
                pinned = last_of_lives(zip(ids, states(fold), strict=True)) | self._meant(session, machine)
                stay = kept(snapshots, keep=self._means.keep_checkpoints, now=now, pinned=pinned)
                old = [name for name in ids if name not in stay]
                if not old:
                    continue
                vault.forget(old, now)
                self._means.versions.flush()
                merge = self._means.versions.merge(machine, ref, {})
                yield from merge.prepare()
                if not merge.why:
                    self._means.versions.commit(merge)
                gone += len(old)
                self._means.emit("checkpoints_forgotten", session=_version_name(machine, ref), count=len(old))
        return gone

    def _meant(self, session: Session, machine: str) -> set[str]:
        """The versions of a machine that something here speaks of, conflicts long settled too."""
        rows = self._means.catalog.store.rows(
            "SELECT checkpoint FROM versions WHERE session = ? AND machine = ?"
            " UNION SELECT json_extract(remote, '$.checkpoint') FROM conflicts WHERE session = ?",
            (session.id, machine, session.id),
        )
        return {str(row[0]) for row in rows if row[0]}


def _version_name(machine: str, ref: Ref) -> str:
    return f"{ref} of {machine}"
