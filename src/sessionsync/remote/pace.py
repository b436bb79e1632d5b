"""When the next write may go: GitHub's rules for writers as arithmetic over the caller's clock.

One write a second; creations, which notify people, at 40 a minute and so many an hour. GitHub blocks at 80 a
minute and 500 an hour (its documentation), counting what the user does in the browser too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

HOUR_S = 3600.0
WRITE_SPACING_S = 1.0
"""GitHub's documentation: at least a second between requests that change something."""
CREATION_SPACING_S = 1.5
"""40 a minute."""


class Pace:
    """What this token has written lately.  Times are Unix seconds and may jump.

    `creations` are the stamps of the last hour, oldest first: keep them over a restart and hand them back.
    """

    def __init__(self, *, creations_per_hour: int, creations: Iterable[float] = ()) -> None:
        self.creations_per_hour = creations_per_hour
        self.creations = sorted(creations)
        self._written_at = -HOUR_S
        self._held_until = -HOUR_S
        self._seen_at = max(self.creations, default=-HOUR_S)

    def wait_s(self, now: float, *, creates: bool) -> float:
        """Seconds until a write may go, 0 when it may go now."""
        self._settle(now)
        free_at = max(self._held_until, self._written_at + WRITE_SPACING_S)
        if creates and self.creations:
            free_at = max(free_at, self.creations[-1] + CREATION_SPACING_S)
            if len(self.creations) >= self.creations_per_hour:
                free_at = max(free_at, self.creations[-self.creations_per_hour] + HOUR_S)
        return max(0.0, free_at - now)

    def wrote(self, now: float, *, creates: bool) -> None:
        """Count a write when it is sent, whatever becomes of it: one without an answer may count as well."""
        self._settle(now)
        self._written_at = now
        if creates:
            self.creations.append(now)

    def hold(self, now: float, until: float) -> None:
        """Write nothing before `until`: what `Limited.retry_at` asks for.  The latest such wish counts."""
        self._settle(now)
        self._held_until = max(self._held_until, until)

    def _settle(self, now: float) -> None:
        """Forget what is over an hour old; where the clock was set back, all stamps move with it."""
        back_s = self._seen_at - now
        if back_s > 0:
            self._written_at -= back_s
            self._held_until -= back_s
            self.creations = [stamp - back_s for stamp in self.creations]
        self._seen_at = now
        del self.creations[: bisect_right(self.creations, now - HOUR_S)]
