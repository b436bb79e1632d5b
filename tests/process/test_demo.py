"""`make demo` keeps what it promises, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(socket_dir: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.demo"]
    environ = {**os.environ, "TMPDIR": str(socket_dir)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def test_everything_arrives_exactly_once(demo: subprocess.Popen[str], socket_dir: Path) -> None:
    told, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, told
    assert "no answer from GitHub" in told
    assert "502" in told
    assert "limits us" in told
    assert len(re.findall(r"is there once", told)) == 3
    assert "is back, byte by byte" in told
    assert len(re.findall(r"^    sessiond_\w+(?:{.*})? [0-9.]+$", told, re.MULTILINE)) == 10
    assert list(socket_dir.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_ended_at_any_time(
    demo: subprocess.Popen[str], socket_dir: Path, how: signal.Signals
) -> None:
    assert demo.stdout is not None
    daemon = next(int(found[1]) for line in demo.stdout if (found := re.search(r"watches.*pid (\d+)", line)))
    demo.send_signal(how)
    assert demo.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(daemon, 0)
    assert list(socket_dir.iterdir()) == []
