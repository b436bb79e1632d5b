"""The programs that are measured beside this one: how each is told to do the same work.

rsync, restic and borg make one copy of a folder when they are called; lsyncd and syncthing watch it.  What is
not installed is left out with a word; `make bench-peers` installs it.  None of them talks to anything but
loopback.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.bench.usage import Used, children
from tests.ports import free_port

LAUNCH = Path(__file__).with_name("launch.py")
WATCHING_S = 300.0
# Where all files, and one, are written back to, in a place's store.
ALL, ONE = "out", "one"
# What lsyncd waits after an event; nothing under a second can be had.
LSYNCD_DELAY_S = 1


class Place(NamedTuple):
    """A folder for a round: what is backed up, and where to."""

    tree: Path
    store: Path
    environ: Mapping[str, str]

    def run(self, *command: str | Path, inside: str = ".") -> Used:
        """Run a command to its end, in the store or `inside` a folder of it.

        Raises:
            CalledProcessError: it failed.
        """
        (self.store / inside).mkdir(exist_ok=True)
        os.sync()
        took = self.store.parent / "took"
        launch: list[str | Path] = [sys.executable, "-IS", LAUNCH, took]
        with (self.store.parent / "said").open("w+b") as out:
            ended = subprocess.run(
                [*launch, *command],
                env=self.environ,
                cwd=self.store / inside,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
            )
            if ended.returncode:
                out.seek(max(0, out.tell() - 2000))
                raise subprocess.CalledProcessError(ended.returncode, command, out.read())
        said_s, wall_s, cpu_s, kib, read, wrote = map(float, took.read_text().split())
        return Used(said_s, wall_s, cpu_s, kib / 1024, int(read), int(wrote))

    def set_aside(self, turn: int) -> None:
        """Give what was written back in this turn another name, so that the next one writes it anew."""
        for out in (self.store / ALL, self.store / ONE):
            if out.exists():
                out.rename(out.with_name(f"{out.name}-{turn}"))


@contextmanager
def at(tree: Path, name: str) -> Iterator[Place]:
    """A new place for a round, beside what is backed up; everything in it is gone afterwards."""
    with TemporaryDirectory(prefix=f"{name}-", dir=tree.parent) as folder:
        store = Path(folder) / "store"
        (store / "home").mkdir(parents=True)
        environ = {
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
        yield Place(tree, store, environ)


class Tool(NamedTuple):
    """How a program is told to back up, to read all of it and compare, and to write all or one file of it back.

    `kept` is where its packed copy lies, below the place's store.
    """

    name: str
    does: str
    begin: Callable[[Place], object]
    backup: Callable[[Place, str], Used]
    kept: str = "copy"
    check: Callable[[Place], Used] | None = None
    restore: Callable[[Place], Used] | None = None
    restore_one: Callable[[Place, Path], Used] | None = None


def _below(path: Path) -> str:
    return str(path).lstrip("/")


VAULT = "home/.claude-backup"
SESSIOND = Tool(
    "sessiond",
    "two copies, each read back; lines read",
    begin=lambda _: None,
    backup=lambda at, _: at.run(sys.executable, "-m", "sessiond", "sync", "--once"),
    kept=VAULT,
    check=lambda at: at.run(sys.executable, "-m", "tests.bench.reading", at.store / VAULT),
    restore=lambda at: at.run(sys.executable, "-m", "tests.bench.reading", at.store / VAULT, at.store / ALL),
    restore_one=lambda at, file: at.run(
        *(sys.executable, "-m", "sessiond", "restore", file.stem, "--from", "vault"),
        *("--out", at.store / ONE),
    ),
)
PEERS = (
    Tool(
        "rsync",
        "one plain copy",
        begin=lambda _: None,
        backup=lambda at, _: at.run("rsync", "-a", f"{at.tree}/", "copy"),
    ),
    Tool(
        "restic",
        "one packed, encrypted copy",
        begin=lambda at: at.run("restic", "-q", "init"),
        backup=lambda at, _: at.run("restic", "-q", "backup", at.tree),
        kept="repo",
        check=lambda at: at.run("restic", "-q", "check", "--read-data"),
        restore=lambda at: at.run("restic", "-q", "restore", "latest", "--target", ALL),
        restore_one=lambda at, file: at.run(
            "restic", "-q", "restore", "latest", "--include", file, "--target", ONE
        ),
    ),
    Tool(
        "borg",
        "one packed copy, zstd",
        begin=lambda at: at.run("borg", "init", "-e", "none", "repo"),
        backup=lambda at, name: at.run("borg", "create", "-C", "zstd", f"repo::{name}", at.tree),
        kept="repo",
        check=lambda at: at.run("borg", "check", "--verify-data", "repo"),
        restore=lambda at: at.run("borg", "extract", "../repo::first", inside=ALL),
        restore_one=lambda at, file: at.run("borg", "extract", "../repo::first", _below(file), inside=ONE),
    ),
)


def installed() -> list[Tool]:
    """The peers that are there."""
    return [tool for tool in PEERS if shutil.which(tool.name)]


def missing(*names: str) -> str:
    """What of these is not installed, in words; '' where all are."""
    absent = [name for name in names if shutil.which(name) is None]
    return f"not installed, left out: {', '.join(absent)}; `make bench-peers` installs it" if absent else ""


def size(folder: Path) -> int:
    """Bytes in the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# --- those that watch


