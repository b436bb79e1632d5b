"""A daemon with many sessions: how fast it starts, and what it uses at rest; beside syncthing and rsync."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import peers, place
from tests.bench.figures import Beside, Figure, of_rounds, said
from tests.bench.place import MB, fleet
from tests.bench.usage import cpu_s, rss_mib, wake_ups
from tests.daemon import Daemon

# What one process of Python takes to import what the daemon is made of, and nothing of it.
LIBRARIES = (
    "apscheduler.schedulers.background, click, markdown_it, msgspec, platformdirs, prometheus_client,"
    " structlog, tomlkit, waitress, watchdog.observers, zstandard, sqlite3"
)
STARTS = 5
# A minute after each start the daemon looks once for files in the copies that are nobody's; then it rests.
SETTLES_S = 150.0
# What is left to be counted is counted for two seconds a minute.
A_MINUTE_S, QUIET_CPU_S = 65.0, 0.06
WAKE_UPS_A_SECOND, READ_BY_OTHERS_MS, SESSION_KB = 0.5, 5, 0.5


def measure(*, quick: bool) -> Iterator[Figure]:
    """Nothing to watch; then many sessions, after their first backup and after a restart."""
    few, many, rest_s = (30, 300, 15) if quick else (100, 2000, 60)
    with ExitStack() as ends:
        home = ends.enter_context(place.daemon(SESSIOND_HTTP_LISTEN='"127.0.0.1:0"'))
        yield of_rounds("start to ready, nothing to watch", _starts(home), "s", most=1)
        fleet(home, range(few))
        small = _settled(home, quick=quick)
        home.stop()
        home.start()
        small_anew = _settled(home, quick=quick)
        size = fleet(home, range(few, many))
        place.until(lambda: home.ctl("status")["captured_until"], 900)
        large = _settled(home, quick=quick)
        yield said(f"{many:,} sessions of {size / MB:.0f} MB, {rest_s} s at rest")
        theirs = _syncthing_rests(home.agent, rest_s)
        yield from _rest(home, rest_s, "", theirs)
        yield _a_session("memory a session more", large - small, many - few)
        yield _read_by_others(home)
        starts = _starts(home)
        large_anew = _settled(home, quick=quick)
        yield from _rest(home, rest_s, ", after a restart", theirs)
        yield _a_session("memory a session more, after a restart", large_anew - small_anew, many - few)
        yield _start(f"start to ready, {many:,} sessions", starts, home)


def _starts(home: Daemon) -> list[float]:
    took = []
    for _ in range(STARTS):
        home.stop()
        took.append(home.start())
    return took


def _start(name: str, took: list[float], home: Daemon) -> Figure:
    """Beside importing its libraries and rsync's looking at the same files again."""
    libraries = _imports()
    if peers.missing("rsync"):
        return of_rounds(name, took, "s")
    with TemporaryDirectory(prefix="bench-", dir=home.folder) as folder:
        command = ["rsync", "-a", f"{home.agent}/", f"{folder}/copy"]
        subprocess.run(command, check=True)
        rescans = [_timed(command) for _ in range(STARTS)]
    other = Beside("libraries and rsync", libraries + median(rescans))
    return of_rounds(name, took, "s", most=1.5, peer=other, times=True)


def _imports() -> float:
    return median(_timed([sys.executable, "-c", f"import {LIBRARIES}"]) for _ in range(STARTS))


def _timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.monotonic() - began


def _syncthing_rests(tree: Path, rest_s: float) -> tuple[float, float, float] | None:
    """CPU milliseconds in that time, wake-ups a second and MiB, of the two that keep one copy."""
    if peers.missing("syncthing"):
        return None
    with TemporaryDirectory(prefix="bench-") as folder, peers.syncthing(tree, Path(folder)) as pids:
        for pid in pids:
            place.quiet(pid)
        cpu, woken = sum(map(cpu_s, pids)), sum(map(wake_ups, pids))
        time.sleep(rest_s)
        cpu, woken = sum(map(cpu_s, pids)) - cpu, sum(map(wake_ups, pids)) - woken
        return cpu * 1000, woken / rest_s, sum(map(rss_mib, pids))


def _rest(
    home: Daemon, rest_s: float, when: str, theirs: tuple[float, float, float] | None
) -> Iterator[Figure]:
    cpu, woken = cpu_s(home.pid), wake_ups(home.pid)
    time.sleep(rest_s)
    cpu, woken = cpu_s(home.pid) - cpu, wake_ups(home.pid) - woken
    cpu_, woken_, mib_ = (Beside("syncthing", value) for value in theirs) if theirs else [None] * 3
    yield Figure(f"CPU time at rest{when}", cpu * 1000, "ms", most=0.1, peer=cpu_, times=True)
    yield Figure(f"wake-ups at rest{when}", woken / rest_s, "/s", most=WAKE_UPS_A_SECOND, peer=woken_)
    yield Figure(f"memory at rest{when}", rss_mib(home.pid), "MiB", most=0.45, peer=mib_, times=True)


def _settled(home: Daemon, *, quick: bool) -> float:
    """MiB when it has done what it does once after a start, or once with each session."""
    place.rested(home)
    if not quick:
        time.sleep(SETTLES_S)
        place.until(lambda: _spent_s(home.pid, A_MINUTE_S) < QUIET_CPU_S, 1800)
    return rss_mib(home.pid)


def _spent_s(pid: int, rest_s: float) -> float:
    before = cpu_s(pid)
    time.sleep(rest_s)
    return cpu_s(pid) - before


def _a_session(name: str, mib: float, sessions: int) -> Figure:
    return Figure(name, mib / sessions * 1024, "KB", most=SESSION_KB)


def _read_by_others(home: Daemon) -> Figure:
    """What it costs the daemon that somebody else reads every session."""
    before = cpu_s(home.pid)
    count = 0
    for file in home.agent.rglob("*.jsonl"):
        file.read_bytes()
        count += 1
    time.sleep(place.SETTLED_S)
    spent = (cpu_s(home.pid) - before) * 1000
    return Figure(f"CPU time when others read {count:,} files", spent, "ms", most=READ_BY_OTHERS_MS)
