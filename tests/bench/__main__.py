"""`make bench`: measure, on this machine, what is promised of speed and thrift.  Never a test.

    python -m tests.bench [--quick] [--json FILE] [PART …]

What is missed is shown as missed; the exit code is 0 either way.  Linux only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.bench import bulk, fleet, growth, hook, job, latency, peers, redacting, requests, searching
from tests.bench.figures import Figure, machine, row, write


class Measure(Protocol):
    """A part of the figures, each as soon as it is known."""

    def __call__(self, *, quick: bool) -> Iterator[Figure]:
        """Measure; `quick` for less of everything."""


PARTS: dict[str, Measure] = {
    "hook": hook.measure,
    "latency": latency.measure,
    "growth": growth.measure,
    "requests": requests.measure,
    "bulk": bulk.measure,
    "fleet": fleet.measure,
    "searching": searching.measure,
    "job": job.measure,
    "redacting": redacting.measure,
    "peers": peers.measure,
}


def main() -> int:
    """Measure what is asked for; prints each figure as it comes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure speed and thrift.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any, all")
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute or two")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if sys.platform != "linux":
        parser.error("it reads /proc, so it needs Linux")
    figures: list[Figure] = []
    print(f"{machine()}\npython -m tests.bench {' '.join(sys.argv[1:])}".rstrip(), flush=True)
    for part in options.parts or PARTS:
        print(f"\n{part}", flush=True)
        for figure in PARTS[part](quick=options.quick):
            figures.append(figure)
            print(row(figure), flush=True)
    missed = [figure.name.strip() for figure in figures if figure.held is False]
    print(f"\n{sum(figure.held is True for figure in figures)} goals held, {len(missed)} missed")
    if options.json:
        write(options.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
