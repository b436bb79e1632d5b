"""The command that calls a person: what it is given, what it is not given, and how it is ended."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sessiond.escalation import Escalation
from sessionsync.privacy.gate import Gate
from sessionsync.reliability.findings import CRITICAL
from tests.conftest import PATIENCE_S
from tests.living import Living
from tests.planted import ALNUM
from tests.rig import Events

HEALTH: dict[str, Any] = {
    "status": "critical",
    "findings": [{"code": "data_lost", "message": "10 B are gone.", "session": "claude:a"}],
}
REPORT = """
import json, os, sys
json.dump({"words": sys.argv[2:], "stdin": json.load(sys.stdin), "environ": dict(os.environ)}, open(sys.argv[1], "w"))
print("rang the bell")
"""


class Bell:
    """A command that writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "called.json"
        self.script = folder / "a script.py"
        self.script.write_text(REPORT)
        self.command = f"{sys.executable} '{self.script}' {self.file}"

    def heard(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found


def called(command: str, environ: dict[str, str], limit_s: float = PATIENCE_S) -> Events:
    events = Events()
    escalation = Escalation(environ, events, limit_s)
    escalation.call(command, HEALTH, Gate())
    escalation.join()
    assert not escalation.is_busy
    return events


def test_what_it_is_told_has_passed_the_gate(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    token = "ghp_" + ALNUM[:36]
    escalation = Escalation({"PATH": "/usr/bin:/bin"}, Events())
    health = {"findings": [{"code": "item_buried", "message": f"GitHub said {token}"}]}
    escalation.call(bell.command, health, Gate())
    escalation.join()
    heard = bell.heard()
    assert token not in json.dumps(heard)
    assert heard["environ"]["SESSIOND_MESSAGE"] == "GitHub said [REDACTED:github_token]"


@pytest.mark.parametrize(
    ("message", "heard"), [("a\0b", "a b"), ("a\ud800b", "a?b"), ("x" * 200_000, "x" * 4000)]
)
def test_foreign_text_keeps_nobody_from_being_called(tmp_path: Path, message: str, heard: str) -> None:
    bell, events = Bell(tmp_path), Events()
    escalation = Escalation({"PATH": "/usr/bin:/bin"}, events)
    escalation.call(bell.command, {"findings": [{"code": "item_buried", "message": message}]}, Gate())
    escalation.join()
    assert events.named("escalation_failed") == []
    assert bell.heard()["environ"]["SESSIOND_MESSAGE"] == heard


def test_it_is_told_what_is_wrong_and_no_token(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    environ = {"PATH": "/usr/bin:/bin", "GH_TOKEN": "secret", "GITHUB_TOKEN": "secret", "MINE": "kept"}
    events = called(f"{bell.command} '$HOME; echo' ~", environ)

    heard = bell.heard()
    assert heard["stdin"] == HEALTH
    assert heard["environ"]["SESSIOND_FINDING"] == "data_lost"
    assert heard["environ"]["SESSIOND_MESSAGE"] == "10 B are gone."
    assert heard["environ"]["MINE"] == "kept"
    assert "secret" not in heard["environ"].values()
    assert heard["words"] == ["$HOME; echo", str(Path.home())]  # words, and no shell
    assert events.all == [("escalated", {"said": "rang the bell"})]


@pytest.mark.parametrize(
    ("command", "said", "limit_s"),
    [
        ("/nowhere/at/all", "No such file", PATIENCE_S),
        ("an 'unclosed quote", "No closing quotation", PATIENCE_S),
        ("false", "ended with 1", PATIENCE_S),
        ("sleep 600", "timed out", 0.2),
    ],
)
def test_one_that_fails_or_hangs_is_told_of_and_ended(command: str, said: str, limit_s: float) -> None:
    ((name, told),) = called(command, {"PATH": "/usr/bin:/bin"}, limit_s).all  # when it has ended
    assert name == "escalation_failed"
    assert said in told["reason"]


def test_a_person_is_called_once_for_what_is_new_and_critical(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    with Living(tmp_path, SESSIOND_HEALTH_ON_CRITICAL=json.dumps(bell.command)) as living:

        def calls() -> int:
            told = [each["event"] for each in living.ctl("events", limit=1000)["events"]]
            assert "escalation_failed" not in told
            return told.count("escalated")

        def turns(times: int) -> None:
            for _ in range(times):
                read = living.told("health_checked")
                living.app.health.want()
                living.until(lambda: living.told("health_checked") > read)  # noqa: B023
            living.app.health._escalation.join()

        raised = living.app.findings.raised
        raised("archive_too_new", CRITICAL, "Too new.", "Update.", time.time(), "claude:a")
        living.until(lambda: calls() == 1)
        raised("archive_too_new", CRITICAL, "Still too new.", "Update.", time.time(), "claude:a")
        raised("archive_too_new", CRITICAL, "Too new.", "Update.", time.time(), "claude:b")
        living.until(lambda: calls() == 2)
        assert {each["session"] for each in bell.heard()["stdin"]["findings"]} == {"claude:a", "claude:b"}
        turns(3)
        assert calls() == 2
        living.app.findings.cleared("archive_too_new", "claude:b")  # and at once it is there again
        raised("archive_too_new", CRITICAL, "Too new.", "Update.", time.time(), "claude:b")
        living.until(lambda: calls() == 3)
