"""The upkeep of the copies: old checkpoints go, segments are merged, damage is found and healed.

Everything here reads beside the one who captures, and yields the bytes that it has moved so that the
caller can pace it.  What changes anything is given to `write`, which runs it in the writer's thread
when all that was captured is committed: there, state, plain copies and vault say the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from sessionsync.catalog import Catalog, Session
from sessionsync.errors import AlreadyRunning, CopyError, DiskFull, NoSuchCheckpoint, NoSuchSession
from sessionsync.events import Emit
from sessionsync.model import Ref, checkpoint_id
from sessionsync.projects import Names
from sessionsync.queue import ARCHIVE, Queue
from sessionsync.remote.archive.ledger import unarchived
from sessionsync.sources import Source
from sessionsync.sources.folders import readable
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Mirror, Root, SessionVault, StoredFile, Vault
from sessionsync.vault import repair as healing
from sessionsync.vault import verify as checks
from sessionsync.vault.plan import states
from sessionsync.vault.references import BROKEN, references
from sessionsync.vault.repair import Cure, Reader, Repair
from sessionsync.vault.retention import kept, last_of_lives
from sessionsync.vault.session import SEGMENT_BYTES
from sessionsync.vault.strays import Stray, strays
from sessionsync.vault.verify import JOURNAL, MIRROR, VAULT, Aside, Bad, Checked, Expected, Newest, Part

T = TypeVar("T")

# A session that has not changed for so long is merged; one that rests for so long is compressed further.
QUIET_S = 600.0
COLD_S = 7 * 86_400.0
# The same session is not looked at more often than this.
AGAIN_S = 3600.0
# A scan a day, each of a seventh of all bytes.
SCAN_S = 86_400.0
SCANS = 7
# What of a file a quick look reads: small ones whole, as are those that critical data comes from.
RECENT_BYTES = 256 * 1024
# What it costs to look at a session at all.
JOURNAL_BYTES = 16 * 1024
# What a killed merge left is removed when it is so old.
GRACE_S = 86_400.0

Paced = Generator[int, None, T]
"""Yields the bytes just moved; returns what came of it."""
FindBytes = Callable[[Session, str, str, int, int], bytes]
"""Bytes [start, end) of a session's file from a copy elsewhere: session, machine, name, start, end.

None where it has none.  `machine` says whose copy is meant, '' the newest of all.
"""


def outcome(work: Paced[T]) -> T:
    """What comes of a piece of work that is done at once, unpaced."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: T = end.value
            return found


class Write(Protocol):
    """Runs something in the writer's thread, after a flush, and returns what it returns."""

    def __call__(self, work: Callable[[float], T], /) -> T:
        """Run it; it is given the time (Unix seconds)."""


@dataclass(slots=True)
class Verdict:
    """What came of a look: how many sessions, how many bytes, what was bad in which of them."""

    checked: int = 0
    size: int = 0
    bad: list[tuple[str, Bad]] = field(default_factory=list)
    results: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many comparisons, by store and result (`ok`, `mismatch`, `missing`)."""
    references: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many references, by kind and result (`ok`, `broken`)."""

    def count(self, checked: Checked) -> None:
        """Take in one comparison."""
        self.size += checked.size
        result = "ok" if checked.bad is None else checked.bad.result
        self.results[checked.store, result] = self.results.get((checked.store, result), 0) + 1

    def add(self, other: Verdict) -> None:
        """Take in what came of another look."""
        self.checked += other.checked
        self.size += other.size
        self.bad += other.bad
        for key, number in other.results.items():
            self.results[key] = self.results.get(key, 0) + number
        self.references += other.references


class Scan(msgspec.Struct):
    """Where the daily scan is: `after` which session (its row's number), -1 when it is through.

    `broken` counts the references that it found to lead nowhere, by kind; `left` are those of the last one.
    """

    number: int = 0
    began: float = 0.0
    after: int = -1
    ended: float = 0.0
    checked: int = 0
    size: int = 0
    bad: int = 0
    broken: dict[str, int] = msgspec.field(default_factory=dict)
    left: dict[str, int] = msgspec.field(default_factory=dict)


