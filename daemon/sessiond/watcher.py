"""Hints that files changed.  Never the truth: a hint can be lost, so each loss asks for a rescan.

    kernel ─▶ reader ─▶ a bounded set of paths ─▶ take

The reader's thread does not wake while nothing happens.  On macOS each root has one, and watchdog's queue and
dispatcher are behind it.  Whoever is told to rescan first calls `refresh`: the watch is registered before the
scan, or what happens between the two is seen by neither.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
)
from watchdog.observers.api import ObservedWatch

from sessiond.observer import Events, Observer
from sessionsync.events import Emit

# A burst of writes is one hint: this long after its last event, at most this long after its first.
SETTLE_S = 0.02
LONGEST_SETTLE_S = 0.2
# What has happened is heard of after this at most: between two queues an event is in a thread's hands.
HEARD_S = 1.0
# More changed paths than this are cheaper to find by a rescan.
MOST_PATHS = 10_000

# No open and close events: our own reading would fill the kernel's queue, and other programs' would wake us.
CHANGES: Events = frozenset(
    {
        FileCreatedEvent,
        FileModifiedEvent,
        FileMovedEvent,
        FileDeletedEvent,
        DirCreatedEvent,
        DirMovedEvent,
        DirDeletedEvent,
    }
)
ARRIVALS: Events = frozenset({DirCreatedEvent, DirMovedEvent, DirDeletedEvent})

LIMITED = "Changes there are only found by the rescan; raise fs.inotify.max_user_watches to see them at once."


class Hints(NamedTuple):
    """What may have changed.  `next_at` (monotonic) is when there is more to take; None: not yet known."""

    paths: frozenset[Path]
    rescan: bool
    next_at: float | None


class _Root(NamedTuple):
    """A watched folder.  `identity` tells it from another folder that took its name."""

    watch: ObservedWatch
    identity: tuple[int, int]


class Watcher:
    """Watches folders and all below them.  Any thread may call any method.

    `roots` names the folders that are wanted now; one that does not exist yet is waited for.
    `on_news` is called, from watchdog's threads, when there is something to take after nothing was.
    """

    def __init__(
        self,
        roots: Callable[[], Collection[Path]],
        emit: Emit,
        on_news: Callable[[], None] = lambda: None,
        *,
        most_paths: int = MOST_PATHS,
    ) -> None:
        self.on_news = on_news
        self._wanted = roots
        self._emit = emit
        self._most = most_paths
        # guards what is watched; never taken in watchdog's threads, which are waited for with it
        self._watching = threading.Lock()
        self._observer: Observer | None = None
        self._roots: dict[str, _Root] = {}
        self._anchors: dict[str, ObservedWatch] = {}
        self._missing: frozenset[str] = frozenset()
        # guards what has happened
        self._happening = threading.Lock()
        self._paths: set[Path] = set()
        self._first_at = 0.0
        self._last_at = 0.0
        self._rescan = False
        self._lost = False
        self._doors: frozenset[str] = frozenset()
        self._refused: set[str] = set()
        self._starving = False
        self._counts: Counter[str] = Counter()

    # --- life

    def start(self) -> None:
        """Begin to watch.  What was there before is for the first scan to find."""
        with self._watching:
            self._start()

    def stop(self) -> None:
        """Stop watching; every thread is gone when this returns."""
        with self._watching:
            self._stop()

    def restart(self) -> None:
        """Begin anew, because a thread has died, and ask for a rescan: nobody knows since when."""
        with self._watching:
            self._stop()
            self._start()
        self._want_rescan()

    def refresh(self) -> bool:
        """Watch folders that have come, let go of those that went or are others by now; whether any did.

        Call it before each rescan and every few seconds: it asks for a rescan where one is needed.
        After lost events everything is watched anew.
        """
        with self._watching:
            if self._observer is None:
                return False
            with self._happening:
                lost, self._lost = self._lost, False
            if lost:
                self._stop()
                self._start()
            # also after that: what the caller is about to compare may be of before the watches
            changed = lost or self._refresh()
        if changed:
            self._want_rescan()
        return changed

    def look(self) -> bool:
        """Refresh where a folder is another one by now and no event has told of it; whether one was.

        Costs a `stat` a folder; which ones are wanted is not asked.
        """
        with self._watching:
            moved = any(_identity(root) != held.identity for root, held in self._roots.items())
            come = any(map(_identity, self._missing))
        return (moved or come) and self.refresh()

    @property
    def folders(self) -> list[Path]:
        """The wanted folders that are watched, each with all below it."""
        with self._watching:
            return list(map(Path, self._roots))

    def dead(self) -> list[str]:
        """The threads that have ended although they should not: what `restart` is for."""
        with self._watching:
            if self._observer is None:
                return ["observer"]
            # the emitter of a deleted root ends by itself, and `refresh` lets it go
            return [name for name in self._observer.dead() if "/" not in name or _identity(name)]

    def alive(self) -> bool:
        """Whether every thread lives."""
        return not self.dead()

    # --- hints

    def take(self, now: float) -> Hints:
        """What has settled by `now` (monotonic)."""
        with self._happening:
            if self._rescan:  # it finds the paths as well
                self._paths, self._rescan = set(), False
                return Hints(frozenset(), rescan=True, next_at=None)
            if (settled_at := self._settled_at(now)) is not None:
                return Hints(frozenset(), rescan=False, next_at=settled_at)
            taken, self._paths = frozenset(self._paths), set()
            return Hints(taken, rescan=False, next_at=None)

    def settles_at(self, now: float) -> float | None:
        """When (monotonic) there will be something to take where all that has happened settles; else None."""
        with self._happening:
            return None if self._rescan else self._settled_at(now)

    def _settled_at(self, now: float) -> float | None:
        if not self._paths:
            return None
        settled_at = min(self._first_at + LONGEST_SETTLE_S, self._last_at + SETTLE_S)
        return settled_at if now < settled_at else None

    def heard_until(self, now: float) -> float | None:
        """Until when (monotonic, before `now`) all that happened was taken; None where nobody can tell.

        An event on its way through is in one of the queues, which are looked at in its direction, or for a
        moment in a thread's hands, for which `HEARD_S` stands.
        """
        observer = self._observer
        if observer is None or not observer.is_drained:
            return None
        with self._happening:
            if self._rescan or self._lost:
                return None
            return (min(now, self._first_at) if self._paths else now) - HEARD_S

    # --- numbers

    @property
    def counts(self) -> dict[str, float]:
        """Events received so far, by type."""
        with self._happening:
            return dict(self._counts)

    @property
    def watches(self) -> int:
        """Folders that the system watches for us."""
        observer = self._observer
        return 0 if observer is None else observer.watches

    @property
    def is_starved(self) -> bool:
        """Whether the system has refused a watch, as there were no more."""
        return self._starving

    # --- with `_watching`

    def _start(self) -> None:
        if self._observer is None:
            self._refused.clear()
            self._starving = False
            self._observer = Observer(self._happened, self._overflowed, self._starved)
            self._observer.start()
            self._refresh()

    def _stop(self) -> None:
        observer, self._observer = self._observer, None
        self._roots.clear()
        self._anchors.clear()
        self._missing = frozenset()
        if observer is not None:
            observer.stop()

    def _refresh(self) -> bool:
        assert self._observer is not None  # noqa: S101 - for the type checker
        wanted = {os.path.realpath(root) for root in self._wanted()}
        # a folder below another one is watched with it
        tops = {root for root in wanted if wanted.isdisjoint(_above(root))}
        there = {root: identity for root in tops if (identity := _identity(root))}
        changed = False
        for root in [root for root, held in self._roots.items() if there.get(root) != held.identity]:
            self._observer.forget(self._roots.pop(root).watch)
            changed = True
        for root in sorted(there.keys() - self._roots.keys()):
            if watch := self._schedule(root, CHANGES, recursive=True):
                self._roots[root] = _Root(watch, there[root])
                changed = True
        if self._await(tops - there.keys()):  # nobody tells of that: look again
            changed |= self._refresh()
        return changed

    def _await(self, missing: set[str]) -> bool:
        """Watch the nearest folder there is above each missing root for the arrival of the next one.

        Returns whether one has arrived meanwhile.
        """
        assert self._observer is not None  # noqa: S101 - for the type checker
        self._missing = frozenset(missing)
        doors = frozenset({*self._roots, *missing, *(folder for root in missing for folder in _above(root))})
        with self._happening:
            self._doors = doors
        anchors = set(map(_nearest, missing))
        for anchor in self._anchors.keys() - anchors:
            self._observer.forget(self._anchors.pop(anchor))
        new = sorted(anchors - self._anchors.keys())
        for anchor in new:
            if watch := self._schedule(anchor, ARRIVALS, recursive=False):
                self._anchors[anchor] = watch
        return bool(new) and (set(map(_nearest, missing)) != anchors or any(map(_identity, missing)))

    def _schedule(self, folder: str, events: Events, *, recursive: bool) -> ObservedWatch | None:
        assert self._observer is not None  # noqa: S101 - for the type checker
        try:
            return self._observer.schedule(folder, events, recursive=recursive)
        except OSError as error:
            self._starving |= error.errno == errno.ENOSPC  # inotify's word for no more watches
            if folder not in self._refused:
                self._refused.add(folder)
                self._emit("watch_refused", path=folder, reason=error.strerror or str(error), hint=LIMITED)
            return None

    # --- in watchdog's threads

    def _happened(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        full = news = False
        with self._happening:
            self._counts[event.event_type] += 1
            if event.is_directory and not self._doors.isdisjoint(paths):
                # a root, or a folder on the way to one, came or went
                news, self._rescan = not self._rescan, True
            elif len(self._paths) < self._most:
                self._last_at = time.monotonic()
                if not self._paths:
                    news, self._first_at = True, self._last_at
                self._paths.update(map(Path, paths))
            else:
                full, self._rescan = not self._rescan, True
        if full:
            self._emit("watch_overflowed", queue="paths")
        if news or full:
            self.on_news()

    def _overflowed(self) -> None:
        with self._happening:
            self._lost = self._rescan = True
        self._emit("watch_overflowed", queue="kernel")
        self.on_news()

    def _starved(self, path: str) -> None:
        self._starving = True
        if not self._refused:
            self._refused.add(path)
            self._emit("watch_refused", path=path, reason="no more watches", hint=LIMITED)

    def _want_rescan(self) -> None:
        with self._happening:
            self._rescan = True
        self.on_news()


def _above(folder: str) -> Iterator[str]:
    """The folders above one, the nearest first."""
    while (above := os.path.dirname(folder)) != folder:  # noqa: PTH120 - a path of pathlib's takes four times as long
        folder = above
        yield folder


def _nearest(root: str) -> str:
    """The nearest folder there is above a root."""
    return next(above for above in _above(root) if _identity(above))


def _identity(folder: str) -> tuple[int, int] | None:
    """What tells a folder from every other one; None where none lies there."""
    try:
        found = os.stat(folder)  # noqa: PTH116 - as above
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
