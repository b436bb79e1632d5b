"""What is read at each scrape, and where from: a handful of statements, whatever there is to count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sessiond.bookkeeping import Bookkeeping
from sessiond.engine import Engine
from sessiond.metrics.registry import Readings
from sessiond.observer import watches_limit
from sessionsync.archiving import CACHE
from sessionsync.config import Config
from sessionsync.conflict import Conflicts
from sessionsync.push import CREATION_BUDGET
from sessionsync.queue import ARCHIVE, Queue, State
from sessionsync.stats import Totals
from sessionsync.store import Store

if TYPE_CHECKING:
    from sessiond.app import App


def of_daemon(app: App) -> Iterator[Callable[[], Readings]]:
    """Where a daemon's readings come from; each may fail without the others."""
    yield from of_engine(app.engine)
    yield partial(of_process, app)
    yield partial(of_upkeep, app)
    yield partial(of_books, app.books)
    yield lambda: of_storage(app.health.areas)
    yield lambda: of_transcripts(app.counting.totals())


def of_engine(engine: Engine) -> Iterator[Callable[[], Readings]]:
    """Where those come from that a single run has as well."""
    yield lambda: of_queue(engine.queue, engine.config, time.time())
    yield lambda: of_sessions(engine.store)
    yield lambda: of_github(engine)
    yield lambda: of_disks(areas(engine))


def of_process(app: App) -> Readings:
    """Whether the daemon does its work, and what it watches."""
    return {
        "ready": float(not any(app.ready_checks().values())),
        "loop_progress_age_seconds": {loop.name: loop.progress_age_s for loop in app.loops()},
        "watch_events": app.watcher.counts,
        "watch_watches": float(app.watcher.watches),
        "watch_watches_limit": watches_limit(),
    }


def of_upkeep(app: App) -> Readings:
    """When the copies were last looked at."""
    return {
        "integrity_scan_last_success_timestamp_seconds": app.copies.scanned_at(),
        "broken_references": {kind: float(n) for kind, n in app.copies.broken_references().items()},
        "restore_last_verified_timestamp_seconds": app.upkeep.drill.passed_at(),
    }


def of_books(books: Bookkeeping) -> Readings:
    """What is kept across restarts: totals as far as they are written, scores up to now."""
    totals = books.ledger.totals()
    return {
        "state_seconds": totals.seconds,
        "restarts": totals.starts,
        "lost_bytes": totals.tallies["lost_bytes"],
        "reliability_score_ratio": {name: figures.score for name, figures in books.all_figures().items()},
    }


def of_transcripts(totals: Totals) -> Readings:
    """What transcripts tell of cost, time and reuse, kept across restarts as well."""
    return {
        "session_tokens": totals.tokens,
        "session_lookups": totals.lookups,
        "response_seconds": totals.waits,
    }


def of_queue(queue: Queue, config: Config, now: float) -> Readings:
    """What waits, and for how long.

    What nobody has named a place for is not late, nor what waits for its turn under GitHub's limits.
    """
    census = queue.census(besides=CREATION_BUDGET)
    since = {
        operation: at
        for operation, at in census.oldest.items()
        if (config.has_archive if operation == ARCHIVE else config.github.repo)
    }
    # of both versions in a conflict that nobody has settled, the other one is only there
    disputed = sum(float(each.remote.get("size") or 0) for each in Conflicts(queue.store).all())

    def age(at: float | None) -> float:
        return 0.0 if at is None else max(0.0, now - at)

    return {
        "queue_items": {
            state.value: float(n) for state, n in census.depth.items() if state is not State.BURIED
        },
        "queue_bytes": float(census.waiting_bytes),
        "queue_buried_items": float(census.depth[State.BURIED]),
        "queue_oldest_item_age_seconds": age(min(since.values(), default=None)),
        "sync_lag_seconds": age(since.get("comment")),
        "sync_divergence_bytes": {
            "local": float(census.unpushed_bytes) if config.github.repo else 0.0,
            "remote": disputed,
        },
    }


def of_sessions(store: Store) -> Readings:
    """The known sessions."""
    rows = store.rows("SELECT source, tier, number FROM session_counts")
    known: dict[tuple[str, ...], float] = {(source, tier): float(number) for source, tier, number in rows}
    return {"sessions": known}


def of_github(engine: Engine) -> Readings:
    """What GitHub has told of limits and token, and when it and others were last heard."""
    push, pull = engine.push, engine.pull
    limits = push.github.limits if push is not None else {}
    expires_at = push.github.token_expires_at if push is not None else None
    ((pushed_at,),) = engine.store.rows("SELECT max(pushed_at) FROM sessions")
    pulled_at = pull.pulled_at if pull is not None else None
    return {
        "github_rate_limit_limit": {name: float(limit.limit) for name, limit in limits.items()},
        "github_rate_limit_remaining": {name: float(limit.remaining) for name, limit in limits.items()},
        "github_rate_limit_reset_timestamp_seconds": {
            name: float(limit.reset_at) for name, limit in limits.items()
        },
        "github_token_expiry_timestamp_seconds": float("inf") if expires_at is None else expires_at,
        "sync_last_success_timestamp_seconds": {"push": pushed_at or 0.0, "pull": pulled_at or 0.0},
    }


def of_storage(areas: Mapping[str, int]) -> Readings:
    """What is in use, as it was measured."""
    return {"storage_bytes": {area: float(size) for area, size in areas.items()}}


def areas(engine: Engine) -> dict[str, Path]:
    """The folders in which things are kept, by area."""
    backup, state = engine.config.backup, engine.paths.state_dir
    return {
        "live": engine.config.claude_roots(engine.environ)[0],
        "mirror": backup.mirror_dir,
        "vault": backup.vault_dir,
        "archive": state / CACHE,
        "index": state,
    }


def of_disks(folders: Mapping[str, Path]) -> Readings:
    """Room on the file systems of the areas; a folder that is not made yet will be on that of its parent."""
    size, available = {}, {}
    for area, folder in folders.items():
        with suppress(OSError):
            disk = os.statvfs(next(each for each in (folder, *folder.parents) if each.exists()))
            size[area] = float(disk.f_blocks * disk.f_frsize)
            available[area] = float(disk.f_bavail * disk.f_frsize)
    return {"storage_filesystem_size_bytes": size, "storage_filesystem_avail_bytes": available}
