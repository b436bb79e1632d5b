"""The same sessions, backed up by this program and by rsync, restic and borg, one after the other in turns.

This program makes two copies of every session, one plain and one in which every checkpoint can be had; the
others make one copy of a folder.  Then it reads all lines, for titles and turns: its first backup is done when
it says that everything is on the disk twice, which holds whatever happens to it from there on.  The other times
are of the whole process and its children, CPU time and memory as the kernel accounts them, memory of the
largest process.  What is dirty is written before each turn; what is read lies in memory for all of them.

Nothing is removed before the end: ext4 passes over inodes that were freed in the last minutes, so whoever makes
files after a removal needs longer for it than who was before.
"""

from __future__ import annotations

import os
import random
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import peers, place
from tests.bench.corpus import session_lines, write_session
from tests.bench.figures import Beside, Figure, best, of_rounds, said
from tests.bench.peers import SESSIOND, Place, Tool
from tests.bench.place import MB
from tests.bench.usage import Used

GIGABYTE = 1000 * MB
PROJECTS = 20
APPENDS, APPEND_BYTES = 20, 10 * 1024
LONG_BYTES = 32 * MB
LONG_AGO = 1_760_000_000
# What a round leaves, in sizes of the transcripts: of each tool its copies, and what it wrote back.
LEFT_BY_A_ROUND = 6

All = Mapping[str, Sequence[Used]]


def measure(*, quick: bool) -> Iterator[Figure]:
    """First backups in turns; then what is appended, and all of it read and written back."""
    count, size, long, rounds = (200, 100 * MB, 8 * MB, 2) if quick else (2000, GIGABYTE, LONG_BYTES, 3)
    tools = [SESSIOND, *peers.installed()]
    if absent := peers.missing(*(tool.name for tool in peers.PEERS)):
        yield said(absent)
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as ends:
        tree = Path(folder) / "tree"
        _check_room(Path(folder), size, rounds)
        size = grow(tree, count, size - long) + _one(tree, count, long)
        yield said(f"{size / MB:.0f} MB in {count + 1:,} transcripts; {rounds} rounds in turns, medians")
        first: dict[str, list[Used]] = {tool.name: [] for tool in tools}
        places: dict[str, Place] = {}  # those of the last round are read, and get what is new
        for turn in range(rounds):
            for tool in _turned(tools, turn):
                at = places[tool.name] = ends.enter_context(peers.at(tree, tool.name))
                tool.begin(at)
                first[tool.name].append(tool.backup(at, "first"))
        kept = {tool.name: peers.size(places[tool.name].store / tool.kept) for tool in tools}
        yield from _first(tools, first, kept)
        yield from _read_back(tools, places, tree, rounds)
        yield from _next(tools, places, tree, kept)


def _check_room(folder: Path, size: int, rounds: int) -> None:
    """Say so at once where not everything would find room until the end."""
    wanted, free = size + rounds * LEFT_BY_A_ROUND * size, shutil.disk_usage(folder).free
    if free < wanted:
        raise SystemExit(
            f"{folder.parent} has {free / GIGABYTE:.1f} GB free, and nothing is removed before the end, which"
            f" takes {wanted / GIGABYTE:.1f} GB: set TMPDIR to a folder on a larger disk, or use --quick."
        )


def _turned(tools: Sequence[Tool], turn: int) -> Iterable[Tool]:
    """The tools in the order of this turn: whoever was last is the first in the next."""
    return tools if turn % 2 == 0 else reversed(tools)


def _first(tools: Sequence[Tool], used: All, kept: Mapping[str, int]) -> Iterator[Figure]:
    for peer, most in (("borg", 0.6), ("restic", 0.5)):
        yield _beside(f"first backup, beside {peer}", used, "said_s", "s", [peer], most)
    yield _beside("the same, and all lines read", used, "wall_s", "s", ["restic", "borg"], None)
    yield _beside("the same, CPU time", used, "cpu_s", "s", ["restic", "borg"], None)
    yield _beside("first backup, memory", used, "mib", "MiB", ["restic", "borg"], None)
    borg = Beside("borg", kept["borg"] / MB) if "borg" in kept else None
    yield Figure("stored, the plain copy aside", kept["sessiond"] / MB, "MB", most=1, peer=borg, times=True)
    for tool in tools[1:]:
        yield of_rounds(f"  {tool.name} ({tool.does})", [each.wall_s for each in used[tool.name]], "s")


