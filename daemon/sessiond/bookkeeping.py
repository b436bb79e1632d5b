"""What happens, counted into the ledger, and the figures that come of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from sessiond.jotter import Jotter
from sessiond.pulse import Pulse
from sessionsync.errors import StoreError
from sessionsync.events import Emit
from sessionsync.reliability.findings import CRITICAL, Ended, Finding, Severity
from sessionsync.reliability.ledger import Ledger
from sessionsync.reliability.recovery import recovered
from sessionsync.reliability.score import (
    DEGRADED,
    OFF,
    SUSPENDED,
    TALLIES,
    UP,
    WINDOWS,
    Figures,
    Sums,
    figures,
)
from sessionsync.store import Store

# A checkpoint counts as a success within this time of being queued, or of GitHub answering again.
SYNC_GOAL_S = 900.0
AWAY = "github_unreachable"
# For so long whoever asks for the figures waits for a beat that is being written.
PATIENCE_S = 0.1


class Bookkeeping:
    """Any thread may call anything; none of it in a transaction, but for `on_event`."""

    def __init__(self, store: Store, pulse: Pulse, emit: Emit) -> None:
        self.ledger = Ledger(store, threading.Lock())
        self._pulse = pulse
        self._emit = emit
        self._jotter = Jotter(pulse.folder)
        self._seen = pulse.clocks()
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Severity] | None = None
        self._sums: dict[str, Sums] = {}
        self._asked = False

    # --- life

    def begin(self) -> None:
        """The daemon starts: where has the time gone since it was last heard of?"""
        with suppress(StoreError):  # a full disk is said where it hurts; the next beat writes it
            for name, source, by in self._jotter.left(self.ledger.beats):
                if name in TALLIES:  # another version may have counted something else
                    self.ledger.count(name, source, by)
            gap = self.ledger.begin(self._pulse.clocks(), self._pulse.last)
            self._jotter.forget(self.ledger.beats)
            was_away = any(each.code == AWAY for each in self.ledger.incidents(still_open=True))
            if gap.get(OFF) or gap.get(SUSPENDED) or was_away or self.ledger.set_s:
                self._wake()
        self._pulse.show()

    def beat(self, found: Iterable[Finding]) -> None:
        """Add the time since the last beat, as up, or as degraded where something is wrong.

        Where nobody asks for the figures, time alone is written down now and then.
        """
        with self._lock:
            with suppress(StoreError):
                state = DEGRADED if list(found) else UP
                self.ledger.beat(self._pulse.clocks(), state, at_leisure=not self._asked)
                self._jotter.forget(self.ledger.beats)
            # a month of tallies takes 35 ms to add up: here, where nobody waits, if anybody wants it at all
            self._sums = self._written() if self._asked else {}
            self._asked = False

    def end(self, *, clean: bool) -> None:
        """The daemon stops: until it starts again it is off, or down where it ended by an error."""
        stop = self.ledger.end if clean else self.ledger.beat
        with self._lock, suppress(StoreError):
            stop(self._pulse.clocks(), UP)
        self._pulse.close()

    def show(self) -> None:
        """Leave a sign of life, which outlives a kill."""
        self._pulse.show()

    # --- what happens

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Count what an event tells."""
        source = str(fields.get("session", "")).partition(":")[0]
        match event:
            case "integrity_checked":
                ok = fields.get("result") == "ok"
                self._count("integrity_ok" if ok else "integrity_bad", source, _number(fields, "count"))
            case "session_captured":
                self._count("captured_bytes", source, _number(fields, "bytes"))
            case "bytes_lost":
                self._count("lost_bytes", source, _number(fields, "bytes"))
            case "github_reached":
                self._wake()
            case "clock_jumped":  # the machine has slept, or somebody has set its clock
                self._wake()
            case "push_completed" | "push_unchanged":
                in_time = self.in_time(_number(fields, "seconds"))
                self._count("sync_success" if in_time else "sync_failure", source)
            case "push_buried" if source:
                self._count("sync_failure", source)
        if (mended := recovered(event, fields)) is not None:
            component, success = mended
            with suppress(StoreError):
                self.ledger.recovered(component, _number(fields, "seconds"), success=success)

    def _count(self, name: str, source: str, by: float = 1.0) -> None:
        self._jotter.add(self.ledger.count(name, source, by), name, source, by)

    def _wake(self) -> None:
        """What could not be sent until now has its time from now on."""
        with suppress(StoreError):
            self.ledger.woke(self._pulse.clocks())

    def in_time(self, age_s: float) -> bool:
        """Whether a checkpoint that has reached GitHub at this age has done so in time."""
        return self.waited(age_s) <= SYNC_GOAL_S

    def waited(self, age_s: float) -> float:
        """For how many seconds of its age something could have been sent: since the last sleep or outage.

        An age over which the clock was set says nothing: then it is the time since it was.
        """
        now = self._pulse.clocks()
        before, self._seen = self._seen, now
        if now.set_since(before):
            self._wake()
        return min(age_s, now.awake_s - self.ledger.woken_at)

    # --- incidents

    def left_open(self) -> list[tuple[str, str, float]]:
        """What was wrong at the end of the last life: code, session, and since when (Unix seconds)."""
        with self._lock:
            clocks = self._pulse.clocks()
            ago = self.ledger.age_of_open(clocks)
        return [(code, session, clocks.wall - seconds) for (code, session), seconds in ago.items()]

    def follow(self, found: Iterable[Finding], ended: Iterable[Ended] = ()) -> None:
        """Keep the lives of findings as incidents, and tell of those that begin and end.

        Not before everything was checked once since the start: what was open then still is.  `ended` is
        what has ended since the last call, as far as it is known when.

        Raises:
            StoreError: it cannot be written; the next call does.
        """
        found, ended = list(found), list(ended)
        with self._lock:
            known = self._open
            if known is None:  # of a life before this one, which has told of it
                old = {(each.code, each.session) for each in self.ledger.incidents(still_open=True)}
                seen = {(each.code, each.session): each for each in (*(gone for gone, _ in ended), *found)}
                known = {key: seen[key].severity for key in old & seen.keys()}
            closed = self.ledger.follow(found, self._pulse.clocks(), ended)
            self._open = {(each.code, each.session): each.severity for each in found}
        for each, _ in ended:  # it may have come and gone
            self._tell(each, known.pop((each.code, each.session), None))
        for gone in closed:
            self._emit(
                "finding_cleared",
                session=gone.session,
                code=gone.code,
                component=gone.component,
                seconds=round(gone.seconds or 0.0, 3),
            )
        for each in found:
            self._tell(each, known.get((each.code, each.session)))

    def _tell(self, finding: Finding, before: Severity | None) -> None:
        """Tell of a finding that is new or was not as bad."""
        is_critical = finding.severity is CRITICAL
        if before is None or (is_critical and before is not CRITICAL):
            self._emit(
                "finding_escalated" if is_critical else "finding_raised",
                session=finding.session,
                code=finding.code,
                was=before.value if before is not None else "",
                component=finding.kind.component,
                reason=finding.message,
                hint=finding.hint,
            )

    # --- figures

    def all_figures(self) -> dict[str, Figures]:
        """The figures by window, up to now, or to the last beat while a slow disk keeps the next one.

        Empty while the state cannot be read.
        """
        self._asked = True
        if not self._lock.acquire(timeout=PATIENCE_S):
            return {name: figures(sums) for name, sums in self._sums.items()}
        try:
            self._sums = self._sums or self._written()
            since = self.ledger.unwritten(self._pulse.clocks(), DEGRADED if self._open else UP)
            return {name: figures(sums.plus(since)) for name, sums in self._sums.items()}
        finally:
            self._lock.release()

    def _written(self) -> dict[str, Sums]:
        with suppress(StoreError):
            return {name: self.ledger.sums(seconds) for name, seconds in WINDOWS.items()}
        return {}

    def score(self, window: str) -> float | None:
        """The score of a window, 0..1; None while it cannot be told."""
        known = self.all_figures().get(window)
        return None if known is None else known.score


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0
