"""Another version is installed under a running daemon, by real pip, pipx and uv; its service manager's part is in under_systemd.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessiond import process
from sessiond.app import SIGNALS, App
from sessionsync import __version__
from sessionsync.errors import DaemonNotRunning
from sessionsync.paths import paths
from sessionsync.vault.journal import FORMAT
from tests import arrived
from tests.conftest import PATIENCE_S
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.process.user import User, codes
from tests.wheels import Environment, Tool, built

Wait = Callable[..., None]
REFUSES = "raise SystemExit('sessiond: broken: this version does not start')"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return {
        "1.0.0": built(folder, "1.0.0"),
        "2.0.0": built(folder, "2.0.0"),
        "3.0.0": built(folder, "3.0.0", app=REFUSES),
    }


@pytest.fixture(params=["pip"])
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, wheels: dict[str, Path]
) -> Environment | Tool:
    """Where version 1.0.0 was installed, by the tool that a test is for."""
    (tmp_path / "home").mkdir(exist_ok=True)
    made = Environment(tmp_path / "env") if request.param == "pip" else Tool(request.param, tmp_path / "home")
    made.install(wheels["1.0.0"])
    return made


@pytest.fixture
def user(tmp_path: Path, gh: FakeGitHub, environment: Environment | Tool) -> Iterator[User]:
    with User(tmp_path, gh, NOTIFY_SOCKET=str(tmp_path / "ear"), WATCHDOG_USEC="60000000") as made:
        made.program = (str(environment.sessiond),)
        yield made


def test_it_ends_with_nothing_lost_and_goes_on_as_the_new_version_in_the_same_process(
    tmp_path: Path,
    user: User,
    gh: FakeGitHub,
    environment: Environment | Tool,
    wheels: dict[str, Path],
    wait_until: Wait,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "ear"))
        ear.settimeout(PATIENCE_S)
        user.start()
        assert user.status()["version"] == "1.0.0"
        pid, start = user.pid, began(user.pid)
        # one is on its way, and done though nobody hears of it; two wait behind it
        gh.fault(rule("hang", method="POST", path=r"/comments$", times=1, effect=True))
        paths = [user.say(text) for text in ("one", "two", "three")]
        wait_until(lambda: gh.fault_hits()[0] > 0)
        environment.install(wheels["2.0.0"])
        wait_until(lambda: version(user) == "2.0.0")
        assert (user.pid, began(user.pid), user.status()["pid"]) == (pid, start, pid)
        gh.release_hangs()
        gh.clear_faults()
        user.ctl("sync", acts=True, wait=40)
        user.until(lambda status: not status["sessions"]["unpushed"])
        assert {path.stem: arrived.files(gh, path.stem) for path in paths} == {
            path.stem: {path.name: path.read_bytes()} for path in paths
        }
        assert len(gh.all_comments()) == len(paths)
        user.stop()
        heard = [ear.recv(4096).decode()]
        while not heard[-1].startswith("STOPPING=1"):
            heard.append(ear.recv(4096).decode())
    (said,) = [words for words in heard if words.startswith("RELOADING=1")]
    assert "WATCHDOG_USEC=900000000" in said.splitlines()
    ready = [words.splitlines() for words in heard if words.startswith("READY=1")]
    assert len(ready) == 2
    assert ready[1][-1] == "WATCHDOG_USEC=60000000"
    assert [words for words in heard if words.startswith("STOPPING=1")] == heard[-1:]
    (told,) = user.logged("daemon_replaced")
    assert (told["version"], told["by"].split()[:2]) == ("1.0.0", ["sessiond", "2.0.0"])


def version(user: User) -> str:
    """Which version answers; '' while one takes over from the other."""
    try:
        return str(user.status()["version"])
    except DaemonNotRunning:
        return ""


def began(pid: int) -> str:
    """When a process began: `execve` keeps it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@pytest.mark.parametrize("environment", ["uv"], indirect=True)
def test_a_version_that_does_not_start_is_not_given_way_to_and_one_that_does_is(
    user: User, environment: Environment | Tool, wheels: dict[str, Path], wait_until: Wait
) -> None:
    user.start()
    path = user.say("before")
    environment.install(wheels["3.0.0"])
    found = user.until_found("program_unusable")
    assert found["message"] == (
        "Another version was installed, and does not start (broken: this version does not start); "
        "the daemon that runs goes on."
    )
    user.say("meanwhile", path)
    wait_until(lambda: user.is_copied(path))
    assert user.status()["version"] == "1.0.0"
    environment.install(wheels["2.0.0"])
    wait_until(lambda: version(user) == "2.0.0")
    assert "program_unusable" not in codes(user.status())
    user.check_kept(path)


def test_a_stop_that_comes_before_it_gives_way_is_obeyed() -> None:
    app = App.__new__(App)
    app._ending, app.gives_way = False, True  # which another thread has just decided
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for told, takes_over in ((signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGUSR1, True)):
            signal.pthread_kill(threading.get_ident(), told)
            assert app.wait() is takes_over
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("environment", ["pipx"], indirect=True)
def test_a_stop_that_comes_as_another_version_takes_over_is_obeyed(
    user: User, environment: Environment | Tool, wheels: dict[str, Path], wait_until: Wait
) -> None:
    user.start()
    environment.install(wheels["2.0.0"])

    def is_giving_way() -> bool:
        version(user)  # a command of another version has it look
        return bool(user.logged("daemon_replaced"))

    wait_until(is_giving_way)
    assert user._process is not None
    os.kill(user.pid, signal.SIGTERM)
    assert user._process.wait(PATIENCE_S) == 0
    assert user.logged("daemon_stopped")


def test_a_check_says_what_would_keep_it_from_starting(tmp_path: Path) -> None:
    user = User(tmp_path)
    done = user.type("run", "--check")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["sessiond", __version__])
    assert "would start here" in done.stderr
    assert not (user.folder / "s").exists()
    lock = paths(user.environ).lock
    lock.parent.mkdir(parents=True)
    with process.hold(lock):
        assert f"Another sessiond, pid {os.getpid()}, runs here" in user.type("run", "--check").stderr
    assert "github.repo" in user.fails("run", "--check", SESSIOND_GITHUB_REPO="7")[1]
    said = user.vault / ".sessiond" / "format"
    said.parent.mkdir(parents=True)
    said.write_text(f"{FORMAT + 1}\n")
    code, what, todo = user.fails("run", "--check")
    assert (code, f"has format {FORMAT + 1}" in what, "newer sessiond" in todo) == (78, True, True)
    assert json.loads(user.type("doctor", "--json").stdout)["checks"]


@pytest.mark.parametrize("environment", ["pipx", "uv"], indirect=True)
def test_hooks_and_service_run_it_where_an_upgrade_leaves_it(
    tmp_path: Path, environment: Environment | Tool, wheels: dict[str, Path]
) -> None:
    user = User(tmp_path)
    user.program = (str(environment.sessiond),)
    assert user.type("hooks", "install").returncode == 0
    settings = json.loads((user.agent / "settings.json").read_text())
    (entry,) = settings["hooks"]["Stop"][0]["hooks"]
    command = entry["command"].removesuffix(" hook Stop")
    assert command == str(environment.sessiond)
    environment.install(wheels["2.0.0"])
    said = subprocess.run(
        [command, "--version"], env=user.environ, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("sessiond 2.0.0")
