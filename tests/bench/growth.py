"""How figures grow: from 100 to 10,000 sessions, and from 1 MB to 1,000 MB in one transcript.

Start, scan, memory and answers may grow with the sessions, no faster than they do; an append with neither.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from tests.bench import place
from tests.bench.figures import Beside, Figure, said
from tests.bench.place import MB, SETTLED_S, Transcript, fleet
from tests.bench.usage import bytes_read, cpu_s, rss_mib, wake_ups
from tests.daemon import Daemon

ROUNDS = 5
SMALL_BYTES = 3 * 1024
# An append may cost so many times what it costs at the smallest size.
AS_BEFORE = 1.5
# What is old is indexed at a pace: behind a large piece the daemon rests for longer than others are waited for.
INDEXED_S = 30.0


def measure(*, quick: bool) -> Iterator[Figure]:
    """Sessions first, then sizes."""
    yield from _sessions((30, 100, 300) if quick else (100, 1000, 10_000), 5 if quick else 30)
    yield from _sizes((1, 10) if quick else (1, 10, 100, 1000))


def _sessions(counts: tuple[int, ...], rest_s: float) -> Iterator[Figure]:
    yield said(f"{', '.join(f'{count:,}' for count in counts)} sessions; ratios to the row before")
    rows: list[dict[str, tuple[float, str]]] = []
    with place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600") as home:
        known = 0
        live = Transcript(home, place.UNUSED_SEEDS, MB, "live")
        for count in counts:
            fleet(home, range(known, count))
            known = count
            began = time.monotonic()
            home.start(scanned=False)
            place.until(lambda: home.ctl("status")["captured_until"], 1800)
            first_s = time.monotonic() - began
            place.rested(home, 1800)
            rows.append(
                {"the first backup of the new ones": (first_s, "s"), **_looked_at(home, live, rest_s)}
            )
            home.stop()
    for name, (_, unit) in rows[0].items():
        for number, (count, row) in enumerate(zip(counts, rows, strict=True)):
            before = rows[number - 1][name][0] if number else 0.0
            grown = count / counts[number - 1] if number else None
            # what is under a noise floor cannot be said to have grown
            judged = before > 0 and "backup" not in name
            yield Figure(
                f"{name}, {count:,} sessions",
                row[name][0],
                unit,
                most=(AS_BEFORE if "append" in name or "rest" in name else grown) if judged else None,
                peer=Beside(f"{counts[number - 1]:,} sessions", before) if number else None,
                times=True,
            )


def _looked_at(home: Daemon, live: Transcript, rest_s: float) -> dict[str, tuple[float, str]]:
    found: dict[str, tuple[float, str]] = {}
    home.stop()
    found["start to ready"] = home.start(), "s"
    place.rested(home, 1800)
    woken = wake_ups(home.pid)
    time.sleep(rest_s)
    found["wake-ups at rest"] = (wake_ups(home.pid) - woken) / rest_s, "/s"
    found["memory"] = rss_mib(home.pid), "MiB"
    found["CPU time of an append of 3 KB"] = median(_append(home, live)[0] for _ in range(ROUNDS)), "ms"
    for name in (("ctl", "status"), ("ctl", "sessions", "--json"), ("search", "parser", "--json")):
        found["sessiond " + " ".join(name)] = median(_command(home, *name) for _ in range(ROUNDS)), "ms"
    return found


def _append(home: Daemon, session: Transcript) -> tuple[float, float]:
    """CPU milliseconds and KB read."""
    cpu, read = cpu_s(home.pid), bytes_read(home.pid)
    session.append(SMALL_BYTES)
    session.copied()
    time.sleep(SETTLED_S)
    return (cpu_s(home.pid) - cpu) * 1000, (bytes_read(home.pid) - read) / 1024


def _command(home: Daemon, *words: str) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "sessiond", *words], env=home.environ, capture_output=True, check=True
    )
    return (time.monotonic() - began) * 1000


def _sizes(sizes: tuple[int, ...]) -> Iterator[Figure]:
    yield said(f"3 KB appended to a transcript of {', '.join(f'{size:,}' for size in sizes)} MB")
    with place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600") as home:
        sessions = [Transcript(home, number, size * MB, f"of{number}") for number, size in enumerate(sizes)]
        began = time.monotonic()
        home.start(scanned=False)
        place.until(lambda: home.ctl("status")["captured_until"], 1800)
        yield Figure(
            f"first backup of {sum(sizes):,} MB in {len(sizes)} files",
            sum(sizes) / (time.monotonic() - began),
            "MB/s",
        )
        place.rested(home, 1800)
        place.quiet(home.pid, 1800, over_s=INDEXED_S)
        for when in ("", ", the first after a restart"):
            spent: list[list[float]] = [[] for _ in sizes]
            read: list[list[float]] = [[] for _ in sizes]
            for _ in range(ROUNDS if not when else 3):
                for number, session in enumerate(sessions):
                    if when:
                        home.stop()
                        home.start()
                        place.rested(home)
                    cpu, kib = _append(home, session)
                    spent[number].append(cpu)
                    read[number].append(kib)
            for number, size in enumerate(sizes):
                other = Beside(f"{sizes[0]} MB", median(spent[0])) if number else None
                name = f"{size:,} MB{when}"
                cpu = median(spent[number])
                most = AS_BEFORE if other else None
                yield Figure(f"{name}: CPU time", cpu, "ms", most=most, peer=other, times=True)
                yield Figure(f"{name}: read", median(read[number]), "KB", most=SMALL_BYTES / 1024 + 320)
