"""What is said of the exchange with GitHub ends when it has ended, also where nobody talks to it any more."""

from __future__ import annotations

import pytest

from sessiond.traffic import Traffic
from sessionsync.reliability.findings import CRITICAL, Findings, Severity
from sessionsync.reliability.indicators import settle
from tests.rig import START

HOUR_S = 3600.0


class Night:
    """Traffic and the findings of it, over a time that the test moves."""

    def __init__(self) -> None:
        self.now = START
        self.traffic = Traffic(lambda: self.now)
        self.findings = Findings()
        self.waits = True

    def told(self, times: int, event: str, **fields: object) -> None:
        for _ in range(times):
            self.traffic.on_event(event, fields)

    def asked(self, times: int, seconds: float) -> None:
        self.told(times, "github_requested", outcome="success", seconds=seconds)

    def codes(self, later: float = 0.0) -> dict[str, Severity]:
        self.now += later
        settle(self.findings, self.traffic.read(None, self.now, waits=self.waits), self.now)
        return {found.code: found.severity for found in self.findings.open()}


@pytest.fixture
def night() -> Night:
    return Night()


def test_slowness_is_over_when_the_few_that_follow_are_fast(night: Night) -> None:
    night.asked(12, 20.0)
    assert night.codes() == {"github_latency_high": CRITICAL}
    night.codes(600)
    night.asked(1, 0.1)
    assert night.codes() == {"github_latency_high": CRITICAL}  # most of the window is slow
    night.codes(HOUR_S)
    night.asked(1, 20.0)
    night.asked(1, 0.1)
    assert night.codes() == {}


def test_few_slow_ones_neither_raise_nor_clear(night: Night) -> None:
    night.asked(2, 20.0)
    assert night.codes() == {}
    night.asked(10, 20.0)
    night.codes()
    night.codes(899)
    night.asked(1, 20.0)
    assert night.codes(1) == {"github_latency_high": CRITICAL}


def test_nothing_is_slow_where_nothing_is_asked(night: Night) -> None:
    night.asked(12, 20.0)
    night.codes()
    assert night.codes(HOUR_S) == {}


def test_conflicts_are_no_longer_many_when_there_is_none(night: Night) -> None:
    night.told(19, "push_completed", session="claude:s", parts=1)
    night.told(2, "conflict_opened", session="claude:s")
    assert night.codes() == {"sync_conflicts_high": CRITICAL}
    assert "sync_conflicts_high" in night.codes(HOUR_S - 60)
    assert night.codes(60) == {}


def test_a_trend_without_new_samples_is_none(night: Night) -> None:
    seen = set[str]()
    minutes = iter(range(220))
    while "github_latency_rising" not in seen:
        night.asked(4, 0.5 + 0.02 * next(minutes))
        seen = set(night.codes(60))
    assert "github_latency_rising" not in night.codes(2 * HOUR_S)


def test_nothing_fails_where_nothing_waits(night: Night) -> None:
    night.told(3, "push_failed", session="claude:s", code="server_failed", reason="r")
    assert set(night.codes()) == {"sync_failing"}
    night.waits = False
    assert night.codes(60) == {}
