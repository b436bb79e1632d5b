"""Homes full of made-up sessions, and a daemon in them to be measured from outside."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.corpus import session_bytes, session_lines
from tests.bench.usage import cpu_s
from tests.daemon import Daemon
from tests.fakes.process import GitHubProcess

MB = 1_000_000
APPEND_BYTES = 10 * 1024
# A daemon that uses no more than this between two looks is at rest.
QUIET_CPU_S = 0.02
UNUSED_SEEDS = 1_000_000
TOKEN = "a-token-of-the-bench"
# A flush comes at most a second after a capture.
SETTLED_S = 1.5


@contextmanager
def daemon(**settings: str) -> Iterator[Daemon]:
    """A daemon that is not yet started, its folders on the disk of `TMPDIR`."""
    with TemporaryDirectory(prefix="bench-") as folder, Daemon(Path(folder), **settings) as made:
        yield made


@contextmanager
def github(repo: str) -> Iterator[GitHubProcess]:
    """A stand-in for GitHub with a private repository."""
    with TemporaryDirectory(prefix="bench-") as folder, GitHubProcess(Path(folder) / "db") as made:
        made.call("token", value=TOKEN)
        made.call("add_repo", full_name=repo)
        yield made


def online(made: GitHubProcess, repo: str) -> dict[str, str]:
    """The settings of a daemon that pushes there when it is told to."""
    return {
        "GH_TOKEN": TOKEN,
        "SESSIOND_GITHUB_REPO": repo,
        "SESSIOND_GITHUB_API_URL": made.url,
        "SESSIOND_SOURCES_QUIET_SECONDS": "3600",
    }


class Growing:
    """A transcript that goes on as its `seed` says, and where its plain copy will be."""

    def __init__(self, file: Path, copy: Path, seed: int, cwd: Path) -> None:
        self.file, self.copy = file, copy
        self._more = _lines(seed, file.stem, str(cwd))

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.file.stat().st_size

    def append(self, size: int = APPEND_BYTES) -> None:
        """Append whole lines of about so many bytes with one write, as an agent does."""
        data = next(self._more)
        while len(data) < size:
            data += next(self._more)
        with self.file.open("ab", buffering=0) as file:
            file.write(data)

    def copied(self, every_s: float = 0.0005, within_s: float = 60) -> float:
        """Wait until the plain copy has all of it; returns the seconds that took."""
        began, wanted = time.monotonic(), self.size
        while not self.copy.exists() or self.copy.stat().st_size < wanted:
            if time.monotonic() > began + within_s:
                raise TimeoutError(f"{self.copy} does not follow")
            time.sleep(every_s)
        return time.monotonic() - began


class Transcript(Growing):
    """A new one of `size` bytes, last changed yesterday."""

    def __init__(self, home: Daemon, seed: int, size: int, project: str) -> None:
        self.id = str(uuid.UUID(int=seed + 1, version=4))
        self.cwd = home.home / "work" / project
        folder = home.agent / "projects" / str(self.cwd).replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.id}.jsonl"
        super().__init__(file, home.mirror / project / file.name, seed, self.cwd)
        block = session_bytes(seed, min(size, MB), session_id=self.id, cwd=str(self.cwd))
        with self.file.open("wb") as begun:
            for _ in range(max(1, size // len(block)) if size else 0):
                begun.write(block)
        yesterday = time.time() - 86_400 - seed
        os.utime(self.file, (yesterday, yesterday))


def _lines(seed: int, session: str, cwd: str) -> Iterator[bytes]:
    """What the session goes on with; the longest lines are left out, so that appends are alike."""
    for line in session_lines(seed + UNUSED_SEEDS, session_id=session, cwd=cwd):
        if len(line) < APPEND_BYTES // 4:
            yield line


SESSIONS_OF_A_PROJECT = 20
SIZES = (4_000, 20_000, 60_000, 100_000)


def fleet(home: Daemon, numbers: Iterable[int]) -> int:
    """Sessions of usual sizes, some to a project; returns their size."""
    size = 0
    for number in numbers:
        project = f"p{number // SESSIONS_OF_A_PROJECT}"
        if number % SESSIONS_OF_A_PROJECT == 0:
            repository(home.home / "work" / project)
        size += Transcript(home, number, SIZES[number % len(SIZES)], project).size
    return size


def repository(folder: Path) -> None:
    """Make a work tree there, as most sessions are started in one."""
    folder.mkdir(parents=True, exist_ok=True)
    for arguments in (["init", "-q"], ["remote", "add", "origin", f"https://git.example/team/{folder.name}"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def rested(home: Daemon, within_s: float = 600) -> None:
    """Wait until everything is copied and committed, and the daemon does next to nothing."""
    until(lambda: home.ctl("status")["captured_until"] and _is_quiet(home.pid), within_s)


def quiet(pid: int, within_s: float = 600, *, over_s: float = 2 * SETTLED_S) -> None:
    """Wait until a process does next to nothing for so long."""
    until(lambda: _is_quiet(pid, over_s), within_s)


def _is_quiet(pid: int, over_s: float = 2 * SETTLED_S) -> bool:
    before = cpu_s(pid)
    time.sleep(over_s)
    return cpu_s(pid) - before < QUIET_CPU_S


def until(condition: Callable[[], object], within_s: float, every_s: float = 0.05) -> None:
    """Wait for it."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(every_s)
