"""`sessiond doctor`: each check on a machine that is well and on one that is not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessiond import bundle, doctor
from sessiond.doctor import CHECKS, FAILED, OK, WARNING, Check, Here, files, programs
from sessiond.hooks import install, read
from sessionsync.paths import paths
from sessionsync.privacy.seal import make_identity, recipient_of
from sessionsync.restore.drill import Last
from sessionsync.store import Store
from sessionsync.upkeep import Scan
from tests.fakes.github import FakeGitHub
from tests.ports import free_port
from tests.process.user import User

NOW = 1_800_000_000.0


class Machine:
    """A user's machine, as a check sees it; `environ` may be changed before a look."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.agent = self.home / ".claude"
        (self.agent / "projects").mkdir(parents=True)
        self.environ = {
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.agent),
            "SESSIOND_HOME": str(folder / "s"),
            "SESSIOND_HTTP_LISTEN": "127.0.0.1:0",
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        self.config_file = folder / "s" / "config.toml"
        self.state = folder / "s" / "state" / "state.db"

    def look(self, name: str, now: float | None = None) -> Check:
        (found,) = doctor.examine(Here(self.environ, time.time() if now is None else now), name)
        assert found.name == name
        assert found.status == OK or found.hint, found
        return found

    def set(self, text: str) -> None:
        self.config_file.parent.mkdir(exist_ok=True)
        self.config_file.write_text(text)
        self.config_file.chmod(0o600)

    def kept(self, **meta: Any) -> None:
        self.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = Store(self.state)
        for name, value in meta.items():
            store.set_meta(name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
        store.close()

    def program(self, name: str, script: str) -> None:
        """A PATH on which there is only this."""
        folder = self.home / "bin"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        self.environ["PATH"] = str(folder)


@pytest.fixture
def machine(socket_dir: Path) -> Machine:
    return Machine(socket_dir)


@pytest.fixture
def github(machine: Machine) -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        fake.add_repo("o/r")
        machine.environ |= {
            "SESSIOND_GITHUB_REPO": "o/r",
            "SESSIOND_GITHUB_API_URL": fake.url,
            "GH_TOKEN": fake.token("T0KEN", login="me"),
        }
        yield fake


def test_a_machine_that_is_well(machine: Machine, github: FakeGitHub) -> None:
    machine.environ["SESSIOND_HTTP_LISTEN"] = f"127.0.0.1:{free_port()}"
    not_here = {"service", "hooks", "daemon", "version"}
    checks = doctor.examine(Here(machine.environ, time.time()))
    assert [each.name for each in checks] == [*CHECKS]
    assert [each for each in checks if each.status != OK and each.name not in not_here] == []
    assert {path.name for path in machine.home.parent.iterdir()} == {"home"}, "looking made something"


# --- this machine


def test_git_missing_and_too_old(machine: Machine) -> None:
    machine.environ["PATH"] = str(machine.home)
    assert machine.look("git").status == WARNING
    machine.set('[archive]\nurl = "/mnt/a.git"\n')
    assert machine.look("git").status == FAILED
    machine.program("git", "echo git version 2.20.1")
    found = machine.look("git")
    assert (found.status, "too old" in found.message) == (FAILED, True)
    machine.program("git", "echo 'git version 2.39.5 (Apple Git-154)'")
    assert machine.look("git").status == OK


@pytest.mark.parametrize(
    ("version", "status"), [((3, 31, 1), FAILED), ((3, 40, 1), OK), ((3, 51, 3), OK), ((3, 52, 0), OK)]
)
def test_sqlite_and_its_bugs(machine: Machine, version: tuple[int, ...], status: str) -> None:
    found = programs.sqlite(Here(machine.environ, NOW), version)
    assert found.status == status
    assert ("bug in WAL" in found.message) == (version == (3, 40, 1))


def test_settings(machine: Machine) -> None:
    assert machine.look("config").status == OK
    machine.set("[github]\nrepo = 'o/r'\n")
    assert machine.look("config").status == OK
    machine.config_file.chmod(0o666)
    assert "chmod 600" in machine.look("config").hint
    machine.set("[github]\nrepos = 'o/r'\n")
    found = machine.look("config")
    assert (found.status, "github.repos" in found.message) == (FAILED, True)


def test_folders(machine: Machine) -> None:
    assert machine.look("folders").status == OK
    vault = machine.home / ".claude-backup"
    vault.write_text("")
    assert "is no folder" in machine.look("folders").message
    vault.unlink()
    vault.mkdir(mode=0o755)
    assert machine.look("folders").status == WARNING
    vault.chmod(0o700)
    assert machine.look("folders").status == OK


def test_a_folder_of_somebody_else(machine: Machine) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    vault = machine.home / ".claude-backup"
    vault.mkdir(mode=0o700)
    os.chown(vault, 12345, -1)
    found = machine.look("folders")
    assert (found.status, "12345" in found.message) == (FAILED, True)


def test_a_full_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.look("disk").status == OK
    for free, status in ((50, FAILED), (4_000, WARNING), (9_000, WARNING), (50_000, OK)):
        usage = shutil._ntuple_diskusage(100_000 << 20, 0, free << 20)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, usage=usage: usage)
        assert machine.look("disk").status == status


