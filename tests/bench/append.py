"""From a line that an agent writes to its verified plain copy, and what that costs; beside lsyncd."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import peers, place
from tests.bench.backup import APPENDS, GIGABYTE, chosen, grow
from tests.bench.figures import Beside, Figure, of_rounds, quantile, said
from tests.bench.place import MB, SETTLED_S, Growing, Transcript
from tests.bench.usage import Used, bytes_read, cpu_s, tree_cpu_s
from tests.daemon import Daemon

LINE_BYTES = 500
A_SECOND = 5
# The settling takes 20 ms, in a burst 200; what is on disk for a second must be in a copy.
SLOW_MS, FIRST_MS, FLUSHED_MS = 250, 1000, 1000
SMALL_BYTES = 3 * 1024
# For so long a daemon is quiet that has looked through all its copies, and not only rests between two of them.
LONG_REST_S = 30.0
# What may be read beside what was appended: the first 4 KB and the last 64 KB, and settings and state.
READ_KB = SMALL_BYTES / 1024 + 320


def measure(*, quick: bool) -> Iterator[Figure]:
    """How long it takes; what an append costs; what it costs at the end of a long transcript."""
    if absent := peers.missing("lsyncd"):
        yield said(absent)
    yield from _follows(quick=quick)
    yield from _costs(60 // A_SECOND if quick else 60)
    yield from _among_many(*((200, 100 * MB, 3) if quick else (2000, GIGABYTE, 7)))
    yield from _of_long(MB, 10 * MB if quick else 50 * MB, 3 if quick else 7)


# --- how long


def _follows(*, quick: bool) -> Iterator[Figure]:
    chance = random.Random(1)
    with ExitStack() as ends:
        home = ends.enter_context(place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600"))
        session = Transcript(home, 0, MB, "app")
        home.start()
        session.copied()
        theirs = _lsyncd_follows(ends, chance, 5 if quick else 30)
        ours = [_one(session, chance.uniform(0.05, 0.3)) for _ in range(40 if quick else 200)]
        for part, most in ((0.5, 0.1), (0.99, 0.5)):
            peer = Beside("lsyncd", quantile(theirs, part)) if theirs else None
            yield Figure(
                f"a line to its verified copy, p{part * 100:.0f}",
                quantile(ours, part),
                "ms",
                most=most,
                peer=peer,
                times=True,
            )
        burst = [_burst(session) for _ in range(3 if quick else 10)]
        yield Figure("the last line of 200 within 2 s, worst", max(burst), "ms", most=SLOW_MS)
        first = [_first(Transcript(home, n, 0, f"new{n}")) for n in range(1, 6 if quick else 21)]
        name = "the first line of a new session in a new folder, worst"
        yield Figure(name, max(first), "ms", most=FIRST_MS)
        flushed = [_flushed(home, session) for _ in range(5 if quick else 20)]
        yield Figure("a line until it is flushed to the disk, worst", max(flushed), "ms", most=FLUSHED_MS)


def _lsyncd_follows(ends: ExitStack, chance: random.Random, times: int) -> list[float]:
    if peers.missing("lsyncd"):
        return []
    folder = Path(ends.enter_context(TemporaryDirectory(prefix="bench-")))
    file, copy = folder / "tree" / "a.jsonl", folder / "copy" / "a.jsonl"
    file.parent.mkdir()
    file.write_bytes(bytes(MB))
    ends.enter_context(peers.lsyncd(file.parent, copy.parent))
    place.until(lambda: copy.exists() and copy.stat().st_size == MB, 60)
    took = []
    for _ in range(times):
        time.sleep(chance.uniform(0.05, 0.3))
        began = time.monotonic()
        with file.open("ab", buffering=0) as grows:
            grows.write(b"x" * LINE_BYTES)
        _has(copy, file.stat().st_size)
        took.append((time.monotonic() - began) * 1000)
    return took


def _has(copy: Path, size: int) -> None:
    end = time.monotonic() + 60
    while copy.stat().st_size < size:
        if time.monotonic() > end:
            raise TimeoutError(f"{copy} does not follow")
        time.sleep(0.0005)


def _one(session: Transcript, pause_s: float) -> float:
    time.sleep(pause_s)
    return _first(session)


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


def _flushed(home: Daemon, session: Transcript) -> float:
    """Milliseconds until all of it is committed, which comes after the copies are flushed."""
    session.append(LINE_BYTES)
    began = time.monotonic()
    place.until(lambda: _committed(home, session) == session.size, 30, every_s=0.005)
    return (time.monotonic() - began) * 1000


def _committed(home: Daemon, session: Transcript) -> int:
    files = home.ctl("show", session=session.id)["files"]
    return next(int(file["size"]) for file in files if file["path"] == session.file.name)


# --- what it costs


def _costs(seconds: int) -> Iterator[Figure]:
    """`A_SECOND` appends a second, CPU time of all processes; the index is kept up beside."""
    with ExitStack() as ends:
        theirs = _lsyncd_costs(ends, seconds)
        home = ends.enter_context(place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600"))
        session = Transcript(home, 0, MB, "app")
        home.start()
        session.copied()
        place.rested(home)
        ours = _spent(home.pid, seconds, lambda: session.append(SMALL_BYTES))
        session.copied(within_s=0)  # else it was not measured what it costs
        yield Figure(
            f"CPU time an append of 3 KB, {A_SECOND} a second for {seconds} s, index included",
            ours,
            "ms",
            most=2,
            peer=Beside("lsyncd", theirs) if theirs else None,
            times=True,
        )


def _among_many(sessions: int, size: int, rounds: int) -> Iterator[Figure]:
    """Appends to some of many transcripts, beside rsync looking for the same ones, in turns.

    They are the transcripts that are backed up first by `backup`, and of them the same go on.
    """
    rsync = next((tool for tool in peers.installed() if tool.name == "rsync"), None)
    if rsync is None:
        yield said(peers.missing("rsync"))
        return
    with ExitStack() as ends:
        home = ends.enter_context(place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600"))
        at = ends.enter_context(peers.at(home.agent, rsync.name))
        grow(home.agent, sessions, size)
        home.start(scanned=False)
        place.rested(home, 1800)
        place.quiet(home.pid, 1800, over_s=LONG_REST_S)  # the copies are looked through after that
        copies = {copy.name: copy for copy in home.mirror.rglob("*.jsonl")}
        growing = [
            Growing(file, copies[file.name], place.UNUSED_SEEDS + number, home.home)
            for number, file in enumerate(chosen(home.agent))
        ]
        rsync.backup(at, "first")
        spent: dict[float, list[float]] = {0.0: [], 1 / A_SECOND: []}
        theirs: list[float] = []
        for _ in range(rounds):
            for pause_s, ours in spent.items():
                before = tree_cpu_s(home.pid)
                for each in growing:
                    each.append()
                    time.sleep(pause_s)
                time.sleep(2 * SETTLED_S)
                ours.append((tree_cpu_s(home.pid) - before) * 1000)
                for each in growing:
                    each.copied(within_s=0)  # else it was not measured what it costs
                theirs.append(rsync.backup(at, "next").cpu_s * 1000)
        peer = Beside("rsync", quantile(theirs, 0.5))
        name = f"CPU time of {APPENDS} appends of 10 KB among {sessions:,} transcripts of {size / MB:,.0f} MB"
        for pause_s, ours in spent.items():
            how = f"{A_SECOND} a second" if pause_s else "at once"
            yield of_rounds(f"{name}, {how}", ours, "ms", most=1, peer=peer, times=True)


def _lsyncd_costs(ends: ExitStack, seconds: int) -> float | None:
    if peers.missing("lsyncd"):
        return None
    folder = Path(ends.enter_context(TemporaryDirectory(prefix="bench-")))
    file, copy = folder / "tree" / "a.jsonl", folder / "copy" / "a.jsonl"
    file.parent.mkdir()
    file.write_bytes(bytes(MB))

    def append() -> None:
        with file.open("ab", buffering=0) as grows:
            grows.write(b"x" * SMALL_BYTES)

    with peers.lsyncd(file.parent, copy.parent) as pid:
        place.until(lambda: copy.exists() and copy.stat().st_size == MB, 60)
        return _spent(pid, seconds, append)


def _spent(pid: int, seconds: int, append: Callable[[], object]) -> float:
    """Milliseconds of CPU an append."""
    before, began = tree_cpu_s(pid), time.monotonic()
    for number in range(seconds * A_SECOND):
        time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
        append()
    time.sleep(2 * SETTLED_S)
    return (tree_cpu_s(pid) - before) * 1000 / (seconds * A_SECOND)


# --- what it costs at the end of a long transcript


def _of_long(short: int, long: int, rounds: int) -> Iterator[Figure]:
    sizes = (short, long)
    yield said(f"3 KB appended to transcripts of {short // MB} and {long // MB} MB")
    with place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600") as home:
        sessions = [Transcript(home, n, size, f"of{n}") for n, size in enumerate(sizes)]
        home.start()
        place.rested(home)
        for when in ("", ", the first after a restart"):
            read: list[list[float]] = [[], []]
            spent: list[list[float]] = [[], []]
            for _ in range(rounds):
                for number, session in enumerate(sessions):
                    if when:
                        home.stop()
                        home.start()
                        place.rested(home)
                    before, cpu = bytes_read(home.pid), cpu_s(home.pid)
                    session.append(SMALL_BYTES)
                    session.copied()
                    time.sleep(SETTLED_S)
                    read[number].append((bytes_read(home.pid) - before) / 1024)
                    spent[number].append((cpu_s(home.pid) - cpu) * 1000)
            name = f"{long // MB} MB transcript{when}"
            limit = Beside("appended", SMALL_BYTES / 1024)
            yield of_rounds(f"{name}: read", read[1], "KB", most=READ_KB, limit=limit)
            other = Beside(f"{short // MB} MB", quantile(spent[0], 0.5))
            yield of_rounds(f"{name}: CPU time", spent[1], "ms", most=1.2, peer=other, times=True)
    yield from _read_by_peers(long)


def _read_by_peers(size: int) -> Iterator[Figure]:
    """What others read to find 3 KB at the end of it."""
    with TemporaryDirectory(prefix="bench-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        file = tree / "a.jsonl"
        file.write_bytes(random.Random(1).randbytes(size))
        for tool in peers.installed():
            with peers.at(tree, tool.name) as at:
                tool.begin(at)
                tool.backup(at, "first")
                with file.open("ab") as grows:
                    grows.write(b"x" * SMALL_BYTES)
                used: Used = tool.backup(at, "next")
            yield Figure(f"  {tool.name}: read", used.read / 1024, "KB")
