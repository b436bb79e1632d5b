"""The way of a session through the capture: looked at, captured, and committed with all others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from sessionsync.capture.appointments import Appointments
from sessionsync.capture.commit import Commit
from sessionsync.capture.files import Files, Unread
from sessionsync.capture.homes import Homes
from sessionsync.capture.recall import as_captured, recall
from sessionsync.capture.stored import Stored
from sessionsync.capture.work import (
    FLUSH_SESSIONS,
    LONGEST_WITHOUT_CHECKPOINT_S,
    TURN_BYTES,
    Work,
    fingerprint,
)
from sessionsync.catalog import Catalog, Checkpoint
from sessionsync.config import Config
from sessionsync.errors import CopyError, DiskFull, NoSuchSession
from sessionsync.events import Emit
from sessionsync.forgotten import was_forgotten
from sessionsync.hands import Hands
from sessionsync.model import Found, Ref
from sessionsync.project_names import Names
from sessionsync.queue import Queue
from sessionsync.remote.tiers import tier_of
from sessionsync.sources import Source
from sessionsync.sources.folders import can_enter, folders_in, is_hidden, readable
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Mirror, Vault

# So many new sessions are a first backup, or an agent's that was just moved here.
MANY_NEW = 50
# Of so many sessions it is remembered that their vault is in step with the state; which costs others a line.
IN_STEP = 500


class Capture:
    """Watches nothing, waits for nothing: captures what it is told to look at.

    Call it from one thread.  `everything_new` is for runners that start without history: what lies
    there counts as changed after the first start.  Whoever `skims` makes copies of what is new first, and
    checkpoints of it, and reads all of its lines at the next look, which is due at once: so it is done where
    very many are new.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        mirror: Mirror,
        vault: Vault,
        sources: Sequence[Source],
        names: Names,
        config: Config,
        first_seen: float,
        emit: Emit,
        everything_new: bool = False,
        skims: bool = False,
        hands: Hands = map,
    ) -> None:
        self.config = config
        self._skims = skims
        self._catalog = catalog
        self._mirror = mirror
        self._vault = vault
        self._sources = {source.name: source for source in sources}
        self._tombstones = Tombstones(mirror.folder)
        self._first_seen = first_seen
        self._everything_new = everything_new
        self._emit = emit
        self._work: dict[Ref, Work] = {}
        self._unread: dict[Ref, dict[str, str]] = {}
        self._unfinished: set[Ref] = set()
        self._behind: dict[Ref, DiskFull] = {}
        self.strangers: dict[Ref, int] = {}
        """How many bytes they have of what the last `survey` named that the state knows nothing of, and whose
        ids are theirs alone, none longer than a turn: another process may capture these, see `take_over`."""
        self.skimmed: dict[Ref, int] = {}
        """The same of sessions that were only skimmed: another process may read these, see `lend`."""
        self.lost: set[Ref] = set()
        """The sessions whose positions went back with the last `flush`."""
        self._stored = Stored(catalog, mirror, vault, names, self._sources)
        self._files = Files(self._stored, mirror, emit, hands, self._settle)
        self._homes = Homes(catalog, vault, names, self._stored, self._keys, self._settle)
        self._appointments = Appointments(catalog, self._stored)
        self._commit = Commit(catalog, queue, emit)

    @property
    def projects_found(self) -> int:
        """How many sessions were given their project: with each there may be folders to watch."""
        return self._homes.found

    @property
    def items_queued(self) -> int:
        """How many items for GitHub and the archive were queued: with each there is something to send."""
        return self._commit.queued

    @property
    def started(self) -> dict[Ref, str]:
        """The folders that new sessions were started in, as far as that is known, from the last `survey`."""
        return self._homes.started

    # --- what to look at

    def survey(self) -> list[Ref]:
        """Compare every session on disk with what was captured; those that differ, newest first.

        This is the truth that watcher events only hint at.  It reads no file, but, where very many are new,
        what their lines begin with, to give all their projects their names.
        """
        self._stored.tails.let_go()  # those of sessions that rest by now
        known = self._catalog.fingerprints()
        differing: list[tuple[float, Ref]] = []
        new: list[tuple[Source, Found]] = []
        self.strangers = {}
        for source in self._sources.values():
            for found in source.find():
                was = known.pop(found.ref, None)
                if was == fingerprint(found) or self._is_forgotten(found.ref):
                    continue
                differing.append((found.mtime, found.ref))
                if was is not None:
                    continue
                new.append((source, found))
                size = sum(file.size for file in found.files)
                if size <= TURN_BYTES and not found.ref.scope:
                    self.strangers[found.ref] = size
        self._skims = len(new) >= MANY_NEW
        self._homes.started.clear()
        if self._skims:
            self._homes.expect(new)
        nothing = fingerprint(None)
        gone = [ref for ref, was in known.items() if was != nothing and ref.source in self._sources]
        return [ref for _, ref in sorted(differing, key=lambda pair: -pair[0])] + gone

    def locate(self, path: Path) -> Ref | None:
        """The session that a changed path belongs to."""
        for source in self._sources.values():
            if (ref := source.locate(path)) is not None:
                return ref
        return None

    def due(self, now: float) -> list[Ref]:
        """Sessions whose time has come without a change: quiet ones, long dirty ones, unsettled ones."""
        return self._catalog.due(
            dirty_before=now - LONGEST_WITHOUT_CHECKPOINT_S,
            quiet_before=now - self.config.sources.quiet_seconds,
            now=now,
        )

    def next_due(self) -> float | None:
        """When `due` will next name a session."""
        return self._catalog.next_due(
            dirty_s=LONGEST_WITHOUT_CHECKPOINT_S, quiet_s=float(self.config.sources.quiet_seconds)
        )

    def unreadable(self) -> dict[str, str]:
        """Folders and files that are there and could not be read at the last look, and why; any thread."""
        found = {path: why for source in self._sources.values() for path, why in source.unreadable.items()}
        for files in list(self._unread.values()):
            found |= files
        return found

    def shuts_out(self, folders: Iterable[Path]) -> bool:
        """Whether one of these, or a folder in them, cannot be looked into that could be at the last look."""
        known = self.unreadable()
        return any(
            path not in known and not can_enter(path)
            for folder in folders
            for path in (str(folder), *folders_in(folder))
        )

    def passed_over(self) -> dict[str, str]:
        """Transcripts, and folders of such, that are not read for what they are, and why; any thread."""
        return {path: why for source in self._sources.values() for path, why in source.passed_over.items()}

    def is_unfinished(self, ref: Ref) -> bool:
        """Whether the last `capture` of it left something for the next one."""
        return ref in self._unfinished

    def is_behind(self, ref: Ref) -> DiskFull | None:
        """Why the last `capture` left a plain copy behind: the vault has all that it lacks, if that is so."""
        return self._behind.get(ref)

    # --- capturing

    def capture(self, ref: Ref, now: float, *, at_most: int | None = None, by_time: bool = True) -> int:
        """Capture what is new of one session, and make the checkpoints that are due.

        Returns the bytes captured.  Nothing of the session is half-believed after an error: its
        positions stay as they were.  `at_most` so many bytes of a file are read, see `is_unfinished`.
        Checkpoints that time alone asks for are made if `by_time`.  A plain copy that has no room is left
        behind, see `is_behind`.

        Raises:
            DiskFull: there is no room in the vault; the plain copies are made to their ends all the same.
            CopyError: a copy could not be made or verified.
            StoreError: the state could not be read.
        """
        self._unfinished.discard(ref)
        self.strangers.pop(ref, None)
        self.skimmed.pop(ref, None)
        try:
            return self._capture(ref, now, at_most, by_time=by_time)
        except BaseException:
            self._forget(ref)
            raise
        finally:
            if ref in self._work:
                self._work[ref].fresh = None

    def checkpoint(self, ref: Ref, trigger: str, now: float) -> Checkpoint:
        """Capture what is on disk and make a checkpoint of it, committed when this returns.

        Without a change since the newest checkpoint that one is returned.

        Raises:
            NoSuchSession: nothing of it was ever on this disk.
            DiskFull: there is no room for one of its copies; if that is the plain one, it is committed.
        """
        self.capture(ref, now, by_time=False)  # it is to have this trigger
        work = self._load(ref)
        if work is None and self._is_forgotten(ref):
            raise was_forgotten(ref)
        if work is None:
            raise NoSuchSession(
                f"No session {ref} is on this disk.", hint="`sessiond list` shows the known ones."
            )
        self._checkpoint(work, trigger, now)
        self.flush(now)
        newest = work.session.checkpoint
        if newest is None:
            raise NoSuchSession(f"Session {ref} is empty.", hint="There is nothing to make a checkpoint of.")
        if (full := self.is_behind(ref)) is not None:
            raise full
        return self._catalog.checkpoint(work.session, newest)

    def _checkpoint(self, work: Work, trigger: str, now: float) -> None:
        """Make a checkpoint of what is captured of a session, where that has changed since the newest one."""
        ref = work.session.ref
        try:
            if work.session.dirty_since is not None:
                self._stored.checkpoint(work, trigger, now)
                self._work[ref] = work  # also where its source cannot be looked into now
        except BaseException:
            self._forget(ref)
            raise

    def let_go(self, ref: Ref, now: float) -> None:
        """Hold nothing of a session any more: somebody has it forgotten.

        Raises:
            CopyError: what was captured could not be made durable.
            StoreError: the state could not be written.
        """
        self.flush(now)
        self._forget(ref)
        self.skimmed.pop(ref, None)
        self._unread.pop(ref, None)
        self._unfinished.discard(ref)
        self._behind.pop(ref, None)

    def store_anew(self, ref: Ref, now: float) -> None:
        """Make the vault of a session whole again, where something removed it, or lines of its journal.

        All that the plain copies hold goes into a new one; of one that is there a checkpoint states every
        file anew.

        Raises:
            NoSuchSession: it is not known.
            CopyError: a plain copy is not whole, or cannot be stored.
        """
        work = self._load(ref)
        if work is None:
            raise NoSuchSession(f"No session {ref} is known.", hint="See which there are: sessiond list")
        session = work.session
        try:
            self._stored.vault_of(work)
            self._stored.in_step.discard(ref)
            if session.dirty_since is not None or session.checkpoint is not None:
                self._stored.checkpoint(work, "repair", now)
        except BaseException:
            self._forget(ref)
            raise
        self._work[ref] = work
        self.flush(now)

    def recall(self, project: str, ref: Ref) -> Generator[int, None, Callable[[float], bool] | None]:
        """Read back a session that the vault has and the state has not, as one that its agent has deleted.

        Yields the bytes just read, in any thread.  Returns what then has to be done where everything is
        captured: it commits what was read, and says whether the state had not come to know it meanwhile;
        None where there is nothing to be read.

        Raises:
            CopyError: it cannot be read, or a plain copy not be made.
        """
        source = self._sources.get(ref.source)
        vault = self._vault.open(project, ref)
        work = None if source is None else (yield from recall(vault, source))
        if source is None or work is None:
            return None
        return lambda now: self._know(source, work, now)

    def _know(self, source: Source, work: Work, now: float) -> bool:
        ref = work.session.ref
        is_taken = ref in self._work or self._catalog.named(work.session.key) is not None
        if is_taken or self._catalog.find(ref) is not None or self._is_forgotten(ref):
            return False
        self.strangers.pop(ref, None)
        self._homes.recall(work)
        for file in work.files.values():
            self._stored.read_tail(source, work, file)
        self._vanished(work, now)
        self._files.fill(work, now)
        if work.full is not None:
            raise work.full
        work.tell("session_recalled", project=work.session.project)
        self._settle(work, now)
        return True

    def checkpoint_all(self, trigger: str, now: float) -> int:
        """Make a checkpoint of every session that changed since its newest one; returns how many.

        What waits for `flush` was captured just now; of the others what is on disk is captured first.

        Raises:
            CopyError: of some none could be made; the others have theirs.
            StoreError: the state could not be written.
        """
        waiting = [ref for ref, work in self._work.items() if work.session.dirty_since is not None]
        others = [ref for ref in self._catalog.changed() if ref not in self._work]
        failed: list[CopyError] = []
        for ref in (*waiting, *others):
            try:
                if ref not in self._work:
                    self.capture(ref, now, by_time=False)
                if (work := self._load(ref)) is not None:
                    self._checkpoint(work, trigger, now)
                if (full := self.is_behind(ref)) is not None:
                    failed.append(full)
                if len(self._work) >= FLUSH_SESSIONS:
                    self.flush(now)
            except CopyError as error:
                failed.append(error)
        try:
            self.flush(now)
        except CopyError as error:
            failed.append(error)
        if failed:
            raise failed[0]
        return len(waiting) + len(others)

    def flush(self, now: float) -> int:
        """Make everything captured so far durable and commit it; returns the number of sessions.

        Raises:
            CopyError: a copy could not be made durable; positions stay as they were, of all sessions where it
                was a plain copy, else of those whose vault it was.
            StoreError: the commit failed; positions stay as they were.
        """
        self._homes.rest()
        if not self._work:
            return 0
        in_step, self._stored.in_step = self._stored.in_step, set()
        batch, failed = self._make_durable()
        lost = {ref for ref, work in batch.items() if work.session.name in failed}
        batch = {ref: work for ref, work in batch.items() if ref not in lost}
        with self._catalog.store.transaction():
            for work in batch.values():
                self._commit.save(work, now, has_archive=self.config.has_archive)
        self.lost = lost
        in_step -= lost
        self._stored.in_step = in_step if len(in_step) <= IN_STEP else in_step & batch.keys()
        for work in batch.values():
            session = work.session
            if session.summary.skimmed and session.dirty_since is None and session.size <= TURN_BYTES:
                self.skimmed[session.ref] = session.size
            news, work.news = work.news, []
            for event, fields in news:
                self._emit(event, **fields)
            if work.captured_bytes:  # not before: what cannot be committed is captured again
                self._emit("session_captured", session=work.session.name, bytes=work.captured_bytes)
            for checkpoint in work.checkpoints:
                self._emit(
                    "checkpoint_completed",
                    session=work.session.name,
                    checkpoint=checkpoint.id,
                    trigger=checkpoint.trigger,
                    bytes=checkpoint.size,
                )
        for problem in failed.values():
            raise problem
        return len(batch)

    def hand_over(self) -> list[Work]:
        """Make everything captured so far durable, and let go of it: what another `Capture` has to commit.

        For a process that captures for another, each with a `Mirror` and a `Vault` of its own in the same
        folders, and that has no state.  What could not be captured wholly, or not be made durable, is not in
        it; to the other it is what a crash leaves.

        Raises:
            CopyError: the plain copies could not be made durable.
        """
        batch, failed = self._make_durable()
        for work in batch.values():
            work.let_go()
        whole = batch.keys() - self._unread.keys() - self._unfinished - self._behind.keys()
        self._stored.in_step.clear()
        self._unread.clear()
        self._unfinished.clear()
        self._behind.clear()
        return [work for ref, work in batch.items() if ref in whole and work.session.name not in failed]

    def take_over(self, works: Iterable[Work]) -> None:
        """Have the next `flush` commit what another process has captured, which nobody here has begun."""
        for work in works:
            self._work[work.session.ref] = work
            self._homes.found += work.told is None and work.session.project_key is not None

    def lend(self, ref: Ref) -> Work | None:
        """What another process needs to `read` a session that was only skimmed; None where none is known."""
        return self._load(ref)

    def read(self, work: Work) -> None:
        """Prove the packed copy of a session that another process has lent, and read its lines.

        Raises:
            CopyError: its copies cannot be read, or are not what was captured: who has lent it captures anew.
        """
        self._read_up(self._sources[work.session.ref.source], work, set())

    def _make_durable(self) -> tuple[dict[Ref, Work], dict[str, CopyError]]:
        """All that waits for `flush`, and of which sessions, by name, the vault could not be made durable.

        Raises:
            CopyError: the plain copies could not be; positions stay as they were.
        """
        batch, self._work = self._work, {}
        self.lost = set(batch)
        try:
            self._mirror.flush()
        finally:  # what is in the vault is durable, whatever became of the plain copies
            failed = self._vault.flush_each()
        return batch, failed

    @property
    def unflushed(self) -> AbstractSet[Ref]:
        """The sessions that wait for `flush`."""
        return self._work.keys()

    def include_history(self, now: float, ref: Ref | None = None, *, dry_run: bool = False) -> int:
        """Let sessions from before the first start have a comment too; returns how many were added."""
        self.flush(now)
        added = 0
        with self._catalog.store.transaction():
            for session in self._catalog.sessions():
                if session.commented or session.checkpoint is None or ref not in {None, session.ref}:
                    continue
                added += 1
                if not dry_run:
                    session.commented = True
                    self._catalog.save(session)
                    self._commit.enqueue(session, now)
        return added

    def _is_forgotten(self, ref: Ref) -> bool:
        return self._tombstones.holds(ref.source, ref.session_id, ref.scope)

    def _forget(self, ref: Ref) -> None:
        """Go back to what is committed of a session; the vault may know more of it by now."""
        self._work.pop(ref, None)
        self._stored.in_step.discard(ref)

    # --- one session

    def _capture(self, ref: Ref, now: float, at_most: int | None, *, by_time: bool) -> int:
        source = self._sources[ref.source]
        found = source.look(ref)
        if (work := self._load(ref)) is not None:
            work.full, work.skims = None, False
        else:
            if found is None or self._is_forgotten(ref):
                return 0
            work = self._homes.begin(source, found, now)
            is_short = sum(file.size for file in found.files) <= TURN_BYTES
            work.skims = self._skims and by_time and is_short  # else somebody waits for this one
        there = {file.name for file in found.files} if found is not None else set()
        if not work.skims and work.session.summary.skimmed:
            self._read_up(source, work, there)
        before = work.session.captured_bytes
        self._files.regain(source, work, there)
        if found is None or not found.files:
            if source.unreadable or is_hidden(work.session.location):
                return 0  # it may be where nobody can look now
            self._vanished(work, now)
        else:
            self._advance(source, work, found, now, at_most)
            if ref not in self._unfinished:
                quiet_s = self.config.sources.quiet_seconds
                self._appointments.keep(source, work, found, now, quiet_s=quiet_s, by_time=by_time)
        if work.session.summary.skimmed:
            work.appoint(0.0)  # at once, however the clock is set
        self._files.fill(work, now)
        self._work[ref] = work
        if work.full is None:
            self._behind.pop(ref, None)
        else:
            self._behind[ref] = work.full
            work.session.fingerprint = 0  # the next survey names it again, also after a restart
        return work.session.captured_bytes - before

    def _read_up(self, source: Source, work: Work, there: AbstractSet[str]) -> None:
        """Prove the packed copy of a session that was only skimmed, and read its lines.

        That counts also where nobody can look at its files now.
        """
        session = work.session
        self._files.read_up(source, work, there)
        was = as_captured(session, work.files.values())
        source.conclude(session.summary, was, lambda name: self._stored.captured(work, name))
        work.told, session.look_at = self._stored.frozen(work), None
        for checkpoint in work.checkpoints[-1:]:
            if checkpoint.summary is not None:
                checkpoint.summary = work.told
        self._work[session.ref] = work

    def _keys(self) -> set[str]:
        return {work.session.key for work in self._work.values()}

    def _load(self, ref: Ref) -> Work | None:
        if (work := self._work.get(ref)) is not None:
            return work
        session = self._catalog.find(ref)
        return None if session is None else Work(session, self._catalog.files(session.id))

    def _advance(self, source: Source, work: Work, found: Found, now: float, at_most: int | None) -> None:
        session, mtime = work.session, found.mtime
        seen = fingerprint(found)
        if seen == session.fingerprint:
            return
        if session.project_key is None:
            self._homes.settle(source, work, found, now)
        elif not session.fingerprint:
            self._stored.vault_of(work)  # after a crash it may still be under its provisional name
        self._homes.keep(work)
        self._capture_files(source, work, found, now, at_most)
        is_clear = self._drop_missing(source, work, {file.name for file in found.files}, now)
        source.conclude(session.summary, found, lambda name: self._stored.captured(work, name))
        session.root, session.location = found.root, found.location
        session.modified_at = mtime
        session.size = found.size
        self._promote(work)
        if is_clear and session.ref not in self._unread and session.ref not in self._unfinished:
            session.fingerprint = seen  # else the next survey names it again
        if self._everything_new or mtime >= self._first_seen:
            session.commented = True
        if session.dirty_since is not None and session.changed_at >= now:
            session.changed_at = min(mtime, now)

    def _capture_files(
        self, source: Source, work: Work, found: Found, now: float, at_most: int | None
    ) -> None:
        told = self._unread.pop(found.ref, {})
        failed: DiskFull | None = None
        for file in found.files:
            try:
                if not self._files.capture(source, work, file, now, at_most):
                    self._unfinished.add(found.ref)
            except Unread as error:
                path = readable(str(file.path))
                self._unread.setdefault(found.ref, {})[path] = str(error)
                if path not in told:
                    self._emit("source_unreadable", path=path, reason=str(error))
            except DiskFull as error:
                failed = failed or error  # the others have their plain copies
        if failed is not None:
            raise failed

    def _drop_missing(self, source: Source, work: Work, there: set[str], now: float) -> bool:
        """Take note of files that are gone; False where they may be in a folder that cannot be read now."""
        missing = [file for file in work.files.values() if file.name not in there and file.deleted_at is None]
        if missing and source.unreadable:
            return False
        for file in missing:
            self._stored.store(work, file, file.length)  # the plain copy is all that is left of its end
            file.deleted_at = now
            work.changed.add(file.name)
            if not source.prunes:
                self._stored.vault_of(work).remove(file.name, now)
        return True

    def _promote(self, work: Work) -> None:
        """A session that grows past its tier moves on to the next by itself, and never back."""
        session, tiers = work.session, self.config.tiers
        was = session.tier
        session.tier = tier_of(
            session.size, was, github_only_bytes=tiers.github_only_bytes, hybrid_bytes=tiers.hybrid_bytes
        )
        if was is not None and session.tier is not was:
            work.tell("tier_promoted", from_tier=was.value, to_tier=session.tier.value)

    def _vanished(self, work: Work, now: float) -> None:
        """Every file is gone.  A deletion is never copied as the truth: what was captured stays."""
        session = work.session
        if session.fingerprint == fingerprint(None):
            return
        self._unread.pop(session.ref, None)
        session.fingerprint = fingerprint(None)
        session.look_at = None
        if session.dirty_since is not None:
            self._stored.checkpoint(work, "deletion", now)
        left = [file for file in work.files.values() if file.deleted_at is None]
        for file in left:
            file.deleted_at = now
            work.changed.add(file.name)
        if left:
            work.tell("session_deleted", bytes=session.size)

    def _settle(self, work: Work, now: float) -> None:
        """Commit what there is of a session in the middle of its capture."""
        self._work[work.session.ref] = work
        self.flush(now)
        work.checkpoints, work.changed, work.captured_bytes, work.told = [], set(), 0, None
