"""Other processes that capture the new sessions of a long backlog, and read them, as long as there is one.

To read lines is work of the interpreter, and one interpreter uses one core.  So a backlog is shared: who asks
captures from its front, workers from its end.  They write into the same copies, each session's in one process
alone, under the one lock of the vault, and make what they write durable.  The state is this process's alone:
what they hand back it takes in with its next commit.

    share ──list of sessions──▶ worker ──▶ copies, durable
      ▲                           │
      └────── rows, events ───────┘           what a worker could not do goes back into the backlog
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Self

from sessiond.token import without_tokens
from sessionsync import __version__
from sessionsync.capture import TURN_BYTES
from sessionsync.model import Ref

if TYPE_CHECKING:
    from sessiond.engine import Engine
    from sessiond.worker import Captured, Handed
    from sessionsync.events import Emit

# More would wait for the disk, and for the one that commits.  One more than there are cores to spare took 7 %
# more CPU time for a first backup of 2,000 sessions, and no less time (measured).
MOST = 3
# For so many sessions it is sure that workers are needed, before anything else is known of them.
LONG_SESSIONS = 500
# A list is made durable as one: fewer cost more than they save (`vault.folder.MANY`).  And to begin a worker
# costs as much CPU time as to capture so many small sessions, 0.14 s (measured).
LIST_SESSIONS = 25
# While much is left a list is longer, this share of it: what all wait for at the end is short nevertheless.
LIST_SHARE = 32
# Nor is one of large sessions longer than this: whoever wants something meanwhile waits for it.
LIST_BYTES = TURN_BYTES
# A worker goes on with its second list while the first one is made durable and taken in.
LISTS = 2
# A list is done in a second or two: who is silent for so long was stopped, or is stuck in the disk.
SILENT_S = 30.0
# One that is to end does so at once, or is killed; and that takes longer only in the middle of a stuck disk.
ENDS_S = 2.0


@contextmanager
def early(sessions: int) -> Iterator[deque[Worker]]:
    """Workers for so many sessions, where these are many: they begin while the engine does.

    Those that no `Workers` has taken are ended.
    """
    begun: deque[Worker] = deque()
    try:
        with suppress(OSError):  # that is said where one is needed
            while sessions >= LONG_SESSIONS and len(begun) < _most():
                begun.append(Worker())
        yield begun
    finally:
        for worker in begun:
            worker.end()


class Workers:
    """Processes that capture for this engine, at most so many: begun when there is enough to share.

    They end when that is done, and what was skimmed is read.  Those that were begun `early` are the first to
    be used.  For one thread, but `busy` is anybody's.
    """

    def __init__(
        self, engine: Engine, emit: Emit, most: int | None = None, begun: deque[Worker] | None = None
    ) -> None:
        self._engine = engine
        self._emit = emit
        self._most = _most() if most is None else most
        self._begun = deque() if begun is None else begun
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def busy(self) -> int:
        """How many sessions are with them."""
        return sum(worker.sessions for worker in self._workers.copy())

    def share(self, backlog: deque[Ref], wait_s: float | None = None) -> bool:
        """Hand out from the backlog's end, and take in what is done.

        Returns whether the backlog has something for the caller to capture.  Where it has not, what was
        handed out is waited for: until all of it is done or lost, or `wait_s` for the next of it.
        """
        self._take_in(backlog, 0)
        self._hand_out(backlog)
        while not backlog and self.busy:
            self._take_in(backlog, wait_s)
            if wait_s is not None:
                break
        if not self.busy and not self._engine.capture.skimmed:
            self.end()
        return bool(backlog)

    def settle(self, backlog: deque[Ref], ref: Ref | None = None) -> None:
        """Have nothing in their hands any more, or not this session: it is waited for, and taken in.

        What is with one that does not answer comes back into the backlog.
        """
        if ref is not None and not self.has(ref):
            return
        while self.busy:
            self._take_in(backlog, None)
        self.end()

    def end(self) -> None:
        """End them, also those begun in vain; what is not handed back they leave as a crash would."""
        for workers in (self._workers, self._begun):
            while workers:
                workers.pop().end()

    def has(self, ref: Ref) -> bool:
        """Whether this session is with one of them."""
        return any(worker.has(ref) for worker in self._workers)

    def _hand_out(self, backlog: deque[Ref]) -> None:
        capture = self._engine.capture
        sizes = capture.strangers if _is_long(backlog, capture.strangers) else capture.skimmed
        if not _is_long(backlog, sizes) or (lock := self._engine.vault.held) is None:
            return  # it is not worth it, or nothing can be stored now
        for worker in self._workers.copy():
            while len(worker.lists) < LISTS and (refs := _some(backlog, sizes)):
                if not self._hand(worker, refs, backlog):
                    break
        # asked anew each time: one that is lost is not replaced
        while len(self._workers) < self._most and (refs := _some(backlog, sizes)):
            try:
                worker = self._begun.popleft() if self._begun else Worker()
            except OSError as error:  # as where this user may have no more processes
                self._most = len(self._workers)
                self._emit("worker_lost", sessions=0, reason=f"it cannot begin: {error.strerror}")
                backlog.extend(refs)
                return
            worker.join(self._engine, lock)
            self._workers.append(worker)
            self._hand(worker, refs, backlog)

    def _hand(self, worker: Worker, refs: list[Ref], backlog: deque[Ref]) -> bool:
        """Have a worker capture these, or read them; returns whether it is there to do so."""
        try:
            worker.hand(refs, self._handed(refs))
        except OSError:
            self._lose(worker, backlog)
            return False
        return True

    def _handed(self, refs: list[Ref]) -> Handed:
        capture = self._engine.capture
        if (first := capture.lend(refs[0])) is None:
            return {ref: capture.started.pop(ref, "") for ref in refs}
        rest = [capture.lend(ref) for ref in refs[1:]]
        return [first, *(work for work in rest if work is not None)]

    def _take_in(self, backlog: deque[Ref], wait_s: float | None) -> None:
        """Take in what is done; for the next of it `wait_s`, or as long as they may take, is waited."""
        if not self._workers:
            return
        import select  # noqa: PLC0415 - only where there are some

        poll = select.poll()
        for worker in self._workers:
            poll.register(worker.line.fileno(), select.POLLIN)
        patience_s = min(worker.patience_s for worker in self._workers)
        ready = {
            end for end, _ in poll.poll(1000 * (patience_s if wait_s is None else min(wait_s, patience_s)))
        }
        for worker in self._workers.copy():
            if worker.line.fileno() in ready:
                self._hear(worker, backlog)
            elif not worker.patience_s:
                self._lose(worker, backlog)

    def _hear(self, worker: Worker, backlog: deque[Ref]) -> None:
        try:
            refs, done = worker.hear()
        except (EOFError, OSError):
            self._lose(worker, backlog)
            return
        self._engine.capture.take_over(done.works)
        whole = {work.session.ref for work in done.works}
        backlog.extend(ref for ref in refs if ref not in whole)
        for event, fields in done.events:
            self._emit(event, **fields)

    def _lose(self, worker: Worker, backlog: deque[Ref]) -> None:
        """A worker has ended, or does not answer: what it had is captured here, and it is not replaced."""
        self._workers.remove(worker)
        self._most -= 1
        code = worker.end()
        reason = f"it ended with {code}" if code is not None else "it cannot be ended now"
        self._emit("worker_lost", sessions=worker.sessions, reason=reason)
        while worker.lists:
            backlog.extend(worker.lists.popleft())


class Worker:
    """One of them, at the other end of a socket; `lists` are what it has not answered.

    Raises:
        OSError: it cannot be begun.
    """

    def __init__(self) -> None:
        import socket  # noqa: PLC0415 - only where there are some
        import subprocess  # noqa: PLC0415

        from sessiond.worker import Line  # noqa: PLC0415

        ours, theirs = socket.socketpair()
        ours.settimeout(SILENT_S)  # also where it stops in the middle of an answer
        self.line = Line(ours)
        self.lists: deque[list[Ref]] = deque()
        self._heard_at = time.monotonic()
        program = f"from sessiond.worker import main; main({theirs.fileno()}, {__version__!r})"
        with theirs, ExitStack() as undo:
            undo.callback(self.line.close)
            # -P: what lies in the present folder, which may be anybody's, is none of its modules;
            # in a group of its own: who interrupts this process in a terminal interrupts this one alone
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", program],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=without_tokens(os.environ),
                process_group=0,
            )
            undo.pop_all()

    def join(self, engine: Engine, lock: int) -> None:
        """Have it work for this engine, and hold the vault by this `lock` as long as it lives."""
        with suppress(OSError):  # it is gone already, which shows with the first list
            self.line.lend(lock)
            self.line.say(engine.assignment())

    def hand(self, refs: list[Ref], handed: Handed) -> None:
        """Have it do this with these sessions; OSError where it is gone."""
        if not self.lists:
            self._heard_at = time.monotonic()
        self.lists.append(refs)
        self.line.say(handed)

    def hear(self) -> tuple[list[Ref], Captured]:
        """The first of its lists, and what it has made of it; EOFError, or OSError, where it does not say."""
        done: Captured = self.line.hear()
        self._heard_at = time.monotonic()
        return self.lists.popleft(), done

    @property
    def patience_s(self) -> float:
        """How long its next answer may take yet; one that has nothing to do may be silent."""
        said_s = time.monotonic() - self._heard_at if self.lists else 0.0
        return max(0.0, SILENT_S - said_s)

    def has(self, ref: Ref) -> bool:
        """Whether this session is with it."""
        return any(ref in refs for refs in self.lists)

    @property
    def sessions(self) -> int:
        """How many are."""
        return sum(map(len, self.lists))

    def end(self) -> int | None:
        """End it, whatever it does; returns the code that it has ended with.

        None where a disk that does not answer keeps it: then it ends with what that does for it just now.
        """
        from subprocess import TimeoutExpired  # noqa: PLC0415 - as above

        self.line.close()
        for _ in range(2):
            try:
                return self._process.wait(ENDS_S)
            except TimeoutExpired:
                self._process.kill()
        return None


def _most() -> int:
    """How many there may be: this process has a core, and each of them."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(MOST, cores - 1)


def _is_long(backlog: deque[Ref], sizes: dict[Ref, int]) -> bool:
    """Whether there is a list for another process, and as much for this one."""
    return min(len(backlog), len(sizes)) >= 2 * LIST_SESSIONS


def _some(backlog: deque[Ref], sizes: dict[Ref, int]) -> list[Ref]:
    """Of these sessions some from the backlog's end, for another process; none where they are few."""
    if not _is_long(backlog, sizes):
        return []
    taken: list[Ref] = []
    left: list[Ref] = []
    most, room = max(LIST_SESSIONS, len(backlog) // LIST_SHARE), LIST_BYTES
    while backlog and room > 0 and len(taken) < most:
        ref = backlog.pop()
        size = sizes.pop(ref, None)
        if size is None:
            left.append(ref)
        else:
            taken.append(ref)
            room -= size
    backlog.extend(reversed(left))
    return taken
