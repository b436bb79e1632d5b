"""The daemon's side of a hook's call: capture the session, make a checkpoint, say so."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sessiond.engine import Engine
from sessiond.loops import CaptureLoop
from sessiond.spool import CHECKPOINTS, Save, Spool
from sessionsync.catalog import Checkpoint
from sessionsync.errors import NoSuchSession, SessiondError, UsageError
from sessionsync.events import Emit
from sessionsync.model import Ref
from sessionsync.peek import SESSION_ID

# A hook asks for 10 s, twice; the daemon goes on with a huge session after that.
SAVE_S = 600.0


class Saves:
    """Saves sessions at a hook's word, at once or when the daemon finds it in the spool.

    `save` is called from the control server's threads, `take_in` on the capture loop's.
    """

    def __init__(self, engine: Engine, loop: CaptureLoop, spool: Spool, emit: Emit) -> None:
        self._engine = engine
        self._loop = loop
        self._spool = spool
        self._emit = emit

    def save(self, wanted: Save) -> Checkpoint:
        """Capture a session as it is on disk and make a checkpoint; committed when this returns.

        Raises:
            UsageError: that is no session's name, or no event's.
            NoSuchSession: nothing of it was ever on this disk.
            CopyError: it could not be copied.
            StoreError: it could not be committed.
        """
        checked = _checked(wanted)
        made = self._loop.call(lambda now: self._save(checked, now), SAVE_S)
        self._tell(wanted, made)
        return made

    def take_in(self, now: float) -> int:
        """Save what hooks left while nobody answered; returns the number of sessions.  For the loop's thread.

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
                made = self._save(_checked(wanted), now)
            except (NoSuchSession, UsageError) as problem:
                self._drop(files[session], str(problem))
            except SessiondError:
                continue  # said where capturing is: it is tried again
            else:
                saved += 1
                self._tell(wanted, made)
                _remove(files[session])
        if saved:
            self._emit("spool_taken_in", sessions=saved)
        return saved

    def _save(self, wanted: Save, now: float) -> Checkpoint:
        capture = self._engine.capture
        capture.locate(Path(wanted.transcript))  # a session continued elsewhere is found by its path
        return capture.checkpoint(Ref("claude", wanted.session), wanted.trigger, now)

    def _tell(self, wanted: Save, made: Checkpoint) -> None:
        self._emit(
            "session_saved",
            session=f"claude:{wanted.session}",
            trigger=wanted.trigger,
            bytes=made.size,
            checkpoint=made.id,
            seen_bytes=wanted.size,
        )

    def _drop(self, files: list[Path], reason: str) -> None:
        for file in files:
            self._emit("spool_event_dropped", file=file.name, reason=reason)
        _remove(files)


def _checked(wanted: Save) -> Save:
    if SESSION_ID.fullmatch(wanted.session) and wanted.trigger in CHECKPOINTS.values():
        return wanted
    raise UsageError(
        f"{wanted.session[:60]!r} at {wanted.trigger[:40]!r} is nothing to save.",
        hint=f"A session's UUID, and one of {', '.join(CHECKPOINTS.values())}.",
    )


def _remove(files: list[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink()
