"""Bad input from everywhere, seen from outside: one clear line, nothing lost, nothing doubled, and on it goes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests import arrived
from tests.conftest import poll
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.process.user import User, codes, is_safe
from tests.rig import line, write

MB = 1024 * 1024

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and /proc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for a user, without the test's long name in every message."""
    return tmp_path


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


def sentence(text: str) -> bool:
    """Whether a person can read it: one line, no name of a class, no traceback."""
    return bool(text) and text.isprintable() and not re.search(r"Traceback|[a-z](Error|Exception)\b", text)


# --- settings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[github]\nrepos = 'o/r'", ["github.repos", "Did you mean github.repo?"]),
        ("[colour]\nred = 1", ["colour.red", "The sections are"]),
        ("[sources]\nquiet_seconds = 0", ["sources.quiet_seconds = 0", "whole number from 1"]),
        ("[sources]\nquiet_seconds = '2 min'", ['sources.quiet_seconds = "2 min"', "whole number from 1"]),
        ("[tiers]\ncomment_bytes = 70000", ["tiers.comment_bytes = 70000", "from 4096 to 65536"]),
        ("[tiers]\ngithub_only_bytes = 300000", ["tiers.github_only_bytes", "the first is larger"]),
        ("[github]\nrepo = 'https://github.com/o/r'", ["github.repo", "owner/name"]),
        ("[github]\napi_url = 'http://example.com'", ["github.api_url", "https"]),
        ("[http]\nlisten = '0.0.0.0:80'", ["http.listen", "loopback"]),
        ("[privacy]\npatterns = ['(']", ["privacy.patterns", "regular expressions"]),
        ("[backup]\nvault_dir = '~/.claude-backup-sessions/v'", ["backup.vault_dir", "one lies in the other"]),
        ("[backup]\nmirror_dir = '~/.claude/copy'", ["backup.mirror_dir", "one lies in the other"]),
        ("[github]\nrepo = 'ghp_0123456789012345678901234567890123456'", ["github.repo", "gh auth login"]),
        ("[github\nrepo = 1", ["is not TOML", "line 1"]),
        ("\xff", ["is not TOML"]),
    ],
)  # fmt: skip
def test_a_wrong_setting_in_the_file_is_named(place: Path, content: str, words: list[str]) -> None:
    user = User(place)
    file = place / "s" / "config.toml"
    file.parent.mkdir()
    file.write_bytes(content.encode("latin-1"))
    # what the tests set for every user would win over the file
    code, what, todo = user.fails("run", SESSIOND_SOURCES_QUIET_SECONDS="", SESSIOND_HTTP_LISTEN="")
    assert code == 78
    assert what.startswith("sessiond: config_invalid: ")
    assert str(file) in what
    assert all(word in f"{what} {todo}" for word in words), f"{what}\n{todo}"
    assert "ghp_0123" not in what + todo
    assert sentence(what)
    assert sentence(todo)
    assert not user.state.exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SESSIOND_GITHUB_REPO", "o", ["SESSIOND_GITHUB_REPO", 'github.repo = "o"', "owner/name"]),
        ("SESSIOND_GITHUB_ISSUE", "many", ["SESSIOND_GITHUB_ISSUE", "whole number from 0"]),
        ("SESSIOND_HEALTH_INTERVALL", "1", ["SESSIOND_HEALTH_INTERVALL", "health.interval_seconds"]),
        ("SESSIOND_LOG_LEVEL", "loud", ["SESSIOND_LOG_LEVEL", "debug, info, warning, error"]),
        ("SESSIOND_SOURCES_CLAUDE", "[relative]", ["SESSIOND_SOURCES_CLAUDE", "TOML"]),
        ("SESSIOND_GITHUB_TOKEN", "abc", ["SESSIOND_GITHUB_TOKEN", "GH_TOKEN"]),
        ("SESSIOND_HOME", "here", ["SESSIOND_HOME", "absolute path"]),
        ("SESSIOND_HOME", "/" + "long/" * 30, ["socket", "shorter path"]),
    ],
)
def test_a_wrong_variable_is_named(place: Path, name: str, value: str, words: list[str]) -> None:
    user = User(place)
    code, what, todo = user.fails("run", **{name: value})
    assert code == 78
    assert all(word in f"{what} {todo}" for word in words), f"{what}\n{todo}"
    assert sentence(what)
    assert sentence(todo)


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "continue",
        "restore 3f2a9c1e",
        "search word",
        "search --rebuild",
        "privacy scan",
        "sync --once",
    ],
)
def test_each_command_that_needs_no_daemon_names_a_wrong_setting(place: Path, command: str) -> None:
    user = User(place)
    file = place / "s" / "config.toml"
    file.parent.mkdir()
    file.write_text("[health]\nintervall = 1\n")
    code, what, _ = user.fails(*command.split())
    assert code == 78
    assert what.startswith(f"sessiond: config_invalid: {file}: there is no setting health.intervall")


