"""The log, as it arrives at the other end."""

import io
import json
import logging
import os
import pty
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond.logs import Log, RotatingFile
from sessiond.process import AGENT
from sessionsync.privacy.gate import Gate
from tests.planted import ALNUM


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], level = before
    root.setLevel(level)


def test_one_event_is_one_line_of_json() -> None:
    stream = io.StringIO()
    counted: list[str] = []
    log = Log({}, stream=stream, count=counted.append)
    log("checkpoint_completed", session="claude:x", bytes=12, at=3)
    log("session_captured", bytes=1)  # debug
    log("push_failed", reason="a\nb\x1b[31m\u2028c\x85d\udcffe \u202eevil", path=Path("/x"))
    log("never_heard_of")
    first, second, third = lines(stream)
    assert list(first)[:3] == ["at", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", first["at"])
    assert first | {"at": ""} == {
        "at": "", "level": "info", "event": "checkpoint_completed", "session": "claude:x", "bytes": 12, "at_": 3,
    }  # fmt: skip
    assert second["level"] == "warning"
    assert second["reason"] == "a\nb\x1b[31m\u2028c\x85d\udcffe \u202eevil"  # whole, and yet on one line
    assert second["path"] == "/x"
    assert len(stream.getvalue().splitlines()) == 3
    assert all(letter.isprintable() or letter == "\n" for letter in stream.getvalue())
    assert third["level"] == "info"
    assert counted == ["info", "warning", "info"]


def test_what_a_line_says_passes_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "ghp_" + ALNUM[:36]
    stream = io.StringIO()
    gate = Gate(patterns=[r"ACME-\d+"], allow=["ACME-7"])
    for shape in ("json", "text"):
        log = Log({}, stream=stream, shape=shape, gate=gate)
        log(
            "push_failed",
            reason=f"it said {token}",
            files=["a", token],
            path=Path(f"/x/{token}"),
            session=token,
        )
        try:
            raise ValueError(f"password = {token}")
        except ValueError as error:
            log("command_failed", error=repr(error), exc_info=error, host="ACME-12", mode="ACME-7")
    assert token not in stream.getvalue()
    assert "ACME-12" not in stream.getvalue()
    assert stream.getvalue().count("[REDACTED:") >= 12
    assert "ValueError" in stream.getvalue()

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Gate, "_redact", fails)
    log("push_failed", reason=f"it said {token}", bytes=3)
    assert stream.getvalue().splitlines()[-1].endswith("reason=[REDACTED:unsearched] bytes=3")


def test_levels_and_shape_can_change_while_running() -> None:
    stream = io.StringIO()
    log = Log({}, level="error", stream=stream)
    log("push_failed")
    log.configure("debug", "text", None)
    log("session_captured", bytes=1, title="two words", empty="", quote='"')
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d debug   session_captured bytes=1 title="two words" empty="" quote="\\""\n',
        stream.getvalue(),
    )


def test_an_exception_is_kept_whole() -> None:
    stream = io.StringIO()
    log = Log({}, stream=stream)
    try:
        raise ValueError("odd\nlines")
    except ValueError as error:
        log("loop_failed", loop="capture", exc_info=error)
        log.configure("info", "text", None)
        log("loop_failed", exc_info=error)
    first, *rest = stream.getvalue().splitlines()
    assert json.loads(first)["exception"].startswith("Traceback")
    assert json.loads(first)["exception"].endswith("ValueError: odd\nlines")
    assert rest[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest[1:])


def test_the_journal_is_told_the_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        log = Log(environ, level="debug", stream=stream, folder=tmp_path)
        for event in ("loop_failed", "push_failed", "daemon_started", "session_captured"):
            log(event)
        stream.seek(0)
        written = stream.read().splitlines()
    assert [line[:3] for line in written] == ["<3>", "<4>", "<6>", "<7>"]
    assert json.loads(written[0][3:])["event"] == "loop_failed"
    assert not (tmp_path / "sessiond.log").exists()  # the journal keeps it


