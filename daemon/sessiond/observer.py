"""watchdog's observer, with what it keeps to itself: that events were lost, and that watches ran out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

Events = frozenset[type[FileSystemEvent]]
"""Which events are told of; all watches have one between them, where of a list each would keep its own."""
Tell = Callable[[FileSystemEvent], None]


class Observer:
    """The platform's observer.  What it is given is called in its threads.

    `tell` is told of each event, `lost` of a loss and `starved` of a path that could not be watched, once a
    loss.
    """

    def __init__(self, tell: Tell, lost: Callable[[], None], starved: Callable[[str], None]) -> None:
        emitter: type[EventEmitter]
        emitter, arguments, self._reader = _platform(tell, lost, starved)
        self._observer = BaseObserver(emitter, **arguments)
        self._tell = tell

    def start(self) -> None:
        """Start every thread."""
        self._observer.start()

    def stop(self) -> None:
        """Stop every thread, and wait for it."""
        self._observer.stop()
        self._observer.join()
        if self._reader is not None:
            self._reader.stop()
            self._reader.join()

    def schedule(self, folder: str, events: Events, *, recursive: bool) -> ObservedWatch:
        """Watch a folder; OSError where that is not possible."""
        wanted = cast("list[type[FileSystemEvent]]", events)
        return self._observer.schedule(_Handler(self._tell), folder, recursive=recursive, event_filter=wanted)

    def forget(self, watch: ObservedWatch) -> None:
        """Watch a folder no longer."""
        with suppress(KeyError, OSError):
            self._observer.unschedule(watch)

    def dead(self) -> list[str]:
        """The threads that have ended: 'observer', 'reader', or the folder that an emitter was for."""
        found = [] if self._observer.is_alive() else ["observer"]
        if self._reader is not None and not self._reader.is_alive():
            found.append("reader")
        return found + [
            str(emitter.watch.path) for emitter in self._observer.emitters.copy() if not emitter.is_alive()
        ]

    @property
    def is_drained(self) -> bool:
        """Whether neither the kernel's queue nor watchdog's holds an event."""
        is_read = self._reader is None or bool(self._reader.is_drained)
        return is_read and self._observer.event_queue.empty()

    @property
    def watches(self) -> int:
        """How many folders the system watches, each of them where it must be told each."""
        return self._reader.watches if self._reader is not None else len(self._observer.emitters)


class _Handler(FileSystemEventHandler):
    """One a watch: watchdog drops a handler from all its watches with the first of them."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def dispatch(self, event: FileSystemEvent) -> None:
        self._tell(event)


def watches_limit() -> float:
    """How many folders this user may watch, infinity where the system sets no limit."""
    try:
        return float(Path("/proc/sys/fs/inotify/max_user_watches").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return float("inf")


def _platform(
    tell: Tell, lost: Callable[[], None], starved: Callable[[str], None]
) -> tuple[type[EventEmitter], dict[str, Any], Any]:
    """The class of emitters, what they are made with, and on Linux the thread that reads for all of them."""
    if sys.platform == "darwin":
        from watchdog.observers.fsevents import FSEventsEmitter  # noqa: PLC0415 - this platform's

        class Stream(FSEventsEmitter):
            def queue_events(self, timeout: float, events: list[Any]) -> None:
                dropped = any(event.must_scan_subdirs for event in events)
                super().queue_events(timeout, events)
                if dropped:
                    lost()

        return Stream, {}, None
    from sessiond.inotify import Emitter, Reader  # noqa: PLC0415 - this platform's

    reader = Reader(lost, starved)
    reader.start()
    return Emitter, {"inotify_fd": reader, "tell": tell}, reader
