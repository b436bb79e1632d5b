"""When to try, or to ask, again.  Pure: the time and the dice are arguments.

An item has its own schedule.  Once GitHub does not answer at all, one probe for the whole daemon takes over.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST_S = 5.0
MOST_S = 300.0
PROBE_S = (30.0, 60.0)
ROUND_S = 60.0
"""Others are asked what they have changed at most once a minute at rest."""
# After a failure they are not asked again for so long.
TROUBLED_ROUND_S = 120.0
UNREACHABLE_AFTER = 3
"""Failures in a row; a probe counts."""


def backoff_s(failures: int, dice: random.Random) -> float:
    """Seconds to wait after so many failures in a row (from 1): full jitter under a ceiling that doubles.

    The ceiling goes from 5 s to 5 min; every wait below it is as likely, so that many machines that failed
    together do not come back together.
    """
    ceiling_s = min(MOST_S, FIRST_S * 2 ** min(max(failures, 1) - 1, 16))
    return dice.uniform(0.0, ceiling_s)


def next_attempt_at(
    now: float, failures: int, dice: random.Random, *, retry_at: float | None = None
) -> float:
    """When to try again, Unix seconds; what the server asked for (`retry_at`) wins while it lies ahead."""
    if retry_at is not None and retry_at > now:
        return retry_at
    return now + backoff_s(failures, dice)


@dataclass(slots=True)
class Rounds:
    """When others are asked again what they have changed: once a minute at rest, less often after a failure.

    A clock that is set back prolongs nothing.
    """

    next_at: float = 0.0
    asked_at: float = 0.0

    def begin(self, now: float) -> bool:
        """Whether it is time to ask; the next time is a minute later then."""
        if self.asked_at <= now < self.next_at:
            return False
        self.asked_at, self.next_at = now, now + ROUND_S
        return True

    def failed(self, now: float, retry_at: float | None) -> None:
        """Leave the others alone for a while, or until when they want to be asked again (`retry_at`)."""
        self.next_at = max(now + TROUBLED_ROUND_S, retry_at or 0.0)

    def soon(self) -> None:
        """Ask at the next occasion, whatever the schedule says."""
        self.next_at = 0.0

    def due_at(self, now: float) -> float:
        """When to ask next."""
        return max(now, min(self.next_at, now + TROUBLED_ROUND_S))


@dataclass(slots=True)
class Reach:
    """Whether the other side can be reached.

    `failures` in a row began at `since`; `failed_at` is when one was last seen, be it over; `probe_at` is
    when to probe, set while it is unreachable.
    """

    failures: int = 0
    since: float | None = None
    failed_at: float | None = None
    probe_at: float | None = None

    @property
    def unreachable(self) -> bool:
        """Three failures in a row: items wait for a probe that gets through."""
        return self.failures >= UNREACHABLE_AFTER

    def failed(self, now: float, dice: random.Random) -> bool:
        """Count an attempt or a probe without an answer; returns whether this one made it unreachable."""
        self.failures += 1
        self.since = now if self.since is None else min(self.since, now)
        self.failed_at = now
        if self.unreachable:
            self.probe_at = now + dice.uniform(*PROBE_S)
        return self.failures == UNREACHABLE_AFTER

    def answered(self) -> bool:
        """Count any answer, a refusal too; returns whether it had been unreachable, so all is due now."""
        was = self.unreachable
        self.failures, self.since, self.probe_at = 0, None, None
        return was

    def clock_set(self, by_s: float) -> None:
        """The clock was set by so many seconds: all times move along."""
        self.since, self.failed_at, self.probe_at = (
            None if at is None else at + by_s for at in (self.since, self.failed_at, self.probe_at)
        )

    def wait_s(self, now: float) -> float | None:
        """Seconds to the next probe, None while none is needed.  A clock set back does not prolong it."""
        if self.probe_at is None:
            return None
        self.probe_at = min(self.probe_at, now + PROBE_S[1])
        return max(0.0, self.probe_at - now)
