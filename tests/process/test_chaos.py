"""Everything goes wrong for a while on two machines: nothing is lost, nothing doubled, nothing told wrongly."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.storm import Storm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc and mounts a tmpfs")
TROUBLES = (
    "kill",
    "rot",
    "full",
    "errors",
    "clock",
    "outage",
    "shrink",
    "kill",
    "read_only",
    "freeze",
    "delete",
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
def test_a_short_storm_loses_nothing_and_is_told_truly(place: Path) -> None:
    said: list[str] = []
    with Storm(place, 11, tell=said.append, patience_s=1) as storm:
        for name in TROUBLES:
            storm.blow(name)
        storm.check(within=0.05)  # of a minute or two, a second is much
    assert storm.counts["kill"] == 2


@pytest.mark.timeout(600)
def test_a_daemon_that_hides_a_minute_of_downtime_is_found_out(place: Path) -> None:
    with Storm(place, 12, tell=lambda _: None, patience_s=1, hides_s=60) as storm:
        storm.blow("kill")
        storm.blow("kill")
        with pytest.raises(AssertionError, match="the score of"):
            storm.check(within=0.05)


@pytest.mark.timeout(600)
def test_a_daemon_that_tells_half_of_what_mending_took_is_found_out(place: Path) -> None:
    with Storm(place, 13, tell=lambda _: None, patience_s=10, hastens=0.5) as storm:
        storm.blow("outage")
        storm.blow("outage")
        with pytest.raises(AssertionError, match="how fast"):
            storm.check(within=0.05)
