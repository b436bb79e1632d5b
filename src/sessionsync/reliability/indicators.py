"""The indicators that are watched: one table of thresholds, and how readings of them become findings.

Who reads gives `settle` what it has read, by code.  An indicator that it could not read stays as it is;
one with nothing to tell is cleared.  Divergence between here and GitHub is counted in bytes and has no
threshold: while something waits there always is some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sessionsync.reliability.findings import CRITICAL, FINDINGS, WARNING, Findings, Severity
from sessionsync.reliability.rates import SLOWER, Latencies, Rates
from sessionsync.reliability.trend import HORIZON_S, Trend

DAY_S = 86_400.0


class Unit(NamedTuple):
    """What an indicator is counted in, and how a person reads it."""

    name: str
    said: Callable[[float], str]


def _seconds(value: float) -> str:
    for size, unit in ((DAY_S, "days"), (3600.0, "h"), (60.0, "min")):
        if abs(value) >= 2 * size:
            return f"{value / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value:.1f}".removesuffix(".0") + " s"


def _bytes(value: float) -> str:
    for size, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


SECONDS = Unit("seconds", _seconds)
RATIO = Unit("ratio", lambda value: f"{100 * value:.1f}".removesuffix(".0") + " %")
COUNT = Unit("count", lambda value: f"{value:.0f}")
TIMES = Unit("times", lambda value: f"{value:.1f} times")
BYTES = Unit("bytes", _bytes)


class Indicator(NamedTuple):
    """One number that is watched, under the code of the finding that it opens.

    `words` tell of it, with `{value}` and, where the reading names what it is of, `{of}`.  None is no
    threshold.  A number is too high above a threshold; one that `falls` is too low below `warning`, and
    critical at `critical` and below.
    """

    code: str
    group: str
    words: str
    unit: Unit
    warning: float | None
    critical: float | None
    falls: bool = False

    def severity(self, value: float) -> Severity | None:
        """How bad a value is; None where it is not."""
        if self.critical is not None and (value <= self.critical if self.falls else value > self.critical):
            return CRITICAL
        if self.warning is not None and (value < self.warning if self.falls else value > self.warning):
            return WARNING
        return None


class Reading(NamedTuple):
    """What an indicator stands at; `session` where it is of one, `of` names it for a person.

    `at` is when the last thing happened that made it so (Unix seconds), None where it is so now.
    """

    value: float
    session: str = ""
    of: str = ""
    at: float | None = None


INDICATORS: tuple[Indicator, ...] = (
    # GitHub's API
    Indicator("github_latency_high", "api", "GitHub's p95 latency is {value}.", SECONDS, 5, 10),
    Indicator("github_slower", "api", "GitHub takes {value} as long as is usual here.", TIMES, SLOWER, None),
    Indicator(
        "github_latency_rising",
        "api",
        "GitHub's latency rises, and at this pace is too high in {value}.",
        SECONDS,
        2 * HORIZON_S,
        None,
        falls=True,
    ),
    Indicator("github_errors_high", "api", "{value} of the requests to GitHub fail.", RATIO, 0.05, 0.10),
    Indicator(
        "github_errors_rising",
        "api",
        "GitHub's error rate rises, and at this pace is too high in {value}.",
        SECONDS,
        2 * HORIZON_S,
        None,
        falls=True,
    ),
    Indicator(
        "github_limit_low", "api", "{value} of GitHub's rate limit is left.", RATIO, 0.20, 0, falls=True
    ),
    Indicator(
        "github_limit_short",
        "api",
        "At this pace GitHub's rate limit is used up {value} before its reset.",
        SECONDS,
        0,
        None,
    ),
    Indicator(
        "token_expiring", "api", "The token expires in {value}.", SECONDS, 7 * DAY_S, DAY_S, falls=True
    ),
    # integrity of sessions
    Indicator("copy_damaged", "integrity", "{value} pieces of a copy are damaged: {of}.", COUNT, None, 0),
    Indicator("artifact_missing", "integrity", "{value} files cannot be read: {of}.", COUNT, None, 0),
    Indicator("reference_broken", "integrity", "{value} references lead nowhere: {of}.", COUNT, None, 0),
    Indicator("data_lost", "integrity", "{value} that were captured are in no copy: {of}.", BYTES, None, 0),
    # synchronisation
    Indicator("sync_late", "sync", "The oldest checkpoint has waited {value} for GitHub.", SECONDS, 300, 900),
    Indicator("sync_failing", "sync", "{value} attempts in a row have failed.", COUNT, 2, None),
    Indicator(
        "sync_conflicts_high", "sync", "{value} of the synchronisations end in a conflict.", RATIO, 0.01, 0.05
    ),
    Indicator("near_limit", "sync", "{of} is at {value} of its limit.", RATIO, 0.9, None),
    # this machine; a twentieth of a disk is what file systems keep back for good reasons
    Indicator("disk_low", "local", "{value} of the disk of {of} is left.", RATIO, 0.10, 0.05, falls=True),
    Indicator(
        "disk_filling", "local", "The disk of {of} is full in {value}.", SECONDS, 4 * DAY_S, None, falls=True
    ),
    Indicator("watches_low", "local", "{value} of this user's inotify watches are in use.", RATIO, 0.8, None),
    Indicator("clock_skewed", "local", "This machine's clock is {value} off GitHub's.", SECONDS, 60, None),
    Indicator("index_large", "local", "The index has {value} the size of what it indexes.", TIMES, 1, None),
    Indicator("vault_large", "local", "The vault has {value} the size of the sessions.", TIMES, 3, None),
    Indicator(
        "purge_near", "local", "It is deleted by its agent in {value}.", SECONDS, 3 * DAY_S, DAY_S, falls=True
    ),
    # liveness; a loop's own waits end after 20 s
    Indicator(
        "agent_silent", "live", "Its agent runs, but it has not grown for {value}.", SECONDS, 1800, None
    ),
    Indicator("loop_stuck", "live", "The {of} loop has made no progress for {value}.", SECONDS, None, 120),
    Indicator(
        "restore_unproven", "live", "A restore was last proven {value} ago.", SECONDS, 3 * DAY_S, 14 * DAY_S
    ),
    Indicator("quality_dropped", "live", "Its quality score has dropped by {value}.", RATIO, 0.20, None),
)
BY_CODE = {indicator.code: indicator for indicator in INDICATORS}
GROUPS = tuple(dict.fromkeys(indicator.group for indicator in INDICATORS))

# By code: what was read, nothing for all is well; None where it cannot be told.
Readings = Mapping[str, Sequence[Reading] | None]


def settle(findings: Findings, readings: Readings, now: float) -> None:
    """Raise a finding for each reading past a threshold, and clear those of the same codes that are not."""
    for code, read in readings.items():
        if read is None:
            continue
        indicator, kind = BY_CODE[code], FINDINGS[code]
        worst: dict[str, tuple[Severity, Reading]] = {}
        for reading in read:
            severity = indicator.severity(reading.value)
            known = worst.get(reading.session)
            if severity is not None and (known is None or _is_worse(indicator, reading, known[1])):
                worst[reading.session] = severity, reading
        for session, (severity, reading) in worst.items():
            said = indicator.words.format(value=indicator.unit.said(reading.value), of=reading.of)
            findings.raised(code, severity, said, kind.remedy, now, session, seen_at=reading.at)
        for finding in findings.open():
            if finding.code == code and finding.session not in worst:
                findings.cleared(code, finding.session)


def _is_worse(indicator: Indicator, one: Reading, other: Reading) -> bool:
    return one.value < other.value if indicator.falls else one.value > other.value


def of_rate(rates: Rates, now: float) -> Sequence[Reading] | None:
    """What a rate reads: nothing once trouble has ended, unknown where there are too few."""
    if rates.is_over(now):
        return ()
    rate = rates.error_rate(now)
    return None if rate is None else (Reading(rate, at=rates.failed_at),)


def of_latency(latencies: Latencies, now: float) -> Sequence[Reading] | None:
    """What the p95 reads; of too few nothing where all are fast, and else unknown."""
    if (p95 := latencies.p95(now)) is not None:
        return (Reading(p95),)
    is_fast = BY_CODE["github_latency_high"].severity(latencies.slowest(now)) is None
    return () if is_fast else None


def of_slowness(latencies: Latencies, now: float) -> Sequence[Reading]:
    """How many times as long as usual it takes, where that is too long."""
    slower = latencies.slower(now)
    return () if slower is None else (Reading(slower.p95_s / slower.usual_s),)


def of_trend(trend: Trend, now: float) -> Sequence[Reading]:
    """The seconds until a threshold, where it is forecast to be reached, and not by what is long ago."""
    if trend.warning is None or now - trend.sampled_at > trend.horizon_s:
        return ()
    return (Reading(trend.warning.left_s),)


def of_limit(used_up_s: float | None, now: float, reset_at: float) -> Sequence[Reading]:
    """By how many seconds a rate limit ends before its reset, with what `Growth.left_s` says of it."""
    short_s = 0.0 if used_up_s is None else reset_at - (now + used_up_s)
    return (Reading(short_s),) if short_s > 0 else ()
