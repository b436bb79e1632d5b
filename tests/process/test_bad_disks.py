"""Disks and states that fail, seen from outside: one clear line, nothing lost, nothing doubled, and on it goes."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests import arrived
from tests.conftest import poll
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.process.user import User, codes, is_safe, sentence

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and /proc")


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], Path]]:
    """Mounts a disk of 3 MB on a folder; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path) -> Path:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a small disk to fill it")
        mounted.append(folder)
        return folder

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def read_only(folder: Path, *, on: bool) -> None:
    subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free; what to delete to have space again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (64 * 1024, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


# --- disks


@linux_only
@pytest.mark.parametrize("where", ["mirror", "vault", "state"])
def test_a_full_disk_is_said_and_ends_with_the_first_free_byte(
    tmp_path: Path, gh: FakeGitHub, small_disk: Callable[[Path], Path], where: str
) -> None:
    user = User(tmp_path, gh)
    disk = small_disk({"mirror": user.mirror, "vault": user.vault, "state": user.state.parent}[where])
    path = user.say("before")
    with user:
        user.start()
        user.save(path)
        user.say("there is space", path)
        user.until(lambda status: status["last_push_at"] and is_safe(status))
        # a checkpoint waits for GitHub when the disk becomes full
        user.ctl("pause", acts=True)
        user.say("waits for GitHub", path)
        user.save(path)
        ballast = fill(disk)
        late = user.say("x" * 20_000)
        code = "state_disk_full" if where == "state" else "backup_disk_full"
        found = user.until_found(code)
        assert found["severity"] == "critical"
        assert sentence(found["message"])
        assert str(disk) in found["message"]
        first, advice, *_ = user.screen()
        assert first.startswith("Not everything is on this disk twice since ")
        assert "full" in first or "No space left" in first
        assert str(disk) in first
        assert re.match("Free space|Make room", advice)
        assert user.type("ctl", "health").returncode == 5
        with pytest.raises(HTTPError, match="503") as unready:
            user.get("/readyz")
        with unready.value as answer:  # anybody on this machine may look, so no folder is named
            shown = answer.read().decode()
        assert "[-] disk: The disk of the" in shown
        assert str(disk) not in shown
        waits, *_, todo = user.type("list").stdout.splitlines()[-2:]
        assert waits == f"1 session waits to be captured: {found['message']}"
        assert todo == found["hint"]
        stands = user.status()["captured_until"]
        status, what, todo = user.fails("ctl", "checkpoint", late.stem)
        assert status == 1
        assert what.startswith(f"sessiond: {code}: ")
        assert sentence(todo)
        assert len(user.logged("capture_stopped")) == 1
        # pushing goes on, unless what it does could not be written down
        if where == "state":
            assert user.fails("ctl", "resume")[:2] == (1, what)
        else:
            user.ctl("resume", acts=True)
            poll(lambda: b"waits for GitHub" in arrived.files(gh, path.stem)[path.name])
        user.say("while it is full", path)
        if where != "mirror":
            poll(lambda: user.is_copied(path))  # where there is space it goes on
        assert user.status()["captured_until"] == stands
        # space again: seen within 10 s, at once when asked for
        ballast.unlink()
        if where != "mirror":
            assert user.type("ctl", "resume" if where == "state" else "sync").returncode == 0
        poll(lambda: user.logged("capture_resumed"), 15 if where == "mirror" else 5)
        for session in (path, late):
            user.save(session)
        user.until(lambda status: is_safe(status) and status["sessions"]["watched"] == 2)
        user.check_kept(path, late)
        assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
        assert arrived.files(gh, late.stem) == {late.name: late.read_bytes()}
        assert len(user.logged("capture_resumed")) == 1
        assert [event["session"] for event in user.logged("session_found")].count(f"claude:{late.stem}") == 1


@linux_only
def test_an_answer_that_could_not_be_written_down_is_looked_for_later(
    tmp_path: Path, gh: FakeGitHub, small_disk: Callable[[Path], Path]
) -> None:
    user = User(tmp_path, gh)
    disk = small_disk(user.state.parent)
    path = user.say("before")
    with user:
        user.start()
        gh.fault(rule("slow", method="POST", path="/comments$", delay_s=20, times=1))
        user.say("during", path)
        user.save(path)
        poll(lambda: gh.requests("POST", "/comments$"))
        ballast = fill(disk)
        gh.release_hangs()
        assert user.until_found("state_disk_full")
        assert len(gh.all_comments()) == 1
        ballast.unlink()
        user.say("after", path)
        user.ctl("sync", acts=True)
        user.save(path)
        user.until(is_safe)
        assert len(gh.all_comments()) == 1
        assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}


