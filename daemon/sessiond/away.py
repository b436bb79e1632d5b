"""Copies away from this machine, as a repair reads them: a session's files, fetched once and kept a moment.

What they say is believed only where a hash proves it, so that a redacted or an older copy does no harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from sessionsync.catalog import Catalog, Session
from sessionsync.errors import CopyError, RecordError, RemoteError, SessiondError
from sessionsync.events import Emit
from sessionsync.restore import Shelf, of_session

# A repair asks for many pieces one after the other.
KEPT_S = 60.0

Open = Callable[[], AbstractContextManager[Shelf | None]]
"""Opens the place; None where it cannot be asked now."""


class Away:
    """One such place.  Any thread may read.

    `missed` are sessions that it could not be asked about: who repairs may come back when it answers again.
    """

    def __init__(self, name: str, opened: Open, catalog: Catalog, emit: Emit) -> None:
        self.name = name
        self.missed: dict[int, None] = {}
        self._opened = opened
        self._catalog = catalog
        self._emit = emit
        self._lock = threading.Lock()
        self._kept: tuple[int, float, Mapping[str, bytes]] = (0, float("-inf"), {})

    def read(self, session: Session, name: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of a session's file; none where this place has none, or does not answer."""
        with self._lock:
            number, until, files = self._kept
            if number != session.id or time.monotonic() > until:
                files = self._files(session)
                self._kept = session.id, time.monotonic() + KEPT_S, files
        return files.get(name, b"")[start:end]

    def forget(self) -> None:
        """Ask anew the next time."""
        with self._lock:
            self._kept = (0, float("-inf"), {})

    def _files(self, session: Session) -> Mapping[str, bytes]:
        self.missed.pop(session.id, None)
        try:
            with self._opened() as shelf:
                if shelf is None:
                    self.missed[session.id] = None
                    return {}
                for copy in reversed(shelf.copies(of_session(session, self._catalog))):
                    return {file.name: b"".join(copy.read(file)) for file in copy.files()}
        except RemoteError as error:
            self.missed[session.id] = None
            self._tell(session, error)
        except (CopyError, RecordError) as error:
            self._tell(session, error)
        return {}

    def _tell(self, session: Session, error: SessiondError) -> None:
        self._emit("copy_unavailable", session=session.name, where=self.name, reason=str(error))
