"""`make chaos`: kills at chosen moments, then everything at once, and an account of what is lost or doubled.

    python -m tests.chaos [--minutes 10] [--kills 200] [--seed N] [--hides 60]

Needs root for disks that become full or read-only, and libfaketime for clocks that jump; what cannot be had is
left out with a word.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import killed
from tests.chaos.storm import Storm


@contextmanager
def _kept(storm: Storm, folder: Path) -> Iterator[None]:
    """Keep the logs of a storm that does not hold."""
    try:
        yield
    except (AssertionError, OSError):
        storm.keep_logs(folder)
        raise


def main() -> int:
    """Run it; 1 where anything is lost, doubled or told wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break everything, and count.")
    parser.add_argument(
        "--minutes",
        type=float,
        default=10,
        help="so long everything goes wrong, and at least until each thing has once",
    )
    parser.add_argument("--kills", type=int, default=200, help="so many kills at chosen moments before that")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument(
        "--hides", type=float, default=0, help="seconds of downtime that the daemon hides: it must fail"
    )
    chosen = parser.parse_args()
    again = f"again with: python -m tests.chaos --minutes {chosen.minutes:g} --kills {chosen.kills} --seed {chosen.seed}"
    if chosen.kills and killed.run(chosen.kills, chosen.seed):
        print(again)
        return 1
    began, kept = time.monotonic(), Path("build") / f"chaos-{chosen.seed}"
    print(f"{chosen.minutes:g} minutes of everything on two machines, seed {chosen.seed}")
    # a socket's path is short
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as folder:
        try:
            with Storm(Path(folder), chosen.seed, hides_s=chosen.hides) as storm, _kept(storm, kept):
                while time.monotonic() - began < chosen.minutes * 60 or storm.missing:
                    storm.blow()
                storm.check()
        except (AssertionError, OSError) as broken:
            print(f"broken: {broken}\nThe daemons' logs are in {kept}.\n{again}")
            return 1
        counts = ", ".join(f"{name} {count}" for name, count in sorted(storm.counts.items()))
        size = sum(len(data) for session in storm.sessions for data in session.written.values())
    print(f"{counts}; {size} bytes in {len(storm.sessions)} sessions.")
    print(f"Nothing lost, nothing doubled, nothing told wrongly, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