_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Healing:
    """What came of a repair: how many bytes were healed from which copy, and what is still bad."""

    healed: dict[str, int] = field(default_factory=dict)
    bits: int = 0
    left: list[Bad] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Where damaged bytes of plain copies went."""


class Upkeep:
    """Looks after the copies of one home.

    `store_anew` makes the vault of a session again, in the writer's thread; `elsewhere` are further copies
    by their names, `versions` the vault of what other machines have made of the sessions here.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        mirror: Mirror,
        vault: Vault,
        sources: Iterable[Source],
        keep_checkpoints: int,
        write: Write,
        store_anew: Callable[[Ref, float], None],
        emit: Emit,
        elsewhere: Mapping[str, FindBytes] | None = None,
        versions: Vault | None = None,
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._mirror = mirror
        self._vault = vault
        self._sources = {source.name: source for source in sources}
        self._keep = keep_checkpoints
        self._write = write
        self._store_anew = store_anew
        self._emit = emit
        self._elsewhere = dict(elsewhere or {})
        self._versions = versions
        self._names = Names(mirror.folder)

    # --- verify

    def verify(self, session: Session, part: Part | None = None, *, deep: bool = False) -> Paced[Verdict]:
        """Look at one session's copies: their structure, and all bytes if `deep`, or those of a part.

        What looks bad is looked at again in the writer's thread before it is believed.
        """
        return (yield from self._verify(session, part, deep=deep, tell=True))

    def look(self, session: Session) -> Paced[Verdict]:
        """Look at what one session's newest checkpoints stand on: their structure, and the newest bytes."""
        return (yield from self._verify(session, Newest(RECENT_BYTES), deep=False, tell=True))

    def _verify(
        self, session: Session, part: Part | Newest | None = None, *, deep: bool, tell: bool
    ) -> Paced[Verdict]:
        verdict = Verdict(checked=1)
        yield JOURNAL_BYTES
        vault, expected = self._open(session), self._expected(session)
        found: list[Bad] = []
        real: list[Bad] = []
        try:
            for checked in self._looks(session, vault, expected, part, deep=deep):
                verdict.count(checked)
                if checked.bad is not None:
                    found.append(checked.bad)
                yield checked.size
            if found:
                real = self._write(lambda _now: self._again(session, found))
        except CopyError as problem:  # it could not even be read
            real = [*found, Bad(VAULT, JOURNAL, 0, 0, 0, "error", str(problem))]
        verdict.results = {key: n for key, n in verdict.results.items() if key[1] == "ok"}
        for bad in real:
            verdict.count(Checked(bad.store, 0, bad))
        verdict.bad = [(session.name, bad) for bad in real]
        known = [checkpoint.id for checkpoint in self._catalog.checkpoints(session.id)]
        verdict.references = references(expected, known, real)
        if not tell:
            return verdict
        self._tell_results(session.name, verdict)
        if verdict.bad:
            where = [bad.where for _, bad in verdict.bad]
            self._emit("damage_found", session=session.name, where=where[:10], count=len(where))
        return verdict

    def _tell_results(self, session: str, verdict: Verdict) -> None:
        for (store, result), number in verdict.results.items():
            self._emit("integrity_checked", session=session, store=store, result=result, count=number)
        for (kind, result), number in verdict.references.items():
            self._emit("references_checked", session=session, kind=kind, result=result, count=number)

    def _looks(
        self,
        session: Session,
        vault: SessionVault,
        expected: list[Expected],
        part: Part | Newest | None,
        *,
        deep: bool,
    ) -> Iterable[Checked]:
        known = [checkpoint.id for checkpoint in self._catalog.checkpoints(session.id)]
        yield from checks.structure(vault, self._mirror, expected, known)
        yield Checked(VAULT, 0, self._unsaid(session, vault))
        if deep:
            yield from checks.content(vault, self._mirror, expected)
            yield from checks.roots(vault, self._mirror, expected)
            yield from checks.asides(vault, self._mirror, expected)
        elif isinstance(part, Newest):
            ends = {file.name: (file.generation, file.length) for file in expected}
            yield from checks.content(vault, self._mirror, expected, lambda s: part.holds(ends, s))
        elif part is not None:
            name = session.name
            yield from checks.content(vault, self._mirror, expected, lambda s: part.holds(name, s))
            if part.has(name):
                yield from checks.asides(vault, self._mirror, expected)

    def _again(self, session: Session, found: list[Bad]) -> list[Bad]:
        """What of it is still bad now that nobody writes."""
        fresh = self._catalog.session(session.id)
        known = [checkpoint.id for checkpoint in self._catalog.checkpoints(session.id)]
        vault = self._open(fresh)
        looks = checks.again(vault, self._mirror, self._expected(fresh), found, known)
        still: dict[tuple[str, str, int, int, int, str], Bad] = {}
        for checked in chain(looks, [Checked(VAULT, 0, self._unsaid(fresh, vault))]):
            if (bad := checked.bad) is not None:
                still[bad.store, bad.name, bad.generation, bad.start, bad.end, bad.what] = bad
        return checks.precise(still.values())

    def _unsaid(self, session: Session, vault: SessionVault) -> Bad | None:
        """Whether the newest checkpoint does not say of every file what was captured: lines were lost."""
        newest = session.checkpoint
        if newest is None or session.dirty_since is not None:
            return None
        try:
            files = vault.files(newest)
        except NoSuchCheckpoint:
            return Bad(VAULT, JOURNAL, 0, 0, 0, "missing", f"it has no checkpoint {newest}")
        for file in self._catalog.files(session.id).values():
            said = files.get(file.name)
            if file.snapped and (said is None or not file.snapped.startswith(_says(said))):
                what = f"its checkpoint {newest} does not have {readable(file.name)} as it was captured"
                return Bad(VAULT, JOURNAL, 0, 0, 0, "mismatch", what)
        return None

    # --- the daily scan

    def next_scan(self) -> float:
        """When the next look at everything is due (Unix seconds); a begun one is."""
        scan = self._scan()
        return 0.0 if scan.after >= 0 else scan.began + SCAN_S

    def scanned_at(self) -> float:
        """When the last scan ended (Unix seconds); 0 where none has."""
        return self._scan().ended

    def broken_references(self) -> dict[str, int]:
        """How many references led nowhere when the last scan ended, by kind."""
        return self._scan().left

    def scan(self, now: float) -> Paced[Verdict]:
        """Look at the next session of the daily scan, or begin one, or end it.

        A scan looks at the structure of everything and at the bytes of one of seven parts, so that each
        byte is read once a week.  Where it is survives a restart.
        """
        scan = self._scan()
        if scan.after < 0:
            scan = Scan(number=scan.number + 1, began=now, after=0, ended=scan.ended, left=scan.left)
        part = Part(scan.number % SCANS + 1, SCANS)
        session = self._catalog.after(scan.after)
        verdict = Verdict()
        try:
            if session is not None:
                scan.after = session.id
                verdict = yield from self.verify(session, part)
            else:
                verdict = yield from self.verify_others(part)
                scan.after, scan.ended, scan.left = -1, now, scan.broken
        finally:
            for (kind, result), number in verdict.references.items():
                if result == BROKEN:
                    scan.broken[kind] = scan.broken.get(kind, 0) + number
            scan.size += verdict.size
            scan.checked += verdict.checked
            scan.bad += len(verdict.bad)
            self._catalog.store.set_meta("scan", _encode(scan).decode())
        if scan.after < 0:
            self._emit(
                "integrity_scanned",
                sessions=scan.checked,
                bytes=scan.size,
                bad=scan.bad,
                seconds=round(now - scan.began, 1),
            )
        return verdict

    def _scan(self) -> Scan:
        try:
            return msgspec.json.decode(self._catalog.store.meta("scan"), type=Scan)
        except msgspec.DecodeError:
            return Scan()

    # --- what belongs to no session of this home

    def verify_others(self, part: Part | None = None, *, deep: bool = False) -> Paced[Verdict]:
        """Look at what only the vault knows: its dictionary, and sessions of another home or a lost state.

        A damaged dictionary is laid anew at once: it is shipped with the program.
        """
        verdict = Verdict()
        if (path := self._vault.damaged_dictionary()) is not None:
            self._write(lambda _now: self._vault.lay_dictionary())
            what = "was damaged, and is laid anew"
            verdict.count(
                Checked(VAULT, 0, bad := Bad(VAULT, readable(str(path)), 0, 0, 0, "mismatch", what))
            )
            verdict.bad.append(("", bad))
            self._emit("damage_found", session="", where=[bad.where], count=1)
            self._emit("damage_healed", session="", bytes=path.stat().st_size, bits=0, sources=["program"])
        for project, ref in self._others_in_vault():
            verdict.add((yield from self._verify_other(project, ref, part, deep=deep)))
        for machine, ref in self._kept_versions():
            verdict.add((yield from self._verify_version(machine, ref, part, deep=deep)))
        self._tell_results("", verdict)
        return verdict

    def repair_other(self, name: str) -> Paced[Healing]:
        """Heal what only the vault knows of the session of this name, as far as another copy of it proves.

        That is a plain copy, or of another machine's version what that machine has archived.

        Raises:
            NoSuchSession: the vault has none.
        """
        if (version := self._version_named(name)) is not None:
            return (yield from self._repair_version(*version))
        found = next((each for each in self._others_in_vault() if str(each[1]) == name), None)
        if found is None:
            raise NoSuchSession(f"No session {name!r} is in the vault.")
        project, ref = found
        outcome = Healing(bits=self._write(lambda now: self._vault.mend(project, ref, now)))
        verdict = yield from self._verify_other(project, ref, None, deep=True)
        repair = Repair(self._vault.open(project, ref), self._mirror, (), {})
        for _, bad in verdict.bad:
            for cure in repair.cures(bad):
                yield len(cure.data)
                self._write(partial(self._store_cure, project, ref, cure))
                outcome.healed[cure.source] = outcome.healed.get(cure.source, 0) + len(cure.data)
        if outcome.healed:
            verdict = yield from self._verify_other(project, ref, None, deep=True)
        outcome.left = [bad for _, bad in verdict.bad]
        self._tell_healing(name, outcome)
        return outcome

    def _store_cure(self, project: str, ref: Ref, cure: Cure, now: float) -> None:
        path = self._mirror.path_of(project, ref, cure.name)
        healing.apply(cure, self._vault.open(project, ref), self._mirror, path, now)
        self._vault.flush()

    def _others_in_vault(self) -> list[tuple[str, Ref]]:
        known = self._catalog.stored()
        return [each for each in self._vault.sessions() if each not in known]

    def _verify_other(self, project: str, ref: Ref, part: Part | None, *, deep: bool) -> Paced[Verdict]:
        return (yield from self._verify_in(self._vault.open(project, ref), str(ref), part, deep=deep))

    def _verify_in(
        self, vault: SessionVault, name: str, part: Part | None, *, deep: bool, tell: bool = True
    ) -> Paced[Verdict]:
        yield JOURNAL_BYTES
        verdict = Verdict(checked=1)
        looks = [checks.structure(vault, self._mirror, ())]
        if deep:
            looks += [checks.content(vault, self._mirror, ()), checks.roots(vault, self._mirror, ())]
        elif part is not None:
            looks.append(checks.content(vault, self._mirror, (), partial(part.holds, name)))
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
            self._emit("damage_found", session=name, where=[b.where for b in found][:10], count=len(found))
        return verdict

    # --- what other machines have made of the sessions here

    def _kept_versions(self) -> list[tuple[str, Ref]]:
        with suppress(CopyError):  # there are none yet
            return list(self._versions.sessions()) if self._versions is not None else []
        return []

    def _version_named(self, name: str) -> tuple[str, Ref] | None:
        return next((each for each in self._kept_versions() if _version_name(*each) == name), None)

    def _verify_version(self, machine: str, ref: Ref, part: Part | None, *, deep: bool) -> Paced[Verdict]:
        """Look at what is kept of one machine; what looks bad is believed when nobody writes there."""
        if self._versions is None:
            return Verdict()
        vault, name = self._versions.open(machine, ref), _version_name(machine, ref)
        verdict = yield from self._verify_in(vault, name, part, deep=deep, tell=False)
        if verdict.bad:
            try:
                with self._versions.lock():
                    verdict = outcome(self._verify_in(vault, name, part, deep=deep))
            except AlreadyRunning:
                return Verdict(checked=1)  # it is looked at another time
        return verdict

    def _repair_version(self, machine: str, ref: Ref) -> Paced[Healing]:
        verdict = yield from self._verify_version(machine, ref, None, deep=True)
        outcome, session = Healing(), self._catalog.named(ref.session_id)
        if verdict.bad and self._versions is not None and session is not None:
            vault = self._versions.open(machine, ref)
            repair = Repair(vault, self._mirror, (), self._away(session, machine))
            for cure in chain.from_iterable(repair.cures(bad) for _, bad in verdict.bad):
                yield len(cure.data)
                with suppress(AlreadyRunning), self._versions.lock():
                    self._versions.open(machine, ref).append(
                        cure.name, cure.generation, cure.start, cure.data
                    )
                    self._versions.flush()
                    outcome.healed[cure.source] = outcome.healed.get(cure.source, 0) + len(cure.data)
            verdict = yield from self._verify_version(machine, ref, None, deep=True)
        outcome.left = [bad for _, bad in verdict.bad]
        self._tell_healing(_version_name(machine, ref), outcome)
        return outcome

    def forget_versions(self, now: float) -> Paced[int]:
        """Let go of old versions of other machines; returns how many.

        As many stay as of our own checkpoints, and always the newest of each machine, what it held before it
        was rewritten, and every version of which there was a conflict.  Where the state does not know the
        session nothing goes.
        """
        gone = 0
        for machine, ref in self._kept_versions():
            yield JOURNAL_BYTES
            if self._versions is None or (session := self._catalog.named(ref.session_id)) is None:
                continue
            with suppress(AlreadyRunning), self._versions.lock():
                vault = self._versions.open(machine, ref)
                fold = vault.fold()
                if fold.damaged:
                    continue
                snapshots = fold.snapshots()
                ids = [snapshot.id for snapshot in snapshots]
                pinned = last_of_lives(zip(ids, states(fold), strict=True)) | self._meant(session, machine)
                stay = kept(snapshots, keep=self._keep, now=now, pinned=pinned)
                old = [name for name in ids if name not in stay]
                if not old:
                    continue
                vault.forget(old, now)
                self._versions.flush()
                merge = self._versions.merge(machine, ref, {})
                yield from merge.prepare()
                if not merge.why:
                    self._versions.commit(merge)
                gone += len(old)
                self._emit("checkpoints_forgotten", session=_version_name(machine, ref), count=len(old))
        return gone

    def _meant(self, session: Session, machine: str) -> set[str]:
        """The versions of a machine that something here speaks of, conflicts long settled too."""
        rows = self._catalog.store.rows(
            "SELECT checkpoint FROM versions WHERE session = ? AND machine = ?"
            " UNION SELECT json_extract(remote, '$.checkpoint') FROM conflicts WHERE session = ?",
            (session.id, machine, session.id),
        )
        return {str(row[0]) for row in rows if row[0]}

    # --- repair

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
            self._tell_healing(session.name, outcome)
        return outcome

    def _repair(self, session: Session, outcome: Healing) -> Paced[None]:
        if not self._open(session).is_new():
            project, ref = session.project or "unknown", session.stored_as
            outcome.bits = self._write(lambda now: self._vault.mend(project, ref, now))
        tried: list[Bad] = []
        for turn in range(3):  # what heals the vault may then heal the plain copy, or the other way round
            verdict = yield from self._verify(session, deep=True, tell=turn == 0)
            bad = [each for _, each in verdict.bad if each not in tried]
            if not bad:
                break
            tried += bad
            yield from self._heal(session, bad, outcome)
        outcome.left = [each for _, each in verdict.bad]
        self._tell_healing(session.name, outcome)
        yield from self._come_to_terms(session, outcome.left)

    def _tell_healing(self, session: str, outcome: Healing) -> None:
        if outcome.healed or outcome.bits:
            self._emit(
                "damage_healed",
                session=session,
                bytes=sum(outcome.healed.values()),
                bits=outcome.bits,
                sources=sorted(outcome.healed),
            )
        for each in outcome.left:
            self._emit("damage_remained", session=session, where=each.where, what=each.what)

    def _heal(self, session: Session, found: list[Bad], outcome: Healing) -> Paced[None]:
        repair = Repair(self._open(session), self._mirror, self._expected(session), self._others(session))
        is_gone = self._open(session).is_new()
        for bad in sorted(found, key=lambda each: (each.store != VAULT, each.start)):
            if is_gone and bad.store == VAULT:
                continue
            if bad.aside is not None:
                self._write(partial(self._mend_aside, session, bad, bad.aside, outcome))
                continue
            for cure in repair.cures(bad):
                yield len(cure.data)
                self._apply(session, cure, outcome)
        if is_gone:
            with suppress(CopyError):  # the plain copies are not whole either, which is found again
                self._write(lambda now: self._store_anew(session.ref, now))
                stored = sum(file.stored for file in self._catalog.files(session.id).values())
                outcome.healed[MIRROR] = outcome.healed.get(MIRROR, 0) + stored

    def _come_to_terms(self, session: Session, left: list[Bad]) -> Paced[None]:
        """What only the journal knew is lost for good: that is said once, and then it begins anew.

        The old pair is kept; checkpoints that may be older than they were stay marked.
        """
        if not left or any(bad.name != JOURNAL or bad.end or bad.result == "error" for bad in left):
            return
        vault = self._open(session)
        if vault.fold().damaged:
            besides = {file.name: file.generation for file in self._catalog.files(session.id).values()}
            stamp = self._write(checkpoint_id)
            merge = self._vault.merge(vault.project, vault.ref, besides, kept_as=stamp)
            yield from merge.prepare()
            if merge.why or not self._write(lambda _now: self._vault.commit(merge)):
                return
        if self._unsaid(self._catalog.session(session.id), vault):
            self._write(lambda now: self._store_anew(session.ref, now))
        there = {snapshot.id for snapshot in self._open(session).snapshots()}
        known = {checkpoint.id for checkpoint in self._catalog.checkpoints(session.id)}
        newest = self._catalog.session(session.id).checkpoint or ""
        self._catalog.forget_checkpoints(session.id, known - there - {newest})

    def _apply(self, session: Session, cure: Cure, outcome: Healing) -> None:
        def work(now: float) -> None:
            # what was captured meanwhile counts, not what was looked at
            file = self._catalog.files(session.id).get(cure.name)
            project, ref = session.project or "unknown", session.stored_as
            path = self._mirror.path_of(project, ref, cure.name)
            if cure.store != VAULT and (
                file is None
                or file.generation != cure.generation
                or file.length < cure.end
                or file.is_rewritten
            ):
                return
            kept_in = healing.apply(cure, self._vault.open(project, ref), self._mirror, path, now)
            if cure.store != VAULT and session.project_key is not None:
                self._names.keep({session.project_key: project})  # went with the plain copies
            self._vault.flush()
            self._mirror.flush()
            outcome.healed[cure.source] = outcome.healed.get(cure.source, 0) + len(cure.data)
            if kept_in is not None:
                outcome.kept.append(kept_in)

        self._write(work)

    def _mend_aside(self, session: Session, bad: Bad, aside: Aside, outcome: Healing, now: float) -> None:
        """Put back what was set aside as the vault has it: a few bytes, in the writer's thread."""
        start, end = aside.offset + bad.start, aside.offset + bad.end
        with suppress(CopyError):
            data = b"".join(self._open(session).read(aside.file, aside.generation, end, start))
            kept_in = self._mirror.mend(aside.path, bad.start, data, now)
            self._mirror.flush()
            outcome.healed[VAULT] = outcome.healed.get(VAULT, 0) + len(data)
            outcome.kept += [kept_in] if kept_in is not None else []

    def _others(self, session: Session) -> dict[str, Reader]:
        """The live file, and the copies elsewhere."""
        source = self._sources.get(session.ref.source)
        found = None if source is None else self._write(lambda _now: source.look(session.ref))
        live = {file.name: file.path for file in found.files} if found is not None else {}

        def read(name: str, start: int, end: int) -> bytes:
            return _read(live[name], start, end) if name in live else b""

        return {"live": read, **self._away(session)}

    def _away(self, session: Session, machine: str = "") -> dict[str, Reader]:
        """The copies elsewhere: of one machine, or the newest of all."""

        def of(find: FindBytes) -> Reader:
            return lambda name, start, end: find(session, machine, name, start, end)

        return {name: of(find) for name, find in self._elsewhere.items()}

    # --- retention and merge

    def crowded(self) -> list[int]:
        """Sessions that have more checkpoints than are kept for sure."""
        return self._catalog.with_checkpoints_over(self._keep)

    def forget(self, session: Session) -> list[str]:
        """Forget the checkpoints that are not kept any longer, in the vault and then in the state."""
        return self._write(lambda now: self._forget(session, now))

    def _forget(self, session: Session, now: float) -> list[str]:
        session = self._catalog.session(session.id)
        known = self._catalog.checkpoints(session.id)
        vault = self._open(session)
        fold = vault.fold()
        if fold.damaged:
            return []  # first it is healed: a line that cannot be read may say what these are for
        snapshots = fold.snapshots()
        history = list(zip((snapshot.id for snapshot in snapshots), states(fold), strict=True))
        there = {name for name, _ in history}
        pinned = self._pinned(session) | last_of_lives(history)
        stay = kept(known, keep=self._keep, now=now, pinned=pinned)
        # of another home that shared this vault, or from before the state was lost
        stay |= kept(snapshots, keep=self._keep, now=now, pinned=pinned | stay)
        ids = sorted(({checkpoint.id for checkpoint in known} | there) - stay)
        if ids:
            vault.forget([name for name in ids if name in there], now)
            self._vault.flush()
            self._catalog.forget_checkpoints(session.id, ids)
            self._emit("checkpoints_forgotten", session=session.name, count=len(ids))
        return ids

    def _pinned(self, session: Session) -> set[str]:
        """Checkpoints that somebody goes on from.

        What waits to be sent or is buried, what was sent last, what the archive still lacks, and what a file
        in `checkpoints/` names, as long as the session keeps that file: who rolls their own checkpoints rolls
        ours.
        """
        found = self._queue.checkpoints(session.id) | {session.checkpoint, session.pushed_checkpoint}
        if self._queue.get(ARCHIVE, session.id) is not None:
            found |= unarchived(self._catalog.store, session.id)
        names = {
            Path(file.name).stem
            for file in self._catalog.files(session.id).values()
            if file.name.startswith("checkpoints/") and file.deleted_at is None
        }
        found |= {c.id for c in self._catalog.checkpoints(session.id) if c.alias in names}
        return {name for name in found if name}

    def next_to_merge(self, now: float) -> Session | None:
        """The session that has waited longest for a merge to be thought about."""
        return self._catalog.next_to_merge(
            quiet_before=now - QUIET_S, cold_before=now - COLD_S, again_before=now - AGAIN_S
        )

    def merge(self, session: Session, now: float, *, force: bool = False) -> Paced[bool]:
        """Merge one session's segments where that pays; returns whether it was done."""
        cold = max(session.changed_at, session.checkpoint_at or 0.0) <= now - COLD_S
        besides = {file.name: file.generation for file in self._catalog.files(session.id).values()}
        project, ref = session.project or "unknown", session.stored_as
        merge = self._vault.merge(project, ref, besides, cold=cold, force=force)
        yield JOURNAL_BYTES
        yield from merge.prepare()
        done = False
        if not merge.why:
            done = self._write(lambda _now: self._vault.commit(merge))
        for segment in merge.damaged:
            self._emit(
                "damage_found",
                session=session.name,
                where=[f"{VAULT}: {segment.file}, bytes {segment.offset} to {segment.end}"],
                count=1,
            )
        if done:
            before, after = merge.packed_bytes
            frames = merge.frames
            self._emit(
                "segments_merged", session=session.name, before=before, bytes=after,
                frames_before=frames[0], frames=frames[1], cold=cold,
            )  # fmt: skip
        self._catalog.mark_merged(session, now, cold=cold)
        return done

    # --- gc

    def gc(self, now: float, *, dry_run: bool = False) -> Paced[dict[str, Any]]:
        """Remove what nothing names: leftovers of killed merges, older than a day, and bytes in packs.

        `files`, `packs` and `freed_bytes` say what was, or would be, removed.  Nothing else is ever touched:
        neither files of others in these folders, nor what was set aside.
        """
        files = self._vault.orphans(now - GRACE_S)
        if files and not dry_run:
            found = files
            files = self._write(lambda now: self._remove(found, now))
        packs: dict[str, int] = {}
        for session in self._catalog.each():
            yield JOURNAL_BYTES
            try:
                fold = self._open(session).fold()
                nameless = fold.pack_bytes - sum(segment.packed for segment, _ in fold.stored)
                if nameless <= 0 or fold.damaged:
                    continue
                if dry_run or (yield from self.merge(session, now, force=True)):
                    packs[session.name] = nameless
            except CopyError:  # what cannot be read is not judged
                continue
        if (files or packs) and not dry_run:
            self._emit("orphans_removed", files=len(files), packs=len(packs))
        return {
            "files": [readable(str(path)) for path in files],
            "packs": [{"session": name, "bytes": size} for name, size in packs.items()],
            "freed_bytes": sum(files.values()) + sum(packs.values()),
        }

    def _remove(self, files: Iterable[Path], now: float) -> dict[Path, int]:
        still = self._vault.orphans(now - GRACE_S)  # a merge may have given one of them its place meanwhile
        gone = {path: still[path] for path in files if path in still}
        for path in gone:
            self._vault.remove(path)
        return gone

    # --- adoption

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
        known = {ref.session_id for _, ref in self._catalog.stored()}
        known |= {
            ref.session_id
            for project, ref in self._vault.sessions()
            if ref.session_id in found and self._vault.open(project, ref).snapshots()
        }
        adopted, tombstones = 0, Tombstones(self._mirror.folder)
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
            if self._catalog.named(stray.session_id) is not None:
                return False  # what was captured is in the catalog now, and was not while we looked
            if (vault := self._vault.open(stray.project, ref)).is_new():
                meta = {"location": readable(str(stray.path)), "adopted": True}
                vault.describe(first_seen=stray.at, project_key="", meta=meta)
            return True

        def store(data: bytes, offset: int, _now: float) -> None:
            self._vault.open(stray.project, ref).append(name, 0, offset, data)

        def end(_now: float) -> None:
            files = [StoredFile(name, 0, root.size, root.hexdigest())]
            vault = self._vault.open(stray.project, ref)
            vault.snapshot(
                id=checkpoint_id(stray.at), at=stray.at, trigger="adopted", alias="", files=files,
                meta={"size": root.size},
            )  # fmt: skip
            self._vault.flush()

        if not self._write(begin):
            return False
        while data := _read(stray.path, root.size, min(root.size + SEGMENT_BYTES, stray.size)):
            self._write(partial(store, data, root.size))
            root.update(data)
            yield 2 * len(data)
        self._write(end)
        self._emit("session_adopted", session=str(ref), project=stray.project, copy=readable(str(stray.path)))
        return True

    # --- inside

    def _open(self, session: Session) -> SessionVault:
        return self._vault.open(session.project or "unknown", session.stored_as)

    def _expected(self, session: Session) -> list[Expected]:
        """Every plain copy of a session as the state knows it."""
        project, ref = session.project or "unknown", session.stored_as
        return [
            Expected(
                name=file.name,
                path=self._mirror.path_of(project, ref, file.name),
                generation=file.generation,
                length=file.length,
                stored=file.stored,
                tail=file.tail,
                peaks=tuple(file.peaks),
                copied=not file.is_rewritten,
            )
            for file in self._catalog.files(session.id).values()
        ]


def _version_name(machine: str, ref: Ref) -> str:
    return f"{ref} of {machine}"


def _says(file: StoredFile) -> str:
    """The beginning of what capture remembers of a file's statement (`File.snapped`)."""
    return f"{file.generation}:{file.length}:"


def _read(path: Path, start: int, end: int) -> bytes:
    """Bytes of a live file; none where it is gone, or is a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, end - start, start)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
