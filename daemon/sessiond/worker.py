"""A process that captures sessions for another one, which commits them; begun by `workers` alone.

It makes the same copies in the same way, and makes them durable; what it hands back is rows.  It has no state
of its own: it is given only sessions that nobody has begun, or the rows of those whose lines it is to read.
It ends with whoever has begun it, in the middle of whatever it does: what it leaves then is what a crash
leaves.

It captures two lists in turns, so that no core waits for the disk: while one is made durable, and then
answered, the next is captured.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, Self

from sessiond.process import expect_a_burst, harden
from sessionsync import __version__
from sessionsync.capture import Capture, Work
from sessionsync.catalog import Catalog
from sessionsync.config import Config
from sessionsync.errors import SessiondError
from sessionsync.events import Emit
from sessionsync.model import Ref
from sessionsync.project_names import Names
from sessionsync.queue import Queue
from sessionsync.sources.claude import Claude
from sessionsync.store import MEMORY, Store
from sessionsync.vault import Mirror, Vault

Event = tuple[str, dict[str, Any]]
Handed = dict[Ref, str] | list[Work]
"""New sessions to be captured, with the folders they were started in; or skimmed ones to be read."""


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

    def lend(self, descriptor: int) -> None:
        """Give the other one an open file as well; OSError as above."""
        socket.send_fds(self._end, [b"-"], [descriptor])

    def borrow(self) -> None:
        """Take what the other lends, and hold it as long as this process lives.

        Raises:
            EOFError, OSError: nobody is at the other end.
        """
        if not socket.recv_fds(self._end, 1, 1)[1]:
            raise EOFError

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
    try:
        line.borrow()
        said: Assignment = line.hear()
    except (EOFError, OSError):  # there is nothing to do after all
        return
    lists: SimpleQueue[Handed] = SimpleQueue()
    Thread(target=_hear, args=(line, lists), daemon=True).start()
    with ExitStack() as held:
        # one thread, so that lists are answered in order
        beside = held.enter_context(ThreadPoolExecutor(1, "flush"))
        for turn in cycle([held.enter_context(Turn.of(said)) for _ in range(2)]):
            turn.answered.result()
            turn.do(lists.get())
            turn.answered = beside.submit(turn.answer, line)
            turn.answered.add_done_callback(_end_by)


def _hear(line: Line, lists: SimpleQueue[Handed]) -> None:
    """Take in lists, and end this process at once where the other one has ended."""
    while True:
        try:
            lists.put(line.hear())
        except (EOFError, OSError):
            os._exit(0)


def _end_by(answered: Future[None]) -> None:
    """End this process at once by an error that is a mistake in it, as one in its own thread would."""
    if (error := answered.exception()) is not None:
        import traceback  # noqa: PLC0415 - hardly ever

        traceback.print_exception(error)
        os._exit(1)


class Turn:
    """What one list at a time is captured by: nobody else writes to its sessions.

    `answered` is done once another list may be begun.
    """

    def __init__(self, capture: Capture, events: list[Event]) -> None:
        self._capture = capture
        self._events = events
        self._told: dict[Ref, list[Event]] = {}
        self.answered: Future[None] = Future()
        self.answered.set_result(None)

    @classmethod
    @contextmanager
    def of(cls, said: Assignment) -> Iterator[Self]:
        """One with a vault and copies of its own, in the folders that are shared."""
        events: list[Event] = []

        def emit(event: str, **fields: Any) -> None:
            events.append((event, fields))

        vault = Vault(said.config.backup.vault_dir, emit)
        with vault.borrowed():
            yield cls(_capture(said, vault, emit), events)

    def do(self, handed: Handed) -> None:
        """Capture, or read, these.  What fails is done again, and complained of, by who has asked."""
        for ref, step in _steps(self._capture, handed):
            with suppress(SessiondError):
                step()
            self._told[ref] = self._events.copy()
            self._events.clear()

    def answer(self, line: Line) -> None:
        """Make what was done durable, and hand it back."""
        works: list[Work] = []
        with suppress(SessiondError):
            works = self._capture.hand_over()
        events = [event for work in works for event in self._told[work.session.ref]]
        with suppress(OSError):  # nobody hears it any more
            line.say(Captured(works, events + self._events))
        self._told.clear()
        self._events.clear()


def _capture(said: Assignment, vault: Vault, emit: Emit) -> Capture:
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
        skims=True,
    )


def _steps(capture: Capture, handed: Handed) -> Iterator[tuple[Ref, Callable[[], object]]]:
    if isinstance(handed, dict):
        capture.started.update(handed)
        for ref in handed:
            yield ref, lambda ref=ref: capture.capture(ref, time.time())  # type: ignore[misc]
    else:
        for work in handed:
            yield work.session.ref, partial(capture.read, work)
