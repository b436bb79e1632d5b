"""`make chaos`: 200 kills of the real daemon, and a count of what is lost or doubled.

python -m tests.chaos [--kills 200] [--seed N]
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.kills import Kills


def main() -> int:
    """Run it; 1 where anything is lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    chosen = parser.parse_args()
    print(f"{chosen.kills} kills, seed {chosen.seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Kills(Path(folder), chosen.seed) as run:
        try:
            for number in range(1, chosen.kills + 1):
                run.kill()
                if number % 10 == 0:
                    print(
                        f"  {number:4} kills, {len(run.gh.requests())} requests, {time.monotonic() - began:.0f} s"
                    )
            run.check()
        except AssertionError as broken:
            print(
                f"broken: {broken}\nagain with: python -m tests.chaos --kills {chosen.kills} --seed {chosen.seed}"
            )
            return 1
        size = sum(map(len, run.written.values()))
        requests, writes = len(run.gh.requests()), len(run.gh.effects())
    print(f"{size} bytes in {len(run.written)} sessions, {requests} requests, {writes} writes.")
    print(f"Nothing lost, nothing doubled, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
