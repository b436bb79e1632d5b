"""The log read back: which lines, from which place, and those to come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sessiond import logbook
from sessiond.cli import logs as reading
from sessiond.cli.terminal import Terminal
from sessiond.logs import Log, RotatingFile
from sessionsync.errors import ServiceFailed
from tests.conftest import poll

ROOT = Path(__file__).parents[2]
SYSTEMD = {"manager": "systemd", "installed": True, "state": "running"}


def written(folder: Path, *lines: dict[str, Any] | str) -> Path:
    file = folder / "sessiond.log"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def line(event: str, level: str = "info") -> dict[str, Any]:
    return {"at": "2026-01-02T03:04:05Z", "level": level, "event": event}


def test_what_the_log_writes_is_read_back(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as stream:
        log = Log({}, folder=tmp_path, stream=stream)
        log("daemon_started", pid=4711)
        log("push_failed", reason="no route")
        log.close()
    started, failed = logbook.records(logbook.place(None, tmp_path), {}, count=10)
    assert (started["event"], started["pid"], failed["level"]) == ("daemon_started", 4711, "warning")


def test_the_newest_lines_over_files_that_were_full(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "sessiond.log", limit_bytes=200)
    for number in range(6):
        file.write(json.dumps(line(f"e{number}")) + "\n")
    file.close()
    assert (tmp_path / "sessiond.log.1").exists()
    found = logbook.records(logbook.Place(tmp_path / "sessiond.log"), {}, count=4)
    assert [each["event"] for each in found] == ["e2", "e3", "e4", "e5"]


def test_only_lines_that_are_bad_enough_count(tmp_path: Path) -> None:
    file = written(tmp_path, line("a", "error"), line("b", "debug"), "12:04:31 warning c  x=1", line("d"))
    found = logbook.records(logbook.Place(file), {}, count=2, level="warning")
    assert [each["event"] for each in found] == ["a", "12:04:31 warning c  x=1"]


def test_a_line_that_is_not_ours_is_shown_as_it_is(tmp_path: Path) -> None:
    file = written(tmp_path, '{"at": "2026-01-', '["a", "list"]', "Traceback \x1b[31m")
    shown = [
        reading.line(each, 0, Terminal(None, colours=False))
        for each in logbook.records(logbook.Place(file), {}, count=9)
    ]
    assert shown == ['{"at": "2026-01-', '["a", "list"]', "Traceback [31m"]


def test_no_log_says_where_it_would_be(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="no log") as caught:
        next(logbook.records(logbook.place(None, tmp_path), {}, count=1))
    assert caught.value.hint


def test_following_goes_over_into_the_next_file(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "sessiond.log", limit_bytes=120)
    file.write(json.dumps(line("e0")) + "\n")
    following = logbook.records(logbook.Place(tmp_path / "sessiond.log"), {}, count=1, follow=True)
    assert next(following)["event"] == "e0"
    for number in range(1, 4):
        file.write(json.dumps(line(f"e{number}")) + "\n")
        assert [each["event"] for each in islice(following, 1)] == [f"e{number}"]
    file.close()
    assert (tmp_path / "sessiond.log.2").exists()


@pytest.mark.parametrize(
    ("service", "there", "journal"),
    [
        (None, True, False),
        (SYSTEMD, True, True),
        (SYSTEMD | {"state": "stopped"}, True, False),
        (SYSTEMD | {"state": "stopped"}, False, True),
        (SYSTEMD | {"installed": False}, True, False),
        (SYSTEMD | {"manager": "launchd"}, True, False),
    ],
)
def test_the_journal_where_systemd_keeps_it(
    tmp_path: Path, service: dict[str, Any] | None, there: bool, journal: bool
) -> None:
    if there:
        written(tmp_path, line("a"))
    assert (logbook.place(service, tmp_path).file is None) is journal


def test_entries_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {"MESSAGE": "Started sessiond.service", "PRIORITY": "6", "__REALTIME_TIMESTAMP": "1767323045000000"},
        {"MESSAGE": json.dumps(line("push_failed", "warning")), "PRIORITY": "4", "__REALTIME_TIMESTAMP": "1"},
        {"MESSAGE": list(b"caf\xff\x1b"), "PRIORITY": "3", "__REALTIME_TIMESTAMP": "1767323045000000"},
    ]
    said = tmp_path / "said"
    said.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" > {tmp_path}/asked\ncat {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    found = list(logbook.records(logbook.Place(None), os.environ, count=7, level="info"))
    assert [(each["level"], each["event"]) for each in found] == [
        ("info", "Started sessiond.service"),
        ("warning", "push_failed"),
        ("error", "caf�\x1b"),
    ]
    assert found[0]["at"] == "2026-01-02T03:04:05Z"
    assert "--user --unit=sessiond" in (tmp_path / "asked").read_text()
    assert "--lines=7" in (tmp_path / "asked").read_text()


def test_the_command_follows_until_interrupted(tmp_path: Path) -> None:
    file = written(tmp_path / "s" / "log", line("one"))
    command = [sys.executable, "-m", "sessiond", "ctl", "logs", "-f", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["event"] == "one"
        with file.open("a") as log:
            log.write(json.dumps(line("two")) + "\n")
        assert json.loads(following.stdout.readline())["event"] == "two"
        following.send_signal(2)
        poll(lambda: following.poll() is not None)
        assert following.returncode == 130
