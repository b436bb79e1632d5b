"""How long until a number that rises crosses its threshold, said only where the rise is one.

Samples are kept as medians of five minutes, so that a slow request now and then is no trend, and a line is
laid through them with the Theil-Sen estimator (the median of the slopes between all pairs, H. Theil 1950),
which bears 29 % of wild points.  What rises in both halves of what is looked at and is described better by a
line than by one step is a ramp; it is told of when three looks in a row forecast the crossing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

Point = tuple[float, float]
"""When (Unix seconds), and how much."""

BIN_S = 300.0
# (points, bins a point): a fast ramp shows in the short windows, a slow one among noise in the long ones.
WINDOWS = ((8, 1), (12, 1), (24, 1), (12, 3), (12, 5))
LEAST_POINTS = 7
HORIZON_S = 4200.0
# Each half must rise with at least this part of the whole's slope: a step rises in neither.
LEAST_HALF = 0.2
# A step must describe the points worse than this part of the line's own error.
STEP_MARGIN = 0.9
LOOKS = 3


class Forecast(NamedTuple):
    """Where the line is at the newest point, how much it rises a second, and the seconds to the threshold."""

    level: float
    slope: float
    left_s: float


def theil_sen(points: Sequence[Point]) -> float:
    """The median of the slopes between all pairs of points, per second; 0 for fewer than two."""
    slopes = [(v - u) / (t - s) for (s, u), (t, v) in combinations(points, 2) if t > s]
    return median(slopes) if slopes else 0.0


def forecast(points: Sequence[Point], threshold: float, horizon_s: float) -> Forecast | None:
    """When a ramp through these points reaches the threshold; None where there is none, or only later."""
    if len(points) < LEAST_POINTS:
        return None
    values = [value for _, value in points]
    now = points[-1][0]
    slope = theil_sen(points)
    if slope <= 0:
        return None
    height = median(value - slope * at for at, value in points)
    level = height + slope * now
    if level >= threshold or level + slope * horizon_s < threshold:
        return None
    middle = len(points) // 2
    if min(theil_sen(points[:middle]), theil_sen(points[middle:])) < LEAST_HALF * slope:
        return None
    off_line = sum(abs(value - height - slope * at) for at, value in points)
    if _off_best_step(values) < STEP_MARGIN * off_line:
        return None
    return Forecast(level, slope, (threshold - level) / slope)


def _off_best_step(values: Sequence[float]) -> float:
    """The error of the best description as two levels, one after the other."""
    return min(_off_median(values[:cut]) + _off_median(values[cut:]) for cut in range(1, len(values)))


def _off_median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return sum(ordered[len(ordered) - half :]) - sum(ordered[:half])


class Trend:
    """The newest five hours of one number, and whether it is on its way to `threshold`."""

    def __init__(self, threshold: float, horizon_s: float = HORIZON_S) -> None:
        self.threshold = threshold
        self.horizon_s = horizon_s
        self.warning: Forecast | None = None
        """What is forecast; None while nothing is."""
        self.sampled_at = 0.0
        """When the newest sample was taken (Unix seconds)."""
        self._bins: deque[tuple[int, float]] = deque(maxlen=max(count * of for count, of in WINDOWS))
        self._number = 0
        self._samples: list[float] = []
        self._for = self._against = 0

    def add(self, at: float, value: float) -> None:
        """Take in a sample; with the first one of a new five minutes the last five are judged."""
        number = int(at // BIN_S)
        if number != self._number and self._samples:
            self._close()
            if number < self._number:
                self._bins.clear()  # the clock was set back: what is kept has no place any more
        self._number = number
        self.sampled_at = at
        self._samples.append(value)

    def _close(self) -> None:
        self._bins.append((self._number, median(self._samples)))
        self._samples = []
        found = self._look()
        self._for, self._against = (self._for + 1, 0) if found else (0, self._against + 1)
        if self._for >= LOOKS:
            self.warning = found
        elif self._against >= LOOKS:
            self.warning = None

    def _look(self) -> Forecast | None:
        newest = self._bins[-1][0]
        for count, of in WINDOWS:
            values = [value for number, value in self._bins if newest - number < count * of]
            rise = (max(values) - min(values)) / (LEAST_POINTS * of * BIN_S)
            if max(values) + rise * self.horizon_s < self.threshold:
                continue  # cheap, and true of nearly all that is looked at
            points = grouped(self._bins, newest, count, of)
            if (found := forecast(points, self.threshold, self.horizon_s)) is not None:
                return found
        return None


def grouped(bins: Iterable[tuple[int, float]], newest: int, count: int, of: int) -> list[Point]:
    """The newest `count` points, each the median of `of` bins; those without a sample are left out."""
    groups: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for number, value in bins:
        back = (newest - number) // of
        if 0 <= back < count:
            groups[count - 1 - back].append((number, value))
    return [
        ((sum(n for n, _ in each) / len(each) + 0.5) * BIN_S, median(v for _, v in each))
        for each in groups
        if each
    ]


class Growth:
    """A number that is kept for long and at a slow pace, such as bytes used: when it reaches a limit.

    A sample that comes sooner than `every_s` after the last one is left out; `kept` of them are kept.
    """

    def __init__(self, every_s: float, kept: int = 36) -> None:
        self.every_s = every_s
        self._points: deque[Point] = deque(maxlen=kept)

    def add(self, at: float, value: float) -> None:
        """Take in a sample."""
        if self._points and at < self._points[-1][0]:
            self._points.clear()
        if not self._points or at - self._points[-1][0] >= self.every_s:
            self._points.append((at, value))

    def left_s(self, limit: float) -> float | None:
        """Seconds from the newest sample until `limit` at this pace; None where it does not grow so far."""
        if len(self._points) < LEAST_POINTS or (slope := theil_sen(self._points)) <= 0:
            return None
        return max(0.0, (limit - self._points[-1][1]) / slope)

    def restart(self) -> None:
        """Forget what was: a new window of a limit begins."""
        self._points.clear()
