"""What the scores are made of, kept across restarts: states, tallies, incidents and recoveries.

The ledger has a time of its own: it begins as the Unix time of the day it was made, and goes on with the
clocks that nobody sets.  So neither a clock that jumps nor one that is put right makes a second of uptime
appear, vanish or count twice.  Only what lies between two boots is taken from the wall clock, as nothing
else ran.  Everything older than the longest window is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from sessionsync.reliability.findings import Ended, Finding, causes
from sessionsync.reliability.score import DOWN, OFF, STATES, SUSPENDED, TALLIES, WINDOWS, Sums
from sessionsync.store import Store

BUCKET_S = 300
KEPT_S = max(WINDOWS.values()) + 86_400.0
# A beat that comes later than this, the machine being awake, was kept from coming: that is downtime.
LATE_S = 120.0
# Between two readings the wall clock may drift from the others by less than this; else somebody has set it.
SET_S = 5.0
# Time in which nothing else happened is written this often; should the machine die before, it counts as off.
QUIET_S = 300.0
_CLOCKS, _TIME, _WOKEN, _BEATS = "ledger_clocks", "ledger_time", "ledger_woken", "ledger_beats"
# How the life before a start has ended: there was none, as it should, in the middle, or with the machine.
FIRST, STOPPED, DIED, SWITCHED_OFF = ENDINGS = ("first", "stopped", "died", "switched_off")

# Where one thread alone counts.
ALONE = nullcontext()


class Clocks(NamedTuple):
    """One reading of all clocks.

    `wall` is Unix seconds; `awake_s` stands still while the machine sleeps (CLOCK_MONOTONIC on Linux),
    `boot_s` does not (CLOCK_BOOTTIME); where a system has only one, both are that.  `boot` is another one
    after each boot.
    """

    wall: float
    awake_s: float
    boot_s: float
    boot: str

    def set_since(self, earlier: Clocks) -> float:
        """By how many seconds the wall clock was set since an earlier reading, below 0 where it was set back.

        0 where it only drifted.  Nobody knows how long a machine was off: between two boots it has certainly
        been set where it is earlier now.
        """
        if self.boot != earlier.boot:
            by = min(0.0, self.wall - earlier.wall)
        else:
            by = (self.wall - earlier.wall) - (self.boot_s - earlier.boot_s)
        return by if abs(by) >= SET_S else 0.0


class Totals(NamedTuple):
    """What there was since the ledger was begun.

    `seconds` by state, `starts` of the daemon by how the life before had ended, and `TALLIES` of all sources.
    """

    seconds: dict[str, float]
    starts: dict[str, float]
    tallies: dict[str, float]


class Incident(NamedTuple):
    """The life of a finding, in the ledger's time.

    `recoverable_since` is from when its cause allowed it to be mended; `seconds` is None while it is open.
    """

    code: str
    session: str
    component: str
    since: float
    recoverable_since: float
    closed_at: float | None
    seconds: float | None


class Ledger:
    """The ledger in the store.  Any thread may ask, and count where `counting` lets in one at a time.

    Only one at a time may do the rest.
    """

    def __init__(self, store: Store, counting: AbstractContextManager[object] = ALONE) -> None:
        self._store = store
        self._counting = counting
        self._last: Clocks | None = None
        self._written: tuple[float, str] | None = None  # when (`awake_s`), and in which state
        self._time = 0.0
        self._heard: list[tuple[str, str, float]] = []
        self._counts: dict[tuple[str, str], float] = {}
        self._seconds: dict[str, float] = {}
        self._ending = ""
        self.beats = int(store.meta(_BEATS) or 0)
        """The number of the next beat: all that was counted for one before it is written."""
        self.set_s = 0.0
        """By how much the clock was set while the daemon was not there; see `Clocks.set_since`."""
        self.woken_at = float("-inf")
        """Since when there was nothing outside that kept checkpoints from being sent, as `Clocks.awake_s`."""

    # --- states

    def begin(self, clocks: Clocks, seen: Clocks | None = None) -> dict[str, float]:
        """The daemon has started: account for the time since it was last heard of; seconds by state.

        `seen` is another sign of life than the last beat, where there is one; the later one counts.
        Another boot means that the machine was off; after a clean stop the time is off as well; else it was
        down, but for sleep.
        """
        known = self._store.meta(_CLOCKS)
        kept = json.loads(known) if known else None
        if kept is None:
            self._time = clocks.wall
            gap, ending = {}, FIRST
        else:
            self._time = float(self._store.meta(_TIME))
            last = Clocks(*kept["clocks"])
            is_later = seen is not None and seen.boot == last.boot and seen.boot_s > last.boot_s
            if seen is not None and is_later and not kept["clean"]:
                self._spend(kept["state"], _between(last.awake_s, seen.awake_s))
                self._spend(SUSPENDED, _asleep(last, seen))
                last = seen
            self.set_s = clocks.set_since(last)
            gap = _gap(last, clocks, clean=kept["clean"])
            ending = STOPPED if kept["clean"] else DIED if last.boot == clocks.boot else SWITCHED_OFF
        for state, seconds in gap.items():
            self._spend(state, seconds)
        woken = Clocks(*json.loads(said)) if (said := self._store.meta(_WOKEN)) else None
        if woken is not None and woken.boot == clocks.boot:
            self.woken_at = woken.awake_s
        self._last = clocks
        self._ending = ending
        self._write(clocks, state="up", clean=False)
        return gap

    def beat(self, clocks: Clocks, state: str, *, at_leisure: bool = False) -> None:
        """Add the time since the last beat to `state`, and write down what was counted.

        `at_leisure` nothing is written where there is only time, of the same state, and not much of it.

        Raises:
            StoreError: it cannot be written; the next beat writes it.
        """
        for each, seconds in self._passed(clocks, state).items():
            self._spend(each, seconds)
        self._last = clocks
        if not (at_leisure and self._can_wait(clocks, state)):
            self._write(clocks, state=state, clean=False)

    def _can_wait(self, clocks: Clocks, state: str) -> bool:
        written_at, was = self._written or (float("-inf"), "")
        is_only_time = was == state and self._seconds.keys() <= {state} and not (self._heard or self._counts)
        return is_only_time and clocks.awake_s - written_at < QUIET_S

    def woke(self, clocks: Clocks) -> None:
        """What could not be sent until now has its time from now on, also should the process end.

        Raises:
            StoreError: it is known to this process alone.
        """
        self.woken_at = clocks.awake_s
        self._store.set_meta(_WOKEN, json.dumps(clocks))

    def end(self, clocks: Clocks, state: str) -> None:
        """The daemon stops cleanly: until it starts again, it is off."""
        self.beat(clocks, state)
        self._write(clocks, state=state, clean=True)

    def totals(self) -> Totals:
        """All there was since the ledger was begun, as far as it is written: never less than before."""
        kept: dict[str, float] = dict(self._store.rows("SELECT name, value FROM ledger_totals"))
        return Totals(
            {state: kept.get(f"state:{state}", 0.0) for state in STATES},
            {ending: kept.get(f"start:{ending}", 0.0) for ending in ENDINGS},
            {name: kept.get(name, 0.0) for name in TALLIES},
        )

    def _passed(self, clocks: Clocks, state: str) -> dict[str, float]:
        """Where the time since the last beat has gone."""
        if (last := self._last) is None:
            return {}
        awake = _between(last.awake_s, clocks.awake_s)
        return {DOWN if awake > LATE_S else state: awake, SUSPENDED: _asleep(last, clocks)}

    def _spend(self, state: str, seconds: float) -> None:
        if seconds > 0:
            self._seconds[state] = self._seconds.get(state, 0.0) + seconds

    def _write(self, clocks: Clocks, *, state: str, clean: bool) -> None:
        """One commit: what was spent and counted and how late it is now, and without what is old."""
        with self._counting:  # what is counted meanwhile belongs to this beat or to the next one
            self.beats += 1
            heard, self._heard = self._heard, []
        for source, name, by in heard:
            self._counts[source, name] = self._counts.get((source, name), 0.0) + by
        time = self._time
        with self._store.transaction():
            for name, seconds in self._seconds.items():
                self._extend(name, time, time + seconds)
                time += seconds
                self._total(f"state:{name}", seconds)
            if self._ending:
                self._total(f"start:{self._ending}", 1)
            bucket = int(time // BUCKET_S)
            for (source, name), value in self._counts.items():
                self._store.execute(
                    "INSERT INTO tallies VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (bucket, source, name) DO UPDATE SET value = value + excluded.value",
                    (bucket, source, name, value),
                )
                self._total(name, value)
            self._store.set_meta(_CLOCKS, json.dumps({"clocks": clocks, "state": state, "clean": clean}))
            self._store.set_meta(_TIME, repr(time))
            self._store.set_meta(_BEATS, str(self.beats))
            self._forget(time)
        self._time, self._written = time, (clocks.awake_s, state)
        self._seconds, self._counts, self._ending = {}, {}, ""

    def _extend(self, state: str, began: float, ended: float) -> None:
        newest = self._store.row("SELECT id, state FROM spans ORDER BY id DESC LIMIT 1")
        if newest is not None and newest[1] == state:
            self._store.execute("UPDATE spans SET ended = ? WHERE id = ?", (ended, newest[0]))
        else:
            self._store.execute(
                "INSERT INTO spans (state, began, ended) VALUES (?, ?, ?)", (state, began, ended)
            )

    def _total(self, name: str, value: float) -> None:
        self._store.execute(
            "INSERT INTO ledger_totals VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, value),
        )

    def _forget(self, time: float) -> None:
        old = time - KEPT_S
        run = self._store.execute
        run("DELETE FROM spans WHERE ended < ?", (old,))
        run("DELETE FROM tallies WHERE bucket < ?", (int(old // BUCKET_S),))
        run("DELETE FROM incidents WHERE closed_at < ?", (old,))
        run("DELETE FROM recoveries WHERE at < ?", (old,))

    # --- what was counted

    def count(self, name: str, source: str = "", by: float = 1.0) -> int:
        """Add to one of `TALLIES`; returns the number of the beat that it is written with."""
        if name not in TALLIES:
            raise KeyError(name)
        with self._counting:
            self._heard.append((source, name, by))
            return self.beats

    def recovered(self, component: str, seconds: float, *, success: bool) -> None:
        """Keep what became of one automatic recovery."""
        self._store.execute(
            "INSERT INTO recoveries (at, component, success, seconds) VALUES (?, ?, ?, ?)",
            (self._time + sum(self._seconds.values()), component, success, seconds),
        )

    # --- incidents

    def follow(self, found: Iterable[Finding], clocks: Clocks, ended: Iterable[Ended] = ()) -> list[Incident]:
        """Open an incident for each finding that is new, close those that are gone; returns the closed ones.

        To be called whenever a finding is raised or cleared, and at each beat, but not before everything
        has been checked once since the start: what was open then still is.  Time for which a cause was
        open, or in which a cause outside was last seen, was no time in which it could be mended.  `ended`
        says when findings have ended since the last call, in their order, and when their causes were last
        seen; one that is gone and not among them ends now.
        """
        now = self._now(clocks)
        open_now = {(each.code, each.session): each for each in found}
        lives = [(each, now - _between(at_s, clocks.awake_s)) for each, at_s in ended]
        closed = []
        with self._store.transaction():
            known = {(old.code, old.session): old for old in self.incidents(still_open=True)}
            # until when each may have kept another one from being mended
            until = dict.fromkeys(known, now)
            until |= {(each.code, each.session): at for each, at in lives}
            until |= dict.fromkeys(open_now, now)
            for each, at in lives:
                life = known.pop((each.code, each.session), None) or self._opened(each, now, clocks)
                closed.append(self._closed(self._prevented(life, each, until, now, clocks), at, clocks))
            for key, each in open_now.items():
                self._prevented(known.get(key) or self._opened(each, now, clocks), each, until, now, clocks)
            closed += [self._closed(known[key], now, clocks) for key in known.keys() - open_now.keys()]
        return closed

    def _opened(self, finding: Finding, now: float, clocks: Clocks) -> Incident:
        since = now - max(0.0, clocks.wall - finding.since)
        component = finding.kind.component
        self._store.execute(
            "INSERT INTO incidents (code, session, component, since, recoverable_since)"
            " VALUES (?, ?, ?, ?, ?)",
            (finding.code, finding.session, component, since, since),
        )
        return Incident(finding.code, finding.session, component, since, since, None, None)

    def _prevented(
        self,
        life: Incident,
        finding: Finding,
        until: Mapping[tuple[str, str], float],
        now: float,
        clocks: Clocks,
    ) -> Incident:
        """Note until when it is known that it could not be mended here."""
        seen = [until[cause] for cause in causes(finding) & until.keys()]
        if finding.kind.is_outside:
            seen.append(now - max(0.0, clocks.wall - max(finding.seen_at, finding.since)))
        since = max([life.recoverable_since, *seen])
        if since > life.recoverable_since:
            self._store.execute(
                "UPDATE incidents SET recoverable_since = ?"
                " WHERE code = ? AND session = ? AND closed_at IS NULL",
                (since, life.code, life.session),
            )
        return life._replace(recoverable_since=since)

    def _closed(self, life: Incident, at: float, clocks: Clocks) -> Incident:
        at = max(at, life.since)
        seconds = at - life.recoverable_since - self._away(life.recoverable_since, at, clocks)
        life = life._replace(closed_at=at, seconds=max(0.0, seconds))
        self._store.execute(
            "UPDATE incidents SET closed_at = ?, seconds = ?"
            " WHERE code = ? AND session = ? AND closed_at IS NULL",
            (life.closed_at, life.seconds, life.code, life.session),
        )
        return life

    def incidents(self, *, still_open: bool = False) -> list[Incident]:
        """The incidents that are kept, the oldest first."""
        where = " WHERE closed_at IS NULL" if still_open else ""
        rows = self._store.rows(
            "SELECT code, session, component, since, recoverable_since, closed_at, seconds"
            f" FROM incidents{where} ORDER BY id"
        )
        return [Incident(*row) for row in rows]

    def age_of_open(self, clocks: Clocks) -> dict[tuple[str, str], float]:
        """For how many seconds each open incident has been so, by code and session."""
        now = self._now(clocks)
        open_now = self.incidents(still_open=True)
        return {(each.code, each.session): max(0.0, now - each.since) for each in open_now}

    def _now(self, clocks: Clocks) -> float:
        """The ledger's time at this reading, which may lie after the last beat."""
        since = 0.0 if self._last is None else _between(self._last.boot_s, clocks.boot_s)
        return self._time + sum(self._seconds.values()) + since

    def _away(self, began: float, ended: float, clocks: Clocks) -> float:
        """Seconds between two times in which nothing could be mended: asleep, or off."""
        unwritten = 0.0
        if self._last is not None and began <= self._time:
            # what began after the last beat began after the sleep: nothing happens in one
            unwritten = self._seconds.get(SUSPENDED, 0.0) + _asleep(self._last, clocks)
        rows: list[tuple[float, float]] = self._store.rows(
            "SELECT began, ended FROM spans WHERE state IN (?, ?) AND ended > ? AND began < ?",
            (SUSPENDED, OFF, began, ended),
        )
        return unwritten + sum(min(ended, to) - max(began, start) for start, to in rows)

    # --- sums

    def sums(self, window_s: float) -> Sums:
        """What happened in the newest `window_s` seconds of the ledger, as far as it is written."""
        store, since = self._store, self._time - window_s
        seconds = dict.fromkeys(STATES, 0.0)
        for state, began, ended in store.rows(
            "SELECT state, began, ended FROM spans WHERE ended > ?", (since,)
        ):
            seconds[state] += ended - max(began, since)
        tallies: dict[str, dict[str, float]] = {}
        for source, name, value in store.rows(
            "SELECT source, name, sum(value) FROM tallies WHERE bucket >= ? GROUP BY source, name",
            (int(since // BUCKET_S),),
        ):
            tallies.setdefault(source, {})[name] = value
        ((ended_incidents, recovery_s),) = store.rows(
            "SELECT count(*), total(seconds) FROM incidents WHERE closed_at > ?", (since,)
        )
        ((recovered, unrecovered),) = store.rows(
            "SELECT total(success), total(1 - success) FROM recoveries WHERE at > ?", (since,)
        )
        return Sums(seconds, tallies, ended_incidents, recovery_s, int(recovered), int(unrecovered))

    def unwritten(self, clocks: Clocks, state: str) -> Sums:
        """What a beat that is written now would add to the sums; read from memory alone."""
        seconds = dict(self._seconds)
        for each, passed in self._passed(clocks, state).items():
            seconds[each] = seconds.get(each, 0.0) + passed
        tallies: dict[str, dict[str, float]] = {}
        counted = [(source, name, by) for (source, name), by in self._counts.items()]
        for source, name, by in (*counted, *self._heard.copy()):
            of = tallies.setdefault(source, {})
            of[name] = of.get(name, 0.0) + by
        return Sums(seconds, tallies)


def _gap(last: Clocks, now: Clocks, *, clean: bool) -> dict[str, float]:
    """Where the time went between two lives of the daemon."""
    if last.boot != now.boot:
        return {OFF: _between(last.wall, now.wall)}
    awake = _between(last.awake_s, now.awake_s)
    return {OFF if clean else DOWN: awake, SUSPENDED: _asleep(last, now)}


def _between(earlier: float, later: float) -> float:
    return max(0.0, later - earlier)


def _asleep(last: Clocks, now: Clocks) -> float:
    asleep = (now.boot_s - last.boot_s) - (now.awake_s - last.awake_s)
    return asleep if asleep >= 1.0 else 0.0  # two clocks are not read at once