def _beside(name: str, used: All, what: str, unit: str, names: Sequence[str], most: float | None) -> Figure:
    """A figure of ours beside the best of these peers', its goal a multiple of that."""
    peer = best((each, [getattr(one, what) for one in used[each]]) for each in names if each in used)
    values = [getattr(each, what) for each in used["sessiond"]]
    return of_rounds(name, values, unit, most=most, peer=peer, times=True)


def _read_back(
    tools: Sequence[Tool], places: Mapping[str, Place], tree: Path, rounds: int
) -> Iterator[Figure]:
    yield said("read and compared with hashes; written back (the vault alone, by the engine in one process)")
    long = max(tree.rglob("*.jsonl"), key=lambda file: file.stat().st_size)
    checked, restored, one = (
        _in_turns(tools, places, rounds, work)
        for work in (
            lambda tool, at: tool.check and tool.check(at),
            lambda tool, at: tool.restore and tool.restore(at),
            lambda tool, at: tool.restore_one and tool.restore_one(at, long),
        )
    )
    yield _beside("every byte verified", checked, "wall_s", "s", ["borg"], 0.85)
    yield _beside("everything restored, checked", restored, "wall_s", "s", ["borg"], 1.1)
    name = f"one session of {long.stat().st_size / MB:.0f} MB restored"
    yield _beside(name, one, "wall_s", "s", ["borg"], 0.7)


def _in_turns(
    tools: Sequence[Tool],
    places: Mapping[str, Place],
    rounds: int,
    work: Callable[[Tool, Place], Used | None],
) -> dict[str, list[Used]]:
    used: dict[str, list[Used]] = {}
    for turn in range(rounds):
        for tool in _turned(tools, turn):
            at = places[tool.name]
            if (took := work(tool, at)) is not None:
                used.setdefault(tool.name, []).append(took)
            at.set_aside(turn)
    return used


def _next(
    tools: Sequence[Tool], places: Mapping[str, Place], tree: Path, kept: Mapping[str, int]
) -> Iterator[Figure]:
    yield said(f"{APPENDS} sessions grow by {APPEND_BYTES // 1024} KB, the next backup of everything")
    for number, file in enumerate(chosen(tree)):
        _append(file, number)
    used = {tool.name: [tool.backup(places[tool.name], "next")] for tool in tools}
    added = {tool.name: peers.size(places[tool.name].store / tool.kept) - kept[tool.name] for tool in tools}
    yield _beside("next backup", used, "wall_s", "s", ["borg"], 0.4)
    yield _beside("next backup, CPU time", used, "cpu_s", "s", ["rsync", "restic", "borg"], None)
    restic = Beside("restic", added["restic"] / 1000) if "restic" in added else None
    name = "next backup, added bytes, the plain copy aside"
    limit = Beside("appended", APPENDS * APPEND_BYTES / 1000)
    yield Figure(name, added["sessiond"] / 1000, "KB", most=0.1, peer=restic, times=True, limit=limit)


def grow(tree: Path, count: int, size: int) -> int:
    """Transcripts of `size` bytes together: many short ones, a few long ones; returns their true size."""
    chance = random.Random(count)
    parts = [chance.lognormvariate(0, 1.2) for _ in range(count)]
    sizes = [max(5000, int(part / sum(parts) * size)) for part in parts]
    return sum(_one(tree, number, each) for number, each in enumerate(sizes))


def chosen(tree: Path) -> list[Path]:
    """Those of its transcripts that go on."""
    return random.Random(1).sample(sorted(tree.rglob("*.jsonl")), APPENDS)


def _one(tree: Path, number: int, size: int) -> int:
    chance = random.Random(f"session {number}")
    name = f"{uuid.UUID(int=chance.getrandbits(128), version=4)}.jsonl"
    file = tree / "projects" / f"-work-p{number % PROJECTS}" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    size = write_session(file, number, size)
    os.utime(file, (LONG_AGO, LONG_AGO))
    return size


def _append(file: Path, number: int) -> None:
    data = b""
    for line in session_lines(place.UNUSED_SEEDS + number, session_id=file.stem):
        if len(data) + len(line) > APPEND_BYTES:
            break
        data += line
    with file.open("ab", buffering=0) as there:
        there.write(data)
