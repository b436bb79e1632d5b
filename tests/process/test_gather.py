"""Two daemons with one archive in a folder, and no GitHub."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import poll
from tests.daemon import Daemon
from tests.fakes.agent import Agent


def _write(daemon: Daemon, session: str, data: bytes) -> None:
    path = daemon.agent / "projects" / "-work-app" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    daemon.ctl("checkpoint", acts=True, session=session)


def test_what_one_daemon_archives_the_other_shows(socket_dir: Path) -> None:
    archive = socket_dir / "archive.git"
    agent = Agent(cwd="/work/app")
    agent.turn("hello there")
    begun = agent.data
    agent.turn("and on")
    folders = [socket_dir / "a", socket_dir / "b"]
    for folder in folders:
        folder.mkdir()
    one, two = (Daemon(folder, SESSIOND_ARCHIVE_URL=str(archive)) for folder in folders)
    with one, two:
        one.start()
        _write(one, agent.session, agent.data)
        poll(lambda: [*archive.glob("refs/sessiond/claude/*/*")])
        two.start()
        _write(two, agent.session, begun)
        two.ctl("sync", acts=True)
        poll(lambda: two.ctl("sessions")["sessions"][0]["newer_elsewhere"])
        assert two.ctl("conflicts")["conflicts"] == []
        assert not one.ctl("sessions")["sessions"][0]["newer_elsewhere"]


def test_a_single_run_hears_of_it_as_well(socket_dir: Path) -> None:
    archive = socket_dir / "archive.git"
    agent = Agent(cwd="/work/app")
    agent.turn("hello there")
    begun = agent.data
    agent.turn("and on")
    seen = []
    for name, data in (("a", agent.data), ("b", begun)):
        (socket_dir / name).mkdir()
        machine = Daemon(socket_dir / name, SESSIOND_ARCHIVE_URL=str(archive))
        path = machine.agent / "projects" / "-work-app" / f"{agent.session}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        for command in ("sync --once", "list --json"):
            done = subprocess.run(
                [sys.executable, "-m", "sessiond", *command.split()],
                env=machine.environ,
                cwd=machine.home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        seen += [each["newer_elsewhere"] for each in json.loads(done.stdout)["sessions"]]
    assert seen == [False, True]
