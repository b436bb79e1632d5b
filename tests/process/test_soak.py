"""A short run of `make soak`, of the program and of one that loses hold of things."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.soak.soak import Soak
from tests.soak.traffic import Traffic

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")

SESSIONS = 5
WARM_UP_S, TRAFFIC_S = 3.0, 8.0
# All that the pools of the daemon have: by the clock 10, at work on files 3.  A short run does not fill them.
POOLED = 13


@contextmanager
def soaking(leaks: str = "", *, given_back_s: float = 120.0) -> Iterator[Soak]:
    # a socket's path is short
    with (
        tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder,
        Traffic(Path(folder), 1, SESSIONS, trouble_turns=6, pause_s=0.05, leaks=leaks, hasty=True) as traffic,
    ):
        yield Soak(traffic, pooled=POOLED, given_back_s=given_back_s)


@pytest.mark.timeout(600)
def test_nothing_is_left_of_traffic_with_faults() -> None:
    with soaking() as soak:
        soak.run(WARM_UP_S)
        before = soak.rest()
        soak.run(TRAFFIC_S)
        assert soak.wrong(before) == []


@pytest.mark.timeout(600)
def test_what_a_mutant_loses_hold_of_is_noticed() -> None:
    with soaking("descriptor thread file", given_back_s=0) as soak:
        before = soak.rest()
        soak.run(TRAFFIC_S / 2)
        noticed = {what.partition(":")[0] for what in soak.wrong(before)}
    assert {"threads", "descriptors", "files s/state/.*.tmp"} <= noticed
