"""The loop that keeps the search index up with what is captured; everything else goes on without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import nullcontext, suppress
from pathlib import Path

from sessiond.engine import Engine
from sessiond.loops import LOOK_S, Bell, Failed, Loop
from sessionsync.budget import Budget
from sessionsync.errors import CopyError, IndexBroken, NoSuchSession
from sessionsync.events import Emit
from sessionsync.reliability.findings import Findings, Severity
from sessionsync.search import Index, Indexer
from sessionsync.search.index import remove

# After so long it looks again whether something newer was captured.
TURN_S = 0.5
# What changed so lately is indexed at once; what is older waits for its turn in the background.
FRESH_S = 300.0
# Everything is compared with the index this often at most: that costs more the more sessions there are.
ALL_S = 20.0
# How much a byte that is indexed counts beside one that is verified or merged (measured: CPU time).
WEIGHT = 1 / 6
# The index is merged when nothing was indexed for so long.
REST_S = 60.0
# A broken index is tried again, or begun anew, after so long.
BROKEN_S = 30.0
BUSY_S = 0.5


class IndexLoop(Loop):
    """Indexes what was just said at once, and what is older at the background's pace, the newest first.

    `busy` says that the first backup goes on, `first` that something else goes before what is old;
    the `budget` is that of everything in the background.
    """

    def __init__(
        self,
        engine: Engine,
        findings: Findings,
        emit: Emit,
        on_failure: Failed,
        budget: Budget,
        *,
        busy: Callable[[], bool],
        first: Callable[[], bool],
    ) -> None:
        super().__init__("index", Bell(), emit, on_failure)
        self._engine = engine
        self._findings = findings
        self._busy = busy
        self._first = first
        self.is_behind = False
        """Whether something old is to be indexed, which goes before merging; for any thread."""
        self._budget = budget
        self._paid_until = 0.0
        self._mended_at = -BROKEN_S
        self._rotated: set[int] = set()
        self._all_at = 0.0
        self._failing: dict[int, float] = {}
        self._index: Index | None = None
        self._draft: Index | None = None
        self._filling: Generator[tuple[int, int, int], None, None] | None = None
        self._indexed_at = self._trimmed_at = time.monotonic()
        # written by this thread, but for `rebuild` and `trim`, which any other may call
        self._wanted = False
        self._is_to_trim = False
        self._left = 0
        self._problem: IndexBroken | None = None

    def turn(self) -> float:
        """What is new first; then, for a while, a rebuild or what is old; the merge when there is neither."""
        try:
            return self._turn()
        except IndexBroken as error:
            self._findings.raised(error.code, Severity.WARNING, str(error), error.hint, time.time())
            self._emit("index_failed", reason=str(error))
            return 0.0 if self._give_up(error) else BROKEN_S

    def rebuild(self) -> None:
        """Let the index be made anew from the copies, beside the one that is searched; for any thread.

        One that is under way is not begun again.
        """
        if self._filling is None and not self._wanted:
            self._problem = None
            self._left = len(self._engine.catalog.fingerprints()) + 1
            self._wanted = True
        self.bell.ring()

    def trim(self) -> None:
        """Give back what indexing has needed of memory since; for any thread."""
        if self._indexed_at > self._trimmed_at:
            self._is_to_trim = True
            self.bell.ring()

    def look(self) -> None:
        """Compare everything at once: something was forgotten; for any thread."""
        self._all_at = 0.0
        self.bell.ring()

    def left(self) -> int:
        """How many sessions the rebuild has still to index, 0 when there is none; for any thread.

        Raises:
            IndexBroken: the rebuild had to be given up.
        """
        if self._problem is not None:
            raise self._problem
        return self._left

    def close(self) -> None:
        """After the thread has ended."""
        self._drop_draft()
        if self._index is not None:
            self._index.close()
            self._index = None

    def _turn(self) -> float:
        if self._index is None:
            remove(self._draft_file)
            self._index, self._all_at = self._open(), 0.0
        index = self._index
        if self._is_to_trim:
            self._is_to_trim, self._trimmed_at = False, time.monotonic()
            index.shrink()
        until = time.monotonic() + TURN_S
        if not self._keep_up(index, until):
            return 0.0
        if self._busy():
            return BUSY_S  # the first backup comes first
        if is_time := self.is_behind or time.monotonic() >= self._all_at:
            self._all_at = time.monotonic() + ALL_S  # first: who calls `look` meanwhile has it done again
            self._forget(index)
        if self._wanted or self._filling is not None:
            self._go_on(until)
            return 0.0
        if is_time and (pause := self._go_back(index, until)) is not None:
            return pause
        return self._rest(index, is_all_seen=is_time)

    def _keep_up(self, index: Index, until: float) -> bool:
        """Index what was just said, all of it in one transaction; False where there may be more of it."""
        indexer = self._indexer(index)
        fresh = self._readable(indexer.behind(since=time.time() - FRESH_S))
        with index.transaction() if fresh else nullcontext():
            for number in fresh:
                self._catch_up(indexer, number, until)
                if self._stopping or time.monotonic() > until:
                    return False
        return True

    def _forget(self, index: Index) -> None:
        """Let what was forgotten be found no longer, and its words leave with a rebuild."""
        self._rotated = self._engine.catalog.rotated(time.time())
        indexer = self._indexer(index)
        for number in indexer.gone():
            index.forget(number)
        for number in indexer.outdated():
            index.rotate(number)
        if index.is_stale():
            self.rebuild()

    def _go_back(self, index: Index, until: float) -> float | None:
        """Index what is old, the newest first, as fast as the budget allows; None where nothing is behind."""
        indexer = self._indexer(index)
        waiting = self._readable(indexer.behind())
        self.is_behind = bool(waiting)
        if not waiting:
            self._findings.cleared(IndexBroken.code)
            return None
        if self._first():
            return BUSY_S
        now = time.monotonic()
        for number in waiting:
            if self._stopping or self._paid_until > now or now > until:
                break
            size = self._catch_up(indexer, number, until)
            now = time.monotonic()
            self._paid_until = now + self._budget.spend(int(size * WEIGHT), now)
        return max(0.0, self._paid_until - now)

    def _rest(self, index: Index, *, is_all_seen: bool) -> float:
        """Merge the words of what was indexed a while ago; how long there is nothing else to do."""
        now = time.monotonic()
        waits = [LOOK_S, *(until - now for until in self._failing.values())]
        if not is_all_seen:
            waits.append(self._all_at - now)
        if index.is_untidy():
            if now - self._indexed_at > REST_S:
                index.tidy()
                index.shrink()  # merging fills as much memory as indexing
            else:
                waits.append(self._indexed_at + REST_S - now)
        return max(0.001, min(waits) + 0.001)

    def _readable(self, waiting: list[int]) -> list[int]:
        """Without those whose copy could not be read a moment ago."""
        now = time.monotonic()
        self._failing = {number: until for number, until in self._failing.items() if until > now}
        return [number for number in waiting if number not in self._failing]

    def _catch_up(self, indexer: Indexer, number: int, until: float) -> int:
        """One session, or until then as much of it; returns the bytes read.

        Where its copy cannot be read the capture makes it anew.
        """
        size = 0
        try:
            for piece in indexer.steps(number):
                size += piece
                self.progressed_at = time.monotonic()
                if self._stopping or self.progressed_at > until:
                    break
        except CopyError as error:
            self._emit("file_skipped", reason=str(error))
            self._failing[number] = time.monotonic() + BROKEN_S
        except NoSuchSession:
            pass  # it was forgotten meanwhile
        self._indexed_at = time.monotonic()
        return size

    def _go_on(self, until: float) -> None:
        """Go on with the rebuild; what was there is searched, and kept up, until it is done."""
        if self._filling is None:
            self._wanted = False
            remove(self._draft_file)
            self._draft = Index(self._draft_file, self._engine.state_id, is_draft=True)
            self._filling = self._indexer(self._draft).fill(
                lambda error: self._emit("file_skipped", reason=str(error))
            )
        for done, total, _ in self._filling:
            self._left = total - done + 1
            self.progressed_at = time.monotonic()
            if self._stopping or time.monotonic() > until or self._busy():
                return
        if self._index is not None and self._draft is not None:
            self._index.close()
            self._index = None
            self._draft.take_place_of(self._engine.paths.index_db)
        self._draft = self._filling = None
        self._left = 0

    def _give_up(self, error: IndexBroken) -> bool:
        """Close what cannot be used; a damaged index is begun anew, and then it goes on at once."""
        mended = False
        if self._index is not None:
            if self._index.is_damaged and time.monotonic() > self._mended_at + BROKEN_S:
                with suppress(IndexBroken):  # it is tried again
                    self._index.begin_anew()
                    self._mended_at, mended = time.monotonic(), True
            self._index.close()
            self._index = None
        if not mended and (self._wanted or self._filling is not None):
            self._problem, self._wanted = error, False
        self._drop_draft()
        return mended

    def _drop_draft(self) -> None:
        if self._filling is not None:
            self._filling.close()  # what it has begun to write is undone
            self._filling = None
        if self._draft is not None:
            self._draft.close()
            self._draft = None
            with suppress(IndexBroken):  # it is tried again before the next one
                remove(self._draft_file)

    @property
    def _draft_file(self) -> Path:
        index = self._engine.paths.index_db
        return index.with_name(f"{index.name}.new")

    def _open(self) -> Index:
        return Index(self._engine.paths.index_db, self._engine.state_id)

    def _indexer(self, index: Index) -> Indexer:
        engine = self._engine
        return Indexer(index, engine.catalog, engine.mirror, engine.vault, engine.sources, self._rotated)
