"""What is done about findings: each action begun where it belongs, watched until it has helped or not.

An action is only begun here, in whichever loop does such things; how it went is seen by the finding being
gone.  Where the cause is beyond the daemon's reach, such as a disk of somebody else's making, to have done
it is all that can be asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from sessiond.engine import Engine
from sessiond.indexing import IndexLoop
from sessiond.loops import CaptureLoop, PushLoop
from sessiond.upkeeping import UpkeepLoop
from sessionsync.errors import NoSuchSession, SessiondError
from sessionsync.events import Emit
from sessionsync.queue import Lane
from sessionsync.reliability.findings import Finding, Findings, explained
from sessionsync.reliability.recovery import Planned, Recovery

# What has been done is given so long to show.
SHOWS_S = 60.0
# What has not ended by then has failed, whatever it waits for.
LONGEST_S = 3600.0
RESTART = 70

IsDone = Callable[[], bool]


class Means(Protocol):
    """What actions are done with."""

    engine: Engine
    capture: CaptureLoop
    push: PushLoop
    upkeep: UpkeepLoop
    index: IndexLoop

    @property
    def is_served(self) -> bool:
        """Whether somebody starts the daemon anew when it ends."""

    def end(self, exit_code: int = 0) -> None:
        """End the daemon."""


class _Course(NamedTuple):
    """An action under way; times are monotonic seconds."""

    planned: Planned
    before: str
    is_outside: bool
    is_done: IsDone
    began: float

    @property
    def shows_s(self) -> float:
        """How long after it was done its effect may yet show: a repair judges at once what is left."""
        return 0.0 if self.planned.action.name in {"heal", "mend_references"} else SHOWS_S


class Recovering:
    """Runs what `Recovery` plans.  Belongs to the health loop."""

    def __init__(self, means: Means, findings: Findings, emit: Emit) -> None:
        self._means = means
        self._findings = findings
        self._emit = emit
        self._recovery = Recovery()
        self._courses: list[_Course] = []
        self._done_at: dict[Planned, float] = {}

    def turn(self, found: Iterable[Finding], now: float) -> None:
        """Judge what is under way, begin what is due, and tell a person where nothing helps.

        What another finding explains is left alone: to treat a consequence helps nobody.
        """
        open_now = {(each.code, each.session): each for each in found}
        for course in list(self._courses):
            self._judge(course, open_now, now)
        causes = [each for each in open_now.values() if not explained(each, open_now)]
        for planned in self._recovery.plan(causes, now):
            self._begin(planned, open_now[planned.code, planned.session], now)
        self._recovery.tell(self._findings, now)

    def doing(self, finding: Finding, now: float) -> str:
        """What is done about a finding now; any thread may ask."""
        return self._recovery.doing(finding.code, finding.session, now)

    # --- one action

    def _begin(self, planned: Planned, finding: Finding, now: float) -> None:
        self._recovery.began(planned, now)
        self._emit(
            "recovery_started",
            session=planned.session,
            action=planned.action.name,
            component=planned.action.component,
            attempt=planned.attempt,
            code=planned.code,
            before=finding.message,
        )
        course = _Course(planned, finding.message, finding.kind.is_outside, lambda: True, time.monotonic())
        try:
            is_done = self._start(planned)
        except SessiondError as error:
            self._end(course, str(error), now, success=False)
            return
        self._courses.append(course._replace(is_done=is_done))

    def _judge(self, course: _Course, open_now: dict[tuple[str, str], Finding], now: float) -> None:
        planned, beat = course.planned, time.monotonic()
        finding = open_now.get((planned.code, planned.session))
        if finding is None:
            self._end(course, "it is gone", now, success=True)
            return
        try:
            is_done = course.is_done()
        except SessiondError as error:
            self._end(course, str(error), now, success=False)
            return
        if not is_done and beat - course.began < LONGEST_S:
            return
        done_at = self._done_at.setdefault(planned, beat)
        if is_done and course.is_outside:
            self._end(course, finding.message, now, success=True)
        elif not is_done or beat - done_at >= course.shows_s:
            self._end(course, finding.message, now, success=False)

    def _end(self, course: _Course, after: str, now: float, *, success: bool) -> None:
        planned = course.planned
        self._done_at.pop(planned, None)
        if course in self._courses:
            self._courses.remove(course)
        self._recovery.ended(planned, now, success=success)
        if planned.action.name == "heal":
            return  # the repair itself has told of it
        self._emit(
            "recovery_ended",
            session=planned.session,
            action=planned.action.name,
            component=planned.action.component,
            outcome="success" if success else "failure",
            seconds=round(time.monotonic() - course.began, 3),
            code=planned.code,
            before=course.before,
            after=after,
        )

    # --- what is done

    def _start(self, planned: Planned) -> IsDone:
        """Begin it; returns what says whether it has been done."""
        begin: dict[str, Callable[[str], IsDone]] = {
            "push": self._push,
            "heal": self._heal,
            "mend_references": self._mend_references,
            "tidy": self._tidy,
            "rebuild_index": self._rebuild_index,
            "capture": self._capture,
            "restart_loop": self._restart,
        }
        return begin[planned.action.name](planned.session)

    def _heal(self, session: str) -> IsDone:
        upkeep = self._means.upkeep
        upkeep.heal_named(session)
        return lambda: not upkeep.is_healing(session)

    def _mend_references(self, session: str) -> IsDone:
        """What it refers to may lie in the live files, unseen; else a copy may have it."""
        self._capture(session)
        return self._heal(session)

    def _tidy(self, _session: str) -> IsDone:
        upkeep = self._means.upkeep
        upkeep.tidy()
        return lambda: upkeep.cleaned_at > 0

    def _rebuild_index(self, _session: str) -> IsDone:
        index = self._means.index
        index.rebuild()
        return lambda: index.left() == 0

    def _push(self, _session: str) -> IsDone:
        """Make everything due, and look at once."""
        engine = self._means.engine
        engine.queue.make_due(time.time(), lane=Lane.GITHUB)
        if engine.push is not None:
            engine.push.probe_now()
        self._means.push.look_now()
        return lambda: True

    def _capture(self, session: str) -> IsDone:
        """Look at the session again, or at everything where it is none."""
        try:
            self._means.capture.again(self._means.engine.catalog.resolve(session).ref)
        except NoSuchSession:
            self._means.capture.want_rescan("trouble")
        return self._means.capture.rested.is_set

    def _restart(self, _session: str) -> IsDone:
        """End the process, where somebody starts it anew."""
        if not self._means.is_served:
            return lambda: True  # then it stays, and a person is told
        self._means.end(RESTART)
        return lambda: False
