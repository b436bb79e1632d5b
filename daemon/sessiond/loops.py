"""The two loops that do the work: one captures, one pushes.  Each beats a heart that counts progress.

Time is read here and handed down.  A loop sleeps on its own `Bell`, so that whoever brings work can
wake it and a stop is prompt.  Those that send turn every `TICK_S`; the others wait for the time that they
have named, and who looks whether a loop lives knows until when it does.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from sessiond.engine import Engine
from sessiond.pulse import read_clocks
from sessiond.watcher import Watcher
from sessiond.workers import Workers
from sessionsync.capture import FLUSH_SESSIONS, TURN_BYTES
from sessionsync.errors import (
    CopyError,
    CopyMismatch,
    DiskFull,
    StoreError,
    StoreFull,
    TokenRefused,
)
from sessionsync.events import Emit
from sessionsync.model import Ref
from sessionsync.pull import Pull
from sessionsync.push import Push
from sessionsync.reliability.findings import Findings, Severity
from sessionsync.reliability.ledger import SET_S, Clocks
from sessionsync.sources.folders import LINK

# How long a loop waits at most that watches what nobody tells of, as another machine (design: at most 20 s).
TICK_S = 20.0
# How long one waits that is rung for whatever it has to do.
LOOK_S = 300.0
# The rescan that is the truth comes at least this often.
RESCAN_S = 300.0
# Captured bytes are on their way to the disk so much later, and there within a second.
FLUSH_S = 0.8
# Where others have all that is left to do, they are waited for so long before hints are looked at.
SHARE_S = 0.05
# A full disk, or a copy that failed, is tried again after so long.
TROUBLE_S = 10.0
# What time alone asks for is looked up at most this often: ten thousand sessions may be waiting for theirs.
DUE_S = 1.0
# A refused or missing token is looked for again this often.
TOKEN_S = 300.0

DENIED = os.strerror(errno.EACCES)
# What to do about what cannot be read, by the reason.
WAYS = {
    DENIED: "Let this user read it; it is then backed up by itself.",
    LINK: "No link is followed: put the files there themselves, or name their folder in sources.claude.",
}
# A path with more characters is cut in its middle.
LONG = 300
# What makes capturing rest.
TROUBLES = (DiskFull, StoreFull, CopyError, CopyMismatch)

T = TypeVar("T")

Failed = Callable[[str, BaseException], None]
"""Told when a loop has failed: its name and why."""


def _nothing() -> None:
    """For those who do not listen."""


class Bell:
    """Something to sleep on.  A ring before the sleep counts."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        """Wake who waits, or the next one who would."""
        self._event.set()

    def sleep(self, seconds: float) -> bool:
        """Sleep until it rings, at most so long; returns whether it rang."""
        rang = self._event.wait(max(0.0, seconds))
        self._event.clear()
        return rang


class Loop(threading.Thread):
    """A thread that turns.

    `progressed_at` (monotonic) is when it last got on with something, `waits_until` when it will turn again,
    in the past while it turns.
    """

    def __init__(self, name: str, bell: Bell, emit: Emit, on_failure: Failed) -> None:
        super().__init__(name=name, daemon=True)
        self.bell = bell
        self.rang = True
        """Whether the last wait ended by the bell; else nothing has happened but time."""
        self.progressed_at = self.waits_until = time.monotonic()
        self.turned: Callable[[], None] = _nothing
        """Told of each turn, as a sign of life."""
        self.failed = False
        self._clocks = read_clocks()
        self._set_s = 0.0
        self._stopping = False
        self._emit = emit
        self._on_failure = on_failure

    def turn(self) -> float:
        """Do what there is to do; returns how many seconds may pass until the next turn."""
        raise NotImplementedError

    def clock_set(self, now: float, by_s: float) -> None:
        """The clock was set by so many seconds: nothing may wait longer for that, or look older.

        Raises:
            StoreError: it is to be told again.
        """

    def now(self) -> float:
        """Unix seconds; whoever is handed them has been told before where the clock was set."""
        clocks = read_clocks()
        self._set_s += clocks.set_since(self._clocks)
        if self._set_s:
            with suppress(StoreError):  # a full disk is said where it hurts
                self.clock_set(clocks.wall, self._set_s)
                self._set_s = 0.0
        self._clocks = clocks
        return clocks.wall

    @property
    def _has_yet_to_be_told(self) -> bool:
        """Whether the clock was set since `now` was asked last, or could not be told of; for any thread."""
        return bool(self._set_s or read_clocks().set_since(self._clocks))

    def run(self) -> None:
        """Turn until stopped.  An error of any kind ends the loop, and the process decides what then."""
        try:
            while not self._stopping:
                pause = min(self.turn(), LOOK_S)
                self.progressed_at = time.monotonic()
                self.turned()
                if pause > 0 and not self._stopping:
                    self.waits_until = self.progressed_at + pause
                    self.rang = self.bell.sleep(pause)
                    self.progressed_at = self.waits_until = time.monotonic()
        except Exception as error:  # noqa: BLE001 - the loop's one boundary
            self.failed = True
            self._on_failure(self.name, error)

    def stop(self) -> None:
        """Ask it to end after the present step."""
        self._stopping = True
        self.bell.ring()

    def beat(self) -> None:
        """Say that a turn that takes long goes on."""
        self.progressed_at = time.monotonic()

    @property
    def progress_age_s(self) -> float:
        """Seconds since it last got on, or should have turned; 0 while it waits, as it said it would."""
        return max(0.0, time.monotonic() - max(self.progressed_at, self.waits_until))


def _has_jumped(before: Clocks, now: Clocks) -> float:
    """By how many seconds the wall clock went on alone; 0 where it only drifted."""
    jump = (now.wall - before.wall) - (now.awake_s - before.awake_s)
    return jump if abs(jump) >= SET_S else 0.0


def rest_s(engine: Engine) -> float:
    """How long a loop that sends waits where nothing is due: long, where nothing is ever sent."""
    config = engine.config
    return TICK_S if config.github.repo or config.has_archive else LOOK_S


def run(work: Callable[[float], Any], future: Future[Any]) -> None:
    """Do what another thread has asked this one to do."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work(time.time())
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        future.set_exception(error)
    else:
        future.set_result(result)


