"""What the indicators of this machine, of the queue and of the sessions stand at.

Everything here is a few queries that an index answers, or a few calls to the system: with ten thousand
sessions it costs what it costs with ten.  Only the folders of the copies are walked through, once an hour,
and the sessions, once a minute.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from sessiond.bookkeeping import Bookkeeping
from sessiond.counting import storage
from sessiond.engine import Engine
from sessiond.observer import watches_limit
from sessiond.upkeeping import UpkeepLoop
from sessiond.watcher import Watcher
from sessionsync.catalog import Session
from sessionsync.errors import NoSuchSession
from sessionsync.model import ACTIVE_S, Tier
from sessionsync.push import CREATION_BUDGET
from sessionsync.reliability.indicators import BY_CODE, DAY_S, Reading, Readings
from sessionsync.reliability.trend import Growth
from sessionsync.remote.comments import PARTS
from sessionsync.sources.cleanup import cleanup_days
from sessionsync.sources.folders import head
from sessionsync.sources.structured import dropped
from sessionsync.sources.transcript import is_at_work

# A disk with so much room is not low, however large it is; and one that is half empty is not filling.
ROOMY_BYTES = 20 << 30
FILLING_BELOW = 0.4
# How fast a disk fills is looked at this often: 36 samples are 18 hours.
GROWTH_S = 1800.0
# What is so small is not large for anything.
SMALL_INDEX_BYTES, SMALL_VAULT_BYTES = 256 << 20, 1 << 30
MEASURE_S = 3600.0
# Every session is looked at to find one that its agent deletes within days: no more often than this.
PURGES_S = 60.0
# A drill that is due is held within this time of a start, or of a sleep.
PROVES_S = 3600.0
# What the agent's file about a running session may hold.
RUNNING_BYTES = 64 * 1024
# Who has not answered for so long knows; or its number is another process's by now.
FORSAKEN_S = DAY_S
NEAR = BY_CODE["near_limit"].warning or 0.0


class Measured(Protocol):
    """What is looked at."""

    started_at: float
    engine: Engine
    books: Bookkeeping
    watcher: Watcher
    upkeep: UpkeepLoop

    def stuck_for(self) -> dict[str, float]:
        """Of each loop for how many seconds it has not turned."""

    def may_push(self) -> bool:
        """Whether something is sent to GitHub at all."""


class _Running(msgspec.Struct, rename="camel"):
    """What of that file is read; 0 and less would be groups of processes."""

    pid: Annotated[int, msgspec.Meta(gt=0)]
    session_id: str


class Instruments:
    """Reads the indicators.  Belongs to the health loop, which is told of its `progress`."""

    def __init__(self, app: Measured, progress: Callable[[], object] = lambda: None) -> None:
        self._app = app
        self._progress = progress
        self._growth: dict[int, Growth] = {}
        self._measured_at: float | None = None
        self._purged_at, self._purged = 0.0, list[Reading]()
        self._sessions = 0
        self.areas: dict[str, int] = {}
        """Bytes by area, as they were measured last; for any thread."""

    def read(self, comments: Mapping[str, float], now: float) -> Readings:
        """Every indicator of these; `comments` is by session how full its one comment is."""
        app, engine = self._app, self._app.engine
        self._measure(now)
        limit = max(1.0, watches_limit())  # which may be set to none at all
        return {
            "sync_late": list(_late(app, now)) if app.may_push() else (),
            "near_limit": [*_near_tier(engine, now), *_near_comment(engine, comments, now), *_issues(engine)],
            **self._disks(now),
            "watches_low": [Reading(1.0 if app.watcher.is_starved else app.watcher.watches / limit)],
            "index_large": _large(self.areas["index"], self._sessions, SMALL_INDEX_BYTES),
            "vault_large": _large(self.areas["vault"], self._sessions, SMALL_VAULT_BYTES),
            "purge_near": self._purges(now),
            "agent_silent": list(_silent(engine, now)),
            "loop_stuck": list(stuck(app.stuck_for())),
            "restore_unproven": list(_unproven(app, now)),
            "quality_dropped": list(_dropped(engine, now)),
        }

    def _purges(self, now: float) -> list[Reading]:
        """What is about to be deleted by its agent; looked up again at once only where there is something."""
        if self._purged or not 0 <= now - self._purged_at < PURGES_S:
            self._purged_at, self._purged = now, list(_purged(self._app.engine, now))
        return self._purged

    def _disks(self, now: float) -> Readings:
        """What is left on each disk that something is written to, and for how long it lasts at this pace."""
        low, filling = [], []
        for number, (names, folder) in self._places().items():
            with suppress(OSError):
                total, _, free = shutil.disk_usage(folder)
                if not total:
                    continue  # as some file systems in user space say
                growth = self._growth.setdefault(number, Growth(GROWTH_S))
                growth.add(now, total - free)
                if free < ROOMY_BYTES:
                    low.append(Reading(free / total, of=names))
                left_s = growth.left_s(total)
                if left_s is not None and free < FILLING_BELOW * total:
                    filling.append(Reading(left_s, of=names))
        return {"disk_low": low, "disk_filling": filling}

    def _places(self) -> dict[int, tuple[str, Path]]:
        """Each disk once, by its number: what is on it, and a folder there."""
        engine = self._app.engine
        found: dict[int, tuple[str, Path]] = {}
        for name, folder in (
            ("the plain copies", engine.config.backup.mirror_dir),
            ("the vault", engine.config.backup.vault_dir),
            ("the state", engine.paths.state_dir),
        ):
            with suppress(OSError):
                number = folder.stat().st_dev
                others = f"{found[number][0]} and " if number in found else ""
                found[number] = (f"{others}{name}", folder)
        return found

    def _measure(self, now: float) -> None:
        if self._measured_at is not None and 0 <= now - self._measured_at < MEASURE_S:
            return
        self._measured_at = now
        engine = self._app.engine
        row = engine.store.row("SELECT total(size) FROM sessions")
        self._sessions = int(row[0]) if row else 0
        self.areas = storage(engine.catalog, engine.config, engine.paths, self._progress)


def _late(app: Measured, now: float) -> Iterator[Reading]:
    """How long the oldest checkpoint waits; what only waits for GitHub's limit on new comments is in time.

    Neither sleep nor an outage counts: what is sent right after one is not late.
    """
    at = app.engine.queue.oldest_at(besides=CREATION_BUDGET)
    if at is not None:
        yield Reading(app.books.waited(now - at))


def _near_tier(engine: Engine, now: float) -> Iterator[Reading]:
    """Active sessions that are about to grow past their tier."""
    tiers = engine.config.tiers
    for tier, limit in ((Tier.GITHUB_ONLY, tiers.github_only_bytes), (Tier.HYBRID, tiers.hybrid_bytes)):
        for name, size in engine.store.rows(
            "SELECT source || ':' || key, size FROM sessions WHERE modified_at > ? AND tier = ? AND size > ?",
            (now - ACTIVE_S, tier.value, NEAR * limit),
        ):
            yield Reading(size / limit, name, f"Its tier {tier.value}")


def _near_comment(engine: Engine, comments: Mapping[str, float], now: float) -> Iterator[Reading]:
    """Active sessions whose one comment is about to be full."""
    for name, filled in comments.items():
        session = _session(engine, name) if filled > NEAR else None
        if session is not None and now - session.modified_at < ACTIVE_S:
            yield Reading(filled, name, "Its comment")


def _issues(engine: Engine) -> Iterator[Reading]:
    """Issues that are about to be full; one that is full has had its successor."""
    for number, total in engine.store.rows(
        "SELECT number, total FROM issues WHERE number IS NOT NULL AND total BETWEEN ? AND ?",
        (NEAR * PARTS, PARTS - 1),
    ):
        yield Reading(total / PARTS, of=f"Issue {number}")


def _purged(engine: Engine, now: float) -> Iterator[Reading]:
    """Transcripts that their agent deletes within days and that are not all in the vault."""
    for root in engine.config.claude_roots(engine.environ):
        days = cleanup_days(root)
        if days is None or days < 1:  # `purge_at_once` is said already
            continue
        for name, modified_at in engine.store.rows(
            "SELECT source || ':' || key, modified_at FROM sessions INDEXED BY sessions_unkept"
            " WHERE (checkpoint IS NULL OR dirty_since IS NOT NULL)"
            " AND source = 'claude' AND root = ? AND modified_at < ? AND EXISTS"
            " (SELECT 1 FROM files WHERE session = sessions.id AND deleted_at IS NULL)",
            (str(root), now - (days - 3) * DAY_S),
        ):
            yield Reading(max(0.0, modified_at + days * DAY_S - now), name)


def _silent(engine: Engine, now: float) -> Iterator[Reading]:
    """Agents that run and owe an answer, and whose transcripts do not grow.

    The agent keeps a small file about each of its processes; one whose turn has ended waits for its user.
    """
    for root in engine.config.claude_roots(engine.environ):
        with suppress(OSError):
            for file in (root / "sessions").glob("*.json"):
                if (name := running(file)) is None:
                    continue
                session = engine.catalog.named(name)
                if session is None or session.ref.source != "claude" or not is_at_work(session.summary):
                    continue
                if (silent_s := now - session.modified_at) < FORSAKEN_S:
                    yield Reading(silent_s, session.name)


def running(file: Path) -> str | None:
    """The session that a process which lives has open, by the agent's file about it; never waits.

    Anybody may have written that file: what is in it is taken for nothing but a number and a name.
    """
    try:
        said = msgspec.json.decode(head(file, RUNNING_BYTES), type=_Running)
        os.kill(said.pid, 0)
    except (msgspec.DecodeError, OSError, OverflowError, RecursionError):
        return None  # also where another user's process has that number by now
    return said.session_id


def stuck(ages: Mapping[str, float]) -> Iterator[Reading]:
    """How long each loop has not turned, but for what has kept the one that looks as well.

    After a stop of the whole process, or a long walk through a slow disk, nobody else had to do with it;
    and that one of its own the service manager's watchdog sees.
    """
    for name, age_s in ages.items():
        yield Reading(max(0.0, age_s - ages.get("health", 0.0)), of=name)


def _unproven(app: Measured, now: float) -> Iterator[Reading]:
    """How long ago a restore was proven, where there is anything to restore.

    A machine that was off or asleep for days has its time to prove one first.
    """
    age_s = now - (app.upkeep.drill.passed_at() or app.started_at)
    has_any = app.engine.store.row("SELECT 1 FROM checkpoints LIMIT 1") is not None
    if has_any and app.books.waited(age_s) >= PROVES_S:
        yield Reading(age_s)


def _dropped(engine: Engine, now: float) -> Iterator[Reading]:
    """Active sessions one of whose scores is lower than it was."""
    # with `+` the index by time is asked: few are active, of however many of a source
    for (number,) in engine.store.rows(
        "SELECT id FROM sessions WHERE modified_at > ? AND +source = 'structured'", (now - ACTIVE_S,)
    ):
        with suppress(NoSuchSession):
            session = engine.catalog.session(number)
            yield Reading(dropped(session.summary), session.name)


def _large(size: int, of: int, small: int) -> list[Reading]:
    return [Reading(size / of)] if of and size > small else []


def _session(engine: Engine, name: str) -> Session | None:
    with suppress(NoSuchSession):
        return engine.catalog.resolve(name)
    return None