def test_a_damaged_state(machine: Machine) -> None:
    assert machine.look("state").status == OK
    machine.kept()
    assert machine.look("state").status == OK
    machine.state.write_bytes(b"not a database" * 1000)
    assert machine.look("state").status == FAILED
    machine.state.unlink()
    machine.kept()
    with sqlite3.connect(machine.state) as newer:
        newer.execute("PRAGMA user_version = 9999")
    newer.close()
    found = machine.look("state")
    assert (found.status, found.code, "newer" in found.hint) == (FAILED, "state_too_new", True)


def test_few_watches_name_the_exact_sysctl(machine: Machine, tmp_path: Path) -> None:
    here = Here(machine.environ, NOW)
    for number in range(9):
        (machine.agent / "projects" / f"p{number}").mkdir()
    for watches, instances, status in ((1000, 128, OK), (12, 128, WARNING), (1000, 8, WARNING)):
        (tmp_path / "max_user_watches").write_text(f"{watches}\n")
        (tmp_path / "max_user_instances").write_text(f"{instances}\n")
        found = files.inotify(here, tmp_path)
        assert found.status == status, found
        wanted = "max_user_watches=524288" if watches == 12 else "max_user_instances=512"
        assert status == OK or f"sudo sysctl fs.inotify.{wanted}" in found.hint


# --- the agent


def test_the_agent_and_how_long_it_keeps(machine: Machine) -> None:
    assert machine.look("agent").status == OK
    assert "30 days" in machine.look("purge").message
    (machine.agent / "settings.json").write_text('{"cleanupPeriodDays": 0}')
    assert machine.look("purge").status == WARNING
    (machine.agent / "settings.json").write_text("{")
    assert machine.look("purge").status == WARNING
    shutil.rmtree(machine.agent)
    assert machine.look("agent").status == WARNING


def test_a_project_folder_of_the_agent_that_cannot_be_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, access = machine.agent / "projects" / "-closed", os.access
    closed.mkdir()
    assert machine.look("agent").status == OK
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(closed) and access(path, mode))
    found = machine.look("agent")
    assert (found.status, found.message) == (FAILED, f"{closed} cannot be read.")


def test_hooks(machine: Machine) -> None:
    assert machine.look("hooks").status == WARNING
    settings = machine.agent / "settings.json"
    program = machine.home / "bin" / "sessiond"
    machine.program("sessiond", "exit 0")
    install(read("user", settings), paths(machine.environ), program)
    assert "none was heard of" in machine.look("hooks").message
    log = paths(machine.environ).log_dir / "hook.log"
    log.parent.mkdir(parents=True)
    log.write_text('{"at": "2026-01-02T03:04:05Z", "hook": "Stop", "session": "x", "event": "saved"}\n')
    found = machine.look("hooks")
    assert (found.status, "Stop at 2026-01-02" in found.message) == (OK, True)
    program.unlink()
    assert machine.look("hooks").status == FAILED
    machine.program("sessiond", "exit 0")
    settings.write_text(settings.read_text().replace("{", '{"disableAllHooks": true, ', 1))
    assert "disableAllHooks" in machine.look("hooks").message


