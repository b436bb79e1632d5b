"""What belongs to no session of this home: of another home or a lost state, and the dictionary."""

from __future__ import annotations

from functools import partial

from sessionsync.errors import NoSuchSession
from sessionsync.model import Ref
from sessionsync.sources.folders import readable
from sessionsync.upkeep.means import Means
from sessionsync.upkeep.outcomes import Healing, Paced, Verdict
from sessionsync.upkeep.verify import Verifying
from sessionsync.upkeep.versions import Versions
from sessionsync.vault import repair as healing
from sessionsync.vault.repair import Cure, Repair
from sessionsync.vault.verify import VAULT, Bad, Checked, Part


class Others:
    """Looks after what only the vault knows."""

    def __init__(self, means: Means, verifying: Verifying, versions: Versions) -> None:
        self._means = means
        self._verifying = verifying
        self._versions = versions

    def verify(self, part: Part | None = None, *, deep: bool = False) -> Paced[Verdict]:
        """Look at what only the vault knows: its dictionary, and sessions of another home or a lost state.

        A damaged dictionary is laid anew at once: it is shipped with the program.
        """
        verdict = Verdict()
        if (path := self._means.vault.damaged_dictionary()) is not None:
            self._means.write(lambda _now: self._means.vault.lay_dictionary())
            what = "was damaged, and is laid anew"
            verdict.count(
                Checked(VAULT, 0, bad := Bad(VAULT, readable(str(path)), 0, 0, 0, "mismatch", what))
            )
            verdict.bad.append(("", bad))
            self._means.emit("damage_found", session="", where=[bad.where], count=1)
            self._means.emit(
                "damage_healed", session="", bytes=path.stat().st_size, bits=0, sources=["program"]
            )
        for project, ref in self._all():
            verdict.add((yield from self._verify(project, ref, part, deep=deep)))
        for machine, ref in self._versions.all():
            verdict.add((yield from self._versions.verify(machine, ref, part, deep=deep)))
        verdict.tell(self._means.emit, "")
        return verdict

    def repair(self, name: str) -> Paced[Healing]:
        """Heal what only the vault knows of the session of this name, as far as another copy of it proves.

        That is a plain copy, or of another machine's version what that machine has archived.

        Raises:
            NoSuchSession: the vault has none.
        """
        if (version := self._versions.named(name)) is not None:
            return (yield from self._versions.repair(*version))
        found = next((each for each in self._all() if str(each[1]) == name), None)
        if found is None:
            raise NoSuchSession(f"No session {name!r} is in the vault.")
        project, ref = found
        outcome = Healing(bits=self._means.write(lambda now: self._means.vault.mend(project, ref, now)))
        verdict = yield from self._verify(project, ref, None, deep=True)
        repair = Repair(self._means.vault.open(project, ref), self._means.mirror, (), {})
        for _, bad in verdict.bad:
            for cure in repair.cures(bad):
                yield len(cure.data)
                self._means.write(partial(self._store_cure, project, ref, cure))
                outcome.healed[cure.source] = outcome.healed.get(cure.source, 0) + len(cure.data)
        if outcome.healed:
            verdict = yield from self._verify(project, ref, None, deep=True)
        outcome.left = [bad for _, bad in verdict.bad]
        outcome.tell(self._means.emit, name)
        return outcome

    def _store_cure(self, project: str, ref: Ref, cure: Cure, now: float) -> None:
        path = self._means.mirror.path_of(project, ref, cure.name)
        healing.apply(cure, self._means.vault.open(project, ref), self._means.mirror, path, now)
        self._means.vault.flush()

    def _all(self) -> list[tuple[str, Ref]]:
        known = self._means.catalog.stored()
        return [each for each in self._means.vault.sessions() if each not in known]

    def _verify(self, project: str, ref: Ref, part: Part | None, *, deep: bool) -> Paced[Verdict]:
        return (
            yield from self._verifying.vault(self._means.vault.open(project, ref), str(ref), part, deep=deep)
        )
