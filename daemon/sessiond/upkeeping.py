"""The loop that looks after the copies: damage, the daily scan, old checkpoints, drills, merges.

In that order, after the first backup and with one budget for all of it, so that nobody notices.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sessiond import memory
from sessiond.away import Away
from sessiond.engine import Engine
from sessiond.judging import Judging
from sessiond.loops import LOOK_S, TICK_S, Bell, CaptureLoop, Failed, Loop
from sessionsync.budget import Budget
from sessionsync.catalog import Session
from sessionsync.elsewhere import Elsewhere
from sessionsync.errors import CopyError, NoSuchSession, StoreError
from sessionsync.events import Emit
from sessionsync.reliability.findings import FINDINGS, Findings, Severity
from sessionsync.restore.drill import Drill, Rehearsal
from sessionsync.upkeep import Healing, Paced, Upkeep, Verdict
from sessionsync.vault.strays import DEPTH

# What the background may read and write; compressing further at this rate takes a fifth of a core.
BYTES_PER_S = 4 * 1024 * 1024
# The start shall be quiet, and a disk in trouble shall rest.
START_S = 60.0
TROUBLE_S = 300.0
# What a copy elsewhere could have healed is tried again when that answers: soon, then less and less often.
ASK_S = 60.0
ASK_SELDOM_S = 3600.0
# What a look at something costs besides the bytes that it moves: a hundredth of a second.
LOOK_BYTES = BYTES_PER_S // 100
BUSY_S = 1.0
# Once a day, and at the first rest.
DAY_S = 86_400.0
# The writer is busy with one session at a time.
WRITE_S = 600.0
DRILL_FAILED = "drill_failed"
REMOVED = "copies_removed"

T = TypeVar("T")


def upkeep_of(engine: Engine, capture: CaptureLoop, away: Sequence[Away], emit: Emit) -> Upkeep:
    """The upkeep of a running engine, whose writer is the capture loop; `away` are copies elsewhere."""

    def write(work: Callable[[float], T]) -> T:
        def flushed(now: float) -> T:
            engine.capture.flush(now)
            return work(now)

        return capture.call(flushed, WRITE_S)

    return Upkeep(
        catalog=engine.catalog,
        queue=engine.queue,
        mirror=engine.mirror,
        vault=engine.vault,
        sources=engine.sources,
        keep_checkpoints=engine.config.backup.keep_checkpoints,
        write=write,
        store_anew=engine.capture.store_anew,
        recall=engine.capture.recall,
        emit=emit,
        elsewhere={place.name: place.read for place in away},
        versions=Elsewhere(engine.config.backup.vault_dir, emit).vault,
    )


class UpkeepLoop(Loop):
    """One piece of work a turn, at the pace of a `budget` that others have a part in.

    `busy` says that something more urgent reads and writes, `first` that something goes before merging.
    `may_ask` says that the copies `away` can be asked, also for sessions that they were missed for.
    """

    def __init__(
        self,
        upkeep: Upkeep,
        engine: Engine,
        findings: Findings,
        emit: Emit,
        on_failure: Failed,
        budget: Budget,
        *,
        busy: Callable[[], bool],
        first: Callable[[], bool] = lambda: False,
        away: Sequence[Away] = (),
        may_ask: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__("upkeep", Bell(), emit, on_failure)
        self._upkeep = upkeep
        self._engine = engine
        self._findings = findings
        self._busy = busy
        self._first = first
        self.is_urgent = False
        """Whether it verifies or repairs, which goes before the index; for any thread."""
        self._away = away
        self._may_ask = may_ask
        self._asked_at, self._ask_s = float("-inf"), ASK_S
        self._budget = budget
        self.judging = Judging(findings, engine.store, emit)
        self._looked: deque[int] = deque()
        # whether all sessions are looked at as a folder of theirs was removed
        self._refilling = False
        self._healing: set[str] = set()
        self._wounded: deque[int] = deque()
        self._strange: deque[str] = deque()
        self._crowded: deque[int] = deque()
        self._rests_until = time.monotonic() + START_S
        self._troubled_until = 0.0
        self._merges_at = 0.0
        self._cleaned_at = 0.0
        self.drill = Drill(
            catalog=engine.catalog,
            mirror=engine.mirror,
            vault=engine.vault,
            scratch=engine.paths.state_dir / "drill",
            chance=random.SystemRandom(),
            emit=emit,
        )
        self.drill.clean()
        self._drilling = threading.Lock()
        self._repairing = threading.Lock()

    def turn(self) -> float:
        """The most urgent piece of work."""
        if self._refilling and not (self._looked or self._wounded):
            self._refilling = False
            self._findings.cleared(REMOVED)
        rest = self._rests_until - time.monotonic()
        if rest <= 0 or (time.monotonic() >= self._troubled_until and self._has_damage()):
            if self._busy():
                return BUSY_S
            try:
                return self._work(time.time())
            except NoSuchSession:
                return 0.0  # it was forgotten meanwhile
            except (CopyError, StoreError, TimeoutError, CancelledError) as error:
                if not self._stopping:
                    self._emit("upkeep_postponed", reason=str(error) or type(error).__name__)
                rest = TROUBLE_S
                self._rests_until = self._troubled_until = time.monotonic() + rest
        return self._pause(rest)

    def _pause(self, rest: float) -> float:
        """How long it waits that rests so long: nobody rings when a copy away from here can be had again."""
        return min(rest, TICK_S) if any(place.missed for place in self._away) else rest

    def go_on(self) -> None:
        """Rest no longer after trouble: a disk can be written to again."""
        if self._rests_until == self._troubled_until:
            self._rests_until = 0.0
        self._troubled_until = 0.0
        self.bell.ring()

    def heal(self, session: Session) -> None:
        """Repair a session as soon as nothing more urgent is to be done."""
        if session.id not in self._wounded:
            self._healing.add(session.name)
            self._wounded.append(session.id)
        self.bell.ring()

    def heal_named(self, name: str) -> None:
        """Repair the session of this name, be it one of this home or one that only the vault knows."""
        try:
            self.heal(self._engine.catalog.resolve(name))
        except NoSuchSession:
            if name and name not in self._strange:
                self._healing.add(name)
                self._strange.append(name)
            self.bell.ring()

    def repair(self, session: Session) -> Paced[Healing]:
        """Repair a session now, paced by nobody; any thread, one at a time.

        Two at once would heal, keep and count the same bytes, and each would say that there was less to heal.
        """
        with self._repairing:
            healing = yield from self._upkeep.repair(session)
            self.judge(session.name, healing)
        return healing

    def judge(self, session: str, verdict: Verdict | Healing) -> None:
        """Open the findings for what is damaged and stays so, or close them."""
        if isinstance(verdict, Verdict):
            self.judging.judge(session, [bad for _, bad in verdict.bad])
            return
        self.judging.judge(session, verdict.left)
        if not any(place.missed for place in self._away):  # else somebody may still have it
            self.judging.mourn(session, verdict.left)

    def look(self, number: int) -> None:
        """Look at what a session's newest checkpoints stand on, before anything that can wait."""
        if number not in self._looked:
            self._looked.append(number)
        self.bell.ring()

    def refill(self, lost: Sequence[Path]) -> None:
        """Say that folders of the copies were removed or replaced, and make again what was in them.

        Every session is looked at, and repaired where something is missing; then it is over.
        """
        known = set(self._looked)
        self._looked.extend(each.id for each in self._engine.catalog.sessions() if each.id not in known)
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        message = f"A folder of the copies was removed or replaced: {lost[0]}{more}; it is filled again."
        self._findings.raised(REMOVED, Severity.CRITICAL, message, FINDINGS[REMOVED].remedy, time.time())
        self._refilling = True  # only now: what was looked at meanwhile may have been all
        self.bell.ring()

    def tidy(self) -> None:
        """Do the daily cleaning now, whenever it was done last."""
        self._cleaned_at = 0.0
        self.bell.ring()

    @property
    def cleaned_at(self) -> float:
        """When the daily cleaning was begun last (Unix seconds)."""
        return self._cleaned_at

    def is_healing(self, name: str) -> bool:
        """Whether a session is being repaired, or waits for that."""
        return name in self._healing

    def rehearse(
        self, sessions: Sequence[Session] | None, progress: Callable[[int], object] = lambda _size: None
    ) -> list[Rehearsal]:
        """Put these sessions, or a sample, back into a scratch folder; any thread, one at a time.

        A session of which a copy fails gets a finding and is repaired.
        """
        with self._drilling:
            failed = [f.session for f in self._findings.open() if f.code == DRILL_FAILED]
            done = self.drill.run(
                self.drill.sample(failed) if sessions is None else sessions, time.time(), progress
            )
        for name in {each.session for each in done}:
            wrong = [each for each in done if each.session == name and each.problems]
            if wrong:
                self._findings.raised(
                    DRILL_FAILED,
                    Severity.CRITICAL,
                    "Restored for a trial, it is not as it was:"
                    f" {wrong[0].where}: {wrong[0].problems[0].removesuffix('.')}.",
                    f"It is repaired; `sessiond ctl verify {name} --drill` tries again.",
                    time.time(),
                    name,
                )
                self.heal_named(name)
            elif all(each.result == "ok" for each in done if each.session == name):
                self._findings.cleared(DRILL_FAILED, name)
        return done

    def _work(self, now: float) -> float:
        self.is_urgent = (
            bool(self._wounded or self._strange or self._looked) or self._upkeep.next_scan() <= now
        )
        try:
            return self._most_urgent(now)
        finally:
            self.is_urgent = False

    def _most_urgent(self, now: float) -> float:
        if self._wounded:
            session = self._engine.catalog.session(self._wounded.popleft())
            with self._once_more(self._wounded, session.id):
                self._repair(session.name, self._upkeep.repair(session))
        elif self._strange:
            name = self._strange.popleft()
            try:
                with self._once_more(self._strange, name):
                    self._repair(name, self._upkeep.repair_other(name))
            except NoSuchSession:  # it was forgotten, and what was wrong with it
                self._healing.discard(name)
                self._findings.forgotten(name)
        elif self._looked:
            session = self._engine.catalog.session(self._looked.popleft())
            with self._once_more(self._looked, session.id):
                self._look(session)
        elif _is_due(self._upkeep.next_scan(), now):
            self._scan(now)
        elif self._crowded or (_is_due(self._cleaned_at + DAY_S, now) and self._clean(now)):
            self._upkeep.forget(self._engine.catalog.session(self._crowded.popleft()))
        elif _is_due(self.drill.next_at(), now):
            self.rehearse(None, self._progress)
        else:
            return self._merge(now)
        return self._budget.spend(LOOK_BYTES, time.monotonic())

    def _merge(self, now: float) -> float:
        """Merge a session's segments; where there is none to merge, rest."""
        if self._first():
            return TICK_S
        if (rest := self._merges_at - time.monotonic()) > 0:
            return self._pause(rest)
        if (due := self._upkeep.next_to_merge(now)) is None:
            self._engine.store.shrink()  # to know that, every row was read
            memory.trim()
            self._merges_at = time.monotonic() + LOOK_S
            return self._pause(LOOK_S)
        if due.id in self._upkeep.crowded():
            self._upkeep.forget(due)
        self._paced(self._upkeep.merge(due, now))
        return self._budget.spend(LOOK_BYTES, time.monotonic())

    def _repair(self, name: str, work: Generator[int, Any, Healing]) -> None:
        """Repair, judge what is left, and tell how it went where there was anything to mend."""
        began = time.monotonic()
        while not self._repairing.acquire(timeout=BUSY_S):
            self.beat()
            if self._stopping:
                return
        try:
            if (healing := self._paced(work)) is None:
                return
            self.judge(name, healing)
        finally:
            self._repairing.release()
        self._healing.discard(name)
        if healing.healed or healing.bits or healing.left:
            self._emit(
                "recovery_ended",
                session=name,
                action="heal",
                component="corruption",
                outcome="failure" if healing.left else "success",
                seconds=round(time.monotonic() - began, 3),
                after=healing.left[0].where if healing.left else "whole",
            )

    def _look(self, session: Session) -> None:
        verdict = self._paced(self._upkeep.look(session))
        if verdict is not None and verdict.bad:
            self.heal(session)
        elif verdict is not None and self.judging.doubts(session.name):
            self.heal(session)  # it looks sound again: the repair reads all of it and says so

    @contextmanager
    def _once_more(self, waiting: deque[T], name: T) -> Iterator[None]:
        """What a full disk, or a busy writer, kept from being repaired is repaired later."""
        try:
            yield
        except (CopyError, StoreError, TimeoutError):
            waiting.append(name)
            raise

    def _has_damage(self) -> bool:
        """Whether something is damaged, or is to be looked at, or could be healed now that GitHub answers."""
        return self._ask_again() or bool(self._wounded or self._strange or self._looked)

    def _ask_again(self) -> bool:
        """Repair once more what a copy away from here could have healed, had it answered."""
        missed = [number for place in self._away for number in place.missed]
        if not missed:
            self._ask_s = ASK_S
        now = time.monotonic()
        if not missed or now - self._asked_at < self._ask_s or not self._may_ask():
            return False
        self._asked_at, self._ask_s = now, min(2 * self._ask_s, ASK_SELDOM_S)
        for place in self._away:
            place.missed.clear()
            place.forget()
        self._wounded.extend(missed)
        return True

    def _scan(self, now: float) -> None:
        verdict = self._paced(self._upkeep.scan(now))
        for name in {name for name, _ in verdict.bad} if verdict is not None else ():
            self.heal_named(name)

    def _clean(self, now: float) -> bool:
        """Once a day: strays are taken in and known, orphans go, and checkpoints that are too many."""
        self._cleaned_at = now
        backup = self._engine.config.backup
        self._paced(self._upkeep.adopt({backup.mirror_dir: 1, backup.vault_dir: DEPTH}))
        self._paced(self._upkeep.recall())
        self._paced(self._upkeep.gc(now))
        self._paced(self._upkeep.forget_versions(now))
        self._crowded.extend(self._upkeep.crowded())
        return bool(self._crowded)

    def _paced(self, work: Generator[int, Any, T]) -> T | None:
        """Drive a piece of work at the budget's pace; None where the daemon ends before it does."""
        try:
            while not self._stopping:
                self._pace(next(work))
        except StopIteration as end:
            found: T = end.value
            return found
        with suppress(CopyError):
            work.close()
        return None

    def _progress(self, size: int) -> None:
        """Pace what cannot be left in between; ends it where the daemon ends."""
        self._pace(size)
        if self._stopping:
            raise CancelledError

    def _pace(self, size: int) -> None:
        """Wait until so many bytes more may be moved."""
        wait = self._budget.spend(size, time.monotonic())
        self.beat()
        if wait > 0:
            self.bell.sleep(min(wait, TICK_S))


def _is_due(at: float, now: float) -> bool:
    """Whether what is done once a day is due; what lies further off was planned by a clock that was ahead."""
    return not now < at <= now + DAY_S