class CaptureLoop(Loop):
    """Takes hints, due sessions and the backlog of a rescan, one session at a time; runs commands between."""

    def __init__(
        self,
        engine: Engine,
        watcher: Watcher,
        findings: Findings,
        emit: Emit,
        on_failure: Failed,
        on_captured: Callable[[], None] = _nothing,
        on_items: Callable[[], None] = _nothing,
    ) -> None:
        """Wire it; it calls `on_captured` when something was committed, `on_items` when items were queued."""
        super().__init__("capture", Bell(), emit, on_failure)
        self._engine = engine
        self._watcher = watcher
        watcher.on_news = self.bell.ring
        self._findings = findings
        self._on_captured = on_captured
        self._on_items = on_items
        self._commands: deque[tuple[Callable[[float], Any], Future[Any]]] = deque()
        self._backlog: deque[Ref] = deque()
        self._workers = Workers(engine, emit)
        self._due: deque[Ref] = deque()
        self._due_at = 0.0
        self._failing: dict[Ref, float] = {}
        self._rescan_at = 0.0
        self._rescan_reason = "start"
        self._flush_at: float | None = None
        self._stopped_until = 0.0
        # of whom a copy lacks room: one of them is tried again then, and the next when that one fits
        self._cramped: dict[Ref, None] = {}
        self._room_at = 0.0
        self._in_trouble = False
        # of whom something could not be kept: while there is one, capturing has not resumed
        self._troubled: set[Ref] = set()
        self._is_unreadable = self._passes_over = False
        self._projects_found = self._items_queued = 0
        self.scanning = threading.Event()
        """Set when the first rescan has begun."""
        self.scanned = threading.Event()
        """Set when the first rescan has named everything there is to capture."""
        self.rested = threading.Event()
        """Set while nothing is waiting to be captured, but for room on a disk."""
        # whether all that the watcher has handed over is in the copies; taken back before more is taken
        self._has_all = False
        self._captured_until: float | None = None

    @property
    def captured_until(self) -> float | None:
        """Everything that was on disk at this time (Unix seconds) is in the copies, and flushed.

        None until all of it is; any thread may ask.  It stands still while something cannot be read or kept.
        """
        self._see_how_far()
        return self._captured_until

    def _see_how_far(self) -> None:
        now, beat = time.time(), time.monotonic()
        heard_until = self._watcher.heard_until(beat)
        if self._has_yet_to_be_told:  # by the clock of now already, it would be moved along once more
            return
        if self._has_all and heard_until is not None:  # in this order: what is taken meanwhile takes it back
            self._captured_until = now - (beat - heard_until)

    @property
    def waiting(self) -> int:
        """How many sessions are known to differ from their copies, and wait for their turn."""
        here = {*self._backlog.copy(), *self._failing.copy(), *self._cramped.copy()}
        return len(here) + self._workers.busy

    def call(self, work: Callable[[float], T], timeout_s: float = 60.0) -> T:
        """Run `work(now)` on this loop's thread, between two sessions, and return what it returns."""
        return self.soon(work).result(timeout_s)

    def soon(self, work: Callable[[float], T]) -> Future[T]:
        """As `call`, without waiting; before `start` it is the first that is done."""
        future: Future[T] = Future()
        self._commands.append((work, future))
        self.bell.ring()
        return future

    def want_rescan(self, reason: str) -> None:
        """Compare everything at the next turn."""
        self._rescan_at = 0.0
        self._rescan_reason = reason
        self.bell.ring()

    def again(self, ref: Ref) -> None:
        """Look at a session at the next turn, whenever its copy failed last."""
        self._failing.pop(ref, None)
        self._backlog.append(ref)
        self.bell.ring()

    def go_on(self) -> None:
        """Rest no longer after a full disk: see at once whether there is space."""
        if self._in_trouble:
            self._stopped_until = self._room_at = 0.0
            self.want_rescan("command")

    def turn(self) -> float:
        """Commands, then hints, then what has waited, then the flush.

        While the state's disk is full what has waited goes on waiting; what changes is tried all the same.
        A full disk under one copy stops nothing: the other copy is made, and this one is tried again.
        """
        beat = time.monotonic()
        # what was just written wakes it, and settles first: that costs a look at nothing else
        if not self._commands and (at := self._watcher.settles_at(beat)) and self._may_rest_until(at, beat):
            return max(0.001, at - beat)
        before, now = self._clocks, self.now()
        self._see_jump(before)
        self._see_how_far()
        self._has_all = False
        while self._commands:
            work, future = self._commands.popleft()
            self._command(work, future)
        hints = self._watcher.take(beat)
        if hints.rescan:
            self.want_rescan("watcher")
        refs = dict.fromkeys(
            ref for path in hints.paths if (ref := self._engine.capture.locate(path)) is not None
        )
        for ref in refs:
            self._capture(ref)
        if beat >= self._stopped_until:
            self._look_for_room(now, beat)
            self._go_through(now, beat)
        self._flush(time.monotonic())
        self._tell_unreadable(now)
        return self._pause(hints.next_at)

    def _may_rest_until(self, at: float, beat: float) -> bool:
        """Whether what was just written may settle first: nothing waits, and nothing has its time before."""
        next_at = self._rescan_at if self._flush_at is None else min(self._flush_at, self._rescan_at)
        return next_at > at and (beat < self._stopped_until or not (self._backlog or self._due))

    def _go_through(self, now: float, beat: float) -> None:
        """Capture a session that is due and one of the backlog, or compare everything anew."""
        if not self._due and beat >= self._due_at:
            self._due_at = beat + DUE_S
            due = dict.fromkeys(self._engine.capture.due(now))
            if (failing := self._longest_failing()) is not None:  # nothing else may ask for it
                due[failing] = None
            has = self._workers.has
            self._due.extend(ref for ref in due if self._failing.get(ref, beat) <= beat and not has(ref))
        # copies of what was never copied come first
        if self._due and not (self._backlog and self._engine.capture.strangers):
            if not self._in_trouble:
                self._workers.share(self._due, 0.0)
            if self._due:
                self._capture(self._due.popleft())
        if beat >= self._rescan_at:
            self._rescan(beat)
        elif self._share():
            self._capture(self._backlog.popleft())

    def _share(self) -> bool:
        """Let others capture of a long backlog as well; returns whether one is to be captured here."""
        if self._in_trouble:
            self._settle()
        else:
            self._workers.share(self._backlog, SHARE_S)
            self._plan_flush_of_any()
        return bool(self._backlog)

    def _settle(self, ref: Ref | None = None) -> None:
        """Have nothing in others' hands any more, or not this session."""
        self._workers.settle(self._backlog, ref)
        self._plan_flush_of_any()

    def _longest_failing(self) -> Ref | None:
        return min(self._failing, key=self._failing.__getitem__, default=None)

    def _has_vault(self, now: float) -> bool:
        """Whether the vault can be written to by now, which it could not be at the start."""
        self._engine.hold_vault(now)
        if (trouble := self._engine.vault_trouble) is not None:
            self._lacks_room(trouble, set())
            return False
        self._flush_at = 0.0  # and then the trouble may be over
        return True

    def _look_for_room(self, now: float, beat: float) -> None:
        """See whether a full disk has room by now: for a vault that could not be used, or for one session."""
        if beat < self._room_at:
            return
        if self._engine.vault_trouble is not None and not self._has_vault(now):
            return
        if self._cramped:
            ref = next(iter(self._cramped))
            del self._cramped[ref]
            self._capture(ref)
            self._flush_at = 0.0  # whether it has fitted is seen at once

    def _pause(self, hints_at: float | None) -> float:
        now, beat = time.time(), time.monotonic()
        is_stopped = beat < self._stopped_until
        if self._commands or (not is_stopped and (self._backlog or self._due or self._workers.busy)):
            return 0.0
        waits = [self._stopped_until - beat if is_stopped else self._rescan_at - beat]
        if hints_at is not None:
            waits.append(hints_at - beat)
        if not is_stopped and (self._cramped or self._engine.vault_trouble is not None):
            waits.append(self._room_at - beat)
        if self._flush_at is not None:  # who has a time is asked for behind that, sooner than `DUE_S`
            waits.append(self._flush_at - beat)
        elif not is_stopped and (due := self._engine.capture.next_due()) is not None:
            waits.append(max(due - now, self._due_at - beat))
        if not is_stopped and (failing := self._longest_failing()) is not None:
            waits.append(max(self._failing[failing], self._due_at) - beat)
        if not is_stopped and self.scanned.is_set():
            self.rested.set()
            is_missing = self._failing or self._troubled or self._is_unreadable
            self._has_all = self._flush_at is None and self._rescan_at > beat and not is_missing
        # a moment longer than asked, so that the turn that was waited for finds it due
        return max(0.001, min(waits) + 0.001)

    def clock_set(self, now: float, by_s: float) -> None:
        """Have what waits for a time looked at anew, and claim no more to be copied than before."""
        if by_s < 0:
            self._settle()
            self._flush(time.monotonic(), force=True)  # what is captured has times of before
            self._engine.clock_set_back(now, by_s)
            self._on_captured()
            self._on_items()
        if self._captured_until is not None:  # the same moment, by the clock of now
            self._captured_until += by_s

    def notice(self) -> None:
        """Take note of how far all is copied, and turn where nobody else rings.

        That is where the clock was set, the machine has slept, or something cannot be read, which may be gone
        by now.  For a thread that is awake in any case, so that this one sleeps while nothing happens.
        """
        self._see_how_far()
        if self._passes_over or _has_jumped(self._clocks, read_clocks()):
            self.bell.ring()

    def _see_jump(self, before: Clocks) -> None:
        """Compare everything where the clock was set, or the machine has slept: nobody saw those events."""
        if jump := _has_jumped(before, self._clocks):
            self._emit("clock_jumped", seconds=round(jump, 1))
            self.want_rescan("clock")

    def _command(self, work: Callable[[float], Any], future: Future[Any]) -> None:
        self._settle()
        run(work, future)
        error = future.exception() if future.done() and not future.cancelled() else None
        if isinstance(error, TROUBLES):
            if self._in_trouble and isinstance(error, DiskFull | StoreFull):
                self._saw(error)
            elif isinstance(error, StoreFull) and (lost := self._engine.capture.lost):
                self._trouble(error, lost)
            self.want_rescan("command")  # others' positions may have gone back as well
        self._on_captured()
        self._on_items()

    def _rescan(self, beat: float) -> None:
        self.scanning.set()
        self._rescan_at = beat + RESCAN_S
        with self._engine.places.held():
            self._watcher.refresh()
            found = self._await(self._survey())
        self._backlog = deque(dict.fromkeys((*self._troubled, *self._backlog)))
        self.scanned.set()
        self._emit("rescan_completed", reason=self._rescan_reason, differing=found)
        self._rescan_reason = "timer"

    def _survey(self) -> list[Ref]:
        self._settle()  # else what they have is named again
        return self._engine.capture.survey()

    def _await(self, refs: Collection[Ref]) -> int:
        """Put these into the backlog, each once; returns how many they are."""
        known = set(self._backlog)
        self._backlog.extend(ref for ref in refs if ref not in known)
        return len(refs)

    def _capture(self, ref: Ref) -> None:
        self.rested.clear()
        capture = self._engine.capture
        self._settle(ref)
        try:
            capture.capture(ref, time.time(), at_most=TURN_BYTES)
        except DiskFull as error:
            self._lacks_room(error, {ref})
        except StoreFull as error:
            self._trouble(error, {ref})
        except CopyError as error:
            self._findings.raised(
                error.code, Severity.CRITICAL, str(error), error.hint, time.time(), session=str(ref)
            )
            self._emit("file_skipped", session=str(ref), reason=str(error))
            self._failing[ref] = time.monotonic() + TROUBLE_S
            self._troubled.discard(ref)  # what keeps it back now is said by itself
            self._await(capture.lost - {ref})  # where it was to be committed with others
        else:
            self._failing.pop(ref, None)
            if (full := capture.is_behind(ref)) is not None:
                self._lacks_room(full, {ref})
            else:
                self._cramped.pop(ref, None)
                self._troubled.discard(ref)
            self._findings.cleared("copy_mismatch", session=str(ref))
            self._findings.cleared("copy_failed", session=str(ref))
            if capture.is_unfinished(ref) and ref not in self._backlog:
                self._backlog.append(ref)
        self._plan_flush()

    def _plan_flush_of_any(self) -> None:
        if self._engine.capture.unflushed:
            self._plan_flush()

    def _plan_flush(self) -> None:
        waiting = len(self._engine.capture.unflushed)
        if waiting >= FLUSH_SESSIONS:
            self._flush_at = 0.0
        elif (waiting or self._in_trouble) and self._flush_at is None:
            self._flush_at = time.monotonic() + FLUSH_S

    def _flush(self, beat: float, *, force: bool = False) -> None:
        if self._flush_at is None or (beat < self._flush_at and not force):
            return
        self._flush_at = None
        capture = self._engine.capture
        try:
            capture.flush(time.time())
        except DiskFull as error:
            self._lacks_room(error, capture.lost)
        except (CopyError, StoreFull) as error:
            self._trouble(error, capture.lost)
        else:
            self._see_all_kept()
        self._on_captured()  # also where others than these could not be kept
        if capture.items_queued != self._items_queued:
            self._items_queued = capture.items_queued
            self._on_items()

    def _see_all_kept(self) -> None:
        """After a flush: whether a trouble is over by now, and whether there are new folders to watch."""
        if self._in_trouble and not self._troubled and self._engine.vault_trouble is None:
            self._in_trouble, self._stopped_until = False, 0.0
            for kind in TROUBLES:
                self._findings.cleared(kind.code)
            self._emit("capture_resumed")
            self.want_rescan("trouble")
        if self._engine.capture.projects_found != self._projects_found:
            self._projects_found = self._engine.capture.projects_found
            self._watcher.refresh()

    def _tell_unreadable(self, now: float) -> None:
        unreadable = self._engine.capture.unreadable()
        self._is_unreadable = bool(unreadable)
        unreadable = unreadable or self._engine.capture.passed_over()
        self._passes_over = bool(unreadable)
        if not unreadable:
            self._findings.cleared("source_unreadable")
            return
        path, reason = next(iter(unreadable.items()))
        path = path if len(path) <= LONG else f"{path[: LONG // 2]}…{path[-LONG // 2 :]}"
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        self._findings.raised(
            "source_unreadable",
            Severity.WARNING,
            f"{path}{others} cannot be read: {reason}.",
            WAYS.get(reason, "See what is wrong there; it is then backed up by itself."),
            now,
        )

    def _lacks_room(self, error: DiskFull, refs: set[Ref]) -> None:
        """The disk of one copy is full: the other goes on, and of `refs` one is tried again now and then."""
        self._say_trouble(error, refs)
        self._cramped.update(dict.fromkeys(refs))
        self._room_at = time.monotonic() + TROUBLE_S

    def _say_trouble(self, error: CopyError | StoreError, refs: set[Ref]) -> None:
        """Of `refs` something may not have been kept: when all is, the trouble is over."""
        self._in_trouble = True
        self.rested.clear()
        if self._saw(error):
            self._emit("capture_stopped", code=error.code, reason=str(error), hint=error.hint)
        self._troubled |= refs

    def _trouble(self, error: CopyError | StoreError, refs: set[Ref]) -> None:
        """Nothing can be committed: what waits rests, pushing goes on, then everything is looked at again."""
        self._say_trouble(error, refs)
        beat = time.monotonic()
        if beat < self._stopped_until:  # it rests already, and something new did not fit either
            self._await(refs)
            return
        self._stopped_until = beat + TROUBLE_S
        self._await(self._survey())  # who asks is told how many wait
        self.want_rescan("trouble")

    def _saw(self, error: CopyError | StoreError) -> bool:
        """A disk is full, or still is; returns whether that is new."""
        return self._findings.raised(error.code, Severity.CRITICAL, str(error), error.hint, time.time())

    def finish(self) -> None:
        """After the thread has ended: commit what is captured; nobody waits for a command any more."""
        while self._commands:
            self._commands.popleft()[1].cancel()
        self._workers.end()
        self._flush_at = 0.0
        self._flush(time.monotonic(), force=True)


