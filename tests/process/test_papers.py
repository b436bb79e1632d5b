"""Notes, context files and message stores under a real daemon: seen at once, swept away, and put back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import poll
from tests.daemon import Daemon
from tests.machine import repository
from tests.process.test_restore import an_agent, run, transcript

NESTED = "2025-07-11-1135-voices from https:/huggingface.co/hexgrad/VOICES.md.md"


@pytest.fixture
def folder(socket_dir: Path) -> Path:
    return socket_dir


def test_each_kind_is_copied_at_once_and_comes_back_when_it_was_swept_away(folder: Path) -> None:
    with Daemon(folder) as daemon:
        app = daemon.home / "app"
        repository(app)
        agent = an_agent(app)
        live = transcript(daemon, app, agent)
        live.write_bytes(agent.data)
        daemon.start()  # the project is known by its transcript; it has no folder for sessions yet
        poll(lambda: daemon.ctl("sessions")["sessions"])
        sessions = app / ".claude" / "sessions"
        files = {
            "note.app.2026-01-02-topic": (sessions / "2026-01-02-topic.md", "# Topic\n"),
            "context.app.12": (sessions / "12.md", "# Twelve\n"),
            "messages.app.abc": (sessions / "abc.json", '{"messages": [{"role": "user", "content": "hi"}]}'),
            "note.app.2026-01-02-x-session": (
                daemon.agent / "session-data" / "2026-01-02-x-session.tmp",
                f"# Session: 2026-01-02\n**Worktree:** {app}\n",
            ),
            "note.app." + NESTED.removesuffix(".md").replace("/", "-"): (sessions / NESTED, "# Voices\n"),
        }
        for path, text in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        copies = {daemon.mirror / "app" / name / path.name: text for name, (path, text) in files.items()}
        poll(lambda: all(copy.exists() and copy.read_text() == text for copy, text in copies.items()))
        # now that they are known, a change is seen by its event: no rescan is due for minutes
        for path, text in files.values():
            path.write_text(text + "\n")
        poll(lambda: all(copy.read_text() == text + "\n" for copy, text in copies.items()))
        for name in files:
            assert daemon.ctl("checkpoint", acts=True, session=name)["session"] == name
        for path, _ in files.values():
            path.unlink()
        poll(lambda: all(daemon.ctl("show", session=name)["state"] == "deleted" for name in files))
        for name, (path, text) in files.items():
            done = run(daemon, "restore", name)
            assert done.returncode == 0, done.stderr
            assert path.read_text() == text + "\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_machine_without_notes_does_without_the_parser(folder: Path) -> None:
    with Daemon(folder) as daemon:
        app = daemon.home / "app"
        repository(app)
        agent = an_agent(app)
        transcript(daemon, app, agent).write_bytes(agent.data)
        daemon.start()
        poll(lambda: daemon.ctl("sessions")["sessions"])
        code = "import sys, sessiond.app, sessionsync.search; print('markdown_it' in sys.modules)"
        assert run_python(daemon, code) == "False"


def run_python(daemon: Daemon, code: str) -> str:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code], env=daemon.environ, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