def test_a_settings_file_that_cannot_be_read(place: Path) -> None:
    user = User(place)
    file = place / "s" / "config.toml"
    file.parent.mkdir()
    file.touch(mode=0)
    code, what, _ = user.fails("run")
    assert code == 78
    assert f"{file} cannot be read: Permission denied" in what
    file.unlink()
    file.mkdir()
    code, what, _ = user.fails("run")
    assert code == 78
    assert f"{file} cannot be read: Is a directory" in what


def test_wrong_settings_at_a_reload_change_nothing(place: Path) -> None:
    file = place / "s" / "config.toml"
    with User(place) as user:
        user.start()
        file.write_text("[health]\ninterval_seconds = -1\n")
        code, what, _ = user.fails("ctl", "reload")
        assert code == 78
        assert "health.interval_seconds = -1" in what
        assert "config_invalid" in codes(user.status())
        assert user.type("ctl", "health").returncode == 5
        user.check_kept(user.say("still backed up"))
        file.write_text("[health]\ninterval_seconds = 60\n")
        assert (
            user.type("ctl", "reload").stdout == "The settings are read; changed: health.interval_seconds.\n"
        )
        assert codes(user.status()) == set()


# --- folders and files that cannot be read


def test_a_folder_that_is_not_there_yet_is_waited_for(place: Path) -> None:
    user = User(place)
    shutil.rmtree(user.agent)
    with user:
        user.start()
        assert user.screen()[0].startswith("Everything until ")
        user.folder_of_project.mkdir(parents=True)
        path = user.say("the first word")
        poll(lambda: user.is_copied(path))
        structured = user.project / ".claude" / "sessions" / "plan"
        write(structured, [("context.json", b'{"title": "A plan"}')])
        copy = user.mirror / "app" / "plan" / "context.json"
        poll(lambda: copy.is_file() and copy.read_bytes() == b'{"title": "A plan"}')


def test_what_cannot_be_read_is_said_is_not_taken_for_gone_and_comes_when_it_can_be(place: Path) -> None:
    user = User(place)
    path = user.say("readable")
    structured = user.project / ".claude" / "sessions" / "plan"
    write(structured, [("context.json", b"{}"), ("artifacts/result.txt", b"42")])
    with user:
        user.start()
        user.check_kept(path)
        poll(lambda: len(user.ctl("sessions")["sessions"]) == 2)
        # a file
        secret = user.say("nobody may read this")
        secret.chmod(0)
        assert (
            user.until_found("source_unreadable")["message"] == f"{secret} cannot be read: Permission denied."
        )
        first, advice, *_ = user.screen()
        assert first.startswith("Not everything is on this disk twice since ")
        assert first.endswith(f"{secret} cannot be read: Permission denied.")
        assert advice == "Let this user read it; it is then backed up by itself."
        assert user.type("ctl", "health").returncode == 5
        user.say("others go on", path)
        user.save(path)
        user.check_kept(path)
        secret.chmod(0o600)
        user.ctl("reload", acts=True)  # else it looks every 15 s
        poll(lambda: user.is_copied(secret))
        user.until(lambda status: not codes(status))
        # folders: of the project, of the agent, inside a session
        for folder in (user.folder_of_project, user.agent / "projects", user.agent, structured / "artifacts"):
            folder.chmod(0)
            assert user.type("ctl", "reload").returncode == 0  # it looks at everything
            found = user.until_found("source_unreadable")
            assert str(folder) in found["message"]
            if folder.name == "artifacts":
                context = structured / "context.json"
                context.write_text('{"title": "without a look at the rest"}')
                poll(lambda: user.ctl("show", session="plan")["title"])
                assert not any(file["deleted_at"] for file in user.ctl("show", session="plan")["files"])
            folder.chmod(0o700)
            user.ctl("reload", acts=True)
            user.until(lambda status: not codes(status))
            user.say("after " + folder.name, path)
            poll(lambda: user.is_copied(path))
        assert user.logged("session_deleted") == []
        plan = user.ctl("show", session="plan")
        assert {file["path"]: file["deleted_at"] for file in plan["files"]} == {
            "artifacts/result.txt": None,
            "context.json": None,
        }
        told = [found["path"] for found in user.logged("source_unreadable")]
        assert max(map(told.count, told)) <= 2, "once a time"
        # without a listing, but with what it holds in reach
        user.folder_of_project.chmod(0o300)
        user.say("written without a listing", path)
        user.ctl("reload", acts=True)
        user.until_found("source_unreadable")
        user.folder_of_project.chmod(0o700)
        user.check_kept(path, secret)