class PushLoop(Loop):
    """Drives `Push.work`: waits where it asks to, stops between two writes; then listens with `Pull.work`."""

    def __init__(
        self,
        engine: Engine,
        allowed: Callable[[], bool],
        emit: Emit,
        on_failure: Failed,
    ) -> None:
        super().__init__("push", Bell(), emit, on_failure)
        self._engine = engine
        engine.beat = self.beat
        self._allowed = allowed
        self._token_at = 0.0
        self._commands: deque[tuple[Callable[[float], Any], Future[Any]]] = deque()
        self.busy = False
        self.trouble: StoreFull | None = None
        """Why nothing can be sent, as no attempt can be written down first."""
        self.trouble_since = self.trouble_at = 0.0
        """Since when that is so, and when it was last tried in vain (Unix seconds)."""

    def clock_set(self, now: float, by_s: float) -> None:
        """Let nothing wait longer for that."""
        if self._engine.push is not None:
            self._engine.push.clock_set(now, by_s)
        self.trouble_since += by_s
        self.trouble_at += by_s
        self._ask_others()

    def turn(self) -> float:
        """Commands, then everything that is due, one item after the other, then what others have changed."""
        while self._commands:
            run(*self._commands.popleft())
        push = self._engine.push
        if push is None or push.uplink.paused_by(TokenRefused):
            self._find_token()
            push = self._engine.push
        if not self._allowed():
            return rest_s(self._engine)
        if push is None:
            return self._gather()
        try:
            while self._may_send(push) and self._send(push):
                self.progressed_at = time.monotonic()
            pull = self._engine.pull
            if pull is not None and self._may_send(push):
                self._listen(pull)
            gather = self._engine.gather
            if gather is not None and self._may_send(push):
                gather.work(time.time())
        except StoreFull as error:
            self.trouble_at = time.time()
            if self.trouble is None:
                self.trouble_since = self.trouble_at
                self._emit("push_paused", code=error.code, reason=str(error), hint=error.hint)
            self.trouble = error
            return TROUBLE_S
        self.trouble = None
        now = time.time()
        lines = (push, pull, gather)
        due = [at for each in lines if each is not None and (at := each.next_at(now)) is not None]
        return min(TICK_S, max(0.001, min(due) - now + 0.001)) if due else TICK_S

    def _listen(self, pull: Pull) -> None:
        """Hear of what others have changed, and tell how long that took."""
        began = time.monotonic()
        if pull.work(time.time()):
            self._emit("pull_ended", seconds=round(time.monotonic() - began, 3))

    def _gather(self) -> float:
        """Without GitHub: hear of what others archive."""
        gather = self._engine.gather
        with suppress(StoreFull):  # whoever captures tells of it
            if gather is not None and not self._stopping:
                gather.work(time.time())
                self.progressed_at = time.monotonic()
        return rest_s(self._engine)

    def call(self, work: Callable[[float], T], timeout_s: float = 60.0) -> T:
        """Run `work(now)` on this loop's thread, between two items, and return what it returns."""
        future: Future[T] = Future()
        self._commands.append((work, future))
        self.bell.ring()
        return future.result(timeout_s)

    def look_now(self) -> None:
        """Look for a token, for due items and for what others have changed at once."""
        self._token_at = 0.0
        self._ask_others()
        self.bell.ring()

    def _ask_others(self) -> None:
        for others in (self._engine.pull, self._engine.gather):
            if others is not None:
                others.soon()

    def _may_send(self, push: Push) -> bool:
        """Whether it is still this pusher's turn: new settings bring another one."""
        return self._engine.push is push and self._allowed() and not self._stopping

    def _send(self, push: Push) -> bool:
        """One item; False when there was none, or on the way out."""
        steps = push.work(self.now())
        self.busy = True
        try:
            wait = next(steps)
            while True:
                until = time.monotonic() + wait
                while (left := until - time.monotonic()) > 0 and not self._stopping:
                    self.bell.sleep(min(left, TICK_S))
                    self.progressed_at = time.monotonic()
                if self._stopping:
                    steps.close()
                    return False
                wait = steps.send(time.time())
        except StopIteration as end:
            return bool(end.value)
        finally:
            self.busy = False

    def _find_token(self) -> None:
        """Look for a token where there is none, or for another one than GitHub refused."""
        beat = time.monotonic()
        if not self._engine.config.github.repo or beat < self._token_at:
            return
        self._token_at = beat + TOKEN_S
        refused = self._engine.token
        if refused is None or self._engine.look_for_token() != refused:
            self._engine.connect()
