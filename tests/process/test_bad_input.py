"""Bad input from everywhere, seen from outside: one clear line, nothing lost, nothing doubled, and on it goes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import uuid
from pathlib import Path

import pytest

from tests.conftest import poll
from tests.process.user import User, codes, sentence
from tests.rig import line, write

MB = 1024 * 1024

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and /proc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for a user, without the test's long name in every message."""
    return tmp_path


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
