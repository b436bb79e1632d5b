"""The service: with the real systemd where that can be had, and with a stand-in for launchctl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORY = "tests/process/under_systemd.py"
NOT_UP = 125


@pytest.mark.timeout(240)
def test_with_the_real_systemd(shared: Path) -> None:
    tool = shared / "tools" / "with-systemd-user.sh"
    if not tool.exists() or os.geteuid():
        pytest.skip("a real service manager needs root and the tool that makes one")
    if not Path(sys.executable).with_name("sessiond").exists():
        pytest.skip("the program is not installed beside this Python")
    pytest_ = [sys.executable, "-m", "pytest", STORY, "-q", "-x", "--basetemp=/home/sdtest/t"]
    done = subprocess.run(
        [
            str(tool), "-t", "200", "-r", sys.base_prefix, "-r", sys.prefix, "-e", "PYTHONDONTWRITEBYTECODE=1",
            *pytest_, "-p", "no:cacheprovider", "-p", "no:randomly",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=230, check=False,
    )  # fmt: skip
    if done.returncode == NOT_UP:
        pytest.skip(f"no service manager could be made: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    print(done.stdout)
