"""The service: with the real systemd where that can be had, and with a stand-in for launchctl."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from sessiond.app import STUCK_S, App
from sessiond.loops import TICK_S, Bell, Loop
from sessiond.notify import Notify
from sessiond.process import hold, own
from sessionsync.config import paths
from sessionsync.errors import DaemonError
from tests.conftest import PATIENCE_S, poll
from tests.daemon import Daemon
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.rig import append, line

ROOT = Path(__file__).parents[2]
STORY = "tests/process/under_systemd.py"
NOT_UP = 125


@pytest.mark.timeout(640)
def test_with_the_real_systemd(shared: Path) -> None:
    tool = shared / "tools" / "with-systemd-user.sh"
    if not tool.exists() or os.geteuid():
        pytest.skip("a real service manager needs root and the tool that makes one")
    if not Path(sys.executable).with_name("sessiond").exists():
        pytest.skip("the program is not installed beside this Python")
    pytest_ = [sys.executable, "-m", "pytest", STORY, "-q", "-x", "--basetemp=/home/sdtest/t"]
    done = subprocess.run(
        [
            str(tool), "-t", "600", "-r", sys.base_prefix, "-r", sys.prefix, "-e", "PYTHONDONTWRITEBYTECODE=1",
            *pytest_, "-p", "no:cacheprovider", "-p", "no:randomly",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=630, check=False,
    )  # fmt: skip
    if done.returncode == NOT_UP:
        pytest.skip(f"no service manager could be made: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    print(done.stdout)


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(PATIENCE_S)
        yield made


class Manager:
    """Hears each word as it is said: the kernel keeps some ten of them, and what follows is lost."""

    def __init__(self, ear: socket.socket) -> None:
        self._ear = ear
        self._words = queue.SimpleQueue[bytes]()
        self._thread = threading.Thread(target=self._listen)
        ear.settimeout(None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def recv(self, _size: int) -> bytes:
        return self._words.get(timeout=PATIENCE_S)

    def rest(self) -> list[bytes]:
        """What else was said until now; no more is heard."""
        if self._thread.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
                speaker.sendto(b"", self._ear.getsockname())
            self._thread.join()
        return [self._words.get() for _ in range(self._words.qsize())]

    def _listen(self) -> None:
        while word := self._ear.recv(4096):
            self._words.put(word)


def hear(ear: socket.socket | Manager, word: str) -> None:
    """Listen until something is said that begins so."""
    until = time.monotonic() + PATIENCE_S
    while not (said := ear.recv(4096).decode()).startswith(word):
        assert time.monotonic() < until, said


def test_what_a_manager_hears_from_start_to_end(tmp_path: Path, ear: socket.socket) -> None:
    name = str(tmp_path / "notify")
    with (
        Manager(ear) as manager,
        Daemon(tmp_path / "d", NOTIFY_SOCKET=name, WATCHDOG_USEC="400000") as daemon,
    ):
        daemon.launch()
        # by then it may have said that it is alive
        hear(manager, "READY=1\nSTATUS=Backing up on this disk; nothing goes to GitHub")
        assert daemon.ctl("status")["pid"] == daemon.pid  # it answers, as was said
        hear(manager, "WATCHDOG=1")
        daemon.ctl("reload", acts=True)
        hear(manager, "RELOADING=1\nMONOTONIC_USEC=")
        hear(manager, "READY=1")  # the reload was done
        (daemon.folder / "s" / "config.toml").write_text("[github]\nrepo = 7\n")
        with pytest.raises(DaemonError, match=r"github\.repo"):
            daemon.ctl("reload", acts=True)
        hear(manager, "READY=1\nSTATUS=The settings were refused, the old ones stay: ")
        assert {manager.recv(4096) for _ in range(3)} == {b"WATCHDOG=1"}, (
            "and it is said for as long as it is so"
        )
        daemon.stop()
        rest = [word.decode().splitlines()[0] for word in manager.rest()]
        assert [word for word in rest if word != "WATCHDOG=1"][-1] == "STOPPING=1"


def test_nobody_says_how_all_is_behind_the_end(ear: socket.socket, tmp_path: Path) -> None:
    class Ends(Notify):
        def alive(self) -> None:
            app.stop()  # which another thread does, as it is told to in the middle of a beat

    app = App.__new__(App)
    app.notify = Ends({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    app._ending, app._speaking, app._ends = False, threading.Lock(), ExitStack()
    app.gives_way, app.exit_code, app.started_at = False, 0, time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "stuck", lambda _: {})
        patch.setattr(App, "saying", lambda _: "All is well.")
        patch.setattr(App, "emit", lambda *_, **__: None)
        app.beat()
    assert ear.recv(4096).startswith(b"STOPPING=1")
    ear.setblocking(False)
    with pytest.raises(BlockingIOError):
        ear.recv(4096)


def test_what_is_pushed_is_said_to_be_on_github_before_the_issue_lists_it(
    tmp_path: Path, ear: socket.socket
) -> None:
    """An issue's list is written once for all changes of half a minute."""
    with (
        FakeGitHub() as gh,
        Daemon(
            tmp_path / "d",
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="400000",
            **gh.settings(),
        ) as daemon,
    ):
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        daemon.start()
        path = daemon.agent / "projects" / "-app" / f"{uuid.uuid4()}.jsonl"
        path.parent.mkdir()
        append(path, line("user", "hello", daemon.home))
        poll(lambda: daemon.ctl("sessions")["sessions"])
        daemon.ctl("checkpoint", acts=True, session=path.stem)
        poll(lambda: daemon.ctl("status")["last_push_at"])
        hear(ear, "STATUS=Everything is on this disk twice and on GitHub.")
        (item,) = daemon.ctl("queue")["items"]
        assert item["operation"] == "index"
        gh.fault(rule("status", method="PATCH", path="/comments/", status=422, body="{}"))
        append(path, line("user", "more", daemon.home))
        daemon.ctl("checkpoint", acts=True, session=path.stem)
        hear(ear, "STATUS=Everything is on this disk twice; GitHub refused 1 checkpoint for good. See why: ")


