"""A process that captures sessions for another one, which commits them; begun by `workers` alone.

It makes the same copies in the same way, and makes them durable; what it hands back is rows.  It has no state
of its own: it is given only sessions that nobody has begun.  It ends with whoever has begun it, in the middle
of whatever it does: what it leaves then is what a crash leaves.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from sessiond.process import expect_a_burst, harden
from sessionsync import __version__
from sessionsync.capture import Capture, Work
from sessionsync.catalog import Catalog
from sessionsync.config import Config
from sessionsync.errors import SessiondError
from sessionsync.model import Ref
from sessionsync.project_names import Names
from sessionsync.queue import Queue
from sessionsync.sources.claude import Claude
from sessionsync.store import MEMORY, Store
from sessionsync.vault import Mirror, Vault

Event = tuple[str, dict[str, Any]]


class Assignment(NamedTuple):
    """What a worker is told first, and goes by; all else it is told are lists of sessions."""

    config: Config
    roots: list[Path]
    first_seen: float
    everything_new: bool


class Captured(NamedTuple):
    """What it answers to a list: the sessions whose copies are whole and durable, and what is to be told."""

    works: list[Work]
    events: list[Event]


class Line:
    """A socket to the other process: values as `pickle` has them, each behind its length.

    Both ends are this very program, and nobody else has the socket.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """To wait for what the other says."""
        return self._end.fileno()

    def say(self, value: object) -> None:
        """Send a value; OSError where nobody is at the other end."""
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        self._end.sendall(len(data).to_bytes(8, "big") + data)

    def hear(self) -> Any:
        """Wait for a value; EOFError, or OSError, where nobody is at the other end."""
        return pickle.loads(self._exactly(int.from_bytes(self._exactly(8), "big")))  # noqa: S301 - of ours

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not (part := self._end.recv(size - len(data), socket.MSG_WAITALL)):
                raise EOFError
            data += part
        return bytes(data)


def main(descriptor: int, version: str) -> None:
    """Work until nobody is at the other end of the socket any more, which is a process of this `version`.

    One of another version, that was installed while the other runs, has other rows, and ends.
    """
    if version != __version__:
        return
    harden()
    expect_a_burst()
    line = Line(socket.socket(fileno=descriptor))
    said: Assignment = line.hear()
    lists: SimpleQueue[list[Ref]] = SimpleQueue()
    Thread(target=_hear, args=(line, lists), daemon=True).start()
    events: list[Event] = []
    vault = Vault(said.config.backup.vault_dir, lambda event, **fields: events.append((event, fields)))
    capture = _capture(said, vault, lambda event, **fields: events.append((event, fields)))
    with vault.borrowed():
        while True:
            line.say(_captured(capture, lists.get(), events))


def _hear(line: Line, lists: SimpleQueue[list[Ref]]) -> None:
    """Take in lists, and end this process at once where the other one has ended."""
    while True:
        try:
            lists.put(line.hear())
        except (EOFError, OSError):
            os._exit(0)


def _capture(said: Assignment, vault: Vault, emit: Any) -> Capture:
    store, folder = Store(MEMORY), said.config.backup.mirror_dir
    return Capture(
        catalog=Catalog(store),
        queue=Queue(store),
        mirror=Mirror(folder),
        vault=vault,
        sources=[Claude(said.roots, emit)],
        names=Names(folder),
        config=said.config,
        first_seen=said.first_seen,
        emit=emit,
        everything_new=said.everything_new,
    )


def _captured(capture: Capture, refs: list[Ref], events: list[Event]) -> Captured:
    """Capture these.  What fails is captured again, and complained of, by who has asked."""
    told: dict[Ref, list[Event]] = {}
    for ref in refs:
        with suppress(SessiondError):
            capture.capture(ref, time.time())
        told[ref] = events.copy()
        events.clear()
    works: list[Work] = []
    with suppress(SessiondError):
        works = capture.hand_over()
    for work in works:
        events += told[work.session.ref]
    said = events.copy()
    events.clear()
    return Captured(works, said)
