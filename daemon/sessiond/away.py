"""Copies away from this machine, as a repair reads them: a session's files, fetched once and kept a moment.

What they say is believed only where a hash proves it, so that a redacted or an older copy does no harm.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from sessionsync.catalog import Catalog, Session
from sessionsync.errors import CopyError, RemoteError, SessiondError
from sessionsync.events import Emit
from sessionsync.restore import Copy, Known, Shelf, of_session
from sessionsync.restore.archived import ArchiveCopy

# A repair asks for many pieces one after the other.
KEPT_S = 60.0
NOBODY = (0, "")

Open = Callable[[], AbstractContextManager[Shelf | None]]
"""Opens the place; None where it cannot be asked now."""


class Nothing:
    """A place that was never set up."""

    name = "nothing"

    def copies(self, session: Known) -> Sequence[Copy]:
        """None."""
        del session
        return ()


class Away:
    """One such place; what it gives lies in nameless files in `folder` meanwhile.  Any thread may read.

    `missed` are sessions that it could not be asked about: who repairs may come back when it answers again.
    """

    def __init__(self, name: str, opened: Open, catalog: Catalog, folder: Path, emit: Emit) -> None:
        self.name = name
        self.missed: dict[int, None] = {}
        self._opened = opened
        self._catalog = catalog
        self._folder = folder
        self._emit = emit
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._files: dict[str, int] = {}
        self._held_of = NOBODY
        self._until = float("-inf")

    def read(self, session: Session, machine: str, name: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of a session's file; none where this place has none, or does not answer.

        `machine` says whose copy is meant, '' the newest of all; only the archive keeps them apart.
        """
        with self._lock:
            if self._held_of != (session.id, machine) or time.monotonic() > self._until:
                self._let_go()
                self._fetch(session, machine)
                self._held_of, self._until = (session.id, machine), time.monotonic() + KEPT_S
            file = self._files.get(name)
            return os.pread(file, end - start, start) if file is not None else b""

    def forget(self) -> None:
        """Ask anew the next time."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._held_of = NOBODY
        self._files.clear()
        self._held.close()

    def _fetch(self, session: Session, machine: str) -> None:
        try:
            with self._opened() as shelf:
                if shelf is None:
                    self.missed[session.id] = None
                    return
                copies = reversed(shelf.copies(of_session(session, self._catalog)))
                if (copy := next((each for each in copies if _is_of(each, machine)), None)) is not None:
                    self._keep(copy)
        except RemoteError as error:
            self.missed[session.id] = None
            self._tell(session, error)
            return
        except CopyError as error:
            self._tell(session, error)
        self.missed.pop(session.id, None)  # at the end: others ask meanwhile whether it was missed

    def _keep(self, copy: Copy) -> None:
        for file in copy.files():
            kept = self._held.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 - it is one
            for block in copy.read(file):
                kept.write(block)
            kept.flush()
            self._files[file.name] = kept.fileno()

    def _tell(self, session: Session, error: SessiondError) -> None:
        self._emit(
            "copy_unavailable", session=session.name, where=self.name, code=error.code, reason=str(error)
        )


def _is_of(copy: Copy, machine: str) -> bool:
    return not machine or (isinstance(copy, ArchiveCopy) and copy.machine == machine)
