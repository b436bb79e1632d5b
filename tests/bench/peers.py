"""The same sessions, backed up by this program and by rsync, restic and borg, one after the other in turns.

rsync, restic and borg make one copy of a folder.  This program makes two of every session, one plain and
one in which every checkpoint can be had, and reads its lines for title, turns and checkpoints.  What is
not installed is left out with a word; `make bench-peers` installs it.

Times are of the whole process and its children; CPU time and memory are those that the kernel accounts to
them when they end, `wait4(2)`: memory of the largest one.  What is dirty is written before each turn; what is
read lies in memory for all of them.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.bench import place
from tests.bench.corpus import session_lines, write_session
from tests.bench.figures import Figure, of_rounds, said
from tests.bench.place import MB, SETTLED_S
from tests.bench.usage import cpu_s
from tests.daemon import Daemon

GIGABYTE = 1000 * MB
PROJECTS = 20
APPENDS, APPEND_BYTES = 20, 10 * 1024
LONG_AGO = 1_760_000_000
LAUNCH = Path(__file__).with_name("launch.py")


class Used(NamedTuple):
    """What a command took: seconds on the clock, seconds of CPU, MiB of the largest process."""

    wall_s: float
    cpu_s: float
    mib: float


class Place(NamedTuple):
    """A folder for a round: what is backed up, and where to."""

    tree: Path
    store: Path
    environ: Mapping[str, str]

    def run(self, *command: str | Path) -> Used:
        """Run a command to its end.

        Raises:
            CalledProcessError: it failed.
        """
        os.sync()
        took = self.store.parent / "took"
        launch: list[str | Path] = [sys.executable, "-IS", LAUNCH, took]
        with (self.store.parent / "said").open("w+b") as out:
            ended = subprocess.run(
                [*launch, *command],
                env=self.environ,
                cwd=self.store,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
            )
            if ended.returncode:
                out.seek(max(0, out.tell() - 2000))
                raise subprocess.CalledProcessError(ended.returncode, command, out.read())
        wall_s, cpu_s, kib = map(float, took.read_text().split())
        return Used(wall_s, cpu_s, kib / 1024)


class Tool(NamedTuple):
    """How a program is told to make a first backup, to read all of it and compare, and to write all of it back."""

    name: str
    does: str
    begin: Callable[[Place], object]
    backup: Callable[[Place], Used]
    check: Callable[[Place], Used] | None = None
    restore: Callable[[Place], Used] | None = None


def _ours(at: Place) -> Used:
    return at.run(sys.executable, "-m", "sessiond", "sync", "--once")


def _restored(at: Place) -> Used:
    return at.run(
        sys.executable, "-m", "tests.bench.reading", at.store / "home/.claude-backup", at.store / "out"
    )


def _checked(at: Place) -> Used:
    return at.run(sys.executable, "-m", "tests.bench.reading", at.store / "home/.claude-backup")


SESSIOND = Tool(
    "sessiond", "two copies, each read back; lines read", lambda _: None, _ours, _checked, _restored
)
PEERS = [
    Tool("rsync", "one plain copy", lambda _: None, lambda at: at.run("rsync", "-a", f"{at.tree}/", "copy")),
    Tool(
        "restic",
        "one packed, encrypted copy",
        lambda at: at.run("restic", "-q", "init"),
        lambda at: at.run("restic", "-q", "backup", at.tree),
        lambda at: at.run("restic", "-q", "check", "--read-data"),
        lambda at: at.run("restic", "-q", "restore", "latest", "--target", "out"),
    ),
    Tool(
        "borg",
        "one packed copy, zstd",
        lambda at: at.run("borg", "init", "-e", "none", "repo"),
        lambda at: at.run("borg", "create", "-C", "zstd", "repo::a", at.tree),
        lambda at: at.run("borg", "check", "--verify-data", "repo"),
        lambda at: at.run("borg", "extract", "repo::a"),
    ),
]


def measure(*, quick: bool) -> Iterator[Figure]:
    """First backups in turns; then what is appended, and all of it read back."""
    count, size, rounds = (200, 100 * MB, 2) if quick else (2000, GIGABYTE, 3)
    tools = [SESSIOND, *(tool for tool in PEERS if shutil.which(tool.name))]
    for tool in PEERS:
        if tool not in tools:
            yield said(f"{tool.name} is not installed: left out; `make bench-peers` installs it")
    with TemporaryDirectory(prefix="bench-") as folder:
        tree = Path(folder) / "tree"
        size = grow(tree, count, size)
        yield said(
            f"first backup of {size / MB:.0f} MB in {count:,} files; {rounds} rounds in turns, medians"
        )
        used: dict[str, list[Used]] = {tool.name: [] for tool in tools}
        for turn in range(rounds):
            for tool in tools if turn % 2 == 0 else reversed(tools):
                with _place(tree, tool) as at:
                    tool.begin(at)
                    used[tool.name].append(tool.backup(at))
        for tool in tools:
            yield from _told(f"{tool.name} ({tool.does})", used[tool.name])
        for peer, goal in (("restic", 1.0), ("borg", None)):
            if peer in used:
                yield Figure(f"sessiond beside {peer}: time", _ratio(used, peer, "wall_s"), "x", most=goal)
                yield Figure(f"sessiond beside {peer}: CPU time", _ratio(used, peer, "cpu_s"), "x")
        yield from _appends(tree)
        yield from _read_back(tree, [tool for tool in tools if tool.check is not None])


def grow(tree: Path, count: int, size: int) -> int:
    """Transcripts of `size` bytes together: many short ones, a few long ones; returns their true size."""
    chance = random.Random(count)
    parts = [chance.lognormvariate(0, 1.2) for _ in range(count)]
    whole = 0
    for number, part in enumerate(parts):
        name = f"{uuid.UUID(int=chance.getrandbits(128), version=4)}.jsonl"
        file = tree / "projects" / f"-work-p{number % PROJECTS}" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        whole += write_session(file, number, max(5000, int(part / sum(parts) * size)))
        os.utime(file, (LONG_AGO, LONG_AGO))
    return whole


@contextmanager
def _place(tree: Path, tool: Tool) -> Iterator[Place]:
    with TemporaryDirectory(prefix=f"{tool.name}-", dir=tree.parent) as folder:
        store = Path(folder) / "store"
        (store / "home").mkdir(parents=True)
        yield Place(tree, store, _environ(tree, store))


def _environ(tree: Path, store: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.getcwd(),  # noqa: PTH109 - where this package is
        "HOME": str(store / "home"),
        "CLAUDE_CONFIG_DIR": str(tree),
        "SESSIOND_HOME": str(store / "s"),
        "SESSIOND_HTTP_LISTEN": '""',
        "RESTIC_REPOSITORY": str(store / "repo"),
        "RESTIC_PASSWORD": "made up",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }


def _told(name: str, used: list[Used]) -> Iterator[Figure]:
    yield of_rounds(name, [each.wall_s for each in used], "s")
    yield of_rounds("  its CPU time", [each.cpu_s for each in used], "s")
    yield of_rounds("  its memory", [each.mib for each in used], "MiB")


def _ratio(used: Mapping[str, list[Used]], peer: str, what: str) -> float:
    ours, theirs = (
        statistics.median(getattr(each, what) for each in used[name]) for name in ("sessiond", peer)
    )
    return float(ours / theirs)


# --- what comes later


def _appends(tree: Path) -> Iterator[Figure]:
    """A running daemon copies what is appended; rsync looks for it in all files."""
    yield said(f"{APPENDS} appends of {APPEND_BYTES // 1024} KB to as many sessions of that tree")
    with TemporaryDirectory(prefix="bench-", dir=tree.parent) as folder:
        with_all = Daemon(Path(folder), SESSIOND_SOURCES_QUIET_SECONDS="3600", CLAUDE_CONFIG_DIR=str(tree))
        store = Path(folder) / "store"
        store.mkdir()
        at = Place(tree, store, _environ(tree, store))
        has_rsync = shutil.which("rsync") is not None
        if has_rsync:
            at.run("rsync", "-a", f"{tree}/", "copy")
        with with_all as home:
            home.start(scanned=False)
            place.until(lambda: home.ctl("status")["captured_until"], 900)
            place.rested(home)
            files = random.Random(1).sample(sorted(tree.rglob("*.jsonl")), APPENDS)
            before = cpu_s(home.pid)
            for number, file in enumerate(files):
                _append(file, number)
            copies = {file.name: file.stat().st_size for file in files}
            place.until(lambda: _has_all(home.mirror, copies), 60)
            time.sleep(SETTLED_S)
            ours = cpu_s(home.pid) - before
            yield Figure("sessiond: the plain copies follow, CPU time", ours * 1000, "ms")
            for file in files:
                home.ctl("checkpoint", acts=True, session=file.stem)
            both = cpu_s(home.pid) - before
            yield Figure("  and a checkpoint of each in the vault, CPU time", both * 1000, "ms")
        if has_rsync:
            theirs = at.run("rsync", "-a", f"{tree}/", "copy").cpu_s
            yield Figure("rsync -a of the tree: its plain copies follow, CPU time", theirs * 1000, "ms")
            yield Figure("sessiond beside rsync: CPU time", ours / theirs, "x", most=1)
            yield Figure("  with the checkpoints", both / theirs, "x")


def _append(file: Path, number: int) -> None:
    data = b""
    for line in session_lines(place.UNUSED_SEEDS + number, session_id=file.stem):
        if len(data) + len(line) > APPEND_BYTES:
            break
        data += line
    with file.open("ab", buffering=0) as there:
        there.write(data)


def _has_all(mirror: Path, sizes: Mapping[str, int]) -> bool:
    found = {copy.name: copy.stat().st_size for copy in mirror.rglob("*.jsonl") if copy.name in sizes}
    return found == sizes


def _read_back(tree: Path, tools: list[Tool]) -> Iterator[Figure]:
    yield said("all of it read and compared with its hashes; all of it written back, checked")
    for tool in tools:
        with _place(tree, tool) as at:
            tool.begin(at)
            tool.backup(at)
            if tool.check is not None:
                checked = tool.check(at)
                yield Figure(f"{tool.name}: check", checked.wall_s, "s")
            if tool.restore is not None:
                written = tool.restore(at)
                yield Figure(f"{tool.name}: restore", written.wall_s, "s")
