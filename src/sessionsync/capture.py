"""From files that grow to verified copies, checkpoints and queued items.

One read of the appended bytes feeds the plain copy (layer 1), the root, the summary and, in
segments, the vault (layer 3).  Positions are kept in memory between two flushes: `flush` makes the
copies durable first and then commits positions, checkpoints and queued items in one transaction.
After a crash the old positions count and the same bytes are written again to the same places.

A changed prefix starts a generation, in an order that is safe at every point: store what was captured,
and commit that the plain copy is believed no more ─▶ set the old bytes aside ─▶ write the new ones ─▶ commit.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sessionsync import projects
from sessionsync.catalog import REWRITTEN, Catalog, Checkpoint, File, Session
from sessionsync.config import Config
from sessionsync.errors import CopyError, CopyMismatch, NoSuchSession
from sessionsync.events import Emit
from sessionsync.hands import Hands, each
from sessionsync.model import Found, Mark, Ref, Role, SessionFile, Summary, checkpoint_id, rfc3339
from sessionsync.peek import PEEK_BYTES, UNKNOWN
from sessionsync.queue import ARCHIVE, Queue
from sessionsync.remote.tiers import tier_of
from sessionsync.sources import Source
from sessionsync.sources.folders import is_hidden, readable
from sessionsync.sources.lines import LINE_BYTES, is_whole
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Copy, Mirror, Root, SessionVault, StoredFile, Vault

# What is compared at each capture to see whether what was read before is still there.
HEAD_BYTES = 4 * 1024
TAIL_BYTES = 64 * 1024
# What is held in memory of a file at once.
BLOCK_BYTES = 4 * 1024 * 1024
# The vault takes a segment at a checkpoint, at this many bytes or at this age.
SEGMENT_BYTES = 256 * 1024
SEGMENT_AGE_S = 60.0
# A block shorter than this is copied and read in less time than it takes to share that out.
LEAST_SHARED_BYTES = 128 * 1024
# How much of one session is captured before the others have their turn: half a second on a slow disk.
TURN_BYTES = 32 * 1024 * 1024
# Captured sessions are flushed when so many wait for it: their rows are in memory until then.
FLUSH_SESSIONS = 100
# A session that never rests gets a checkpoint this often.
LONGEST_WITHOUT_CHECKPOINT_S = 600.0
# A file in checkpoints/ is complete when it has not changed for this long.
SETTLED_S = 1.0


@dataclass(slots=True)
class _Work:
    """A session between two flushes: its rows as they will be committed."""

    session: Session
    files: dict[str, File]
    changed: set[str] = field(default_factory=set)
    roots: dict[str, Root] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    news: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    captured_bytes: int = 0
    vault: SessionVault | None = None
    fresh: tuple[str, int, bytes] | None = None
    """The block that was read last: of which file, from where on; so that nobody reads it again."""

    def tell(self, event: str, **fields: Any) -> None:
        """Tell this once it is committed: on a full disk it is found out again and again."""
        self.news.append((event, {"session": self.session.name, **fields}))


class Capture:
    """Watches nothing, waits for nothing: captures what it is told to look at.

    Call it from one thread.  `everything_new` is for runners that start without history: what lies
    there counts as changed after the first start.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        mirror: Mirror,
        vault: Vault,
        sources: Sequence[Source],
        names: projects.Names,
        config: Config,
        first_seen: float,
        emit: Emit,
        everything_new: bool = False,
        hands: Hands = map,
    ) -> None:
        self.config = config
        self._catalog = catalog
        self._queue = queue
        self._mirror = mirror
        self._vault = vault
        self._sources = {source.name: source for source in sources}
        self._names = names
        self._tombstones = Tombstones(mirror.folder)
        self._first_seen = first_seen
        self._everything_new = everything_new
        self._emit = emit
        self._hands = hands
        self._work: dict[Ref, _Work] = {}
        # whose newest snapshot in the vault is the state's as well: the next one need not name every file
        self._in_step: set[Ref] = set()
        self._unread: dict[Ref, dict[str, str]] = {}
        self._unfinished: set[Ref] = set()
        # of folders asked about since the last flush: at first, many sessions have few of them
        self._identities: dict[str, projects.ProjectIdentity] = {}
        self.projects_found = 0
        """How many sessions were given their project: with each there may be folders to watch."""

    # --- what to look at

    def survey(self) -> list[Ref]:
        """Compare every session on disk with what was captured; those that differ, newest first.

        This is the truth that watcher events only hint at.  It reads no file.
        """
        known = self._catalog.fingerprints()
        differing: list[tuple[float, Ref]] = []
        for source in self._sources.values():
            differing.extend(
                (found.mtime, found.ref)
                for found in source.find()
                if known.pop(found.ref, None) != fingerprint(found) and not self._is_forgotten(found.ref)
            )
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

    def is_unfinished(self, ref: Ref) -> bool:
        """Whether the last `capture` of it left something for the next one."""
        return ref in self._unfinished

    # --- capturing

    def capture(self, ref: Ref, now: float, *, at_most: int | None = None, by_time: bool = True) -> int:
        """Capture what is new of one session, and make the checkpoints that are due.

        Returns the bytes captured.  Nothing of the session is half-believed after an error: its
        positions stay as they were.  `at_most` so many bytes of a file are read, see `is_unfinished`.
        Checkpoints that time alone asks for are made if `by_time`.

        Raises:
            CopyError: a copy could not be made or verified.
            StoreError: the state could not be read.
        """
        self._unfinished.discard(ref)
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
        """
        self.capture(ref, now, by_time=False)  # it is to have this trigger
        work = self._load(ref)
        if work is None and self._is_forgotten(ref):
            raise NoSuchSession(
                f"Session {ref} was forgotten.", hint=f"`sessiond forget --undo {ref}` takes it in again."
            )
        if work is None:
            raise NoSuchSession(
                f"No session {ref} is on this disk.", hint="`sessiond list` shows the known ones."
            )
        try:
            if work.session.dirty_since is not None:
                self._checkpoint(work, trigger, now)
        except BaseException:
            self._forget(ref)
            raise
        self.flush(now)
        newest = work.session.checkpoint
        if newest is None:
            raise NoSuchSession(f"Session {ref} is empty.", hint="There is nothing to make a checkpoint of.")
        return self._catalog.checkpoint(work.session, newest)

    def let_go(self, ref: Ref, now: float) -> None:
        """Hold nothing of a session any more: somebody has it forgotten.

        Raises:
            CopyError: what was captured could not be made durable.
            StoreError: the state could not be written.
        """
        self.flush(now)
        self._forget(ref)
        self._unread.pop(ref, None)
        self._unfinished.discard(ref)

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
            raise NoSuchSession(f"No session {ref} is known.")
        session = work.session
        try:
            self._session_vault(work)
            self._in_step.discard(ref)
            if session.dirty_since is not None or session.checkpoint is not None:
                self._checkpoint(work, "repair", now)
        except BaseException:
            self._forget(ref)
            raise
        self._work[ref] = work
        self.flush(now)

    def checkpoint_all(self, trigger: str, now: float) -> int:
        """Make a checkpoint of every session that changed since its newest one; returns how many.

        Raises:
            CopyError: of some none could be made; the others have theirs.
            StoreError: the state could not be written.
        """
        self.flush(now)
        dirty = [session.ref for session in self._catalog.sessions() if session.dirty_since is not None]
        failed: CopyError | None = None
        for ref in dirty:
            try:
                self.checkpoint(ref, trigger, now)
            except CopyError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return len(dirty)

    def flush(self, now: float) -> int:
        """Make everything captured so far durable and commit it; returns the number of sessions.

        Raises:
            CopyError: a copy could not be made durable; positions stay as they were, of all sessions where it
                was a plain copy, else of those whose vault it was.
            StoreError: the commit failed; positions stay as they were.
        """
        self._identities.clear()
        if not self._work:
            return 0
        batch, self._work = self._work, {}
        in_step, self._in_step = self._in_step, set()
        self._mirror.flush()
        failed = self._vault.flush_each()
        lost = {ref for ref, work in batch.items() if work.session.name in failed}
        batch = {ref: work for ref, work in batch.items() if ref not in lost}
        with self._catalog.store.transaction():
            for work in batch.values():
                self._commit(work, now)
        self._in_step = in_step - lost
        for work in batch.values():
            news, work.news = work.news, []
            for event, fields in news:
                self._emit(event, **fields)
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

    @property
    def unflushed(self) -> int:
        """How many sessions wait for `flush`."""
        return len(self._work)

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
                    self._enqueue(session, session.summary, now)
        return added

    def _is_forgotten(self, ref: Ref) -> bool:
        return self._tombstones.holds(ref.source, ref.session_id, ref.scope)

    def _forget(self, ref: Ref) -> None:
        """Go back to what is committed of a session; the vault may know more of it by now."""
        self._work.pop(ref, None)
        self._in_step.discard(ref)

    def _commit(self, work: _Work, now: float) -> None:
        session = work.session
        self._catalog.save(session)
        for name in work.changed:
            self._catalog.save_file(session.id, work.files[name])
        for checkpoint in work.checkpoints:
            self._catalog.add_checkpoint(session.id, checkpoint)
        if work.checkpoints:
            self._enqueue(session, session.summary, now)
            self._archive(session, now)

    def _archive(self, session: Session, now: float) -> None:
        if self.config.has_archive and session.checkpoint is not None:
            self._queue.enqueue(ARCHIVE, session.id, session.checkpoint, now)
            self._emit(
                "item_enqueued", session=session.name, operation=ARCHIVE, checkpoint=session.checkpoint
            )

    def _enqueue(self, session: Session, summary: Summary, now: float) -> None:
        if session.commented and session.checkpoint is not None and self._speaks(session, summary):
            self._queue.enqueue("comment", session.id, session.checkpoint, now)
            self._emit(
                "item_enqueued", session=session.name, operation="comment", checkpoint=session.checkpoint
            )

    def _speaks(self, session: Session, summary: Summary) -> bool:
        """A transcript without a user's message gets no comment; one that it already has stays up to date."""
        return (
            session.ref.source != "claude"
            or summary.prompts > 0
            or self._queue.get("comment", session.id) is not None
            or self._catalog.session(session.id).pushed_checkpoint is not None
        )

    # --- one session

    def _capture(self, ref: Ref, now: float, at_most: int | None, *, by_time: bool) -> int:
        source = self._sources[ref.source]
        found = source.look(ref)
        work = self._load(ref)
        if work is None:
            if found is None or self._is_forgotten(ref):
                return 0
            work = self._begin(source, found, now)
        self._regain(source, work)
        if found is None or not found.files:
            if source.unreadable or is_hidden(work.session.location):
                return 0  # it may be where nobody can look now
            self._vanished(work, now)
        else:
            self._advance(source, work, found, now, at_most)
            if ref not in self._unfinished:
                self._keep_appointments(source, work, found, now, by_time=by_time)
        self._work[ref] = work
        captured, work.captured_bytes = work.captured_bytes, 0
        if captured:
            self._emit("session_captured", session=work.session.name, bytes=captured)
        return captured

    def _load(self, ref: Ref) -> _Work | None:
        if (work := self._work.get(ref)) is not None:
            return work
        session = self._catalog.find(ref)
        return None if session is None else _Work(session, self._catalog.files(session.id))

    def _begin(self, source: Source, found: Found, now: float) -> _Work:
        session = Session(
            id=0,
            ref=found.ref,
            root=found.root,
            location=found.location,
            summary=Summary(),
            modified_at=found.mtime,
            changed_at=min(found.mtime, now) or now,
        )
        if not found.stem:
            session.key = self._key(session.ref)
        work = _Work(session, {})
        self._settle_project(source, work, found, now)
        work.tell("session_found", project=session.project)
        return work

    def _recall(self, work: _Work) -> None:
        """Take over the checkpoints that the vault holds although the state does not."""
        work.checkpoints.clear()
        for snapshot in self._session_vault(work).snapshots():
            size = int(snapshot.meta.get("size", 0))
            work.checkpoints.append(
                Checkpoint(snapshot.id, snapshot.at, snapshot.trigger, size, snapshot.alias)
            )
            work.session.checkpoint, work.session.checkpoint_at = snapshot.id, snapshot.at

    def _settle_project(self, source: Source, work: _Work, found: Found, now: float) -> None:
        """Give the session its project, by the first folder that its lines name, for ever.

        Until a line names one it goes under the name that the vault knows, from before the state was lost,
        or a provisional one: its plain copies there stay, its vault moves along.
        """
        session = work.session
        cwd = source.peek_cwd(found, PEEK_BYTES)
        if cwd:
            self._leave(work)
            identity = self._names.home(found.known_as, cwd) or self._identify(cwd)
            session.project_key, session.project_root = identity.key, identity.root
            self._enter(session, found, self._names.name_for(identity.key, identity.name_hint))
            self.projects_found += 1
            work.tell("project_found", project=session.project)
        elif session.project is None:
            known = self._vault.project_of(session.stored_as) if session.key else None
            self._enter(session, found, known or self._names.name_for(f"{UNKNOWN}:{found.root}", UNKNOWN))
        else:
            return
        if work.files:
            self._settle(work, now)
            work.vault = None
            self._session_vault(work)
        else:
            self._recall(work)

    def _enter(self, session: Session, found: Found, project: str) -> None:
        """Put a session under a project's name, which is a part of its own where the source says so.

        A name whose copies are of another file is that one's, also where the state that knew it is lost.
        """
        session.project = project
        if session.key:
            return
        name = f"{session.ref.source}.{project}.{found.stem}".replace("/", "-")
        said = self._vault.open(project, Ref(session.ref.source, name)).description()
        location = said.meta.get("location") if said is not None else None
        is_ours = location is None or str(location).endswith(f"/{session.ref.session_id}")
        session.key = self._key(session.ref, name, is_free=is_ours)

    def _key(self, ref: Ref, name: str = "", *, is_free: bool = True) -> str:
        taken = {work.session.key for work in self._work.values()}
        return self._catalog.key_for(ref, taken if is_free else {*taken, name}, name)

    def _identify(self, cwd: str) -> projects.ProjectIdentity:
        if cwd not in self._identities:
            self._identities[cwd] = projects.identify(cwd)
        return self._identities[cwd]

    def _leave(self, work: _Work) -> None:
        """Have all of it in the vault, and let every plain copy be made again under another name."""
        work.session.fingerprint = 0
        for file in work.files.values():
            self._store(work, file, file.length)
            file.size = REWRITTEN

    def _advance(self, source: Source, work: _Work, found: Found, now: float, at_most: int | None) -> None:
        session = work.session
        seen = fingerprint(found)
        if seen == session.fingerprint:
            return
        if session.project_key is None:
            self._settle_project(source, work, found, now)
        elif not session.fingerprint:
            self._session_vault(work)  # after a crash it may still be under its provisional name
        self._capture_files(source, work, found, now, at_most)
        is_clear = self._drop_missing(source, work, {file.name for file in found.files}, now)
        source.conclude(session.summary, found, lambda name: self._captured(work, name))
        session.root, session.location = found.root, found.location
        session.modified_at = found.mtime
        session.size = found.size
        self._promote(work)
        if is_clear and session.ref not in self._unread and session.ref not in self._unfinished:
            session.fingerprint = seen  # else the next survey names it again
        if self._everything_new or found.mtime >= self._first_seen:
            session.commented = True
        if session.dirty_since is not None and session.changed_at >= now:
            session.changed_at = min(found.mtime, now)

    def _capture_files(
        self, source: Source, work: _Work, found: Found, now: float, at_most: int | None
    ) -> None:
        told = self._unread.pop(found.ref, {})
        for file in found.files:
            try:
                self._capture_file(source, work, file, now, at_most)
            except _Unread as error:
                path = readable(str(file.path))
                self._unread.setdefault(found.ref, {})[path] = str(error)
                if path not in told:
                    self._emit("source_unreadable", path=path, reason=str(error))

    def _drop_missing(self, source: Source, work: _Work, there: set[str], now: float) -> bool:
        """Take note of files that are gone; False where they may be in a folder that cannot be read now."""
        missing = [file for file in work.files.values() if file.name not in there and file.deleted_at is None]
        if missing and source.unreadable:
            return False
        for file in missing:
            self._store(work, file, file.length)  # the plain copy is all that is left of its end
            file.deleted_at = now
            work.changed.add(file.name)
            if not source.prunes:
                self._session_vault(work).remove(file.name, now)
        return True

    def _promote(self, work: _Work) -> None:
        """A session that grows past its tier moves on to the next by itself, and never back."""
        session, tiers = work.session, self.config.tiers
        was = session.tier
        session.tier = tier_of(
            session.size, was, github_only_bytes=tiers.github_only_bytes, hybrid_bytes=tiers.hybrid_bytes
        )
        if was is not None and session.tier is not was:
            work.tell("tier_promoted", from_tier=was.value, to_tier=session.tier.value)

    def _vanished(self, work: _Work, now: float) -> None:
        """Every file is gone.  A deletion is never copied as the truth: what was captured stays."""
        session = work.session
        if session.fingerprint == fingerprint(None):
            return
        self._unread.pop(session.ref, None)
        session.fingerprint = fingerprint(None)
        session.look_at = None
        if session.dirty_since is not None:
            self._checkpoint(work, "deletion", now)
        for file in work.files.values():
            if file.deleted_at is None:
                file.deleted_at = now
                work.changed.add(file.name)
        work.tell("session_deleted", bytes=session.size)

    def _keep_appointments(
        self, source: Source, work: _Work, found: Found, now: float, *, by_time: bool
    ) -> None:
        """Make the checkpoints that time or a completed checkpoint file asks for; store old segments."""
        session = work.session
        session.look_at = None
        self._adopt_checkpoint_files(source, work, found, now)
        if session.dirty_since is not None and session.checkpoint is not None and by_time:
            self._heed_stamp(source, work, now)
        quiet = now - session.changed_at >= self.config.sources.quiet_seconds
        if session.dirty_since is not None and by_time:
            if quiet:
                self._checkpoint(work, "quiet", now)
            elif now - session.dirty_since >= LONGEST_WITHOUT_CHECKPOINT_S:
                self._checkpoint(work, "interval", now, whole_lines=True)
        for file in work.files.values():
            if file.unstored_since is None:
                continue
            upto = file.read_to if source.append_only(file.name) else file.length
            if file.length - file.stored >= SEGMENT_BYTES or now - file.unstored_since >= SEGMENT_AGE_S:
                self._store(work, file, upto)
                if file.stored < file.length:
                    file.unstored_since = now
            if file.unstored_since is not None:
                self._appoint(session, file.unstored_since + SEGMENT_AGE_S)

    def _adopt_checkpoint_files(self, source: Source, work: _Work, found: Found, now: float) -> None:
        candidates = source.checkpoint_files(found)
        if not candidates:
            return
        known = {c.alias for c in work.checkpoints}
        if work.session.id:
            known |= {c.alias for c in self._catalog.checkpoints(work.session.id)}
        for candidate in candidates:
            alias = Path(candidate.name).stem
            file = work.files.get(candidate.name)
            if alias in known or file is None or file.length != candidate.size:
                continue
            if now - file.changed_at < SETTLED_S:
                self._appoint(work.session, file.changed_at + SETTLED_S)
            elif source.is_complete(candidate.name, self._captured(work, candidate.name) or b""):
                self._checkpoint(work, "checkpoint", now, alias=alias)
                known.add(alias)

    def _heed_stamp(self, source: Source, work: _Work, now: float) -> None:
        """Make a checkpoint where the session says by itself that it has come further, and is settled."""
        session = work.session
        if not (said := source.stamp(session.summary)):
            return
        newest = (
            work.checkpoints[-1]
            if work.checkpoints
            else self._catalog.checkpoint(session, session.checkpoint or "")
        )
        if newest.summary is None or said == source.stamp(newest.summary):
            return
        if now - session.changed_at < SETTLED_S:
            self._appoint(session, session.changed_at + SETTLED_S)
        else:
            self._checkpoint(work, "status", now)

    @staticmethod
    def _appoint(session: Session, at: float) -> None:
        session.look_at = at if session.look_at is None else min(session.look_at, at)

    @staticmethod
    def _touch(work: _Work, now: float) -> None:
        work.session.changed_at = now
        if work.session.dirty_since is None:
            work.session.dirty_since = now

    # --- one file

    def _capture_file(
        self, source: Source, work: _Work, seen: SessionFile, now: float, at_most: int | None
    ) -> None:
        file = work.files.get(seen.name)
        known = (seen.size, seen.mtime_ns, seen.inode)
        if file is not None and file.deleted_at is None and (file.size, file.mtime_ns, file.inode) == known:
            return
        try:
            descriptor = _open_regular(seen.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _Unread(error.strerror or str(error)) from error
        try:
            status = os.fstat(descriptor)
            copy = self._copy(work, seen.name)
            if file is None:
                file = work.files[seen.name] = File(seen.name, seen.role)
                self._meet(work, file, copy, descriptor, now)
                self._touch(work, now)
            elif file.is_rewritten or not self._continues(file, descriptor, status):
                self._replaced(source, work, file, copy, descriptor, now)
            elif self._mirror.size(copy) < file.length:
                self._copy_again(work, file, copy, descriptor, now)
            work.changed.add(file.name)
            size = status.st_size
            if at_most is not None and size > file.length + at_most:
                size = file.length + at_most
                self._unfinished.add(work.session.ref)
            self._append(source, work, file, copy, descriptor, size, now)
            file.role = seen.role
            file.size, file.mtime_ns, file.inode = size, status.st_mtime_ns, status.st_ino
            file.deleted_at = None
        except OSError as error:  # those of the copies are errors of ours by now
            raise CopyError(
                f"{seen.path} cannot be read: {error.strerror}.",
                hint="Its disk may be failing: see the system's log. It is tried again.",
            ) from error
        finally:
            os.close(descriptor)

    def _meet(self, work: _Work, file: File, copy: Path, descriptor: int, now: float) -> None:
        """First sight of a file: keep what lies at its copy's place, go on from what the vault holds."""
        if self._mirror.size(copy):
            shared = self._mirror.common_prefix(copy, descriptor)
            if (aside := self._mirror.set_aside(copy, shared, now)) is not None:
                self._emit("copy_set_aside", session=work.session.name, file=file.name, copy=str(aside))
        vault = self._session_vault(work)
        generation, stored = file.generation, file.stored = vault.stored(file.name)
        shared = _common_with_vault(vault, file.name, generation, stored, descriptor) if stored else 0
        if shared < stored:
            vault.fork(file.name, generation + 1, generation, shared)
            file.generation, file.forked_at, file.stored = generation + 1, shared, shared

    def _copy_again(self, work: _Work, file: File, copy: Path, descriptor: int, now: float) -> None:
        """Something else cut or removed the plain copy: make it again up to the position."""
        self._fit(copy, descriptor, file.length, now)
        self._emit("copy_made_again", session=work.session.name, file=file.name)

    def _regain(self, source: Source, work: _Work) -> None:
        """Where somebody cut a plain copy before the vault had its bytes, go back to those it has."""
        waiting = [file for file in work.files.values() if file.stored < file.length]
        cut = [f for f in waiting if self._mirror.size(self._copy(work, f.name)) < f.length]
        for file in cut:
            self._emit("copy_cut", session=work.session.name, file=file.name, offset=file.stored)
            file.length, file.size, file.unstored_since = file.stored, REWRITTEN, None
            file.read_to = min(file.read_to, file.length)
            root = work.roots[file.name] = Root()
            for start in range(0, file.length, BLOCK_BYTES):
                root.update(self._read(work, file, start, min(start + BLOCK_BYTES, file.length)))
            file.peaks = root.peaks
            work.changed.add(file.name)
        if cut:
            work.session.fingerprint = 0
            self._read_again(source, work)

    def _fit(self, copy: Path, descriptor: int, upto: int, now: float, *, start: int = 0) -> Path | None:
        """Make the plain copy what the file is up to there; returns where the rest of it went.

        Both are known to agree before `start`.
        """
        agreed = self._mirror.common_prefix(copy, descriptor, start=start)
        aside = self._mirror.set_aside(copy, agreed, now)
        for begin in range(agreed, upto, BLOCK_BYTES):
            self._mirror.write(copy, begin, os.pread(descriptor, min(BLOCK_BYTES, upto - begin), begin))
        return aside

    @staticmethod
    def _continues(file: File, descriptor: int, status: os.stat_result) -> bool:
        """Whether what was read before is still there, by inode, size, the first 4 KB and the last 64."""
        if status.st_size < file.length or status.st_ino != file.inode:
            return False
        start = max(0, file.length - TAIL_BYTES)
        return (
            _sha256(os.pread(descriptor, min(HEAD_BYTES, file.length), 0)) == file.head
            and _sha256(os.pread(descriptor, file.length - start, start)) == file.tail
        )

    def _replaced(
        self, source: Source, work: _Work, file: File, copy: Path, descriptor: int, now: float
    ) -> None:
        """The prefix may have changed: find out where, and begin a generation there."""
        session = work.session
        transcript = source.append_only(file.name)
        if file.is_rewritten:  # a crash left the plain copy somewhere between the old bytes and the new ones
            vault = self._session_vault(work)
            shared = _common_with_vault(vault, file.name, file.generation, file.length, descriptor)
            aside = self._fit(copy, descriptor, shared, now)
        elif (shared := min(self._mirror.common_prefix(copy, descriptor), file.length)) < file.length:
            self._store(work, file, file.length)
            if transcript and session.dirty_since is not None:
                self._checkpoint(work, "rewrite", now)
            file.size, session.fingerprint = REWRITTEN, 0
            work.changed.add(file.name)
            self._settle(work, now)
            aside = self._fit(copy, descriptor, shared, now, start=shared)
        file.size = shared
        if shared == file.length:
            return  # another inode, or a change taken back: it goes on where the old one ended
        generation = file.generation + 1
        self._session_vault(work).fork(file.name, generation, file.generation, shared)
        cut = file.length - shared
        file.generation, file.forked_at = generation, shared
        file.length = file.stored = shared
        file.read_to = min(file.read_to, shared)
        file.unstored_since = None
        root = Root()
        with self._mirror.open(copy) as plain:
            for start in range(0, shared, BLOCK_BYTES):
                root.update(plain.read(start, min(start + BLOCK_BYTES, shared)))
            self._remember_edges(file, plain, root)
        work.roots[file.name] = root
        work.changed.add(file.name)
        self._touch(work, now)
        if transcript:
            self._read_again(source, work)
            self._emit(
                "session_rewritten",
                session=session.name,
                file=file.name,
                offset=shared,
                cut_bytes=cut,
                kept=str(aside) if aside else "",
            )

    def _settle(self, work: _Work, now: float) -> None:
        """Commit what there is of a session in the middle of its capture."""
        self._work[work.session.ref] = work
        self.flush(now)
        work.checkpoints, work.changed = [], set()

    def _append(
        self, source: Source, work: _Work, file: File, copy: Path, descriptor: int, size: int, now: float
    ) -> None:
        """Copy, hash and read the bytes between the file's position and `size`."""
        begin = file.length
        with self._mirror.open(copy) as plain:
            # what the hook, or we before a crash, put there is kept apart where it is the session no more
            if plain.size() > begin and plain.size() > (shared := plain.common_prefix(descriptor, begin)):
                aside = self._mirror.set_aside(copy, max(begin, shared), now)
                self._emit("copy_set_aside", session=work.session.name, file=file.name, copy=str(aside))
            if size <= begin and file.head:
                return
            self._read_on(source, work, file, plain, descriptor, size, now)
            self._remember_edges(file, plain, work.roots[file.name])
        file.changed_at = now
        work.captured_bytes += file.length - begin
        work.session.captured_bytes += file.length - begin

    def _read_on(
        self, source: Source, work: _Work, file: File, plain: Copy, descriptor: int, size: int, now: float
    ) -> None:
        """Each block is written to the plain copy, hashed and read, in this order."""
        begin = file.length
        root = self._root(work, file, descriptor)
        lines = _Lines(source, work.session.summary, file) if source.append_only(file.name) else None
        if lines is not None and file.read_to < begin:
            lines.begin(plain.read(file.read_to, begin))
        while file.length < size:
            block = os.pread(descriptor, min(BLOCK_BYTES, size - file.length), file.length)
            if not block:
                break  # it was cut while we read: the next look sees a shrink
            offset, is_last = file.length, file.length + len(block) >= size
            if not is_last:
                block = block[: block.rfind(b"\n") + 1] or block
            file.length += len(block)
            work.fresh = file.name, offset, block
            self._touch(work, now)
            if file.unstored_since is None:
                file.unstored_since = now
            view, known = memoryview(block), file.stored
            marks = self._copy_and_read(plain, lines, offset, block)
            if file.role is Role.MAIN and marks:
                self._store(work, file, marks[-1].offset)
            for mark in marks:
                root.update(view[root.size - offset : mark.offset - offset])
                if file.role is Role.MAIN and mark.offset > known:
                    self._checkpoint(work, mark.trigger, now, main=(mark.offset, root.hexdigest()))
            root.update(view[root.size - offset :])
            if not is_last:
                self._store(work, file, file.length)

    def _copy_and_read(self, plain: Copy, lines: _Lines | None, offset: int, block: bytes) -> list[Mark]:
        """Write a block to the plain copy and read its lines, which need not wait for each other."""
        marks: list[Mark] = []

        def read() -> None:
            if lines is not None:
                marks.extend(lines.feed(block))

        steps = [lambda: plain.write(offset, block), read]
        hands = map if len(block) < LEAST_SHARED_BYTES or lines is None else self._hands
        for error in each(hands, lambda step: step(), steps):
            if error is not None:
                raise error
        return marks

    def _root(self, work: _Work, file: File, descriptor: int | None = None) -> Root:
        """The file's root at its position, continued from the peaks and the bytes behind the last leaf."""
        root = work.roots.get(file.name)
        if root is None or root.size != file.length:
            start = file.length - file.length % Root.LEAF_BYTES
            partial = (
                self._read(work, file, start, file.length)
                if descriptor is None
                else os.pread(descriptor, file.length - start, start)
            )
            root = work.roots[file.name] = Root.resume(file.length, file.peaks, partial)
        return root

    @staticmethod
    def _remember_edges(file: File, plain: Copy, root: Root) -> None:
        file.peaks = root.peaks
        file.head = _sha256(plain.read(0, min(HEAD_BYTES, file.length)))
        file.tail = _sha256(plain.read(max(0, file.length - TAIL_BYTES), file.length))

    def _read_again(self, source: Source, work: _Work) -> None:
        """Read the whole session anew for its summary; the folder it was started in stays."""
        work.session.summary = Summary(cwd=work.session.summary.cwd)
        for file in work.files.values():
            if not source.append_only(file.name) or file.deleted_at is not None:
                continue
            file.read_to = 0
            lines = _Lines(source, work.session.summary, file)
            for start in range(0, file.length, BLOCK_BYTES):
                lines.feed(self._read(work, file, start, min(start + BLOCK_BYTES, file.length)))
            work.changed.add(file.name)

    def _read_tail(self, source: Source, work: _Work, file: File) -> None:
        """Read a last line that lacks nothing but its newline: what comes next is another one."""
        if source.append_only(file.name) and file.read_to < file.length:
            tail = self._read(work, file, file.read_to, file.length)
            if is_whole(tail):
                start, file.read_to = file.read_to, file.length
                source.follow(work.session.summary, file.name, tail, start)

    def _captured(self, work: _Work, name: str) -> bytes | None:
        """A small file's captured bytes, None where it is not captured or is gone."""
        file = work.files.get(name)
        if file is None or file.deleted_at is not None or file.length > BLOCK_BYTES:
            return None
        return self._read(work, file, 0, file.length)

    def _read(self, work: _Work, file: File, start: int, end: int) -> bytes:
        """Captured bytes of a file: of the plain copy, and from the vault what that lacks."""
        data = b"" if file.is_rewritten else self._mirror.read(self._copy(work, file.name), start, end)
        if len(data) < end - start:
            vault = self._session_vault(work)
            data += b"".join(vault.read(file.name, file.generation, end, start + len(data)))
        return data

    def _copy(self, work: _Work, name: str) -> Path:
        """Where the plain copy of a file lies."""
        return self._mirror.path_of(work.session.project or "unknown", work.session.stored_as, name)

    # --- vault and checkpoints

    def _session_vault(self, work: _Work) -> SessionVault:
        if work.vault is None:
            session = work.session
            work.vault = self._vault.open(session.project or "unknown", session.stored_as)
            if work.vault.is_new() and not self._follow(session):
                work.vault.describe(
                    first_seen=session.changed_at,
                    project_key=session.project_key or "",
                    meta={"location": str(session.location), "root": str(session.root)},
                )
                self._store_again(work)
        return work.vault

    def _follow(self, session: Session) -> bool:
        """Bring along what the vault holds from before the session's lines named its project."""
        provisional = self._names.known().get(f"{UNKNOWN}:{session.root}")
        if provisional is None or session.project in {None, provisional}:
            return False
        return self._vault.move(session.stored_as, provisional, session.project or "")

    def _store_again(self, work: _Work) -> None:
        """Something removed the session's vault: everything goes into a new one, as one checkpoint."""
        session = work.session
        for file in work.files.values():
            file.generation = file.forked_at = file.stored = 0
            file.snapped = ""
            file.unstored_since = session.changed_at
            work.changed.add(file.name)
        if session.checkpoint is not None and session.dirty_since is None:
            session.dirty_since = session.changed_at

    def _store(self, work: _Work, file: File, upto: int) -> None:
        """Put the captured bytes before `upto` into the vault."""
        copy = self._copy(work, file.name)
        vault = self._session_vault(work)
        work.changed.add(file.name)
        while file.stored < upto:
            end = min(file.stored + BLOCK_BYTES, upto)
            data = self._fresh(work, file, end) or self._mirror.read(copy, file.stored, end)
            if len(data) < end - file.stored:
                raise CopyMismatch(
                    f"The plain copy {copy} has {file.stored + len(data)} of {file.length} bytes.",
                    hint="Something else cut it; it is made again from the session's file.",
                )
            if end < upto and (newline := data.rfind(b"\n")) >= 0:
                data = data[: newline + 1]
            vault.append(file.name, file.generation, file.stored, data)
            file.stored += len(data)
        if file.stored >= file.length:
            file.unstored_since = None

    @staticmethod
    def _fresh(work: _Work, file: File, end: int) -> bytes:
        """The bytes that are to be stored next, where they were just read; none where they were not."""
        name, offset, block = work.fresh or ("", 0, b"")
        if name != file.name or not offset <= file.stored < end <= offset + len(block):
            return b""
        return block[file.stored - offset : end - offset]

    def _checkpoint(
        self,
        work: _Work,
        trigger: str,
        now: float,
        *,
        alias: str = "",
        main: tuple[int, str] | None = None,
        whole_lines: bool = False,
    ) -> None:
        """Make a checkpoint of what is captured.

        `main` gives length and root of the main file where the checkpoint is a place inside what
        was just read; `whole_lines` leaves out a last line that is not complete yet.
        """
        session = work.session
        source = self._sources[session.ref.source]
        in_step = session.ref in self._in_step
        stored: list[StoredFile] = [] if in_step or source.prunes else self._strays(work, now)
        size, partial = 0, False
        for file in work.files.values():
            length, root = file.length, ""
            if main is not None and file.role is Role.MAIN:
                length, root = main
            elif whole_lines and source.append_only(file.name):
                length = file.read_to
            else:
                self._read_tail(source, work, file)
            self._store(work, file, length)
            partial = partial or length < file.length
            # an agent's own clean-up is never copied as the truth; in a folder that people keep, it may be
            deleted_at = None if source.prunes else file.deleted_at
            says = f"{file.generation}:{length}:{deleted_at}"
            size += length if file.role is not Role.COMPANION and deleted_at is None else 0
            if file.snapped != says or not in_step:
                file.snapped = says
                work.changed.add(file.name)
                root = root or self._root_at(work, file, length)
                stored.append(StoredFile(file.name, file.generation, length, root, deleted_at))
        self._in_step.add(session.ref)
        taken = {checkpoint.id for checkpoint in work.checkpoints}
        if session.id:
            taken |= {checkpoint.id for checkpoint in self._catalog.checkpoints(session.id)}
        name = checkpoint_id(now, taken)
        summary = session.summary
        self._session_vault(work).snapshot(
            id=name,
            at=now,
            trigger=trigger,
            alias=alias,
            files=stored,
            meta={
                "size": size,
                "title": summary.title,
                "agent_version": summary.agent_version,
                "branch": summary.branch,
                "at": rfc3339(now),
            },
        )
        frozen = msgspec.convert(msgspec.to_builtins(summary), Summary)
        for checkpoint in work.checkpoints:
            checkpoint.summary = None
        since = min(now, session.dirty_since or now)
        work.checkpoints.append(Checkpoint(name, now, trigger, size, alias, frozen, since))
        session.checkpoint, session.checkpoint_at = name, now
        session.dirty_since = now if partial else None

    def _strays(self, work: _Work, now: float) -> list[StoredFile]:
        """What only the vault says is in the session: it was dropped while the state was behind, or lost."""
        return [
            msgspec.structs.replace(file, deleted_at=now)
            for file in self._session_vault(work).files().values()
            if file.name not in work.files and file.deleted_at is None
        ]

    def _root_at(self, work: _Work, file: File, length: int) -> str:
        if length == file.length:
            return self._root(work, file).hexdigest()
        # a torn last line is left out: go on from the last whole leaf before it
        leaf = length - length % Root.LEAF_BYTES
        if file.length - file.length % Root.LEAF_BYTES == leaf:
            return Root.resume(length, file.peaks, self._read(work, file, leaf, length)).hexdigest()
        root = Root()
        for start in range(0, length, BLOCK_BYTES):
            root.update(self._read(work, file, start, min(start + BLOCK_BYTES, length)))
        return root.hexdigest()


class _Lines:
    """Cuts appended blocks into whole lines for the source, and moves `file.read_to` behind them."""

    def __init__(self, source: Source, summary: Summary, file: File) -> None:
        self._source = source
        self._summary = summary
        self._file = file
        self._rest: list[bytes] = []

    def begin(self, rest: bytes) -> None:
        """Go on behind the beginning of a line that is read already."""
        self._rest = [rest]

    def feed(self, block: bytes) -> list[Mark]:
        """Read the lines that `block` completes.

        A last line without its newline waits, also where it looks whole: another may be glued to it, and
        a checkpoint behind it must not depend on where the bytes were split.
        """
        self._rest.append(block)
        if b"\n" not in block and sum(map(len, self._rest)) <= LINE_BYTES:
            return []  # in pieces: a huge line is put together once
        data = b"".join(self._rest)
        end = data.rfind(b"\n") + 1
        if len(data) - end > LINE_BYTES:
            end = len(data)
        self._rest = [data[end:]]
        if not end:
            return []
        start, self._file.read_to = self._file.read_to, self._file.read_to + end
        return self._source.follow(self._summary, self._file.name, data[:end], start)


def fingerprint(found: Found | None) -> int:
    """One number for what `stat` says of all files of a session; differs when any of them changed."""
    files = found.files if found is not None else ()
    text = repr(sorted((f.name, f.size, f.mtime_ns, f.inode) for f in files)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


class _Unread(Exception):
    """A file is there, but cannot be opened; the text says why."""


def _open_regular(path: Path) -> int:
    """Open a file for reading that is a regular one and no link; never blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _common_with_vault(vault: SessionVault, name: str, generation: int, stored: int, descriptor: int) -> int:
    """How many leading bytes the vault's newest generation and the open file have in common."""
    position = 0
    try:
        for chunk in vault.read(name, generation, stored):
            live = os.pread(descriptor, len(chunk), position)
            if live != chunk:
                return position + next(
                    (n for n, (a, b) in enumerate(zip(live, chunk, strict=False)) if a != b), len(live)
                )
            position += len(chunk)
    except CopyMismatch:
        return position
    return position


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
