"""The command line, as a person and a script meet it."""

import json
import os
import platform
import pty
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from sessiond import build, client, process
from sessiond.__main__ import main
from sessiond.cli import commands, hits, queue, sessions, status
from sessiond.cli.commands.ctl import events, show
from sessiond.cli.overview import COMMANDS
from sessiond.cli.terminal import (
    Terminal,
    ago,
    cells,
    clean,
    clock,
    count,
    cut,
    size,
    span,
    table,
    wrap,
)
from sessiond.control import Answer, Control, Params, Verb
from sessiond.server import Server
from sessionsync import __version__
from sessionsync.catalog import Catalog, Session
from sessionsync.errors import NoSuchSession
from sessionsync.model import Ref, Summary, rfc3339
from sessionsync.store import Store
from tests.archive import run_git
from tests.conftest import PATIENCE_S
from tests.fakes.agent import Agent

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
WIDE = Terminal(100, colours=False)
FILE = Terminal(None, colours=False)
COPIED = "Everything until 07:59:58 is on this disk twice"

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def short_home(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SESSIOND_HOME", str(socket_dir))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return socket_dir


class Run:
    """`sessiond` in this process: its exit code and what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["sessiond", *arguments])
        code = main()
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def sessiond(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


RELOADED = """\
The settings are read; changed: log.level.
Restart to apply: backup.mirror_dir, http.listen (sessiond service stop, sessiond service start).
"""


class Daemon:
    """What a daemon would answer, over the real socket."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Params]] = []
        self.answers: dict[str, Answer | Exception] = {}
        self.stops: Callable[[], None] = lambda: None

    def answer(self, name: str) -> Callable[[Params], Answer]:
        def handler(params: Params) -> Answer:
            self.asked.append((name, params))
            if name == "stop":
                self.stops()
            answer = self.answers.get(name, {"name": name})
            if isinstance(answer, Exception):
                raise answer
            return answer

        return handler


LOOKS = ("status", "sessions", "show", "queue", "conflicts", "events", "health")
ACTS = (
    "checkpoint",
    "sync",
    "retry",
    "resolve",
    "pause",
    "resume",
    "local-only",
    "verify",
    "repair",
    "reconstruct",
    "gc",
    "reload",
    "stop",
)


@pytest.fixture
def daemon(short_home: Path) -> Iterator[Daemon]:
    daemon = Daemon()
    names = (*LOOKS, "search", *ACTS)
    table = {name: Verb(name, daemon.answer(name), acts=name in ACTS) for name in names}
    with process.bound(short_home / "run" / "ctl.sock") as listener:
        server = Server(Control(table, lambda event, **fields: None), listener, threads=2, name="control")
        server.start()
        closing = threading.Thread(target=server.close)
        daemon.stops = closing.start
        yield daemon
        if closing.ident is None:
            closing.start()
        closing.join(PATIENCE_S)


def a_status(**changes: Any) -> Json:
    """A status in which all is well, with changes: `queue__pending=3` changes that part."""
    found: Json = {
        "version": __version__,
        "pid": 4711,
        "uptime_seconds": 260_000.0,
        "status": "ok",
        "mode": "normal",
        "reason": "",
        "hint": "",
        "safe_until": rfc3339(NOW - 2),
        "captured_until": rfc3339(NOW - 2),
        "unpushed_since": None,
        "github": {
            "repo": "o/r",
            "reachable": True,
            "rate_limit": {"limit": 5000, "remaining": 4812, "reset_at": rfc3339(NOW + 600)},
        },
        "queue": {"pending": 0, "oldest_age_seconds": 0.0, "buried": 0, "next_attempt_at": None},
        "sessions": {
            "watched": 1214, "active": 2, "unpushed": 0, "conflicts": 0, "restorable_elsewhere": 900, "uncommented": 0,
        },
        "last_push_at": rfc3339(NOW - 200),
        "reliability_score": None,
        "findings": [],
    }  # fmt: skip
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            found[part][key] = value
        else:
            found[name] = value
    return found


FULL = {
    "code": "backup_disk_full",
    "severity": "critical",
    "session": "",
    "message": "The disk of /b is full",
    "hint": "Free space on /b.",
    "since": rfc3339(NOW - 1500),
}


# --- the first line of `ctl status`


@pytest.mark.parametrize(
    ("changes", "line", "advice", "colour"),
    [
        ({}, f"{COPIED} and on GitHub.", "", "green"),
        (
            {"sessions__uncommented": 1},
            f"{COPIED} and on GitHub; 1 session from before the first start is not on GitHub.",
            "",
            "green",
        ),
        (
            {"sessions__uncommented": 32, "archive": {"url": "/a", "behind": 0, "buried": 0}},
            f"{COPIED}, on GitHub and in the archive; 32 sessions from before the first start are not on GitHub.",
            "",
            "green",
        ),
        (
            {"sessions__unpushed": 1, "safe_until": rfc3339(NOW - 90), "unpushed_since": rfc3339(NOW - 90)},
            "Everything until 07:58:30 is on this disk twice and on GitHub; 1 session changed since and follows by itself.",
            "",
            "green",
        ),
        (
            {"sessions__unpushed": 1200, "safe_until": rfc3339(NOW - 90), "unpushed_since": rfc3339(NOW - 90)},
            "Everything until 07:58:30 is on this disk twice and on GitHub; 1,200 sessions changed since and follow by themselves.",
            "",
            "green",
        ),
        (
            {
                "sessions__unpushed": 3,
                "unpushed_since": rfc3339(NOW - 1500),
                "github__reachable": False,
                "reason": "POST comments: no answer from GitHub: connection refused",
                "hint": "Nothing to do: it is tried again.",
                "status": "degraded",
            },
            f"{COPIED}, but 3 sessions are not on GitHub since 07:35:00 (25 min): POST comments: no answer from GitHub: connection refused.",
            "Nothing to do: it is tried again.",
            "yellow",
        ),
        (
            {"sessions__unpushed": 1, "unpushed_since": rfc3339(NOW - 1500), "github__reachable": False},
            f"{COPIED}, but 1 session is not on GitHub since 07:35:00 (25 min): GitHub cannot be reached.",
            "Nothing to do: it is tried again by itself.",
            "yellow",
        ),
        (
            {
                "mode": "paused",
                "sessions__unpushed": 2,
                "unpushed_since": rfc3339(NOW - 100_000),
                "reason": "GitHub refuses the token.",
                "hint": "Make a new one; then: sessiond ctl resume",
                "status": "critical",
            },
            f"{COPIED}, but 2 sessions are not on GitHub since yesterday 04:13:20 (27 h): GitHub refuses the token.",
            "Make a new one; then: sessiond ctl resume",
            "red",
        ),
        (
            {"mode": "paused", "reason": "a pause was asked for", "hint": "Go on: sessiond ctl resume"},
            f"{COPIED} and on GitHub. Nothing more is sent: a pause was asked for.",
            "Go on: sessiond ctl resume",
            "yellow",
        ),
        (
            {"mode": "local_only", "reason": "no repository is set", "hint": "Set github.repo."},
            f"{COPIED}. Nothing goes to GitHub: no repository is set.",
            "Set github.repo.",
            "yellow",
        ),
        (
            {"sessions__unpushed": 1, "unpushed_since": rfc3339(NOW - 60), "queue__buried": 1, "reason": ""},
            f"{COPIED}, but 1 session is not on GitHub since 07:59:00 (60 s): GitHub refused 1 checkpoint for good.",
            "See why: sessiond ctl queue --buried. Try again: sessiond ctl retry.",
            "red",
        ),
        (
            {"captured_until": None, "safe_until": None, "uptime_seconds": 200.0},
            "Not everything is on this disk twice yet: the first backup has run for 3 min.",
            "Nothing to do: it goes on by itself.",
            "yellow",
        ),
        (
            {"captured_until": rfc3339(NOW - 1500), "findings": [FULL], "status": "critical"},
            "Not everything is on this disk twice since 07:35:00 (25 min ago): The disk of /b is full.",
            "Free space on /b.",
            "red",
        ),
        (
            {"captured_until": rfc3339(NOW - 120)},
            "What changed after 07:58:00 (2 min ago) is not on this disk twice.",
            "Nothing to do: it is being backed up.",
            "red",
        ),
    ],
)  # fmt: skip
def test_the_first_line_answers_the_question(changes: Json, line: str, advice: str, colour: str) -> None:
    found = status.headline(a_status(**changes), NOW)
    assert (found.text, found.advice, found.colour) == (line, advice, colour)


def test_a_status_is_one_screen(daemon: Daemon) -> None:
    found = a_status(
        findings=[FULL | {"code": "goal_missed", "severity": "warning", "session": "claude:x"}],
        sessions__uncommented=214,
        queue__pending=2,
        queue__oldest_age_seconds=1500.0,
        queue__next_attempt_at=rfc3339(NOW + 40),
        reliability_score=0.99712,
    )
    assert (
        "\n".join(status.render(found, NOW, WIDE))
        == """\
Everything until 07:59:58 is on this disk twice and on GitHub; 214 sessions from before the first
start are not on GitHub.

  GitHub       o/r, reachable, 4,812 of 5,000 requests left until 08:10:00
  Queue        2 waiting, the oldest for 25 min, next attempt in 40 s
  Sessions     1,214 watched, 2 active, 0 unpushed
  Restorable   elsewhere: 900 of 1,214
  Older        214 sessions from before the first start not on GitHub; to send them: sessiond ctl
               sync --full
  Last push    3 min ago
  Daemon       normal, up 3 days, pid 4711, version VERSION
  Reliability  99.71 % over 24 h
  Warning      claude:x: The disk of /b is full. Free space on /b. (25 min ago)""".replace(
            "VERSION", __version__
        )
    )
    narrow = status.render(found, NOW, Terminal(40, colours=True))
    assert all(cells(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 40 for line in narrow)
    assert narrow[0].startswith("\x1b[1;32mEverything")


def test_another_version_is_said(daemon: Daemon, sessiond: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers["status"] = a_status()
    assert "Versions" not in sessiond("ctl", "status")[1]
    daemon.answers["status"] = a_status(version="0.0.9")
    said = f"The daemon is version 0.0.9, this command {__version__}: after an upgrade it follows by itself, else start it again."
    assert f"Versions    {said}" in sessiond("ctl", "status")[1]
    daemon.answers["show"] = NoSuchSession("No session x.", hint="See: sessiond list")
    assert sessiond("ctl", "show", "x")[2].splitlines()[1] == "See: sessiond list"
    monkeypatch.setattr(client, "__version__", "9.9.9")
    hint = sessiond("ctl", "show", "x")[2].splitlines()[1]
    said = f"The daemon is version {__version__}, this command 9.9.9: after an upgrade it follows by itself, else start it again."
    assert hint == f"{said} See: sessiond list"


def test_nothing_is_said_twice_on_the_screen() -> None:
    full = FULL | {"session": ""}
    lines = status.render(a_status(findings=[full, FULL | {"code": "other", "message": "x"}]), NOW, FILE)
    assert sum("The disk of /b is full" in line for line in lines) == 1
    assert sum(line.startswith("  Critical ") for line in lines) == 1


# --- against a daemon


def test_every_look_is_the_daemons_answer_with_json(daemon: Daemon, sessiond: Run) -> None:
    daemon.answers["status"] = a_status()
    daemon.answers["health"] = {"status": "ok", "checked_at": rfc3339(NOW), "findings": []}
    daemon.answers["events"] = {"events": []}
    for verb in LOOKS:
        code, out, err = sessiond("ctl", verb, *(["x"] if verb == "show" else []), "--json")
        assert (code, err) == (0, "")
        assert json.loads(out) == daemon.answers.get(verb, {"name": verb})
    assert [verb for verb, _ in daemon.asked] == list(LOOKS)
    assert dict(daemon.asked)["show"] == {"session": "x"}


def test_status_for_a_person(daemon: Daemon, sessiond: Run) -> None:
    daemon.answers["status"] = a_status(captured_until=rfc3339(time.time()))
    code, out, err = sessiond("ctl", "status")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith("is on this disk twice and on GitHub.")
    assert "\x1b" not in out


@pytest.mark.parametrize("found", ["warning", "critical"])
def test_health_is_5_when_not_ok(daemon: Daemon, sessiond: Run, found: str) -> None:
    daemon.answers["health"] = {"status": found, "checked_at": rfc3339(NOW), "findings": [FULL]}
    code, out, _ = sessiond("ctl", "health")
    assert code == 5
    assert "critical backup_disk_full: The disk of /b is full" in out
    assert "Free space on /b." in out


def test_health_says_since_when_and_what_is_done(daemon: Daemon, sessiond: Run) -> None:
    found = FULL | {"doing": "attempt 2 to remove what nothing needs is under way"}
    day = {"score": 0.98765, "incidents": 2, "mttr_seconds": 90.0}
    daemon.answers["health"] = {
        "status": "critical",
        "checked_at": rfc3339(NOW),
        "findings": [found],
        "reliability": {"24h": day},
    }
    _, out, _ = sessiond("ctl", "health")
    assert "; attempt 2 to remove what nothing needs is under way" in out
    assert out.splitlines()[-1] == "98.77 % reliable over 24 h, 2 incidents ended, after 90 s on average"


def test_health_says_while_not_everything_is_checked_yet(daemon: Daemon, sessiond: Run) -> None:
    daemon.answers["health"] = {"status": "ok", "checked_at": None, "findings": []}
    _, out, _ = sessiond("ctl", "health")
    assert out.splitlines()[0] == "ok, not everything is checked yet since the start"


def test_health_can_be_watched_through_an_absence(
    daemon: Daemon, sessiond: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok: dict[str, Any] = {"status": "ok", "checked_at": rfc3339(NOW), "findings": []}
    answers = [ok, ok, ok | {"status": "critical", "findings": [FULL]}]

    def sleep(_seconds: float) -> None:
        if not answers:
            raise KeyboardInterrupt
        daemon.answers["health"] = answers.pop(0)

    sleep(0)
    monkeypatch.setattr(time, "sleep", sleep)
    code, out, _ = sessiond("ctl", "health", "--watch", "--json")
    assert code == 130
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["ok", "critical"]  # where it changed


COUNTS = {"due": 3, "pushed": 1, "left": 2, "buried": 0}
STAYS = {"mode": "local_only", "reason": "no repository is set", "hint": "Set github.repo.", "paused": True}
PAUSE = {"mode": "paused", "reason": "a pause was asked for", "hint": "Resume ends it.", "paused": True}
NOTHING = {"due": 0, "pushed": 0, "left": 0, "buried": 0}
UNSETTLED = "changed since the newest checkpoint and follows when it rests; `sessiond ctl checkpoint ID` makes one now.\n"  # fmt: skip
ON_THEIR_WAY = "They are on their way: `sessiond ctl queue` shows how far.\n"


@pytest.mark.parametrize(
    ("arguments", "params", "answer", "said"),
    [
        (["checkpoint", "abc"], {"session": "abc"}, {"session": "abc-1", "checkpoint": "C1"}, "Checkpoint C1 of abc-1 is on this disk.\n"),
        (["sync"], {}, COUNTS, f"1 of 3 pushed, 2 left\n{ON_THEIR_WAY}"),
        (["sync"], {}, COUNTS | {"reason": "No network.", "hint": "Wait."}, "1 of 3 pushed, 2 left: No network.\nWait.\n"),
        (["sync"], {}, COUNTS | {"due": 0, "pushed": 0, "left": 0}, "Nothing waits.\n"),
        (["sync", "abc", "--full", "--dry-run"], {"session": "abc", "full": True, "dry_run": True}, COUNTS, "3 checkpoints would be sent.\nNothing was sent.\n"),
        (["retry"], {}, {"due": 0}, "Nothing waits.\n"),
        (["retry"], {}, {"due": 2, "reason": "No network.", "hint": "Wait."}, "2 checkpoints to be sent, but: No network.\nWait.\n"),
        (["sync", "--dry-run"], {"dry_run": True}, COUNTS | {"reason": "No network.", "hint": "Wait."}, "3 checkpoints to be sent, but: No network.\nWait.\nNothing was sent.\n"),
        (["retry", "abc"], {"session": "abc"}, {"due": 1}, "1 checkpoint is tried now.\n"),
        (["pause"], {}, PAUSE, "Nothing is sent for now: a pause was asked for.\nResume ends it.\n"),
        (["pause"], {}, STAYS, "Everything stays on this machine: no repository is set.\nSet github.repo.\nIt is paused as well: `sessiond ctl resume` ends that.\n"),
        (["pause"], {}, STAYS | {"archive": "paused"}, "Nothing is sent to the archive for now: it is paused.\n`sessiond ctl resume` ends that.\n"),
        (["resume"], {}, STAYS | {"archive": "normal", "paused": False}, "Everything goes to the archive, and nothing to GitHub: no repository is set.\nSet github.repo.\n"),
        (["local-only", "on"], {"on": True}, STAYS | {"archive": "local_only", "paused": False}, "Everything stays on this machine: no repository is set.\nSet github.repo.\n"),
        (["sync"], {}, NOTHING | {"unsettled": 5}, f"Nothing waits.\n5 sessions {UNSETTLED.replace('follows when it rests', 'follow when they rest')}"),
        (["sync"], {}, NOTHING | {"unsettled": 1, "kept": 4}, f"Nothing waits.\n1 session {UNSETTLED}"),
        (["sync"], {}, NOTHING | {"kept": 3, "reason": "no repository is set", "hint": "Set it."}, "Nothing is sent: no repository is set.\nSet it.\n3 sessions are on this disk twice.\n"),
        (["resume"], {}, {"mode": "normal", "reason": "", "hint": "", "paused": False}, "Everything is sent as it comes.\n"),
        (["local-only", "on"], {"on": True}, STAYS | {"paused": False}, "Everything stays on this machine: no repository is set.\nSet github.repo.\n"),
        (["local-only", "off", "--dry-run"], {"on": False, "dry_run": True}, PAUSE, "Nothing is sent for now: a pause was asked for.\nResume ends it.\n"),
        (["reload"], {}, {"changed": []}, "The settings are read; changed: nothing.\n"),
        (
            ["reload"],
            {},
            {"changed": ["backup.mirror_dir", "http.listen", "log.level"], "restart_needed": ["backup.mirror_dir", "http.listen"]},
            RELOADED,
        ),
        (["reload"], {}, {"changed": ["log.level", "github.repo"]}, "The settings are read; changed: log.level, github.repo.\n"),
        (["gc"], {}, {"files": [], "packs": [], "freed_bytes": 0}, "There is nothing to remove.\n"),
        (["gc"], {}, {"files": ["/b/x"], "packs": [], "freed_bytes": 8}, "/b/x\n8 B were removed.\n"),
        (["gc", "--dry-run"], {"dry_run": True}, {"files": [], "packs": [{"session": "s", "bytes": 8}], "freed_bytes": 8}, "8 B in the pack of s\n8 B would be removed.\n"),
        (["repair", "abc"], {"session": "abc", "progress": True}, {"healed_bytes": {"vault": 9}, "healed_bits": 0, "kept": [], "left": []}, "9 B healed from: vault\nEvery copy is what was stored.\n"),
        (["verify"], {"progress": True}, {"checked": 2, "bytes": 0, "bad": []}, "2 sessions looked at, 0 B read: nothing is damaged.  --deep reads every byte.\n"),
        (["verify", "--deep"], {"deep": True, "progress": True}, {"checked": 2, "bytes": 9, "bad": []}, "2 sessions looked at, 9 B read: every copy is what was stored.\n"),
    ],
)  # fmt: skip
def test_acting_says_what_came_of_it(
    daemon: Daemon, sessiond: Run, arguments: list[str], params: Params, answer: Json, said: str
) -> None:
    verb = arguments[0]
    daemon.answers[verb] = answer
    assert sessiond("ctl", *arguments) == (0, said, "")
    assert daemon.asked == [(verb, params)]
    code, out, err = sessiond("ctl", *arguments, "--json")
    assert (code, json.loads(out), err) == (0, answer, "")


@pytest.mark.parametrize(
    ("arguments", "left", "buried", "wait", "code"),
    [
        (["--wait"], 0, 0, 120.0, 0),
        (["--wait=7"], 2, 0, 7.0, 1),
        (["--wait", "7", "abc"], 2, 1, 7.0, 5),
        ([], 2, 1, None, 0),
    ],
)
def test_waiting_for_a_sync(
    daemon: Daemon, sessiond: Run, arguments: list[str], left: int, buried: int, wait: float | None, code: int
) -> None:
    daemon.answers["sync"] = {"due": 3, "pushed": 1, "left": left, "buried": buried}
    found, out, _ = sessiond("ctl", "sync", *arguments)
    assert found == code
    counts, *more = out.splitlines()
    assert counts == "1 of 3 pushed" + (", 2 left" if left else "") + (
        ", 1 refused for good" if buried else ""
    )
    assert len(more) == bool(left) + bool(buried)
    assert ("queue --buried" in out) == bool(buried)
    ((_, params),) = daemon.asked
    assert params.get("wait") == wait


def test_stopping_returns_when_it_has_ended(daemon: Daemon, sessiond: Run) -> None:
    daemon.answers["stop"] = {"pid": 4711}
    assert sessiond("ctl", "stop") == (0, "sessiond has ended, pid 4711.\n", "")
    code, _, err = sessiond("ctl", "status")
    assert code == 3
    assert "daemon_not_running" in err


def test_the_daemons_error_is_the_commands(daemon: Daemon, sessiond: Run) -> None:
    daemon.answers["show"] = NoSuchSession("No session 'x\x1b[2J' is known here.", hint="See: sessiond list")
    code, out, err = sessiond("ctl", "show", "x")
    assert (code, out) == (4, "")
    assert err == "sessiond: no_such_session: No session 'x [2J' is known here.\nSee: sessiond list\n"
    daemon.answers["show"] = RuntimeError("a bug")
    code, _, err = sessiond("ctl", "show", "x")
    assert code == 70
    assert len(err.splitlines()) == 2


def test_events_are_followed_until_interrupted(
    daemon: Daemon, short_home: Path, wait_until: Callable[..., None]
) -> None:
    daemon.answers["events"] = {
        "events": [{"at": rfc3339(NOW), "event": "push_completed", "session": "s", "number": 7}]
    }
    command = [sys.executable, "-m", "sessiond", "ctl", "events", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["number"] == 7
        daemon.answers["events"] = {"events": []}
        wait_until(lambda: len(daemon.asked) >= 2)
        following.send_signal(signal.SIGINT)
        assert following.wait(PATIENCE_S) == 130
    assert [params for _, params in daemon.asked][:2] == [{"limit": "50"}, {"limit": "50", "after": "7"}]


# --- without a daemon


def test_who_has_an_archive_and_nothing_else_is_told_how_to_find_what_it_holds(
    short_home: Path, sessiond: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSIOND_ARCHIVE_URL", str(short_home / "archive.git"))
    assert "`sessiond continue` finds in its folder" in sessiond("list")[1]


@pytest.mark.parametrize("is_known", [False, True], ids=["nothing known", "one known"])
@pytest.mark.parametrize("command", ["restore 2222", "restore --latest", "continue --latest"])
def test_the_list_is_named_only_where_it_shows_any(
    short_home: Path, sessiond: Run, monkeypatch: pytest.MonkeyPatch, command: str, is_known: bool
) -> None:
    monkeypatch.setenv("HOME", str(short_home))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(short_home / "agent"))
    (short_home / "shop").mkdir()
    monkeypatch.chdir(short_home / "shop")
    if is_known:
        (short_home / "state").mkdir()
        with closing(Store(short_home / "state" / "state.db")) as store:
            ref, path = Ref("claude", "s1"), short_home / "s1.jsonl"
            Catalog(store).save(Session(0, ref, short_home, path, Summary(title="One"), NOW, NOW, key="s1"))
    code, _, err = sessiond(*command.split())
    assert code == 4
    assert ("`sessiond list` shows" in err) == is_known
    assert ("Set archive.url or github.repo" in err) == (not is_known)
    if not is_known:
        monkeypatch.setenv("SESSIOND_ARCHIVE_URL", str(short_home / "archive.git"))
        run_git(short_home, "init", "-q", "--bare", "archive.git")
        assert "`sessiond continue` finds the sessions of the project" in sessiond(*command.split())[2]


def test_list_reads_what_the_last_daemon_left(short_home: Path, sessiond: Run) -> None:
    code, out, err = sessiond("list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "No sessions are known here.",
        "Nothing was captured yet: `sessiond run` begins.",
    ]
    assert json.loads(sessiond("list", "--json")[1])["sessions"] == []
    assert not (short_home / "state").exists(), "looking made something"
    (short_home / "state").mkdir()
    store = Store(short_home / "state" / "state.db")
    assert sessiond("list")[1].splitlines()[1:] == ["Nothing was captured yet: `sessiond run` begins."]
    Catalog(store).save(
        Session(
            0, Ref("claude", "s1"), short_home, short_home / "s1.jsonl", Summary(title="One"), NOW, NOW, key="s1",
            project_root=str(short_home / "shop"), project="shop",
        )
    )  # fmt: skip
    store.close()
    (short_home / "shop" / "src").mkdir(parents=True)
    (short_home / "other").mkdir()
    assert [each["id"] for each in json.loads(sessiond("list", "--json")[1])["sessions"]] == ["s1"]
    assert "One" in sessiond("list", "--project", str(short_home / "shop" / "src"))[1]
    assert "One" not in sessiond("list", "--project", str(short_home / "other"))[1]
    assert "One" not in sessiond("list", "--project", str(short_home / "none"))[1], "it may be gone"


def test_list_asks_the_daemon_where_there_is_one(daemon: Daemon, sessiond: Run, short_home: Path) -> None:
    daemon.answers["sessions"] = {"sessions": []}
    assert sessiond("list", "--project", str(short_home))[0] == 0
    assert daemon.asked == [("sessions", {"project": str(short_home.resolve()), "everywhere": "1"})]


@pytest.mark.parametrize("command", [("list",), ("ctl", "sessions")])
def test_a_list_says_what_waits_and_why(daemon: Daemon, sessiond: Run, command: tuple[str, ...]) -> None:
    daemon.answers["sessions"] = {"sessions": [], "waiting": 1200}
    assert sessiond(*command)[1] == "No sessions are known here yet: 1,200 to be captured.\n"
    daemon.answers["sessions"] = {"sessions": [], "waiting": 0, "is_first": True}
    assert sessiond(*command)[1] == "No sessions are known here yet: the first backup runs.\n"
    daemon.answers["sessions"] = {"sessions": [], "waiting": 0, "is_first": False}
    assert sessiond(*command)[1] == "No sessions are known here.\n"
    full = {"waiting": 3, "reason": "/b is full: No space left on device.", "hint": "Free space there."}
    said = ["3 sessions wait to be captured: /b is full: No space left on device.", "Free space there."]
    daemon.answers["sessions"] = {"sessions": [], **full}
    assert sessiond(*command)[1].splitlines() == said
    daemon.answers["sessions"] = {"sessions": [a_session()], **full}
    assert sessiond(*command)[1].splitlines()[2:] == said
    daemon.answers["sessions"] = {"sessions": [a_session()], "waiting": 1}
    assert len(sessiond(*command)[1].splitlines()) == 2, "what is on its way is nobody's trouble"


@pytest.mark.parametrize("arguments", [("ctl", "status"), ("ctl", "sync"), ("ctl", "queue", "--buried")])
def test_no_daemon_is_exit_3_in_two_lines(
    sessiond: Run, short_home: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = sessiond(*arguments)
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"sessiond: daemon_not_running: sessiond is not running: nobody listens on {short_home}/run/ctl.sock.",
        "Start it: sessiond run",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "There is no command sessiond nonsense"),
        (("ctl", "nonsense"), "There is no command sessiond ctl nonsense"),
        (("ctl", "show"), "Missing argument 'ID'"),
        (("ctl", "status", "--jsn"), "No such option"),
        (("--json", "list"), "No such option"),
        (("ctl", "--json", "status"), "No such option"),
        (("ctl", "local-only", "maybe"), "'maybe' is not one of"),
        (("ctl", "sync", "--wait=abc"), "abc"),
        (("ctl", "sync", "--wait", "-1"), "-1"),
        (("sync",), "Missing option '--once'"),
        (("ctl", "events", "--limit", "0"), "0"),
    ],
)
def test_a_wrong_command_line_is_exit_2_in_two_lines(
    sessiond: Run, arguments: tuple[str, ...], says: str
) -> None:
    code, out, err = sessiond(*arguments)
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("sessiond: usage: ")
    assert says in first
    assert re.fullmatch(r"How it is used: sessiond( ctl)?( [a-z-]+)? --help", second)


def test_nothing_asked_shows_the_help(sessiond: Run) -> None:
    for arguments in ((), ("ctl",)):
        code, _, err = sessiond(*arguments)
        assert code == 2
        assert "Usage: sessiond" in err


def test_a_wrong_setting_is_exit_78(sessiond: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIOND_HOME", "relative")
    code, _, err = sessiond("ctl", "status")
    assert code == 78
    assert err.startswith("sessiond: config_invalid: SESSIOND_HOME")


def test_a_traceback_only_where_it_is_asked_for(sessiond: Run) -> None:
    assert "Traceback" not in sessiond("ctl", "status")[2]
    for arguments in (
        ("--debug", "ctl", "status"),
        ("ctl", "status", "--debug"),
        ("ctl", "--debug", "pause"),
    ):
        code, _, err = sessiond(*arguments)
        assert code == 3
        assert "Traceback" in err
        assert err.splitlines()[-1] == "Start it: sessiond run"


def test_a_bug_is_exit_70(sessiond: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "end", lambda path: 1 / 0)
    code, _, err = sessiond("ctl", "stop")
    assert code == 70
    assert err.splitlines() == [
        "sessiond: internal: sessiond failed: ZeroDivisionError: division by zero",
        "Run it again with --debug, and report what it prints.",
    ]


@pytest.mark.parametrize("arguments", [["ctl", "status"], ["--version"], ["ctl", "--help"]])
def test_a_full_disk_behind_stdout_is_said(daemon: Daemon, arguments: list[str]) -> None:
    daemon.answers["status"] = a_status()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sessiond", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "sessiond: output_failed: The answer cannot be written: No space left on device.",
        "See where stdout goes to.",
    ]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"), [("list", 0), ("--help", 0), ("ctl pause", 3), ("nonsense", 2), ("init", 5)]
)
def test_a_closed_stream_changes_no_exit_code(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, arguments: str, code: int, closed: str
) -> None:
    monkeypatch.setenv("SESSIOND_HOME", f"{os.environ['SESSIOND_HOME']}/other")
    line = f"{shlex.quote(sys.executable)} -m sessiond {arguments} {closed}"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == code
    assert b"internal" not in done.stderr


def test_an_error_that_cannot_be_said_keeps_its_exit_code(sessiond: Run) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "sessiond", "nonsense"], stderr=full, check=False)
    assert done.returncode == 2


