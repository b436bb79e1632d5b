"""What may not grow: what a process holds, looked at from outside while it rests, and its memory over time."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import usage

# Memory is given back every minute, so the least of each is what is held for good.
WINDOW_S = 60.0
# So many standard deviations on both sides.
NINETEEN_OF_TWENTY = 1.96
# A pool takes its next thread when it has more to do at once than ever before, also after a warm-up.
POOLED = 2

# What differs between two names of one kind: ids, numbers, hashes.
_VARIES = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]*\d[0-9a-f]*")
# What keeps everything on purpose: packs of the vault, objects of the archive and of its working copy; what a cut
# leaves beside the plain copy is counted by who cuts.  Refs come out of
# git's list of them and go into it, logs are turned over, and the database's own come and go.
_KEPT = re.compile(
    r"home/\.claude-backup/[^/]+/[^/]+/pack[^/]*"
    r"|(?:s/state/)?archive\.git/objects/(?:[0-9a-f]{2}/[0-9a-f]{38}|pack/pack-[0-9a-f]{40}\.(?:pack|idx|rev))"
    r"|(?:s/state/)?archive\.git/refs/sessiond/[^/]+/[^/]+/[0-9a-f]{8}"
    r"|home/\.claude-backup-sessions/[^/]+/[0-9a-f-]{36}\.\d{8}T\d{6}Z\.\d+\.jsonl"
    r"|s/log/[a-z]+\.log(?:\.\d+)?"
    r"|s/state/[a-z]+\.db-(?:wal|shm|journal)"
)


class Held(NamedTuple):
    """What a daemon holds: threads, open files, child processes, and how many files of each kind of name."""

    threads: int
    descriptors: int
    children: int
    files: Counter[str]


def held(pid: int, folder: Path) -> Held:
    """What it holds now; `folder` has all that it and its user have."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    files = Counter(_VARIES.sub("*", name) for name in names if not _KEPT.fullmatch(name))
    return Held(usage.threads(pid), usage.descriptors(pid), len(usage.children(pid)), files)


def grown(before: Held, after: Held, *, pooled: int = POOLED) -> list[str]:
    """What has become more, in words; `pooled` threads more are no growth."""
    counts = (
        ("threads", before.threads, after.threads, pooled),
        ("descriptors", before.descriptors, after.descriptors, 0),
        ("child processes", before.children, after.children, 0),
        # what has one name is there once, whenever it is first needed
        *(
            (f"files {kind}", before.files[kind], after.files[kind], 0)
            for kind in sorted(after.files)
            if "*" in kind
        ),
    )
    return [f"{what}: {was}, then {now}" for what, was, now, more in counts if now > was + more]


def floors(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lowest of each whole minute, of (seconds, MiB)."""
    lowest: dict[int, tuple[float, float]] = {}
    for at, mib in samples:
        window = int((at - samples[0][0]) // WINDOW_S)
        if window not in lowest or mib < lowest[window][1]:
            lowest[window] = at, mib
    whole = int((samples[-1][0] - samples[0][0]) // WINDOW_S) if samples else 0
    return [lowest[window] for window in sorted(lowest) if window < whole]


class Slope(NamedTuple):
    """MiB an hour, and between which two it lies with 19 of 20 chances."""

    an_hour: float
    least: float
    most: float


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """The median of the slopes of all pairs (Theil and Sen): a quarter of the points may be off and it holds.

    What it lies between is by the ranks of these slopes, from the variance of Kendall's S (Sen 1968).

    Raises:
        ValueError: fewer than two points.
    """
    if len(points) < 2:
        raise ValueError("a slope takes two points")
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) * 3600 for a, b in combinations(points, 2))
    number = len(points)
    apart = NINETEEN_OF_TWENTY * math.sqrt(number * (number - 1) * (2 * number + 5) / 18)
    below = max(0, math.floor((len(slopes) - apart) / 2))
    return Slope(median(slopes), slopes[below], slopes[-1 - below])