# --- GitHub and the archive


def test_tokens(machine: Machine, github: FakeGitHub) -> None:
    assert machine.look("token").message == "A token was found in GH_TOKEN."
    machine.environ["GH_TOKEN"] = "two words"
    found = machine.look("token")
    assert (found.status, "two words" in found.message) == (FAILED, False)
    del machine.environ["GH_TOKEN"]
    machine.environ["PATH"] = ""
    assert machine.look("token").status == FAILED
    assert machine.look("github").status == FAILED
    del machine.environ["SESSIOND_GITHUB_REPO"]
    assert machine.look("token").status == OK
    assert machine.look("github").status == WARNING
    machine.set(f'[archive]\nurl = "{machine.home}/a.git"\n')
    found = machine.look("github")
    assert (found.status, "goes to the archive alone" in found.message) == (OK, True)


Trouble = Callable[[FakeGitHub], object]


@pytest.mark.parametrize(
    ("check", "status", "said", "trouble"),
    [
        ("github", OK, "answers", lambda github: None),
        ("github", FAILED, "", lambda github: github.refuse()),
        ("github", FAILED, "", lambda github: github.revoke_token("T0KEN")),
        ("github", FAILED, "", lambda github: github.delete_repo("o/r")),
        ("repository", OK, "private", lambda github: None),
        ("repository", FAILED, "public", lambda github: github.make_public("o/r")),
        ("repository", FAILED, "archived", lambda github: github.archive_repo("o/r")),
        ("repository", FAILED, "turned off", lambda github: github.enable_issues("o/r", on=False)),
        ("rights", OK, "read issues", lambda github: None),
        ("rights", OK, "scopes (repo)", lambda github: github.token("T0KEN", kind="classic")),
        ("rights", WARNING, "only read", lambda github: github.set_role("o/r", "me", "read")),
        ("rights", FAILED, "", lambda github: github.permit("T0KEN", {"metadata": "read"})),
        ("clock", OK, "agree", lambda github: None),
        ("clock", WARNING, " s behind", lambda github: github.advance(600)),
        ("clock", WARNING, "ahead", lambda github: github.advance(-600)),
    ],
)
def test_github(
    machine: Machine, github: FakeGitHub, check: str, status: str, said: str, trouble: Trouble
) -> None:
    trouble(github)
    found = machine.look(check)
    assert found.status == status, found
    assert said in found.message
    assert "T0KEN" not in repr(found)
    assert github.effects() == []


def test_a_public_repository_that_is_meant(machine: Machine, github: FakeGitHub) -> None:
    github.make_public("o/r")
    machine.environ["SESSIOND_GITHUB_ALLOW_PUBLIC"] = "true"
    assert machine.look("repository").status == OK


def test_the_archive(machine: Machine) -> None:
    assert machine.look("archive").status == OK
    machine.set('[archive]\nurl = "github"\n')
    assert machine.look("archive").status == WARNING
    machine.set(f'[archive]\nurl = "{machine.home}/gone/a.git"\n')
    assert machine.look("archive").status == FAILED
    machine.set(f'[archive]\nurl = "{machine.home}/a.git"\n')
    assert machine.look("archive").status == OK
    (machine.home / "a.git").mkdir()
    assert machine.look("archive").status == FAILED  # no repository
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        machine.set(f'[archive]\nurl = "http://127.0.0.1:{closed.getsockname()[1]}/a.git"\n')
        assert machine.look("archive").status == FAILED


