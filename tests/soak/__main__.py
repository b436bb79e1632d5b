"""`make soak`: traffic and faults for long; held where nothing that a daemon holds has become more.

    python -m tests.soak [--minutes 30] [--sessions 20] [--seed N]

Linux only, since what a process holds is read from /proc.  Threads, descriptors, child processes and files may not
become more from a first rest to the last.  Memory, which is given back at a rest, may grow less than 1 MB an hour
once there was traffic enough that caches are full, and each size of what comes and goes has found its place: that
takes turns, not time, so these follow each other without a pause until then.  It is looked at while there is more.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.soak.growth import floors, slope
from tests.soak.soak import Soak
from tests.soak.traffic import Traffic

MOST_MIB_AN_HOUR = 1.0
# Of the whole: until a first rest, and from there until caches are full.
BEGINNING, WARM_UP = 1 / 6, 1 / 3
PAUSE_S, TROUBLE_TURNS = 0.2, 40


def main() -> int:
    """Run it; 1 where anything has grown, is left over or doubled."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Traffic for long, and no growth."
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long there is traffic")
    parser.add_argument("--sessions", type=int, default=20, help="so many are active")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--leaks", default="", help="run a mutant: descriptor, thread, file, memory")
    chosen = parser.parse_args()
    seconds = chosen.minutes * 60
    print(
        f"{chosen.minutes:g} minutes of traffic in {chosen.sessions} sessions, seed {chosen.seed}", flush=True
    )
    # a socket's path is short
    with (
        tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder,
        Traffic(
            Path(folder),
            chosen.seed,
            chosen.sessions,
            trouble_turns=TROUBLE_TURNS,
            pause_s=PAUSE_S,
            leaks=chosen.leaks,
        ) as traffic,
    ):
        soak = Soak(traffic)
        try:
            soak.run(seconds * BEGINNING)
            before = soak.rest()
            traffic.pause_s = 0.0
            soak.run(seconds * WARM_UP)
            traffic.pause_s = PAUSE_S
            soak.run(seconds * (1 - BEGINNING - WARM_UP))
            wrong = soak.wrong(before)
        except (AssertionError, OSError) as broken:
            print(f"missed: {broken}")
            return 1
    points = floors(soak.samples)
    if len(points) > 1:
        risen = slope(points)
        print(
            f"Memory: {points[0][1]:.1f} MiB after the warm-up, {points[-1][1]:.1f} at the end, {risen.an_hour:+.2f}"
            f" MiB an hour over the lowest of {len(points)} minutes; with 19 of 20 chances between"
            f" {risen.least:+.2f} and {risen.most:+.2f}."
        )
        if risen.an_hour >= MOST_MIB_AN_HOUR:
            wrong.append(f"memory grows by {risen.an_hour:.2f} MiB an hour")
    else:
        print("Memory: too short a run for a slope.")
    for what in wrong:
        print(f"grown: {what}")
    print(
        f"missed, {len(wrong)} have grown"
        if wrong
        else "held: nothing has grown, nothing waits, nothing is doubled"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