def test_a_daemon_that_starts_where_nothing_can_be_read_catches_up(place: Path) -> None:
    user = User(place)
    path = user.say("early")
    user.agent.chmod(0)
    with user:
        user.start()
        user.until_found("source_unreadable")
        user.agent.chmod(0o700)
        user.ctl("reload", acts=True)  # else it looks every 15 s
        poll(lambda: user.is_copied(path))
        late = user.say("late")
        poll(lambda: user.is_copied(late))  # and watches again
        user.until(lambda status: not codes(status))


# --- what lies in the folders


def test_whatever_lies_in_the_folders_is_copied_byte_by_byte_or_left_alone(place: Path) -> None:
    user = User(place)
    outside = user.home / "outside.jsonl"
    outside.write_bytes(line("user", "not the agent's", user.project))
    sessions = user.project / ".claude" / "sessions"
    sessions.mkdir(parents=True)
    sound = user.say("sound")

    def transcript(data: bytes) -> Path:
        path = user.folder_of_project / f"{uuid.uuid4()}.jsonl"
        path.write_bytes(data)
        return path

    def special() -> Path:
        return user.folder_of_project / f"{uuid.uuid4()}.jsonl"

    with user:
        user.start()
        user.say("and still is", sound)
        said = line("user", "kept among rubbish", user.project)
        whole = [  # and what the rubbish around it does not hide
            transcript(b"no JSON\n" * 50 + said),
            transcript(b"\xff\xfe\x00 no UTF-8 \x80\n" + said),
            transcript(b"\0" * 5000 + b"\n" + said + b"\0" * 300),
            transcript(said[:-20] + b"\n" + said),
            transcript(said[:-1] + said),
            transcript(b"[" * 30_000 + b"\n" + said),
            transcript(b'{"type": "user", "message": ' + b'{"a":' * 6_000 + b"\n" + said),
            transcript(
                said + b'{"type":"user","uuid":7,"cwd":[],"timestamp":{},"message":"x","isMeta":"?"}\n'
            ),
        ]
        nameless = [transcript(b""), transcript(b"\n\n\n"), transcript(b"null\n"), transcript(b"\0" * 70_000)]
        # neither file nor folder
        os.mkfifo(special())
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            os.chdir(user.folder_of_project)
            listener.bind("s")
            os.chdir(here)
        (user.folder_of_project / "s").rename(special())
        if not os.geteuid():
            os.mknod(special(), 0o20600, os.makedev(1, 5))  # /dev/zero
        loop, astray = special(), special()
        loop.symlink_to(loop.name)
        astray.symlink_to(outside)
        special().mkdir()
        (user.agent / "projects" / "circle").symlink_to("circle")
        (user.agent / "projects" / "away").symlink_to(user.home)
        # names that mean something elsewhere
        for name in (
            "..\n; reboot.jsonl",
            "\x1b[31mred\x1b[0m.jsonl",
            "a" * 240 + ".jsonl",
            "-rf.jsonl",
            ".jsonl",
        ):
            (user.folder_of_project / name).write_bytes(said)
        odd = {
            "$(reboot) 'x' \"y\"": b'{"title": "shell"}',
            "CON": b'{"title": "another system\'s"}',
            "x" * 255: b'{"title": "long"}',
            "\u65e5\u672c" * 30: b'{"title": "wide"}',
            "%2e%2e": b'{"title": "encoded"}',
            "broken": b'{"title": ',
            "latin": b'\xff\xfe{"title": 1}',
            "deep": b"[" * 100_000,
            "list": b"[1, 2]",
            "numbers": b'{"title": 1e999, "issue": -1, "decisions": {"a": null}, "checkpoints": 7}',
        }
        for name, data in odd.items():
            write(sessions / name, [("context.json", data)])
        for name in (
            "line\nbreak",
            "\x1b[31mred",
            ".hidden",
            "..evil",
            "\u202eright to left",
            os.fsdecode(b"\xff"),
        ):
            write(sessions / name, [("context.json", b"{}")])
        kinds = sessions / "kinds"
        kept = {"context.json": b"{}", "art\nifact": b"x", "\\xff": b"z", "sp ace/\u00e9": b"y"}
        write(kinds, list(kept.items()))
        os.mkfifo(kinds / "pipe")
        (kinds / "circle").symlink_to("circle")
        (kinds / "up").symlink_to("..")
        (kinds / "passwords").symlink_to("/etc")
        # all of it is there
        user.check_kept(sound, *whole)
        user.check_kept(*nameless, project="unknown")
        for name, data in odd.items():
            poll(lambda name=name, data=data: user.in_vault(name) == {"context.json": data})  # type: ignore[misc]
        poll(lambda: user.in_vault("kinds") == kept)  # it has to rest first, as all of them
        known = {path.stem for path in (sound, *whole, *nameless)} | odd.keys() | {"kinds"}
        poll(lambda: {found["id"] for found in user.ctl("sessions")["sessions"]} == known)
        # and nothing else
        copied = [path for path in user.mirror.rglob("*") if path.is_file() and path.name[0] != "."]
        assert not any(b"not the agent's" in path.read_bytes() for path in copied)
        assert len(copied) == 1 + len(whole) + len(nameless) + len(odd) + len(kept)
        assert " and 2 more cannot be read: it is a symbolic link." in user.screen()[0]
        for link in (loop, astray, *user.agent.glob("projects/[ac]*")):
            link.unlink()
        user.until(lambda status: status["status"] == "ok" and status["captured_until"] is not None)
        assert user.screen()[0].startswith("Everything until ")
        for text in (user.type("ctl", "sessions").stdout, user.type("list").stdout, user.log.read_text()):
            assert all(shown.isprintable() for shown in text.splitlines())


