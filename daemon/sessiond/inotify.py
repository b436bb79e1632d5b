"""watchdog on Linux: one thread reads what the kernel tells of every folder, and tells it at once."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from watchdog.events import FileSystemEvent
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)


class Reader(InotifyFD):
    """Reads the kernel's queue.  `lost()` and `starved(path)` are called in its thread, once a loss."""

    def __init__(self, lost: Callable[[], None], starved: Callable[[str], None]) -> None:
        super().__init__()
        self._lost = lost
        self._starved = starved

    def handle_event(self, event: InotifyEvent) -> None:
        """Tell whom it concerns; of a loss those who can make a new queue.

        watchdog would drop and add every watch of the same queue, and each dropped one is an event: with more
        folders than the queue is long that never ends.
        """
        if event.is_queue_overflow:
            self._lost()
        else:
            super().handle_event(event)

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> Any:
        """Watch a folder, once or again: one made with its parent is found twice, and watchdog would warn."""
        try:
            with self._lock:
                watch = self._get_or_create_watch(path, mask)
                watch.callbacks[id_] = callback
                return watch.wd
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._starved(os.fsdecode(path))
            raise

    @property
    def is_drained(self) -> bool:
        """Whether the kernel's queue holds no event; False also where that cannot be told."""
        try:
            return not any(fcntl.ioctl(self._inotify_fd, termios.FIONREAD, bytes(4)))
        except OSError:
            return False

    @property
    def watches(self) -> int:
        """How many folders the kernel watches."""
        return len(self._watch_for_wd)


class Emitter(InotifyEmitter):
    """Tells what happens in the reader's thread.

    watchdog's has a thread a folder, and puts events into a queue from which another thread takes them.  What
    a thread is made of is not made either: 4 KB for each project (measured).
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        inotify_fd: Reader,
        tell: Callable[[FileSystemEvent], None],
        **_: Any,
    ) -> None:
        self._event_queue, self._watch = event_queue, watch
        self._event_filter = watch.event_filter
        self._inotify_fd = inotify_fd
        self._inotify = None
        self._tell = tell
        self._is_stopped = False

    def start(self) -> None:
        """Begin to watch."""
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
            tell=self.build_and_queue_event,
        )

    def stop(self) -> None:
        """Watch no longer."""
        self._is_stopped = True
        self.on_thread_stop()

    def is_alive(self) -> bool:
        """Whether it watches."""
        return self._inotify is not None and not self._is_stopped

    def queue_event(self, event: FileSystemEvent) -> None:
        """Tell of it, if it is one of those that are watched for."""
        if self._event_filter is None or type(event) in self._event_filter:
            self._tell(event)

    def join(self, timeout: float | None = None) -> None:
        """There is nothing to wait for."""

    def on_thread_stop(self) -> None:
        """Let go of its folders.

        Where its own is deleted it ends in the middle of an event, and the kernel has let go of them.
        """
        if threading.current_thread() is not self._inotify_fd:
            super().on_thread_stop()


class _Straight(InotifyMoveEventGrouper):
    """Tells what happens at once; watchdog's has a thread wait for the other half of a move."""

    def __init__(self, tell: Callable[[GroupedInotifyEvent], None]) -> None:
        self._tell = tell  # and no queue, which nobody would read
        self._left: PathedInotifyEvent | None = None

    def put_event(self, event: PathedInotifyEvent) -> None:
        left = self.get_queued_moved_from_event(event.ev.cookie) if event.ev.is_moved_to else None
        self._left = event if event.ev.is_moved_from else None
        self._tell(event if left is None else (left, event))

    def get_queued_moved_from_event(self, cookie: int) -> PathedInotifyEvent | None:
        # the kernel tells both halves one after the other
        return self._left if self._left is not None and self._left.ev.cookie == cookie else None

    def discard_pending_events(self) -> None:
        self._left = None

    def close(self) -> None:
        self._left = None


def _nothing(_: GroupedInotifyEvent) -> None:
    """For one that is told nothing."""


@dataclass
class _Group(InotifyWatchGroup):
    tell: Callable[[GroupedInotifyEvent], None] = _nothing

    def __post_init__(self) -> None:
        self._move_event_grouper = _Straight(self.tell)
        super().__post_init__()

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        # a folder that was moved out goes on under its old name, which may be another's by now, or nobody's:
        # watchdog raises KeyError there, which ends the reader, and any attempt to stop
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]
