"""`sessiond search --rebuild` while the daemon runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.daemon import Daemon
from tests.rig import append, line


def sessiond(home: Daemon, *arguments: str) -> str:
    command = [sys.executable, "-m", "sessiond", *arguments]
    done = subprocess.run(command, env=home.environ, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


def test_the_daemon_begins_its_index_anew_and_catches_up(
    socket_dir: Path, wait_until: Callable[..., None]
) -> None:
    with Daemon(socket_dir) as home:
        folder = home.agent / "projects" / "-app"
        folder.mkdir()
        for number in range(3):
            session = f"{number}0000000-0000-4000-8000-000000000000"
            append(folder / f"{session}.jsonl", line("user", f"the zebra {number}", "/app", session=session))
        home.start()
        wait_until(lambda: sessiond(home, "search", "zebra").count("the") == 3)
        before = (socket_dir / "s" / "state" / "index.db").stat().st_ino
        sessiond(home, "search", "--rebuild")
        assert (socket_dir / "s" / "state" / "index.db").stat().st_ino != before
        assert sessiond(home, "search", "zebra").count("the") == 3
