"""The first backup of long transcripts: how fast bytes go through."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.bench import place
from tests.bench.figures import Figure
from tests.bench.place import MB, Transcript
from tests.bench.usage import cpu_s, peak_mib

LEAST_MB_S = 20


def measure(*, quick: bool) -> Iterator[Figure]:
    """A few long transcripts that were there before the daemon."""
    count, each = (3, 10 * MB) if quick else (10, 50 * MB)
    with place.daemon() as home:
        size = sum(Transcript(home, number, each, f"p{number}").size for number in range(count))
        began = time.monotonic()
        home.start(scanned=False)
        place.until(lambda: home.ctl("status")["captured_until"], 900)
        took = time.monotonic() - began
        speed = size / MB / took
        yield Figure(f"first backup of {count} x {each // MB} MB", speed, "MB/s", least=LEAST_MB_S)
        yield Figure("  its CPU time, a MB", cpu_s(home.pid) / size * MB * 1000, "ms")
        yield Figure("  its peak memory", peak_mib(home.pid), "MiB")
