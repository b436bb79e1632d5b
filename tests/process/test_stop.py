"""How the daemon ends, starts again, and takes new settings, as a process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import arrived
from tests.daemon import Daemon
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.rig import line

Wait = Callable[..., None]


@pytest.fixture
def daemon(tmp_path: Path, gh: FakeGitHub) -> Iterator[Daemon]:
    made = Daemon(
        tmp_path,
        SESSIOND_SOURCES_QUIET_SECONDS="1",
        **gh.settings(),
    )
    yield made
    made.kill()


def say(daemon: Daemon, text: str, path: Path | None = None) -> Path:
    project = daemon.home / "work" / "app"
    project.mkdir(parents=True, exist_ok=True)
    path = path or daemon.agent / "projects" / "-work-app" / "0d6a4a53-5b5e-4c4f-9a4b-0c6d1c5d9f11.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line("user", text, project))
    return path


def run(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sessiond", *arguments]
    return subprocess.run(
        command, env=daemon.environ, capture_output=True, text=True, timeout=30, check=False
    )


def test_sigterm_in_mid_push_ends_within_ten_seconds_and_nothing_is_lost_or_doubled(
    daemon: Daemon, gh: FakeGitHub, wait_until: Wait
) -> None:
    daemon.start()
    gh.fault(rule("hang", method="POST", path=r"/comments$", times=1, effect=True))
    path = say(daemon, "hello")
    wait_until(lambda: gh.fault_hits()[0] > 0)
    pid, began = daemon.pid, time.monotonic()
    os.kill(pid, signal.SIGTERM)
    daemon.stop()
    assert time.monotonic() - began < 10
    gh.release_hangs()
    gh.clear_faults()
    daemon.start()
    daemon.ctl("sync", acts=True, wait=60)
    wait_until(lambda: path.stem in arrived.records(gh))
    assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
    assert len(gh.all_comments()) == 1


def test_a_second_start_names_the_first(daemon: Daemon) -> None:
    daemon.start()
    second = run(daemon, "run")
    assert second.returncode == 75
    assert str(daemon.pid) in second.stderr
    assert len(second.stderr.splitlines()) == 2


def test_the_socket_of_a_killed_daemon_is_replaced(daemon: Daemon) -> None:
    daemon.start()
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert daemon.ctl("status")["pid"] == daemon.pid


def test_ctl_stop_ends_it_and_a_stopped_one_is_said(daemon: Daemon) -> None:
    daemon.start()
    assert run(daemon, "ctl", "stop").returncode == 0
    daemon.stop()
    assert run(daemon, "ctl", "status").returncode == 3
    assert not daemon.socket.exists()


def test_sighup_applies_new_settings_and_refuses_bad_ones(daemon: Daemon, wait_until: Wait) -> None:
    del daemon.environ["SESSIOND_SOURCES_QUIET_SECONDS"]
    file = daemon.folder / "s" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("[sources]\nquiet_seconds = 500\n")
    daemon.start()
    path = say(daemon, "hello")
    wait_until(lambda: daemon.ctl("sessions")["sessions"])
    file.write_text("[sources]\nquiet_seconds = 'soon'\n")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: "config_invalid" in {f["code"] for f in daemon.ctl("health")["findings"]})
    file.write_text("[sources]\nquiet_seconds = 1\n")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: daemon.ctl("show", session=path.stem)["last_checkpoint_at"] is not None)
    assert daemon.ctl("health")["findings"] == []


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("[github]\nrepo = 'nonsense'\n", "github.repo"),
        ("[sources]\nquiet_secnds = 3\n", "quiet_secnds"),
        ("[github\n", "config.toml"),
    ],
)
def test_bad_settings_are_refused_with_their_name(daemon: Daemon, setting: str, named: str) -> None:
    del daemon.environ["SESSIOND_GITHUB_REPO"]  # a variable would win over the file
    file = daemon.folder / "s" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(setting)
    refused = run(daemon, "run")
    assert refused.returncode == 78
    assert named in refused.stderr
    assert len(refused.stderr.splitlines()) == 2


def test_newer_state_is_refused(daemon: Daemon) -> None:
    daemon.start()
    daemon.stop()
    with sqlite3.connect(daemon.state) as state:
        state.execute("PRAGMA user_version=99")
    state.close()
    refused = run(daemon, "run")
    assert refused.returncode == 78
    assert "99" in refused.stderr


def test_a_broken_state_is_set_aside_and_nothing_is_doubled(
    daemon: Daemon, gh: FakeGitHub, wait_until: Wait
) -> None:
    daemon.start()
    path = say(daemon, "hello")
    wait_until(lambda: path.stem in arrived.records(gh))
    before = daemon.ctl("show", session=path.stem)["checkpoints"]
    daemon.kill()
    daemon.state.write_bytes(b"rubbish " * 1000)
    say(daemon, "more", path)
    daemon.start()
    wait_until(lambda: arrived.files(gh, path.stem) == {path.name: path.read_bytes()})
    assert len(gh.all_comments()) == 1
    assert len(gh.effects("created issue")) == 1
    assert list(daemon.state.parent.glob("state.db.corrupt-*"))
    now = {point["id"] for point in daemon.ctl("show", session=path.stem)["checkpoints"]}
    assert {point["id"] for point in before} <= now
