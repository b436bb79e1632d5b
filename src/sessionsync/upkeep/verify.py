"""Looks at copies: at three depths, and twice before anything is called bad."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import chain

from sessionsync.catalog import Session
from sessionsync.errors import CopyError, NoSuchCheckpoint
from sessionsync.sources.folders import readable
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import JOURNAL_BYTES, Paced, Verdict
from sessionsync.vault import SessionVault, StoredFile
from sessionsync.vault import verify as checks
from sessionsync.vault.references import references
from sessionsync.vault.verify import JOURNAL, VAULT, Bad, Checked, Expected, Newest, Part

# What of a file a quick look reads: small ones whole, as are those that critical data comes from.
RECENT_BYTES = 256 * 1024


class Verifying:
    """Looks at the copies of a session, and at a vault by itself; what it finds is told."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def look(self, session: Session) -> Paced[Verdict]:
        """Look at what one session's newest checkpoints stand on: their structure, and the newest bytes."""
        return self.verify(session, Newest(RECENT_BYTES))

    def verify(
        self, session: Session, part: Part | Newest | None = None, *, deep: bool = False, tell: bool = True
    ) -> Paced[Verdict]:
        """Look at one session's copies: their structure, and all bytes if `deep`, or those of a part.

        What looks bad is looked at again in the writer's thread before it is believed.
        """
        verdict = Verdict(checked=1)
        yield JOURNAL_BYTES
        vault, expected = self._means.open(session), self._means.expected(session)
        found: list[Bad] = []
        real: list[Bad] = []
        try:
            for checked in self._looks(session, vault, expected, part, deep=deep):
                verdict.count(checked)
                if checked.bad is not None:
                    found.append(checked.bad)
                yield checked.size
            if found:
                real = self._means.write(lambda _now: self._again(session, found))
        except CopyError as problem:  # it could not even be read
            real = [*found, Bad(VAULT, JOURNAL, 0, 0, 0, "error", str(problem))]
        verdict.results = {key: n for key, n in verdict.results.items() if key[1] == "ok"}
        for bad in real:
            verdict.count(Checked(bad.store, 0, bad))
        verdict.bad = [(session.name, bad) for bad in real]
        known = self._means.catalog.checkpoint_ids(session.id)
        verdict.references = references(expected, known, real)
        if not tell:
            return verdict
        verdict.tell(self._means.emit, session.name)
        if verdict.bad:
            where = [bad.where for _, bad in verdict.bad]
            self._means.emit("damage_found", session=session.name, where=where[:10], count=len(where))
        return verdict

    def _looks(
        self,
        session: Session,
        vault: SessionVault,
        expected: list[Expected],
        part: Part | Newest | None,
        *,
        deep: bool,
    ) -> Iterable[Checked]:
        known = self._means.catalog.checkpoint_ids(session.id)
        yield from checks.structure(vault, self._means.mirror, expected, known)
        yield Checked(VAULT, 0, self.unsaid(session, vault))
        if deep:
            yield from checks.everything(vault, self._means.mirror, expected)
            yield from checks.asides(vault, self._means.mirror, expected)
        elif isinstance(part, Newest):
            ends = {file.name: (file.generation, file.length) for file in expected}
            yield from checks.content(vault, self._means.mirror, expected, lambda s: part.holds(ends, s))
        elif part is not None:
            name = session.name
            yield from checks.content(vault, self._means.mirror, expected, lambda s: part.holds(name, s))
            if part.has(name):
                yield from checks.asides(vault, self._means.mirror, expected)

    def _again(self, session: Session, found: list[Bad]) -> list[Bad]:
        """What of it is still bad now that nobody writes."""
        fresh = self._means.catalog.session(session.id)
        known = self._means.catalog.checkpoint_ids(session.id)
        vault = self._means.open(fresh)
        looks = checks.again(vault, self._means.mirror, self._means.expected(fresh), found, known)
        still: dict[tuple[str, str, int, int, int, str], Bad] = {}
        for checked in chain(looks, [Checked(VAULT, 0, self.unsaid(fresh, vault))]):
            if (bad := checked.bad) is not None:
                still[bad.store, bad.name, bad.generation, bad.start, bad.end, bad.what] = bad
        return checks.precise(still.values())

    def unsaid(self, session: Session, vault: SessionVault) -> Bad | None:
        """Whether the newest checkpoint does not say of every file what was captured: lines were lost."""
        newest = session.checkpoint
        if newest is None or session.dirty_since is not None:
            return None
        try:
            files = vault.files(newest)
        except NoSuchCheckpoint:
            return Bad(VAULT, JOURNAL, 0, 0, 0, "missing", f"it has no checkpoint {newest}")
        for file in self._means.catalog.files(session.id).values():
            said = files.get(file.name)
            if file.snapped and (said is None or not file.snapped.startswith(_says(said))):
                what = f"its checkpoint {newest} does not have {readable(file.name)} as it was captured"
                return Bad(VAULT, JOURNAL, 0, 0, 0, "mismatch", what)
        return None

    def vault(
        self, vault: SessionVault, name: str, part: Part | None, *, deep: bool, tell: bool = True
    ) -> Paced[Verdict]:
        """Look at a vault of which nothing is known but what it says itself, under this `name`."""
        yield JOURNAL_BYTES
        verdict = Verdict(checked=1)
        looks = [checks.structure(vault, self._means.mirror, ())]
        if deep:
            looks.append(checks.everything(vault, self._means.mirror, ()))
        elif part is not None:
            looks.append(checks.content(vault, self._means.mirror, (), partial(part.holds, name)))
        found: list[Bad] = []
        try:
            for checked in chain.from_iterable(looks):
                verdict.count(checked)
                found += [checked.bad] if checked.bad is not None else []
                yield checked.size
        except CopyError as problem:
            found.append(Bad(VAULT, JOURNAL, 0, 0, 0, "error", str(problem)))
        verdict.bad = [(name, bad) for bad in checks.precise(found)]
        if found and tell:
            self._means.emit(
                "damage_found", session=name, where=[b.where for b in found][:10], count=len(found)
            )
        return verdict


def _says(file: StoredFile) -> str:
    """The beginning of what capture remembers of a file's statement (`File.snapped`)."""
    return f"{file.generation}:{file.length}:"
