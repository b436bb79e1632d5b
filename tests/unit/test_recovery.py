"""What is done by itself: what is due, not twice, not too often, and a person is told when it does not help."""

from __future__ import annotations

import pytest

from sessionsync.reliability.findings import COMPONENTS, CRITICAL, FINDINGS, WARNING, Finding, Findings
from sessionsync.reliability.recovery import (
    ACTIONS,
    AN_HOUR,
    ESCALATION,
    HOUR_S,
    LONGEST_PAUSE_S,
    PAUSE_S,
    REMEDIES,
    TRIES,
    Recovery,
)

NOW = 1_800_000_000.0
DAMAGED = Finding("copy_damaged", CRITICAL, "m", "h", NOW, "claude:s")
LATE = Finding("sync_late", WARNING, "m", "h", NOW - 60)


def tried(recovery: Recovery, found: list[Finding], now: float, *, success: bool) -> int:
    """Run what is due; returns how much it was."""
    planned = recovery.plan(found, now)
    for each in planned:
        recovery.began(each, now)
        recovery.ended(each, now, success=success)
    return len(planned)


def test_the_tables_fit() -> None:
    assert REMEDIES.keys() <= FINDINGS.keys()
    assert set(REMEDIES.values()) == ACTIONS.keys()
    assert {action.component for action in ACTIONS.values()} <= set(COMPONENTS)


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_each_finding_has_its_action(code: str) -> None:
    (planned,) = Recovery().plan([Finding(code, WARNING, "m", "h", NOW)], NOW)
    assert (planned.action.name, planned.attempt) == (REMEDIES[code], 1)


def test_what_is_a_persons_is_left_to_them() -> None:
    assert Recovery().plan([Finding("github_token_refused", CRITICAL, "m", "h", NOW)], NOW) == []


def test_the_worst_goes_first_and_an_action_once() -> None:
    drill = Finding("drill_failed", CRITICAL, "m", "h", NOW, "claude:s")
    other = Finding("drill_failed", CRITICAL, "m", "h", NOW, "claude:other")
    planned = Recovery().plan([LATE, DAMAGED, drill, other], NOW)

    assert [(each.action.name, each.session) for each in planned] == [
        ("heal", "claude:s"),
        ("heal", "claude:other"),
        ("push", ""),
    ]


def test_what_is_under_way_is_not_begun_again() -> None:
    recovery = Recovery()
    (planned,) = recovery.plan([DAMAGED], NOW)
    recovery.began(planned, NOW)

    assert recovery.plan([DAMAGED], NOW + 10 * LONGEST_PAUSE_S) == []
    recovery.ended(planned, NOW, success=True)
    assert recovery.plan([DAMAGED], NOW + PAUSE_S - 1) == []
    assert recovery.plan([DAMAGED], NOW + PAUSE_S)[0].attempt == 2


def test_a_failure_pauses_twice_as_long_each_time() -> None:
    recovery, now, pauses = Recovery(), NOW, list[float]()
    for _ in range(9):
        assert tried(recovery, [DAMAGED], now, success=False) == 1
        pause = PAUSE_S
        while not recovery.plan([DAMAGED], now + pause):
            pause *= 2
        assert not recovery.plan([DAMAGED], now + min(pause, LONGEST_PAUSE_S) - 1)
        pauses.append(min(pause, LONGEST_PAUSE_S))
        now += pause

    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_what_is_gone_begins_anew_when_it_comes_back() -> None:
    recovery = Recovery()
    tried(recovery, [DAMAGED], NOW, success=False)
    assert recovery.doing(DAMAGED.code, DAMAGED.session, NOW).startswith("1 attempt to replace")
    recovery.plan([], NOW + 1)

    assert recovery.plan([DAMAGED], NOW + 2)[0].attempt == 1


def test_so_many_an_hour_and_no_more() -> None:
    found = [
        Finding("copy_damaged", CRITICAL, "m", "h", NOW, f"claude:{number}") for number in range(AN_HOUR + 9)
    ]
    recovery = Recovery()

    assert tried(recovery, found, NOW, success=True) == AN_HOUR
    assert tried(recovery, found, NOW + HOUR_S - 1, success=True) == 0
    assert tried(recovery, found, NOW + HOUR_S, success=True) == AN_HOUR


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    recovery = Recovery()
    tried(recovery, [DAMAGED], NOW, success=False)

    assert len(recovery.plan([DAMAGED], NOW - 10 * HOUR_S)) == 1


def test_a_person_is_told_of_repeated_failure_until_it_helps() -> None:
    recovery, findings, now = Recovery(), Findings(), NOW
    for _ in range(TRIES):
        recovery.tell(findings, now)
        assert findings.open() == []
        tried(recovery, [DAMAGED], now, success=False)
        now += LONGEST_PAUSE_S

    recovery.tell(findings, now)
    (told,) = findings.open()
    assert (told.code, told.severity, told.session) == (ESCALATION, CRITICAL, "claude:s")
    assert "has failed 3 times" in told.message

    tried(recovery, [DAMAGED], now, success=True)
    recovery.tell(findings, now)
    assert findings.open() == []


def test_the_third_failure_in_a_row_is_the_one_that_escalates() -> None:
    recovery, now, escalated = Recovery(), NOW, list[bool]()
    for _ in range(TRIES + 1):
        (planned,) = recovery.plan([DAMAGED], now)
        recovery.began(planned, now)
        escalated.append(recovery.ended(planned, now, success=False))
        now += LONGEST_PAUSE_S

    assert escalated == [False, False, True, False]


def test_a_finding_that_is_gone_takes_its_escalation_with_it() -> None:
    recovery, findings, now = Recovery(), Findings(), NOW
    for _ in range(TRIES):
        tried(recovery, [DAMAGED], now, success=False)
        now += LONGEST_PAUSE_S
    recovery.tell(findings, now)
    recovery.plan([], now)
    recovery.tell(findings, now)

    assert findings.open() == []
