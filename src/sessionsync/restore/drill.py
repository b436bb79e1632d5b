"""A rehearsal of restores: a backup is worth what has come back from it.

Of each session the copy that `restore` would take, its newest checkpoint in the vault and an older one by
chance are put, by the same steps, into an agent's folder of their own, and what then lies there is examined:

    bytes      every file has the root that the checkpoint says
    loadable   name, lines, parents, calls and results: nothing that its original has not as well

A transcript may be odd by itself (an agent that was killed leaves a call without a result): that is told,
and no failure.  Only local copies are read, and nothing outside the scratch folder is written.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from sessionsync.catalog import Catalog, Session
from sessionsync.errors import CopyError, CopyIncomplete, NoSuchCopy, NoSuchSession, RestoreError
from sessionsync.events import Emit
from sessionsync.restore.choice import newest
from sessionsync.restore.copies import Copy, CopyFile, MirrorCopy, MirrorShelf, VaultCopy, VaultShelf, main_of
from sessionsync.restore.known import Known, of_session
from sessionsync.restore.loadable import loadable
from sessionsync.restore.place import Placing
from sessionsync.restore.target import AgentTarget, OutTarget, ProjectTarget, Put, Target
from sessionsync.vault import Mirror, Root, Vault

# One a day, and of how many sessions: the one that changed last, and others by chance.
DRILL_S = 86_400.0
SESSIONS = 5
# What must stay free on the scratch folder's disk.
SPARE_BYTES = 256 * 1024 * 1024
BLOCK_BYTES = 1024 * 1024

Progress = Callable[[int], object]
"""Is told how many bytes more were written; may wait."""


@dataclass(slots=True)
class Rehearsal:
    """One copy that was put back.  `problems` is what is wrong with it, and empty where it passed.

    `flaws` are what the agent stumbles over in the original as well, `untried` why it could not be tried.
    """

    session: str
    origin: str = ""
    checkpoint: str | None = None
    files: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    untried: str = ""

    @property
    def where(self) -> str:
        """Which copy, as a person reads it."""
        return f"{self.origin}: checkpoint {self.checkpoint}" if self.checkpoint else self.origin or "restore"

    @property
    def result(self) -> str:
        """`ok`, `failed`, or `error` where it could not be tried."""
        return "error" if self.untried else "failed" if self.problems else "ok"


class Last(msgspec.Struct):
    """When there was a drill last, and when the last one of which every copy passed ended."""

    at: float = 0.0
    passed: float = 0.0


class Drill:
    """Rehearses restores of one home, in folders below `scratch`."""

    def __init__(
        self, *, catalog: Catalog, mirror: Mirror, vault: Vault, scratch: Path, chance: Random, emit: Emit
    ) -> None:
        self._catalog = catalog
        self._mirror = MirrorShelf(mirror, vault)
        self._vault = VaultShelf(vault)
        self._scratch = scratch
        self._chance = chance
        self._emit = emit

    def next_at(self) -> float:
        """When the next one is due (Unix seconds)."""
        return self._last().at + DRILL_S

    def passed_at(self) -> float:
        """When a drill last ended well (Unix seconds); 0 where none has."""
        return self._last().passed

    def clean(self) -> None:
        """Remove what a drill that was killed has left; call it while none runs."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def sample(self, failed: Collection[str] = ()) -> list[Session]:
        """Sessions to rehearse: those that failed before, the one that changed last, others by chance.

        One that is being written to is left for another day.
        """
        numbers = self._catalog.resting()
        chosen = numbers[:1] + self._chance.sample(numbers[1:], min(SESSIONS - 1, len(numbers[1:])))
        found = {}
        for number in chosen:
            session = self._catalog.session(number)
            found[session.name] = session
        for name in failed:
            if name not in found:
                try:
                    found[name] = self._catalog.resolve(name)
                except NoSuchSession:
                    continue
        return list(found.values())

    def run(self, sessions: Iterable[Session], now: float, progress: Progress) -> list[Rehearsal]:
        """Rehearse these sessions' copies, and keep that it was done.

        Raises:
            StoreError: the state cannot be read or written.
        """
        done = [each for session in sessions for each in self._rehearsals(session, now, progress)]
        for each in done:
            self._emit("restore_rehearsed", session=each.session, result=each.result)
            if each.problems:
                self._emit("drill_failed", session=each.session, where=each.where, what=each.problems[:3])
        last = Last(at=now, passed=self._last().passed)
        results = {each.result for each in done}
        if results == {"ok"}:
            last.passed = now
        self._catalog.store.set_meta("drill", msgspec.json.encode(last).decode())
        if done:
            self._emit(
                "drill_ended",
                sessions=len({each.session for each in done}),
                copies=len(done),
                bytes=sum(each.size for each in done),
                failed=sum(each.result != "ok" for each in done),
            )
        return done

    def _last(self) -> Last:
        try:
            return msgspec.json.decode(self._catalog.store.meta("drill"), type=Last)
        except msgspec.DecodeError:
            return Last()

    # --- one session

    def _rehearsals(self, session: Session, now: float, progress: Progress) -> Iterator[Rehearsal]:
        known = of_session(session, self._catalog)
        try:
            stored = self._vault.copies(known)
            # what is being written to may end anywhere
            plain = self._mirror.copies(known) if session.dirty_since is None else []
            chosen = newest(known, [*plain, *stored]).copies[:1]
        except (NoSuchCopy, CopyError) as error:
            yield Rehearsal(session.name, problems=[str(error)])
            return
        sound = [copy for copy in stored if not copy.doubtful]
        chosen += sound[-1:] + ([self._chance.choice(sound[:-1])] if len(sound) > 1 else [])
        original = _original(session, plain[-1:])
        for number, copy in enumerate(dict.fromkeys(chosen)):
            is_newest = number == 0 or copy is sound[-1]
            yield self._rehearse(known, copy, original if is_newest else None, now, progress)

    def _rehearse(
        self, known: Known, copy: Copy, original: Path | None, now: float, progress: Progress
    ) -> Rehearsal:
        done = Rehearsal(known.name, copy.origin, copy.checkpoint)
        try:
            files = copy.files()
            self._make_room(sum(file.size for file in files))
            with tempfile.TemporaryDirectory(prefix="drill-", dir=self._scratch) as folder:
                place = _place(known, Path(folder))
                puts, _ = place.puts(files)
                with Placing(Path(folder, "kept"), now, progress) as placing:
                    placing.stage(copy, puts)
                    placing.commit([], place.root)
                    missing = list(placing.missing)
                lying = [put for put in puts if put.file.name not in missing]
                done.files, done.size = len(lying), sum(put.file.size for put in lying)
                done.problems += [f"{name} cannot be read" for name in missing]
                done.problems += _differing(copy, lying)
                self._load(known, copy, lying, original, done)
        except (CopyIncomplete, CopyError) as error:
            done.problems.append(str(error))
        except (RestoreError, OSError) as error:
            done.untried = str(error)
        return done

    def _make_room(self, size: int) -> None:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(self._scratch).free < size + SPARE_BYTES:
            raise RestoreError(
                f"There is no room in {self._scratch} to put it back.", hint="Free space on that disk."
            )

    @staticmethod
    def _load(
        known: Known,
        copy: Copy,
        puts: Sequence[Put],
        original: Path | None,
        done: Rehearsal,
    ) -> None:
        """Look at the transcript as its agent will."""
        main = main_of(copy)
        path = next((put.path for put in puts if main is not None and put.file.name == main.name), None)
        if known.ref.source != "claude" or path is None or main is None or not main.size:
            return
        found = loadable(path)
        excused = None if original is None else {_kind(flaw) for flaw in loadable(original)}
        for flaw in found:
            of_its_own = flaw != _OF_THE_PLACE and (excused is None or _kind(flaw) in excused)
            (done.flaws if of_its_own else done.problems).append(flaw)


