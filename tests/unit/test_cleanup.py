"""How long the agent itself keeps a transcript: shown, and warned of where it would be no time at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessionsync import report
from sessionsync.sources.cleanup import DEFAULT_DAYS, cleanup_days
from tests.rig import START, Home, Rig, append, line


@pytest.mark.parametrize(
    ("settings", "days"),
    [
        (None, DEFAULT_DAYS),
        ("{}", DEFAULT_DAYS),
        ('{"cleanupPeriodDays": 7, "hooks": {}}', 7),
        ('{"cleanupPeriodDays": 0}', 0),
        ('\ufeff{"cleanupPeriodDays": 0}\r\n', 0),
        ("{not json", None),
        ('{"cleanupPeriodDays": "soon"}', None),
        ("[]", None),
        ("", None),
        ('{"cleanupPeriodDays": 1e999}', None),
        ('{"cleanupPeriodDays": true}', None),
        ("[" * 100_000, None),
    ],
)
def test_the_agents_own_setting_says_how_long(
    tmp_path: Path, settings: str | None, days: float | None
) -> None:
    if settings is not None:
        (tmp_path / "settings.json").write_text(settings)
    assert cleanup_days(tmp_path) == days


def test_a_fifo_in_the_settings_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "settings.json")
    assert cleanup_days(tmp_path) is None


def test_each_session_says_how_many_days_are_left(tmp_path: Path) -> None:
    home = Home(tmp_path)
    rig = Rig(home)
    path = home.transcript()
    append(path, line("user", "x", home.project))
    os.utime(path, (START - 10 * 86_400, START - 10 * 86_400))
    rig.scan()
    (shown,) = report.sessions(rig.catalog, rig.now)["sessions"]
    assert shown["purge_in_days"] == pytest.approx(20.0)
    path.unlink()
    rig.wait(5)
    (shown,) = report.sessions(rig.catalog, rig.now)["sessions"]
    assert shown["purge_in_days"] is None
    rig.close()
