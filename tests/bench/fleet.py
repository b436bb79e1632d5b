"""A daemon with many sessions: how fast they are first copied, how fast it starts, what it uses at rest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from tests.bench import place
from tests.bench.figures import Figure
from tests.bench.place import MB, Transcript
from tests.bench.usage import cpu_s, rss_mib, wake_ups
from tests.daemon import Daemon

SESSIONS_OF_A_PROJECT = 20
SIZES = (4_000, 20_000, 60_000, 100_000)
IDLE_CPU, IDLE_MIB, IDLE_WAKE_UPS = 0.2, 60, 40
READY_S = 1.0


def measure(*, quick: bool) -> Iterator[Figure]:
    """First backup, start and rest."""
    count, rest_s = (300, 15) if quick else (2000, 60)
    with place.daemon() as home:
        starts = [home.start()]
        for _ in range(4):
            home.stop()
            starts.append(home.start())
        yield Figure("start to ready, nothing to watch", statistics.median(starts), "s", most=READY_S)
        empty = rss_mib(home.pid)
        home.stop()
        size = sum(_session(home, number).size for number in range(count))
        began = time.monotonic()
        home.start(scanned=False)
        place.until(lambda: home.ctl("status")["captured_until"], 900)
        took = time.monotonic() - began
        yield Figure(f"first backup of {count:,} sessions, {size / MB:.0f} MB", size / MB / took, "MB/s")
        yield Figure("  its CPU time, a session", cpu_s(home.pid) / count * 1000, "ms")
        place.rested(home)
        if not quick:  # also the first scan of the copies, a minute after the start
            place.until(lambda: "integrity_scanned" in home.log.read_text(), 900)
            place.rested(home)
            yield from _rest(home, rest_s, f"{count:,} sessions, after their first backup")
        home.stop()
        yield Figure(f"start to ready, {count:,} sessions", home.start(), "s", most=READY_S + count / 1000)
        place.rested(home)
        yield Figure("memory a 1,000 sessions", (rss_mib(home.pid) - empty) / count * 1000, "MiB", most=5)
        yield from _rest(home, rest_s, f"{count:,} sessions, after a restart")


def _session(home: Daemon, number: int) -> Transcript:
    project = f"p{number // SESSIONS_OF_A_PROJECT}"
    if number % SESSIONS_OF_A_PROJECT == 0:
        place.repository(home.home / "work" / project)
    return Transcript(home, number, SIZES[number % len(SIZES)], project)


def _rest(home: Daemon, rest_s: float, what: str) -> Iterator[Figure]:
    cpu, woken = cpu_s(home.pid), wake_ups(home.pid)
    time.sleep(rest_s)
    cpu, woken = cpu_s(home.pid) - cpu, wake_ups(home.pid) - woken
    yield Figure(f"idle, {what}: CPU", cpu / rest_s * 100, "%", most=IDLE_CPU)
    yield Figure(f"idle, {what}: RSS", rss_mib(home.pid), "MiB", most=IDLE_MIB)
    yield Figure(f"idle, {what}: wake-ups", woken / rest_s * 60, "/min", most=IDLE_WAKE_UPS)