@linux_only
def test_a_huge_file_of_nothing_costs_neither_memory_nor_disk_nor_the_others_time(place: Path) -> None:
    with User(place) as user:
        user.start()
        huge = user.folder_of_project / f"{uuid.uuid4()}.jsonl"
        with huge.open("wb") as file:
            file.truncate(512 * MB)
        poll(lambda: user.copy_of(huge, "unknown").exists())
        path = user.say("meanwhile")
        poll(lambda: user.is_copied(path))
        copy = user.copy_of(huge, "unknown")
        assert copy.stat().st_size < 512 * MB, "the other one came in between"
        poll(lambda: copy.stat().st_size == 512 * MB, 200)
        assert copy.stat().st_blocks * 512 < 8 * MB
        memory = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{user.pid}/status").read_text())
        assert memory is not None
        assert int(memory[1]) * 1024 < 400 * MB
        user.until(lambda status: status["status"] == "ok" and status["captured_until"] is not None)


# --- disks


@linux_only
@pytest.mark.parametrize("where", ["mirror", "vault", "state"])
@pytest.mark.timeout(90)
def test_a_full_disk_stops_capturing_says_so_and_ends_with_the_first_free_byte(
    place: Path, gh: FakeGitHub, small_disk: Callable[[Path], Path], where: str
) -> None:
    user = User(place, gh)
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
    place: Path, gh: FakeGitHub, small_disk: Callable[[Path], Path]
) -> None:
    user = User(place, gh)
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
    place: Path, small_disk: Callable[[Path], Path], where: str, how: str
) -> None:
    user = User(place)
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


def test_backup_folders_that_somebody_breaks(place: Path) -> None:
    user = User(place)
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
def test_a_broken_state_is_set_aside_and_found_out_again(place: Path, breaks: Callable[[Path], None]) -> None:
    user = User(place)
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


def test_a_lost_queue_doubles_nothing(place: Path, gh: FakeGitHub) -> None:
    user = User(place, gh, CI="true")
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


def test_a_state_that_cannot_be_used_is_named(place: Path) -> None:
    user = User(place)
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