# What no original can have: it is the restore's doing.
_OF_THE_PLACE = "its name is no session's id"


def _kind(flaw: str) -> str:
    """A flaw without the lines that it names."""
    return flaw.partition(" at line")[0]


def _original(session: Session, plain: Sequence[MirrorCopy]) -> Path | None:
    """The live transcript, else its plain copy; None where neither is there."""
    live = session.location
    if live.name.endswith(".jsonl") and live.is_file():
        return live
    for copy in plain:
        main = main_of(copy)
        if main is not None and main.size:
            return copy.paths[main.name][0]
    return None


def _place(known: Known, folder: Path) -> Target:
    """A place of its own, of the kind that a person's restore would use."""
    project = folder / "project"
    project.mkdir()
    if known.ref.source == "claude":
        return AgentTarget(folder / "agent", known.session_id, project, {})
    if known.ref.source == "structured":
        return ProjectTarget(project, known.session_id)
    return OutTarget(folder / "out")


def _differing(copy: Copy, puts: Sequence[Put]) -> Iterator[str]:
    """Files that do not lie there as the copy says, by what the copy knew before anything was read."""
    for put in puts:
        root = Root()
        with put.path.open("rb") as file:
            while block := file.read(min(BLOCK_BYTES, put.file.size - root.size)):
                root.update(block)
            more = file.read(2)
        expected = _root_of(copy, put.file)
        if root.size < put.file.size or more not in {b"", b"\n"} or root.hexdigest() != expected:
            yield f"{put.file.name} is not what the copy says"


def _root_of(copy: Copy, file: CopyFile) -> str:
    if isinstance(copy, VaultCopy) and file.stored is not None and file.stored.root:
        return file.stored.root
    root = Root()
    for block in copy.read(file):
        root.update(block)
    return root.hexdigest()