@contextmanager
def lsyncd(tree: Path, copy: Path) -> Iterator[int]:
    """Lsyncd in its mode `direct`, which copies on this machine without ssh; gives its process's id."""
    copy.mkdir(parents=True, exist_ok=True)
    config = copy.parent / "lsyncd.lua"
    config.write_text(
        'settings { nodaemon = true, insist = true, logfile = "/dev/null" }\n'
        f'sync {{ default.direct, source = "{tree}", target = "{copy}", delay = {LSYNCD_DELAY_S} }}\n'
    )
    with _running(["lsyncd", "-nodaemon", str(config)], copy.parent) as pid:
        yield pid


@contextmanager
def syncthing(tree: Path, folder: Path) -> Iterator[list[int]]:
    """Two of them, of which one keeps a copy of the other's tree; gives their processes' ids.

    Everything that leaves loopback is turned off.  What only watches over a process is not counted.
    """
    homes = [folder / name for name in ("here", "there")]
    trees, ports = [tree, folder / "copy"], [free_port(), free_port()]
    for home in homes:
        home.mkdir()
        _syncthing(home, "generate")
    known = [_syncthing(home, "serve", "--device-id").strip() for home in homes]
    with ExitStack() as ends:
        found = []
        for number, home in enumerate(homes):
            file = home / "config.xml"
            file.write_text(_paired(file.read_text(), trees[number], ports, known, number))
            (trees[number] / ".stfolder").mkdir(parents=True, exist_ok=True)
            options = ["--no-browser", "--no-restart", "--no-upgrade", "--logfile", str(home / "log")]
            command = ["syncthing", "serve", *options, "--home", str(home)]
            monitor = ends.enter_context(_running(command, home))
            _until(lambda monitor=monitor: children(monitor))  # type: ignore[misc]
            found += children(monitor)
        whole = {file.relative_to(tree) for file in tree.rglob("*.jsonl")}
        _until(lambda: {file.relative_to(trees[1]) for file in trees[1].rglob("*.jsonl")} == whole)
        yield found


def _syncthing(home: Path, *words: str) -> str:
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "STNOUPGRADE": "1"}
    command = ["syncthing", *words, "--home", str(home)]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout


def _paired(config: str, tree: Path, ports: list[int], known: list[str], number: int) -> str:
    """The settings of one of the two: its tree, the other one, and nobody else."""
    for name, value in {
        **dict.fromkeys(("globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled"), "false"),
        **dict.fromkeys(("natEnabled", "crashReportingEnabled", "startBrowser"), "false"),
        "urAccepted": "-1",
        "autoUpgradeIntervalH": "0",
        "listenAddress": f"tcp://127.0.0.1:{ports[number]}",
    }.items():
        config = re.sub(rf"<{name}>[^<]*</{name}>", f"<{name}>{value}</{name}>", config)
    config = re.sub(r"<address>127[^<]*</address>", "<address>127.0.0.1:0</address>", config)
    config = re.sub(r'(<folder id="default"[^>]*path=")[^"]*"', rf'\g<1>{tree}"', config)
    other = known[1 - number]
    there = f"tcp://127.0.0.1:{ports[1 - number]}"
    config = config.replace("<filesystemType>", f'<device id="{other}"/><filesystemType>', 1)
    return config.replace("<gui ", f'<device id="{other}"><address>{there}</address></device><gui ', 1)


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WATCHING_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("syncthing does not follow")
        time.sleep(0.1)


@contextmanager
def _running(command: list[str], home: Path) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "STNOUPGRADE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
