"""Every threshold, from below and from above: what raises a finding, and what clears it."""

from __future__ import annotations

import math

import pytest

from sessionsync.reliability.findings import CRITICAL, FINDINGS, WARNING, Findings, Severity
from sessionsync.reliability.indicators import (
    BY_CODE,
    DAY_S,
    INDICATORS,
    Indicator,
    Reading,
    of_latency,
    of_limit,
    of_rate,
    of_slowness,
    of_trend,
    settle,
)
from sessionsync.reliability.rates import Latencies, Rates
from sessionsync.reliability.trend import Growth, Trend
from tests.conftest import ROOT

NOW = 1_800_000_000.0
PAST = {indicator.code: indicator for indicator in INDICATORS}


def inside(indicator: Indicator, limit: float) -> float:
    """The last value that is not past a limit."""
    if indicator.falls and limit == indicator.critical:
        return math.nextafter(limit, math.inf)
    return limit


def past(indicator: Indicator, limit: float) -> float:
    """The first value that is."""
    if indicator.falls and limit == indicator.critical:
        return limit
    return math.nextafter(limit, -math.inf if indicator.falls else math.inf)


def found(findings: Findings) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in findings.open()}


@pytest.mark.parametrize("indicator", INDICATORS, ids=lambda indicator: indicator.code)
def test_a_threshold_raises_and_clears(indicator: Indicator) -> None:
    findings, code = Findings(), indicator.code

    for limit, severity in ((indicator.warning, WARNING), (indicator.critical, CRITICAL)):
        if limit is None:
            continue
        settle(findings, {code: [Reading(past(indicator, limit), "", "x")]}, NOW)
        assert found(findings) == {code: severity}
        (finding,) = findings.open()
        assert finding.message.endswith(".")
        assert "{" not in finding.message
        assert finding.hint == FINDINGS[code].remedy
        settle(findings, {code: [Reading(inside(indicator, limit), "", "x")]}, NOW)
        assert found(findings).get(code) in ({WARNING, None} if severity is CRITICAL else {None})
        settle(findings, {code: []}, NOW)
        assert found(findings) == {}


@pytest.mark.parametrize(
    ("code", "warning", "critical"),
    [
        ("github_latency_high", 5, 10),
        ("github_errors_high", 0.05, 0.10),
        ("github_limit_low", 0.20, 0),
        ("sync_late", 300, 900),
        ("sync_conflicts_high", 0.01, 0.05),
        ("copy_damaged", None, 0),
        ("artifact_missing", None, 0),
        ("reference_broken", None, 0),
    ],
)
def test_the_thresholds_are_those_that_are_promised(
    code: str, warning: float | None, critical: float | None
) -> None:
    assert (BY_CODE[code].warning, BY_CODE[code].critical) == (warning, critical)


def test_what_cannot_be_read_stays_as_it_is() -> None:
    findings = Findings()
    settle(findings, {"sync_late": [Reading(400)]}, NOW)
    settle(findings, {"sync_late": None}, NOW + 60)
    settle(findings, {}, NOW + 60)

    assert found(findings) == {"sync_late": WARNING}


def test_each_session_has_its_own_and_the_worst_reading_of_one_counts() -> None:
    findings = Findings()
    settle(
        findings,
        {"purge_near": [Reading(2 * DAY_S, "a"), Reading(DAY_S / 2, "b"), Reading(2 * DAY_S, "b")]},
        NOW,
    )
    assert {each.session: each.severity for each in findings.open()} == {"a": WARNING, "b": CRITICAL}

    settle(findings, {"purge_near": [Reading(2 * DAY_S, "a")]}, NOW + 60)
    assert [(each.session, each.since) for each in findings.open()] == [("a", NOW)]


def test_messages_are_those_of_a_person() -> None:
    findings = Findings()
    settle(
        findings,
        {
            "sync_late": [Reading(930)],
            "disk_low": [Reading(0.0725, of="the vault")],
            "data_lost": [Reading(3 << 20, of="claude:s")],
            "restore_unproven": [Reading(4.5 * DAY_S)],
            "github_latency_high": [Reading(6.25)],
        },
        NOW,
    )
    assert {each.message for each in findings.open()} == {
        "The oldest checkpoint has waited 15.5 min for GitHub.",
        "7.2 % of the disk of the vault is left.",
        "3.0 MB that were captured are in no copy: claude:s.",
        "A restore was last proven 4.5 days ago.",
        "GitHub's p95 latency is 6.2 s.",
    }


