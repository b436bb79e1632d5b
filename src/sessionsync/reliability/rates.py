"""Rates and latencies over a window that slides, believed only when there is enough in it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

WINDOW_S = 900.0
LEAST = 10
"""Fewer requests than this make no rate: one error in two is not 50 %."""
CLEAR_AFTER = 10
QUIET_S = 30.0

# Slower than usual: half as much again, and by what a person would notice, in enough requests.
SLOWER, SLOWER_S, SLOWER_LEAST = 1.5, 0.25, 20
BASELINE_S = 86_400.0
KEPT = 2000


class _Window:
    """Numbers and when they came, the oldest first: 16 bytes each, since many are kept for long.

    The clock may be set back: what is then in the future leaves with the next one.
    """

    def __init__(self) -> None:
        self.times = array("d")
        self.values = array("d")

    def __len__(self) -> int:
        return len(self.times)

    def add(self, at: float, value: float) -> None:
        """Take in one."""
        ahead = bisect_right(self.times, at)
        del self.times[ahead:], self.values[ahead:]
        self.times.append(at)
        self.values.append(value)

    def leave(self, until: float) -> list[tuple[float, float]]:
        """Let go of those up to a time, and of the oldest of more than `KEPT`; returns all that went."""
        gone = max(bisect_right(self.times, until), len(self) - KEPT)
        left = list(zip(self.times[:gone], self.values[:gone], strict=True))
        del self.times[:gone], self.values[:gone]
        return left


class Rates:
    """Whether things go well: outcomes of the last `window_s` seconds, at most `KEPT`.

    The clock may be set back: what is then in the future counts as being of now.
    """

    def __init__(self, window_s: float = WINDOW_S, least: int = LEAST) -> None:
        self.window_s = window_s
        self.least = least
        self._successes = _Window()

    def add(self, at: float, *, success: bool) -> None:
        """Count one."""
        self._successes.add(at, success)
        self._forget(at)

    def error_rate(self, now: float) -> float | None:
        """The failed part of those in the window, 0..1; None where they are too few to tell."""
        self._forget(now)
        if len(self._successes) < self.least:
            return None
        return self._successes.values.count(0) / len(self._successes)

    def is_over(self, now: float) -> bool:
        """Whether trouble has ended, whatever the window still holds.

        The last ten succeeded, or at least one did and none has failed for 30 s.
        """
        self._forget(now)
        newest = self._successes.values[-CLEAR_AFTER:]
        if len(newest) == CLEAR_AFTER and all(newest):
            return True
        failed_at = self.failed_at
        if failed_at is None:
            return bool(self._successes)
        return now - failed_at >= QUIET_S and any(
            success and at >= failed_at
            for at, success in zip(self._successes.times, self._successes.values, strict=True)
        )

    @property
    def failed_at(self) -> float | None:
        """When the last one failed that is still counted; None where none did."""
        outcomes = zip(reversed(self._successes.times), reversed(self._successes.values), strict=True)
        return next((at for at, success in outcomes if not success), None)

    def failures_in_row(self) -> int:
        """How many have failed since the last success."""
        row = 0
        for success in reversed(self._successes.values):
            if success:
                break
            row += 1
        return row

    def _forget(self, now: float) -> None:
        self._successes.leave(now - self.window_s)


class Slower(NamedTuple):
    """The p95 of now and the one that is usual, in seconds."""

    p95_s: float
    usual_s: float


class Latencies:
    """How long things take: durations of the last `window_s` seconds, and what is usual here.

    Usual is the p95 over a day that ends where the window begins, each hour counting alike, so that an
    hour of many requests does not make itself the measure of the others.
    """

    def __init__(self, window_s: float = WINDOW_S, least: int = LEAST) -> None:
        self.window_s = window_s
        self.least = least
        self._recent = _Window()
        self._hours: deque[tuple[int, array[float]]] = deque(maxlen=int(BASELINE_S // 3600))

    def add(self, at: float, seconds: float) -> None:
        """Take in one duration."""
        self._recent.add(at, seconds)
        self._forget(at)

    def p95(self, now: float) -> float | None:
        """The p95 of the window in seconds; None where there are too few."""
        self._forget(now)
        return percentile(self._recent.values, 0.95) if len(self._recent) >= self.least else None

    def slowest(self, now: float) -> float:
        """The longest of the window in seconds; 0 where there is none."""
        self._forget(now)
        return max(self._recent.values, default=0.0)

    def usual(self, now: float) -> float | None:
        """The p95 that is usual; None before there are enough older ones."""
        self._forget(now)
        hours = [values for hour, values in self._hours if hour >= (now - BASELINE_S) // 3600 - 1]
        if sum(map(len, hours)) < SLOWER_LEAST:
            return None
        return percentile([percentile(values, 0.95) for values in hours if values], 0.5)

    def slower(self, now: float) -> Slower | None:
        """Whether the window is slower than usual by half and by 250 ms, in at least 20 requests."""
        recent, usual = self.p95(now), self.usual(now)
        if recent is None or usual is None or len(self._recent) < SLOWER_LEAST:
            return None
        is_slower = recent > SLOWER * usual and recent - usual >= SLOWER_S
        return Slower(recent, usual) if is_slower else None

    def _forget(self, now: float) -> None:
        for at, seconds in self._recent.leave(now - self.window_s):
            self._settle(at, seconds)

    def _settle(self, at: float, seconds: float) -> None:
        hour = int(at // 3600)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, array("d")))
        values = self._hours[-1][1]
        if len(values) < KEPT // 10:
            values.append(seconds)


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(part * len(ordered)) - 1)]
