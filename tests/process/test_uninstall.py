"""`sessiond uninstall`: what goes, what stays, and that nothing is left where everything was to go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync.privacy.seal import make_identity
from tests.conftest import PATIENCE_S
from tests.hooked import run
from tests.process.user import User
from tests.sitting import sit

Json = dict[str, Any]
Wait = Callable[..., None]
SETTINGS = '{\n  "model": "opus" \n}\n'


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder, with what is in the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.is_socket()
    }


class Leaver(User):
    """Somebody with a long life behind, whose settings, archive and shell are his own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SESSIOND_ARCHIVE_URL=str(folder / "archive.git"))
        self.environ["PATH"] = "/usr/bin:/bin"
        self.settings = self.agent / "settings.json"
        self.settings.write_text(SETTINGS)
        self.shell = self.home / ".bashrc"
        self.shell.write_text('alias l=ls\neval "$(sessiond completion bash)"\n')
        self.fish = self.home / ".config" / "fish" / "completions" / "sessiond.fish"

    def lived(self, wait_until: Wait) -> Path:
        """Use whatever leaves something behind; the session."""
        for scope in ("user", "local"):
            assert (
                self.type("hooks", "install", "--scope", scope, "--project", str(self.project)).returncode
                == 0
            )
        (self.folder / "s" / "config.toml").write_text("[sources]\nquiet_seconds = 1\n")
        self.fish.parent.mkdir(parents=True)
        self.fish.write_text(self.type("completion", "fish").stdout)
        path = self.say("hello")
        event = {"session_id": path.stem, "transcript_path": str(path), "cwd": str(self.project)}
        run(self, "Stop", data=json.dumps(event).encode())
        self.start()
        self.save(path)
        self.say("more", path)
        self.save(path)
        assert self.type("ctl", "sync", "--wait=30").returncode == 0
        wait_until(lambda: self.status()["sessions"]["restorable_elsewhere"] == 1)
        self.ctl("verify", acts=True, drill=True)
        assert self.type("search", "hello").returncode == 0
        assert self.type("stats").returncode == 0
        path.unlink()
        for place in ([], ["--from", "archive", "--out", str(self.folder / "out")]):
            assert self.type("restore", path.stem, *place).returncode == 0
        (path,) = self.agent.glob(f"projects/*/{path.name}")  # in the folder of its real path now
        return path

    def uninstall(self, *arguments: str) -> Json:
        done = self.type("uninstall", "--json", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        found: Json = json.loads(done.stdout)
        return found


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Leaver]:
    with Leaver(tmp_path) as made:
        yield made


def named(parts: list[Json]) -> set[str]:
    return {part["what"] for part in parts}


def test_step_by_step_everything_goes_and_only_what_was_said(user: Leaver, wait_until: Wait) -> None:
    before = tree(user.home)
    path = user.lived(wait_until)
    sessions = {name: said for name, said in tree(user.home).items() if name.startswith(".claude/projects/")}

    found = user.uninstall("--dry-run")
    assert named(found["going"]) == {"daemon", "hooks", "socket", "completion"}
    assert named(found["staying"]) == {"settings", "state", "log", "backup", "completion"}
    assert user.status()["pid"] == user.pid

    code, what, todo = user.fails("uninstall")
    assert (code, "nobody is here to answer" in what, "--yes" in todo) == (5, True, True)
    assert user.status()["pid"] == user.pid

    assert user.uninstall("--yes")["removed"]
    assert user._process is not None
    assert user._process.wait(PATIENCE_S) == 0
    assert user.settings.read_text() == SETTINGS
    assert not (user.project / ".claude").exists()
    assert [*(user.home / ".config").rglob("sessiond*")] == []
    shutil.rmtree(user.home / ".config")
    user.check_kept(path)
    assert user.state.exists()

    stray = user.folder / "s" / "state" / "mine.txt"
    stray.write_text("not sessiond's")
    found = user.uninstall("--purge", "--yes")
    assert [part["path"] for part in found["staying"] if part["what"] == "other"] == [str(stray)]
    assert {file.name for file in (user.folder / "s").rglob("*")} == {"state", "mine.txt"}
    user.check_kept(path)
    stray.unlink()

    foreign = user.vault / "app" / "notes.txt"
    foreign.write_text("an older program's")
    found = user.uninstall("--purge", "--purge", "--yes")
    assert {part["path"] for part in found["staying"]} == {str(foreign), str(user.shell)}
    assert [*user.vault.rglob("*")] == [foreign.parent, foreign]
    foreign.unlink()
    user.uninstall("--purge", "--purge", "--yes")
    foreign.parent.rmdir()
    user.vault.rmdir()
    assert tree(user.home) == before | sessions
    assert not (user.folder / "s").exists()
    assert (user.folder / "archive.git" / "HEAD").exists()  # it is not this machine's to remove


def test_who_is_asked_may_say_no_and_is_asked_twice_for_the_backups(user: Leaver) -> None:
    path = user.say("hello")
    assert user.type("sync", "--once").returncode == 0
    there = tree(user.folder)
    purge = [*user.program, "uninstall", "--purge", "--purge"]
    for answers in (("",), ("n",), ("y", "")):
        code, screen = sit(purge, *answers, environ=user.environ, cwd=user.home)
        assert (code, "Nothing was changed" in screen) == (5, True)
        assert tree(user.folder) == there
    assert "Also the backups, " in screen
    code, screen = sit(purge, "y", "y", environ=user.environ, cwd=user.home)
    assert (code, "Removed. The program itself: " in screen) == (0, True)
    assert not user.mirror.exists()
    assert not user.vault.exists()
    assert path.exists()


def test_of_a_backup_that_another_daemon_writes_to_nothing_goes(user: Leaver, tmp_path: Path) -> None:
    user.say("hello")
    assert user.type("sync", "--once").returncode == 0
    with User(tmp_path / "other", SESSIOND_BACKUP_VAULT_DIR=str(user.vault)) as second:
        second.start()
        kept = tree(user.vault)
        code, what, _ = user.fails("uninstall", "--purge", "--purge", "--yes")
        assert (code, "Another sessiond writes" in what) == (75, True)
        assert tree(user.vault).keys() == kept.keys()


def test_where_nothing_is_nothing_goes(user: Leaver) -> None:
    user.shell.unlink()
    found = user.uninstall("--purge", "--purge", "--yes")
    assert (found["going"], found["staying"]) == ([], [])
    said = user.type("uninstall", "--yes").stdout
    assert said.startswith("Nothing of sessiond's is here to go.")
    assert "Removed" not in said
    assert not (user.folder / "s").exists()


def test_settings_that_cannot_be_read_do_not_say_where_backups_lie(user: Leaver) -> None:
    (user.folder / "s").mkdir()
    (user.folder / "s" / "config.toml").write_text("[backup\n")
    assert user.fails("uninstall", "--purge", "--purge", "--yes")[0] == 78
    assert named(user.uninstall("--purge", "--yes")["going"]) == {"settings"}
    assert not (user.folder / "s").exists()


def test_the_identity_of_the_archive_is_named_and_stays(user: Leaver) -> None:
    file = user.folder / "s" / "archive-identity.txt"
    make_identity(file)
    file.with_name("config.toml").write_text(f"[archive]\nidentity_file = '{file}'\n")
    kept = file.read_bytes()
    found = user.uninstall("--purge", "--purge", "--yes")
    (part,) = [part for part in found["staying"] if part["what"] == "identity"]
    assert (part["path"], "nobody reads the archive" in part["note"]) == (str(file), True)
    assert [*(user.folder / "s").iterdir()] == [file]
    assert file.read_bytes() == kept
