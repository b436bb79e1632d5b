"""The numbers of this home: kept up by the daemon once a minute, and by `sessiond stats` at once.

What is counted is read from the copies, so that nothing that is captured ever waits for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sessiond.engine import Engine
from sessiond.metrics.labels import ANSWER_BUCKETS
from sessionsync.archiving import CACHE
from sessionsync.captured import Captured
from sessionsync.catalog import Catalog
from sessionsync.config import Config, Paths
from sessionsync.errors import NumbersBroken, StoreError
from sessionsync.events import Emit
from sessionsync.remote.archive.address import address_of
from sessionsync.stats import Beside, Counter, Numbers, Totals, returns, totals
from sessionsync.stats.storage import bytes_below, live_bytes

# How long one run counts at most, of the minute until the next: what is old waits, and nothing waits for it.
RUN_S = 2.0


def storage(
    catalog: Catalog | None, config: Config, where: Paths, progress: Callable[[], object] = lambda: None
) -> dict[str, int]:
    """How many bytes lie in each area; of an archive elsewhere that is the local part of it.

    `progress` is told of each folder that was walked through.
    """
    address = address_of(config)
    folder = address.folder if address is not None else None
    index = where.index_db
    below = partial(bytes_below, progress=progress)
    return {
        "live": live_bytes(catalog) if catalog is not None else 0,
        "mirror": below(config.backup.mirror_dir),
        "vault": below(config.backup.vault_dir),
        "archive": below(folder or where.state_dir / CACHE) if address is not None else 0,
        "index": below(*(index.with_name(index.name + end) for end in ("", "-wal", "-shm"))),
    }


def beside(catalog: Catalog, config: Config, where: Paths) -> Beside:
    """What `stats` tells besides the numbers."""
    quality = {session.name: session.summary.quality for session in catalog.each() if session.summary.quality}
    counted = dict(
        catalog.store.rows(
            "SELECT name, sum(value) FROM tallies WHERE name IN (?, ?) GROUP BY name",
            ("integrity_ok", "integrity_bad"),
        )
    )
    checks = counted.get("integrity_ok", 0.0), counted.get("integrity_bad", 0.0)
    return Beside(storage(catalog, config, where), quality, checks)


class Counting:
    """What the daemon's minute does, and what `/metrics` reads; `run` belongs to the schedule's thread."""

    def __init__(self, engine: Engine, emit: Emit, busy: Callable[[], bool] = lambda: False) -> None:
        """Wire it; while the first backup goes on the daemon is `busy`, and nothing is counted."""
        self._busy = busy
        self._engine = engine
        self._emit = emit
        self._lock = threading.Lock()
        self._wanted, self._ended = True, False
        self._numbers: Numbers | None = None
        self._totals: Totals | None = None

    def captured(self) -> None:
        """Something was committed that may be counted; for any thread."""
        self._wanted = True

    def run(self) -> None:
        """Count what was captured since, for a while; where it fails it is tried again the next time."""
        with self._lock:
            if self._wanted and not self._ended and not self._busy():
                self._wanted = False
                try:
                    self._count(time.monotonic() + RUN_S)
                except (NumbersBroken, StoreError) as error:
                    self._emit("numbers_failed", reason=str(error), hint=error.hint)
                    self._wanted = True
                    self._let_go()

    def forget(self, name: str) -> None:
        """Let the numbers of a session be nobody's.

        Raises:
            NumbersBroken: they cannot be written.
        """
        with self._lock:
            self._forget(self._open(), name)

    def totals(self) -> Totals:
        """What was counted by the last run, or before this daemon; for any thread.

        Raises:
            NumbersBroken: the numbers cannot be read.
        """
        known = self._totals
        if known is None:
            with self._lock:
                known = self._totals = totals(self._open(), ANSWER_BUCKETS)
        return known

    def all(self) -> Totals:
        """Everything that was captured, counted to the end: for a run that has no next minute.

        Raises:
            NumbersBroken: the numbers cannot be kept.
        """
        with self._lock:
            return self._count(math.inf)

    def end(self) -> None:
        """Count no more; what is being counted is given up at its next piece."""
        self._ended = True
        with self._lock:
            self._let_go()

    def _count(self, until: float) -> Totals:
        numbers = self._open()
        for _ in self._counter(numbers).catch_up():
            if self._ended or time.monotonic() > until:
                self._wanted = True
                break
        self._totals = found = totals(numbers, ANSWER_BUCKETS)
        numbers.shrink()
        return found

    def _open(self) -> Numbers:
        if self._numbers is None:
            self._numbers = Numbers(self._engine.paths.numbers_db)
            for name in self._engine.forgotten:  # who was killed then has not come so far
                self._forget(self._numbers, name)
            self._engine.forgotten.clear()
        return self._numbers

    def _forget(self, numbers: Numbers, name: str) -> None:
        numbers.forget(name)
        returns.forget(self._engine.paths.returns, name)

    def _let_go(self) -> None:
        if self._numbers is not None:
            self._numbers.close()
            self._numbers = None

    def _counter(self, numbers: Numbers) -> Counter:
        engine = self._engine
        return Counter(
            numbers,
            engine.catalog,
            Captured(engine.mirror, engine.vault),
            engine.sources,
            returns.noted(engine.paths.returns),
        )


def read_live(file: Path, begin: int, end: int) -> bytes:
    """Bytes of an agent's own file; what cannot be read is not there."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(begin)
        return opened.read(end - begin)
    return b""