def test_encryption(machine: Machine) -> None:
    assert machine.look("encryption").message == "Not wanted: what is archived is redacted."
    file, other = machine.home / "identity", machine.home / "other"
    recipient, _ = make_identity(file), make_identity(other)
    to = f"[archive]\nencrypt_to = ['{recipient}']\n"
    machine.set(to)
    found = machine.look("encryption")
    assert (found.status, "neither restores" in found.message) == (OK, True)
    machine.set(f"{to}identity_file = '{file}'\n")
    found = machine.look("encryption")
    assert (found.status, "it opens it" in found.message) == (OK, True)
    file.chmod(0o640)
    found = machine.look("encryption")
    assert (found.status, found.hint) == (WARNING, f"chmod 600 {file}")
    machine.set(f"[archive]\nidentity_file = '{other}'\n")
    assert machine.look("encryption").message.startswith("Nothing is encrypted from here")
    machine.set(f"{to}identity_file = '{other}'\n")
    found = machine.look("encryption")
    assert (found.status, recipient_of(other) in found.hint) == (FAILED, True)
    secret = other.read_text().splitlines()[-1]
    other.write_text(secret[:-1])
    found = machine.look("encryption")
    assert (found.status, found.code) == (FAILED, "identity_unusable")
    assert secret[20:40] not in repr(found)
    other.unlink()
    assert machine.look("encryption").status == FAILED


# --- the daemon


def test_socket_and_port(machine: Machine) -> None:
    assert machine.look("daemon").status == FAILED
    assert machine.look("socket").status == OK
    path = paths(machine.environ).socket
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_text("")
    assert machine.look("socket").status == FAILED
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert machine.look("socket").status == WARNING
    machine.environ["SESSIOND_HTTP_LISTEN"] = '""'
    assert machine.look("port").status == OK
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        machine.environ["SESSIOND_HTTP_LISTEN"] = f"127.0.0.1:{other.getsockname()[1]}"
        found = machine.look("port")
        assert (found.status, "taken" in found.message) == (WARNING, True)


STATUS = {
    "manager": "systemd", "installed": True, "enabled": True, "state": "running", "pid": 1, "restarts": 0,
    "lingering": True, "user": "ann", "program": sys.executable,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status", "lingering"),
    [
        ({}, OK, "from boot on"),
        ({"installed": False}, WARNING, "from boot on"),
        ({"state": "failed"}, FAILED, "from boot on"),
        ({"state": "stopped"}, WARNING, "from boot on"),
        ({"restarts": 3}, WARNING, "from boot on"),
        ({"enabled": False}, WARNING, "from boot on"),
        ({"program": "/not/there/sessiond"}, FAILED, "from boot on"),
        ({"lingering": False}, OK, "ends when ann logs out"),
    ],
)
def test_the_service(machine: Machine, changes: Mapping[str, Any], status: str, lingering: str) -> None:
    here = Here(machine.environ, NOW)
    here.__dict__["service"] = STATUS | dict(changes)  # what the manager says, which is tried elsewhere
    said, told = doctor.examine(here, "service"), doctor.examine(here, "lingering")
    assert said[0].status == status
    assert lingering in told[0].message


def test_when_the_backups_were_verified(machine: Machine) -> None:
    assert machine.look("verified").status == OK
    machine.kept(first_seen=repr(NOW))
    assert machine.look("verified", NOW).status == OK
    assert machine.look("verified", NOW + 3 * 86_400).status == WARNING
    machine.kept(scan=Scan(ended=NOW, checked=9), drill=Last(NOW, NOW))
    assert machine.look("verified", NOW + 3600).message == (
        "Verified 1 hours ago, restored for a trial 1 hours ago."
    )
    assert machine.look("verified", NOW + 3 * 86_400).status == WARNING
    machine.kept(scan=Scan(ended=NOW, checked=9, bad=2))
    assert machine.look("verified", NOW).status == FAILED


# --- as a command, beside a daemon, and what goes into the support archive

