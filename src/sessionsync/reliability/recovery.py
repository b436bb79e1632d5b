"""What is done about a finding without anybody: which action, how often, and when a person is asked.

Planning is pure: the process runs the action that it is given, tells how it ended, and asks again.  Every
action may be run twice, and one that mends its finding is seen by the finding being gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sessionsync.reliability.findings import CRITICAL, FINDINGS, Finding, Findings

# An action is tried again after so long, twice as long each time; after so many failures a person is told.
PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
TRIES = 3
# No more than so many actions of one kind an hour: what breaks again and again is not mended by haste.
HOUR_S, AN_HOUR = 3600.0, 30
ESCALATION = "recovery_failed"


class Action(NamedTuple):
    """Something that is done about a finding; the process knows how."""

    name: str
    component: str
    words: str


ACTIONS = {
    action.name: action
    for action in (
        Action("push", "sync", "make everything that waits due"),
        Action("heal", "corruption", "replace what is damaged from another copy, and verify it"),
        Action("mend_references", "reference", "restore what is referred to where a copy has it"),
        Action("tidy", "orphan", "remove what nothing needs any more, after its time of grace"),
        Action("rebuild_index", "index", "make the search index anew"),
        Action("capture", "corruption", "copy the session anew"),
        Action("restart_loop", "loop", "end the process; its service starts it anew"),
    )
}
# What helps against what.  A finding that is not here mends itself, as an unreachable GitHub is probed by the
# pusher, or is a person's.
REMEDIES = {
    "sync_late": "push",
    "sync_failing": "push",
    "copy_mismatch": "capture",
    "copy_damaged": "heal",
    "drill_failed": "heal",
    "artifact_missing": "heal",
    "reference_broken": "mend_references",
    "disk_low": "tidy",
    "backup_disk_full": "tidy",
    "vault_large": "tidy",
    "index_broken": "rebuild_index",
    "copy_failed": "capture",
    "purge_near": "capture",
    "loop_stuck": "restart_loop",
}


# What mends itself as the daemon works, by the event that tells of it: the component, and whether it did.
MENDED = {
    "tier_promoted": ("tier", True),
    "github_reached": ("connection", True),
    "archive_reached": ("connection", True),
    "watcher_restarted": ("watcher", True),
    "orphans_removed": ("orphan", True),
    "push_buried": ("sync", False),
}


def recovered(event: str, fields: Mapping[str, Any]) -> tuple[str, bool] | None:
    """The component that an event says has recovered, or has failed to; None where it says neither.

    A synchronisation that failed and then got through is one that recovered.
    """
    if event == "recovery_ended":
        return str(fields.get("component", "")), fields.get("outcome") == "success"
    if event in {"push_completed", "push_unchanged"}:
        return ("sync", True) if fields.get("failures") else None
    if event == "push_buried" and not fields.get("session"):
        return None  # an index is no synchronisation
    return MENDED.get(event)


class Planned(NamedTuple):
    """An action against a finding of one session ('': of all)."""

    action: Action
    code: str
    session: str
    attempt: int


@dataclass(slots=True)
class _Course:
    """How it has gone so far with one finding."""

    attempts: int = 0
    failures: int = 0
    since: float = 0.0
    next_at: float = 0.0
    is_running: bool = False


class Recovery:
    """Which action is due.  One thread plans and tells how it went; what is open decides, not the memory."""

    def __init__(self) -> None:
        self._courses: dict[tuple[str, str], _Course] = {}
        self._began: dict[str, list[float]] = {}

    def plan(self, found: Iterable[Finding], now: float) -> list[Planned]:
        """The actions that are due now, one a finding, those of critical findings first.

        What is no longer open is forgotten; an action that has failed pauses, longer each time, and one that
        was begun too often within the hour waits for the hour to pass.
        """
        found = list(found)
        open_now = {(finding.code, finding.session) for finding in found}
        for key in self._courses.keys() - open_now:
            if not self._courses[key].is_running:
                del self._courses[key]
        planned: list[Planned] = []
        # one action may answer several findings
        taken = {(REMEDIES[code], of) for (code, of), course in self._courses.items() if course.is_running}
        for finding in sorted(found, key=lambda each: (each.severity is not CRITICAL, each.since)):
            name = REMEDIES.get(finding.code)
            course = self._courses.get((finding.code, finding.session), _Course())
            if name is None or (name, finding.session) in taken:
                continue
            if course.since <= now < course.next_at:
                continue
            if self._is_crowded(name, now, sum(each.action.name == name for each in planned)):
                continue
            taken.add((name, finding.session))
            planned.append(Planned(ACTIONS[name], finding.code, finding.session, course.attempts + 1))
        return planned

    def began(self, planned: Planned, now: float) -> None:
        """The action is under way; it is not planned again before it has ended."""
        course = self._courses.setdefault((planned.code, planned.session), _Course())
        course.attempts += 1
        course.is_running = True
        self._began.setdefault(planned.action.name, []).append(now)

    def ended(self, planned: Planned, now: float, *, success: bool) -> bool:
        """The action has ended; returns whether it has now failed so often that a person is to be told."""
        course = self._courses.setdefault((planned.code, planned.session), _Course())
        course.is_running = False
        course.failures = 0 if success else course.failures + 1
        # also after a success: what did not end the finding may not end it the next time
        course.since = now
        course.next_at = now + min(LONGEST_PAUSE_S, PAUSE_S * 2 ** min(course.attempts - 1, 16))
        return course.failures == TRIES

    def doing(self, code: str, session: str, now: float) -> str:
        """What is done about a finding, for a person; '' for nothing.  Any thread may ask."""
        course = self._courses.get((code, session))
        if course is None:
            return ""
        words = ACTIONS[REMEDIES[code]].words
        if course.is_running:
            return f"attempt {course.attempts} to {words} is under way"
        left_s = max(0.0, course.next_at - now)
        attempts = "1 attempt" if course.attempts == 1 else f"{course.attempts} attempts"
        return f"{attempts} to {words} so far, the next in {left_s:.0f} s"

    def tell(self, findings: Findings, now: float) -> None:
        """Raise `recovery_failed` where an action has failed repeatedly; clear it where it no longer does."""
        for finding in findings.open():
            if finding.code == ESCALATION and not self._failed(finding.session):
                findings.cleared(ESCALATION, finding.session)
        for session in {session for _, session in self._courses}:
            if failed := self._failed(session):
                code, times = max(failed, key=lambda each: each[1])
                action = ACTIONS[REMEDIES[code]]
                findings.raised(
                    ESCALATION,
                    CRITICAL,
                    f"{FINDINGS[code].summary} To {action.words} has failed {times} times.",
                    FINDINGS[code].remedy,
                    now,
                    session,
                )

    def _failed(self, session: str) -> list[tuple[str, int]]:
        return [
            (code, course.failures)
            for (code, of), course in self._courses.items()
            if of == session and course.failures >= TRIES
        ]

    def _is_crowded(self, name: str, now: float, more: int) -> bool:
        # what lies in the future is of a clock that was ahead
        recent = [at for at in self._began.get(name, ()) if now - HOUR_S < at <= now]
        self._began[name] = recent
        return len(recent) + more >= AN_HOUR