# --- help


def every(command: click.Command, path: str = "sessiond") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from every(below, f"{path} {name}")


@pytest.mark.parametrize(
    ("path", "command"),
    list(every(commands.sessiond)),
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_every_command_has_help_with_an_example(sessiond: Run, path: str, command: click.Command) -> None:
    code, out, err = sessiond(*path.split()[1:], "--help")
    assert (code, err) == (0, "")
    assert out == sessiond(*path.split()[1:], "-h")[1]
    assert command.get_short_help_str(200), path
    example = out[out.index("Example:") :].splitlines()[1:]
    assert example, path
    for line in example:
        assert "sessiond " in line
    assert any(f"  {path}" in line for line in example), path
    assert all(len(line) <= 80 for line in out.splitlines()), path
    reads = path.rsplit(maxsplit=1)[-1] in {*LOOKS, "list"}
    assert not reads or "--json" in out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("srch",), "sessiond search"),
        (("status",), "sessiond ctl status"),
        (("ctl", "stats"), "sessiond stats"),
        (("ctl", "instal"), "sessiond hooks install"),
        (("service", "instal"), "sessiond service install"),
    ],
)
def test_a_typo_is_told_what_it_may_have_been_meant_for(
    sessiond: Run, typed: tuple[str, ...], meant: str
) -> None:
    code, out, err = sessiond(*typed)
    assert (code, out) == (2, "")
    said, hint = err.splitlines()
    assert said == f"sessiond: usage: There is no command sessiond {' '.join(typed)}."
    assert hint.startswith(f"Perhaps {meant}")