def test_an_error_rate_is_raised_by_enough_and_cleared_by_ten_good_ones() -> None:
    findings, rates = Findings(), Rates()
    for number in range(9):
        rates.add(NOW, success=number % 2 == 0)
    settle(findings, {"github_errors_high": of_rate(rates, NOW)}, NOW)
    assert found(findings) == {}, "too few"

    rates.add(NOW, success=False)
    settle(findings, {"github_errors_high": of_rate(rates, NOW)}, NOW)
    assert found(findings) == {"github_errors_high": CRITICAL}

    for _ in range(9):
        rates.add(NOW + 1, success=True)
    settle(findings, {"github_errors_high": of_rate(rates, NOW + 1)}, NOW + 1)
    assert found(findings) == {"github_errors_high": CRITICAL}
    rates.add(NOW + 1, success=True)
    settle(findings, {"github_errors_high": of_rate(rates, NOW + 1)}, NOW + 1)
    assert found(findings) == {}


def test_latency_is_told_when_there_is_enough_of_it() -> None:
    latencies = Latencies()
    for _ in range(9):
        latencies.add(NOW, 20.0)
    assert of_latency(latencies, NOW) is None
    latencies.add(NOW, 20.0)
    assert of_latency(latencies, NOW) == (Reading(20.0),)
    assert of_slowness(latencies, NOW) == ()


def test_slowness_is_told_against_what_is_usual() -> None:
    findings, latencies = Findings(), Latencies()
    for minute in range(120):
        latencies.add(NOW + 60 * minute, 0.2)
    now = NOW + 3 * 3600
    for _ in range(20):
        latencies.add(now, 1.0)
    settle(findings, {"github_slower": of_slowness(latencies, now)}, now)

    assert [each.message for each in findings.open()] == ["GitHub takes 5.0 times as long as is usual here."]
    settle(findings, {"github_slower": of_slowness(latencies, now + 3600)}, now)
    assert found(findings) == {}


def test_a_trend_is_told_while_it_lasts() -> None:
    findings, trend = Findings(), Trend(5.0)
    for minute in range(60):
        trend.add(NOW + 60 * minute, 1.0 + 0.06 * minute)
    settle(findings, {"github_latency_rising": of_trend(trend, trend.sampled_at)}, NOW)
    assert found(findings) == {"github_latency_rising": WARNING}

    for minute in range(60, 120):
        trend.add(NOW + 60 * minute, 1.0)
    settle(findings, {"github_latency_rising": of_trend(trend, trend.sampled_at)}, NOW)
    assert found(findings) == {}


def test_a_disk_that_fills_is_told_days_before() -> None:
    findings, growth = Findings(), Growth(600.0)
    for hour in range(12):
        growth.add(NOW + 3600 * hour, 1e9 * hour)
    left_s = growth.left_s(60e9)
    assert left_s is not None
    assert left_s == pytest.approx(49 * 3600)
    settle(findings, {"disk_filling": [Reading(left_s, of="the vault")]}, NOW)
    assert found(findings) == {"disk_filling": WARNING}

    for hour in range(12, 60):
        growth.add(NOW + 3600 * hour, 11e9)
    assert growth.left_s(60e9) is None


def test_growth_is_not_told_of_a_few_samples_and_not_of_a_clock_that_is_set_back() -> None:
    growth = Growth(600.0)
    for number in range(100):
        growth.add(NOW + 60 * number, float(number))
    assert growth.left_s(1000.0) is not None
    assert len(growth._points) == 10, "one in ten minutes"
    growth.add(NOW - 3600, 1.0)
    assert growth.left_s(1000.0) is None
    growth.restart()
    assert growth.left_s(1000.0) is None


def test_a_rate_limit_that_ends_before_its_reset_is_told() -> None:
    assert of_limit(None, NOW, NOW + 600) == ()
    assert of_limit(700.0, NOW, NOW + 600) == ()
    assert of_limit(200.0, NOW, NOW + 600) == (Reading(400.0),)


def test_a_rate_was_last_so_when_something_last_failed() -> None:
    findings, rates = Findings(), Rates()
    for at in range(12):
        rates.add(NOW + at, success=at not in {3, 5})
    settle(findings, {"github_errors_high": of_rate(rates, NOW + 20)}, NOW + 20)
    (found,) = findings.open()
    assert (found.since, found.seen_at) == (NOW + 20, NOW + 5)


def test_the_thresholds_are_written_down_as_they_are() -> None:
    def said(indicator: Indicator, limit: float | None) -> str:
        if limit is None:
            return "–"  # noqa: RUF001 - as it is written there
        sign = "≤" if indicator.falls and limit == indicator.critical else "<" if indicator.falls else ">"
        return f"{sign} {indicator.unit.said(limit)}"

    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for indicator in INDICATORS:
        row = f"| `{indicator.code}` | {said(indicator, indicator.warning)} | {said(indicator, indicator.critical)} |"
        assert row in page
