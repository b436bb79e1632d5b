"""Heals a session's copies from each other, from the live file and from elsewhere."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from sessionsync.catalog import Session
from sessionsync.errors import CopyError, DiskFull
from sessionsync.model import checkpoint_id
from sessionsync.upkeep.live import read_live
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import Healing, Paced
from sessionsync.upkeep.verify import Verifying
from sessionsync.vault import repair as healing
from sessionsync.vault.repair import Cure, Reader, Repair
from sessionsync.vault.verify import JOURNAL, MIRROR, VAULT, Aside, Bad


class Repairing:
    """Finds all damage of one session, and heals what another copy can prove that it has."""

    def __init__(self, means: Means, verifying: Verifying) -> None:
        self._means = means
        self._verifying = verifying

    def repair(self, session: Session) -> Paced[Healing]:
        """Find all damage of one session and heal what another copy can prove that it has.

        Raises:
            DiskFull: there is no room to heal it.
        """
        outcome = Healing()
        try:
            yield from self._repair(session, outcome)
        except DiskFull:
            raise
        except CopyError as problem:  # something else lies there, or it cannot be read at all
            outcome.left.append(Bad(VAULT, JOURNAL, 0, 0, 0, "error", str(problem)))
            outcome.tell(self._means.emit, session.name)
        return outcome

    def _repair(self, session: Session, outcome: Healing) -> Paced[None]:
        if not self._means.open(session).is_new():
            project, ref = session.project or "unknown", session.stored_as
            outcome.bits = self._means.write(lambda now: self._means.vault.mend(project, ref, now))
        tried: list[Bad] = []
        for turn in range(3):  # what heals the vault may then heal the plain copy, or the other way round
            verdict = yield from self._verifying.verify(session, deep=True, tell=turn == 0)
            bad = [each for _, each in verdict.bad if each not in tried]
            if not bad:
                break
            tried += bad
            yield from self._heal(session, bad, outcome)
        outcome.left = [each for _, each in verdict.bad]
        outcome.tell(self._means.emit, session.name)
        yield from self._come_to_terms(session, outcome.left)

    def _heal(self, session: Session, found: list[Bad], outcome: Healing) -> Paced[None]:
        repair = Repair(
            self._means.open(session),
            self._means.mirror,
            self._means.expected(session),
            self._others(session),
        )
        is_gone = self._means.open(session).is_new()
        for bad in sorted(found, key=lambda each: (each.store != VAULT, each.start)):
            if is_gone and bad.store == VAULT:
                continue
            if bad.aside is not None:
                self._means.write(partial(self._mend_aside, session, bad, bad.aside, outcome))
                continue
            for cure in repair.cures(bad):
                yield len(cure.data)
                self._apply(session, cure, outcome)
        if is_gone:
            with suppress(CopyError):  # the plain copies are not whole either, which is found again
                self._means.write(lambda now: self._means.store_anew(session.ref, now))
                stored = sum(file.stored for file in self._means.catalog.files(session.id).values())
                outcome.healed[MIRROR] = outcome.healed.get(MIRROR, 0) + stored

    def _come_to_terms(self, session: Session, left: list[Bad]) -> Paced[None]:
        """What only the journal knew is lost for good: that is said once, and then it begins anew.

        The old pair is kept; checkpoints that may be older than they were stay marked.
        """
        if not left or any(bad.name != JOURNAL or bad.end or bad.result == "error" for bad in left):
            return
        vault = self._means.open(session)
        if vault.fold().damaged:
            besides = {file.name: file.generation for file in self._means.catalog.files(session.id).values()}
            stamp = self._means.write(checkpoint_id)
            merge = self._means.vault.merge(vault.project, vault.ref, besides, kept_as=stamp)
            yield from merge.prepare()
            if merge.why or not self._means.write(lambda _now: self._means.vault.commit(merge)):
                return
        if self._verifying.unsaid(self._means.catalog.session(session.id), vault):
            self._means.write(lambda now: self._means.store_anew(session.ref, now))
        there = {snapshot.id for snapshot in self._means.open(session).snapshots()}
        known = set(self._means.catalog.checkpoint_ids(session.id))
        newest = self._means.catalog.session(session.id).checkpoint or ""
        self._means.catalog.forget_checkpoints(session.id, known - there - {newest})

    def _apply(self, session: Session, cure: Cure, outcome: Healing) -> None:
        def work(now: float) -> None:
            # what was captured meanwhile counts, not what was looked at
            file = self._means.catalog.files(session.id).get(cure.name)
            project, ref = session.project or "unknown", session.stored_as
            path = self._means.mirror.path_of(project, ref, cure.name)
            if cure.store != VAULT and (
                file is None
                or file.generation != cure.generation
                or file.length < cure.end
                or file.is_rewritten
            ):
                return
            kept_in = healing.apply(cure, self._means.vault.open(project, ref), self._means.mirror, path, now)
            if cure.store != VAULT and session.project_key is not None:
                self._means.names.keep({session.project_key: project})  # went with the plain copies
            self._means.vault.flush()
            self._means.mirror.flush()
            outcome.healed[cure.source] = outcome.healed.get(cure.source, 0) + len(cure.data)
            if kept_in is not None:
                outcome.kept.append(kept_in)

        self._means.write(work)

    def _mend_aside(self, session: Session, bad: Bad, aside: Aside, outcome: Healing, now: float) -> None:
        """Put back what was set aside as the vault has it: a few bytes, in the writer's thread."""
        start, end = aside.offset + bad.start, aside.offset + bad.end
        with suppress(CopyError):
            data = b"".join(self._means.open(session).read(aside.file, aside.generation, end, start))
            kept_in = self._means.mirror.mend(aside.path, bad.start, data, now)
            self._means.mirror.flush()
            outcome.healed[VAULT] = outcome.healed.get(VAULT, 0) + len(data)
            outcome.kept += [kept_in] if kept_in is not None else []

    def _others(self, session: Session) -> dict[str, Reader]:
        """The live file, and the copies elsewhere."""
        source = self._means.sources.get(session.ref.source)
        found = None if source is None else self._means.write(lambda _now: source.look(session.ref))
        live = {file.name: file.path for file in found.files} if found is not None else {}

        def read(name: str, start: int, end: int) -> bytes:
            return read_live(live[name], start, end) if name in live else b""

        return {"live": read, **self._means.away(session)}
