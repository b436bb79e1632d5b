"""From a line that an agent writes to its verified plain copy, seen from outside."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from tests.bench import place
from tests.bench.figures import Figure, quantile
from tests.bench.place import Transcript

LINE_BYTES = 500
# The settling takes 20 ms, in a burst 200; what is on disk for a second must be in a copy.
MEDIAN_MS, SLOW_MS, FIRST_MS = 50, 250, 1000


def measure(*, quick: bool) -> Iterator[Figure]:
    """Lines one by one, lines in a burst, and a session that begins."""
    chance = random.Random(1)
    with place.daemon() as home:
        session = Transcript(home, 0, place.MB, "app")
        home.start()
        session.copied()
        single = [_one(session, chance.uniform(0.05, 0.3)) for _ in range(40 if quick else 200)]
        yield Figure("a line to its verified copy, p50", quantile(single, 0.5), "ms", most=MEDIAN_MS)
        yield Figure("a line to its verified copy, p99", quantile(single, 0.99), "ms", most=SLOW_MS)
        burst = [_burst(session) for _ in range(3 if quick else 10)]
        yield Figure("the last line of 200 within 2 s, worst", max(burst), "ms", most=SLOW_MS)
        first = [_first(Transcript(home, n, 0, f"new{n}")) for n in range(1, 6 if quick else 21)]
        yield Figure(
            "the first line of a new session in a new folder, worst", max(first), "ms", most=FIRST_MS
        )


def _one(session: Transcript, pause_s: float) -> float:
    time.sleep(pause_s)
    began = time.monotonic()
    session.append(LINE_BYTES)
    session.copied()
    return (time.monotonic() - began) * 1000


def _burst(session: Transcript) -> float:
    for _ in range(200):
        session.append(LINE_BYTES)
        time.sleep(0.01)
    return session.copied() * 1000


def _first(session: Transcript) -> float:
    began = time.monotonic()
    session.append(LINE_BYTES)
    session.copied()
    return (time.monotonic() - began) * 1000
