"""The loop that looks after the daemon: what is wrong, what is done about it, and for how long it was so.

The indicators are read every `health.interval_seconds` and at each checkpoint; with them go looks at the
copies of the sessions that are active.  In between it turns when a finding comes or goes, every 20 seconds
while something is wrong, and once a minute for the ledger.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from sessiond.bookkeeping import AWAY, Bookkeeping
from sessiond.engine import Engine
from sessiond.escalation import Escalation
from sessiond.judging import LASTING
from sessiond.loops import TICK_S, Bell, CaptureLoop, Failed, Loop
from sessiond.modes import Modes
from sessiond.readings import Instruments, Measured
from sessiond.recovering import Means, Recovering
from sessiond.standing import Standing, last_seen, standing
from sessiond.traffic import Traffic
from sessionsync import report
from sessionsync.errors import ArchiveTooNew, NoSuchSession, StoreError
from sessionsync.events import Emit
from sessionsync.model import ACTIVE_S
from sessionsync.privacy.gate import Gate
from sessionsync.queue import Lane
from sessionsync.reliability.findings import (
    CRITICAL,
    FINDINGS,
    Ended,
    Finding,
    Findings,
    Severity,
    order,
    shown,
)
from sessionsync.reliability.indicators import BY_CODE, GROUPS, settle

# The ledger is kept up this often; in between, the pulse says how long the process was there.
BEAT_S = 60.0
# Checkpoints that come together are looked at together.
BREATH_S = 1.0
# What ends with the next answers, and so is read at each of them while it is wrong.
PASSING = {"github_errors_high", "sync_failing"}
ANSWERS = {"github_requested", "push_completed", "push_unchanged"}
# What says that the other side answers again, and what that ends.
BACK = {"github_reached": AWAY, "archive_reached": "archive_unreachable"}
# What becomes of a request to one who does not answer: its end, not its beginning, is when that was seen.
VAIN = {"timeout", "network_error", "server_error"}
# Events that say that what the state tells is another now.
TURNS = {
    *("github_unreachable", "github_reached", "github_limited", "push_paused", "push_resumed"),
    *("archive_unreachable", "archive_reached", "archive_limited", "archive_paused", "archive_resumed"),
    *("push_completed", "push_unchanged", "push_buried", "archive_buried", "clock_jumped"),
    *("conflict_opened", "conflict_resolved", "mode_changed", "config_reloaded"),
}


class Watched(Standing, Measured, Means, Protocol):
    """The daemon, as far as its health goes."""

    engine: Engine
    modes: Modes
    capture: CaptureLoop
    findings: Findings
    books: Bookkeeping


class HealthLoop(Loop):
    """Reads, settles, keeps the books, recovers and escalates, in that order."""

    def __init__(self, app: Watched, emit: Emit, on_failure: Failed) -> None:
        super().__init__("health", Bell(), emit, on_failure)
        self._app = app
        self._instruments = Instruments(app, self._progress)
        self._traffic = Traffic(time.time)
        self._recovering = Recovering(app, app.findings, emit)
        self._escalation = Escalation(app.engine.environ, emit)
        self._beat_at = time.monotonic() + BEAT_S
        self._read_at = 0.0
        self._wanted = True
        self._has_recalled = False
        self._checkpoints: deque[str] = deque(maxlen=10_000)
        self._looked: dict[str, float] = {}
        self._followed: set[tuple[str, str, Severity]] | None = None
        self._found: dict[tuple[str, str], Finding] = {}
        self._ended: list[Ended] = []
        self._keeping = threading.Lock()
        self._back_at: dict[str, float] = {}
        self._vain_at = float("-inf")
        self._called: set[tuple[str, str]] = set()
        # what has ended since the last turn: it is new when it is there again
        self._gone: set[tuple[str, str]] = set()
        self.settled_at = 0.0
        """When the indicators were read last (Unix seconds); for any thread."""
        app.findings.changed = self.bell.ring

    # --- for any thread

    @property
    def areas(self) -> dict[str, int]:
        """Bytes in use by area, as they were measured last; empty before that."""
        return self._instruments.areas

    def on_event(self, event: str, fields: dict[str, Any]) -> None:
        """Hear what happens; look again at once where it says that something is wrong, or right again."""
        self._traffic.on_event(event, fields)
        session = str(fields.get("session", ""))
        match event:
            case "checkpoint_completed":
                self._checkpoints.append(session)
                self.want()
            case "copy_unavailable" if fields.get("code") == ArchiveTooNew.code:
                kind = FINDINGS[ArchiveTooNew.code]
                said = str(fields.get("reason", kind.summary))
                self._app.findings.raised(
                    ArchiveTooNew.code, kind.severity, said, kind.remedy, time.time(), session
                )
            case "rescan_completed" if not self.settled_at:
                self.bell.ring()
            case "version_kept":
                self._app.findings.cleared(ArchiveTooNew.code, session)
        if event in BACK.values():  # what came back before anybody saw that it was away ends nothing later
            self._back_at.pop(event, None)
        if event == "github_requested" and fields.get("outcome") in VAIN and AWAY not in self._back_at:
            self._vain_at = time.monotonic()
        if event in BACK:
            self._back_at[BACK[event]] = time.monotonic()
        if event in TURNS or (event in ANSWERS and self._is_passing()):
            self.bell.ring()

    def want(self) -> None:
        """Read the indicators soon."""
        self._wanted = True
        self.bell.ring()

    def open(self, now: float) -> list[Finding]:
        """Everything that is wrong, causes and consequences: critical first, then the oldest."""
        return self._with_standing(self._app.findings.open(), now)

    def _with_standing(self, raised: Iterable[Finding], now: float) -> list[Finding]:
        found = {(each.code, each.session): each for each in (*standing(self._app, now), *raised)}
        return sorted(found.values(), key=order)

    @property
    def is_checked(self) -> bool:
        """Whether everything was looked at since the start; before that, what was wrong may still be."""
        return self._app.capture.scanned.is_set() and self.settled_at > 0

    def shown(self, found: Iterable[Finding], now: float) -> list[Finding]:
        """What of findings is to be told, and what is done about it."""
        return [replace(each, doing=self._recovering.doing(each, now)) for each in shown(found, now)]

    def keep_books(self, *, beat: bool = False) -> list[Finding]:
        """Write down what came and went, with `beat` also where nothing did; returns what is wrong now.

        So nobody is told that something has ended of which the books do not know, and who looks where nothing
        has changed waits for no disk.
        """
        with self._keeping, suppress(StoreError):  # a full disk is said where it hurts; the next time goes on
            now, books = time.time(), self._app.books
            raised, ended = self._app.findings.take()
            found = self._with_standing(raised, now)
            before, self._found = self._found, {(each.code, each.session): each for each in found}
            ended = [each for each in ended if not self._goes_on(each, now)]
            told = {(each.code, each.session) for each, _ in ended}
            gone = [self._over(before[key], now) for key in before.keys() - self._found.keys() - told]
            self._ended += [*ended, *gone]
            self._gone |= {(each.code, each.session) for each, _ in (*ended, *gone)}
            open_now = {(each.code, each.session, each.severity) for each in found}
            has_changed = self.is_checked and (bool(self._ended) or open_now != self._followed)
            if has_changed or (beat and found and self.is_checked):
                books.follow(found, self._ended)
                self._followed, self._ended = open_now, []
            if beat or has_changed:  # the figures are worked out with it
                self._beat_at = time.monotonic() + BEAT_S
                books.beat(found)
        return list(self._found.values())

    # --- the loop

    def clock_set(self, now: float, by_s: float) -> None:
        """Let nothing look older for that, or as if it had yet to begin."""
        self._app.started_at += by_s
        self._app.findings.clock_set(now, by_s, TICK_S)

    def turn(self) -> float:
        """Whatever of it is due."""
        self.now()
        self._app.capture.notice()
        pause = TICK_S
        with suppress(StoreError):  # a full disk is said where it hurts; the next turn goes on
            if not self._has_recalled:
                self._recall()
            reads = BEAT_S
            is_wanted = self._wanted or any(each.code in BY_CODE for each in self._app.findings.open())
            if is_wanted and self._may_read():
                reads = self._read()  # what is wrong is looked at again at each turn, to see it end
            now = time.time()
            self._traffic.take(self._app.engine.push, now)
            found = self.keep_books(beat=time.monotonic() >= self._beat_at)
            self._recovering.turn(found, now)
            self._escalate(found, now)
            beats = self._beat_at - time.monotonic()
            pause = min(reads, TICK_S if found or beats <= 0 else beats)
        return pause

    def _progress(self) -> None:
        """A walk through all copies at a slow disk takes longer than a loop may stand still."""
        self.progressed_at = time.monotonic()

    def _may_read(self) -> bool:
        """After a start the first scan goes first, which who waits for the daemon waits for; for a minute."""
        return self._app.capture.scanned.is_set() or time.monotonic() >= self._beat_at

    def _is_passing(self) -> bool:
        return any(each.code in PASSING for each in self._app.findings.open())

    def _recall(self) -> None:
        """Say again what was found to be damaged before the last end, and have it looked at again."""
        for code, session, since in self._app.books.left_open():
            if code in LASTING:
                kind = FINDINGS[code]
                self._app.findings.raised(code, kind.severity, kind.summary, kind.remedy, since, session)
                self._app.upkeep.heal_named(session)
        self._has_recalled = True

    def _read(self) -> float:
        """Settle the indicators, and have active sessions looked at; a bit later where that was just done."""
        wait = self._read_at + BREATH_S - time.monotonic()
        if wait > 0:
            return wait
        self._wanted = False
        self._read_at = time.monotonic()
        app, now = self._app, time.time()
        waits = app.engine.queue.waits(Lane.GITHUB)
        traffic = self._traffic.read(app.engine.push, now, waits=waits)
        # who sends nothing, as in the local-only mode, has no trouble with GitHub
        settle(app.findings, traffic if app.may_push() else dict.fromkeys(traffic, ()), now)
        settle(app.findings, self._instruments.read(self._traffic.comments(), now), now)
        for number in self._to_look_at(now):
            app.upkeep.look(number)
        self.settled_at = now
        failing = {BY_CODE[each.code].group for each in app.findings.open() if each.code in BY_CODE}
        for group in GROUPS:
            self._emit("health_checked", check=group, result="failed" if group in failing else "ok")
        return BEAT_S

    def _to_look_at(self, now: float) -> Iterator[int]:
        """The sessions with a new checkpoint, and the active ones that were not within the interval."""
        every_s = self._app.engine.config.health.interval_seconds
        beat = time.monotonic()
        self._looked = {name: at for name, at in self._looked.items() if beat - at < every_s}
        new = [self._checkpoints.popleft() for _ in range(len(self._checkpoints))]
        active = (name for name in self._active(now) if name not in self._looked)
        for name in dict.fromkeys((*new, *active)):
            with suppress(NoSuchSession):
                yield self._app.engine.catalog.resolve(name).id
                self._looked[name] = beat

    def _active(self, now: float) -> list[str]:
        rows = self._app.engine.store.rows(
            "SELECT source || ':' || key FROM sessions WHERE modified_at > ? AND checkpoint IS NOT NULL",
            (now - ACTIVE_S,),
        )
        return [str(name) for (name,) in rows]

    def _escalate(self, found: list[Finding], now: float) -> None:
        """Call the command that is set, where something critical is new."""
        told = [each for each in shown(found, now) if each.severity is CRITICAL]
        keys = {(each.code, each.session) for each in told}
        with self._keeping:
            self._called, self._gone = self._called - self._gone, set()
        command = self._app.engine.config.health.on_critical
        if not command or not keys - self._called:
            self._called &= keys
        elif not self._escalation.is_busy:
            self._called = keys
            gate = Gate.of(self._app.engine.config.privacy)
            self._escalation.call(command, report.health(told, {}, now), gate)

    def _goes_on(self, ended: Ended, now: float) -> bool:
        """Whether what one has ceased to find, another has found since before that."""
        known = self._found.get((ended.finding.code, ended.finding.session))
        return known is not None and now - known.since >= time.monotonic() - ended.at_s

    def _over(self, finding: Finding, now: float) -> Ended:
        """A finding that the state has ceased to show."""
        seen_at = last_seen(self._app, finding, now)
        if finding.code == AWAY:
            seen_at = max(seen_at, now - (time.monotonic() - self._vain_at))
        return Ended(replace(finding, seen_at=seen_at), self._back_at.pop(finding.code, time.monotonic()))