@linux_only
@pytest.mark.parametrize("where", ["mirror", "vault", "state"])
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_start_on_a_disk_that_takes_nothing(
    tmp_path: Path, small_disk: Callable[[Path], Path], where: str, how: str
) -> None:
    user = User(tmp_path)
    disk = small_disk({"mirror": user.mirror, "vault": user.vault, "state": user.state.parent}[where])
    path = user.say("hello")
    ballast = fill(disk)
    if how == "read-only":
        ballast.unlink()
        read_only(disk, on=True)
    code, what, todo = user.fails("sync", "--once")
    assert code in {1, 78}
    assert str(disk) in what
    assert re.search("No space left|Read-only|full", what)
    assert sentence(what)
    assert sentence(todo)
    if how == "read-only":
        read_only(disk, on=False)
    else:
        ballast.unlink()
    assert user.type("sync", "--once").returncode == 0
    user.check_kept(path)


def test_backup_folders_that_somebody_breaks(tmp_path: Path) -> None:
    user = User(tmp_path)
    path = user.say("one")
    with user:
        user.start()
        user.check_kept(path)
        # something else where a copy belongs
        other = user.folder_of_project / f"{uuid.uuid4()}.jsonl"
        user.copy_of(other).mkdir()
        user.say("blocked", other)
        found = user.until_found("copy_failed")
        assert str(user.copy_of(other)) in found["message"]
        assert "Move it away" in found["hint"]
        assert user.screen()[0].startswith("Not everything is on this disk twice since ")
        user.copy_of(other).rmdir()
        user.say("free again", other)
        user.save(other)
        user.check_kept(other)
        user.until(lambda status: not codes(status))
        # the copies are taken away, or nobody may write there
        shutil.rmtree(user.mirror / "app")
        user.say("two", path)
        user.save(path)
        user.check_kept(path)
        user.mirror.chmod(0o500)
        (user.mirror / "app").chmod(0)
        user.say("three", path)
        user.until_found("copy_failed")
        (user.mirror / "app").chmod(0o700)
        user.mirror.chmod(0o700)
        user.say("four", path)
        user.save(path)
        user.check_kept(path)
        user.until(lambda status: not codes(status))
        shutil.rmtree(next(user.vault.glob("app/*")).parent)
        user.say("five", path)
        user.save(path)
        user.check_kept(path)


# --- state


def rubbish(state: Path) -> None:
    state.write_bytes(os.urandom(10_000))


def halved(state: Path) -> None:
    os.truncate(state, state.stat().st_size // 2)


def holed(state: Path) -> None:
    with state.open("r+b") as file:
        for offset in range(8192, state.stat().st_size, 8192):
            file.seek(offset)
            file.write(b"\xa5" * 100)


def anothers(state: Path) -> None:
    state.unlink()
    with sqlite3.connect(state) as other:
        other.execute("CREATE TABLE notes (text)")
        other.execute("PRAGMA user_version = 1")
    other.close()


@pytest.mark.parametrize("breaks", [rubbish, halved, holed, anothers])
def test_a_broken_state_is_set_aside_and_found_out_again(
    tmp_path: Path, breaks: Callable[[Path], None]
) -> None:
    user = User(tmp_path)
    path = user.say("one")
    assert user.type("sync", "--once").returncode == 0
    breaks(user.state)
    broken = user.state.read_bytes()
    user.say("two", path)
    assert user.type("sync", "--once").returncode == 0
    (aside,) = user.state.parent.glob("state.db.corrupt-*")
    assert aside.read_bytes() == broken
    (told,) = user.logged("state_set_aside")
    assert told["file"] == str(aside)
    user.check_kept(path)
    (session,) = json.loads(user.type("list", "--json").stdout)["sessions"]
    assert (session["id"], session["title"]) == (path.stem, "one")


def test_a_lost_queue_doubles_nothing(tmp_path: Path, gh: FakeGitHub) -> None:
    user = User(tmp_path, gh, CI="true")
    paths = [user.say("one")]
    assert user.type("sync", "--once").returncode == 0
    user.state.unlink()
    user.say("more", paths[0])
    paths.append(user.say("two"))
    done = user.type("sync", "--once")
    assert (done.returncode, done.stdout) == (0, "2 of 2 pushed\n")
    user.check_kept(*paths)
    for path in paths:
        assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
    assert len(gh.effects("created comment")) == 2
    assert len(gh.effects("created issue")) == 1


def test_a_state_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    user = User(tmp_path)
    path = user.say("one")
    assert user.type("sync", "--once").returncode == 0
    with sqlite3.connect(user.state) as newer:
        newer.execute("PRAGMA user_version = 999")
    newer.close()
    code, what, todo = user.fails("run")
    assert code == 78
    assert "version 999" in what
    assert "newer sessiond" in todo
    user.state.unlink()
    user.state.mkdir()
    code, what, todo = user.fails("run")
    assert (code, "Is a directory" in what) == (1, True)
    user.state.rmdir()
    user.state.touch(mode=0o400)
    code, what, todo = user.fails("run")
    assert (code, "Permission denied" in what) == (1, True)
    assert str(user.state.parent) in todo
    user.state.unlink()
    assert user.type("sync", "--once").returncode == 0
    user.check_kept(path)