@pytest.mark.parametrize("group", [[], ["ctl"], ["hooks"]], ids=lambda group: "".join(group) or "sessiond")
def test_the_list_of_commands_is_read_to_its_ends(
    sessiond: Run, group: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = sessiond(*group, "--help")
    commands_of = out.partition("Commands:\n")[2].partition("Example:")[0].splitlines()
    assert len(commands_of) > 3
    assert [line for line in commands_of if line.endswith("...")] == []


def test_no_columns_are_no_width(sessiond: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = sessiond("search", "--help")
    monkeypatch.setenv("COLUMNS", "0")
    assert sessiond("search", "--help") == wide


def test_each_control_verb_has_its_command() -> None:
    assert set(COMMANDS["ctl"]) == {*LOOKS, *ACTS, "logs"}


def test_each_module_of_a_command_is_in_the_overview() -> None:
    folder = Path(commands.__file__).parent
    there = {
        str(file.relative_to(folder).with_suffix("")).removesuffix("/__init__")
        for file in folder.rglob("*.py")
    }
    listed = {
        f"{group}/{name}".strip("/").replace("-", "_") for group, below in COMMANDS.items() for name in below
    }
    assert there - {"__init__"} == listed


# --- as a process


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sessiond", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("sessiond ctl sta", "status"), ("sessiond rest", "restore"), ("sessiond hooks ", "install")],
)
def test_the_tab_key_completes_commands(typed: str, offered: str) -> None:
    program = Path(sys.executable).with_name("sessiond")
    if not program.exists() or not (bash := shutil.which("bash")):
        pytest.skip("needs bash, and the program installed beside this Python")
    words = [*typed.split(), *([""] if typed.endswith(" ") else [])]
    script = [
        'eval "$(sessiond completion bash)"',
        f"COMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)}); COMP_CWORD={len(words) - 1}",
        "_sessiond_completion sessiond",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    environ = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "-c", "\n".join(script)],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert offered in done.stdout.splitlines(), done


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_its_own_script(sessiond: Run, shell: str) -> None:
    code, out, _ = sessiond("completion", shell)
    assert code == 0
    assert f"_SESSIOND_COMPLETE={shell}_complete" in out


def test_version() -> None:
    built, under, libraries = run("--version").stdout.splitlines()
    assert built == f"sessiond {__version__}" + (f" (commit {build.commit()})" if build.commit() else "")
    assert under.startswith(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, ")
    assert f"httpx {metadata.version('httpx')}" in libraries.split(", ")


def imported(*arguments: str) -> set[str]:
    """What a command imports, but for what every Python has imported when it starts."""
    script = (
        "import sys; before = {*sys.modules}; sys.argv = ['sessiond', *sys.argv[1:]];"
        "from sessiond.__main__ import main; code = main();"
        "print(); print(code, *sorted({*sys.modules} - before))"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0", done
    return set(modules)


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


# What asking the daemon and showing its answer takes, of ours and of Python's; most is in the interpreter.
ASKING = {
    *("sessiond", "sessiond.__main__", "sessiond.client", "sessiond.peer"),
    *("sessiond.cli", "sessiond.cli.look", "sessiond.cli.terminal"),
    *("sessionsync", "sessionsync.errors", "sessionsync.fastjson", "sessionsync.places"),
}
LIGHT = {"__future__", "_json", "_socket", "_datetime"}


@pytest.mark.parametrize("verb", ["status", "health", "sessions", "queue"])
def test_what_is_typed_often_imports_little(daemon: Daemon, verb: str) -> None:
    """Each of these takes a tenth of the answer's time or more: click, re, typing, pathlib, socket …"""
    daemon.answers |= {
        "status": a_status(),
        "health": {"status": "ok", "checked_at": rfc3339(NOW), "findings": []},
        "queue": {"items": []},
        "sessions": {"sessions": [a_session()]},
    }
    assert imported("ctl", verb) == {*ASKING, *LIGHT, f"sessiond.cli.{verb}"}


def test_to_begin_compiles_no_expression_that_can_wait() -> None:
    script = (
        "import gc; from sessiond import once; from sessionsync.pattern import Pattern;"
        "patterns = [each for each in gc.get_objects() if isinstance(each, Pattern)];"
        "print(len(patterns), sum('compiled' in vars(each) for each in patterns))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    patterns, compiled = map(int, done.stdout.split())
    assert patterns > 100
    assert compiled == 0


LOOKS_FOR_CYCLES = """
import gc, json, sys

missing, sys.argv = sys.argv[1], ["sessiond", *sys.argv[2:]]

class Looks:
    seen = {}

    def find_spec(self, name, *_):
        self.seen[name] = gc.isenabled()
        if name == missing:
            raise ImportError(name)

sys.meta_path.insert(0, Looks())
from sessiond.__main__ import main
code = main()
print()
print(json.dumps([code, Looks.seen, gc.isenabled(), gc.get_freeze_count() > 0]))
"""


@pytest.mark.parametrize(
    ("arguments", "imports"),
    [(("sync", "--once"), "sessiond.engine"), (("--version",), "click.core")],
    ids=["once", "any"],
)
@pytest.mark.parametrize("is_missing", [False, True])
def test_no_cycles_are_looked_for_while_it_imports_and_then_they_are(
    tmp_path: Path, arguments: tuple[str, ...], imports: str, is_missing: bool
) -> None:
    """Also where that failed; and nothing that was imported is looked through again."""
    done = subprocess.run(
        [sys.executable, "-c", LOOKS_FOR_CYCLES, imports if is_missing else "", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SESSIOND_HOME": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    code, seen, is_enabled, is_frozen = json.loads(done.stdout.splitlines()[-1])
    assert code == (70 if is_missing else 0), done.stderr
    assert not seen[imports]
    assert (is_enabled, is_frozen) == (True, True)


@pytest.mark.parametrize("arguments", [("list",), ("search", "quokka"), ("search", "idle", "connections")])
def test_what_people_type_without_options_needs_no_click(daemon: Daemon, arguments: tuple[str, ...]) -> None:
    daemon.answers["sessions"] = {"sessions": [a_session()]}
    daemon.answers["search"] = {"hits": [], "behind": 0}
    ours = {
        "list": {"sessiond.cli.listing", "sessiond.cli.sessions"},
        "search": {"sessiond.cli.finding", "sessiond.cli.hits", "sessiond.cli.sessions"},
    }[arguments[0]]
    found = imported(*arguments)
    assert {name for name in found if name.startswith("sess")} == {*ASKING, *ours}
    re = {"re", "_sre", "copyreg", "enum", "functools", "types", "collections", "operator"}
    under = {"_collections", "_functools", "_operator", "itertools", "keyword", "reprlib"}
    more = {"list": {"unicodedata"}, "search": re | under}[
        arguments[0]
    ]  # for arrows, and for stars in snippets
    assert packages(found) - {"sessiond", "sessionsync"} <= LIGHT | more


@pytest.mark.parametrize("options", [(), ("--json",), ("--limit", "20"), ("--json", "--limit", "20")])
def test_a_search_is_the_same_with_click_and_without(
    daemon: Daemon, sessiond: Run, options: tuple[str, ...]
) -> None:
    daemon.answers["search"] = {"hits": [], "behind": 0}
    code, out, _ = sessiond("search", "idle", "connections", *options)
    assert code == 0
    assert out == ('{\n  "hits": [],\n  "behind": 0\n}\n' if "--json" in options else "Nothing was found.\n")
    ((_, asked),) = daemon.asked
    assert {name: value for name, value in asked.items() if value not in {"", "0.0"}} == {
        "query": "idle connections",
        "limit": "20",
    }


def test_a_command_imports_what_it_needs(daemon: Daemon) -> None:
    daemon.answers["sessions"] = {"sessions": [a_session()]}
    daemon.answers["search"] = {"hits": [], "behind": 0}
    with_options = (("list", "--project", "."), "list"), (("search", "quokka", "--limit", "5"), "search")
    for arguments, module in (*with_options, (("--help",), None)):
        found = imported(*arguments)
        below = {name for name in found if name.startswith("sessiond.cli.commands.")}
        assert below == ({f"sessiond.cli.commands.{module}"} if module else set())
        heavy = {
            "msgspec",
            "sqlite3",
            "httpx",
            "asyncio",
            "subprocess",
            "socket",
            "pathlib",
            "ctypes",
            "urllib",
            "shutil",
        }
        assert packages(found) & {*heavy, "structlog", "waitress", "watchdog", "ssl"} == set()
        assert "click" in found


def test_a_reader_who_has_seen_enough_is_no_error(daemon: Daemon) -> None:
    daemon.answers["sessions"] = {"sessions": [a_session(id=f"s{n}", title="x" * 50) for n in range(5000)]}
    command = f"{sys.executable} -m sessiond list | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.startswith("ID")
    assert done.stderr == ""


def on_a_terminal(*arguments: str, **environ: str) -> str:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sessiond", *arguments]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "60", **environ}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=theirs, stderr=theirs) as started:
        os.close(theirs)
        text = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # Linux says EIO where the other end has gone
                break
            if not block:
                break
            text += block
        started.wait(PATIENCE_S)
    os.close(ours)
    return text.decode()


def test_colours_on_a_terminal_unless_told_otherwise(daemon: Daemon) -> None:
    daemon.answers["status"] = a_status(captured_until=rfc3339(time.time()))
    assert on_a_terminal("ctl", "status").startswith("\x1b[1;32mEverything until")
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_a_terminal("ctl", "status", **environ)
        assert plain.startswith("Everything until")
        assert "\x1b" not in plain
    refused = on_a_terminal("ctl", "show", "x", SESSIOND_HOME="/tmp/no-such-folder")
    assert refused.startswith("\x1b[31msessiond: daemon_not_running:\x1b[0m sessiond is not running")


# --- tables and words


def a_session(**changes: Any) -> Json:
    return {
        "id": "3f2a9c1e-0000-4000-8000-000000000001", "source": "claude", "project": "shop", "title": "Redesign", "path": "/p",
        "size": 46_080, "tier": "github_only", "state": "active", "turns": 7, "next": "", "updated_at": rfc3339(NOW - 180),
        "last_checkpoint_at": None, "last_pushed_at": rfc3339(NOW - 7300), "unpushed": False, "unpushed_bytes": 0,
        "copies": ["mirror", "vault"], "purge_in_days": 12.3,
    } | changes  # fmt: skip


def test_sessions_in_columns() -> None:
    answer = {
        "sessions": [
            a_session(),
            a_session(id="3f2a9c1e-0000-4000-8000-000000000002", title="日本語のとても長い題名がここにあります" * 3, unpushed=True, unpushed_bytes=2048),
            a_session(id="checkout", source="structured", title="\x1b[31mred\x07\n\u202eevil", last_pushed_at=None, purge_in_days=None),
            a_session(id="new", title="", unpushed=True, last_pushed_at=None, size=5 * 1024**2, purge_in_days=1.0),
            a_session(id="old", purge_in_days=0.0),
            a_session(id="gone", state="deleted", purge_in_days=None),
        ]
    }  # fmt: skip
    lines = sessions.render(answer, NOW, Terminal(120, colours=False))
    assert lines[0].split() == [
        "ID",
        "SOURCE",
        "PROJECT",
        "CHANGED",
        "SIZE",
        "GITHUB",
        "AGENT",
        "KEEPS",
        "TITLE",
    ]
    assert re.split("  +", lines[1]) == [
        "3f2a9c1e-0000-4000-8000-000000000001", "claude", "shop", "3 min ago", "45 KB", "2 h ago", "12 days", "Redesign",
    ]  # fmt: skip
    assert "2.0 KB behind  12 days      日本" in lines[2]
    assert lines[2].endswith("…")
    assert cells(lines[2]) <= 120
    assert "5.0 MB  waiting " in lines[4]
    assert all(letter.isprintable() for line in lines for letter in line)
    assert lines[3].endswith("  [31mred evil")
    assert lines[4].endswith("24 h         (no title)")
    assert lines[5].endswith("overdue      Redesign")
    assert lines[6].endswith("deleted      Redesign")
    assert sessions.render({"sessions": []}, NOW, WIDE) == ["No sessions are known here."]


def test_an_id_is_as_short_as_it_may_be() -> None:
    one, two = "3f2a9c1e-1111-4000-8000-000000000001", "3f2a9c1e-1222-4000-8000-000000000001"
    three = "aaaaaaaa-1222-4000-8000-000000000001"
    ids = [each.split()[0] for each in sessions.render({"sessions": [a_session(id=i) for i in (one, two, three, "my-own")]}, NOW, FILE)]  # fmt: skip
    assert ids == ["ID", one[:11], two[:11], "aaaaaaaa", "my-own"]
    assert one.startswith(ids[1])
    assert not two.startswith(ids[1])


def test_a_list_says_what_is_next() -> None:
    there = {"host": "laptop", "updated_at": rfc3339(NOW), "restorable": False}
    answer = [
        a_session(next="write the tests"),
        a_session(copies=[]),
        a_session(copies=[], state="elsewhere", elsewhere=there),
        a_session(copies=["github"], state="elsewhere", elsewhere=there | {"host": ""}),
        a_session(newer_elsewhere=True, elsewhere=there),
        a_session(newer_elsewhere=True, elsewhere=there, conflict=True),
    ]
    lines = sessions.listed({"sessions": answer}, NOW, FILE)
    assert "mirror, vault " in lines[1]
    assert lines[1].endswith("12 days      Redesign → write the tests")
    assert "nowhere yet" in lines[2]
    assert " backup on laptop " in lines[3]
    assert " github " in lines[4]
    assert " newer on laptop; mirror, vault " in lines[5]
    assert " two versions; mirror, vault " in lines[6]


@pytest.mark.parametrize(
    ("snippet", "shown"),
    [
        ("an \x02idle\x03 \x02connection\x03", "an **idle** **connection**"),
        ("an **\x02idle\x03** one", "an **idle** one"),
        ("**an \x02idle\x03 one** of 2**3", "an **idle** one of 2**3"),
        ("**\x02idle\x03 \x02connection\x03**", "**idle** **connection**"),
    ],
)
def test_stars_stand_around_a_match_once(snippet: str, shown: str) -> None:
    hit = {"session": "s", "project": "p", "role": "user", "at": None, "snippet": snippet}
    assert hits.render({"hits": [hit], "behind": 0}, NOW, FILE)[1] == f"  {shown}"
    assert hits.starred(snippet) == shown


def test_no_id_of_a_hit_says_anything_to_the_terminal() -> None:
    hit = {"session": "a\x1b[31m", "project": "p", "role": "user", "at": None, "snippet": "a"}
    assert hits.render({"hits": [hit], "behind": 0}, NOW, FILE)[0] == "a [31m  p  user"


def test_a_search_goes_to_the_disk_where_somebody_else_listens(sessiond: Run, short_home: Path) -> None:
    (short_home / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(short_home / "run" / "ctl.sock"))
        there.listen()
        there.settimeout(PATIENCE_S)

        def answer() -> None:
            connection, _ = there.accept()
            with connection:
                connection.sendall(b"220 ready\r\n\r\n")

        other = threading.Thread(target=answer, daemon=True)
        other.start()
        code, _, err = sessiond("search", "quokka")
        other.join(PATIENCE_S)
    assert (code, "index_broken: Nothing has been captured here yet" in err) == (1, True)


def test_a_search_says_where_there_may_be_more() -> None:
    hit = {"session": "s", "project": "p", "role": "user", "at": None, "snippet": "a \x02b\x03"}
    found = {"hits": [hit, hit], "behind": 0}
    assert hits.render(found, NOW, FILE, limit=3) == ["s  p  user", "  a **b**"] * 2
    assert hits.render(found, NOW, FILE, limit=2)[4:] == ["There may be more: --limit 10 shows older ones."]
    behind = hits.render(found | {"behind": 2}, NOW, FILE, limit=3)[-1]
    assert behind.startswith("2 sessions not wholly indexed yet.")
    assert "sessiond search --rebuild" in behind, "and what to do where no daemon runs"


def test_hooks_go_in_and_out_in_a_sentence(
    sessiond: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    file = tmp_path / "settings.json"
    heard = "`sessiond hooks status` shows whether they are heard of.\n"
    assert sessiond("hooks", "install")[1] == f"{file} has our hooks now.\n{heard}"
    assert sessiond("hooks", "install")[1] == f"{file} has our hooks already.\n{heard}"
    assert sessiond("hooks", "uninstall")[1] == f"{file} held nothing else, and is removed.\n"
    assert sessiond("hooks", "uninstall")[1] == f"{file} had none of our hooks.\n"
    file.write_text('{"model": "opus"}')
    sessiond("hooks", "install")
    assert sessiond("hooks", "uninstall")[1] == f"{file} has none of our hooks any more.\n"


def test_one_session_on_a_screen() -> None:
    files = [
        {"path": f"f{n}", "role": "part", "size": n, "deleted_at": rfc3339(NOW) if n == 1 else None}
        for n in range(30)
    ]
    points = [{"id": f"C{n}", "at": rfc3339(NOW), "trigger": "quiet", "alias": "", "size": 9, "pushed": n == 14} for n in range(15)]  # fmt: skip
    critical = {
        "decisions": ["use \x1b[1msqlite"],
        "checkpoints": [],
        "current_phase": "build",
        "next_steps": [],
    }
    answer = a_session(critical_data=critical, checkpoints=points, files=files, findings=[FULL])
    text = "\n".join(show.render(answer, NOW, WIDE))
    assert text.startswith(
        "Redesign\nclaude:3f2a9c1e-0000-4000-8000-000000000001  shop  /p\nactive, changed 3 min ago, 45 KB"
    )
    assert "\nthe agent keeps it: 12 days\n" in text
    assert "Phase\n  - build" in text
    assert "Decided\n  - use [1msqlite" in text
    assert "Next" not in text
    assert "C14" in text
    assert "C4 " not in text
    assert "f1 (deleted)" in text
    assert text.endswith("… and 10 files more: --json shows all")
    bare = a_session(critical_data=critical, checkpoints=[], files=[], findings=[])
    waits = bare | {"unpushed": True, "last_pushed_at": None, "repo": "o/r"}
    assert "on GitHub: waiting" in show.render(waits, NOW, FILE)
    assert "on GitHub: no, no repository is set" in show.render(waits | {"repo": ""}, NOW, FILE)
    assert "not JSON" not in "\n".join(show.render(bare, NOW, FILE))
    assert "14 lines of it are not JSON; copied as they are" in show.render(
        bare | {"bad_lines": 14}, NOW, FILE
    )


def test_a_queue_in_columns() -> None:
    item = {"session": "claude:s1", "checkpoint": "C1", "state": "retrying", "attempts": 3, "next_attempt_at": rfc3339(NOW + 40), "last_error": "No answer"}  # fmt: skip
    index = item | {
        "session": "",
        "operation": "index",
        "issue": 12,
        "checkpoint": "",
        "next_attempt_at": None,
    }
    assert queue.render({"items": [item, index]}, NOW, FILE) == [
        "SESSION            CHECKPOINT  STATE     TRIES  NEXT     LAST ERROR",
        "claude:s1          C1          retrying      3  in 40 s  No answer",
        "index of issue 12              retrying      3           No answer",
    ]
    assert queue.render({"items": []}, NOW, FILE) == ["Nothing waits."]


def test_events_are_a_line_each() -> None:
    event = {
        "at": rfc3339(NOW),
        "event": "push_failed",
        "session": "claude:s1",
        "number": 3,
        "reason": "a\nb",
        "where": ["vault: x", "mirror: x"],
    }
    assert events.render({"events": [event]}, NOW, FILE) == [
        "08:00:00  push_failed  claude:s1  reason=a b where=vault: x, mirror: x"
    ]


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_799, "47 h"), (172_800, "2 days"), (9e8, "10,416 days"), (-5, "0 s")],
)  # fmt: skip
def test_spans(length: float, text: str) -> None:
    assert span(length) == text


def test_words_and_numbers() -> None:
    assert [size(n) for n in (0, 1023, 1024, 10_240, 46_080, 1024**2, 1024**3 * 5000)] == [
        "0 B", "1023 B", "1.0 KB", "10 KB", "45 KB", "1.0 MB", "5000 GB",
    ]  # fmt: skip
    assert (ago(None, NOW), ago(rfc3339(NOW - 3), NOW), ago(rfc3339(NOW + 9), NOW)) == (
        "never",
        "just now",
        "just now",
    )
    assert clock(rfc3339(NOW - 86_400), NOW) == "yesterday 08:00:00"
    assert clock(rfc3339(NOW - 864_000), NOW) == "2027-01-05 08:00:00"
    assert clock(None, NOW) == "never"
    assert (count(1, "session"), count(2000, "session")) == ("1 session", "2,000 sessions")
    assert clean("a\x00b\x1b]0;x\x07 \u200b\u202e\udcff c") == "a b ]0;x c"
    assert (cells("aé日e\u0301"), cut("日本語です", 6), cut("abc", 3)) == (5, "日本…", "abc")
    assert wrap("one two threefourfive six", 8, "  ") == ["one two", "  threefourfive", "  six"]
    assert wrap("", 8) == [""]
    assert wrap("a b", None) == ["a b"]
    assert wrap("  - a b", 5, "    ") == ["  - a", "    b"]


def test_a_table_fits_its_terminal() -> None:
    rows: list[tuple[str, ...]] = [("a", "x" * 300), ("bb", "short")]
    lines = table(("ONE", "TWO"), rows, Terminal(40, colours=False))
    assert [cells(line) for line in lines] == [8, 40, 10]
    assert lines[1].endswith("x…")
    assert cells(table(("ONE", "TWO"), rows, FILE)[1]) == 305
    rows = [("3f2a9c1e", "a-project-with-a-very-long-name", "3 min ago", "mirror, vault", "y" * 60)]
    heads = ("ID", "PROJECT", "CHANGED", "FROM", "TITLE")
    (line,) = table(heads, rows, Terminal(80, colours=False))[1:]
    assert line.startswith("3f2a9c1e  a-project-wit…  3 min ago  mirror, vault  yyyyyyyy")
    assert cells(line) == 80
    assert table(heads, rows, Terminal(140, colours=False))[1].endswith("y" * 60)
    coloured = table(("ONE", "TWO"), [], Terminal(40, colours=True))
    assert coloured == ["\x1b[2mONE  TWO\x1b[0m"]


def test_a_run_without_a_daemon_imports_what_it_has_to_do(
    short_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sends is a hundred modules, and the figures for a text file fifty."""
    monkeypatch.setenv("HOME", str(short_home))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(short_home / "claude"))
    found = imported("sync", "--once")
    sends = {f"sessionsync.{name}" for name in ("push", "pull", "archiving", "gather", "conflict", "restore")}
    assert found & {*sends, "sessionsync.report", "sessiond.metrics", "prometheus_client", "httpx"} == set()
    assert "sessionsync.capture" in found


def test_a_backup_of_what_changed_waits_for_nothing_that_it_does_without(home: Path) -> None:
    """A tenth each of what it takes to begin: click, asyncio with ssl, and what looks after copies."""
    del home
    found = imported("sync", "--once")
    assert not found & {"click", "asyncio", "ssl", "secrets", "random", "multiprocessing"}
    assert not found & {f"sessionsync.vault.{name}" for name in ("merge", "plan", "repair", "verify")}
    assert "sessionsync.capture" in found


def test_a_backup_that_goes_nowhere_commits_once(home: Path) -> None:
    """What was captured; nothing is made due, as there is nowhere to send it."""
    agent = Agent(cwd=str(home))
    live = home / ".claude" / "projects" / "-work" / f"{agent.session}.jsonl"
    live.parent.mkdir(parents=True)
    counted = []
    for text in ("hello", "more", "and more"):
        agent.turn(text)
        live.write_bytes(agent.data)
        imported("sync", "--once")
        header = (Path(os.environ["SESSIOND_HOME"]) / "state" / "state.db").read_bytes()[:100]
        counted.append(int.from_bytes(header[24:28], "big"))  # SQLite's "file change counter"
    assert [after - before for before, after in pairwise(counted)] == [1, 1]


def test_a_restore_from_this_disk_waits_for_nothing_of_other_places(home: Path, tmp_path: Path) -> None:
    agent = Agent(cwd=str(home))
    agent.turn("hello")
    live = home / ".claude" / "projects" / "-work" / f"{agent.session}.jsonl"
    live.parent.mkdir(parents=True)
    live.write_bytes(agent.data)
    imported("sync", "--once")
    out = tmp_path / "out"
    found = imported("restore", agent.session, "--from", "vault", "--out", str(out))
    assert (out / live.name).read_bytes() == agent.data
    elsewhere = {"remote.github", "remote.comments", "remote.archive.reader", "elsewhere", "divergence"}
    assert not found & {f"sessionsync.{name}" for name in elsewhere}
    assert not found & {"sessiond.token", "sessionsync.sources.transcript", "subprocess", "httpx"}
