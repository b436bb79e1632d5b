"""The daemon's side of a hook's call: capture the session, make a checkpoint, say so."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sessiond.engine import Engine
from sessiond.hook import CHECKPOINTS
from sessiond.spool import Save, Spool
from sessionsync.catalog import Checkpoint
from sessionsync.errors import CopyMismatch, NoSuchSession, SessiondError, UsageError
from sessionsync.events import Emit
from sessionsync.model import Ref, Role
from sessionsync.peek import is_session_id


class Saves:
    """Saves sessions at a hook's word, at once or when it is found in the spool; for the capturing thread."""

    def __init__(self, engine: Engine, spool: Spool, emit: Emit) -> None:
        self._engine = engine
        self._spool = spool
        self._emit = emit

    def save(self, wanted: Save, now: float) -> Checkpoint:
        """Capture a session as it is on disk and make a checkpoint; committed when this returns.

        Raises:
            UsageError: that is no session's name, or no event's.
            NoSuchSession: nothing of it was ever on this disk.
            CopyError: it could not be copied, or the copy is not as long as the session.
            StoreError: it could not be committed.
        """
        _check(wanted)
        capture, ref = self._engine.capture, Ref("claude", wanted.session)
        capture.locate(Path(wanted.transcript))  # a session continued elsewhere is found by its path
        made = capture.checkpoint(ref, wanted.trigger, now)
        source_bytes, copy_bytes = self._compare(ref)
        self._emit(
            "session_saved",
            bytes=made.size,
            trigger=wanted.trigger,
            session=str(ref),
            checkpoint=made.id,
            source_bytes=source_bytes,
            copy_bytes=copy_bytes,
            seen_bytes=wanted.size,
        )
        return made

    def take_in(self, now: float) -> int:
        """Save what hooks left while nobody answered; returns the number of sessions.

        An event's file goes when its checkpoint is committed.  Of several of one session the newest counts.
        """
        newest: dict[str, Save] = {}
        files: dict[str, list[Path]] = {}
        for file, wanted in self._spool.waiting():
            if wanted is None:
                self._drop([file], "it is no event")
                continue
            newest[wanted.session] = wanted
            files.setdefault(wanted.session, []).append(file)
        saved = 0
        for session, wanted in newest.items():
            try:
                self.save(wanted, now)
            except (NoSuchSession, UsageError) as problem:
                self._drop(files[session], str(problem))
            except SessiondError:
                continue  # said where capturing is: it is tried again
            else:
                saved += 1
                _remove(files[session])
        if saved:
            self._emit("spool_taken_in", sessions=saved)
        return saved

    def _compare(self, ref: Ref) -> tuple[int, int]:
        """Sizes of the transcript as captured and of its plain copy, which a hook may have made longer.

        Raises:
            CopyMismatch: the copy is shorter.
        """
        catalog, mirror = self._engine.catalog, self._engine.mirror
        session = catalog.find(ref)
        files = catalog.files(session.id).values() if session is not None else ()
        main = next((file for file in files if file.role is Role.MAIN), None)
        if session is None or main is None:
            return 0, 0  # subagents alone
        copy = mirror.path_of(session.project or "", session.stored_as, main.name)
        if (size := mirror.size(copy)) < main.length:
            raise CopyMismatch(
                f"{copy} has {size} of {main.length} bytes.",
                hint="Something else cut it; it is made again from the session's file.",
            )
        return main.length, size

    def _drop(self, files: list[Path], reason: str) -> None:
        for file in files:
            self._emit("spool_event_dropped", file=file.name, reason=reason)
        _remove(files)


def _check(wanted: Save) -> None:
    if not is_session_id(wanted.session) or wanted.trigger not in CHECKPOINTS.values():
        raise UsageError(
            f"{wanted.session[:60]!r} at {wanted.trigger[:40]!r} is nothing to save.",
            hint=f"A session's UUID, and one of {', '.join(CHECKPOINTS.values())}.",
        )


def _remove(files: list[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink()