def test_a_command_that_holds_the_state_is_waited_for_and_another_daemon_is_not(
    tmp_path: Path, ear: socket.socket
) -> None:
    """A manager does not start it again for what only a person can mend; a command ends by itself."""
    said = f"STATUS=Starts when that has ended: Another sessiond, pid {os.getpid()}, runs on "
    with Daemon(tmp_path / "d", NOTIFY_SOCKET=str(tmp_path / "notify")) as daemon:
        lock = paths(daemon.environ).lock
        with hold(own(lock.parent) / lock.name):  # as `sync --once` and `search --rebuild` do
            daemon.launch()
            hear(ear, said)
            waiting = daemon._process
            daemon.stop()
            assert waiting is not None
            assert waiting.returncode == 0
            daemon.launch()
            hear(ear, said)
        hear(ear, "READY=1")
        second = subprocess.run([*daemon.program, "run"], env=daemon.environ, check=False, timeout=60)
        assert second.returncode == 75
        assert daemon.ctl("status")["pid"] == daemon.pid


def silent(event: str, **fields: object) -> None:
    """Nobody listens to events here."""


class Turning(Loop):
    """A loop that has nothing to do."""

    def turn(self) -> float:
        return TICK_S


def test_the_watchdog_is_not_fed_while_one_loop_is_stuck(tmp_path: Path, ear: socket.socket) -> None:
    app = App.__new__(App)
    app.environ = {}
    app._ending = False
    app.notify = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"})
    loops = [
        Turning(name, Bell(), silent, lambda _name, _error: None)
        for name in ("capture", "push", "archive", "index", "upkeep", "health")
    ]
    for loop in loops:
        setattr(app, loop.name, loop)
        loop.start()
    try:
        assert not any(app.stuck().values())
        loops[3].progressed_at = loops[3].waits_until = time.monotonic() - STUCK_S - 1
        app.beat()
        assert ear.recv(4096).decode().startswith("STATUS=The index loop is stuck: no progress for 12")
        ear.setblocking(False)
        with pytest.raises(BlockingIOError):
            ear.recv(4096)
        app._ending = True  # then loops end, one after the other
        app.beat()
        assert ear.recv(4096) == b"WATCHDOG=1"
    finally:
        for loop in loops:
            loop.stop()
            loop.join()
