"""What `test_service.py` runs where this user has a real service manager: the service from install to uninstall.

A story in order: every test begins with the service installed, and leaves it so.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond.process import hold
from sessionsync import __version__
from sessionsync.config import paths
from tests import readme
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.rig import append, line
from tests.wheels import Environment, Tool, built

HOME = Path("/home/sdtest")
STATE = HOME / "s"
AGENT = HOME / ".claude"
UNITS = HOME / ".config" / "systemd" / "user"
DROP_INS = UNITS / "sessiond.service.d"
PROGRAM = HOME / ".local" / "bin" / "sessiond"
TOKEN = HOME / "token"

Wait = Callable[..., None]
Json = dict[str, Any]


def run(*command: str, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        command,
        env={**ENVIRON, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{journal()}"
    return done.stdout + done.stderr


ENVIRON = {
    "HOME": str(HOME),
    "SESSIOND_HOME": str(STATE),
    "CLAUDE_CONFIG_DIR": str(AGENT),
    "PATH": f"{PROGRAM.parent}:/usr/local/bin:/usr/bin:/bin",
    "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def journal() -> str:
    command = ["journalctl", "--user", "-u", "sessiond", "--no-pager", "-n", "40"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def service(verb: str, *arguments: str, code: int = 0) -> Json:
    found: Json = json.loads(run(str(PROGRAM), "service", verb, *arguments, "--json", code=code))
    return found


def systemctl(*arguments: str, code: int = 0) -> str:
    return run("systemctl", "--user", "--no-pager", *arguments, code=code).strip()


def shown(name: str) -> str:
    return systemctl("show", "-P", name, "sessiond")


def pid() -> int:
    return int(shown("MainPID"))


def drop_in(name: str, text: str) -> Path:
    file = DROP_INS / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[Service]\n{text}\n")
    systemctl("daemon-reload")
    return file


def tree() -> set[str]:
    """Every name in the home but the state's and the backups', which stay on purpose."""
    ours = (STATE, HOME / ".claude-backup", HOME / ".claude-backup-sessions", HOME / "t")
    return {str(file) for file in HOME.rglob("*") if not any(file.is_relative_to(each) for each in ours)}


@pytest.fixture(scope="module")
def before() -> set[str]:
    """The home as it is before anything is installed."""
    (AGENT / "projects").mkdir(parents=True)
    PROGRAM.parent.mkdir(parents=True)
    PROGRAM.symlink_to(Path(sys.executable).with_name("sessiond"))  # as pipx and uv do it
    TOKEN.write_text("T\n")
    TOKEN.chmod(0o600)
    STATE.mkdir()
    return tree()


@pytest.fixture(autouse=True)
def installed(before: set[str]) -> Iterator[None]:
    systemctl("reset-failed")  # every start counts for the limit
    service("install")
    yield
    for file in DROP_INS.glob("test*.conf"):
        file.unlink()
    (STATE / "config.toml").unlink(missing_ok=True)
    systemctl("daemon-reload")


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as made:
        made.add_repo("o/r", private=True)
        made.token("T", login="me")
        settings = f'[github]\nrepo = "o/r"\napi_url = "{made.url}"\n[sources]\nquiet_seconds = 1\n'
        (STATE / "config.toml").write_text(settings)
        yield made
        made.release_hangs()


def say(text: str) -> Path:
    project = HOME / "t" / "app"
    project.mkdir(parents=True, exist_ok=True)
    path = AGENT / "projects" / "-app" / "0d6a4a53-5b5e-4c4f-9a4b-0c6d1c5d9f11.jsonl"
    path.parent.mkdir(exist_ok=True)
    append(path, line("user", text, project))
    return path


def test_install_is_ready_when_it_returns_and_says_so_in_one_line() -> None:
    service("uninstall")
    said = run(str(PROGRAM), "service", "install")
    assert re.match(
        r"The service is running, pid \d+, starts at boot, hardened: Backing up on this disk", said
    )
    assert len(said.splitlines()) == 1
    assert json.loads(run(str(PROGRAM), "ctl", "status", "--json"))["pid"] == pid()
    assert shown("StatusText").startswith("Backing up on this disk; nothing goes to GitHub")
    assert shown("UnitFileState") == "enabled"
    status = service("status")
    assert (status["program"], status["version"]) == (str(PROGRAM), __version__)


def test_again_changes_nothing() -> None:
    files = {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in UNITS.rglob("*") if file.is_file()
    }
    was = pid()
    assert service("install")["changed"] is False
    assert pid() == was
    assert files == {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in UNITS.rglob("*") if file.is_file()
    }


def test_the_program_is_named_as_it_was_called_so_that_an_upgrade_moves_it() -> None:
    assert f'ExecStart="{PROGRAM}" run' in (UNITS / "sessiond.service").read_text()


def test_the_unit_is_what_systemd_calls_right_and_guarded() -> None:
    assert not run("systemd-analyze", "--user", "--man=no", "verify", str(UNITS / "sessiond.service"))
    exposed = run("systemd-analyze", "security", "--user", "--no-pager", "sessiond.service")
    assert float(exposed.split("sessiond.service:")[1].split()[0]) <= 2.5
    status = Path(f"/proc/{pid()}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    own, its = (Path(f"/proc/{each}/ns/user").readlink() for each in ("self", pid()))
    assert own != its


def test_the_journal_has_priorities() -> None:
    lines = [
        json.loads(text) for text in run("journalctl", "--user", "-u", "sessiond", "-o", "json").splitlines()
    ]
    started = next(each for each in lines if "daemon_started" in each["MESSAGE"])
    assert (started["PRIORITY"], started["MESSAGE"][:1]) == ("6", "{")


def test_killed_it_is_started_again(wait_until: Wait) -> None:
    drop_in("test.conf", "RestartSec=50ms")
    was = pid()
    os.kill(was, signal.SIGKILL)
    wait_until(lambda: pid() not in {0, was} and shown("ActiveState") == "active")
    assert service("status")["restarts"] == 1


def test_frozen_it_is_killed_and_started_again(wait_until: Wait) -> None:
    drop_in("test.conf", "RestartSec=50ms\nWatchdogSec=1s")
    systemctl("restart", "sessiond")
    was = pid()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 2)  # it feeds the watchdog meanwhile
    assert (pid(), shown("NRestarts")) == (was, "0")
    os.kill(was, signal.SIGSTOP)
    wait_until(lambda: pid() not in {0, was} and shown("ActiveState") == "active")
    assert "Watchdog timeout" in journal()


def test_started_while_a_command_holds_the_state_it_is_up_when_that_has_ended(wait_until: Wait) -> None:
    service("stop")
    with hold(paths(ENVIRON).lock):  # as `sync --once` and `search --rebuild` do
        systemctl("restart", "--no-block", "sessiond")
        wait_until(
            lambda: shown("StatusText").startswith("Starts when that has ended: Another sessiond, pid ")
        )
    wait_until(lambda: shown("ActiveState") == "active")
    assert shown("NRestarts") == "0"


def test_reload_comes_back_when_it_is_done_and_says_what_was_refused(wait_until: Wait) -> None:
    was = pid()
    (STATE / "config.toml").write_text("[sources]\nquiet_seconds = 7\n")
    for _ in range(3):
        systemctl("reload", "sessiond")
    assert "config_reloaded" in journal()
    (STATE / "config.toml").write_text("[github]\nrepo = 7\n")
    systemctl("reload", "sessiond")
    # what it says of itself follows the answer
    wait_until(lambda: shown("StatusText").startswith("The settings were refused, the old ones stay:"))
    assert (pid(), shown("ActiveState")) == (was, "active")


def test_wrong_settings_start_it_once_and_it_says_which() -> None:
    drop_in("test.conf", "RestartSec=10ms")
    service("stop")
    (STATE / "config.toml").write_text("[github]\nrepo = 7\n")
    said = run(str(PROGRAM), "service", "start", code=1)
    assert "github.repo = 7 is not allowed" in said
    assert service("status", code=3)["exit_code"] == 78
    assert (shown("NRestarts"), shown("ActiveState")) == ("0", "failed")


def test_a_token_file_reaches_it_and_a_stop_in_mid_push_keeps_its_time(
    gh: FakeGitHub, wait_until: Wait
) -> None:
    assert service("install", "--token-file", str(TOKEN))["credential"]
    assert "T" not in shown("Environment")
    gh.fault(rule("hang", method="POST", path=r"/comments$", times=1, effect=True))
    drop_in("test.conf", "WatchdogSec=2s")  # which is how often the status is told
    systemctl("restart", "sessiond")
    say("hello")
    wait_until(lambda: gh.fault_hits()[0] > 0)
    began = time.monotonic()
    assert service("stop")["state"] == "stopped"
    assert time.monotonic() - began < 10
    assert shown("Result") == "success"
    gh.release_hangs()
    gh.clear_faults()
    service("start")
    run(str(PROGRAM), "ctl", "sync", "--wait", "30")
    assert len(gh.all_comments()) == 1
    try:
        wait_until(lambda: shown("StatusText").endswith("and on GitHub."))
    except AssertionError as late:
        raise AssertionError(shown("StatusText"), asked()) from late


def test_upgraded_by_pip_it_goes_on_as_the_new_version_and_loses_nothing(
    gh: FakeGitHub, wait_until: Wait
) -> None:
    environment = Environment(HOME / "t" / "env")
    environment.install(wheel("1.0.0"))
    usual = PROGRAM.readlink()
    PROGRAM.unlink()
    PROGRAM.symlink_to(environment.sessiond)
    try:
        service("install", "--token-file", str(TOKEN))
        systemctl("restart", "sessiond")
        was = pid()
        gh.fault(rule("hang", method="POST", path=r"/comments$", times=1, effect=True))
        say("in flight")
        wait_until(lambda: gh.fault_hits()[0] > 0)
        environment.install(wheel("2.0.0"))
        usual_says = run(str(usual), "service", "status")
        assert f"this command {__version__}" in usual_says.splitlines()[1]
        wait_until(lambda: '"version": "2.0.0"' in asked())
        wait_until(lambda: shown("ActiveState") == "active")  # it answers before it says that it is ready
        assert (pid(), shown("NRestarts")) == (was, "0")
        gh.release_hangs()
        gh.clear_faults()
        run(str(PROGRAM), "ctl", "sync", "--wait", "30")
        assert len(gh.all_comments()) == 1
        assert service("install")["changed"] is False
        systemctl("reload", "sessiond")  # the manager knows its state
    finally:
        PROGRAM.unlink()
        PROGRAM.symlink_to(usual)
        systemctl("restart", "sessiond")


def asked() -> str:
    """What `ctl status` says; nothing while one version takes over from the other."""
    command = [str(PROGRAM), "ctl", "status", "--json"]
    return subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", ["pipx", "uv"])
def test_from_where_people_install_programs_the_service_is_the_same(name: str) -> None:
    usual = PROGRAM.readlink()
    PROGRAM.unlink()
    tool = Tool(name, HOME)
    try:
        tool.install(wheel("1.0.0"))
        assert run(str(PROGRAM), "run", "--check").startswith("sessiond 1.0.0\n")
        assert service("install")["changed"] is False  # it starts what was called, ~/.local/bin/sessiond
    finally:
        tool.uninstall()
        for folder in (".local/share", ".local/state/pipx", ".cache"):
            shutil.rmtree(HOME / folder, ignore_errors=True)
        PROGRAM.symlink_to(usual)


@functools.cache
def wheel(version: str) -> Path:
    """A wheel of this tree, with another version."""
    return built(HOME / "t" / "wheels", version)


def test_what_the_readme_says_of_the_service_can_be_typed() -> None:
    (HOME / ".gh-token").write_text("T\n")
    (HOME / ".gh-token").chmod(0o600)
    typed = readme.typed("As a service")
    assert len(typed) > 4
    for command in typed:
        run("/bin/sh", "-c", command)
    assert shown("LoadState") == "not-found"
    (HOME / ".gh-token").unlink()


def test_where_it_does_not_start_hardened_it_starts_without_and_that_is_tried_once() -> None:
    if int(re.match(r"\d+", systemctl("show", "-P", "Version"))[0]) >= 254:  # type: ignore[index]
        pytest.skip("here a mount without a user namespace is no longer ignored")
    service("uninstall")
    drop_in("test.conf", "BindPaths=/not/there")  # fails in a user namespace, and is ignored without
    found = service("install")
    assert (found["state"], found["hardened"]) == ("running", False)
    assert found["hardening_refused"]
    assert not (DROP_INS / "hardening.conf").exists()
    assert service("install")["changed"] is False
    (DROP_INS / "test.conf").unlink()
    systemctl("daemon-reload")
    found = service("install", "--hardening")
    assert (found["state"], found["hardened"], found["hardening_refused"]) == ("running", True, "")


def test_a_unit_of_somebody_else_stays_as_it_is() -> None:
    service("uninstall")
    unit = UNITS / "sessiond.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert "was not written by sessiond" in run(str(PROGRAM), "service", "install", code=77)
    service("uninstall")
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    unit.unlink()


def test_init_puts_the_service_in_and_says_what_it_says() -> None:
    service("uninstall")
    said = run(str(PROGRAM), "init", "--yes", "--service", GH_TOKEN="T")
    assert "service: start it now, and at each login" in said
    assert "The service runs, and starts at login." in said
    assert said.endswith("Next: sessiond ctl status\n")
    assert shown("ActiveState") == "active"
    assert "Nothing to change." in run(str(PROGRAM), "init", "--yes", "--service")
    run(str(PROGRAM), "init", "--yes", "--no-service")
    assert shown("LoadState") == "not-found"


def test_with_everything_else_the_service_goes_as_well(before: set[str]) -> None:
    service("install", "--token-file", str(TOKEN))
    run(str(PROGRAM), "hooks", "install")
    shutil.rmtree(AGENT / "projects" / "-app", ignore_errors=True)
    said = run(str(PROGRAM), "uninstall", "--purge", "--yes")
    assert "service     /home/sdtest/.config/systemd/user/sessiond.service  systemd" in said
    assert (shown("LoadState"), tree() | {str(STATE)}) == ("not-found", before | {str(STATE)})
    assert not STATE.exists()
    STATE.mkdir()


def test_uninstall_leaves_no_trace(before: set[str]) -> None:
    service("install", "--token-file", str(TOKEN))
    shutil.rmtree(AGENT / "projects" / "-app", ignore_errors=True)
    assert service("uninstall")["changed"]
    assert tree() == before
    assert not (STATE / "state" / "service.json").exists()
    assert not Path(f"/run/user/{os.getuid()}/sessiond").exists()
    assert shown("LoadState") == "not-found"
    assert run(str(PROGRAM), "service", "status", code=3) == "The service is not installed.\n"