# --- GitHub, as its user sees it


def test_each_refusal_says_what_to_do_and_ends_with_its_cause(place: Path, gh: FakeGitHub) -> None:
    user = User(place, gh)
    # a token that `gh` gives, so that it can change while the daemon runs
    (place / "bin").mkdir()
    (place / "token").write_text("T")
    asked = place / "asked"
    program = place / "bin" / "gh"
    quoted = [shlex.quote(str(path)) for path in (asked, place / "token")]
    program.write_text(f"#!/bin/sh\necho $* >> {quoted[0]}\ncat {quoted[1]}\n")
    program.chmod(0o755)
    user.environ["PATH"] = f"{place / 'bin'}:{user.environ['PATH']}"
    del user.environ["GH_TOKEN"]
    path = user.say("hello")

    def more() -> None:
        user.say("and more", path)
        user.save(path)

    def refused(code: str, *words: str) -> None:
        """One line says what is wrong, one what to do, wherever one looks; nothing is lost."""
        found = user.until_found(code)
        first, advice, *_ = user.screen()
        assert " is on this disk twice, but 1 session is not on GitHub since " in first
        for word in words:
            assert word in f"{first} {advice}", f"{first}\n{advice}"
        assert sentence(first)
        assert sentence(advice)
        assert found["hint"] == advice
        assert code in codes(user.ctl("health"))
        assert user.logged("push_paused")[-1]["code"] == code
        user.check_kept(path)

    def mended() -> None:
        user.ctl("retry", acts=True)
        user.until(is_safe)
        assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
        assert len(gh.all_comments()) == 1

    with user:
        user.start()
        more()
        user.until(lambda status: status["last_push_at"] and is_safe(status))
        # the token is refused: once
        gh.revoke_token("T")
        gh.forget_requests()
        more()
        refused("github_token_refused", "401", "Bad credentials", "gh auth login", "sessiond ctl retry")
        done = user.type("ctl", "sync", "--wait=30")
        assert done.returncode == 1
        assert "Bad credentials" in done.stdout
        assert "gh auth login" in done.stdout
        asked.unlink()
        assert user.type("ctl", "retry").returncode == 0
        poll(asked.exists)
        more()
        time.sleep(0.3)  # for a request that must not come
        assert [request.status for request in gh.requests()] == [401]
        (place / "token").write_text("not one word")
        user.ctl("retry", acts=True)
        status = user.until(lambda status: status["mode"] == "local_only")
        assert "the token from gh has blanks" in status["reason"]
        (place / "token").write_text(gh.token("T2", login="me"))
        mended()
        # its limit: the one thing for which there is nothing to do
        gh.rate_limit("me", remaining=0, reset_in_s=3)
        more()
        assert user.until_found("github_rate_limited")["severity"] == "warning"
        first, advice, *_ = user.screen()
        assert " is on this disk twice, but 1 session is not on GitHub since " in first
        assert "API rate limit exceeded" in first
        assert advice.startswith("Nothing to do")
        gh.rate_limit("me", remaining=5000)
        user.until(is_safe)
        # it may not write
        gh.permit("T2", {"metadata": "read", "issues": "read"})
        more()
        refused("github_not_permitted", "403", "Issues: read and write")
        gh.permit("T2", {"metadata": "read", "issues": "write"})
        mended()
        # the repository
        gh.archive_repo("o/r")
        more()
        refused("github_not_permitted", "archive")
        gh.archive_repo("o/r", archived=False)
        mended()
        user.ctl("sync", acts=True)
        user.until(lambda status: not status["queue"]["pending"])  # nothing is on its way
        gh.make_public("o/r")
        user.ctl("sync", acts=True)  # which looks at the repository again
        gh.forget_requests()
        more()
        refused("github_repository_public", "public", "github.allow_public = true")
        assert gh.requests(writes=True) == []
        (place / "s" / "config.toml").write_text("[github]\nallow_public = true\n")
        assert user.type("ctl", "reload").stdout == "The settings are read; changed: github.allow_public.\n"
        mended()
        gh.delete_repo("o/r")
        more()
        refused("github_repository_missing", "o/r", "github.repo")