SECRETS = (
    "ghp_" + "a1B2" * 9,
    "hunter2-hunter2",
    "Rescue the Zebra",
    "zebra-plan",
    "owner-of-all/secret-repo",
)


def test_beside_a_daemon_and_into_a_bundle(tmp_path: Path, socket_dir: Path) -> None:
    with User(socket_dir, SESSIOND_HTTP_LISTEN=f"127.0.0.1:{free_port()}") as user:
        user.say(f"{SECRETS[2]}: the password is {SECRETS[1]}")
        notes = user.project / ".claude" / "sessions"
        notes.mkdir(parents=True)
        (notes / f"{SECRETS[3]}.md").write_text(f"# {SECRETS[2]}\n\n## Status\nblocked\n")
        user.start()
        with user.log.open("a") as log:
            line = {"at": "2026-01-02T03:04:05Z", "level": "error", "event": "push_failed", "status": 502}
            trace = f'Traceback\n  File "/x/{SECRETS[3]}/sessionsync/push.py", line 7, in turn\n{SECRETS[2]}'
            told = {"reason": SECRETS[2], "session": SECRETS[3], "code": SECRETS[0], "exception": trace}
            log.write(json.dumps(line | told) + "\n" + SECRETS[2] + "\n")
        done = user.type("doctor", "--json")
        checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
        assert [*checks] == [*CHECKS]
        for name in ("daemon", "socket", "port", "watcher"):
            assert checks[name]["status"] == OK, checks[name]
        assert set(checks["daemon"]) == {"name", "status", "message", "hint"}

        file = tmp_path / "support.tar.gz"
        environ = {"GH_TOKEN": SECRETS[0], "SESSIOND_PRIVACY_REDACT": "false"}
        environ["SESSIOND_GITHUB_REPO"] = SECRETS[4]
        environ["SESSIOND_GITHUB_API_URL"] = "http://127.0.0.1:9"
        done = user.type("doctor", "--bundle", str(file), **environ)
        assert done.returncode == 1  # GitHub does not answer
        assert str(file) in done.stdout
        assert file.stat().st_mode & 0o777 == 0o600
        with tarfile.open(file) as archive:
            held = {each.name: archive.extractfile(each).read().decode() for each in archive}  # type: ignore[union-attr]
        everything = "\n".join([*held, *held.values()])
        for secret in (*SECRETS, str(user.home), user.project.name + "/"):
            assert secret not in everything
        log_lines = [json.loads(each) for each in held["sessiond-support/log.jsonl"].splitlines()]
        assert any(each["event"] == "daemon_started" for each in log_lines)
        failed = next(each for each in log_lines if each["event"] == "push_failed")
        assert (failed["status"], failed["trace"]) == (502, ["sessionsync/push.py:7 turn"])
        settings = json.loads(held["sessiond-support/settings.json"])
        assert settings["github.repo"] == "set"
        assert settings["privacy.redact"] is False
        assert json.loads(held["sessiond-support/daemon.json"])["running"] is True

        code, said, _ = user.fails("doctor", "--bundle", str(file))
        assert (code, "is there already" in said) == (2, True)


def test_wrong_settings_are_said_once(machine: Machine) -> None:
    machine.set("[health]\ninterval_seconds = -1\n")
    checks = doctor.examine(Here(machine.environ, NOW))
    assert [check.name for check in checks if "interval_seconds = " in check.message] == ["config"]
    assert any(check.hint == "See config above." for check in checks)


def test_wrong_settings_are_not_told_to_others(tmp_path: Path, machine: Machine) -> None:
    machine.set(f"[github]\npassword = '{SECRETS[1]}'\n")
    here = Here(machine.environ, NOW)
    bundle.write(tmp_path / "b.tar.gz", here, doctor.examine(here))
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        held = [archive.extractfile(each).read().decode() for each in archive]  # type: ignore[union-attr]
    assert SECRETS[1] not in "".join(held)
    assert "config_invalid" in "".join(held)
