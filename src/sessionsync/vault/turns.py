"""Who works on what: one at a time."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K")
T = TypeVar("T")


class Turns(Generic[K, T]):
    """What is worked on, and by whom, until that is over or nobody has the worker any more.  Any thread."""

    def __init__(self) -> None:
        self._workers: WeakValueDictionary[K, T] = WeakValueDictionary()
        self._lock = Lock()

    def take(self, what: K, worker: T) -> bool:
        """Let a worker have it; False where another one has it."""
        with self._lock:
            return self._workers.setdefault(what, worker) is worker

    def end(self, what: K, worker: T) -> None:
        """Let others have it, where it is this worker's."""
        with self._lock:
            if self._workers.get(what) is worker:
                del self._workers[what]
