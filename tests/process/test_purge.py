"""The agent deletes its own transcripts: how long it keeps them is shown, and everything is kept anyway."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.user import User

Wait = Callable[..., None]
DAY_S = 86_400


def settle(user: User, days: object) -> Path:
    file = user.agent / "settings.json"
    file.write_text(json.dumps({"cleanupPeriodDays": days}))
    return file


def test_how_long_the_agent_keeps_a_session_is_shown_everywhere(tmp_path: Path, wait_until: Wait) -> None:
    with User(tmp_path) as user:
        settle(user, 20)
        path = user.say("hello")
        old = time.time() - 5 * DAY_S
        os.utime(path, (old, old))
        user.start()
        wait_until(lambda: user.ctl("sessions")["sessions"])
        for verb in (["list"], ["ctl", "sessions"]):
            (shown,) = json.loads(user.type(*verb, "--json").stdout)["sessions"]
            assert shown["purge_in_days"] == pytest.approx(15, abs=0.1)
            heads, row = user.type(*verb).stdout.splitlines()
            assert row[heads.index("AGENT KEEPS") :].startswith(("15 days", "14 days"))
        assert json.loads(user.type("ctl", "show", path.stem, "--json").stdout)["purge_in_days"] == 15
        assert "the agent keeps it: 1" in user.type("ctl", "show", path.stem).stdout
        assert user.ctl("health")["findings"] == []

        said = path.read_bytes()
        path.unlink()
        wait_until(lambda: user.ctl("sessions")["sessions"][0]["state"] == "deleted")
        assert "the agent keeps it: deleted" in user.type("ctl", "show", path.stem).stdout
        (copy,) = user.mirror.glob(f"*/{path.name}")
        assert copy.read_bytes() == said
        out = tmp_path / "out"
        assert user.type("restore", path.stem, "--from", "vault", "--out", str(out)).returncode == 0
        assert (out / path.name).read_bytes() == said
    assert "deleted" in user.type("list").stdout  # also without a daemon


def test_a_setting_that_deletes_at_once_is_a_finding(tmp_path: Path) -> None:
    with User(tmp_path) as user:
        file = settle(user, 0)
        user.say("hello")
        user.start()
        health = user.ctl("health")
        assert health["status"] == "warning"
        (found,) = health["findings"]
        assert (found["code"], found["severity"]) == ("purge_at_once", "warning")
        assert f"cleanupPeriodDays is 0 in {file}" in found["message"]
        assert "30" in found["hint"]
        assert "purge_at_once" in user.type("ctl", "health").stdout
        assert "cleanupPeriodDays" in user.type("ctl", "status").stdout
        assert user.ctl("status")["findings"] == health["findings"]
        for days in (30, 1, "soon"):
            settle(user, days)
            assert user.ctl("health")["findings"] == []
