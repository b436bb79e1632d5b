"""How reliable it was: the score and its companions, from sums that the ledger keeps.  Pure arithmetic.

    score = uptime x integrity ratio x sync success ratio / total time

Uptime is time up or degraded; total time is that and time down.  Asleep, switched off and cleanly stopped
is neither.  A ratio without events is 1.  An example: of 24 hours the machine slept 8 and the daemon was down
for 4 minutes 48 seconds; 1 of 2,000 integrity checks failed, and 3 of 400 checkpoints came late.  Then the
score is (57,312 / 57,600) x (1,999 / 2,000) x (397 / 400) = 0.9870.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

UP, DEGRADED, DOWN, SUSPENDED, OFF = STATES = ("up", "degraded", "down", "suspended", "off")
WINDOWS = {"1h": 3600.0, "24h": 86_400.0, "30d": 2_592_000.0}

# The targets that are held to: score, mean time to recovery, recovery success, data loss.
SCORE_TARGET, RECOVERY_TARGET_S, SUCCESS_TARGET, LOSS_TARGET = 0.995, 300.0, 0.95, 0.0001

TALLIES = (
    *("integrity_ok", "integrity_bad", "sync_success", "sync_failure"),
    *("captured_bytes", "lost_bytes"),
)


@dataclass(frozen=True, slots=True)
class Sums:
    """What happened within a window.

    `seconds` by state; `tallies` by source ('' where it belongs to none), then by one of `TALLIES`; of
    incidents that ended how many and how long they took, in seconds; of recoveries how many went well.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    tallies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    incidents: int = 0
    recovery_s: float = 0.0
    recovered: int = 0
    unrecovered: int = 0

    def of(self, tally: str, source: str | None = None) -> float:
        """The sum of one tally, of one source or of all."""
        chosen = self.tallies.values() if source is None else [self.tallies.get(source, {})]
        return sum(each.get(tally, 0.0) for each in chosen)

    def plus(self, unwritten: Sums) -> Sums:
        """These and what has happened since: states and tallies, which are written once in a while."""
        tallies = {
            source: _added(self.tallies.get(source, {}), unwritten.tallies.get(source, {}))
            for source in self.tallies.keys() | unwritten.tallies.keys()
        }
        return replace(self, seconds=_added(self.seconds, unwritten.seconds), tallies=tallies)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one window.  Ratios are 0..1; `mttr_s` is None where no incident ended."""

    score: float
    uptime_ratio: float
    integrity_ratio: float
    sync_success_ratio: float
    mttr_s: float | None
    recovery_success_ratio: float
    data_loss_ratio: float
    by_source: Mapping[str, float]
    """The score of each source: its own checks and checkpoints, and everybody's uptime."""
    sums: Sums
    """What they were made of."""


def figures(sums: Sums) -> Figures:
    """What the sums of a window amount to."""
    up = sums.seconds.get(UP, 0.0) + sums.seconds.get(DEGRADED, 0.0)
    uptime = ratio(up, sums.seconds.get(DOWN, 0.0))

    def product(source: str | None) -> float:
        return uptime * _ok(sums, "integrity", source) * _ok(sums, "sync", source)

    captured, lost = sums.of("captured_bytes"), sums.of("lost_bytes")
    return Figures(
        score=product(None),
        uptime_ratio=uptime,
        integrity_ratio=_ok(sums, "integrity", None),
        sync_success_ratio=_ok(sums, "sync", None),
        mttr_s=sums.recovery_s / sums.incidents if sums.incidents else None,
        recovery_success_ratio=ratio(sums.recovered, sums.unrecovered),
        # lost bytes may have been captured before the window began
        data_loss_ratio=min(1.0, lost / captured) if captured else float(lost > 0),
        by_source={source: product(source) for source in sorted(sums.tallies) if source},
        sums=sums,
    )


def ratio(good: float, bad: float) -> float:
    """The good part of all; 1 where there is nothing."""
    return good / (good + bad) if good + bad > 0 else 1.0


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in one.keys() | other.keys()}


def _ok(sums: Sums, what: str, source: str | None) -> float:
    good, bad = ("ok", "bad") if what == "integrity" else ("success", "failure")
    return ratio(sums.of(f"{what}_{good}", source), sums.of(f"{what}_{bad}", source))