def test_another_journal_is_not_ours(tmp_path: Path) -> None:
    stream = io.StringIO()
    Log({"JOURNAL_STREAM": "1:2"}, stream=stream)("daemon_started")
    assert stream.getvalue().startswith("{")


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_words(environ: dict[str, str], tmp_path: Path, *, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        log = Log(environ, stream=stream, folder=tmp_path)
        log("push_failed", reason="no \x1b[2J answer")
        text = os.read(ours, 10_000).decode()
    os.close(ours)
    assert ("\x1b[33mwarning\x1b[0m push_failed" in text) is coloured
    assert r'reason="no \\x1b[2J answer"' in text
    assert text.count("\x1b") == 2 * coloured
    assert not (tmp_path / "sessiond.log").exists()


def test_where_nobody_keeps_it_a_file_does(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = Log({}, stream=stream, folder=tmp_path)
    log("daemon_started", pid=1)
    file = tmp_path / "sessiond.log"
    assert file.read_text() == stream.getvalue()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    log.close()
    log("daemon_stopped")
    assert len(stream.getvalue().splitlines()) == 2
    assert len(file.read_text().splitlines()) == 1


def test_launchds_file_that_never_ends_gets_errors_alone(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = Log({"XPC_SERVICE_NAME": AGENT}, stream=stream, folder=tmp_path)
    log("daemon_started")
    log("loop_failed")
    log.close()
    assert [line["event"] for line in lines(stream)] == ["loop_failed"]
    assert len((tmp_path / "sessiond.log").read_text().splitlines()) == 2


def test_the_file_is_rotated(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "log", limit_bytes=100, files=3)
    for number in range(40):
        file.write(f"{number:02} {'x' * 26}\n")
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert names == ["log", "log.1", "log.2"]
    text = "".join((tmp_path / name).read_text() for name in reversed(names))
    assert [line[:2] for line in text.splitlines()] == [f"{n:02}" for n in range(40 - len(text) // 30, 40)]
    assert all((tmp_path / name).stat().st_size <= 100 for name in names)
    again = RotatingFile(tmp_path / "log", limit_bytes=100, files=3)
    again.write("longer than the limit " * 10 + "\n")
    again.close()
    assert (tmp_path / "log").read_text().startswith("longer")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_stops_nobody() -> None:
    stream = Path("/dev/full").open("w")  # noqa: SIM115 - to close it fails, too
    log = Log({}, stream=stream)
    log("daemon_started", text="x" * 100_000)
    log("daemon_stopped")
    with pytest.raises(OSError, match="No space"):
        stream.close()


def test_threads_do_not_mix_their_lines() -> None:
    stream = io.StringIO()
    log = Log({}, stream=stream)

    def write() -> None:
        for _ in range(50):
            log("daemon_started", text="x" * 500)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 400


@pytest.mark.usefixtures("root_logger")
def test_libraries_log_here_as_well() -> None:
    stream = io.StringIO()
    log = Log({}, stream=stream)
    log.adopt()
    logging.getLogger("httpx").info("GET https://api.github.com")
    logging.getLogger("watchdog.observers").warning("lost %d", 3)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("apscheduler").exception("job")
    first, second = lines(stream)
    assert (first["event"], first["level"], first["logger"], first["message"]) == (
        "library_logged", "warning", "watchdog.observers", "lost 3",
    )  # fmt: skip
    assert second["level"] == "error"
    assert "ZeroDivisionError" in second["exception"]


def test_what_logs_needs_no_asyncio_and_whoever_does_gets_the_real_one() -> None:
    code = (
        "import sys, sessiond.logs; print(*{'asyncio', 'ssl', 'rich'} & {k for k, m in sys.modules.items() if m});"
        "import asyncio; asyncio.run(asyncio.sleep(0))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.split() == []
