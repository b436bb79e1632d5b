"""Events may be lost: the rescan finds what nobody told."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.rig import line

SESSIONS = 2_000
RESULTS = 4  # files of a session beside its transcript: 10,000 in all

Wait = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: 10,000 copies would wait for the disk 30,000 times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


@pytest.mark.timeout(300)
def test_a_frozen_daemon_finds_all_of_10000_files_that_appeared(folder: Path, wait_until: Wait) -> None:
    project = folder / "home" / "work" / "app"
    project.mkdir(parents=True)
    data = line("user", "x", project)
    with Daemon(folder) as daemon:
        daemon.start()
        os.kill(daemon.pid, signal.SIGSTOP)
        for number in range(SESSIONS):
            transcript = daemon.agent / "projects" / f"-work-{number}" / f"{uuid.uuid4()}.jsonl"
            results = transcript.with_suffix("") / "tool-results"
            results.mkdir(parents=True)
            transcript.write_bytes(data)
            for result in range(RESULTS):
                (results / f"{result}.txt").write_bytes(b"result")
        os.kill(daemon.pid, signal.SIGCONT)
        wait_until(lambda: copied(daemon.mirror) == SESSIONS * (1 + RESULTS), timeout_s=200)
        wait_until(lambda: daemon.ctl("status")["sessions"]["watched"] == SESSIONS)


def copied(mirror: Path) -> int:
    """How many plain copies there are."""
    return sum(1 for copy in mirror.glob("app/**/*") if copy.suffix in {".jsonl", ".txt"})
