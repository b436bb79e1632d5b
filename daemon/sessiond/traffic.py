"""How the exchange with GitHub goes: what its requests and synchronisations tell, as readings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sessionsync.push import Push
from sessionsync.reliability.indicators import (
    BY_CODE,
    Reading,
    Readings,
    of_latency,
    of_limit,
    of_rate,
    of_slowness,
    of_trend,
)
from sessionsync.reliability.rates import Latencies, Rates
from sessionsync.reliability.trend import Growth, Trend

# Conflicts are rare: they are counted over an hour, and among as many synchronisations as the alert wants.
CONFLICTS_S, LEAST_SYNCS = 3600.0, 20
# How fast a rate limit is used up is looked at this often.
LIMIT_S = 30.0
# Reads and writes may have windows of their own, that end within moments of each other; a new one ends later.
WINDOW_S = 120.0
# An answer that says that GitHub works, though not that it liked the question.
ANSWERED = ("success", "client_error")


class Traffic:
    """Hears events in any thread; the rest belongs to the health loop."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heard: deque[tuple[float, str, dict[str, Any]]] = deque(maxlen=10_000)
        self._requests = Rates()
        self._syncs = Rates(CONFLICTS_S, LEAST_SYNCS)
        self._latencies = Latencies()
        self._slower = Trend(_limit("github_latency_high"))
        self._failing = Trend(_limit("github_errors_high"))
        self._used = Growth(LIMIT_S)
        self._reset_at = 0.0
        self._failures = 0
        self._parts: dict[str, float] = {}

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take in what happened."""
        if event in _HEARD:
            self._heard.append((self._now(), event, dict(fields)))

    def take(self, push: Push | None, now: float) -> None:
        """Count what was heard; see how fast the rate limit goes."""
        while self._heard:
            self._count(*self._heard.popleft())
        if push is None or (limit := push.github.limits.get("core")) is None:
            return
        if limit.reset_at > self._reset_at + WINDOW_S:
            self._reset_at = limit.reset_at
            self._used.restart()
        self._used.add(now, limit.limit - limit.remaining)

    def read(self, push: Push | None, now: float, *, waits: bool = True) -> Readings:
        """What it amounts to; with nothing that `waits` for GitHub, what failed is not tried any more."""
        self.take(push, now)
        if (p95 := self._latencies.p95(now)) is not None:
            self._slower.add(now, p95)
        if (rate := self._requests.error_rate(now)) is not None:
            self._failing.add(now, rate)
        return {
            "github_latency_high": of_latency(self._latencies, now),
            "github_slower": of_slowness(self._latencies, now),
            "github_latency_rising": of_trend(self._slower, now),
            "github_errors_high": of_rate(self._requests, now),
            "github_errors_rising": of_trend(self._failing, now),
            "sync_failing": [Reading(self._failures)] if waits else (),
            "sync_conflicts_high": self._of_conflicts(now),
            **self._of_limit(push, now),
            **_of_token(push, now),
        }

    def comments(self) -> dict[str, float]:
        """By session how full its one comment is, as a part of what a comment holds."""
        return self._parts

    def _count(self, at: float, event: str, fields: dict[str, Any]) -> None:
        session = str(fields.get("session", ""))
        match event:
            case "github_requested":
                self._requests.add(at, success=fields.get("outcome") in ANSWERED)
                if fields.get("outcome") in ANSWERED:
                    self._latencies.add(at, float(fields.get("seconds", 0.0)))
            case "push_completed":
                self._failures = 0
                self._syncs.add(at, success=True)
                self._parts.pop(session, None)
                if fields.get("parts") == 1:
                    self._parts[session] = float(fields.get("filled", 0.0))
            case "push_unchanged":
                self._failures = 0
            case "version_kept":
                self._syncs.add(at, success=True)
            case "conflict_opened":
                self._syncs.add(at, success=False)
            case "push_failed":
                self._failures += 1

    def _of_conflicts(self, now: float) -> Sequence[Reading] | None:
        """Their rate; nothing where there is none, unknown among too few."""
        if (rate := self._syncs.error_rate(now)) is not None:
            return [Reading(rate)]
        return () if self._syncs.failed_at is None else None

    def _of_limit(self, push: Push | None, now: float) -> Readings:
        limit = push.github.limits.get("core") if push is not None else None
        if limit is None or not limit.limit or limit.reset_at <= now:
            return {"github_limit_low": (), "github_limit_short": ()}
        return {
            "github_limit_low": [Reading(limit.remaining / limit.limit)],
            "github_limit_short": of_limit(self._used.left_s(limit.limit), now, limit.reset_at),
        }


def _of_token(push: Push | None, now: float) -> Readings:
    """When the token ends, and how far this machine's clock is from GitHub's."""
    if push is None:
        return {"token_expiring": (), "clock_skewed": ()}
    ends, skew = push.github.token_expires_at, push.github.skew_s
    return {
        "token_expiring": () if ends is None else [Reading(ends - now)],
        "clock_skewed": () if skew is None else [Reading(abs(skew))],
    }


def _limit(code: str) -> float:
    """The threshold that a trend is on its way to."""
    limit = BY_CODE[code].warning
    assert limit is not None  # noqa: S101 - in the table
    return limit


_HEARD = (
    *("github_requested", "push_completed", "push_unchanged", "push_failed"),
    *("version_kept", "conflict_opened"),
)
