"""The loop that keeps the search index up with what is captured; everything else goes on without it."""

from __future__ import annotations

import time
from collections.abc import Callable

from sessiond.engine import Engine
from sessiond.loops import TICK_S, Bell, Failed, Loop
from sessionsync.errors import CopyError, IndexBroken
from sessionsync.events import Emit
from sessionsync.reliability.findings import Findings, Severity
from sessionsync.search import Index, Indexer

# After so long it looks again which session is the newest.
TURN_S = 1.0
# The index is merged when nothing was indexed for so long.
REST_S = 60.0
# A broken index is begun anew after so long.
BROKEN_S = 30.0


class IndexLoop(Loop):
    """Indexes one session after the other, the newest first, after the captures that wait."""

    def __init__(
        self,
        engine: Engine,
        findings: Findings,
        emit: Emit,
        on_failure: Failed,
        busy: Callable[[], bool],
    ) -> None:
        super().__init__("index", Bell(), emit, on_failure)
        self._engine = engine
        self._findings = findings
        self._busy = busy
        self._indexer: Indexer | None = None
        self._index: Index | None = None
        self._untidy = False
        self._anew = False
        self._behind = 0
        self._indexed_at = time.monotonic()

    def turn(self) -> float:
        """What is behind, for a while: newer sessions may come; or the merge when there is nothing to do."""
        if self._busy():
            return 0.5  # the first backup comes first
        try:
            return self._turn()
        except IndexBroken as error:
            self._findings.raised(error.code, Severity.WARNING, str(error), error.hint, time.time())
            self._emit("index_failed", reason=str(error))
            self._close()
            return BROKEN_S

    def rebuild(self) -> None:
        """Let the index be made anew from the copies, at the next turn; for any thread."""
        self._anew = True
        self._behind = len(self._engine.catalog.fingerprints())
        self.bell.ring()

    def behind(self) -> int:
        """How many sessions are not wholly in the index, as the last turn saw it; for any thread."""
        return self._behind

    def close(self) -> None:
        """After the thread has ended."""
        self._close()

    def _turn(self) -> float:
        if self._indexer is None:
            self._index, self._indexer = open_index(self._engine)
        assert self._index is not None  # noqa: S101 - for the type checker
        if self._anew:
            self._anew = False
            self._index.begin_anew()
        waiting = self._indexer.behind()
        self._behind = len(waiting)
        until = time.monotonic() + TURN_S
        for number in waiting:
            if self._stopping or self._anew or self._busy() or time.monotonic() > until:
                return 0.0
            self._catch_up(self._indexer, number)
        if self._untidy and time.monotonic() - self._indexed_at > REST_S:
            self._index.optimize()
            self._untidy = False
        return TICK_S

    def _catch_up(self, indexer: Indexer, number: int) -> None:
        """One session.  Where its copy cannot be read it is tried again: the capture makes it anew."""
        try:
            count = indexer.index(number)
        except CopyError as error:
            self._emit("file_skipped", reason=str(error))
            return
        self._behind -= 1
        self._untidy = self._untidy or count > 0
        self._indexed_at = time.monotonic()
        self._findings.cleared(IndexBroken.code)

    def _close(self) -> None:
        if self._index is not None:
            self._index.close()
        self._index = self._indexer = None


def open_index(engine: Engine) -> tuple[Index, Indexer]:
    """The engine's index, and what keeps it up."""
    index = Index(engine.paths.index_db, engine.state_id)
    return index, Indexer(index, engine.catalog, engine.mirror, engine.sources)
