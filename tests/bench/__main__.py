"""`make bench`: measure, on this machine, what is promised of speed and thrift.  Never a test.

    python -m tests.bench [--quick] [--out FOLDER] [PART …]

Whole processes are measured from outside, beside the peers that are installed, in turns on the same work.  What
is missed is shown as missed; the exit code is 0 either way.  The table is written to `build/bench.md` and
`build/bench.json` as well.  Linux only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.bench import append, backup, commands, growth, job, redacting, requests, rest, scraping, searching
from tests.bench.figures import Figure, machine, row, summary, write


class Measure(Protocol):
    """A part of the figures, each as soon as it is known."""

    def __call__(self, *, quick: bool) -> Iterator[Figure]:
        """Measure; `quick` for less of everything."""


PARTS: dict[str, Measure] = {
    "append": append.measure,
    "rest": rest.measure,
    "backup": backup.measure,
    "searching": searching.measure,
    "requests": requests.measure,
    "commands": commands.measure,
    "redacting": redacting.measure,
    "scraping": scraping.measure,
    "job": job.measure,
    "growth": growth.measure,
}


def main() -> int:
    """Measure what is asked for; prints each figure as it comes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure speed and thrift.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any, all")
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute or two")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("build"), help="where the table goes"
    )
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
        write(options.out, figures)
    print(f"\n{summary(figures)}; the table is in {options.out / 'bench.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