def test_after_an_outage_everything_arrives_once(place: Path, gh: FakeGitHub) -> None:
    user = User(place, gh)
    paths = [user.say("before")]
    with user:
        user.start()
        user.say("watched", paths[0])
        user.save(paths[0])
        user.until(lambda status: status["last_push_at"] and is_safe(status))
        gh.refuse()
        user.say("during", paths[0])
        paths.append(user.say("began during it"))
        user.until(lambda status: status["queue"]["pending"] >= 2)

        def unreachable() -> bool:
            user.ctl("sync", acts=True)  # each asks once
            return user.status()["github"]["reachable"] is False

        poll(unreachable, interval_s=0.2)
        first, advice, *_ = user.screen()
        assert " is on this disk twice, but 2 sessions are not on GitHub since " in first
        assert advice.startswith("Nothing to do: it is tried again")
        assert user.until_found("github_unreachable")["severity"] == "warning"
        done = user.type("ctl", "sync", "--wait=1")
        assert done.returncode == 1
        user.check_kept(*paths)
        user.stop()
        user.start(scanned=False)
        gh.accept()
        user.ctl("sync", acts=True)
        user.until(is_safe)
        for path in paths:
            assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
        assert len(gh.effects("created comment")) == 2


def test_a_run_without_a_daemon_says_why_something_is_left(place: Path, gh: FakeGitHub) -> None:
    user = User(place, gh, CI="true")
    path = user.say("hello")
    for environ, words in (
        ({"GH_TOKEN": "wrong"}, ["1 left", "401", "Bad credentials"]),
        ({"GH_TOKEN": ""}, ["1 left", "no token was found", "GH_TOKEN"]),
    ):
        done = user.type("sync", "--once", "--timeout", "20", **environ)
        assert done.returncode == 1
        assert all(word in done.stdout for word in words), done.stdout
    code, what, _ = user.fails("sync", "--once", GH_TOKEN="two words")
    assert code == 78
    assert "the token from GH_TOKEN has blanks" in what
    secret = user.say("unreadable")
    secret.chmod(0)
    code, what, _ = user.fails("sync", "--once")
    assert (code, f"{secret} cannot be read: Permission denied" in what) == (1, True)
    assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}  # that one did not wait for it
    secret.chmod(0o600)
    done = user.type("sync", "--once", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"due": 1, "pushed": 1, "left": 0, "buried": 0}
    user.check_kept(path, secret)


def test_a_run_without_a_daemon_does_what_was_commanded(place: Path, gh: FakeGitHub) -> None:
    user = User(place, gh, CI="true")
    with user:
        user.start()
        assert user.type("ctl", "local-only", "on").returncode == 0
    path = user.say("a secret plan")
    done = user.type("sync", "--once")
    assert done.returncode == 1
    assert done.stdout.startswith("0 of 1 pushed, 1 left: local-only is on.\n`sessiond ctl local-only off`")
    assert not gh.requests(writes=True)
    user.check_kept(path)
    with user:
        user.start()
        assert user.type("ctl", "pause").returncode == 0
        assert user.type("ctl", "local-only", "off").returncode == 0
    assert "1 left: a pause was asked for." in user.type("sync", "--once").stdout
    assert not gh.effects("created comment")


@pytest.mark.parametrize("runs", [False, True], ids=["alone", "daemon"])
def test_a_run_with_nowhere_to_push_to_says_so(place: Path, runs: bool) -> None:
    user = User(place, CI="true")
    with user:
        if runs:
            user.start()
        path = user.say("hello")
        if runs:
            user.save(path)
        done = user.type("sync", "--once")
        assert done.returncode == 0
        assert done.stdout.startswith("Nothing is sent: no repository is set.\nSet github.repo in ")
        assert done.stdout.endswith("\n1 session is on this disk twice.\n")
        counts = json.loads(user.type("sync", "--once", "--json").stdout)
        assert {name: counts[name] for name in ("due", "pushed", "left")} == {
            "due": 0,
            "pushed": 0,
            "left": 0,
        }
    user.check_kept(path)


def test_metrics_that_cannot_be_written_stop_no_backup(place: Path) -> None:
    user = User(place)
    path = user.say("hello")
    code, what, todo = user.fails("sync", "--once", "--textfile", str(place / "nowhere" / "s.prom"))
    assert code == 1
    assert f"the metrics cannot be written to {place}/nowhere/s.prom: No such file" in what
    assert "--textfile" in todo
    user.check_kept(path)
