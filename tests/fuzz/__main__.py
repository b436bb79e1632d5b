"""`make fuzz`: at least a million broken inputs over all readers, on every core; a line for each reader.

A reader fails where anything but an error of the tree comes out of it, or where one input takes it over a second
of CPU time.  The seed is printed; `--seed` runs the same inputs again, and what failed lies in a folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.fuzz.runner import Tally, run
from tests.fuzz.targets import TARGETS

INPUTS = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="how many in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="run those of an earlier run again")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default %(default)s)"
    )
    parser.add_argument("--only", nargs="*", default=[], choices=[*TARGETS, []], help="some readers")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where failing inputs go")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    names = options.only or list(TARGETS)
    print(f"seed {seed}, {options.inputs:,} inputs, {options.jobs} processes", flush=True)
    began = time.monotonic()
    each = -(-options.inputs // options.jobs)
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(run, seed + at, each, names) for at in range(options.jobs)]
        parts = [job.result() for job in jobs]
    tallies = [Tally.of(list(same)) for same in zip(*parts, strict=True)]
    for tally in tallies:
        print(tally.line(), flush=True)
    failures = [failure for tally in tallies for failure in tally.failures]
    for number, failure in enumerate(failures):
        options.keep.mkdir(exist_ok=True)
        file = options.keep / f"{failure.target}-{number}"
        file.write_bytes(failure.data)
        print(f"\n{failure.target}: {file}\n{failure.trace}")
    count, failed = sum(tally.inputs for tally in tallies), sum(tally.failed for tally in tallies)
    print(f"{count:,} inputs, {failed} failures, {time.monotonic() - began:.0f} s, seed {seed}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
