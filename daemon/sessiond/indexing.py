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

# The index is merged when nothing was indexed for so long.
REST_S = 60.0
# A broken index is begun anew after so long.
BROKEN_S = 30.0


class IndexLoop(Loop):
    """Indexes one session a turn, the newest first, after the captures that wait."""

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
        """One session, or the merge when there is nothing else to do."""
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
            self._index = Index(self._engine.paths.index_db, self._engine.state_id)
            self._indexer = Indexer(
                self._index, self._engine.catalog, self._engine.mirror, self._engine.sources
            )
        waiting = self._indexer.behind()
        if waiting:
            try:
                count = self._indexer.index(waiting[0])
            except CopyError as error:
                self._emit("file_skipped", reason=str(error))
                return TICK_S  # the copy is made again by the capture; then it is tried again
            self._findings.cleared(IndexBroken.code)
            self._untidy = self._untidy or count > 0
            self._indexed_at = time.monotonic()
            return 0.0 if len(waiting) > 1 else 0.01
        if self._untidy and self._index is not None and time.monotonic() - self._indexed_at > REST_S:
            self._index.optimize()
            self._untidy = False
        return TICK_S

    def _close(self) -> None:
        if self._index is not None:
            self._index.close()
        self._index = self._indexer = None


def open_index(engine: Engine) -> tuple[Index, Indexer]:
    """The engine's index, and what keeps it up."""
    index = Index(engine.paths.index_db, engine.state_id)
    return index, Indexer(index, engine.catalog, engine.mirror, engine.sources)
